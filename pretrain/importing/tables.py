"""Image and text tables (CSV, JSONL, Parquet) with a mapping of columns, and what Hugging Face rows share with them."""

import csv
import difflib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pretrain.importing.errors import ColumnError, ImportSourceError
from pretrain.importing.study import Drop, Question, Report, Study, cluster_key

FIELDS = (
    "key", "image", "text", "findings", "impression", "question", "answer", "messages",
    "patient", "study", "split", "entities", "licence",
)  # fmt: skip
_TEXT_FIELDS = ("text", "findings", "impression", "messages", "answer")
_DEFAULTS = {"image": ("image", "images", "image_path", "path"), "text": ("text", "report", "caption")}
_EDGE = 1 << 16


@dataclass(frozen=True)
class Columns:
    """Which column holds which field; a field without a column is absent."""

    of: Mapping[str, str]

    @classmethod
    def resolve(cls, mapping: Mapping[str, str], present: Iterable[str], where: str) -> "Columns":
        """Check a mapping ``field -> column`` against the columns that there are; unmapped fields find their own name.

        Raises:
            ColumnError: unknown field, no such column (names the nearest), or no text to learn from.
        """
        columns = list(present)
        for field, column in mapping.items():
            if field not in FIELDS:
                raise ColumnError(
                    f"{field!r} is no field of a sample{_nearest(field, FIELDS)}; fields are {', '.join(FIELDS)}"
                )
            if column not in columns:
                raise ColumnError(f"{where} has no column {column!r} (asked for as {field}){_nearest(column, columns)}")
        found = dict(mapping)
        for field in FIELDS:
            candidates = [c for c in _DEFAULTS.get(field, (field,)) if c in columns]
            if field not in found and candidates:
                found[field] = candidates[0]
        if not any(field in found for field in _TEXT_FIELDS):
            raise ColumnError(
                f"{where} has no text: map one of {', '.join(_TEXT_FIELDS)} to a column, for example --map text=NAME"
                f"{_nearest('text', columns)}"
            )
        if "answer" in found and "question" not in found:
            raise ColumnError(
                f"{where}: answers need questions: map question to a column{_nearest('question', columns)}"
            )
        return cls(found)

    def get(self, row: Mapping[str, Any], field: str) -> Any:
        value = row.get(self.of[field]) if field in self.of else None
        return None if value == "" else value


class TableSource:
    """Rows of a CSV, TSV, JSONL or Parquet file as studies; consecutive rows of one study become one conversation.

    Args:
        path: the table; image paths in it are relative to ``images``.
        mapping: field -> column, for columns that are not named like their field.
        images: folder of the images; default the table's.
        group: join consecutive rows that share study (or, without one, their images) into one conversation of several
            questions.
        salt: keeps hashed patient and study ids from being guessed.
    """

    def __init__(
        self,
        path: str | Path,
        mapping: Mapping[str, str] | None = None,
        *,
        images: str | Path | None = None,
        group: bool = True,
        licence: str = "unknown",
        name: str | None = None,
        simulated: bool = False,
        salt: str = "",
    ):
        self.path = Path(path)
        if not self.path.is_file():
            raise ImportSourceError(f"there is no table {self.path}")
        self.images = Path(images) if images else self.path.parent
        self.group, self.licence, self.simulated, self.salt = group, licence, simulated, salt
        self.name = name or self.path.stem
        self._splits: list[str] | None = None
        self.columns = Columns.resolve(mapping or {}, self._column_names(), self.path.name)

    def splits(self) -> list[str]:
        if self._splits is None:
            column = self.columns.of.get("split")
            rows = self._rows(column) if column else ()
            found = {str(self.columns.get(row, "split") or "train") for _, row in rows if row is not None}
            self._splits = sorted(found) or ["train"]
        return self._splits

    def total(self, split: str) -> int | None:
        return None

    def fingerprint(self) -> str:
        """From size, beginning and end, since tables may be large."""
        sha, size = hashlib.sha256(), self.path.stat().st_size
        with self.path.open("rb") as file:
            sha.update(str(size).encode() + file.read(_EDGE))
            file.seek(max(0, size - _EDGE))
            sha.update(file.read(_EDGE))
        sha.update(json.dumps(dict(self.columns.of), sort_keys=True).encode() + bytes([self.group]))
        sha.update(self.salt.encode())
        return sha.hexdigest()

    def studies(self, split: str) -> Iterator[Study | Drop]:
        one_row = (self._record(number, row) for number, row in self._rows())
        chosen = (record for record in one_row if isinstance(record, Drop) or (record.split or "train") == split)
        if split != self.splits()[0]:  # a row that cannot be read belongs to no split; it is counted once, in the first
            chosen = (record for record in chosen if not isinstance(record, Drop))
        return join_consecutive(chosen) if self.group else chosen

    def _record(self, number: int, row: Mapping[str, Any] | None) -> Study | Drop:
        where = f"{self.path.name}, row {number}"
        if row is None:
            return Drop(where, "row is not JSON")
        return row_to_study(row, self.columns, number, where, self.images, self.salt)

    def _column_names(self) -> list[str]:
        if self._kind() == "parquet":
            import pyarrow as pa
            import pyarrow.parquet as pq

            try:
                return pq.read_schema(self.path).names
            except pa.ArrowInvalid as error:
                raise ImportSourceError(f"{self.path} is not a Parquet file: {error}") from error
        names: dict[str, None] = {}
        for _, row in islice(self._rows(), 100):
            names.update(dict.fromkeys(row or ()))
        if not names:
            raise ImportSourceError(f"{self.path} holds no rows")
        return list(names)

    def _kind(self) -> str:
        kind = self.path.suffix.lower().lstrip(".")
        if kind not in ("csv", "tsv", "jsonl", "parquet"):
            raise ImportSourceError(f"{self.path}: a table is .csv, .tsv, .jsonl or .parquet")
        return kind

    def _rows(self, only: str | None = None) -> Iterator[tuple[int, Mapping[str, Any] | None]]:
        """Rows with their numbers; of a Parquet file, whose images may be inside, one column alone can be read."""
        kind = self._kind()
        if kind == "parquet":
            import pyarrow.parquet as pq

            number = 0
            for batch in pq.ParquetFile(self.path).iter_batches(batch_size=64, columns=[only] if only else None):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
            return
        with self.path.open(encoding="utf-8-sig", newline="" if kind != "jsonl" else None) as file:
            if kind == "jsonl":
                for number, line in enumerate(file, 1):
                    if line.strip():
                        yield number, _json_row(line)
            else:
                reader = csv.DictReader(file, delimiter="\t" if kind == "tsv" else ",")
                yield from enumerate(reader, 1)


def row_to_study(
    row: Mapping[str, Any], columns: Columns, number: int, where: str, images: Path, salt: str
) -> Study | Drop:
    """One row as a study of its own.

    ``image`` may be a path, a list of paths, several paths with ";" between, bytes, or ``{"bytes", "path"}`` as Hugging
    Face stores it. Patient and study ids are hashed.
    """
    try:
        found = _images(columns.get(row, "image"), images)
        if isinstance(found, str):
            return Drop(where, found)
        messages = columns.get(row, "messages")
        messages = json.loads(messages) if isinstance(messages, str) else messages
        entities = columns.get(row, "entities") or ()
        entities = [e.strip() for e in entities.split(";")] if isinstance(entities, str) else entities
    except (ValueError, TypeError, KeyError):
        return Drop(where, "row is malformed")
    asked, answer = columns.get(row, "question"), columns.get(row, "answer")
    findings = columns.get(row, "findings") or columns.get(row, "text")
    impression = columns.get(row, "impression")
    text = Report(str(findings or ""), str(impression or "")) if findings or impression else None
    return Study(
        key=str(columns.get(row, "key") or f"row-{number:08d}"),
        where=where,
        images=found,
        report=text,
        questions=(Question(str(asked), str(answer), {"question": str(asked), "answer": str(answer)}),)
        if asked and answer
        else (),
        messages=tuple(messages or ()),
        patient=cluster_key("patient", str(columns.get(row, "patient") or ""), salt),
        study=cluster_key("study", str(columns.get(row, "study") or ""), salt),
        split=str(columns.get(row, "split") or ""),
        entities=tuple(entities),
        licence=str(columns.get(row, "licence") or ""),
    )


def join_consecutive(records: Iterable[Study | Drop]) -> Iterator[Study | Drop]:
    """Join neighbours that ask about the same study (or the same images) into one study with several questions."""
    held: Study | None = None
    for record in records:
        if isinstance(held, Study) and isinstance(record, Study) and _same_subject(held, record):
            held = _joined(held, record)
            continue
        if held is not None:
            yield _with_questions(held)
        held = record if isinstance(record, Study) else None
        if isinstance(record, Drop):
            yield record
    if held is not None:
        yield _with_questions(held)


def _same_subject(a: Study, b: Study) -> bool:
    if a.messages or b.messages or not b.questions or a.images != b.images:
        return False
    return a.study == b.study and bool(a.study or a.images)


def _joined(a: Study, b: Study) -> Study:
    from dataclasses import replace

    return replace(
        a,
        questions=a.questions + b.questions,
        report=a.report or b.report,
        entities=tuple(dict.fromkeys(a.entities + b.entities)),
    )


def _with_questions(study: Study) -> Study:
    from dataclasses import replace

    return (
        replace(study, extra={**study.extra, "qa": [q.details for q in study.questions]}) if study.questions else study
    )


def _images(value: Any, folder: Path) -> tuple[Path | bytes, ...] | str:
    """Images of a cell, or why there are none that can be read."""
    if value is None:
        return ()
    if isinstance(value, str):
        if "://" in value:
            return "image is a URL (nothing is fetched)"
        return tuple(folder / part.strip() for part in value.split(";") if part.strip())
    if isinstance(value, bytes):
        return (value,)
    if isinstance(value, Mapping):
        return (value["bytes"],) if value.get("bytes") else _images(value.get("path"), folder)
    found: list[Path | bytes] = []
    for item in value:
        images = _images(item, folder)
        if isinstance(images, str):
            return images
        found += images
    return tuple(found)


def _json_row(line: str) -> Mapping[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def _nearest(name: str, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(name.lower(), [k.lower() for k in known], n=1, cutoff=0.5)
    if near:
        return f"; did you mean {next(k for k in known if k.lower() == near[0])!r}?"
    return f"; there are: {', '.join(known)}"
