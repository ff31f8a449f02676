"""Texts as arrays of one number a word, fast: what the tagger searches in.

The scan is compiled (numba) and looks a word up by a hash of its spelling (FNV-1a, 64 bits); a spelling that it has
not met is put into its normal form once and remembered. ``TOKEN`` says the same in one regular expression, for names
and for tests.
"""

import re
from collections.abc import Mapping

import numba
import numpy as np

from med_entity_tree.names import normal_word

# A Chinese character, a number, a word of Latin or Greek letters and digits; or an end of a sentence or paragraph.
TOKEN = re.compile(
    r"[㐀-䶿一-鿿豈-﫿]|[0-9]++(?:\.[0-9]++)?+(?![A-Za-z])|[0-9A-Za-zÀ-ɏͰ-Ͽ]+(?:'[a-z])?"
    r"|[.;:!?](?=\s|$)|[。；！？]|\n\s*\n"
)
ENDS = ".;:!?。；！？\n"
SEPARATOR = "\x1e"  # between the texts of a batch; white space within a text
UNKNOWN, END = 1, 2  # numbers of a word that no name holds, and of an end
FIRST = 3  # numbers below stand for no word

_OTHER, _DIGIT, _ASCII, _LETTER, _CHINESE, _STOP, _FULL_STOP, _SPACE, _NEWLINE, _SEPARATE = range(10)


def _classes() -> np.ndarray:
    table = np.zeros(0x10000, np.uint8)
    for code in range(0x10000):
        if chr(code).isspace():
            table[code] = _SPACE
    table[ord("0") : ord("9") + 1] = _DIGIT
    for first, last, kind in (
        ("A", "Z", _ASCII),
        ("a", "z", _ASCII),
        ("À", "ɏ", _LETTER),
        ("Ͱ", "Ͽ", _LETTER),
        ("㐀", "䶿", _CHINESE),
        ("一", "鿿", _CHINESE),
        ("豈", "﫿", _CHINESE),
    ):
        table[ord(first) : ord(last) + 1] = kind
    for mark in ".;:!?":
        table[ord(mark)] = _STOP
    for mark in "。；！？":
        table[ord(mark)] = _FULL_STOP
    table[ord("\n")] = _NEWLINE
    table[ord(SEPARATOR)] = _SEPARATE
    return table


@numba.njit(cache=True)
def _scan(text, classes, keys, values, starts, ends, codes, unknown):
    """Tokens of ``text`` (code points): how many, and how many of them have a spelling that is not in the table."""
    size, mask = len(text), np.uint64(len(keys) - 1)
    at, count, missing = 0, 0, 0
    while at < size:
        point = text[at]
        kind = classes[point] if point < 0x10000 else 0
        stop, code = at + 1, 0
        if kind == 1 or kind == 2 or kind == 3:
            number = 0
            if kind == 1:
                number = at + 1
                while number < size and classes[min(text[number], 0xFFFF)] == 1:
                    number += 1
                if number + 1 < size and text[number] == 46 and classes[min(text[number + 1], 0xFFFF)] == 1:
                    number += 2
                    while number < size and classes[min(text[number], 0xFFFF)] == 1:
                        number += 1
                if number < size and classes[min(text[number], 0xFFFF)] == 2:
                    number = 0
            if number:
                stop = number
            else:
                while stop < size and 1 <= classes[min(text[stop], 0xFFFF)] <= 3:
                    stop += 1
                if stop + 1 < size and text[stop] == 39 and 97 <= text[stop + 1] <= 122:
                    stop += 2
        elif kind == 5:
            if stop < size and classes[min(text[stop], 0xFFFF)] < 7:
                at = stop
                continue
            code = 2
        elif kind == 6 or kind == 9:
            code = 2
        elif kind == 8:
            last = at
            while stop < size and 7 <= classes[min(text[stop], 0xFFFF)] <= 8:
                if classes[min(text[stop], 0xFFFF)] == 8:
                    last = stop
                stop += 1
            if last == at:
                at = stop
                continue
            stop, code = last + 1, 2
        elif kind != 4:
            at = stop
            continue
        starts[count], ends[count] = at, stop
        if code == 0:
            key = np.uint64(14695981039346656037)
            for place in range(at, stop):
                key = (key ^ np.uint64(text[place])) * np.uint64(1099511628211)
            key ^= key >> np.uint64(29)
            slot = key & mask
            while keys[slot] != 0 and keys[slot] != key:
                slot = (slot + np.uint64(1)) & mask
            if keys[slot] == key:
                code = values[slot]
            else:
                unknown[missing] = count
                missing += 1
        codes[count] = code
        count += 1
        at = stop
    return count, missing


@numba.njit(cache=True)
def _put(keys, values, key, value):
    mask = np.uint64(len(keys) - 1)
    slot = key & mask
    while keys[slot] != 0 and keys[slot] != key:
        slot = (slot + np.uint64(1)) & mask
    keys[slot], values[slot] = key, value


@numba.njit(cache=True)
def _put_spelling(keys, values, spelling, value):
    key = np.uint64(14695981039346656037)
    for place in range(len(spelling)):
        key = (key ^ np.uint64(spelling[place])) * np.uint64(1099511628211)
    _put(keys, values, key ^ (key >> np.uint64(29)), value)


@numba.njit(cache=True)
def _move(keys, values, to_keys, to_values):
    for slot in range(len(keys)):
        if keys[slot] != 0:
            _put(to_keys, to_values, keys[slot], values[slot])


def _points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


class WordCoder:
    """Words of texts as numbers. ``words`` are normal forms with their numbers, ``exact`` spellings that stand
    for themselves (abbreviations). Spellings are remembered up to ``most``, then the memory starts anew."""

    def __init__(self, words: Mapping[str, int], exact: Mapping[str, int], most: int = 1_000_000):
        self._words, self._exact, self._most = words, exact, most
        self._class_of = _classes()
        self._forget(1 << 16)

    def _forget(self, slots: int) -> None:
        self._keys, self._values, self.known = np.zeros(slots, np.uint64), np.zeros(slots, np.uint32), 0

    def code(self, form: str) -> int:
        """The number of one spelling."""
        if form in self._exact:
            return self._exact[form]
        return self._words.get(normal_word(form), UNKNOWN)

    def __call__(self, text: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One number a token, and where each token begins and ends in the text: (T,), (T,), (T,)."""
        points = _points(text)
        starts, ends = np.empty(len(points), np.int32), np.empty(len(points), np.int32)
        codes, unknown = np.empty(len(points), np.uint32), np.empty(len(points), np.int32)
        count, missing = _scan(points, self._class_of, self._keys, self._values, starts, ends, codes, unknown)
        learnt: dict[str, int] = {}
        for token in unknown[:missing].tolist():
            form = text[starts[token] : ends[token]]
            if form not in learnt:
                learnt[form] = self.code(form)
            codes[token] = learnt[form]
        for form, code in learnt.items():
            self._learn(form, code)
        return codes[:count], starts[:count], ends[:count]

    def _learn(self, form: str, code: int) -> None:
        if self.known >= self._most:
            self._forget(1 << 16)
        elif 2 * self.known >= len(self._keys):
            keys, values = self._keys, self._values
            self._keys, self._values = np.zeros(2 * len(keys), np.uint64), np.zeros(2 * len(keys), np.uint32)
            _move(keys, values, self._keys, self._values)
        _put_spelling(self._keys, self._values, _points(form), np.uint32(code))
        self.known += 1
