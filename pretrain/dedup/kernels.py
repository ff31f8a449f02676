"""Compiled loops over token codes and shingle sets (numba)."""

import numpy as np
from numba import njit

from pretrain.dedup.words import Kind

_FILLER, _END, _NUMBER, _SIGN = int(Kind.filler), int(Kind.end), int(Kind.number), int(Kind.sign)
_SIDE, _NEGATION, _DEGREE = int(Kind.side), int(Kind.negation), int(Kind.degree)


@njit(cache=True)
def _mix(value):
    value = np.uint64(value) + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@njit(cache=True)
def _sum_of_set(values, count):
    """A hash of a set: the sum of its distinct members."""
    total = np.uint64(0)
    if count:
        ordered = np.sort(values[:count])
        for i in range(count):
            if i == 0 or ordered[i] != ordered[i - 1]:
                total += ordered[i]
    return total


@njit(cache=True)
def shingle_sets(codes, starts, size):
    """Sets of word n-grams as sorted distinct 64-bit hashes.

    Args:
        codes: token codes of all documents; starts: (N + 1,) where each begins.
        size: words a shingle; a shorter document is one shingle.

    Returns:
        hashes, and (N + 1,) where each document's begin.
    """
    out = np.empty(len(codes) + len(starts), np.uint64)
    begins = np.zeros(len(starts), np.int64)
    at = 0
    for d in range(len(starts) - 1):
        words = np.empty(starts[d + 1] - starts[d], np.uint64)
        count = 0
        for i in range(starts[d], starts[d + 1]):
            kind = codes[i] & np.uint64(15)
            if kind not in (_END, _SIGN):
                words[count] = codes[i]
                count += 1
        if count:
            grams = max(1, count - size + 1)
            made = np.empty(grams, np.uint64)
            for g in range(grams):
                value = np.uint64(min(size, count))
                for i in range(g, min(g + size, count)):
                    value = _mix(value ^ words[i])
                made[g] = value
            made.sort()
            for g in range(grams):
                if g == 0 or made[g] != made[g - 1]:
                    out[at] = made[g]
                    at += 1
        begins[d + 1] = at
    return out[:at].copy(), begins


@njit(cache=True)
def fact_hashes(codes, starts):
    """(N, 4) uint64: for numbers, sides, negations and degrees, a hash of the set of sentences that hold one.

    A sentence is the sequence of its words without fillers: what it says about a number or a side must be the same,
    the words of other sentences may differ. Order and repetition of sentences do not matter.
    """
    facts = np.zeros((len(starts) - 1, 4), np.uint64)
    for d in range(len(starts) - 1):
        found = np.empty((4, starts[d + 1] - starts[d] + 1), np.uint64)
        counts = np.zeros(4, np.int64)
        holds = np.zeros(4, np.bool_)
        sentence = np.uint64(0)
        for i in range(starts[d], starts[d + 1] + 1):
            kind = np.uint64(_END) if i == starts[d + 1] else codes[i] & np.uint64(15)
            if kind == _FILLER:
                continue
            if kind == _END:
                for which in range(4):
                    if holds[which]:
                        found[which, counts[which]] = sentence
                        counts[which] += 1
                        holds[which] = False
                sentence = np.uint64(0)
                continue
            sentence = _mix(sentence ^ codes[i])
            if kind in (_NUMBER, _SIGN):
                holds[0] = True
            elif kind == _SIDE:
                holds[1] = True
            elif kind == _NEGATION:
                holds[2] = True
            elif kind == _DEGREE:
                holds[3] = True
        for which in range(4):
            facts[d, which] = _sum_of_set(found[which], counts[which])
    return facts


@njit(cache=True)
def shared(a, b):
    """How many members two sorted sets have in common."""
    i, j, both = 0, 0, 0
    while i < len(a) and j < len(b):
        if a[i] == b[j]:
            both += 1
            i += 1
            j += 1
        elif a[i] < b[j]:
            i += 1
        else:
            j += 1
    return both


@njit(cache=True)
def jaccard(hashes, begins, x, y):
    """Exact Jaccard similarity of two shingle sets; 0 where one is empty."""
    a, b = hashes[begins[x] : begins[x + 1]], hashes[begins[y] : begins[y + 1]]
    if len(a) == 0 or len(b) == 0:
        return 0.0
    both = shared(a, b)
    return both / (len(a) + len(b) - both)


@njit(cache=True)
def _root(parent, x):
    while parent[x] != x:
        parent[x] = parent[parent[x]]
        x = parent[x]
    return x


@njit(cache=True)
def keep_greedily(order, rank, buckets, head, after, hashes, begins, threshold, keeper, similarity, parent):
    """Walk documents from the most to the least preferred; drop one that is similar to one that was kept.

    Args:
        order: positions of documents, most preferred first; rank: the place of each position in it.
        buckets: (N, bands) bucket of each band, -1 where nobody shares it.
        head: (number of buckets,) -1; after: (N, bands); the kept documents of a bucket as a chain.
        hashes, begins: shingle sets by position.
        keeper, similarity, parent: (N,), written: the kept document (itself if kept), the Jaccard similarity to it, and
            the union-find forest over all verified pairs, with the most preferred document as root.

    Returns:
        number of pairs that were compared.
    """
    seen = np.full(len(keeper), -1, np.int64)
    compared = 0
    bands = buckets.shape[1]
    for x in order:
        size = begins[x + 1] - begins[x]
        best, best_similarity = -1, 0.0
        for band in range(bands):
            bucket = buckets[x, band]
            if bucket < 0:
                continue
            y = head[bucket]
            while y >= 0:
                if seen[y] != x:
                    seen[y] = x
                    other = begins[y + 1] - begins[y]
                    if min(size, other) >= threshold * max(size, other) - 1e-9:  # else Jaccard cannot reach it
                        compared += 1
                        found = jaccard(hashes, begins, x, y)
                        if found >= threshold - 1e-12:
                            if best < 0 or rank[y] < rank[best]:
                                best, best_similarity = y, found
                            a, b = _root(parent, x), _root(parent, y)
                            if a != b:
                                if rank[a] < rank[b]:
                                    parent[b] = a
                                else:
                                    parent[a] = b
                y = after[y, band]
        if best >= 0:
            keeper[x], similarity[x] = best, best_similarity
            continue
        for band in range(bands):
            bucket = buckets[x, band]
            if bucket >= 0:
                after[x, band] = head[bucket]
                head[bucket] = x
    return compared


@njit(cache=True)
def differ_in(firsts, seconds, hashes, begins, facts, threshold, refused):
    """Note, for pairs that are similar enough, the facts in which they differ.

    Args:
        firsts, seconds: positions of pairs.
        facts: (N, F) uint64; refused: (N,) uint8, written: bit f is set where a near-duplicate has another fact f.
    """
    for k in range(len(firsts)):
        x, y = firsts[k], seconds[k]
        differing = 0
        for f in range(facts.shape[1]):
            if facts[x, f] != facts[y, f]:
                differing |= 1 << f
        if (refused[x] & differing) == differing and (refused[y] & differing) == differing:
            continue
        if jaccard(hashes, begins, x, y) >= threshold - 1e-12:
            refused[x] |= np.uint8(differing)
            refused[y] |= np.uint8(differing)
