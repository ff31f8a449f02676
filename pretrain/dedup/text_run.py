"""Duplicates among all texts: exact ones by hash, near ones by MinHash bands and exact Jaccard similarity.

Texts are walked from the most preferred on. One is dropped when a kept one is proven to be similar: so every dropped
text has a kept witness at the stated threshold, and nothing is lost through a chain of ever less similar texts. The
chain (connected component) is still reported as ``cluster``.
"""

import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pretrain.dedup.errors import DedupError
from pretrain.dedup.lsh import mix64
from pretrain.dedup.store import Scratch, fingerprint, matrix, parts_of, ranked, write_parquet
from pretrain.dedup.text import TextSettings
from pretrain.dedup.words import FACTS

log = logging.getLogger(__name__)

DECISIONS = "text_decisions.parquet"
RELATIONS = ("unique", "exact", "near", "no text")


def text_duplicates(
    signatures: Path,
    work: Path,
    settings: TextSettings,
    *,
    progress: Callable[[str], None] = lambda step: None,
) -> Path:
    """Decide for every text of a folder of signature parts; the result depends on rows and settings only.

    Memory grows by about 400 bytes a text and 8 a shingle, most of it in memory-mapped files of ``work``.

    Args:
        signatures: parts of :func:`pretrain.dedup.text.text_signatures` with ``key`` and, optionally, ``order`` (any
            type that sorts; the smallest is preferred as keeper, then the smallest key).
        work: folder for intermediate files and the result; a killed run goes on from the last finished step.

    Returns:
        path of a table sorted by ``key``: ``relation`` (unique, exact, near, no text), ``keeper`` (key; its own where
        the text is kept), ``jaccard`` (to the keeper, null where kept), ``cluster`` (key of the first of all texts that
        are connected), ``refused`` (facts, joined by "+", in which a near-duplicate in the corpus differs: such pairs
        were not merged).

    Raises:
        DedupError: no parts, missing columns, keys that are not unique.
    """
    parts = parts_of(signatures)
    scratch = Scratch(work, fingerprint(parts, settings.record()))
    result = work / DECISIONS
    if scratch.done("decisions"):
        return result
    if not scratch.done("gathered"):
        progress("gather signatures")
        _gather(parts, scratch, settings)
        scratch.finish("gathered")
    keys = pq.read_table(work / "keys.parquet")
    order = ranked(keys["key"], keys["order"] if "order" in keys.column_names else None)
    columns = _Columns(scratch, len(keys), settings)
    progress("exact duplicates")
    first = _exact(columns.exact, order)
    progress("near-duplicates: bands")
    near = _Near(columns, order, first, settings, scratch)
    progress("near-duplicates: compare")
    keeper, similarity, cluster = near.decide()
    _write(result, keys["key"], columns, first, keeper, similarity, cluster, near.refused)
    scratch.finish("decisions")
    for name in ("bands", "facts", "exact", "shingles", "lengths", "buckets", "after"):
        (work / name).unlink(missing_ok=True)
    return result


def summary(decisions: Path) -> dict[str, int]:
    """Counts by relation, and of texts that the guard kept apart from a near-duplicate, by fact."""
    table = pq.read_table(decisions, columns=["relation", "refused"])
    counts = Counter(table["relation"].to_pylist())
    for refused in table["refused"].to_pylist():
        counts.update(f"near-duplicate differs in {fact}" for fact in refused.split("+") if fact)
    return dict(sorted(counts.items()))


def _gather(parts: list[Path], scratch: Scratch, settings: TextSettings) -> None:
    """Columns of all parts, one after another, as flat files; one part in memory at a time."""
    bands, _ = settings.bands
    files: dict[str, Any] = {}
    keys = []
    for part in parts:
        table = pq.read_table(part)
        if missing := {"key", "exact", "bands", "facts", "shingles"} - set(table.column_names):
            raise DedupError(f"{part} has no column {', '.join(sorted(missing))}: it is no part of text signatures")
        keys.append(table.select([n for n in ("key", "order") if n in table.column_names]))
        if not len(table):
            continue
        exact = np.frombuffer(b"".join(table["exact"].to_pylist()), np.uint64).reshape(-1, 2)
        found = matrix(table["bands"])
        if found.shape[1] != bands:
            raise DedupError(f"{part} has {found.shape[1]} bands and the settings ask for {bands}: sign the texts anew")
        shingles = table["shingles"].combine_chunks()
        shingles = shingles.chunk(0) if isinstance(shingles, pa.ChunkedArray) else shingles
        offsets = np.asarray(shingles.offsets)
        for name, values in (
            ("exact", exact),
            ("bands", found),
            ("facts", matrix(table["facts"])),
            ("shingles", np.asarray(shingles.flatten())),
            ("lengths", np.diff(offsets)),
        ):
            scratch.append(files, name, values)
    for file in files.values():
        file.close()
    try:
        write_parquet(pa.concat_tables(keys), scratch.folder / "keys.parquet")
    except pa.ArrowInvalid as error:
        raise DedupError(f"the parts do not agree on their columns key and order: {error}") from error


class _Columns:
    """The gathered columns of N texts, memory-mapped."""

    def __init__(self, scratch: Scratch, count: int, settings: TextSettings):
        self.exact = scratch.array("exact", np.uint64, (count, 2))
        self.bands = scratch.array("bands", np.uint64, (count, settings.bands[0]))
        self.facts = scratch.array("facts", np.uint64, (count, len(FACTS)))
        lengths = scratch.array("lengths", np.int64, (count,))
        self.begins = np.zeros(count + 1, np.int64)
        np.cumsum(lengths, out=self.begins[1:])
        self.shingles = scratch.array("shingles", np.uint64, (int(self.begins[-1]),))

    @property
    def has_text(self) -> np.ndarray:
        return np.diff(self.begins) > 0


def _exact(exact: np.ndarray, order: np.ndarray) -> np.ndarray:
    """For each position the most preferred one with the same text."""
    sort = order[np.lexsort((exact[order, 1], exact[order, 0]))]  # stable: preference decides within a text
    new = np.ones(len(sort), bool)
    new[1:] = (exact[sort[1:]] != exact[sort[:-1]]).any(axis=1)
    first = np.empty(len(order), np.int64)
    first[sort] = sort[np.maximum.accumulate(np.where(new, np.arange(len(sort)), 0))]
    return first


class _Near:
    """Near-duplicates among the first ones of all exact texts."""

    def __init__(
        self, columns: _Columns, order: np.ndarray, first: np.ndarray, settings: TextSettings, scratch: Scratch
    ):
        self.columns, self.order, self.settings, self.scratch = columns, order, settings, scratch
        self.rank = np.empty(len(order), np.int64)
        self.rank[order] = np.arange(len(order))
        alone = (first == np.arange(len(first))) & columns.has_text
        self.who = order[alone[order]]
        self.refused = np.zeros(len(order), np.uint8)
        self.buckets, self.count = self._fill_buckets()

    def _fill_buckets(self) -> tuple[np.ndarray, int]:
        """Number the groups that share a band (and, guarded, all facts): (N, bands) int32, -1 where alone."""
        bands = self.columns.bands.shape[1]
        buckets = self.scratch.array("buckets", np.int32, self.columns.bands.shape, new=True)
        facts = np.zeros(len(self.who), np.uint64)
        for f in range(self.columns.facts.shape[1]):
            facts = mix64(facts ^ self.columns.facts[self.who, f])
        count = 0
        for band in range(bands):
            hashes = np.asarray(self.columns.bands[self.who, band])
            if self.settings.guard:
                self._note_refused(hashes, facts)
                hashes = mix64(hashes) ^ facts
            numbers, groups = _groups(hashes)
            numbers[numbers >= 0] += count
            count += groups
            if count >= 1 << 31:
                raise DedupError(f"{len(self.who)} texts share more groups than can be numbered: split the corpus")
            buckets[:, band] = -1
            buckets[self.who, band] = numbers
        return buckets, count

    def _note_refused(self, hashes: np.ndarray, facts: np.ndarray) -> None:
        """Neighbours in a band with other facts: would they be near-duplicates?"""
        from pretrain.dedup.kernels import differ_in

        sort = np.lexsort((facts, hashes))
        a, b = sort[:-1], sort[1:]
        pair = (hashes[a] == hashes[b]) & (facts[a] != facts[b])
        differ_in(
            self.who[a[pair]], self.who[b[pair]], self.columns.shingles, self.columns.begins, self.columns.facts,
            self.settings.threshold, self.refused,
        )  # fmt: skip

    def decide(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For each position its keeper, the similarity to it, and the first of its cluster."""
        from pretrain.dedup.kernels import keep_greedily

        total = len(self.order)
        keeper, parent = np.arange(total), np.arange(total)
        similarity = np.ones(total)
        head = np.full(max(self.count, 1), -1, np.int32)
        after = self.scratch.array("after", np.int32, self.buckets.shape, new=True)
        compared = keep_greedily(
            self.who, self.rank, self.buckets, head, after, self.columns.shingles, self.columns.begins,
            self.settings.threshold, keeper, similarity, parent,
        )  # fmt: skip
        log.info("%d pairs of texts were compared", compared)
        while (parent[parent] != parent).any():
            parent = parent[parent]
        return keeper, similarity, parent


def _groups(hashes: np.ndarray) -> tuple[np.ndarray, int]:
    """Number values that occur at least twice: (N,) int64 with -1 for the others, and how many numbers there are."""
    sort = np.argsort(hashes, kind="stable")
    ordered = hashes[sort]
    same = ordered[1:] == ordered[:-1]
    grouped = np.zeros(len(hashes), bool)
    grouped[1:] |= same
    grouped[:-1] |= same
    starts = grouped.copy()
    starts[1:] &= ~same
    numbers = np.empty(len(hashes), np.int64)
    numbers[sort] = np.where(grouped, np.cumsum(starts) - 1, -1)
    return numbers, int(starts.sum())


def _write(
    path: Path,
    keys: pa.ChunkedArray,
    columns: _Columns,
    first: np.ndarray,
    keeper: np.ndarray,
    similarity: np.ndarray,
    cluster: np.ndarray,
    refused: np.ndarray,
) -> None:
    count = len(keys)
    here = np.arange(count)
    has_text = columns.has_text
    kept_by = np.where(has_text, keeper[first], here)  # the keeper of the same text's first one
    clusters = np.where(has_text, cluster[first], here)
    same_text = (columns.exact[kept_by] == columns.exact).all(axis=1) if count else np.zeros(0, bool)
    kept = kept_by == here
    relation = np.where(kept, 0, np.where(same_text, 1, 2))
    relation[~has_text] = 3
    names = pa.array(["+".join(f for i, f in enumerate(FACTS) if bits >> i & 1) for bits in range(1 << len(FACTS))])
    table = pa.table(
        {
            "key": keys,
            "relation": pa.array(RELATIONS).take(pa.array(relation)),
            "keeper": keys.take(pa.array(kept_by)),
            "jaccard": pa.array(np.where(same_text, 1.0, similarity[first]), pa.float64(), mask=kept),
            "cluster": keys.take(pa.array(clusters)),
            "refused": names.take(pa.array(refused[first].astype(np.int64))),
        }
    )
    write_parquet(table.sort_by("key"), path)
