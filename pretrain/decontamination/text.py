"""Texts as hashes: words, 13-grams, 5-grams and character shingles, and which words are stated boilerplate.

Every hash starts from BLAKE2b of a word under a key made from the salt, so that two people who share a salt get the
same numbers and nobody else can look a guess up. A window of words is a polynomial over those numbers, mixed
(SplitMix64). Lookups run compiled over open-addressing tables.
"""

import re
import unicodedata
from functools import lru_cache
from hashlib import blake2b
from importlib.resources import files

import numba
import numpy as np

GRAM = 13  # words; GPT-3 (Brown et al. 2020), appendix C
PHRASE = 5  # words; what is looked at to tell common language from an item's own
SHINGLE = 5  # characters

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_CJK}]|[^\W_{_CJK}]+")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n+")
_MAX_CACHE = 2_000_000


def words_of(text: str) -> list[str]:
    """Words of a text after NFKC and case folding; punctuation goes, a Chinese or Japanese character is a word.

    >>> words_of("CT: No acute  Findings (98.6 F)")
    ['ct', 'no', 'acute', 'findings', '98', '6', 'f']
    """
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def word_places(text: str) -> tuple[str, list[tuple[int, int]]]:
    """The text after NFKC, and the span of each of its words there, in the order of :func:`words_of`."""
    normal = unicodedata.normalize("NFKC", text)
    return normal, [found.span() for found in _WORD.finditer(normal)]


def sentences_of(text: str) -> list[str]:
    """Sentences, cut at full stops, question and exclamation marks and ends of lines."""
    return [part for part in _SENTENCE.split(text) if part and not part.isspace()]


class Hasher:
    """Keyed hashes of words, ids and digests.

    Args:
        salt: secret of the manifest; "" for a manifest that anybody may compare with.
    """

    def __init__(self, salt: str = ""):
        self.key = blake2b(salt.encode(), digest_size=32, person=b"medvlm-decontam").digest()
        self.seed = np.uint64(self.token("shingle", "seed"))
        self.check = self.token("check", "medvlm")  # kept in the manifest: tells a wrong salt at once
        self._words = _WordHashes(self.key)

    def words(self, words: list[str]) -> np.ndarray:
        """(L,) uint64, one number a word."""
        if len(self._words) > _MAX_CACHE:
            self._words.clear()
        return np.fromiter(map(self._words.__getitem__, words), np.uint64, len(words))

    def shingles(self, words: list[str]) -> np.ndarray:
        """(S,) uint64, sorted and unique: the character 5-grams of the words joined by blanks."""
        points = np.frombuffer(" ".join(words).encode("utf-32-le"), np.uint32)
        return _shingles(points, self.seed)

    def token(self, kind: str, value: str) -> int:
        """64-bit number of an id of a kind ("patient", "study", "file", ...); never 0, which stands for unknown."""
        digest = blake2b(f"{kind}\0{value}".encode(), digest_size=8, key=self.key).digest()
        return int.from_bytes(digest, "little") or 1


class _WordHashes(dict):
    def __init__(self, key: bytes):
        super().__init__()
        self.key = key

    def __missing__(self, word: str) -> int:
        value = int.from_bytes(blake2b(word.encode(), digest_size=8, key=self.key).digest(), "little")
        self[word] = value
        return value


@lru_cache(maxsize=1)
def _stated() -> re.Pattern[str]:
    """The patterns of boilerplate.tsv as one expression over words joined by blanks; ``#`` is a number."""
    lines = files("pretrain.decontamination").joinpath("boilerplate.tsv").read_text(encoding="utf-8").splitlines()
    patterns = [line.split("\t")[1] for line in lines[1:] if line.strip()]
    return re.compile(r"(?<!\S)(?:" + "|".join(p.replace("#", r"\d+") for p in patterns) + r")(?!\S)")


def stated_boilerplate(words: list[str]) -> np.ndarray:
    """(L,) bool: words inside a phrase of ``boilerplate.tsv``, such as vital signs and question stems."""
    mask = np.zeros(len(words), bool)
    text = " ".join(words)
    if not text:
        return mask
    starts = np.cumsum([0] + [len(word) + 1 for word in words[:-1]])
    for found in _stated().finditer(text):
        mask[np.searchsorted(starts, found.start()) : np.searchsorted(starts, found.end())] = True
    return mask


@numba.njit(cache=True)
def mix(value):
    """SplitMix64's finaliser (Steele et al., OOPSLA 2014)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@numba.njit(cache=True)
def windows(words, length):
    """(max(L - length + 1, 0),) uint64: a hash of each run of ``length`` words."""
    count = max(len(words) - length + 1, 0)
    out = np.empty(count, np.uint64)
    for i in range(count):
        value = np.uint64(length)
        for j in range(length):
            value = value * np.uint64(0x9E3779B97F4A7C15) + words[i + j]
        out[i] = mix(value)
    return out


@numba.njit(cache=True)
def _shingles(points, seed):
    count = len(points) - SHINGLE + 1
    if count < 1:
        return np.empty(0, np.uint64)
    out = np.empty(count, np.uint64)
    for i in range(count):
        value = seed
        for j in range(SHINGLE):
            value = value * np.uint64(0x9E3779B97F4A7C15) + np.uint64(points[i + j])
        out[i] = mix(value ^ seed)
    out.sort()
    kept = 1
    for i in range(1, count):
        if out[i] != out[kept - 1]:
            out[kept] = out[i]
            kept += 1
    return out[:kept].copy()


@numba.njit(cache=True)
def make_slots(keys):
    """Open-addressing table of unique keys: (2^k,) int32, number of the key in each slot or -1."""
    size = 8
    while size < 2 * len(keys):
        size *= 2
    slots = np.full(size, -1, np.int32)
    last = np.uint64(size - 1)
    for n in range(len(keys)):
        at = keys[n] & last
        while slots[at] >= 0:
            at = (at + np.uint64(1)) & last
        slots[at] = n
    return slots


@numba.njit(cache=True)
def find(slots, keys, key):
    """Number of ``key`` among ``keys``, or -1."""
    last = np.uint64(len(slots) - 1)
    at = key & last
    while slots[at] >= 0:
        if keys[slots[at]] == key:
            return slots[at]
        at = (at + np.uint64(1)) & last
    return -1
