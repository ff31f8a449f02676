"""Locality-sensitive hashing of MinHash signatures: which pairs are looked at, and how sure that is.

Source: Broder 1997 (MinHash); Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, section 3.4 (bands).
"""

import numpy as np

from pretrain.dedup.errors import DedupError

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def candidate_probability(similarity: float, bands: int, rows: int) -> float:
    """Probability that two documents share at least one band: ``P = 1 - (1 - s^r)^b``.

    Args:
        similarity: Jaccard similarity s of their shingle sets, 0 to 1.
        bands, rows: b bands of r MinHash values each.
    """
    return 1.0 - (1.0 - similarity**rows) ** bands


def choose_bands(threshold: float, at_least: float = 0.995, hashes: int = 256) -> tuple[int, int]:
    """The most selective (bands, rows) that find a pair at the threshold with a given probability.

    More rows give fewer useless candidates, so the largest r is taken whose ``b = hashes // r`` bands still suffice.

    Args:
        threshold: Jaccard similarity from which a pair must be found, above 0, at most 1.
        at_least: the probability at the threshold itself; above it the probability is higher.
        hashes: MinHash values a document may have.

    Raises:
        DedupError: no split of that many hashes reaches the probability.
    """
    if not 0 < threshold <= 1:
        raise DedupError(f"a Jaccard threshold lies above 0 and is at most 1, not {threshold}")
    for rows in range(min(hashes, 64), 0, -1):
        bands = hashes // rows
        if candidate_probability(threshold, bands, rows) >= at_least:
            return bands, rows
    raise DedupError(
        f"{hashes} hashes cannot find pairs at Jaccard {threshold} with probability {at_least}: give more hashes, "
        "or a higher threshold"
    )


def band_hashes(signatures: np.ndarray, bands: int, rows: int) -> np.ndarray:
    """One 64-bit number a band, equal where the band's values are equal.

    Args:
        signatures: (N, bands * rows) uint32 MinHash values.

    Returns:
        (N, bands) uint64. Two different bands of values collide with probability 2^-64; a collision costs a comparison.
    """
    values = signatures.astype(np.uint64).reshape(len(signatures), bands, rows)
    mixed = np.broadcast_to(np.arange(1, bands + 1, dtype=np.uint64) * _GOLDEN, values.shape[:2]).copy()
    for row in range(rows):
        mixed = mix64(mixed ^ values[:, :, row])
    return mixed


def mix64(values: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64 after one step of its sequence: a bijection that spreads each bit over all."""
    with np.errstate(over="ignore"):
        values = values + _GOLDEN
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return values ^ (values >> np.uint64(31))
