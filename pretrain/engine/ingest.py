"""The first stage: studies of every source into parts, before any image is opened."""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import xxhash

from pretrain.engine.folder import Counts, StageFolder
from pretrain.engine.record import RECORD, kind_of, record_key, table_of, text_of, to_row
from pretrain.importing.study import Drop, Source, Study

log = logging.getLogger(__name__)
OnRecords = Callable[[int], None]


@dataclass(frozen=True)
class Opened:
    """A source that is ready to be read.

    Attributes:
        source: studies.
        kind: of its texts; None: as each study says.
        simulated: its patients are invented, so those of another source are others whatever they are called.
        licence: of records that have none of their own.
    """

    source: Source
    kind: str | None
    simulated: bool
    licence: str


def ingest(folder: StageFolder, sources: Mapping[str, Opened], size: int, on_records: OnRecords) -> None:
    """Write the records of all sources as parts of ``size`` records of the source; goes on after the last whole one.

    Args:
        folder: of the stage, begun.
        sources: by name.
        size: records of the source in one part.
        on_records: called with the number of records that were read.
    """
    blobs = folder.path / "blobs"
    blobs.mkdir(exist_ok=True)
    for number, (name, opened) in enumerate(sources.items()):
        splits = opened.source.splits()
        for split in splits:
            own = len(splits) > 1 or split != "train"  # a lone "train" is what sources without splits say
            part = _Parts(folder, blobs, name, opened, split if own else "")
            part.write(f"{number:03d}-{split}", opened.source.studies(split), size, on_records)


class _Parts:
    """One split of one source on its way into parts."""

    def __init__(self, folder: StageFolder, blobs: Path, source: str, opened: Opened, split: str):
        self.folder, self.blobs, self.source, self.opened, self.split = folder, blobs, source, opened, split
        self.seen: set[int] = set()  # hashes of keys: 16 bytes instead of 100

    def write(self, prefix: str, records: Iterator[Study | Drop], size: int, on_records: OnRecords) -> None:
        number, done = 0, 0
        while self.folder.has(name := f"{prefix}-{number:06d}"):
            keys = pq.read_table(self.folder.table(name), columns=["key"]).column("key").to_pylist()
            self.seen.update(map(_hash, keys))
            done += self.folder.counts(name).came
            number += 1
        on_records(done)
        records = islice(iter(records), done, None)
        while block := list(islice(records, size)):
            self._part(f"{prefix}-{number:06d}", block)
            on_records(len(block))
            number += 1

    def _part(self, name: str, block: list[Study | Drop]) -> None:
        rows, dropped, counts = [], [], Counts(came=len(block))
        for record in block:
            reason = self._refusal(record)
            counts.source(self.source, "came")
            if reason:
                dropped.append({"source": self.source, "where": record.where, "reason": reason})
                counts.dropped[reason] += 1
                continue
            assert isinstance(record, Study)
            rows.append(self._row(record))
            counts.kept += 1
        self.folder.write(name, table_of(rows, RECORD), dropped, counts)

    def _row(self, study: Study) -> dict[str, Any]:
        if self.opened.simulated:
            patient, of = (f"{self.source}-{name}" if name else "" for name in (study.patient, study.study))
            study = replace(study, patient=patient, study=of)
        kind = self.opened.kind or kind_of(study)
        return to_row(self.source, study.split or self.split, kind, study, self.blobs)

    def _refusal(self, record: Study | Drop) -> str:
        if isinstance(record, Drop):
            return record.reason
        if not text_of(record):
            return "empty text"
        key = _hash(record_key(self.source, record))
        if key in self.seen:
            return "duplicate key"
        self.seen.add(key)
        return ""


def _hash(key: str) -> int:
    return xxhash.xxh3_128_intdigest(key.encode())
