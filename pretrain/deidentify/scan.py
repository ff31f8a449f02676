"""What lies in a source folder, and what each file will be called."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pretrain.deidentify.keys import Keys
from pretrain.deidentify.reports import stem_of
from vlm.imaging.dicom_read import looks_like_dicom

_TEXTS, _TABLES = (".txt", ".md"), (".csv", ".tsv", ".jsonl")
_SUFFIX = {"dicom": ".dcm", "text": ".txt"}


@dataclass(frozen=True)
class Job:
    """One file of the source.

    Attributes:
        relative: its path there, with forward slashes. kind: "dicom", "text", "table" or "other".
        out: its path in the output. name: keyed hash of path, size and time of change, for the journal.
    """

    relative: str
    kind: str
    out: str
    name: str


def scan(source: Path, keys: Keys) -> Iterator[Job]:
    """Every file, sorted by what it will be called: an order of the source would say something of the names in it.

    Links are not followed; they are of kind "other", as is all that is not covered.
    """
    yield from sorted(_walk(source, keys), key=lambda job: job.out)


def _walk(source: Path, keys: Keys) -> Iterator[Job]:
    taken: set[str] = set()
    for parent, folders, files in os.walk(source):
        folders.sort()
        links = [name for name in folders if Path(parent, name).is_symlink()]
        for name in sorted([*files, *links]):
            path = Path(parent, name)
            relative = path.relative_to(source).as_posix()
            kind = kind_of(path)
            out = _free(_out(relative, kind, keys), taken)
            info = path.lstat()
            state = f"{relative}|{info.st_size}|{info.st_mtime_ns}"
            yield Job(relative, kind, out, keys.code("job", state, "", 32))


def kind_of(path: Path) -> str:
    """By content for DICOM, by extension for texts and tables."""
    if path.is_symlink() or not path.is_file():
        return "other"
    suffix = path.suffix.lower()
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError:
        return "other"
    if head[128:132] == b"DICM":
        return "dicom"
    if suffix in _TEXTS:
        return "text"
    if suffix in _TABLES:
        return "table"
    return "dicom" if looks_like_dicom(head) else "other"


def _out(relative: str, kind: str, keys: Keys) -> str:
    """The same tree with every name a keyed hash, so that a report stays beside its images: an image and a text of one
    name get one name again, and so do a folder and the text that is called after it. ``report.txt`` keeps its name."""
    parts = PurePosixPath(relative).parts
    folders = [keys.code("path", "/".join(parts[: i + 1]), "", 14) for i in range(len(parts) - 1)]
    stem = stem_of(relative)
    suffix = _SUFFIX.get(kind, PurePosixPath(relative).suffix.lower() if kind == "table" else ".bin")
    own = "report" if PurePosixPath(stem).name == "report" and kind == "text" else keys.code("path", stem, "", 14)
    return "/".join([*folders, own + suffix])


def _free(out: str, taken: set[str]) -> str:
    path, number = PurePosixPath(out), 1
    while out in taken:
        number += 1
        out = str(path.with_name(f"{path.stem}-{number}{path.suffix}"))
    taken.add(out)
    return out
