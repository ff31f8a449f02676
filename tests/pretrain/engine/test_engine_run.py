"""The data engine as a user runs it: what comes out, what is counted, what a kill or a damaged file costs."""

import csv
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from engine_runs import COMMAND, content, killed_when, run, samples

from pretrain.decontamination.benchmarks import read_benchmark
from pretrain.decontamination.manifest import build_manifest
from pretrain.engine.errors import EngineError
from pretrain.engine.recipe import EngineRecipe
from pretrain.shards.verify import shared_patients, verify
from vlm.recipe import RecipeError, load_recipe


def test_a_run_gives_shards_and_counts_every_record(recipe, tmp_path):
    report = run(recipe(), tmp_path / "out")
    ingest, refine = report.stages["ingest"], report.stages["refine"]
    assert (ingest.came, dict(ingest.dropped)) == (51, {"empty text": 1, "duplicate key": 1})
    assert refine.came == 49 and sum(refine.dropped.values()) == 1
    assert next(iter(refine.dropped)).startswith("rule: ")
    lost = {reason: n for split in report.splits for reason, n in split.dropped.items()}
    assert sum(n for split in report.splits for n in split.dropped.values()) == 2, lost
    written = [s for split in report.splits for s in samples(split.folder)]
    assert len(written) == 46
    for split in report.splits:
        assert not verify(split.folder, decode=True).problems
    assert not shared_patients([split.folder for split in report.splits])


def test_samples_carry_their_source_licence_text_and_entities(recipe, tmp_path):
    report = run(recipe(), tmp_path / "out")
    written = {s.key: s for split in report.splits for s in samples(split.folder)}
    table, film = written["reports-r0"], next(s for s in written.values() if s.images)
    assert (table.provenance.source, table.provenance.licence) == ("reports", "CC0")
    assert (film.provenance.source, film.provenance.licence, len(film.images)) == ("films", "ours", 1)
    names = {"HP:10": "pneumothorax", "HP:11": "pleural effusion", "HP:12": "consolidation", "HP:13": "nodule"}
    for sample in written.values():
        text = sample.messages[-1]["content"].lower()
        present = {i for i, name in names.items() if f"there is left {name}" in text or f"there is right {name}" in text
                   or f"there is {name}" in text or f"there is a calcified {name}" in text}  # fmt: skip
        assert set(sample.entities) == present, text
        denied = {i for i, name in names.items() if name in text.split("no ")[1].split(" is seen")[0]}
        assert set(sample.extra["tags"].get("negated", [])) == denied, text


def test_a_finished_run_does_nothing_and_a_changed_setting_makes_anew_what_depends_on_it(recipe, tmp_path):
    out = tmp_path / "out"
    run(recipe(), out)
    first = content(out)
    stamps = {p: p.stat().st_mtime_ns for p in (out / "work").rglob("*.parquet")}
    run(recipe(), out)
    assert content(out) == first
    assert {p: p.stat().st_mtime_ns for p in (out / "work").rglob("*.parquet")} == stamps
    report = run(recipe(clean={"rules": False}), out, overwrite=True)
    assert not report.stages["refine"].dropped and report.stages["select"].came == 49
    kept = {p for p, t in stamps.items() if p.exists() and p.stat().st_mtime_ns == t}
    assert {p.relative_to(out / "work").parts[0] for p in kept} == {"1-ingest"}


def test_shards_of_other_settings_are_not_mixed_in_silence(recipe, tmp_path):
    run(recipe(), tmp_path / "out")
    with pytest.raises(Exception, match="--overwrite"):
        run(recipe(clean={"rules": False}), tmp_path / "out")


def test_workers_do_not_change_a_byte(recipe, tmp_path):
    run(recipe(), tmp_path / "one", workers=1)
    run(recipe(), tmp_path / "two", workers=2)
    assert content(tmp_path / "one") == content(tmp_path / "two")


@pytest.mark.slow
def test_a_ray_cluster_gives_the_same_bytes(recipe, tmp_path):
    run(recipe(), tmp_path / "here")
    command = [*COMMAND, str(recipe()), "--out", str(tmp_path / "ray"), "--ray", "local", "--workers", "2"]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert finished.returncode == 0, finished.stderr
    assert content(tmp_path / "here") == content(tmp_path / "ray")


def test_killed_at_any_stage_it_goes_on_and_gives_the_same_shards(recipe, tmp_path):
    path = recipe(part=1, shards={"samples": 5})
    run(path, tmp_path / "whole")
    out = tmp_path / "killed"
    work, shards = out / "work", out / "shards"

    def parts(stage: str, at_least: int):
        return lambda: len(list((work / stage).glob("*.json"))) > at_least

    moments = [parts("1-ingest", 3), parts("1-ingest", 30), parts("2-refine", 2), parts("2-refine", 30),
               parts("4-fingerprint", 5), parts("6-select", 5),
               lambda: len(list(shards.rglob("shard-*.tar*"))) > 1]  # fmt: skip
    killed = [killed_when(path, out, moment) for moment in moments]
    assert sum(killed) >= 6, f"the run was too fast to be killed: {killed}"
    run(path, out)
    assert content(out) == content(tmp_path / "whole")


def test_a_part_that_was_cut_off_is_made_again(recipe, tmp_path):
    out = tmp_path / "out"
    run(recipe(), out)
    first = content(out)
    stage = out / "work" / "2-refine"
    part = stage / "000-train-000000.parquet"
    part.write_bytes(part.read_bytes()[:100])
    (stage / "done.json").unlink()
    part.with_suffix(".json").unlink()  # the counts are written last, so a cut table has none
    for later in ("4-fingerprint", "5-decide", "6-select"):
        shutil.rmtree(out / "work" / later)
    run(recipe(), out, overwrite=True)
    assert content(out) == first


def test_a_run_that_loses_too_much_stops_and_says_why(recipe, tmp_path):
    with pytest.raises(EngineError, match=r"the stage refine dropped 49 of 49 records \(rule: too short") as error:
        clean = {"allow": []}
        run(
            recipe(max_drop=0.04, clean=clean, sources=[{"path": str(short(tmp_path)), "identity": "public"}]),
            tmp_path / "o",
        )
    assert "max_drop" in str(error.value)


def short(folder: Path) -> Path:
    path = folder / "short.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["key", "text"], *([f"k{n}", "Ok."] for n in range(49))])
    return path


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sources": [{"path": "x.csv"}]}, "identity"),
        (
            {"sources": [{"path": "a/x.csv", "identity": "public"}, {"path": "b/x.csv", "identity": "public"}]},
            "two sources",
        ),
        ({"sources": [{"path": "x", "identity": "deidentify"}]}, "key file"),
        ({"split": {"train": 0.0}}, "split must hold"),
        ({"dedupe": True}, "did you mean dedup"),
    ],
)
def test_a_recipe_that_leaves_something_open_is_refused(recipe, changes, said):
    with pytest.raises(RecipeError, match=said):
        load_recipe(EngineRecipe, recipe(**changes))


def test_patients_of_a_source_with_splits_pull_their_other_records_along(recipe, tmp_path, reports):
    other = tmp_path / "own.csv"
    with other.open("w", newline="") as file:
        rows = [["key", "patient", "split", "text"]]
        text = "Findings: The lungs are clear and the heart is of normal size in this examination number {}."
        rows += [[f"t{n}", f"p{n}", "test", text.format(n)] for n in range(5)]
        rows += [["t9", "p0", "train", text.format(9)]]
        csv.writer(file).writerows(rows)
    sources = [{"path": str(reports), "identity": "public"}, {"path": str(other), "identity": "public"}]
    report = run(recipe(sources=sources), tmp_path / "out")
    assert report.stages["select"].dropped == {"shares a patient, study or image with split test": 1}
    test = next(split for split in report.splits if split.split == "test")
    keys = {s.key for s in samples(test.folder)}
    assert keys == {f"own-t{n}" for n in range(5)} | {f"reports-r{n}" for n in range(10)}
    assert not shared_patients([split.folder for split in report.splits])


def test_the_card_says_what_happened(recipe, tmp_path):
    report = run(recipe(), tmp_path / "out")
    facts = json.loads((tmp_path / "out" / "card.json").read_text("utf-8"))
    assert facts["stages"]["ingest"]["dropped"] == {"duplicate key": 1, "empty text": 1}
    assert sum(row["samples"] for row in facts["splits"].values()) == 46
    assert {s["name"]: s["records"] for s in facts["sources"]} == {"reports": 43, "films": 8}
    assert facts["entities"]["covered"] == 4
    card = report.card.read_text("utf-8")
    assert "duplicate key: 1" in card and "| reports | public | CC0 | 43 |" in card
    assert str(tmp_path) not in card + json.dumps(facts), "a card is for others: no path of this machine"
    assert (tmp_path / "out" / "card.png").read_bytes()[:4] == b"\x89PNG"


def test_two_runs_do_not_share_a_folder(recipe, tmp_path):
    import fcntl

    out = tmp_path / "out"
    out.mkdir()
    with (out / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(EngineError, match="another run works"):
            run(recipe(), out)


def test_duplicates_and_benchmark_items_go_and_facts_that_differ_stay(recipe, tmp_path, films):
    text = (
        "Findings: There is a nodule of {} mm in the left upper lobe with a spiculated margin; the pleura beside it "
        "is drawn in; the heart and the vessels of the lung are of normal size for the age of this patient.\n\n"
        "Impression: Suspicious nodule, follow-up is advised within {} weeks by computed tomography of the chest."
    )
    bench = "Which organ of this patient shows a spiculated lesion that draws the pleura in and is suspicious here?"
    rows = [["key", "patient", "text"], ["one", "a1", text.format(12, 6)], ["again", "a2", text.format(12, 6)]]
    rows += [["case", "a3", text.format(12, 6).upper()], ["size", "a4", text.format(14, 6)]]
    rows += [
        ["leak", "a5", f"The board asked: {bench} It was the lung, as the examination had shown three weeks before."]
    ]
    table = tmp_path / "facts.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    questions = tmp_path / "bench.csv"
    with questions.open("w", newline="") as file:
        csv.writer(file).writerows([["id", "question", "answer"], ["b1", bench, "lung"]])
    manifest = build_manifest("boards", read_benchmark(questions))
    manifest.save(tmp_path / "boards.npz")
    twin = films / "q9"
    twin.mkdir()
    for name in ("film.png", "film.txt"):
        (twin / name).write_bytes((films / "q0" / name).read_bytes())
    other = films / "q8"
    other.mkdir()
    (other / "film.png").write_bytes((films / "q1" / "film.png").read_bytes())
    (other / "film.txt").write_text(
        "Findings: The same film, read by somebody else, who saw clear lungs and a heart of normal size."
    )
    sources = [
        {"path": str(table), "identity": "public"},
        {"path": str(films), "identity": "removed", "kind": "report"},
    ]
    report = run(
        recipe(sources=sources, dedup={}, max_drop=0.9, decontaminate=[str(tmp_path / "boards.npz")]), tmp_path / "out"
    )
    dropped = report.stages["select"].dropped
    assert dropped["duplicate: no images, same text"] == 2
    assert dropped["benchmark item (boards, 13 words)"] == 1
    # two patients have one film: nobody can know whose it is, so both stay, in one split, and are listed
    assert report.stages["fingerprint"].notes["images under two patients (conflicts.jsonl)"] == 2
    keys = {s.key for split in report.splits for s in samples(split.folder)}
    assert {"facts-one", "facts-size"} & keys == {"facts-size"} | ({"facts-one"} & keys)
    assert len({"facts-one", "facts-again", "facts-case"} & keys) == 1 and "facts-leak" not in keys
    assert report.stages["fingerprint"].dropped == {"image refused: damaged": 2}
    assert not shared_patients([split.folder for split in report.splits])


def test_the_recipe_of_the_repository_loads():
    assert load_recipe(EngineRecipe, Path(__file__).parents[3] / "recipes" / "data_engine.yaml").sources
