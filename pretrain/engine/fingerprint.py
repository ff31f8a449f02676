"""The third stage: what must be known of a record before it can be compared with all others and with benchmarks.

Images are decoded here for the first time, one record in memory at a time, so a damaged one costs its record before any
other record is dropped in favour of it.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pretrain.decontamination.content import Asked, Content, Picture
from pretrain.decontamination.manifest import Manifest
from pretrain.decontamination.match import Matcher
from pretrain.decontamination.scan import to_bytes
from pretrain.dedup.image import ImageSettings, image_signatures
from pretrain.dedup.text import TextSettings, text_signatures
from pretrain.engine.folder import Counts, StageFolder
from pretrain.engine.record import RECORD, table_of, to_study
from pretrain.importing.study import Study
from vlm.imaging import ImagingError, MedicalImage, read_images

TEXTS, IMAGES, MATCHES = "texts", "images", "matches"
_PICTURES = 64  # held at once for their signatures
Row = dict[str, Any]


def preference(row: Row) -> int:
    """Which of two duplicates stays: the one of a held-out split, then the longer text."""
    return len(row["text"]) + (1_000_000_000 if row["split"] not in ("", "train") else 0)


@dataclass
class FingerprintTask:
    """Signatures of texts and images, and what a part has in common with benchmarks.

    Attributes:
        came: folder of the stage before.
        folder: of this stage.
        texts, pictures: settings of deduplication, None where texts or images are not compared.
        manifests: of benchmarks.
        salt: that the manifests were made with.
    """

    came: StageFolder
    folder: StageFolder
    texts: TextSettings | None
    pictures: ImageSettings | None
    manifests: tuple[str, ...] = ()
    salt: str = ""

    def start(self) -> None:
        """Load the manifests."""
        loaded = [Manifest.load(path) for path in self.manifests]
        self.matcher = Matcher(loaded, self.salt) if loaded else None

    def work(self, part: str) -> dict[str, Any]:
        """Take the fingerprints of a part and write it; returns its counts."""
        rows = pq.read_table(self.came.table(part)).to_pylist()
        look = _Look(self, rows)
        files = {}
        if self.matcher is None:
            deque(look.contents(), maxlen=0)
        else:
            files[MATCHES] = to_bytes(self.matcher.part(look.contents()))
        look.counts.kept = len(look.kept)
        beside = {}
        if self.texts is not None:
            beside[TEXTS] = _of_texts([row for row in look.kept if not row["images"]], self.texts)
        if self.pictures is not None:
            beside[IMAGES] = look.signatures()
        self.folder.write(part, table_of(look.kept, RECORD), look.dropped, look.counts, beside, files)
        return look.counts.to_json()

    @property
    def opens_images(self) -> bool:
        """Whether anything needs the pixels."""
        return self.pictures is not None or (self.matcher is not None and self.matcher.has_images)


class _Look:
    """One pass over the records of a part."""

    def __init__(self, task: FingerprintTask, rows: Sequence[Row]):
        self.task, self.rows = task, rows
        self.kept: list[Row] = []
        self.dropped: list[dict[str, str]] = []
        self.counts = Counts(came=len(rows))
        self._keys: list[str] = []
        self._held: list[Any] = []
        self._tables: list[pa.Table] = []

    def contents(self) -> Iterator[Content]:
        """The records that stay, as the decontamination reads them; images are decoded on the way."""
        opened = self.task.opens_images
        decoded = read_images(path for row in self.rows for path in row["images"] if opened and Path(path).is_file())
        for row in self.rows:
            images, reason = self._images(row, decoded) if opened else ([], "")
            if reason:
                self.counts.dropped[reason] += 1
                self.counts.source(row["source"], "dropped")
                self.dropped.append({"source": row["source"], "where": row["where"], "reason": reason})
                continue
            self.kept.append(row)
            self.counts.source(row["source"], "fingerprinted")
            if self.task.pictures is not None:
                self._sign(row["key"], images)
            yield content_of(_as_benchmarks_name_it(row), images)

    def _images(self, row: Row, decoded: Iterator[Any]) -> tuple[list[MedicalImage], str]:
        """Decoded images of a record, or why they are not; every answer of its files is taken from the stream."""
        found, reason = [], ""
        for path in row["images"]:
            if not Path(path).is_file():
                reason = "missing image"
                continue
            _, result = next(decoded)
            if isinstance(result, ImagingError):
                reason = reason or f"image refused: {result.code}"
            else:
                found.append(result)
        return found, reason

    def _sign(self, key: str, images: Sequence[MedicalImage]) -> None:
        for number, image in enumerate(images):
            self._keys.append(image_key(key, number))
            self._held.append(image.render())
            if len(self._held) >= _PICTURES:
                self._flush()

    def _flush(self) -> None:
        self._tables.append(image_signatures(self._held))
        self._held.clear()

    def signatures(self) -> pa.Table:
        """One row an image, with its key."""
        if self._held or not self._tables:
            self._flush()
        return pa.concat_tables(self._tables).add_column(0, "key", pa.array(self._keys, pa.string()))


def image_key(key: str, number: int) -> str:
    """Of image ``number`` of a record, in the signatures."""
    return f"{key}#{number}"


def _as_benchmarks_name_it(row: Row) -> Study:
    """The study with the patient and study of its source: ingest puts a simulator's name before them."""
    study, prefix = to_study(row), f"{row['source']}-"
    return replace(study, patient=study.patient.removeprefix(prefix), study=study.study.removeprefix(prefix))


def _of_texts(rows: Sequence[Row], settings: TextSettings) -> pa.Table:
    """Signatures of samples of text alone: whether samples with images are duplicates, their images decide."""
    made = text_signatures([row["text"] for row in rows], settings, [row["entities"] for row in rows])
    made = made.add_column(0, "order", pa.array([-preference(row) for row in rows], pa.int64()))
    return made.add_column(0, "key", pa.array([row["key"] for row in rows], pa.string()))


def content_of(study: Study, images: Sequence[MedicalImage]) -> Content:
    """A study as the decontamination reads it: every text, every answered question, every image."""
    texts = [study.report.text()] if study.report else []
    asked = [Asked(q.question, tuple(map(str, q.details.get("options") or ())), q.answer) for q in study.questions]
    question = ""
    for message in study.messages:
        content = message.get("content") or ""
        said = content if isinstance(content, str) else "\n".join(p["text"] for p in content if p["type"] == "text")
        texts.append(said)
        if message.get("role") == "assistant" and question:
            asked.append(Asked(question, (), said))
        question = said if message.get("role") == "user" else ""
    pictures = (Picture(image.provenance.sha256, lambda image=image: image, study.where) for image in images)
    return Content(
        study.key, tuple(t for t in texts if t.strip()), tuple(asked), tuple(pictures), study.patient, study.study
    )
