"""Duplicates among all pictures: hashes and embeddings propose pairs, registration and fine detail decide."""

import logging
import multiprocessing
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pretrain.dedup import align
from pretrain.dedup.errors import DedupError
from pretrain.dedup.image import VIEWS, WORDS, ImageSettings
from pretrain.dedup.store import Scratch, fingerprint, matrix, parts_of, ranked, write_parquet

log = logging.getLogger(__name__)

DECISIONS, PAIRS = "image_decisions.parquet", "image_pairs.parquet"
RELATIONS = ("unique", "same pixels", "same exposure", "negative", "blank")
_CHUNK = 256  # pairs verified between two files


def image_duplicates(
    signatures: Path,
    work: Path,
    settings: ImageSettings,
    *,
    workers: int = 1,
    progress: Callable[[str, int, int], None] = lambda step, done, total: None,
) -> Path:
    """Decide for every picture of a folder of signature parts; the result depends on rows and settings only.

    Args:
        signatures: parts of :func:`pretrain.dedup.image.image_signatures` with ``key`` and, optionally, ``order``.
        work: folder for intermediate files and results; a killed run goes on behind the last verified chunk.
        workers: processes that verify.

    Returns:
        path of a table sorted by ``key``: ``relation`` (unique, same pixels, same exposure, negative, blank),
        ``keeper`` (key; its own where kept), ``agreement`` (with the keeper, null where kept), ``cluster`` (key of the
        first picture of the same exposure), ``group`` (the same with mirror images: never cut by a split), and
        ``crowded`` (it had more likely neighbours than were looked at). Beside it lies ``image_pairs.parquet`` with
        every pair that was verified: ``a``, ``b``, ``relation`` (also "mirrored", "other"), ``agreement``, ``common``.

    Raises:
        DedupError: no parts, missing columns, keys that are not unique.
    """
    parts = parts_of(signatures)
    scratch = Scratch(work, fingerprint(parts, settings.record()))
    if scratch.done("decisions"):
        return work / DECISIONS
    pictures = _Pictures(parts)
    progress("candidates", 0, 1)
    if not scratch.done("candidates"):
        _write_candidates(pictures, settings, work / "candidates.parquet")
        scratch.finish("candidates")
    table = pq.read_table(work / "candidates.parquet")
    pairs = np.stack([np.asarray(table["i"]), np.asarray(table["j"])], axis=1)
    links = _Links(pairs, np.asarray(table["mirrored"]), np.zeros((0, 3)))
    squares = _gather_squares(pictures, parts, np.unique(pairs), scratch)
    links.found = _verify(links, squares, scratch, 0, workers, progress)
    for round_ in range(1, 1000):
        # Kept pictures that are connected by others, but were not compared themselves: now they are.
        more = links.missing(settings)
        if not len(more.pairs):
            break
        more.found = _verify(more, squares, scratch, round_, workers, progress)
        links = links.joined(more)
    crowded = np.asarray(pq.read_table(work / "candidates.crowded")["i"])
    _write(pictures, links, crowded, settings, work)
    scratch.finish("decisions")
    (work / "squares").unlink(missing_ok=True)
    return work / DECISIONS


def summary(decisions: Path) -> dict[str, int]:
    """Counts by relation, of pairs of mirror images, and of pictures with too many neighbours."""
    table = pq.read_table(decisions, columns=["relation", "crowded"])
    counts = Counter(table["relation"].to_pylist())
    counts["more likely neighbours than were looked at"] = sum(table["crowded"].to_pylist())
    pairs = pq.read_table(decisions.with_name(PAIRS), columns=["relation"])
    counts["pairs of mirror images"] = pairs["relation"].to_pylist().count("mirrored")
    return {name: n for name, n in sorted(counts.items()) if n}


class _Pictures:
    """Everything but the squares, in memory (about 500 bytes a picture), from the most to the least preferred."""

    def __init__(self, parts: list[Path]):
        tables, rows = [], []
        for number, part in enumerate(parts):
            names = pq.read_schema(part).names
            if missing := {"key", "pixels", "blank", "hashes", "square"} - set(names):
                raise DedupError(
                    f"{part} has no column {', '.join(sorted(missing))}: it is no part of image signatures"
                )
            table = pq.read_table(part, columns=[n for n in names if n != "square"])
            tables.append(table)
            rows += [(number, row) for row in range(len(table))]
        try:
            table = pa.concat_tables(tables)
        except pa.ArrowInvalid as error:
            raise DedupError(f"the parts do not agree on their columns: {error}") from error
        order = ranked(table["key"], table["order"] if "order" in table.column_names else None)
        table = table.take(pa.array(order))
        self.where = np.array(rows, np.int64).reshape(-1, 2)[order]
        self.keys = table["key"]
        self.pixels = table["pixels"].to_pylist()
        self.blank = np.array(table["blank"].to_pylist(), bool)
        self.hashes = matrix(table["hashes"]).reshape(len(table), VIEWS + 1, WORDS)
        self.vectors = matrix(table["embedding"]) if "embedding" in table.column_names else None
        first: dict[bytes, int] = {}
        self.first = np.array([first.setdefault(p, i) for i, p in enumerate(self.pixels)], np.int64)
        self.first[self.blank] = np.flatnonzero(self.blank)


def _write_candidates(pictures: _Pictures, settings: ImageSettings, path: Path) -> None:
    """Pairs of pictures with different pixels that may show the same exposure."""
    from pretrain.dedup.neighbours import embedding_pairs, hash_pairs

    who = np.flatnonzero((pictures.first == np.arange(len(pictures.first))) & ~pictures.blank)
    plain, mirrored, crowded = hash_pairs(pictures.hashes[who], settings.radius, settings.neighbours)
    if pictures.vectors is not None:
        more, full = embedding_pairs(pictures.vectors[who], settings.cosine, settings.neighbours)
        plain, crowded = np.unique(np.concatenate([plain, more]), axis=0), crowded | full
    pairs = who[np.concatenate([plain, mirrored])].reshape(-1, 2)
    flags = np.arange(len(pairs)) >= len(plain)
    write_parquet(pa.table({"i": who[crowded]}), path.with_suffix(".crowded"))
    write_parquet(pa.table({"i": pairs[:, 0], "j": pairs[:, 1], "mirrored": flags}), path)
    log.info("%d pairs of pictures are verified, %d of them mirrored", len(pairs), len(mirrored))


class _Squares:
    """The small pictures of those that are in a pair; sorted places, memory-mapped."""

    def __init__(self, path: Path, places: np.ndarray):
        self.path, self.places = path, places

    def get(self, place: int) -> np.ndarray:
        shape = (len(self.places), align.SIDE, align.SIDE)
        return np.memmap(self.path, np.uint8, "r", shape=shape)[np.searchsorted(self.places, place)]


def _gather_squares(pictures: _Pictures, parts: list[Path], places: np.ndarray, scratch: Scratch) -> _Squares:
    squares = _Squares(scratch.folder / "squares", places)
    if scratch.done("squares") or not len(places):
        return squares
    out = scratch.array("squares", np.uint8, (len(places), align.SIDE, align.SIDE), new=True)
    where = pictures.where[places]
    for number in np.unique(where[:, 0]):
        column = pq.read_table(parts[number], columns=["square"])["square"]
        for at in np.flatnonzero(where[:, 0] == number):
            data = np.frombuffer(column[int(where[at, 1])].as_py(), np.uint8)
            if data.size != align.SIDE**2:
                raise DedupError(f"{parts[number]} holds small pictures of another size: sign the pictures anew")
            out[at] = data.reshape(align.SIDE, align.SIDE)
    scratch.finish("squares")
    return squares


@dataclass
class _Links:
    """Pairs i < j of places in the order of preference, which of them mirrored, and what verification found."""

    pairs: np.ndarray
    mirrored: np.ndarray
    found: np.ndarray  # (P, 3): agreement, common share, negative

    def kind(self, settings: ImageSettings) -> np.ndarray:
        """(P,): 0 other, 1 mirrored, 2 negative, 3 same exposure."""
        same = (self.found[:, 0] >= settings.agreement) & (self.found[:, 1] >= align.LEAST_COMMON)
        return np.select([same & self.mirrored, same & (self.found[:, 2] > 0), same], [1, 2, 3], 0)

    def joined(self, more: "_Links") -> "_Links":
        return _Links(
            np.concatenate([self.pairs, more.pairs]),
            np.concatenate([self.mirrored, more.mirrored]),
            np.concatenate([self.found, more.found]),
        )

    def keepers(self, settings: ImageSettings) -> dict[int, int]:
        """Place -> index of the pair by which it is dropped: the pair with the most preferred kept picture."""
        kind = self.kind(settings)
        edges: dict[int, list[int]] = {}
        for at in np.lexsort((self.pairs[:, 0], self.pairs[:, 1])):
            if kind[at] >= 2:
                edges.setdefault(int(self.pairs[at, 1]), []).append(int(at))
        dropped: dict[int, int] = {}
        for x in sorted(edges):  # every i < x is decided before x
            for at in edges[x]:
                if int(self.pairs[at, 0]) not in dropped:
                    dropped[x] = at
                    break
        return dropped

    def missing(self, settings: ImageSettings) -> "_Links":
        """Pairs of kept pictures in one component that were not compared yet."""
        kind = self.kind(settings)
        edges = self.pairs[kind >= 2]
        places, at = np.unique(edges, return_inverse=True)
        label = _components(len(places), at.reshape(-1, 2), np.arange(len(places)))
        dropped = self.keepers(settings)
        kept: dict[int, list[int]] = {}
        for place, of in zip(places.tolist(), label.tolist(), strict=True):
            if place not in dropped:
                kept.setdefault(of, []).append(place)
        known = {(i, j) for (i, j), flip in zip(self.pairs.tolist(), self.mirrored.tolist(), strict=True) if not flip}
        new = [pair for group in kept.values() for pair in combinations(group, 2) if pair not in known]
        pairs = np.array(sorted(new), np.int64).reshape(-1, 2)
        return _Links(pairs, np.zeros(len(pairs), bool), np.zeros((0, 3)))


def _verify(
    links: _Links,
    squares: _Squares,
    scratch: Scratch,
    round_: int,
    workers: int,
    progress: Callable[[str, int, int], None],
) -> np.ndarray:
    """(P, 3) float64: agreement, common share and sign of each pair; a chunk that is on the disk is not done again."""
    pairs, mirrored = links.pairs, links.mirrored
    total = -(-len(pairs) // _CHUNK)
    paths = [scratch.folder / f"verified-{round_:03d}-{number:06d}.npy" for number in range(total)]
    jobs = []
    for start, path in zip(range(0, len(pairs), _CHUNK), paths, strict=True):
        if not path.is_file():
            jobs.append((pairs[start : start + _CHUNK], mirrored[start : start + _CHUNK], squares, path))
    if workers == 1:
        for done, job in enumerate(jobs):
            progress("verify", total - len(jobs) + done, total)
            _verify_chunk(job)
    elif jobs:
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
            for done, _ in enumerate(pool.map(_verify_chunk, jobs)):
                progress("verify", total - len(jobs) + done, total)
    chunks = [np.load(path) for path in paths]
    return np.concatenate(chunks) if chunks else np.zeros((0, 3))


def _verify_chunk(job: tuple[np.ndarray, np.ndarray, _Squares, Path]) -> None:
    pairs, mirrored, squares, path = job
    details: dict[int, align.Detail] = {}

    def detail(place: int) -> align.Detail:
        if place not in details:
            if len(details) > 64:
                details.clear()
            details[place] = align.detail_of(squares.get(place))
        return details[place]

    found = np.zeros((len(pairs), 3))
    for at, ((i, j), flip) in enumerate(zip(pairs.tolist(), mirrored.tolist(), strict=True)):
        other = align.detail_of(squares.get(j)[:, ::-1]) if flip else detail(j)
        match = align.compare(detail(i), other)
        found[at] = match.agreement, match.common, match.negative
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.save(file, found)
    part.replace(path)


def _write(pictures: _Pictures, links: _Links, crowded: np.ndarray, settings: ImageSettings, work: Path) -> None:
    """Walk from the most preferred picture on; drop one that is proven to be the same as one that was kept."""
    count = len(pictures.keys)
    pairs, found, kind = links.pairs, links.found, links.kind(settings)
    names = pa.array(["other", "mirrored", "negative", "same exposure"])
    write_parquet(
        pa.table(
            {
                "a": pictures.keys.take(pa.array(pairs[:, 0])),
                "b": pictures.keys.take(pa.array(pairs[:, 1])),
                "relation": names.take(pa.array(kind)),
                "agreement": np.round(found[:, 0], 4),
                "common": np.round(found[:, 1], 4),
            }
        ),
        work / PAIRS,
    )
    keeper, relation, agreement = np.arange(count), np.zeros(count, np.int64), np.ones(count)
    for x, at in links.keepers(settings).items():
        keeper[x], relation[x], agreement[x] = pairs[at, 0], 2 if kind[at] == 3 else 3, found[at, 0]
    first = pictures.first
    equal = (first != np.arange(count)) & (keeper[first] == first)
    final = keeper[first]
    relation = np.where(equal, 1, relation[first])
    relation[pictures.blank] = 4
    kept = final == np.arange(count)
    write_parquet(
        pa.table(
            {
                "key": pictures.keys,
                "relation": pa.array(RELATIONS).take(pa.array(relation)),
                "keeper": pictures.keys.take(pa.array(final)),
                "agreement": pa.array(np.round(agreement[first], 4), pa.float64(), mask=kept),
                "cluster": pictures.keys.take(pa.array(_components(count, pairs[kind >= 2], first))),
                "group": pictures.keys.take(pa.array(_components(count, pairs[kind >= 1], first))),
                "crowded": pa.array(np.isin(first, crowded)),
            }
        ).sort_by("key"),
        work / DECISIONS,
    )


def _components(count: int, edges: np.ndarray, first: np.ndarray) -> np.ndarray:
    """For each place the least place that it is connected with (union-find by scipy)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    a = np.concatenate([edges[:, 0], np.arange(count)])
    b = np.concatenate([edges[:, 1], first])
    number, label = connected_components(coo_array((np.ones(len(a), np.int8), (a, b)), shape=(count, count)), False)
    least = np.full(number, count, np.int64)
    np.minimum.at(least, label, np.arange(count))
    return least[label]
