"""A simulator's folder becomes shards: pixels, text, truth and clusters kept; killed imports go on exactly."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pretrain.importing import (
    Conversation,
    DropLimitError,
    ImportOptions,
    ImportSourceError,
    SimulatedFolder,
    import_source,
)
from pretrain.shards import IndexMissingError, NoSpaceError, Plan, PlanDataset, ShardReader, ShardSet
from pretrain.shards.verify import reindex, shared_patients, verify


def run(source, out, **options):
    """Import with the decoder of single images, which does not have to be started for each test."""
    return import_source(source, out, ImportOptions(workers=0, **options))


def content(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.suffix in (".tar", ".parquet", ".json")}


def test_everything_of_a_study_reaches_the_sample(simulated, tmp_path):
    reports = run(SimulatedFolder(simulated), tmp_path / "out")
    assert [(r.split, r.samples, r.dropped) for r in reports] == [("train", 12, {}), ("test", 5, {})]
    sample = ShardReader(ShardSet.open(tmp_path / "out" / "train")).sample(3)
    assert sample.key == "p0003-s1"
    assert (sample.provenance.patient, sample.provenance.study) == ("p0003", "p0003-s1")
    assert sample.provenance.simulated and sample.provenance.licence == "CC0-1.0"
    for n, image in enumerate(sample.images):
        expected = np.array(Image.open(simulated / f"train/p0003/s1/{n}.png"))
        decoded = image.decode()
        assert decoded.pixels.dtype == np.uint16 and (decoded.pixels == expected).all()
        assert sample.masks[n] == (simulated / f"train/p0003/s1/{n}.mask.png").read_bytes()
        assert sample.provenance.image_sha256[n] == decoded.provenance.sha256
    user, assistant = sample.messages
    assert [part["type"] for part in user["content"]] == ["image", "image", "text"]
    assert assistant["content"] == "Findings: The lungs are clear, case 3.\n\nImpression: No acute finding."
    assert [q["id"] for q in sample.extra["qa"]] == ["q0", "q1"] and sample.extra["split"] == "train"
    assert sample.entities == ["cardiomegaly"]
    assert verify(tmp_path / "out" / "train", decode=True).problems == []


@pytest.mark.parametrize(("mode", "turns"), [("report", 1), ("questions", 2), ("both", 3)])
def test_conversations_hold_the_turns_that_were_asked_for(simulated, tmp_path, mode, turns):
    options = ImportOptions(workers=0, conversation=Conversation(mode))
    import_source(SimulatedFolder(simulated), tmp_path / "out", options)
    for sample in ShardReader(ShardSet.open(tmp_path / "out" / "train")):
        roles = [message["role"] for message in sample.messages]
        assert roles == ["user", "assistant"] * turns
        shown = [part for m in sample.messages if isinstance(m["content"], list) for part in m["content"]]
        assert sum(part["type"] == "image" for part in shown) == len(sample.images)


def test_drops_are_counted_by_reason_and_listed(simulated, tmp_path):
    (simulated / "train/p0001/s1/0.png").unlink()
    (simulated / "train/p0002/s1/0.png").write_bytes(b"not a picture")
    lines = (simulated / "train.jsonl").read_text().splitlines()
    no_text = json.loads(lines[4]) | {"report": {}, "qa": []}
    lines[4] = json.dumps(no_text)
    lines += [lines[0], "{broken", json.dumps({"patient": "x"})]
    (simulated / "train.jsonl").write_text("\n".join(lines))
    report, _ = run(SimulatedFolder(simulated), tmp_path / "out", max_drop=0.5)
    refused = {reason: n for reason, n in report.dropped.items() if reason.startswith("image refused: ")}
    assert sum(refused.values()) == 1
    assert {k: v for k, v in report.dropped.items() if k not in refused} == {
        "missing image": 1,
        "empty text": 1,
        "duplicate key": 1,
        "row is not JSON": 1,
        "row lacks or breaks 'study'": 1,
    }
    assert report.records == 15 and report.samples == 9
    manifest = json.loads((tmp_path / "out/train/dataset.json").read_text())
    assert manifest["dropped"] == dict(sorted(report.dropped.items()))
    listed = [json.loads(line) for line in (tmp_path / "out/train/dropped.jsonl").read_text().splitlines()]
    assert len(listed) == 6 and {"record": 1, "where": "train.jsonl, line 2", "reason": "missing image"} in listed


def test_too_many_drops_stop_the_import_and_more_tolerance_goes_on(simulated, tmp_path):
    for i in range(4):
        (simulated / f"train/p{i:04d}/s1/0.png").unlink()
    with pytest.raises(DropLimitError, match=r"4 of 12 records were dropped \(missing image: 4\).*--max-drop"):
        run(SimulatedFolder(simulated), tmp_path / "out")
    with pytest.raises(IndexMissingError):
        ShardSet.open(tmp_path / "out" / "train")
    report, _ = run(SimulatedFolder(simulated), tmp_path / "out", max_drop=0.5)
    assert report.samples == 8


CHILD = """
import os, signal, sys
from pretrain.importing import ImportOptions, SimulatedFolder, import_source
from pretrain.importing.journal import Journal
kill_at, where = int(sys.argv[3]), sys.argv[4]
done = 0
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
def on_record(split, n, total):
    global done
    done += 1
    if where == "record" and done == kill_at:
        die()
if where == "journal":
    Journal.shard_done = die  # tar and index are on the disk, the journal does not know
options = ImportOptions(workers=0, max_samples=3, max_drop=0.9)
import_source(SimulatedFolder(sys.argv[1]), sys.argv[2], options, on_record=on_record)
"""


def run_child(*arguments) -> int:
    return subprocess.run([sys.executable, "-c", CHILD, *map(str, arguments)], capture_output=True).returncode


def test_killed_at_any_moment_and_resumed_gives_identical_shards(simulated, tmp_path):
    (simulated / "train/p0005/s1/0.png").unlink()
    options = ImportOptions(workers=0, max_samples=3, max_drop=0.9)
    import_source(SimulatedFolder(simulated), tmp_path / "straight", options)
    out = tmp_path / "killed"
    assert run_child(simulated, out, 5, "record") == -signal.SIGKILL
    assert len(list((out / "train").glob("shard-*.tar"))) == 1
    assert run_child(simulated, out, 0, "journal") == -signal.SIGKILL
    with (out / "train/import.jsonl").open("a") as journal:
        journal.write('{"shard": {"na')  # a line that was being written
    (out / "train/shard-000007.tar.tmp").write_bytes(b"part")
    assert run_child(simulated, out, 7, "record") == -signal.SIGKILL
    reports = import_source(SimulatedFolder(simulated), out, options)
    for split in ("train", "test"):
        assert content(out / split) == content(tmp_path / "straight" / split)
        assert (out / split / "dropped.jsonl").read_text() == (
            tmp_path / "straight" / split / "dropped.jsonl"
        ).read_text()
    assert [r.records for r in reports] == [12, 5] and reports[0].dropped == {"missing image": 1}


def test_a_finished_import_is_not_repeated_and_another_is_refused(simulated, tmp_path):
    run(SimulatedFolder(simulated), tmp_path / "out")
    before = content(tmp_path / "out/train")
    again = run(SimulatedFolder(simulated), tmp_path / "out")
    assert all(report.already_done for report in again) and again[0].samples == 12
    assert content(tmp_path / "out/train") == before
    other = ImportOptions(workers=0, conversation=Conversation("both"))
    with pytest.raises(ImportSourceError, match=r"changed: conversation.*--overwrite"):
        import_source(SimulatedFolder(simulated), tmp_path / "out", other)
    (simulated / "train.jsonl").write_text((simulated / "train.jsonl").read_text().replace("clear", "grey"))
    with pytest.raises(ImportSourceError, match="changed: fingerprint"):
        run(SimulatedFolder(simulated), tmp_path / "out")
    report, _ = run(SimulatedFolder(simulated), tmp_path / "out", overwrite=True)
    assert not report.already_done and content(tmp_path / "out/train") != before


def test_two_imports_into_one_folder_are_kept_apart(simulated, tmp_path):
    import fcntl

    (tmp_path / "out/train").mkdir(parents=True)
    with (tmp_path / "out/train/.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ImportSourceError, match="another import"):
            run(SimulatedFolder(simulated), tmp_path / "out")


def test_foreign_tars_are_never_removed(simulated, tmp_path):
    (tmp_path / "out/train").mkdir(parents=True)
    (tmp_path / "out/train/shard-000000.tar").write_bytes(b"precious")
    with pytest.raises(ImportSourceError, match="did not write"):
        run(SimulatedFolder(simulated), tmp_path / "out")
    assert (tmp_path / "out/train/shard-000000.tar").read_bytes() == b"precious"


def test_workers_change_nothing(simulated, tmp_path):
    run(SimulatedFolder(simulated), tmp_path / "one", max_samples=4)
    import_source(SimulatedFolder(simulated), tmp_path / "two", ImportOptions(max_samples=4, workers=2))
    assert content(tmp_path / "one/train") == content(tmp_path / "two/train")


def test_disk_full_is_said_and_the_import_goes_on_when_there_is_room(simulated, tmp_path, monkeypatch):
    from pretrain.shards import tar

    written = 0

    def full_after_a_while(self, data):
        nonlocal written
        written += len(data)
        if written > 12_000:
            self.abort()
            with tar.no_space_is_said(self.path):
                raise OSError(28, os.strerror(28))
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    options = ImportOptions(workers=0, max_samples=2)
    with monkeypatch.context() as patch:
        patch.setattr(tar.TarWriter, "_write", full_after_a_while)
        with pytest.raises(NoSpaceError, match="finished shards are kept"):
            import_source(SimulatedFolder(simulated), tmp_path / "out", options)
    assert not list((tmp_path / "out/train").glob("*.tmp"))
    import_source(SimulatedFolder(simulated), tmp_path / "out", options)
    import_source(SimulatedFolder(simulated), tmp_path / "straight", options)
    assert content(tmp_path / "out/train") == content(tmp_path / "straight/train")


def test_patients_in_two_splits_are_counted(simulated, tmp_path):
    run(SimulatedFolder(simulated), tmp_path / "good")
    assert shared_patients([tmp_path / "good/train", tmp_path / "good/test"]) == {}
    text = (simulated / "test.jsonl").read_text().replace('"patient": "p0100"', '"patient": "p0001"')
    (simulated / "test.jsonl").write_text(text)
    run(SimulatedFolder(simulated), tmp_path / "bad")
    assert shared_patients([tmp_path / "bad/train", tmp_path / "bad/test"]) == {("train", "test"): 1}


def test_lost_indexes_are_made_anew_and_the_plan_is_the_same(simulated, tmp_path):
    run(SimulatedFolder(simulated), tmp_path / "out", max_samples=5)
    folder = tmp_path / "out/train"
    plan = Plan(ShardSet.open(folder), seed=1, batch=2)
    for path in folder.glob("*.parquet"):
        path.unlink()
    assert reindex(folder) == 12
    assert Plan(ShardSet.open(folder), seed=1, batch=2).hash == plan.hash
    assert ShardSet.open(folder).manifest["licence"] == "CC0-1.0"


def test_imported_shards_train_through_a_loader(simulated, tmp_path):
    from torch.utils.data import DataLoader

    run(SimulatedFolder(simulated), tmp_path / "out", max_samples=5)
    plan = Plan(ShardSet.open(tmp_path / "out/train"), seed=1, batch=4)
    dataset = PlanDataset(plan, transform=lambda s: (s.key, s.images[0].decode().render(size=16).shape))
    items = list(DataLoader(dataset, batch_size=None, num_workers=1))
    assert sorted(key for key, _ in items) == [f"p{i:04d}-s1" for i in range(12)]
    assert {tuple(shape) for _, shape in items} == {(16, 13)}


def test_a_folder_without_studies_says_how_to_make_one(tmp_path):
    with pytest.raises(ImportSourceError, match="medvlm data simulate"):
        SimulatedFolder(tmp_path)
    (tmp_path / "train.jsonl").write_text("")
    with pytest.raises(ImportSourceError, match="none of 0 records"):
        run(SimulatedFolder(tmp_path), tmp_path / "out")
