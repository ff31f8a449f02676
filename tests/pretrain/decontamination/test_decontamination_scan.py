"""Whole scans: workers and interruptions do not change them, reports and lists of excluded samples come out right."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import typer
from decontamination_samples import NORMAL, RARE_REPORT, picture, sample, write_set
from typer.testing import CliRunner

from pretrain.decontamination import scan as scanning
from pretrain.decontamination.benchmarks import read_benchmark
from pretrain.decontamination.cli import register
from pretrain.decontamination.errors import DecontaminationError
from pretrain.decontamination.exclude import excluded_masks, read_excluded, write_excluded
from pretrain.decontamination.manifest import Manifest, build_manifest
from pretrain.decontamination.match import Matcher
from pretrain.decontamination.scan import from_bytes, scan, scan_shard, to_bytes
from pretrain.shards.errors import ShardError
from pretrain.shards.index import ShardSet

LEAKED = {"t03": "words", "t06": "picture", "t09": "patient"}


def training(count: int = 12) -> list:
    samples = []
    for n in range(count):
        key = f"t{n:02d}"
        text = RARE_REPORT if LEAKED.get(key) == "words" else f"Report number {n}. {NORMAL}"
        pixels = picture(100 if LEAKED.get(key) == "picture" else n)
        patient = "held-out" if LEAKED.get(key) == "patient" else f"patient{n}"
        samples.append(sample(key, text, pixels, patient, f"{patient}-s"))
    return samples


@pytest.fixture(scope="module")
def sets(tmp_path_factory) -> tuple[ShardSet, ShardSet, Manifest]:
    folder = tmp_path_factory.mktemp("sets")
    held = [
        sample("b0", RARE_REPORT, picture(100), "held-out", "h-s"),
        sample("b1", NORMAL, picture(101), "other", "o"),
    ]
    test = write_set(folder / "test", held, "test")
    return write_set(folder / "train", training()), test, build_manifest("test", read_benchmark(folder / "test"))


@pytest.fixture
def app() -> typer.Typer:
    made = typer.Typer()
    register(made)
    made.callback()(lambda: None)
    return made


def test_planted_samples_are_found_by_their_evidence(sets, tmp_path):
    train, _, manifest = sets
    verdict = scan(Matcher([manifest]), [train], cache=tmp_path)
    assert verdict.contaminated() == {"train": sorted(LEAKED)}
    kinds = {m.key: m.evidence for m in verdict.matches if m.contamination}
    assert kinds == {"t03": "25 words", "t06": "image pixels", "t09": "patient"}
    assert {m.item for m in verdict.matches if m.contamination} == {"b0"}


def test_workers_and_cache_give_the_same(sets, tmp_path, monkeypatch):
    train, _, manifest = sets
    one = scan(Matcher([manifest]), [train], cache=tmp_path / "a")
    two = scan(Matcher([manifest]), [train], cache=tmp_path / "b", workers=2)
    monkeypatch.setattr(scanning, "scan_shard", lambda *_: pytest.fail("scanned again"))
    again = scan(Matcher([manifest]), [train], cache=tmp_path / "b")
    assert one == two == again
    parts = [sorted(p.relative_to(tmp_path / f).as_posix() for p in (tmp_path / f).rglob("*.npz")) for f in "ab"]
    assert parts[0] == parts[1] and len(parts[0]) == len(train.shards)
    assert all((tmp_path / "a" / p).read_bytes() == (tmp_path / "b" / p).read_bytes() for p in parts[0])


def test_a_part_survives_bytes_and_a_torn_one_is_made_again(sets, tmp_path, caplog):
    train, _, manifest = sets
    matcher = Matcher([manifest])
    part = scan_shard(matcher, train, 0)
    copy = from_bytes(to_bytes(part))
    assert (copy.keys, copy.runs, copy.images, copy.counts) == (part.keys, part.runs, part.images, part.counts)
    whole = scan(matcher, [train], cache=tmp_path)
    torn = sorted(tmp_path.rglob("*.npz"))[1]
    torn.write_bytes(torn.read_bytes()[:-9])
    assert scan(matcher, [train], cache=tmp_path) == whole
    assert "scanned again" in caplog.text


def test_other_rules_or_manifests_are_not_taken_from_the_cache(sets, tmp_path):
    train, _, manifest = sets
    scan(Matcher([manifest]), [train], cache=tmp_path)
    other = build_manifest("other", [*read_benchmark(sets[1].folder)][:1])
    scan(Matcher([other]), [train], cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_damaged_shard_stops_the_scan(sets, tmp_path):
    train = write_set(tmp_path / "train", training(4))
    tar = tmp_path / "train" / train.shards[0].name
    data = bytearray(tar.read_bytes())
    data[len(data) // 3] ^= 0xFF
    tar.write_bytes(bytes(data))
    with pytest.raises(ShardError):
        scan(Matcher([sets[2]]), [train])


@pytest.mark.slow
def test_a_killed_scan_goes_on(sets, tmp_path):
    train, _, manifest = sets
    manifest.save(tmp_path / "m.npz")
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from pretrain.decontamination import scan as s\n"
        "from pretrain.decontamination.manifest import Manifest\n"
        "from pretrain.decontamination.match import Matcher\n"
        "from pretrain.shards.index import ShardSet\n"
        "from pathlib import Path\n"
        "real = s.scan_shard\n"
        "s.scan_shard = lambda *a: (time.sleep(0.5), real(*a))[1]\n"
        "s.scan(Matcher([Manifest.load(sys.argv[2])]), [ShardSet.open(sys.argv[3])], cache=Path(sys.argv[4]))\n"
    )
    root = str(Path(__file__).parents[3])
    command = [sys.executable, "-c", code, root, str(tmp_path / "m.npz"), str(train.folder), str(tmp_path / "cache")]
    with subprocess.Popen(command) as process:
        for _ in range(600):
            if list((tmp_path / "cache").rglob("*.npz")):
                break
            time.sleep(0.05)
        process.kill()
    kept = len(list((tmp_path / "cache").rglob("*.npz")))
    assert 1 <= kept < len(train.shards)
    assert scan(Matcher([manifest]), [train], cache=tmp_path / "cache") == scan(
        Matcher([manifest]), [train], cache=tmp_path / "fresh"
    )


def test_commands_write_manifest_report_and_list(app, sets, tmp_path):
    train, test, _ = sets
    runner = CliRunner()
    out = str(tmp_path / "m" / "test.npz")
    made = runner.invoke(app, ["decontaminate", "manifest", str(test.folder), "--out", out, "--salt", "s"])
    assert made.exit_code == 0 and "2 items" in made.output
    command = ["decontaminate", "scan", str(train.folder), "--manifest", str(tmp_path / "m")]
    command += ["--out", str(tmp_path / "r"), "--cache", str(tmp_path / "c"), "--remove", str(tmp_path / "x.json")]
    refused = runner.invoke(app, command)
    assert isinstance(refused.exception, DecontaminationError) and "another salt" in str(refused.exception)
    result = runner.invoke(app, [*command, "--salt", "s"])
    assert result.exit_code == 1, result.output
    assert "3 of 12 samples hold something of a benchmark" in result.output
    rows = pq.read_table(tmp_path / "r" / "matches.parquet").to_pylist()
    assert {r["key"] for r in rows if r["contamination"]} == set(LEAKED)
    summary = json.loads((tmp_path / "r" / "summary.json").read_text())
    assert summary["benchmarks"][0]["contaminated_items"] == 1 and summary["counts"]["documents"] == 12
    page = (tmp_path / "r" / "index.html").read_text()
    assert "<mark>serpiginous " in page and "data:image/jpeg;base64" in page and "t09" in page
    first = {p.name: p.read_bytes() for p in (tmp_path / "r").iterdir()}
    runner.invoke(app, [*command, "--salt", "s"])
    assert first == {p.name: p.read_bytes() for p in (tmp_path / "r").iterdir()}
    (listed,) = read_excluded(tmp_path / "x.json")
    assert listed.keys == set(LEAKED) and listed.digest == train.digest


def test_commands_scan_tables_and_a_clean_mix_exits_with_0(app, sets, tmp_path):
    _, _, manifest = sets
    manifest.save(tmp_path / "m.npz")
    table = tmp_path / "corpus.jsonl"
    table.write_text("\n".join(json.dumps({"body": t}) for t in (NORMAL, "nothing here at all")))
    command = ["decontaminate", "scan", str(table), "--manifest", str(tmp_path / "m.npz"), "--map", "text=body"]
    result = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "r")])
    assert result.exit_code == 0 and "0 of 2 samples" in result.output
    refused = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "r"), "--remove", str(tmp_path / "x")])
    assert isinstance(refused.exception, DecontaminationError)
    for name in ("manifest", "scan"):
        text = CliRunner().invoke(app, ["decontaminate", name, "--help"]).output
        assert "medvlm data decontaminate" in text


def test_lists_of_excluded_samples_bind_to_their_shards(sets, tmp_path):
    train, test, _ = sets
    path = tmp_path / "x.json"
    write_excluded(path, {"train": ["t03", "t06"]}, [train])
    renamed = ShardSet.open(train.folder, name="another name")
    mask = excluded_masks([path], [renamed])["another name"]
    assert [renamed.row(int(n)).key for n in mask.nonzero()[0]] == ["t03", "t06"]
    with pytest.raises(DecontaminationError, match="not in the training mix"):
        excluded_masks([path], [test])
    again = write_set(tmp_path / "train", training(8))
    with pytest.raises(DecontaminationError, match="other shards"):
        excluded_masks([path], [again])
    path.write_text(path.read_text().replace("t06", "t99"))
    with pytest.raises(DecontaminationError, match="only 1 are in its shards"):
        excluded_masks([path], [train])
    path.write_text("{}")
    with pytest.raises(DecontaminationError, match="not a list"):
        read_excluded(path)


def test_simulated_held_out_studies_are_found_in_their_own_import_only(tmp_path):
    """The bench's items and the importer's samples agree on patients, files and texts."""
    from pretrain.importing import Conversation, ImportOptions, SimulatedFolder, import_source
    from pretrain.sources.chest import simulate

    simulate(tmp_path / "sim", patients=8, seed=1, size=96, shares=(0.5, 0.25, 0.25), workers=1)
    import_source(SimulatedFolder(tmp_path / "sim"), tmp_path / "shards", ImportOptions(Conversation("both")))
    manifest = build_manifest("sim", read_benchmark(tmp_path / "sim", split="test"))
    verdict = scan(
        Matcher([manifest]), [ShardSet.open(tmp_path / "shards" / s, name=s) for s in ("train", "test")]
    )  # fmt: skip
    held = ShardSet.open(tmp_path / "shards" / "test")
    assert verdict.contaminated() == {"test": sorted(row.key for row in held.rows())}
    kinds = {m.evidence for m in verdict.matches if m.contamination}
    assert {"image file", "patient"} <= kinds
    assert {m.item for m in verdict.matches if m.evidence == "patient"} == set(manifest.head["items"])
