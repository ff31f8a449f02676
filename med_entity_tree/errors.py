"""Refusals of the Medical Entity Tree."""

from pathlib import Path

from vlm.errors import MedVLMError


class OntologyError(MedVLMError):
    """An ontology is missing, damaged or not of the form that was asked for.

    ``what`` happened and what ``todo``; ``path`` and ``line`` (from 1) say where. Both are None where no file is meant,
    ``line`` where the whole file is.
    """

    def __init__(self, what: str, todo: str = "", path: Path | None = None, line: int | None = None):
        where = f"{path}, line {line}" if line else f"{path}"
        sentence = what if path is None else f"{where}: {what}"
        super().__init__(f"{sentence}. {todo}." if todo else sentence)
        self.path, self.line = path, line


class ScratchSpaceError(MedVLMError):
    """The disk that an ontology's files are joined on is full; the sentence names the folder."""
