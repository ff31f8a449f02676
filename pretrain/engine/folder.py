"""A stage's folder: Parquet parts that count once they are whole, and a stamp of what they were made from.

A part is ``<name>.parquet`` with the records, ``<name>.dropped.parquet`` with those that were dropped, and
``<name>.json`` with the counts, written last: without it the part does not count and is made again. A folder whose
stamp is another one's (other settings, or other records before it) is emptied.
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pretrain.engine.errors import EngineError
from pretrain.shards.tar import no_space_is_said, write_atomically

_STAMP, _DONE = "stage.json", "done.json"
DROPPED = pa.schema([("source", pa.string()), ("where", pa.string()), ("reason", pa.string())])


@dataclass
class Counts:
    """What a part, a stage or a run did with its records; ``notes`` count what was changed and not dropped."""

    came: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    by_source: dict[str, dict[str, int]] = field(default_factory=dict)

    def add(self, other: "Counts") -> None:
        self.came, self.kept = self.came + other.came, self.kept + other.kept
        self.dropped.update(other.dropped)
        self.notes.update(other.notes)
        for source, numbers in other.by_source.items():
            mine = self.by_source.setdefault(source, {})
            for name, number in numbers.items():
                mine[name] = mine.get(name, 0) + number

    def source(self, name: str, what: str, number: int = 1) -> None:
        mine = self.by_source.setdefault(name, {})
        mine[what] = mine.get(what, 0) + number

    def to_json(self) -> dict[str, Any]:
        return {
            "came": self.came,
            "kept": self.kept,
            "dropped": dict(sorted((+self.dropped).items())),
            "notes": dict(sorted((+self.notes).items())),
            "by_source": {s: dict(sorted(n.items())) for s, n in sorted(self.by_source.items())},
        }

    @classmethod
    def of_json(cls, data: Mapping[str, Any]) -> "Counts":
        counts = cls(data["came"], data["kept"], Counter(data["dropped"]), Counter(data["notes"]))
        counts.by_source = {source: dict(numbers) for source, numbers in data["by_source"].items()}
        return counts


class StageFolder:
    """The parts of one stage.

    Args:
        path: of the stage.
        stamp: settings of the stage and the digest of what came before it, JSON only.
    """

    def __init__(self, path: Path, stamp: Mapping[str, Any]):
        self.path, self.stamp = path, json.loads(json.dumps(stamp, sort_keys=True))

    def begin(self) -> bool:
        """Make the folder ready; True where a run with the same stamp was here before."""
        stamp = self.path / _STAMP
        if stamp.is_file() and json.loads(stamp.read_text("utf-8")) == self.stamp:
            for left in (*self.path.rglob("*.part"), *self.path.rglob("*.tmp")):
                left.unlink()
            return True
        if self.path.exists():
            shutil.rmtree(self.path)
        self.path.mkdir(parents=True)
        write_atomically(stamp, _json(self.stamp))
        return False

    def has(self, name: str) -> bool:
        return (self.path / f"{name}.json").is_file()

    def parts(self) -> list[str]:
        """Names of the whole parts, sorted."""
        return sorted(p.stem for p in self.path.glob("*.json") if p.name not in (_STAMP, _DONE))

    def table(self, name: str) -> Path:
        return self.path / f"{name}.parquet"

    def write(
        self,
        name: str,
        table: pa.Table,
        dropped: Iterable[Mapping[str, str]],
        counts: Counts,
        beside: Mapping[str, pa.Table] = {},
        files: Mapping[str, bytes] = {},
    ) -> None:
        """Write a part.

        Args:
            name: of the part.
            table: its records.
            dropped: rows of ``DROPPED``.
            counts: what became of its records.
            beside: further tables, as ``<word>/<name>.parquet``.
            files: further bytes, as ``<word>/<name>``.

        Raises:
            NoSpaceError: the disk is full; the part does not count.
        """
        lost = pa.Table.from_pylist(list(dropped), DROPPED)
        self._put(self.table(name), table)
        self._put(self.path / f"{name}.dropped.parquet", lost)
        for word, more in beside.items():
            (self.path / word).mkdir(exist_ok=True)
            self._put(self.path / word / f"{name}.parquet", more)
        for word, data in files.items():
            (self.path / word).mkdir(exist_ok=True)
            write_atomically(self.path / word / name, data)
        write_atomically(self.path / f"{name}.json", _json(counts.to_json()))

    def put(self, path: Path, rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> None:
        """Write one table of the stage."""
        self._put(path, pa.Table.from_pylist(list(rows), schema))

    @staticmethod
    def _put(path: Path, table: pa.Table) -> None:
        part = path.with_name(path.name + ".part")
        with no_space_is_said(path):
            pq.write_table(table, part, compression="zstd", compression_level=1)
            os.replace(part, path)

    def counts(self, name: str) -> Counts:
        return Counts.of_json(json.loads((self.path / f"{name}.json").read_text("utf-8")))

    def total(self) -> Counts:
        """The counts of all parts together."""
        total = Counts()
        for name in self.parts():
            total.add(self.counts(name))
        return total

    @property
    def done(self) -> bool:
        return (self.path / _DONE).is_file()

    def finish(self, **more: Any) -> None:
        """The stage is whole; ``more`` is kept with it."""
        write_atomically(self.path / _DONE, _json({"parts": self.parts(), **more}))

    def finished(self) -> dict[str, Any]:
        """What :meth:`finish` kept.

        Raises:
            EngineError: the stage is not whole.
        """
        if not self.done:
            raise EngineError(f"the stage in {self.path} is not finished: run the same command again")
        return json.loads((self.path / _DONE).read_text("utf-8"))


def _json(data: Any) -> bytes:
    return (json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()
