"""The last stage: what is left becomes shards, through the importer, which decodes, journals and resumes."""

from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256

import pyarrow.parquet as pq

from pretrain.engine.folder import StageFolder
from pretrain.engine.record import to_study
from pretrain.importing.study import Drop, Study


class SelectedRecords:
    """The records of a selection as a source of the importer.

    Args:
        folder: of the selection, finished.
        name: of the data set.
        licences, simulated: by name of the record's source.
        splits: in order.
    """

    def __init__(
        self, folder: StageFolder, name: str, licences: dict[str, str], simulated: dict[str, bool], splits: list[str]
    ):
        self.folder, self.name, self._splits = folder, name, splits
        self.licences, self._simulated = licences, simulated
        self.licence = "; ".join(sorted(set(licences.values())))
        self.simulated = bool(simulated) and all(simulated.values())
        self._notes = folder.total().notes

    def splits(self) -> list[str]:
        return self._splits

    def total(self, split: str) -> int:
        return self._notes[f"split {split}"]

    def fingerprint(self) -> str:
        return sha256(repr((self.folder.stamp, self.licences, self._simulated)).encode()).hexdigest()

    def studies(self, split: str) -> Iterator[Study | Drop]:
        for part in self.folder.parts():
            for row in pq.read_table(self.folder.table(part), filters=[("split", "==", split)]).to_pylist():
                study = to_study(row)
                yield replace(
                    study,
                    split=split,
                    source=row["source"],
                    licence=study.licence or self.licences[row["source"]],
                    simulated=self._simulated[row["source"]],
                )
