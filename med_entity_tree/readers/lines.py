"""Lines and rows of text files, plain or gzipped, in bounded memory; what is wrong is told with its file and line."""

import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from med_entity_tree.errors import OntologyError

# The longest lines of real files (definitions in UMLS, axioms in ChEBI) are below 50,000 bytes.
MAX_LINE = 1 << 20
DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile)
_AGAIN = "Get or unpack the file again"


def open_bytes(path: Path) -> BinaryIO:
    """The bytes of a file, unpacked when its first bytes are gzip's, whatever its name.

    Raises:
        OntologyError: there is no such file, it cannot be opened, it is a zip archive or UTF-16 text.
    """
    try:
        with path.open("rb") as stream:
            magic = stream.read(4)
        packed = magic[:2] == b"\x1f\x8b"
        stream = cast(BinaryIO, gzip.GzipFile(path, "rb")) if packed else path.open("rb")
    except IsADirectoryError as error:
        raise OntologyError("this is a folder", "Give the file itself", path) from error
    except OSError as error:
        raise OntologyError(f"cannot be opened: {error.strerror}", "Check path and permissions", path) from error
    if magic == b"PK\x03\x04":
        stream.close()
        raise OntologyError("this is a zip archive", "Unpack it and give the file or folder inside", path)
    return stream


def damaged(path: Path, error: Exception, line: int | None = None) -> OntologyError:
    """What to raise for one of ``DAMAGED``: a gzip stream that breaks off or whose checksum is wrong."""
    return OntologyError(f"the gzip stream is cut or damaged here ({error})", _AGAIN, path, line)


def head(path: Path, size: int = 4096) -> str:
    """The first characters of a file, for telling what it is; bytes that are no UTF-8 become U+FFFD."""
    try:
        with open_bytes(path) as stream:
            return stream.read(size).decode("utf-8-sig", "replace")
    except DAMAGED as error:
        raise damaged(path, error) from error


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of UTF-8 text with their numbers from 1, without byte order mark and line ends (LF or CR LF).

    Raises:
        OntologyError: as :func:`open_bytes`; a cut gzip stream; not UTF-8; a line of more than ``MAX_LINE`` bytes.
    """
    number = 0
    with open_bytes(path) as stream:
        try:
            for number, raw in enumerate(iter(partial(stream.readline, MAX_LINE + 1), b""), 1):
                if number == 1:
                    raw = _without_mark(path, raw)
                if len(raw) > MAX_LINE:
                    raise OntologyError(f"a line of more than {MAX_LINE} bytes", "Give a text file", path, number)
                try:
                    yield number, raw.decode("utf-8").rstrip("\r\n")
                except UnicodeDecodeError as error:
                    raise _encoding(path, f"byte {raw[error.start]:#04x} is not UTF-8", "LATIN1", number) from error
        except DAMAGED as error:
            raise damaged(path, error, number + 1) from error


def _without_mark(path: Path, raw: bytes) -> bytes:
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise _encoding(path, "this is UTF-16 text", "UTF-16", 1)
    return raw.removeprefix(b"\xef\xbb\xbf")


def _encoding(path: Path, what: str, guess: str, line: int) -> OntologyError:
    return OntologyError(what, f"Convert it: `iconv -f {guess} -t UTF-8 {path.name} -o utf8-{path.name}`", path, line)


def delimited_rows(
    path: Path, columns: Sequence[str], delimiter: str, *, header: bool, closed: bool = False
) -> Iterator[tuple[int, list[str]]]:
    """Rows of a file without quoting, each with its line and as many fields as there are columns; empty lines skipped.

    With ``header``, line 1 must name the columns. ``closed`` rows have one more delimiter behind the last field.

    Raises:
        OntologyError: as :func:`text_lines`; a row with another number of columns; another header.
    """
    width = len(columns)
    for number, line in text_lines(path):
        if not line:
            continue
        fields = line.split(delimiter)
        if closed and fields.pop():
            raise OntologyError(f"the row does not end with {delimiter}", _AGAIN, path, number)
        if header and number == 1:
            if [field.strip().lower() for field in fields] != [column.lower() for column in columns]:
                expected = ", ".join(columns)
                raise OntologyError("the header names other columns", f"Expected are {expected}", path, number)
            continue
        if len(fields) != width:
            raise OntologyError(f"{len(fields)} columns where {width} are expected", _AGAIN, path, number)
        yield number, fields


def csv_rows(path: Path, required: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a CSV file (RFC 4180, header first) as column -> text, each with the line that it ends on.

    Raises:
        OntologyError: as :func:`text_lines`; a required column missing; a row of another width; quoting that is broken.
    """
    reader = csv.reader((line + "\n" for _, line in text_lines(path)), strict=True)
    names: list[str] = []
    try:
        for fields in reader:
            if not names:
                names = [field.strip() for field in fields]
                if missing := [column for column in required if column not in names]:
                    what = f"no column {', '.join(missing)} among {', '.join(names)[:200]}"
                    raise OntologyError(what, "Give the file of the release as it is", path, reader.line_num)
            elif len(fields) == len(names):
                yield reader.line_num, dict(zip(names, fields))
            elif fields:
                what = f"{len(fields)} columns where the header has {len(names)}"
                raise OntologyError(what, _AGAIN, path, reader.line_num)
    except csv.Error as error:
        raise OntologyError(f"broken CSV ({error})", _AGAIN, path, reader.line_num) from error
    if not names:
        raise OntologyError("the file is empty", _AGAIN, path)
