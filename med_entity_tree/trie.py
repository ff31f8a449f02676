"""Phrases over word numbers, and their leftmost-longest matches: what the tagger searches with.

A trie whose edges lie in one open-addressing table, walked by compiled code from each word on. Aho and Corasick's
failure links (1975) save the walk from beginning again after a mismatch; over words, a walk is hardly ever longer than
two, and leaving the links out was 1.4 times as fast as an automaton over the same words (docs/performance.md).
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numba
import numpy as np


@numba.njit(inline="always")
def _slot(key, mask):
    mixed = key * np.uint64(0x9E3779B97F4A7C15)
    return (mixed ^ (mixed >> np.uint64(32))) & mask


@numba.njit(cache=True)
def _build(phrases, starts, keys, targets, accepts):
    """Insert phrase ``n`` = ``phrases[starts[n]:starts[n + 1]]``; the first of two equal ones stays. Nodes made."""
    mask, nodes = np.uint64(len(keys) - 1), 1
    for number in range(len(starts) - 1):
        node = 0
        for place in range(starts[number], starts[number + 1]):
            key = (np.uint64(node) << np.uint64(32)) | np.uint64(phrases[place])
            slot = _slot(key, mask)
            while targets[slot] != 0 and keys[slot] != key:
                slot = (slot + np.uint64(1)) & mask
            if targets[slot] == 0:
                keys[slot], targets[slot] = key, nodes
                nodes += 1
            node = targets[slot]
        if accepts[node] < 0:
            accepts[node] = number
    return nodes


@numba.njit(cache=True)
def _longest(codes, begins, keys, targets, accepts, first, behind, number):
    """Leftmost-longest matches in ``codes``; how many."""
    mask, size, count, at = np.uint64(len(keys) - 1), len(codes), 0, 0
    while at < size:
        if not begins[codes[at]]:
            at += 1
            continue
        node, place, best, end = 0, at, -1, at + 1
        while place < size:
            key = (np.uint64(node) << np.uint64(32)) | np.uint64(codes[place])
            slot = _slot(key, mask)
            while targets[slot] != 0 and keys[slot] != key:
                slot = (slot + np.uint64(1)) & mask
            node = targets[slot]
            if node == 0:
                break
            place += 1
            if accepts[node] >= 0:
                best, end = accepts[node], place
        if best >= 0:
            first[count], behind[count], number[count] = at, end, best
            count += 1
        at = end
    return count


class TrieArrays(NamedTuple):
    """A trie as arrays, none of them to be written to: S slots (a power of two) of the table of edges, N nodes (the
    first is the root), W words.

    Attributes:
        keys: (S,) uint64, node and word of an edge.
        targets: (S,) int32, node that the edge leads to; 0 in a free slot.
        accepts: (N,) int32, number of the phrase that ends in a node, or -1.
        begins: (W,) bool, does a phrase begin with the word?
    """

    keys: np.ndarray
    targets: np.ndarray
    accepts: np.ndarray
    begins: np.ndarray


class PhraseTrie:
    """Finds phrases in sequences of word numbers.

    Args:
        phrases: none of them empty; of equal ones the first counts.
        words: every number, in phrases and in what is searched, is below it.
    """

    def __init__(self, phrases: Iterable[Sequence[int]], words: int):
        rows = list(phrases)
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        starts = np.concatenate([[0], np.cumsum(lengths)])
        flat = np.fromiter((word for row in rows for word in row), np.uint32, int(starts[-1]))
        slots = 1 << max(4, int(2 * len(flat) + 1).bit_length())
        keys, targets = np.zeros(slots, np.uint64), np.zeros(slots, np.int32)
        accepts = np.full(len(flat) + 1, -1, np.int32)
        nodes = _build(flat, starts, keys, targets, accepts)
        begins = np.zeros(words, np.bool_)
        begins[flat[starts[:-1]]] = True
        self.arrays = TrieArrays(keys, targets, accepts[:nodes].copy(), begins)
        for array in self.arrays:
            array.setflags(write=False)  # as mapped ones are: numba compiles for each kind

    @classmethod
    def of_arrays(cls, arrays: TrieArrays) -> "PhraseTrie":
        """The trie that has these ``arrays``."""
        made = cls.__new__(cls)
        made.arrays = arrays
        return made

    def find(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Matches (M,), (M,), (M,): first word, word behind the last, number of the phrase; in order, apart."""
        first, behind, number = (np.empty(len(codes), np.int64) for _ in range(3))
        keys, targets, accepts, begins = self.arrays
        count = _longest(codes, begins, keys, targets, accepts, first, behind, number)
        return first[:count], behind[:count], number[:count]
