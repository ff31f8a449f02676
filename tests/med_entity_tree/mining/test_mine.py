"""The command from corpus to tree: what it finds, that it repeats, and that it survives."""

import hashlib
import importlib.util
import json
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from med_entity_tree.errors import OntologyError
from med_entity_tree.mining.attach import mined_id
from med_entity_tree.mining.cli import register
from med_entity_tree.mining.mine import ARBITER, MINED
from med_entity_tree.skeleton import check
from med_entity_tree.tagger import Tagger
from med_entity_tree.tree import Tree

_spec = importlib.util.spec_from_file_location("mining_conftest", Path(__file__).with_name("conftest.py"))
assert _spec and _spec.loader
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
corpus = _module.corpus

app = typer.Typer()
register(app)


@app.callback()
def _met() -> None:
    """As `medvlm met`."""


@pytest.fixture
def texts(tmp_path) -> Path:
    path = tmp_path / "reports.jsonl"
    path.write_text("".join(json.dumps({"study": i, "report": text}) + "\n" for i, text in corpus()))
    return path


def run(texts: Path, tree: Tree, out: Path, *more: str):
    line = ["mine", str(texts), "--text", "report", "--id", "study", "--tree", str(tree.folder), "--out", str(out)]
    return CliRunner().invoke(app, [*line, "--no-embedding", *more], catch_exceptions=False)


def bytes_of(folder: Path) -> dict[str, str]:
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(folder.iterdir())}


def rows(folder: Path) -> dict[str, dict]:
    return {row["name"]: row for row in pq.read_table(folder / MINED).to_pylist()}


def test_rules_propose_and_say_so(texts, small_tree, tmp_path):
    out = tmp_path / "mined"
    printed = run(texts, small_tree, out, "--least-of-type", "3").output
    assert "extractor: rules" in printed and "arbiter" not in printed
    found = rows(out)
    assert {row["extractor"] for row in found.values()} == {"rules"}
    assert found["apical pneumothorax"]["result"] == "attached"
    assert (found["apical pneumothorax"]["parent"], found["apical pneumothorax"]["mentions"]) == ("HP:10", 12)
    assert found["pleural effusion"]["result"] == "known"
    tree = Tree(out)
    new = tree[mined_id("apical pneumothorax")]
    assert new.sources[0].startswith("CORPUS:reports/rules/")
    entry = tree.manifest["mined"][0]
    assert entry["extractor"] == "rules" and entry["arbiter"] == "none: conflicts stay undecided"
    assert not any("view" in json.dumps(row) for row in found.values())  # no text of the passages


def test_the_whole_way_with_a_model(texts, small_tree, tmp_path, endpoint):
    out = tmp_path / "mined"
    printed = run(texts, small_tree, out, "--url", endpoint.url).output
    found = rows(out)
    parents = {name: row["parent"] for name, row in found.items() if row["result"] == "attached"}
    assert parents == {
        "calcified nodule": "HP:13",
        "spiculated nodule": "HP:13",
        "apical pneumothorax": "HP:10",
        "loculated pleural effusion": "HP:11",
        "patchy consolidation": "HP:12",
        "streaky whiteness": "HP:12",  # by the arbiter
    }
    assert found["gentle remark"]["result"] == "dropped" and found["pleural effusion"]["result"] == "known"
    entry = Tree(out).manifest["mined"][0]
    assert entry["refused mentions"] == {"a name that does not occur in its passage": 14}
    assert entry["dropped"] == {"seen fewer than 10 times": 1, "type of fewer than 5 entities (procedure)": 1}
    assert entry["outcomes"]["attached"] == {"arbiter": 1, "head": 5}
    log = [json.loads(line) for line in (out / ARBITER).read_text().splitlines()]
    assert [line["name"] for line in log] == ["gentle remark"] * 2 + ["streaky whiteness"] * 3
    assert "look it up first" in log[2]["observation"]
    assert "model test-model" in printed and len(endpoint.bodies) < 40  # many passages a call


def test_the_frozen_tree_is_as_it_was_and_the_larger_one_works(texts, small_tree, tmp_path):
    before = bytes_of(small_tree.folder)
    out = tmp_path / "mined"
    run(texts, small_tree, out)
    run(texts, small_tree, out)  # onto itself: replaced
    tree = Tree(out)
    assert bytes_of(small_tree.folder) == before and check(tree.entities) == []
    for old in small_tree:
        new = tree[old.id]
        assert (new.name, new.parent, new.level, new.kind, new.xrefs) == (
            old.name,
            old.parent,
            old.level,
            old.kind,
            old.xrefs,
        )
    (tagged,) = Tagger.of(tree).find("Apical pneumothoraces.")
    assert tagged[2] == mined_id("apical pneumothorax")
    assert set(small_tree.edges()) < set(tree.edges())


def test_mining_again_onto_the_larger_tree_finds_it_known(texts, small_tree, tmp_path):
    run(texts, small_tree, tmp_path / "one", "--least-of-type", "1")
    run(texts, Tree(tmp_path / "one"), tmp_path / "two", "--least-of-type", "1")
    assert rows(tmp_path / "two")["apical pneumothorax"]["result"] == "known"
    assert set(Tree(tmp_path / "two").entities) == set(Tree(tmp_path / "one").entities)
    assert len(Tree(tmp_path / "two").manifest["mined"]) == 2


def test_the_same_bytes_when_repeated_and_nothing_is_asked_again(texts, small_tree, tmp_path, endpoint):
    run(texts, small_tree, tmp_path / "one", "--url", endpoint.url)
    asked = len(endpoint.bodies)
    run(texts, small_tree, tmp_path / "two", "--url", endpoint.url)  # other work folder: all asked again
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two") and len(endpoint.bodies) == 2 * asked
    run(texts, small_tree, tmp_path / "one", "--url", endpoint.url)
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two") and len(endpoint.bodies) == 2 * asked
    assert [f.name for f in (tmp_path / "one").iterdir() if f.suffix == ".part"] == []


@pytest.mark.parametrize(
    "stop", [pytest.param(3, id="passages", marks=pytest.mark.slow), pytest.param(-2, id="arbiter")]
)
def test_killed_anywhere_it_goes_on_to_the_same_bytes(texts, small_tree, tmp_path, endpoint, stop):
    run(texts, small_tree, tmp_path / "whole", "--url", endpoint.url)
    whole = len(endpoint.bodies)
    program = textwrap.dedent(
        f"""
        import sys; sys.path.insert(0, {str(Path(__file__).parents[3])!r})
        import typer
        from med_entity_tree.mining.cli import register
        app = typer.Typer(); register(app); app()
        """
    )
    line = [
        str(texts),
        "--text",
        "report",
        "--id",
        "study",
        "--tree",
        str(small_tree.folder),
        "--out",
        str(tmp_path / "cut"),
    ]
    line += ["--url", endpoint.url, "--no-embedding", "--concurrency", "1"]
    endpoint.delay = 0.05
    child = subprocess.Popen([sys.executable, "-c", program, *line], stdout=subprocess.DEVNULL)
    until = time.monotonic() + 100
    stop = whole + stop if stop > 0 else 2 * whole + stop
    while len(endpoint.bodies) < stop and child.poll() is None and time.monotonic() < until:
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert len(endpoint.bodies) >= stop and not (tmp_path / "cut").exists()
    endpoint.delay = 0
    run(texts, small_tree, tmp_path / "cut", "--url", endpoint.url)
    assert bytes_of(tmp_path / "cut") == bytes_of(tmp_path / "whole")
    assert len(endpoint.bodies) <= 2 * whole + 1  # the kill cost at most what was under way


def test_what_would_overwrite_something_is_refused(texts, small_tree, tmp_path):
    with pytest.raises(OntologyError, match="is the tree that is mined into"):
        run(texts, small_tree, small_tree.folder)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(OntologyError, match="something else"):
        run(texts, small_tree, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_help_has_examples():
    shown = CliRunner().invoke(app, ["mine", "--help"]).output
    assert shown.count("medvlm met mine ") >= 3


@pytest.mark.slow
def test_with_the_real_encoder(texts, small_tree, tmp_path, endpoint):
    line = ["mine", str(texts), "--text", "report", "--tree", str(small_tree.folder), "--url", endpoint.url]
    for out in ("one", "two"):
        CliRunner().invoke(app, [*line, "--out", str(tmp_path / out)], catch_exceptions=False)
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two")
    assert rows(tmp_path / "one")["calcified nodule"]["parent"] == "HP:13"
    assert Tree(tmp_path / "one").manifest["mined"][0]["encoder"] == "all-MiniLM-L6-v2"
