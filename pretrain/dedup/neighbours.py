"""Nearest pictures by perceptual hash and by embedding: every pair is looked at, in bounded memory."""

from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

_BLOCK = 4096


@intrinsic
def _popcount(typing_context, value) -> Any:
    """The processor's own count of bits (LLVM's ctpop)."""

    def generate(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


@njit(cache=True)
def _distance(a, b):
    total = 0
    for w in range(len(a)):
        total += np.int64(_popcount(a[w] ^ b[w]))  # type: ignore[arg-type]
    return total


@njit(cache=True)
def _insert(near, distance, i, j, d):
    """Keep the nearest of picture i, sorted by distance, then place; True where one was pushed out or left out."""
    last = near.shape[1] - 1
    full = near[i, last] >= 0
    if full and (distance[i, last] < d or (distance[i, last] == d and near[i, last] < j)):
        return True
    at = last
    while at > 0 and (
        near[i, at - 1] < 0 or distance[i, at - 1] > d or (distance[i, at - 1] == d and near[i, at - 1] > j)
    ):
        near[i, at], distance[i, at] = near[i, at - 1], distance[i, at - 1]
        at -= 1
    near[i, at], distance[i, at] = j, d
    return full


@njit(cache=True)
def nearest_hashes(hashes, radius, near, distance, mirrored, mirrored_distance, crowded):
    """Fill the lists of nearest pictures.

    Args:
        hashes: (N, VIEWS + 1, WORDS); a pair's distance is the least between one's whole and any view of the other. The
            negative of a picture has nearly the complement of its hash, and counts too.
        radius: largest distance in bits.
        near, distance: (N, k), written; -1 where there are fewer. mirrored, mirrored_distance: the same for pairs in
            which one is the other's mirror image.
        crowded: (N,) bool, written: more than k were within the radius.
    """
    count, views = hashes.shape[0], hashes.shape[1] - 1
    bits = 64 * hashes.shape[2]
    for i in range(count):
        for j in range(i + 1, count):
            whole = _distance(hashes[i, 0], hashes[j, 0])
            d = min(whole, bits - whole)
            for v in range(1, views):
                d = min(d, _distance(hashes[i, 0], hashes[j, v]))
                d = min(d, _distance(hashes[i, v], hashes[j, 0]))
            if d <= radius:
                crowded[i] |= _insert(near, distance, i, j, d)
                crowded[j] |= _insert(near, distance, j, i, d)
            d = _distance(hashes[i, 0], hashes[j, views])
            if d <= radius:
                _insert(mirrored, mirrored_distance, i, j, d)
                _insert(mirrored, mirrored_distance, j, i, d)


def hash_pairs(hashes: np.ndarray, radius: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs i < j to verify, pairs to verify mirrored (both (P, 2) int64, sorted), and which pictures were crowded."""
    shape = (len(hashes), count)
    near, distance, mirrored, far = (np.full(shape, -1, np.int64) for _ in range(4))
    crowded = np.zeros(len(hashes), np.bool_)
    nearest_hashes(np.ascontiguousarray(hashes), radius, near, distance, mirrored, far, crowded)
    return _pairs(near), _pairs(mirrored), crowded


def embedding_pairs(vectors: np.ndarray, cosine: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs i < j of unit vectors among each other's ``count`` nearest with at least that cosine, and the crowded."""
    total = len(vectors)
    near = np.full((total, count), -1, np.int64)
    crowded = np.zeros(total, np.bool_)
    for start in range(0, total, _BLOCK):
        rows = vectors[start : start + _BLOCK]
        best = np.full((len(rows), 0), 0, np.int64)
        value = np.full((len(rows), 0), 0, np.float32)
        for other in range(0, total, _BLOCK):
            # Rounded, so that the order of sums in a matrix product cannot decide between two neighbours.
            similar = np.round(rows @ vectors[other : other + _BLOCK].T, 5)
            here = np.arange(other, other + similar.shape[1])
            similar[start + np.arange(len(rows))[:, None] == here] = -2
            value = np.concatenate([value, similar], axis=1)
            best = np.concatenate([best, np.broadcast_to(here, similar.shape)], axis=1)
            chosen = np.lexsort((best, -value))[:, : count + 1]
            value, best = np.take_along_axis(value, chosen, 1), np.take_along_axis(best, chosen, 1)
        enough = value >= np.float32(cosine)
        crowded[start : start + len(rows)] = enough.sum(axis=1) > count
        width = min(count, best.shape[1])
        near[start : start + len(rows), :width] = np.where(enough, best, -1)[:, :width]
    return _pairs(near), crowded


def _pairs(near: np.ndarray) -> np.ndarray:
    first = np.repeat(np.arange(len(near)), near.shape[1])
    second = near.ravel()
    pairs = np.stack([first, second], axis=1)[second >= 0]
    return np.unique(np.sort(pairs, axis=1), axis=0).reshape(-1, 2)
