"""Signature parts on the disk: writing them by content, and gathering their columns into memory-mapped arrays."""

import hashlib
import json
import logging
import multiprocessing
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pretrain.dedup.errors import DedupError

log = logging.getLogger(__name__)

Make = Callable[[pa.Table, Any], pa.Table]


def write_parts(
    chunks: Iterable[pa.Table],
    out: Path,
    make: Make,
    settings: Any,
    *,
    workers: int = 1,
    progress: Callable[[int], None] = lambda rows: None,
) -> int:
    """Turn chunks of rows into signature parts ``out/part-<hash>.parquet``; a part that is there is not made again.

    A part is named after a hash of its rows and the settings, so a killed run goes on where it was. Parts of other rows
    are removed at the end: what lies in the folder afterwards is this input and nothing else.

    Args:
        chunks: tables; at most ``2 * workers`` are held at once.
        make: rows, settings -> signatures; a module-level function, since it runs in child processes.
        settings: a frozen dataclass with ``record()``.
        workers: processes; 1 works in this one.

    Returns:
        number of parts that were made in this run.
    """
    out.mkdir(parents=True, exist_ok=True)
    stamp = json.dumps(settings.record(), sort_keys=True)
    names: set[str] = set()
    made = 0

    def jobs() -> Iterator[tuple[pa.Table, Path]]:
        nonlocal made
        for chunk in chunks:
            path = out / f"part-{_hash(stamp, chunk)}.parquet"
            if path.name in names:
                raise DedupError(f"{len(chunk)} rows occur twice in the input, with the same keys: keys must be unique")
            names.add(path.name)
            if path.is_file():
                progress(len(chunk))
            else:
                made += 1
                yield chunk, path

    if workers == 1:
        for chunk, path in jobs():
            progress(_make_part(make, chunk, settings, str(path)))
    else:
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
            running: set[Future[int]] = set()
            for chunk, path in jobs():
                running.add(pool.submit(_make_part, make, chunk, settings, str(path)))
                if len(running) >= 2 * workers:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        progress(future.result())
            for future in running:
                progress(future.result())
    for path in out.iterdir():
        if path.name not in names and (path.name.startswith("part-") and path.suffix in (".parquet", ".tmp")):
            path.unlink()
    return made


def _make_part(make: Make, chunk: pa.Table, settings: Any, path: str) -> int:
    write_parquet(make(chunk, settings), Path(path))
    return len(chunk)


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write to a temporary name first, so that a file under its own name is whole."""
    part = path.with_suffix(".tmp")
    pq.write_table(table, part, compression="zstd", compression_level=1, use_dictionary=False, write_statistics=False)
    part.replace(path)


def _hash(stamp: str, chunk: pa.Table) -> str:
    digest = hashlib.sha256(stamp.encode())
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, chunk.schema) as stream:
        stream.write_table(chunk.combine_chunks())
    digest.update(sink.getvalue())
    return digest.hexdigest()[:24]


def parts_of(folder: Path) -> list[Path]:
    """Parquet files of a folder, sorted.

    Raises:
        DedupError: there are none.
    """
    parts = sorted(folder.glob("*.parquet"))
    if not parts:
        raise DedupError(f"{folder} holds no signature parts (*.parquet)")
    return parts


def fingerprint(parts: Iterable[Path], record: Mapping[str, Any]) -> str:
    """Of the content of all parts, whatever they are called, and of the settings."""
    import xxhash

    hashes = []
    for part in parts:
        hasher = xxhash.xxh3_128()
        with part.open("rb") as file:
            while block := file.read(1 << 22):
                hasher.update(block)
        hashes.append(hasher.hexdigest())
    text = json.dumps([sorted(hashes), dict(record)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


class Scratch:
    """A work folder of one fingerprint: steps that were finished before a kill are not done again.

    Args:
        folder: anything of another fingerprint in it is removed.
        stamp: of input and settings.
    """

    def __init__(self, folder: Path, stamp: str):
        self.folder = folder
        said = folder / "fingerprint"
        if not said.is_file() or said.read_text() != stamp:
            if folder.is_dir():
                if any(folder.iterdir()) and not said.is_file():
                    raise DedupError(f"{folder} holds something that is not deduplication's: choose another folder")
                shutil.rmtree(folder)
            folder.mkdir(parents=True)
            said.write_text(stamp)

    def done(self, step: str) -> bool:
        return (self.folder / f"{step}.done").is_file()

    def finish(self, step: str) -> None:
        (self.folder / f"{step}.done").touch()

    def array(self, name: str, dtype: Any, shape: tuple[int, ...], *, new: bool = False) -> np.ndarray:
        """A memory-mapped array of the folder; an empty one is an ordinary array (nothing can be mapped)."""
        if 0 in shape:
            return np.empty(shape, dtype)
        return np.memmap(self.folder / name, dtype, "w+" if new else "r+", shape=shape)

    def append(self, files: dict[str, Any], name: str, values: np.ndarray) -> None:
        if name not in files:
            files[name] = (self.folder / name).open("wb")
        files[name].write(np.ascontiguousarray(values).data)


def matrix(column: pa.ChunkedArray) -> np.ndarray:
    """(N, width) of a fixed-size list column."""
    values = column.combine_chunks()
    values = values.chunk(0) if isinstance(values, pa.ChunkedArray) else values
    return np.asarray(values.flatten()).reshape(len(values), values.type.list_size)


def ranked(keys: pa.ChunkedArray, order: pa.ChunkedArray | None) -> np.ndarray:
    """Positions from the most to the least preferred: by ``order`` (small first, missing last), then by key.

    Raises:
        DedupError: a key occurs twice, or is missing.
    """
    if keys.null_count:
        raise DedupError(f"{keys.null_count} rows have no key")
    if len(keys.unique()) != len(keys):
        twice = next(count for count in keys.value_counts().to_pylist() if count["counts"] > 1)
        raise DedupError(f"the key {twice['values']!r} occurs {twice['counts']} times: keys must be unique")
    table = pa.table({"key": keys, "place": np.arange(len(keys)), **({"order": order} if order is not None else {})})
    names = [("order", "ascending")] if order is not None else []
    return np.asarray(table.sort_by([*names, ("key", "ascending")])["place"])
