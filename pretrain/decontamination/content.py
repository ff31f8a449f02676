"""What is compared, in one form for both sides: texts, questions, images and clusters of an item or a sample."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretrain.decontamination.errors import DecontaminationError

if TYPE_CHECKING:
    from vlm.imaging import MedicalImage
    from vlm.sample import Sample


@dataclass(frozen=True)
class Asked:
    """A question with what may be answered and what should be."""

    question: str
    options: tuple[str, ...] = ()
    answer: str = ""

    def whole(self) -> str:
        """Question, options and answer as one text."""
        return "\n".join(part for part in (self.question, *self.options, self.answer) if part)


@dataclass(frozen=True)
class Picture:
    """An image that is decoded when it is needed.

    Attributes:
        file: SHA-256 of the file that it came from, "" where unknown.
        load: gives the image.
        where: for messages.
    """

    file: str
    load: "Callable[[], MedicalImage]"
    where: str


@dataclass(frozen=True)
class Content:
    """One benchmark item or one training sample."""

    key: str
    texts: tuple[str, ...] = ()
    asked: tuple[Asked, ...] = ()
    images: tuple[Picture, ...] = ()
    patient: str = ""
    study: str = ""


def of_sample(sample: "Sample") -> Content:
    """What training can show of a sample: its messages, and the questions that it carries beside them.

    A turn that is answered counts as a question as well.
    """
    turns = [(m["role"], _text(m)) for m in sample.messages]
    turns = [(role, text) for role, text in turns if text]
    asked = [
        Asked(text, (), answer)
        for (role, text), (next_role, answer) in pairwise(turns)
        if role == "user" and next_role == "assistant"
    ]
    for row in sample.extra.get("qa") or ():
        if isinstance(row, Mapping) and row.get("question"):
            options = tuple(str(option) for option in row.get("options") or ())
            asked.append(Asked(str(row["question"]), options, str(row.get("answer") or "")))
    files = sample.provenance.image_sha256
    images = tuple(
        Picture(files[i] if i < len(files) else "", image.decode, f"sample {sample.key}, image {i}")
        for i, image in enumerate(sample.images)
    )
    texts = tuple(dict.fromkeys(text for _, text in turns))
    return Content(
        sample.key, texts, tuple(dict.fromkeys(asked)), images, sample.provenance.patient, sample.provenance.study
    )


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content.strip()
    return "\n".join(part["text"] for part in content if part["type"] == "text").strip()


_FIELDS: dict[str, tuple[str, ...]] = {
    "id": ("id", "key", "item", "question_id"),
    "question": ("question",),
    "options": ("options", "choices"),
    "answer": ("answer",),
    "text": ("text", "report", "context", "caption"),
    "findings": ("findings",),
    "impression": ("impression",),
    "image": ("image", "images", "image_path"),
    "patient": ("patient", "patient_id"),
    "study": ("study", "study_id"),
}
TABLES = (".csv", ".tsv", ".jsonl", ".parquet")


@dataclass(frozen=True)
class Table:
    """Rows of a CSV, TSV, JSONL or Parquet file as contents; columns are found by their names or told.

    Args:
        path: the table; image paths are relative to its folder.
        columns: field -> column, where a column is named otherwise. Fields are those of ``_FIELDS``.
        id_salt: the salt that patient and study ids were hashed with when the training data was imported.

    Raises:
        DecontaminationError: no such file, a column that is not there, or no text, question or image column.
    """

    path: Path
    columns: Mapping[str, str] = field(default_factory=dict)
    id_salt: str = ""

    def __iter__(self) -> Iterator[Content]:
        found: dict[str, str] | None = None
        for number, row in self._rows():
            if found is None:
                found = self._resolve(row)
            yield self._content(number, {name: row.get(column) for name, column in found.items()})

    def _resolve(self, row: Mapping[str, Any]) -> dict[str, str]:
        unknown = sorted(set(self.columns) - set(_FIELDS))
        missing = sorted(set(self.columns.values()) - set(row))
        if unknown or missing:
            what = f"{unknown[0]!r} is no field ({', '.join(_FIELDS)})" if unknown else f"no column {missing[0]!r}"
            raise DecontaminationError(f"{self.path}: {what}; its columns are {', '.join(map(str, row))}")
        found = {name: next((n for n in names if n in row), "") for name, names in _FIELDS.items()} | dict(self.columns)
        found = {name: column for name, column in found.items() if column}
        if not found.keys() & {"question", "text", "findings", "impression", "image"}:
            raise DecontaminationError(
                f"{self.path} has no column of questions, texts or images among {', '.join(map(str, row))}: say which "
                "it is, for example --map question=stem"
            )
        return found

    def _content(self, number: int, row: Mapping[str, Any]) -> Content:
        from pretrain.importing.study import cluster_key

        texts = tuple(str(row[name]) for name in ("text", "findings", "impression") if row.get(name))
        asked = ()
        if row.get("question"):
            asked = (Asked(str(row["question"]), _options(row.get("options")), str(row.get("answer") or "")),)
        paths = _listed(row.get("image"))
        return Content(
            key=str(row.get("id") or f"row-{number:08d}"),
            texts=texts,
            asked=asked,
            images=tuple(file_picture(self.path.parent / str(path)) for path in paths),
            patient=cluster_key("patient", str(row.get("patient") or ""), self.id_salt),
            study=cluster_key("study", str(row.get("study") or ""), self.id_salt),
        )

    def _rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        if not self.path.is_file():
            raise DecontaminationError(f"there is no table {self.path}")
        kind = self.path.suffix.lower()
        if kind == ".parquet":
            import pyarrow.parquet as pq

            batches = pq.ParquetFile(self.path).iter_batches(batch_size=1024)
            yield from enumerate((row for batch in batches for row in batch.to_pylist()), 1)
        elif kind == ".jsonl":
            with self.path.open(encoding="utf-8") as lines:
                for number, line in enumerate(lines, 1):
                    if line.strip():
                        yield number, self._json(number, line)
        elif kind in (".csv", ".tsv"):
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                yield from enumerate(csv.DictReader(file, delimiter="\t" if kind == ".tsv" else ","), 1)
        else:
            raise DecontaminationError(f"{self.path}: a table is {', '.join(TABLES)}")

    def _json(self, number: int, line: str) -> dict[str, Any]:
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DecontaminationError(f"{self.path}, line {number}: not JSON ({error}); was it cut short?") from None
        if not isinstance(row, dict):
            raise DecontaminationError(f"{self.path}, line {number}: expected an object, found {type(row).__name__}")
        return row


def file_picture(path: Path) -> Picture:
    """An image file as a picture.

    Raises:
        DecontaminationError: there is no such file.
    """
    import hashlib

    if not path.is_file():
        raise DecontaminationError(f"the image {path} does not exist: without it a benchmark would be checked in part")

    def load() -> "MedicalImage":
        from vlm.imaging import read_image

        return read_image(path)

    return Picture(hashlib.sha256(path.read_bytes()).hexdigest(), load, str(path))


def _options(value: Any) -> tuple[str, ...]:
    """Options from a list, a mapping of letters, or either as JSON."""
    if isinstance(value, str) and value.strip()[:1] in ("[", "{"):
        value = json.loads(value)
    if isinstance(value, Mapping):
        value = list(value.values())
    return tuple(str(option) for option in _listed(value) if option is not None)


def _listed(value: Any) -> list[Any]:
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
