# Two commands matter: `make quickstart` and `make test`. Both set up what they need from Python 3.11+ and make.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# Tests never call a hub, and two workers share two cores: one thread each.
TESTENV := HF_HUB_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1 OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
WORKERS ?= 2
# Empty counts as unset. Without bytecode every process that a run or a test starts compiles its imports anew: 5 s and more.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup quickstart test lint types unit test-slow lock format clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

$(READY): requirements/lock.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "medvlm needs Python 3.11 or newer: run make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -r requirements/lock.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --config-setting editable_mode=compat -e .
	@touch $(READY)

setup: $(READY)  ## the environment in .venv: exact versions from requirements/lock.txt

quickstart: setup  ## DICOM to a trained, measured, served, measured model; two cores will do
	$(BIN)/medvlm quickstart $(ARGS)

test: setup lint types unit  ## what CI runs

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/pyright

unit: setup
	$(TESTENV) $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

test-slow: setup  ## the long proofs: 1,000 mutated files a codec, 100 prompts of parity, two ranks (about 35 minutes)
	$(TESTENV) $(BIN)/python -m pytest -m slow --timeout=3600

format: setup  ## ruff, in place
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

lock: setup  ## resolve pyproject.toml again; no index address gets into the lock
	$(BIN)/uv pip compile --quiet pyproject.toml --extra train --extra serve-cpu --extra dev \
	  --override requirements/overrides.txt --no-emit-index-url --no-annotate --no-header \
	  --python-version 3.11 -o requirements/lock.txt

clean:  ## remove the environment and what the quickstart made
	rm -rf $(VENV) quickstart build *.egg-info
