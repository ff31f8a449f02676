"""Checking a data set on the disk, every byte against its hashes; and making lost indexes anew."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pretrain.shards.errors import DataError, IndexMissingError, ShardError, UnsafeMemberError
from pretrain.shards.index import Index, IndexRow, ShardInfo, index_path, read_manifest
from pretrain.shards.tar import BLOCK, check_member, padded, unpack_record, walk
from pretrain.shards.writer import DatasetInfo, key_hash, sample_columns, write_manifest
from vlm.errors import MedVLMError
from vlm.sample import Sample


@dataclass(frozen=True)
class Problem:
    """Something wrong, where: ``key`` is "" when it concerns the whole tar."""

    tar: str
    key: str
    what: str


@dataclass(frozen=True)
class VerifyReport:
    """What was checked, and what is wrong with it."""

    folder: Path
    samples: int
    bytes: int
    problems: list[Problem]


def verify(folder: str | Path, *, decode: bool = False, progress: Callable[[int], None] | None = None) -> VerifyReport:
    """Read every byte of a data set and compare it with index and manifest.

    Args:
        folder: with ``dataset.json``.
        decode: also rebuild each sample and decode its images.
        progress: called with the number of bytes read since the last call.

    Raises:
        IndexMissingError: there is no manifest to compare with.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    problems: list[Problem] = []
    seen: dict[int, str] = {}
    samples = size = 0
    for info in (ShardInfo(**shard) for shard in manifest["shards"]):
        try:
            index = Index.read(index_path(folder / info.name))
        except IndexMissingError as error:
            problems.append(Problem(info.name, "", str(error)))
            continue
        if index.digest() != info.index:
            problems.append(
                Problem(info.name, "", "the index is not the one of the manifest: it was changed after the import")
            )
        for row in index.rows():
            if (first := seen.setdefault(key_hash(row.key), info.name)) != info.name:
                problems.append(Problem(info.name, row.key, f"the key is also in {first}"))
        samples += len(index)
        problems += _verify_tar(folder / info.name, info, index, decode, progress)
        size += info.bytes
    return VerifyReport(folder, samples, size, problems)


def _verify_tar(
    path: Path, info: ShardInfo, index: Index, decode: bool, progress: Callable[[int], None] | None
) -> Iterator[Problem]:
    if not path.is_file():
        yield Problem(info.name, "", "the tar is missing")
        return
    sha = hashlib.sha256()
    with path.open("rb") as file:
        for row in index.rows():
            if row.offset != file.tell():
                sha.update(file.read(row.offset - file.tell()))
            data = file.read(row.size)
            sha.update(data)
            if progress:
                progress(len(data))
            if hashlib.sha256(data).hexdigest() != row.sha256:
                missing = row.size - len(data)
                what = (
                    f"the tar ends {missing:,} bytes before the record does"
                    if missing
                    else "the bytes have another hash"
                )
                yield Problem(info.name, row.key, what)
            elif (what := _record_problem(row.key, data, decode)) is not None:
                yield Problem(info.name, row.key, what)
        sha.update(file.read())
    if sha.hexdigest() != info.sha256:
        yield Problem(info.name, "", "the tar has another hash than the manifest says")
    if (what := _structure_problem(path, index)) is not None:
        yield Problem(info.name, "", what)


def _record_problem(key: str, data: bytes, decode: bool) -> str | None:
    try:
        files = unpack_record(key, data, "record")
        if decode:
            for image in Sample.from_record(key, files).images:
                image.decode()
    except MedVLMError as error:
        return str(error)
    return None


def _structure_problem(path: Path, index: Index) -> str | None:
    """What plain tar readers would stumble over: headers, end mark, members that the index does not know."""
    spans = zip(index.offset.tolist(), (index.offset + index.size).tolist())
    begin, end = next(spans, (0, 0))
    try:
        for name, at, _ in walk(path):
            while at >= end:
                following = next(spans, None)
                if following is None:
                    return f"member {name} is not in the index"
                begin, end = following
            if at < begin:
                return f"member {name} is not in the index"
            _check_name(name, path)
    except (ShardError, UnsafeMemberError) as error:
        return str(error)
    return None


def _check_name(name: str, path: Path) -> tuple[str, str]:
    key, _, suffix = name.partition(".")
    check_member(key, suffix, str(path))
    return key, suffix


def shared_patients(folders: list[Path]) -> dict[tuple[str, str], int]:
    """How many patients two splits share; a pair that shares none is left out."""
    patients = {}
    for folder in folders:
        names = [ShardInfo(**shard).name for shard in read_manifest(folder)["shards"]]
        rows = (row for name in names for row in Index.read(index_path(folder / name)).rows())
        patients[folder.name] = {row.patient for row in rows if row.patient}
    found = {}
    for i, a in enumerate(patients):
        for b in list(patients)[i + 1 :]:
            if both := patients[a] & patients[b]:
                found[a, b] = len(both)
    return found


def reindex(folder: str | Path, info: DatasetInfo | None = None) -> int:
    """Make index and manifest anew from tars whose records are samples; returns the number of samples.

    Raises:
        ShardError, UnsafeMemberError, SampleError: a tar is damaged or holds something else; named with its key.
        DataError: there are no tars.
    """
    folder = Path(folder)
    tars = sorted(folder.glob("*.tar"))
    if not tars:
        raise DataError(f"{folder} holds no .tar file")
    shards = []
    for tar in tars:
        rows = list(_rows_of(tar))
        index = Index.from_rows(rows)
        index.write(index_path(tar))
        with tar.open("rb") as file:
            sha = hashlib.file_digest(file, "sha256").hexdigest()
        shards.append(ShardInfo(tar.name, len(rows), tar.stat().st_size, sha, index.digest()))
    kept, dropped = _told_by_manifest(folder)
    write_manifest(folder, info or kept, shards, dropped)
    return sum(shard.samples for shard in shards)


def _told_by_manifest(folder: Path) -> tuple[DatasetInfo, dict[str, int]]:
    """What tars alone cannot tell, from a manifest that is still there."""
    try:
        manifest = read_manifest(folder)
    except IndexMissingError:
        return DatasetInfo(folder.resolve().name), {}
    fields = {name: manifest[name] for name in ("name", "source", "licence", "simulated")}
    return DatasetInfo(**fields), manifest["dropped"]


def _rows_of(tar: Path) -> Iterator[IndexRow]:
    spans: list[list] = []  # key, offset, end
    for name, at, size in walk(tar):
        key, _ = _check_name(name, tar)
        end = at + BLOCK + padded(size)
        if spans and spans[-1][0] == key:
            spans[-1][2] = end
        else:
            spans.append([key, at, end])
    with tar.open("rb") as file:
        for key, offset, end in spans:
            file.seek(offset)
            data = file.read(end - offset)
            sample = Sample.from_record(key, unpack_record(key, data, str(tar)))
            yield IndexRow(key, offset, len(data), hashlib.sha256(data).hexdigest(), **sample_columns(sample))
