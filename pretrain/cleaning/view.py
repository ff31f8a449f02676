"""What rules look at: a text with its lines, words and counts, each worked out once."""

import re
from dataclasses import dataclass
from functools import cached_property

_WORD = re.compile(r"[^\W_]+(?:['’.\-][^\W_]+)*")
_TOKEN = re.compile(r"\S+")
_HANZI = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
# What de-identification leaves: runs of X, blanks, and the marks of common tools.
_MARK = re.compile(r"\bX{3,}\b|_{3,}|\[\*\*[^\]\n]{0,80}\*\*\]|\[(?:NAME|DATE|ID|REDACTED|PHI)[^\]\n]{0,40}\]|\*{4,}")


@dataclass(frozen=True)
class View:
    """A text under judgement; ``words`` are lower case, a Chinese character counts as half a word."""

    text: str

    @cached_property
    def lines(self) -> list[str]:
        """Lines that are not empty, stripped."""
        return [line for raw in self.text.split("\n") if (line := raw.strip())]

    @cached_property
    def tokens(self) -> list[str]:
        """Runs between blanks."""
        return _TOKEN.findall(self.text)

    @cached_property
    def words(self) -> list[str]:
        """Words and numbers in lower case; each Chinese character is one of its own."""
        if self.hanzi:
            return [w.lower() for w in _WORD.findall(_HANZI.sub(r" \g<0> ", self.text))]
        return [w.lower() for w in _WORD.findall(self.text)]

    @cached_property
    def hanzi(self) -> int:
        """Number of Chinese characters."""
        return 0 if self.text.isascii() else len(_HANZI.findall(self.text))

    @cached_property
    def size(self) -> float:
        """Length in words, two Chinese characters for one."""
        return len(self.words) - self.hanzi / 2

    @cached_property
    def marks(self) -> int:
        """Marks that de-identification left ("XXXX", "[**Name**]", "____")."""
        return len(_MARK.findall(self.text))

    @cached_property
    def without_marks(self) -> str:
        """The text without those marks."""
        return _MARK.sub(" ", self.text) if self.marks else self.text


def deidentified_marks(text: str) -> int:
    """Number of marks that de-identification left in a text; they are counted and kept, never a fault.

    >>> deidentified_marks("Compared to XXXX. Dr. [**Last Name**] was told.")
    2
    """
    return View(text).marks
