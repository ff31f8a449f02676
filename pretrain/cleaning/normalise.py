"""Normal form of a text: what no reader would miss is taken away, what a clinician reads stays as it was.

Changed are: Unicode to NFC, control, formatting and zero-width characters, soft hyphens, ligatures of typesetting,
kinds of blanks and line ends, words cut at line ends, and whole lines of boilerplate. Not changed are: letters, digits,
units and signs (NFC keeps µ, ², ½, ≥, ℃ where NFKC would not), case, Chinese punctuation, order.
"""

# ruff: noqa: E501  (word lists and patterns are not folded)

import re
import unicodedata
from dataclasses import dataclass

# C0 and C1 controls but for tab and line feed (form feed and others that end lines are made line feeds before);
# zero-width space, direction marks, word joiner, byte order mark, invisible operators, interlinear and object marks.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff"
    "\ufff9-\ufffc]"
)
_LINE_END = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_BLANKS = re.compile("[ \t\xa0\u1680\u2000-\u200a\u202f\u205f\u3000]+")
_LIGATURES = str.maketrans({"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"})
_CUT_WORD = re.compile(r"(?<![^\W\d_])([^\W\d_]+)-\n[ \t]*([a-zà-öø-ÿ][^\W\d_]*)")
_CUT_NUMBER = re.compile(r"(?<=[A-Za-z0-9])-\n[ \t]*(?=\d)|(?<=\d)-\n[ \t]*(?=[A-Za-z0-9])")
_SOFT_HYPHEN = re.compile("\xad+(?:[ \t]*\n[ \t]*)?")
# First parts that keep their hyphen: "left-sided", "well-defined", "non-contrast".
_KEEP_HYPHEN = frozenset(
    "left right mid upper lower high low long short well ill non self half full large small medium thin thick deep fine "
    "post pre anti follow ill cross fat water contrast air fluid blood soft ground tree spin time gradient multi single "
    "double two three four five six first second third one free all age sex dose risk rate end near far over under "
    "semi quasi ex vice so like type based related induced associated dependent weighted sided defined x chest".split()
)
_MOST_BOILERPLATE = 200  # characters of a line; longer ones say something beside
_BOILERPLATE = re.compile(
    "|".join(
        (
            r"(?:page|seite|página)\s*\d{1,4}(?:\s*(?:of|/|von|de)\s*\d{1,4})?",
            r"-{1,2}\s*\d{1,4}\s*-{1,2}",
            r"第\s*\d{1,4}\s*页(?:\s*[,，/]?\s*共\s*\d{1,4}\s*页)?",
            r"(?:©|\(c\)\s|copyright\b).{0,160}",
            r".{0,80}all rights reserved\W*",
            r"版权所有.{0,80}",
            r"downloaded from\s.{0,160}",
            r"this (?:article|paper|chapter) is protected by copyright.{0,120}",
            r"(?:electronically|digitally) signed (?:by|on)\b.{0,120}",
            r"(?:dictated|transcribed|approved|authenticated|verified) (?:by|on)\s*:.{0,120}",
            r"this (?:report|document) (?:was|has been) (?:electronically|digitally) .{0,120}",
            r"(?:we use|this (?:web)?site uses) cookies\b.{0,160}",
            r"(?:accept|reject|manage)(?: all)? cookies",
            r"skip to (?:main )?content",
            r"(?:share (?:this|on)|follow us|like us)\b(?: (?:on|article|page|facebook|twitter|x|linkedin|email))*",
            r"(?:back to top|table of contents|print this page|read more|sign in|log ?in|sign up|subscribe|search)",
            r"(?:terms of (?:use|service)|privacy policy|cookie policy)"
            r"(?:\s*[|·•,]\s*(?:terms of (?:use|service)|privacy policy|cookie policy|contact(?: us)?))*",
            r"\[?this page (?:is )?intentionally left blank\]?",
        )
    ),
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Normalised:
    """A text in normal form, and the lines of boilerplate that were taken out."""

    text: str
    removed: tuple[str, ...] = ()


def normalise(text: str) -> str:
    """Normal form of a text; the normal form of that is itself.

    >>> normalise("A 5\\u00a0mm nod\\u00adule, ﬁbrosis ≥ 3 µm.\\r\\nPage 2 of 3\\n\\n\\n\\nNo pneumo-\\nthorax; left-\\nsided.")
    'A 5 mm nodule, fibrosis ≥ 3 µm.\\n\\nNo pneumothorax; left-sided.'
    """
    return normalised(text).text


def normalised(text: str) -> Normalised:
    """Normal form and what was removed.

    One pass may bring together what the next one changes (a word whose halves stood around a page number), so passes
    follow until nothing changes; each but the first only takes characters away, which ends.
    """
    removed: list[str] = []
    while True:
        once = _pass(text, removed)
        if once == text:
            return Normalised(text, tuple(removed))
        text = once


def _pass(text: str, removed: list[str]) -> str:
    text = _INVISIBLE.sub("", _LINE_END.sub("\n", text))
    if not text.isascii():
        text = unicodedata.normalize("NFC", _SOFT_HYPHEN.sub("", text)).translate(_LIGATURES)
    lines = [_BLANKS.sub(" ", line).strip() for line in text.split("\n")]
    kept = []
    for line in lines:
        if line and len(line) <= _MOST_BOILERPLATE and _BOILERPLATE.fullmatch(line):
            removed.append(line)
        elif line or (kept and kept[-1]):
            kept.append(line)
    text = "\n".join(kept).strip("\n")
    return _whole_words(text) if "-\n" in text else text


def _whole_words(text: str) -> str:
    """Words that a line end cut, made whole: with the hyphen if the text writes it elsewhere or it belongs there."""
    words = set(re.findall(r"[^\W\d_]+(?:-[^\W\d_]+)*", text.lower()))

    def joined(match: re.Match[str]) -> str:
        first, second = match.groups()
        with_hyphen, without = f"{first}-{second}".lower(), f"{first}{second}".lower()
        if without in words and with_hyphen not in words:
            return first + second
        keep = with_hyphen in words or first.lower() in _KEEP_HYPHEN or len(first) == 1 or first.isupper()
        return f"{first}-{second}" if keep else first + second

    return _CUT_NUMBER.sub("-", _CUT_WORD.sub(joined, text))
