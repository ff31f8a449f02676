"""Tars, indexes and manifests: exact round trips, atomic writes, named damage, nothing that runs code."""

import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretrain.shards import (
    DatasetInfo,
    IndexMissingError,
    NoSpaceError,
    Plan,
    PlanReader,
    ShardError,
    ShardReader,
    ShardSet,
    ShardWriter,
    UnsafeMemberError,
)
from pretrain.shards.tar import pack_record, unpack_record, walk
from pretrain.shards.verify import reindex, verify

suffixes = st.sampled_from(["json", "0.png", "1.npy", "mask0.png", "txt"])


@given(
    st.dictionaries(suffixes, st.binary(max_size=2000), min_size=1),
    st.from_regex(r"[a-z0-9][a-z0-9_-]{0,30}", fullmatch=True),
)
def test_a_record_comes_back_as_it_was_and_tarfile_agrees(files, key):
    data = pack_record(key, files)
    assert unpack_record(key, data, "test") == files
    with tarfile.open(fileobj=io.BytesIO(data + bytes(1024))) as tar:
        assert {m.name: tar.extractfile(m).read() for m in tar} == {f"{key}.{s}": d for s, d in files.items()}


@given(st.binary(max_size=3000), st.integers(0, 3000), st.binary(min_size=1, max_size=40))
def test_damaged_records_are_refused_or_read_never_crash(noise, at, patch):
    data = bytearray(pack_record("key", {"json": b"{}", "0.png": noise}))
    data[at : at + len(patch)] = patch
    try:
        unpack_record("key", bytes(data), "test")
    except (ShardError, UnsafeMemberError) as error:
        assert "test" in str(error)


def test_equal_samples_give_equal_bytes(make_set, tmp_path):
    a, b = make_set("a", 30), make_set("a", 30, folder="again")
    for shard in a.shards:
        assert (a.folder / shard.name).read_bytes() == (b.folder / shard.name).read_bytes()
    assert (a.folder / "dataset.json").read_bytes() == (b.folder / "dataset.json").read_bytes()


def test_shards_end_at_their_limits_and_count_everything(make_set):
    shards = make_set("a", 50, per_shard=7)
    assert [s.samples for s in shards.shards] == [7] * 7 + [1]
    counts = shards.manifest["counts"]
    assert (counts["samples"], counts["patients"], counts["studies"], counts["images"]) == (50, 17, 50, 50)
    assert shards.manifest["licence"] == "CC0-1.0" and shards.manifest["simulated"] is True
    assert shards.manifest["entities"]["rare"] == 5


def test_any_record_is_read_by_number(make_set):
    shards = make_set("a", 50)
    reader = pickle.loads(pickle.dumps(ShardReader(shards)))
    for n in (49, 0, 13, 7, 13):
        assert json.loads(reader.record(n)["json"])["extra"]["i"] == n
        assert reader.sample(n).key == f"a-{n:05d}" == shards.row(n).key
    with pytest.raises(IndexError):
        reader.record(50)


def test_webdataset_reads_our_tars(make_set):
    import webdataset

    shards = make_set("a", 20)
    urls = [str(shards.folder / s.name) for s in shards.shards]
    reader = ShardReader(shards)
    read = list(webdataset.WebDataset(urls, shardshuffle=False))
    assert [sample["__key__"] for sample in read] == [shards.row(n).key for n in range(20)]
    for n, sample in enumerate(read):
        assert {k: v for k, v in sample.items() if not k.startswith("__")} == reader.record(n)


@pytest.mark.parametrize("suffix", ["pkl", "pyd", "pth", "0.pickle", "npz", "PNG", "png.gz"])
def test_members_that_could_run_code_are_never_written(tmp_path, suffix):
    with ShardWriter(tmp_path, DatasetInfo("x")) as writer:
        writer.write_record("good", {"json": b"{}"})
        with pytest.raises(UnsafeMemberError, match=suffix.replace(".", r"\.")):
            writer.write_record("bad", {"json": b"{}", suffix: b"data"})


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("bomb-went-off",)


def test_a_pickle_that_was_smuggled_into_a_tar_is_refused_unread(make_set, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shards = make_set("a", 7)
    tar = shards.folder / shards.shards[0].name
    data = bytearray(tar.read_bytes())
    bomb = pickle.dumps(Bomb())
    at = data.index(b"a-00003.0.png")
    data[at : at + 14] = b"a-00003.0.pkl\0"
    data[at + 512 : at + 512 + len(bomb)] = bomb
    tar.write_bytes(bytes(data))
    with pytest.raises(UnsafeMemberError, match=r"a-00003\.0\.pkl is refused"):
        ShardReader(shards, verify=False).sample(3)
    assert "a-00003" in {problem.key for problem in verify(shards.folder).problems}
    assert not Path("bomb-went-off").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE])
def test_links_and_folders_in_a_tar_are_refused(tmp_path, kind):
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        info = tarfile.TarInfo("key.json")
        info.type, info.linkname = kind, "/etc/passwd"
        tar.addfile(info)
    with pytest.raises(UnsafeMemberError, match="not a plain file"):
        reindex(tmp_path)


def test_a_flipped_byte_is_named_with_tar_and_key(make_set):
    shards = make_set("a", 20)
    row, tar = shards.row(9), shards.folder / "shard-000001.tar"
    data = bytearray(tar.read_bytes())
    data[row.offset + row.size - 600] ^= 1
    tar.write_bytes(bytes(data))
    with pytest.raises(ShardError, match=r"shard-000001\.tar, key a-00009: .*verify"):
        ShardReader(shards).sample(9)
    ShardReader(shards).sample(8)
    problems = verify(shards.folder).problems
    assert ("shard-000001.tar", "a-00009") in {(p.tar, p.key) for p in problems}


def test_a_truncated_tar_is_named(make_set):
    shards = make_set("a", 20)
    tar = shards.folder / "shard-000001.tar"
    os.truncate(tar, shards.row(9).offset + 700)
    with pytest.raises(ShardError, match=r"shard-000001\.tar has .* truncated"):
        ShardSet.open(shards.folder)
    with pytest.raises(ShardError, match=r"shard-000001\.tar, key a-00009: the tar ends"):
        ShardReader(shards).record(9)
    problems = verify(shards.folder).problems
    assert {p.key for p in problems if "ends" in p.what} == {f"a-{n:05d}" for n in range(9, 14)}
    assert any("truncated inside a-00009" in p.what for p in problems)


def test_missing_files_are_named_with_what_to_do(make_set, tmp_path):
    shards = make_set("a", 20)
    with pytest.raises(IndexMissingError, match="it holds the data sets a: name one"):
        ShardSet.open(tmp_path)
    (shards.folder / "shard-000001.parquet").unlink()
    with pytest.raises(IndexMissingError, match=r"shard-000001\.parquet is missing.*reindex"):
        ShardSet.open(shards.folder)
    assert any("missing" in p.what for p in verify(shards.folder).problems)
    (shards.folder / "dataset.json").unlink()
    with pytest.raises(IndexMissingError, match="not finished"):
        ShardSet.open(shards.folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(IndexMissingError, match="medvlm data import"):
        ShardSet.open(tmp_path / "empty")


def test_an_index_of_another_import_is_refused(make_set):
    a, b = make_set("a", 20), make_set("b", 20, seed=1)
    os.replace(b.folder / "shard-000001.parquet", a.folder / "shard-000001.parquet")
    with pytest.raises(ShardError, match="another key"):
        ShardReader(ShardSet.open(a.folder)).record(9)
    assert any("not the one of the manifest" in p.what for p in verify(a.folder).problems)


def test_a_good_set_has_no_problems_and_strict_walking_agrees(make_set):
    shards = make_set("a", 20)
    report = verify(shards.folder)
    assert report.problems == [] and report.samples == 20
    names = [name for s in shards.shards for name, _, _ in walk(shards.folder / s.name)]
    assert len(names) == 40 and names[0] == "a-00000.json"


def test_a_key_comes_once(tmp_path):
    writer = ShardWriter(tmp_path, DatasetInfo("x"))
    writer.write_record("k", {"json": b"{}"})
    with pytest.raises(ShardError, match="unique"):
        writer.write_record("k", {"json": b"{}"})
    writer.abort()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", ["a.b", "a/b", "-x", "", "ä", "k" * 99])
def test_keys_that_a_tar_cannot_carry_are_refused(key):
    with pytest.raises(ShardError):
        pack_record(key, {"json": b"{}"})


FILL = """
import resource, signal, sys
from pathlib import Path
from pretrain.shards import DatasetInfo, NoSpaceError, ShardWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
writer = ShardWriter(sys.argv[1], DatasetInfo("x"), max_samples=int(sys.argv[2]))
try:
    for i in range(50):
        writer.write_record(f"k{i:03d}", {"json": b"{}", "0.png": bytes(9000)})
except NoSpaceError as error:
    print(error)
"""


@pytest.mark.parametrize("per_shard", [5, 40])
def test_no_space_is_said_and_the_partial_shard_removed(tmp_path, per_shard):
    """A file-size limit raises EFBIG where a full disk raises ENOSPC."""
    done = subprocess.run(
        [sys.executable, "-c", FILL, tmp_path, str(per_shard)], capture_output=True, text=True, check=True
    )
    tars = sorted(p.name for p in tmp_path.iterdir())
    if per_shard == 5:
        assert done.stdout == "" and len(tars) == 20  # ten tars of five samples fit
    else:
        assert "no space to write" in done.stdout and "run the same command" in done.stdout and tars == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_raises_no_space(tmp_path):
    writer = ShardWriter(tmp_path, DatasetInfo("x"))
    writer.write_record("k", {"json": b"{}"})
    writer._tar._file.close()
    writer._tar._file = Path("/dev/full").open("wb")  # noqa: SIM115  (the writer closes it)
    with pytest.raises(NoSpaceError, match="No space left on device"):
        writer.close()
    assert list(tmp_path.glob("*.tmp")) == [] and list(tmp_path.glob("*.tar")) == []


def test_reading_keeps_few_files_open(make_set, monkeypatch):
    monkeypatch.setattr("pretrain.shards.reader._OPEN_FILES", 5)
    shards = make_set("a", 30, per_shard=1)
    reader = ShardReader(shards)
    before = len(os.listdir("/proc/self/fd"))
    for n in [*range(30), 0, 29]:
        reader.record(n)
        assert len(os.listdir("/proc/self/fd")) <= before + 5
    reader.close()
    assert len(os.listdir("/proc/self/fd")) <= before


@pytest.mark.parametrize("read_ahead", [0, 1, 32])
def test_reading_by_position_is_the_plan_whatever_is_fetched_ahead(make_set, read_ahead):
    plan = Plan([make_set("a", 20), make_set("b", 9)], seed=3, batch=1)
    reader = PlanReader(plan, read_ahead=read_ahead)
    for t in (0, 1, 2, 28, 29, 5, 6, 60):
        ref = plan.sample(t)
        row = plan.sources[ref.source].row(ref.record)
        assert reader.sample(t).key == row.key
        assert len(reader.raw(t)) == row.size and set(reader.record(t)) == {"json", "0.png"}
