"""Folders of HTML pages, PDF, Markdown and text files: passages of their main text, and pictures with captions."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pretrain.importing.documents import (
    DEFAULT_PASSAGES,
    Document,
    DocumentFolder,
    Figure,
    Passages,
    document_studies,
)
from pretrain.importing.page_child import PageChild
from pretrain.importing.pubmed import licence_id
from pretrain.importing.study import Drop, Study, cluster_key

_MAX_FILE = 256 << 20


class PageFolder(DocumentFolder):
    """Documents of a folder tree, or of one file.

    File names may tell who a patient is: keys are hashes of paths, and only the list of dropped records shows them.
    What cannot be read is dropped by reason: encrypted, damaged or scanned PDFs, an encoding that nobody knows, a file
    that takes longer than ``timeout_s`` in the child that reads it.

    Args:
        path: folder, or one file.
        passages: how long texts are cut.
        timeout_s: for one file; a child that is slower is killed.
        licence: of files that state none (``rel="license"`` of a page).
        salt: keeps hashed paths from being guessed.

    Raises:
        ImportSourceError: nothing is there.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        passages: Passages = DEFAULT_PASSAGES,
        timeout_s: float = 60.0,
        licence: str = "unknown",
        name: str | None = None,
        simulated: bool = False,
        salt: str = "",
    ):
        super().__init__(path, "pages", passages, licence=licence, name=name, simulated=simulated, salt=salt)
        self.timeout_s = timeout_s

    def studies(self, split: str) -> Iterator[Study | Drop]:
        with PageChild(self.timeout_s) as child:
            for path in self.files:
                place = path.relative_to(self.root).as_posix()
                if path.stat().st_size > _MAX_FILE:
                    yield Drop(place, f"file of more than {_MAX_FILE >> 20} MB")
                    continue
                page = child.read(path)
                if "unreadable" in page:
                    yield Drop(place, page["unreadable"])
                    continue
                yield from document_studies(self._document(page, path, place), self.passages, self.salt)

    def _document(self, page: dict[str, Any], path: Path, place: str) -> Document:
        found = ((self._beside(path.parent, source), caption) for source, caption in page["figures"])
        figures = {image: Figure(image, caption) for image, caption in found if image is not None}
        return Document(
            key="doc-" + cluster_key("key", place, self.salt),
            where=place,
            paragraphs=tuple(page["paragraphs"]),
            figures=tuple(figures.values()),
            title=page["title"],
            licence=licence_id(page["licence"]),
            extra={"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), **page["notes"]},
        )

    def _beside(self, folder: Path, source: str) -> Path | None:
        """The picture that a page shows, if it is a file inside the folder that was given."""
        name = unquote(source.split("#")[0].split("?")[0])
        if not name or "\0" in name or "://" in name:
            return None
        image = (folder / name).resolve()
        return image if image.is_file() and image.is_relative_to(self.root.resolve()) else None
