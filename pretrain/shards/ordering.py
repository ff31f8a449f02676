"""Keyed counters: shuffles and quotas that are pure functions of a seed, the same on every machine and numpy version.

Numpy's own generators may change their streams between versions (NEP 19), and a resumed run must not change its order
when a library is upgraded; so the mixing function is spelt out here.
"""

import hashlib
import json
import math
from typing import Any

import numpy as np


def derive(*parts: Any) -> int:
    """A 64-bit key from JSON-able parts."""
    text = json.dumps(parts, sort_keys=True).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "little")


def keyed_hash(key: int, counters: np.ndarray) -> np.ndarray:
    """(N,) uint64 pseudo-random numbers for (N,) counters: SplitMix64 (Steele et al., OOPSLA 2014)."""
    with np.errstate(over="ignore"):
        z = counters.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def keyed_uniform(key: int, counters: np.ndarray) -> np.ndarray:
    """(N,) float64 in [0, 1)."""
    return (keyed_hash(key, counters) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permutation(key: int, n: int) -> np.ndarray:
    """A shuffle of 0..n-1, (n,) int64."""
    return np.argsort(keyed_hash(key, np.arange(n)), kind="stable")


def repeats(weights: np.ndarray, quota: int, strata: np.ndarray, key: int) -> np.ndarray:
    """How often each of N samples comes in an epoch: floor of its share, plus a stratified draw for the fraction.

    The draw is systematic sampling along the strata (Madow 1949): the sum is the quota exactly, each stratum gets
    within one of its share, and each sample within one of its own.

    Args:
        weights: (N,) >= 0; only their ratios matter.
        quota: samples to give out.
        strata: (N,) group number of each sample, such as its rarest entity.
        key: of the draw.

    Returns:
        (N,) int64, summing to ``quota``.
    """
    total = math.fsum(weights.tolist())
    if quota == 0 or total <= 0:
        return np.zeros(len(weights), np.int64)
    if not math.isfinite(quota / total):  # weights next to nothing: only their ratios matter
        return repeats(weights / weights.max(), quota, strata, key)
    share = weights * (quota / total)
    nearest = np.rint(share)
    share = np.where(np.abs(share - nearest) < 1e-9 * np.maximum(nearest, 1), nearest, share)
    whole = np.floor(share)
    counts = whole.astype(np.int64)
    rest = quota - int(counts.sum())
    if rest > 0:
        order = np.lexsort((keyed_hash(key, np.arange(len(weights))), strata))
        cumulative = np.cumsum((share - whole)[order])
        start = float(keyed_uniform(key, np.array([len(weights)]))[0])
        points = (np.arange(rest) + start) * (cumulative[-1] / rest)
        chosen = order[np.minimum(np.searchsorted(cumulative, points, side="right"), len(order) - 1)]
        np.add.at(counts, chosen, 1)
    return counts
