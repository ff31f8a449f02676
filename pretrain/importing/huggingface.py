"""Hugging Face data sets: a folder of ``save_to_disk``, or anything that ``datasets.load_dataset`` takes."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from pretrain.importing.errors import ImportSourceError
from pretrain.importing.study import Drop, Study
from pretrain.importing.tables import Columns, join_consecutive, row_to_study


class HuggingFaceSource:
    """Rows of a ``datasets`` data set as studies. Images stay in their file format until our decoder reads them.

    Args:
        path: folder of ``save_to_disk``, a local data set folder, or a name on the hub (needs a network).
        mapping: field -> column.
        config: of the data set, where it has several.
        group: join consecutive rows of one study into one conversation.

    Raises:
        ImportSourceError: it cannot be loaded; the cause is told.
    """

    def __init__(
        self,
        path: str | Path,
        mapping: Mapping[str, str] | None = None,
        *,
        config: str | None = None,
        group: bool = True,
        licence: str = "unknown",
        name: str | None = None,
        simulated: bool = False,
        salt: str = "",
    ):
        self.name = name or Path(path).name
        self.group, self.licence, self.simulated, self.salt = group, licence, simulated, salt
        self.folder = Path(path) if Path(path).is_dir() else Path()
        self._splits = _load(str(path), config)
        first = next(iter(self._splits.values()))
        self.columns = Columns.resolve(mapping or {}, first.column_names, f"data set {self.name}")

    def splits(self) -> list[str]:
        return list(self._splits)

    def total(self, split: str) -> int | None:
        return None if self.group else len(self._splits[split])

    def fingerprint(self) -> str:
        parts = [f"{name}:{len(rows)}:{rows._fingerprint}" for name, rows in self._splits.items()]
        parts += [f"{field}={column}" for field, column in sorted(self.columns.of.items())]
        return hashlib.sha256("|".join([*parts, str(self.group), self.salt]).encode()).hexdigest()

    def studies(self, split: str) -> Iterator[Study | Drop]:
        rows = (
            row_to_study(row, self.columns, n, f"{split}, row {n}", self.folder, self.salt)
            for n, row in enumerate(self._splits[split], 1)
        )
        return join_consecutive(rows) if self.group else rows


def _load(path: str, config: str | None) -> dict:
    import datasets
    from datasets.exceptions import DatasetsError

    try:
        if (Path(path) / "dataset_dict.json").is_file() or (Path(path) / "state.json").is_file():
            loaded = datasets.load_from_disk(path)
        else:
            loaded = datasets.load_dataset(path, config)
    except (OSError, ValueError, DatasetsError) as error:
        raise ImportSourceError(f"the data set {path} cannot be loaded ({type(error).__name__}: {error})") from error
    splits = dict(loaded) if isinstance(loaded, Mapping) else {"train": loaded}
    if not splits:
        raise ImportSourceError(f"the data set {path} has no split")
    return {name: _undecoded(rows) for name, rows in splits.items()}


def _undecoded(rows):
    """Image columns as file bytes: PIL would cut 16-bit pictures to 8."""
    from datasets import Image, List

    for column, feature in rows.features.items():
        if isinstance(feature, Image):
            rows = rows.cast_column(column, Image(decode=False))
        elif isinstance(feature, List) and isinstance(feature.feature, Image):
            rows = rows.cast_column(column, List(Image(decode=False)))
    return rows
