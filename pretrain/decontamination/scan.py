"""Scanning training data: shards in parallel, one cached result a shard, so a scan that was stopped goes on.

The result of a shard depends on its bytes, the manifests and the version of the rules, and on nothing else; it lies
under ``.decontamination/`` in the shard folder (or where ``cache`` says) and is read back in milliseconds.
"""

import hashlib
import io
import json
import logging
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np

from pretrain.decontamination.content import Content, Table, of_sample
from pretrain.decontamination.judge import Verdict, judge
from pretrain.decontamination.match import Alike, Matcher, Part, SameCluster, SameImage, TextRun
from pretrain.shards.index import ShardSet
from pretrain.shards.reader import ShardReader
from pretrain.shards.tar import write_atomically

log = logging.getLogger(__name__)

CACHE = ".decontamination"
_ROWS = 10_000
_KINDS = {"runs": TextRun, "alike": Alike, "images": SameImage, "clusters": SameCluster}

Source = ShardSet | Table


def scan(
    matcher: Matcher,
    sources: Sequence[Source],
    *,
    workers: int = 1,
    cache: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Verdict:
    """Compare training data with benchmarks.

    Args:
        matcher: the benchmarks.
        sources: shard folders and text tables, with different names.
        workers: processes; the result does not depend on it.
        cache: folder for results of shards; default beside the shards.
        progress: called with the number of samples that are done, shard by shard.

    Raises:
        DataError: a shard is damaged, an image cannot be decoded, a table lacks columns.
    """
    parts: list[tuple[str, Part]] = []
    for name, part in _parts(matcher, sources, workers, cache):
        if progress:
            progress(part.counts["documents"])
        parts.append((name, part))
    return judge(matcher, parts)


def source_name(source: Source) -> str:
    return source.name if isinstance(source, ShardSet) else source.path.stem


def _parts(matcher: Matcher, sources: Sequence[Source], workers: int, cache: Path | None) -> Iterator[tuple[str, Part]]:
    for source in sources:
        if isinstance(source, Table):
            for documents in _batches(source):
                yield source.path.stem, matcher.part(documents)
            continue
        store = _Store(matcher, source, cache)
        kept = [store.load(shard) for shard in range(len(source.shards))]
        made = _scan_shards(matcher, source, [shard for shard, part in enumerate(kept) if part is None], workers)
        for shard, part in enumerate(kept):
            if part is None:
                part = next(made)
                store.save(shard, part)
            yield source.name, part


def _batches(table: Table) -> Iterator[list[Content]]:
    rows = iter(table)
    while batch := list(islice(rows, _ROWS)):
        yield batch


def _scan_shards(matcher: Matcher, source: ShardSet, shards: list[int], workers: int) -> Iterator[Part]:
    if workers <= 1 or len(shards) <= 1:
        for shard in shards:
            yield scan_shard(matcher, source, shard)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(shards)), context, _begin, (matcher, source)) as pool:
        yield from pool.map(_work, shards)


_held: tuple[Matcher, ShardSet] | None = None  # of a worker process


def _begin(matcher: Matcher, source: ShardSet) -> None:
    global _held
    _held = matcher, source


def _work(shard: int) -> Part:
    assert _held is not None
    return scan_shard(*_held, shard)


def scan_shard(matcher: Matcher, source: ShardSet, shard: int) -> Part:
    """What one shard has in common with the benchmarks; records are checked against their hashes."""
    reader = ShardReader(source)
    try:
        return matcher.part(of_sample(reader.sample(n)) for n in range(*source.starts[shard : shard + 2]))
    finally:
        reader.close()


class _Store:
    """Results of the shards of one data set."""

    def __init__(self, matcher: Matcher, source: ShardSet, folder: Path | None):
        self.folder = (folder or source.folder / CACHE) / matcher.digest[:16]
        self.source = source
        self.usable = self._open()

    def _open(self) -> bool:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            log.warning("results of the scan are not kept, the next start scans again: %s", error)
            return False
        return True

    def _path(self, shard: int) -> Path:
        info = self.source.shards[shard]
        key = hashlib.sha256(f"{info.name} {info.sha256} {info.index}".encode()).hexdigest()[:16]
        return self.folder / f"{Path(info.name).stem}-{key}.npz"

    def load(self, shard: int) -> Part | None:
        path = self._path(shard)
        if not self.usable or not path.is_file():
            return None
        try:
            return from_bytes(path.read_bytes())
        except (ValueError, KeyError, OSError, EOFError) as error:
            log.warning("%s is damaged (%s): the shard is scanned again", path, error)
            return None

    def save(self, shard: int, part: Part) -> None:
        if self.usable:
            write_atomically(self._path(shard), to_bytes(part))


def to_bytes(part: Part) -> bytes:
    """A part as a checked archive: the hash of the content first, so that a torn file is seen."""
    head = {"keys": part.keys, "counts": dict(sorted(part.counts.items()))}
    head |= {name: [list(row) for row in getattr(part, name)] for name in _KINDS}
    buffer = io.BytesIO()
    text = np.frombuffer(json.dumps(head).encode(), np.uint8)
    np.savez(buffer, head=text, phrases=part.phrases, known=part.known)
    return hashlib.sha256(buffer.getvalue()).digest() + buffer.getvalue()


def from_bytes(data: bytes) -> Part:
    """
    Raises:
        ValueError: the bytes are not those that were written.
    """
    body = data[32:]
    if hashlib.sha256(body).digest() != data[:32]:
        raise ValueError("its hash is wrong")
    with np.load(io.BytesIO(body), allow_pickle=False) as stored:
        head = json.loads(stored["head"].tobytes())
        rows = {name: [kind(*row) for row in head[name]] for name, kind in _KINDS.items()}
        return Part(
            keys=head["keys"],
            phrases=stored["phrases"],
            known=stored["known"],
            counts=Counter(head["counts"]),
            **rows,
        )


def count_samples(sources: Iterable[Source]) -> int | None:
    """Samples of all sources, None where a table would have to be read to know."""
    total = 0
    for source in sources:
        if isinstance(source, Table):
            return None
        total += len(source)
    return total
