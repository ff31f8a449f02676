"""Tables with a column of text, row by row: CSV, TSV, JSONL and Parquet, written whole or not at all."""

import csv
import difflib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from pretrain.cleaning.errors import CleaningError

Row = dict[str, Any]
KINDS = ("csv", "tsv", "jsonl", "parquet")
_BATCH = 1000


class Writer(Protocol):
    """Takes rows of the table."""

    def write(self, rows: list[Row]) -> None: ...


def columns_of(path: Path) -> list[str]:
    """Names of the columns; of JSONL those of the first hundred rows.

    Raises:
        CleaningError: no such table, or it is none.
    """
    kind = _kind(path)
    if kind == "parquet":
        return _parquet(path).schema_arrow.names
    names: dict[str, None] = {}
    for n, row in enumerate(_rows(path, kind)):
        names.update(dict.fromkeys(row))
        if n >= 100 or kind != "jsonl":
            break
    if not names:
        raise CleaningError(f"{path} holds no rows")
    return list(names)


def need_column(path: Path, name: str) -> str:
    """The name, if the table has such a column.

    Raises:
        CleaningError: it has none; the nearest is named.
    """
    names = columns_of(path)
    if name in names:
        return name
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    raise CleaningError(
        f"{path} has no column {name!r}: " + (f"is it {near[0]!r}?" if near else f"there are {', '.join(names)}")
    )


def batches(path: Path) -> Iterator[list[Row]]:
    """Rows in their order, a thousand at a time.

    Raises:
        CleaningError: the table cannot be read; the row is named.
    """
    kind = _kind(path)
    if kind == "parquet":
        for batch in _parquet(path).iter_batches(batch_size=_BATCH):
            yield batch.to_pylist()
        return
    held: list[Row] = []
    for row in _rows(path, kind):
        held.append(row)
        if len(held) == _BATCH:
            yield held
            held = []
    if held:
        yield held


@contextmanager
def writer(path: Path, like: Path, more: dict[str, str] | None = None) -> Iterator[Writer]:
    """A table of the same kind and columns as ``like``, with the columns ``more`` (name -> Arrow type) behind them.

    It takes its name only when all is written; after an error nothing is there.

    Raises:
        CleaningError: another kind of table, or the file is the one that is read.
    """
    if _suffix(path) != _kind(like):
        raise CleaningError(f"{path} must be a .{_kind(like)} table like {like.name}")
    if path.exists() and path.samefile(like):
        raise CleaningError(f"{path} is the table itself: give another name for the result")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        with _opened(part, like, more or {}) as made:
            yield made
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _opened(part: Path, like: Path, more: dict[str, str]) -> Iterator[Writer]:
    kind = _kind(like)
    if kind == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = _parquet(like).schema_arrow
        for name, type_name in more.items():
            schema = schema.append(pa.field(name, pa.type_for_alias(type_name)))
        with pq.ParquetWriter(part, schema) as file:
            yield _ParquetRows(file, schema)
    elif kind == "jsonl":
        with part.open("w", encoding="utf-8", newline="\n") as file:
            yield _JsonRows(file)
    else:
        with part.open("w", encoding="utf-8", newline="") as file:
            names = [*columns_of(like), *more]
            made = csv.DictWriter(file, names, delimiter="\t" if kind == "tsv" else ",", lineterminator="\n")
            made.writeheader()
            yield _CsvRows(made)


class _ParquetRows:
    def __init__(self, file: Any, schema: Any):
        self.file, self.schema = file, schema

    def write(self, rows: list[Row]) -> None:
        import pyarrow as pa

        self.file.write_table(pa.Table.from_pylist(rows, self.schema))


class _JsonRows:
    def __init__(self, file: Any):
        self.file = file

    def write(self, rows: list[Row]) -> None:
        self.file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


class _CsvRows:
    def __init__(self, file: csv.DictWriter):
        self.file = file

    def write(self, rows: list[Row]) -> None:
        self.file.writerows(rows)


def _rows(path: Path, kind: str) -> Iterator[Row]:
    try:
        with path.open(encoding="utf-8-sig", newline=None if kind == "jsonl" else "") as file:
            if kind == "jsonl":
                for number, line in enumerate(file, 1):
                    if line.strip():
                        yield _json_row(line, f"{path}, line {number}")
            else:
                csv.field_size_limit(1 << 27)
                reader = csv.DictReader(file, delimiter="\t" if kind == "tsv" else ",", strict=True)
                for row in reader:
                    if None in row or None in row.values():
                        raise CleaningError(f"{path}, line {reader.line_num}: more or fewer fields than the header")
                    yield row
    except UnicodeDecodeError as error:
        raise CleaningError(f"{path} is not UTF-8 (byte {error.start}): convert it with iconv") from error
    except csv.Error as error:
        raise CleaningError(f"{path} is broken CSV: {error}") from error


def _json_row(line: str, where: str) -> Row:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise CleaningError(f"{where} is not JSON: {error}") from error
    if not isinstance(row, dict):
        raise CleaningError(f"{where} is no JSON object")
    return row


def _parquet(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise CleaningError(f"{path} is not a Parquet file: {error}") from error


def _kind(path: Path) -> str:
    if not path.is_file():
        raise CleaningError(f"there is no table {path}")
    return _suffix(path)


def _suffix(path: Path) -> str:
    kind = path.suffix.lower().lstrip(".")
    if kind not in KINDS:
        raise CleaningError(f"{path}: a table is {', '.join('.' + k for k in KINDS)}")
    return kind
