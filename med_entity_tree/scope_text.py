"""Sentences and sections of a medical report, English or Chinese.

A report is not prose: it has headings, numbered lists, lines wrapped in mid-sentence and items that end without a full
stop. Both functions decide from the characters around a boundary only, so that what stands elsewhere in the text never
moves one.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

_CANDIDATE = re.compile(r"[.!?;。！？；\n]|(?<=\s)(?=\d{1,2}\)\s)")
_ABBREVIATIONS = frozenset(
    "dr mr mrs ms prof st vs e.g i.e eg ie approx resp fig figs cf incl r.o pt max min dept temp est no. inj".split()
)
_LAST_WORD = re.compile(r"[A-Za-z.]+$")
_LIST_ITEM = re.compile(r"[ \t]*(?:[-*•●·–—]\s|\(?\d{1,2}[.)、．]|[A-Za-z][.)]\s)")
_SOMETHING = re.compile(r"\S")
_ENUMERATOR = re.compile(r"\s*\(?\d{1,2}\Z")
# A line that ends so goes on below: no sentence ends in one of these.
_UNFINISHED = re.compile(
    r"(?:[,，、(/及和或与]|\b(?:no|of|the|and|or|nor|a|an|with|without|for|in|on|at|to|by|from|is|are|was|were|has|have|"
    r"not|any|than|this|that|which|as|evidence|right|left|new|acute))\s*\Z",
    re.I,
)
_WRAP_COLUMNS = 45  # a longer unfinished line is taken for a wrapped one where letter case cannot tell
_WRAP_CHINESE = 30  # the same in Chinese characters
_HEADING_CHARACTERS = 45  # the longest heading of the table, with its number
_COLON = re.compile(r"[:：]")
_BEFORE_HEADING = re.compile(r"[\n.。;；!！?？]")


@dataclass(frozen=True, slots=True)
class Heading:
    """``text[begin:end]`` is a known heading with its colon; ``section`` is column 1 of ``headings.tsv``."""

    begin: int
    end: int
    section: str


def sentence_starts(text: str, headings: Sequence[Heading]) -> list[int]:
    """Offsets where sentences begin, ascending; the first is 0. A heading such as ``FINDINGS:`` is one of its own."""
    starts = [0]
    for match in _CANDIDATE.finditer(text):
        at = match.start()
        if starts[-1] <= at and match.end() < len(text) and _ends_sentence(text, starts[-1], at):
            starts.append(match.end())
    if headings:
        starts = sorted(
            {*starts, *(heading.begin for heading in headings), *(heading.end for heading in headings)} - {len(text)}
        )
    return starts


def _ends_sentence(text: str, start: int, at: int) -> bool:
    """Whether the candidate at ``at`` ends the sentence that began at ``start``."""
    mark = text[at]
    if mark == "\n":
        return _ends_line(text, start, at)
    if mark.isdigit():
        return text.rfind("(", start, at) <= text.rfind(")", start, at)  # "2) ..." but not "(grade 2) ..."
    after = text[at + 1 : at + 2]
    if mark == ".":
        if after == "," or after.isdigit() or (after.isascii() and after.isalpha() and after.islower()):
            return False
        if after.isupper() and text[at + 2 : at + 3] in (".", ""):
            return False  # an initialism: U.S.
        before = text[max(start, at - 12) : at]
        if _ENUMERATOR.match(before) and not _SOMETHING.search(text, start, max(start, at - 12)):
            return False
        word = _LAST_WORD.search(before)
        return word is None or word.group().lower() not in _ABBREVIATIONS
    if mark == "?":
        # "cough ?pneumonia", "? pneumonia": the mark asks about what follows
        return not (
            after.isalnum() or text[max(start, at - 1) : at].isspace() or not _SOMETHING.search(text, start, at)
        )
    return True


def _ends_line(text: str, start: int, at: int) -> bool:
    line = text[max(start, text.rfind("\n", start, at) + 1) : at].rstrip()
    if not line:
        return True
    end = at + 1
    while end < len(text) and text[end] in " \t\r":
        end += 1
    if end == len(text) or text[end] == "\n" or _LIST_ITEM.match(text, at + 1):
        return True
    if _UNFINISHED.search(line[-12:]):
        return False
    following = text[end]
    if following.islower() or following in ",.)":
        return False
    if "一" <= line[-1] <= "鿿":
        return len(line) < _WRAP_CHINESE
    if line.isupper() or text[end : end + 2].isupper():
        return len(line) < _WRAP_COLUMNS
    return True


def section_at(offset: int, headings: Sequence[Heading]) -> str:
    """The section that holds ``offset``: that of the last heading before it, or ``""``."""
    before = bisect_right(headings, offset, key=lambda heading: heading.end)
    return headings[before - 1].section if before else ""


def find_headings(text: str) -> list[Heading]:
    """Each known heading, before a colon or alone on its line, in the order of the text."""
    found = []
    if ":" in text or "：" in text:
        table = heading_table()
        for match in _COLON.finditer(text):
            before = text[max(0, match.start() - _HEADING_CHARACTERS) : match.start()]
            heading = _BEFORE_HEADING.split(before)[-1]
            section = table.get(_heading_key(heading))
            if section is not None:
                found.append(Heading(match.start() - len(heading), match.end(), section))
    if "\n" in text:
        table = heading_table()
        offset = 0
        for line in text.split("\n"):
            if 1 < len(line) <= _HEADING_CHARACTERS:
                section = table.get(_heading_key(line))
                if section is not None:
                    found.append(Heading(offset, min(offset + len(line) + 1, len(text)), section))
            offset += len(line) + 1
        found.sort(key=lambda heading: heading.end)
    return found


def _heading_key(line: str) -> str:
    key = line.strip(" \t\r*#_-=【】[]()0123456789、").lower()
    return " ".join(key.split())


@lru_cache(maxsize=1)
def heading_table() -> dict[str, str]:
    """Heading in lower case to section."""
    table = {}
    for row in table_rows("headings.tsv"):
        for heading in row[1].split("|"):
            table[heading] = row[0]
    return table


def table_rows(name: str) -> list[list[str]]:
    """The rows of a table in ``scope_rules``, split at tabs; ``#`` at the start of a line is a comment."""
    text = (resources.files("med_entity_tree") / "scope_rules" / name).read_text(encoding="utf-8")
    return [line.split("\t") for line in text.splitlines() if line.strip() and not line.startswith("#")]
