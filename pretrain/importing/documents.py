"""Documents (articles, pages, PDF texts) as studies: passages of text, and figures with their captions.

A passage becomes one assistant turn and nothing else: the chat template adds no question that nobody asked, and the
encoder of training puts the loss on what the assistant says, which is then every token of the passage. A figure becomes
a user turn with the image and a request for its caption, and the caption as the answer. All studies of a document share
its key as the cluster "study", so that a split never cuts a document.
"""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pretrain.importing.errors import ImportSourceError
from pretrain.importing.study import Drop, Study, cluster_key
from pretrain.importing.text_encoding import REPLACEMENT
from pretrain.shards.ordering import derive
from vlm.messages import Message

CAPTION_PROMPTS = (
    "Write a caption for this figure.",
    "Describe this figure as its caption would.",
    "What does this figure show?",
    "Give the caption of this image.",
)
DOCUMENT_SUFFIXES: dict[Literal["pubmed", "pages"], tuple[str, ...]] = {
    "pubmed": (".xml", ".nxml", ".xml.gz", ".nxml.gz"),
    "pages": (".html", ".htm", ".xhtml", ".pdf", ".md", ".markdown", ".txt"),
}
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[^a-z\s])|(?<=[。！？；])")
_LOOKED_AT = 5000


@dataclass(frozen=True)
class Figure:
    """An image file and what is said about it."""

    image: Path
    caption: str
    label: str = ""


@dataclass(frozen=True)
class Document:
    """What a reader found in one article, page or file.

    Attributes:
        key: unique in the source.
        where: for the list of dropped records.
        paragraphs: in reading order; a heading stands in front of its first paragraph, with a line break between.
        figures: whose files are there.
        kind: which thresholds of ``pretrain.cleaning`` the passages are held against.
        extra: kept with every sample of the document.
    """

    key: str
    where: str
    paragraphs: tuple[str, ...]
    figures: tuple[Figure, ...] = ()
    title: str = ""
    licence: str = ""
    kind: Literal["article", "report"] = "article"
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Passages:
    """How long documents are cut, at paragraph borders first, then sentences, then words.

    Attributes:
        limit: size of a passage at most, in the unit of ``count``.
        count: size of a text; ``len`` counts characters (about four a token in English, one and a half in Chinese).
            A tokenizer is passed as ``lambda text: len(tokenizer.encode(text))``.
        name: of the unit; part of the source's fingerprint, so give each tokenizer its own.
    """

    limit: int = 6000
    count: Callable[[str], int] = len
    name: str = "characters"

    def cut(self, paragraphs: Sequence[str]) -> list[str]:
        """Passages of nearly equal size, so that none is a short rest.

        >>> Passages(limit=8).cut(["one", "two", "three"])
        ['one\\n\\ntwo', 'three']
        """
        pieces = [piece for p in paragraphs if p.strip() for piece in self._pieces(p.strip())]
        sizes = [self.count(piece) for piece in pieces]
        total = sum(sizes)
        if not pieces:
            return []
        aim = total / math.ceil(total / self.limit)
        passages, held, size = [], [], 0
        for piece, more in zip(pieces, sizes, strict=True):
            joined = "\n\n".join([*held, piece])
            if held and (size + more / 2 > aim or self.count(joined) > self.limit):
                passages.append("\n\n".join(held))
                held, size = [], 0
            held.append(piece)
            size += more
        return [*passages, "\n\n".join(held)]

    def _pieces(self, paragraph: str) -> Iterator[str]:
        if self.count(paragraph) <= self.limit:
            yield paragraph
            return
        held = ""
        for sentence in _SENTENCE_END.split(paragraph):
            for part in self._words(sentence):
                joined = f"{held} {part}".strip() if held[-1:] not in "。！？；" else held + part
                if held and self.count(joined) > self.limit:
                    yield held
                    joined = part
                held = joined
        if held:
            yield held

    def _words(self, sentence: str) -> Iterator[str]:
        """A sentence that is too long, in halves at a blank, or anywhere in a text without blanks."""
        if self.count(sentence) <= self.limit or len(sentence) < 2:
            yield sentence.strip()
            return
        middle = len(sentence) // 2
        blank = sentence.rfind(" ", 1, middle + 1)
        cut = blank if blank > 0 else middle
        yield from self._words(sentence[:cut])
        yield from self._words(sentence[cut:])


DEFAULT_PASSAGES = Passages()


def text_messages(text: str) -> tuple[Message, ...]:
    """A passage as a conversation: one assistant turn."""
    return ({"role": "assistant", "content": text},)


def caption_messages(key: str, caption: str) -> tuple[Message, ...]:
    """An image and its caption; the wording of the request is drawn from the key."""
    prompt = CAPTION_PROMPTS[derive("caption", key) % len(CAPTION_PROMPTS)]
    parts = [{"type": "image", "image": 0}, {"type": "text", "text": prompt}]
    return ({"role": "user", "content": parts}, {"role": "assistant", "content": caption})


def document_studies(document: Document, passages: Passages, salt: str = "") -> Iterator[Study | Drop]:
    """Studies of a document: its passages, then its figures. A part that has lost characters is dropped by reason."""
    cluster, licence = cluster_key("study", document.key, salt), document.licence
    about = {"document": document.key, "kind": document.kind, **document.extra}
    if document.title:
        about["title"] = document.title
    paragraphs = list(document.paragraphs)
    if paragraphs and document.title and not paragraphs[0].casefold().startswith(document.title.casefold()):
        paragraphs[0] = f"{document.title}\n\n{paragraphs[0]}"
    texts = passages.cut(paragraphs)
    if not texts and not document.figures:
        yield Drop(document.where, "no text")
    for n, text in enumerate(texts):
        where = f"{document.where}, passage {n + 1} of {len(texts)}"
        if REPLACEMENT in text:
            yield Drop(where, "characters were lost (U+FFFD)")
            continue
        extra = {**about, "passage": n, "passages": len(texts)}
        yield Study(
            f"{document.key}-t{n:04d}", where, messages=text_messages(text), study=cluster, licence=licence, extra=extra
        )
    for n, figure in enumerate(document.figures):
        where, key = f"{document.where}, figure {n + 1}", f"{document.key}-f{n:04d}"
        if REPLACEMENT in figure.caption:
            yield Drop(where, "characters were lost (U+FFFD)")
            continue
        extra = {**about, "kind": "caption", "figure": figure.label or str(n + 1)}
        messages = caption_messages(key, figure.caption)
        yield Study(key, where, (figure.image,), messages=messages, study=cluster, licence=licence, extra=extra)


def guess_documents(path: str | Path) -> Literal["pubmed", "pages"] | None:
    """Whether a file or folder holds articles in XML ("pubmed"), pages and texts ("pages"), or neither.

    A folder counts when nothing in it looks like an image study: no file without one of the known suffixes, other than
    pictures beside HTML, Markdown or XML, which are figures. Plain .txt beside pictures are reports, not pages.
    """
    place = Path(path)
    if place.is_file():
        return next((kind for kind, ends in DOCUMENT_SUFFIXES.items() if place.name.lower().endswith(ends)), None)
    if not place.is_dir():
        return None
    pictures = (".png", ".jpg", ".jpeg", ".gif", ".tif", ".tiff", ".webp", ".svg", ".css", ".js")
    seen: Counter[str] = Counter()
    for n, found in enumerate(sorted(place.rglob("*"))):
        if n >= _LOOKED_AT:
            break
        if not found.is_file() or found.name.startswith("."):
            continue
        name = found.name.lower()
        if name.endswith(".txt"):
            seen["txt"] += 1
        elif kind := next((k for k, ends in DOCUMENT_SUFFIXES.items() if name.endswith(ends)), None):
            seen[kind] += 1
        elif name.endswith(pictures):
            seen["picture"] += 1
        else:
            return None
    if seen["pubmed"] > seen["pages"]:
        return "pubmed"
    return "pages" if seen["pages"] or (seen["txt"] and not seen["picture"]) else None


class DocumentFolder:
    """What sources of documents share: the files below a path, one split, a fingerprint of files and settings.

    Args:
        path: folder, or one file.
        kind: of ``DOCUMENT_SUFFIXES``.
        passages: how long texts are cut.

    Raises:
        ImportSourceError: there is no such file.
    """

    def __init__(
        self,
        path: str | Path,
        kind: Literal["pubmed", "pages"],
        passages: Passages,
        *,
        licence: str,
        name: str | None,
        simulated: bool,
        salt: str,
    ):
        self.path = Path(path)
        self.files = document_files(self.path, DOCUMENT_SUFFIXES[kind])
        self.root = self.path if self.path.is_dir() else self.path.parent
        self.passages = passages
        self.licence, self.simulated, self.salt = licence, simulated, salt
        self.name = name or self.path.resolve().name.split(".")[0]

    def splits(self) -> list[str]:
        return ["train"]

    def total(self, split: str) -> int | None:
        return None

    def settings(self) -> str:
        """What decides the passages, beside the files."""
        return f"{self.passages.limit} {self.passages.name} {self.salt}"

    def fingerprint(self) -> str:
        return files_fingerprint(self.files, self.root, self.settings())


def document_files(path: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Files of a folder with one of the suffixes, sorted; or the one file.

    Raises:
        ImportSourceError: there is none.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ImportSourceError(f"there is no file or folder {path}")
    hidden = (p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
    found = sorted(p for p in hidden if p.name.lower().endswith(suffixes))
    if not found:
        raise ImportSourceError(f"{path} holds no file that ends in {', '.join(suffixes)}")
    return found


def files_fingerprint(files: list[Path], root: Path, settings: str) -> str:
    """Changes with names, sizes, beginnings and ends of the files, and with the settings."""
    sha = hashlib.sha256(settings.encode())
    for path in files:
        size = path.stat().st_size
        with path.open("rb") as file:
            sha.update(f"\n{path.relative_to(root).as_posix()} {size}\n".encode() + file.read(4096))
            file.seek(max(0, size - 4096))
            sha.update(file.read(4096))
    return sha.hexdigest()
