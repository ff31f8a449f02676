"""Rich Release Format, which UMLS and RxNorm share: pipe-delimited rows without a header, UTF-8, no quoting.

Columns after the UMLS Reference Manual, chapter 3 (Metathesaurus - Rich Release Format), and the RxNorm technical
documentation, which renames CUI to RXCUI and keeps the order.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from med_entity_tree.errors import OntologyError
from med_entity_tree.readers.lines import delimited_rows

CONSO = "CUI LAT TS LUI STT SUI ISPREF AUI SAUI SCUI SDUI SAB TTY CODE STR SRL SUPPRESS CVF".split()
STY = "CUI TUI STN STY ATUI CVF".split()
REL = "CUI1 AUI1 STYPE1 REL CUI2 AUI2 STYPE2 RELA RUI SRUI SAB SL RG DIR SUPPRESS CVF".split()
DEF = "CUI AUI ATUI SATUI SAB DEF SUPPRESS CVF".split()

MAX_ID = 10_000_000  # CUIs and RXCUIs have up to seven digits


def rrf_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Rows with their lines; tabs within a text become blanks, so that rows can be joined."""
    for line, row in delimited_rows(path, columns, "|", header=False, closed=True):
        yield line, [field.replace("\t", " ") for field in row] if any("\t" in field for field in row) else row


def suppressed(flag: str) -> bool:
    """E, O and Y say that the row is obsolete or suppressed (MRDOC, SUPPRESS)."""
    return flag in ("E", "O", "Y")


def find_file(folder: Path, name: str) -> Path | None:
    """``name`` or ``name.gz`` in a folder or else below it; None if there is none.

    Raises:
        OntologyError: there are several, or the folder is none.
    """
    if not folder.is_dir():
        raise OntologyError("this is no folder", f"Give the folder that holds {name}", folder)
    found = [folder / end for end in (name, f"{name}.gz") if (folder / end).is_file()]
    found = found or sorted(path for end in (name, f"{name}.gz") for path in folder.rglob(end))
    if len(found) > 1:
        raise OntologyError(f"several files {name}: {', '.join(map(str, found[:4]))}", "Name one folder", folder)
    return found[0] if found else None


def require_file(folder: Path, name: str) -> Path:
    """As :func:`find_file`, and an OntologyError if there is none."""
    if path := find_file(folder, name):
        return path
    raise OntologyError(f"no {name} in it or below", "Give the folder of the unpacked release", folder)


class Kept:
    """The set of concepts that have a name, one byte for each possible number: 10 MB instead of 500 MB for UMLS."""

    def __init__(self, prefix: str):
        self._prefix, self._numbers = prefix, bytearray(MAX_ID)

    def add(self, identity: str, path: Path, line: int) -> None:
        number = self._number(identity)
        if number is None:
            raise OntologyError(f"{identity[:20]!r} is no concept's number", "Get the file again", path, line)
        self._numbers[number] = 1

    def __contains__(self, identity: str) -> bool:
        number = self._number(identity)
        return number is not None and self._numbers[number] == 1

    def _number(self, identity: str) -> int | None:
        digits = identity[len(self._prefix) :]
        shaped = identity.startswith(self._prefix) and digits.isascii() and digits.isdigit() and len(digits) <= 7
        return int(digits) if shaped else None
