"""The proof: what is about to be written is searched for every identifier of the input, and refused where one is found.

Two searches. The bytes as they will lie on the disk, in every encoding that a value may have been carried in: Latin-1,
UTF-8, UTF-16 of both orders, GB 18030, base64 at its three alignments, percent-encoding; upper and lower case alike.
And the text values as a reader sees them, word by word, where short names and the words of descriptions can be told
from chance. Pixel data are searched for values of eight characters or more with four different ones: shorter ones turn
up in any picture.

What is not searched for on its own: parts of names that are words (``vocabulary.common_words``) or have one letter,
numbers of fewer than five digits, and names of two letters outside of header text.
"""

import base64
import re
from collections import Counter
from collections.abc import Iterable
from datetime import date
from functools import lru_cache
from urllib.parse import quote, quote_plus

from pydicom.dataset import Dataset

from pretrain.deidentify.dates import _MONTHS
from pretrain.deidentify.errors import LeakError
from pretrain.deidentify.evidence import Identifier
from pretrain.deidentify.identity import TECHNICAL_WORDS, fold, is_telling, name_forms, name_parts, values_of, walk
from pretrain.deidentify.vocabulary import EPONYM_TAIL, common_words, eponyms

_TEXT_VRS = frozenset(["LO", "SH", "ST", "LT", "UT", "UC", "UR", "AE", "PN"])
_TOKEN = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_LETTER, _WORD, _NUMBER = rb"a-z", rb"a-z0-9", rb"0-9"


class Proof:
    """The search for one input's identifiers.

    Args:
        identifiers: of the input.
    """

    def __init__(self, identifiers: Iterable[Identifier]):
        self.identifiers = sorted(set(identifiers))
        self._strong = [(i.kind, needle) for i in self.identifiers if not i.weak for needle in _needles(i)]
        self._weak = {fold(i.value): i.kind for i in self.identifiers if i.weak}
        self._short = {
            part: i.kind
            for i in self.identifiers
            if i.kind == "name" or (i.kind == "id" and not i.value.isdigit())
            for part in (name_parts(i.value) if i.kind == "name" else (fold(i.value),))
            if 1 < len(part) < 5 and part not in common_words()
        }
        self.found: Counter[tuple[str, str]] = Counter()

    def raw(self, data: bytes, place: str) -> None:
        """Search bytes."""
        low = data.lower()
        for kind, needle in self._strong:
            if needle.is_in(data, low):
                self.found[kind, place] += 1

    def text(self, text: str, place: str) -> None:
        """Search a text as it will be written in UTF-8, and without its accents."""
        self.raw(text.encode("utf-8", "replace"), place)
        flat = fold(text)
        if flat != text.lower():
            self.raw(flat.encode("utf-8", "replace"), place)

    def pixels(self, data: bytes) -> None:
        """Search pixel data."""
        low = data.lower()
        for kind, needle in self._strong:
            if needle.is_long and needle.is_in(data, low):
                self.found[kind, "pixel data"] += 1

    def values(self, ds: Dataset) -> None:
        """Search the text values of a header for words of descriptions and for short names and numbers."""
        for element, _item, _private in walk(ds):
            is_free = element.keyword in ("TextValue", "CodeMeaning") or element.keyword in TECHNICAL_WORDS
            if element.VR not in _TEXT_VRS:
                continue
            for value in values_of(element):
                whole, words = fold(value), {fold(w) for w in _TOKEN.findall(value)}
                hits = {self._short[w] for w in words if w in self._short}
                if not is_free:
                    hits |= {self._weak[w] for w in words | {whole} if w in self._weak}
                for kind in hits:
                    self.found[kind, "header text"] += 1

    def conclude(self) -> None:
        """Raises LeakError, with kinds, places and counts, where anything was found."""
        if self.found:
            raise LeakError(self.found)


class _Needle:
    """One way to write one identifier.

    Args:
        raw: the bytes; searched without regard to case unless ``exact``.
        edge: _LETTER, _WORD or _NUMBER: what may not go on beside it.
        pattern: in place of both.
    """

    __slots__ = ("_pattern", "exact", "is_long", "raw")

    def __init__(
        self,
        raw: bytes,
        *,
        exact: bool = False,
        edge: bytes = b"",
        pattern: re.Pattern[bytes] | None = None,
    ):
        self.raw = raw if exact else raw.lower()
        self.exact = exact
        self.is_long = len(raw) >= 8 and len(set(raw)) >= 4
        self._pattern = pattern or (_bounded(self.raw, edge) if edge else None)

    def is_in(self, data: bytes, low: bytes) -> bool:
        if self.exact:
            return self.raw in data
        if self.raw not in low:
            return False
        return self._pattern is None or bool(self._pattern.search(low))


def _bounded(raw: bytes, edge: bytes) -> re.Pattern[bytes]:
    # On its right a value may touch the group number of the next element, which looks like a letter before a zero.
    if edge == _NUMBER:  # a point before or behind counts where the number goes on there
        return re.compile(rb"(?<![0-9])(?<![0-9]\.)" + re.escape(raw) + rb"(?!\.?[0-9](?!\x00))")
    return re.compile(rb"(?<![" + edge + rb"])" + re.escape(raw) + rb"(?![" + edge + rb"](?!\x00))")


@lru_cache(maxsize=200_000)
def _needles(identifier: Identifier) -> tuple[_Needle, ...]:
    kind, value = identifier.kind, identifier.value
    if kind == "date":
        return tuple(_date_needles(value))
    if kind == "uid":
        return (*_plain(value, _NUMBER), *_hidden(value)) if len(value) > 8 else ()
    if kind == "name":
        return tuple(_name_needles(value))
    if kind == "age":
        return (_Needle(value.encode(), edge=_NUMBER),)
    if len(value) < (5 if value.isdigit() else 4) or fold(value) in common_words():
        return ()
    edge = _NUMBER if value.isdigit() else _WORD
    found = [*_plain(value, edge), *_hidden(value)]
    core = re.sub(r"[\W_]+", "", value).lstrip("0")
    if kind == "id" and core != value and len(core) > 5:
        found += _plain(core, edge)
    return tuple(found)


def _plain(value: str, edge: bytes) -> list[_Needle]:
    """The value in single- and multi-byte encodings; a boundary makes sense beside ASCII alone."""
    found = [_Needle(value.encode("utf-8", "replace"), edge=edge if value.isascii() else b"")]
    if not value.isascii():
        for form in {value.lower(), value.upper(), value}:
            for encoding in ("utf-8", "latin-1", "gb18030"):
                try:
                    found.append(_Needle(form.encode(encoding)))
                except UnicodeEncodeError:
                    continue
        found.append(_Needle(fold(value).encode("utf-8", "replace")))
    return found + _wide(value)


def _wide(value: str) -> list[_Needle]:
    """UTF-16 of both orders; lower() of the haystack leaves the zero bytes alone."""
    return [_Needle(value.encode(encoding, "replace")) for encoding in ("utf-16-le", "utf-16-be")]


def _hidden(value: str) -> list[_Needle]:
    """Base64 at every alignment, and percent-encoding."""
    found = []
    for form in dict.fromkeys((value, value.lower(), value.upper(), value.title())):
        raw = form.encode("utf-8", "replace")
        for shift in range(3):
            encoded = base64.b64encode(b"\0" * shift + raw)
            start, end = (0, 2, 3)[shift], (shift + len(raw)) * 8 // 6
            if end - start >= 8:
                found.append(_Needle(encoded[start:end], exact=True))
    for encoded in {quote(value, safe=""), quote_plus(value)} - {value}:
        found.append(_Needle(encoded.encode()))
    return found


def _name_needles(value: str) -> list[_Needle]:
    found: list[_Needle] = []
    for form in name_forms(value):
        if fold(form) not in common_words() | eponyms() and not all(
            p in common_words() for p in name_parts(form) or ("",)
        ):
            found += [*_plain(form, _LETTER), *_hidden(form)]
    for part in name_parts(value):
        if part in common_words() or not is_telling(part):
            continue
        if part in eponyms():  # Hodgkin lymphoma is nobody's name
            pattern = rf"(?<![a-z])(?<!non-){part}(?![a-z](?!\x00))(?!{EPONYM_TAIL})"
            found += [_Needle(part.encode(), pattern=re.compile(pattern.encode(), re.IGNORECASE))]
            continue
        found += [*_plain(part, _LETTER), *(_hidden(part) if len(part) > 5 else [])]
    for word in re.split(r"[\^=,\s]+", value):  # with its accents, which the parts have lost
        if not word.isascii() and len(word) > 2 and fold(word) not in common_words():
            found += _plain(word, b"")
    return found


def _date_needles(value: str) -> list[_Needle]:
    """A day in the forms that reports and headers have it in."""
    day = date(int(value[:4]), int(value[4:6]), int(value[6:]))
    y, m, d, name = day.year, day.month, day.day, _MONTHS[day.month - 1]
    forms = [f"{y}-{m:02d}-{d:02d}", f"{y}/{m:02d}/{d:02d}", f"{y}.{m:02d}.{d:02d}", f"{y}/{m}/{d}", f"{y}-{m}-{d}"]
    forms += [f"{m:02d}/{d:02d}/{y}", f"{m}/{d}/{y}", f"{m:02d}-{d:02d}-{y}", f"{d:02d}.{m:02d}.{y}", f"{d}.{m}.{y}"]
    forms += [f"{m:02d}/{d:02d}/{y % 100:02d}", f"{m}/{d}/{y % 100:02d}"]
    forms += [f"{name} {d}, {y}", f"{name[:3]} {d}, {y}", f"{d} {name} {y}", f"{d} {name[:3]} {y}"]
    forms += [f"{d:02d}-{name[:3]}-{y}", f"{d:02d}{name[:3]}{y}", f"{y}年{m}月{d}日", f"{y}年{m:02d}月{d:02d}日"]
    found = [_Needle(form.encode(), edge=_NUMBER) for form in dict.fromkeys(forms)]
    # A DT value goes on with the time; a longer number that only begins like a date is something else.
    after = rb"(?=[^0-9]|\Z|[0-9]\x00|(?:[01][0-9]|2[0-3])(?:[0-5][0-9]){0,2}(?:[^0-9]|\Z|[0-9]\x00))"
    return [*found, _Needle(value.encode(), pattern=re.compile(rb"(?<![0-9.])" + value.encode() + after))]
