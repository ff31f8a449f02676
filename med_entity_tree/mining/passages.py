"""Documents cut into passages: what one numbered paragraph of a request holds, and what evidence points to."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from med_entity_tree.corpus import Document

_PARAGRAPH = re.compile(r"\n\s*\n")
_SENTENCE = re.compile(r"(?<=[.;!?])\s+|(?<=[。；！？])|\n")


@dataclass(frozen=True, slots=True)
class Passage:
    """``id`` is ``<document>#<number>``, stable as long as the document's text is."""

    id: str
    document: str
    text: str


def passages_of(document: Document, longest: int = 1200) -> Iterator[Passage]:
    """A document in passages of at most ``longest`` characters, cut between paragraphs, else sentences, else words."""
    identity, text = document
    for number, piece in enumerate(_packed(_pieces(text, longest), longest)):
        yield Passage(f"{identity}#{number}", identity, piece)


def passages(documents: Iterable[Document], longest: int = 1200) -> Iterator[Passage]:
    for document in documents:
        yield from passages_of(document, longest)


def _pieces(text: str, longest: int) -> Iterator[str]:
    for paragraph in _PARAGRAPH.split(text):
        if len(paragraph) <= longest:
            yield paragraph.strip() + "\n\n"
            continue
        for sentence in _SENTENCE.split(paragraph):
            while len(sentence) > longest:
                cut = sentence.rfind(" ", longest // 2, longest)
                cut = cut if cut > 0 else longest
                yield sentence[:cut]
                sentence = sentence[cut:].lstrip()
            yield sentence + " "


def _packed(pieces: Iterable[str], longest: int) -> Iterator[str]:
    held = ""
    for piece in pieces:
        if not held.strip():
            held = ""
        elif len(held) + len(piece.rstrip()) > longest:
            yield held.strip()
            held = ""
        held += piece
    if held.strip():
        yield held.strip()
