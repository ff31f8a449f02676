"""Signatures of texts: a pure function of the texts, for any number of parts and workers."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa

from pretrain.dedup.errors import DedupError
from pretrain.dedup.lsh import band_hashes, choose_bands
from pretrain.dedup.words import Codes, Kind, normalise, tokens

_codes = Codes()
_NO_WORD = (Kind.end, Kind.sign)


@dataclass(frozen=True)
class TextSettings:
    """What makes two texts near-duplicates.

    Attributes:
        threshold: Jaccard similarity of their sets of word n-grams, from which on they are.
        ngram: words a shingle; a shorter text is one shingle and only equals itself.
        hashes: MinHash values a text; the bands are chosen from them (:func:`pretrain.dedup.lsh.choose_bands`).
        found: probability with which a pair at the threshold must be looked at.
        guard: never merge texts that differ in a number, side, negation, degree or given term.
        seed: of the MinHash permutations.
    """

    threshold: float = 0.8
    ngram: int = 3
    hashes: int = 256
    found: float = 0.995
    guard: bool = True
    seed: int = 1

    def __post_init__(self):
        if not 1 <= self.ngram <= 16:
            raise DedupError(f"a shingle has 1 to 16 words, not {self.ngram}")
        choose_bands(self.threshold, self.found, self.hashes)

    @cached_property
    def bands(self) -> tuple[int, int]:
        """(bands, rows)."""
        return choose_bands(self.threshold, self.found, self.hashes)

    def record(self) -> dict[str, Any]:
        """What a signature depends on and what the decision depends on, for JSON."""
        return {**asdict(self), "bands": list(self.bands), "version": 1}


def text_signatures(
    texts: Sequence[str | None], settings: TextSettings, terms: Sequence[Iterable[str]] | None = None
) -> pa.Table:
    """What :func:`pretrain.dedup.text_run.text_duplicates` has to know of each text.

    Args:
        texts: N texts; None and texts without a word are nobody's duplicate.
        terms: for each text, names of what it speaks of (entity ids of the tagger); texts with different sets are never
            merged while ``settings.guard`` is on.

    Returns:
        N rows: ``exact`` (16 bytes, hash of the normalised text), ``bands`` (list of uint64), ``facts`` (list of 5
        uint64) and ``shingles`` (sorted distinct uint64). The caller adds ``key`` and, if it likes, ``order``.
    """
    from pretrain.dedup.kernels import fact_hashes, shingle_sets

    normal = [normalise(text or "") for text in texts]
    split = [tokens(text) for text in normal]
    coded = [[_codes[token] for token in words] for words in split]
    starts = np.cumsum([0, *map(len, coded)], dtype=np.int64)
    codes = np.fromiter((code for words in coded for code in words), np.uint64, count=int(starts[-1]))
    hashes, begins = shingle_sets(codes, starts, settings.ngram)
    facts = np.column_stack([fact_hashes(codes, starts), _term_hashes(terms, len(texts))])
    lines = [" ".join(t for t, c in zip(w, k, strict=True) if c & 15 not in _NO_WORD) for w, k in zip(split, coded)]
    bands = band_hashes(minhash(lines, settings), *settings.bands)
    exact = [blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest() for text in normal]
    return pa.table(
        {
            "exact": pa.array(exact, pa.binary(16)),
            "bands": _fixed(bands),
            "facts": _fixed(facts),
            "shingles": pa.LargeListArray.from_arrays(pa.array(begins), pa.array(hashes)),
        }
    )


def minhash(lines: Sequence[str], settings: TextSettings) -> np.ndarray:
    """(N, hashes) uint32 MinHash values of the word n-grams of lines whose words have one space between them."""
    import daft

    bands, rows = settings.bands
    # Daft's kernel on a Series needs no runner of its own, so it may be called inside one of Daft's workers.
    made = daft.Series.from_pylist(list(lines), dtype=daft.DataType.string()).minhash(
        bands * rows, settings.ngram, settings.seed, "xxhash3_64"
    )
    values = made.to_arrow()
    values = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    return np.asarray(values.flatten()).reshape(len(lines), bands * rows)


def _fixed(values: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def _term_hashes(terms: Sequence[Iterable[str]] | None, count: int) -> np.ndarray:
    made = np.zeros(count, np.uint64)
    if terms is not None:
        if len(terms) != count:
            raise DedupError(f"there are terms for {len(terms)} texts, and {count} texts")
        for i, names in enumerate(terms):
            joined = "\0".join(sorted(set(names))).encode("utf-8", "surrogatepass")
            made[i] = int.from_bytes(blake2b(joined, digest_size=8).digest(), "little") if joined else 0
    return made
