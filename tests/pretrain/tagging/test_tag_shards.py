"""Tagging shards: what counts, the same bytes with any number of workers, killed runs, and what is refused."""

import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from chest_entities import CARDIOMEGALY, CHEST, CONSOLIDATION, EFFUSION, NODULE, PNEUMOTHORAX, sample, write_samples
from typer.testing import CliRunner

from pretrain.shards import ShardReader, ShardSet
from pretrain.shards.verify import verify
from pretrain.tagging.cli import register
from pretrain.tagging.errors import TaggingError
from pretrain.tagging.labels import LabelForm
from pretrain.tagging.shards import LabelTable, TagOptions, tag_shards
from pretrain.tagging.tags import Tag, combine
from pretrain.tagging.turns import tags_of_turns


def digest(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir()) if p.name[0] != "."}


def corpus():
    yield sample("a", "No pneumothorax. Small pleural effusion on the left.", seed=1)
    yield sample("b", "Possible consolidation. History of pneumothorax.", seed=2)
    yield sample("c", "Yes", seed=3, asked="Is there cardiomegaly?")
    yield sample("d", "No", seed=4, asked="Is there cardiomegaly?")
    yield sample("e", "Enlarged heart.", seed=5, modality="CT", extra={"headers": [{"body_part": "CHEST"}]})
    yield sample("f", "Normal.", seed=6, extra={"truth": {"findings": {"nodule": True, "effusion_left": False}}})
    for n in range(7, 13):
        yield sample(f"g{n}", "Consolidation of the lung." if n % 2 else "Clear lungs.", seed=n)


@pytest.fixture
def shards(tmp_path) -> ShardSet:
    return write_samples(tmp_path / "in", corpus(), per_shard=3)


def tagged(folder: Path) -> dict:
    return {s.key: s for s in ShardReader(ShardSet.open(folder))}


def test_only_what_is_present_counts_and_the_rest_is_kept(shards, tmp_path, chest_tree):
    report = tag_shards(shards.folder, tmp_path / "out", TagOptions(chest_tree.folder))
    found = tagged(tmp_path / "out")
    assert found["a"].entities == ["DCM:DX", EFFUSION]
    assert found["a"].extra["tags"]["negated"] == [PNEUMOTHORAX]
    assert found["b"].entities == ["DCM:DX"]
    assert found["b"].extra["tags"]["uncertain"] == [CONSOLIDATION]
    assert found["b"].extra["tags"]["other"] == [PNEUMOTHORAX]
    assert CARDIOMEGALY in found["c"].entities and CARDIOMEGALY in found["d"].extra["tags"]["negated"]
    assert found["e"].extra["tags"]["present"] == {"header": ["DCM:CT", CHEST], "text": [CARDIOMEGALY]}
    assert NODULE in found["f"].entities and found["f"].extra["tags"]["negated"] == [EFFUSION]
    index = {row.key: row.entities for row in ShardSet.open(tmp_path / "out").rows()}
    assert index == {key: one.entities for key, one in found.items()}
    counts = json.loads((tmp_path / "out" / "counts.json").read_text())
    assert counts["present"][CONSOLIDATION] == 3 == report.present[CONSOLIDATION]
    assert counts["documents"] == 12 and verify(tmp_path / "out", decode=True).problems == []


def test_images_and_turns_are_untouched(shards, tmp_path, chest_tree):
    tag_shards(shards.folder, tmp_path / "out", TagOptions(chest_tree.folder))
    before, after = tagged(shards.folder), tagged(tmp_path / "out")
    for key, one in before.items():
        assert [i.data for i in one.images] == [i.data for i in after[key].images]
        assert one.messages == after[key].messages and one.provenance == after[key].provenance


@pytest.mark.slow  # two fresh processes import pyarrow and build the tagger
def test_the_same_bytes_with_one_worker_and_with_two(shards, tmp_path, chest_tree):
    options = TagOptions(chest_tree.folder)
    tag_shards(shards.folder, tmp_path / "one", options, workers=1)
    tag_shards(shards.folder, tmp_path / "two", options, workers=2)
    assert digest(tmp_path / "one") == digest(tmp_path / "two")


def test_the_same_bytes_when_tagged_again(shards, tmp_path, chest_tree):
    options = TagOptions(chest_tree.folder)
    tag_shards(shards.folder, tmp_path / "one", options)
    tag_shards(shards.folder, tmp_path / "two", options)
    again = tag_shards(shards.folder, tmp_path / "one", options)
    assert again.reused == 12 and digest(tmp_path / "one") == digest(tmp_path / "two")
    tag_shards(tmp_path / "one", tmp_path / "twice", options)  # tags of tags are tags, not "given" entities
    assert {k: s.entities for k, s in tagged(tmp_path / "twice").items()} == {
        k: s.entities for k, s in tagged(tmp_path / "one").items()
    }


def test_only_shards_that_are_new_or_changed_are_made(shards, tmp_path, chest_tree):
    options = TagOptions(chest_tree.folder)
    tag_shards(shards.folder, tmp_path / "out", options)
    more = [*corpus(), sample("z", "Pneumothorax.", seed=50)]
    write_samples(tmp_path / "longer", more, per_shard=3)
    for path in (tmp_path / "longer").iterdir():  # the same folder, with one more shard
        (shards.folder / path.name).write_bytes(path.read_bytes())
    report = tag_shards(shards.folder, tmp_path / "out", options)
    assert (report.samples, report.reused) == (13, 12) and PNEUMOTHORAX in tagged(tmp_path / "out")["z"].entities
    assert tag_shards(shards.folder, tmp_path / "out", TagOptions(chest_tree.folder, text=False)).reused == 0


def test_a_label_table_joined_by_key(shards, tmp_path, chest_tree):
    path = tmp_path / "labels.csv"
    with path.open("w", newline="") as file:
        rows = [["file", "nodule", "Pneumothorax"], ["a.png", 1, 1], ["b.png", -1, 0], ["nobody.png", 1, 1]]
        csv.writer(file).writerows(rows)
    mapping = tmp_path / "map.tsv"
    mapping.write_text(f"*\tnodule\t{NODULE}\tours\n")
    table = LabelTable(path, LabelForm("columns", "file", ("nodule", "Pneumothorax")))
    report = tag_shards(shards.folder, tmp_path / "out", TagOptions(chest_tree.folder, table, mapping))
    found = tagged(tmp_path / "out")
    assert NODULE in found["a"].entities
    # The text denies what the label affirms: neither is believed.
    assert PNEUMOTHORAX not in found["a"].entities and found["a"].extra["tags"]["conflict"] == [PNEUMOTHORAX]
    assert NODULE in found["b"].extra["tags"]["uncertain"]
    assert report.counts["label rows without a sample"] == 1 and report.counts["conflict"] == 1
    path.write_text("file,nodule,Pneumothorax\nelse.png,1,1\n")
    with pytest.raises(TaggingError, match="no row of"):
        tag_shards(shards.folder, tmp_path / "no", TagOptions(chest_tree.folder, table, mapping))


def test_headers_come_from_the_original_files_by_their_hash(tmp_path, chest_tree):
    from pydicom.data import get_testdata_file

    from pretrain.importing import DicomFolder, import_source

    raw = tmp_path / "raw" / "p1"
    raw.mkdir(parents=True)
    (raw / "CT_small.dcm").write_bytes(Path(str(get_testdata_file("CT_small.dcm"))).read_bytes())
    (raw / "report.txt").write_text("No acute finding.")
    import_source(DicomFolder(tmp_path / "raw"), tmp_path / "shards")
    options = TagOptions(chest_tree.folder, dicom=tmp_path / "raw")
    tag_shards(tmp_path / "shards" / "train", tmp_path / "out", options)
    (one,) = tagged(tmp_path / "out").values()
    assert one.entities == ["DCM:CT"] and one.extra["tags"]["present"] == {"header": ["DCM:CT"]}


def test_a_killed_run_goes_on_and_gives_the_same_bytes(tmp_path, chest_tree):
    texts = ("Consolidation of the lung. ", "No pneumothorax. ")
    samples = [sample(f"k{n}", texts[n % 2] * 2000, seed=n) for n in range(24)]
    source = write_samples(tmp_path / "in", samples, per_shard=2).folder
    places = [str(source), str(tmp_path / "cut"), str(chest_tree.folder)]
    program = (
        "from pathlib import Path; from pretrain.tagging.shards import *\n"
        f"source, out, tree = map(Path, {places!r})\n"
        "tag_shards(source, out, TagOptions(tree))"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    run = subprocess.Popen([sys.executable, "-c", program], env=env)
    journal = tmp_path / "cut" / "tagging.jsonl"
    while run.poll() is None and not (journal.is_file() and journal.read_bytes().count(b"\n") >= 3):
        time.sleep(0.002)
    killed = run.poll() is None
    if killed:
        os.kill(run.pid, signal.SIGKILL)
    run.wait()
    (tmp_path / "cut" / "shard-000009.tar.tmp").write_bytes(b"half a shard")
    report = tag_shards(source, tmp_path / "cut", TagOptions(chest_tree.folder))
    tag_shards(source, tmp_path / "whole", TagOptions(chest_tree.folder))
    assert killed and 6 <= report.reused < 24
    assert digest(tmp_path / "cut") == digest(tmp_path / "whole")


def test_refusals(shards, tmp_path, chest_tree):
    options = TagOptions(chest_tree.folder)
    with pytest.raises(TaggingError, match="source itself"):
        tag_shards(shards.folder, shards.folder, options)
    write_samples(tmp_path / "other", [sample("x", "Clear.", seed=1)])
    with pytest.raises(TaggingError, match="did not write"):
        tag_shards(shards.folder, tmp_path / "other", options)
    tar = bytearray((shards.folder / "shard-000001.tar").read_bytes())
    tar[600] ^= 1
    (shards.folder / "shard-000001.tar").write_bytes(tar)
    with pytest.raises(Exception, match="hash of its index"):
        tag_shards(shards.folder, tmp_path / "out", options)
    assert not (tmp_path / "out" / "dataset.json").exists() and not list((tmp_path / "out").glob("*.tmp"))


@pytest.mark.parametrize(
    ("asked", "answer", "state"),
    [
        ("Is there a pneumothorax?", "Yes.", "present"),
        ("Is there a pneumothorax?", "No, there is not.", "negated"),
        ("Is there a pneumothorax on the left?", "No", "other"),  # there may be one on the right
        ("Does the film show a pneumothorax?", "no", "negated"),
        ("Is a pneumothorax visible?", "yes", "present"),
        ("Is the pneumothorax large?", "no", None),  # asks of its size, not of its being
        ("Is there no pneumothorax?", "Yes", "other"),
        ("Where is the pneumothorax?", "On the left.", None),
    ],
)
def test_questions_state_nothing_but_their_answers_do(tagger, asked, answer, state):
    turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
    assert [t.state for t in tags_of_turns(turns, tagger.tag) if t.entity == PNEUMOTHORAX] == ([state] if state else [])


def test_within_one_origin_present_wins_and_between_origins_a_denial_does_not_go_under():
    def tags(*said):
        return combine(Tag("E", origin, state) for origin, state in said)

    assert tags(("text", "negated"), ("text", "present")).entities == ["E"]
    assert tags(("text", "negated"), ("label", "present")).record["conflict"] == ["E"]
    assert tags(("text", "uncertain"), ("label", "present")).entities == ["E"]
    assert tags(("text", "uncertain"), ("label", "negated")).record["negated"] == ["E"]
    assert tags(("text", "other")).entities == []


def test_the_commands(shards, tmp_path, chest_tree):
    app = typer.Typer()
    register(app)
    run = CliRunner()
    done = run.invoke(app, ["tag", str(shards.folder), "--out", str(tmp_path / "o"), "--tree", str(chest_tree.folder)])
    assert done.exit_code == 0 and "12 samples" in done.output, done.output
    (tmp_path / "t.csv").write_text("k,L\na,Cardiomegaly|Whiteness\n")
    base = [str(tmp_path / "t.csv"), "--tree", str(chest_tree.folder), "--labels-key", "k", "--label-list", "L"]
    done = run.invoke(app, ["labels", *base, "--out", str(tmp_path / "map.tsv")])
    assert done.exit_code == 0 and "1 labels mapped, 1 to be filled in" in done.output, done.output
    assert run.invoke(app, ["labels", str(tmp_path / "t.csv")]).exit_code == 2
    for command in ("tag", "labels"):
        assert "Examples" in run.invoke(app, [command, "--help"]).output
