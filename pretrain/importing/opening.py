"""Which source a path names: simulated studies, image files, a table, articles, pages, a Hugging Face data set."""

import json
from pathlib import Path

from pretrain.formats import Format
from pretrain.importing.dicom_folder import DicomFolder
from pretrain.importing.documents import DEFAULT_PASSAGES, Passages, guess_documents
from pretrain.importing.errors import ImportSourceError
from pretrain.importing.huggingface import HuggingFaceSource
from pretrain.importing.pages import PageFolder
from pretrain.importing.pubmed import PubMedSource
from pretrain.importing.simulated import SimulatedFolder
from pretrain.importing.study import Source
from pretrain.importing.tables import TableSource


def open_source(
    path: str,
    format: Format,
    mapping: dict[str, str],
    *,
    reports: Path | None = None,
    images: Path | None = None,
    config: str | None = None,
    group: bool = True,
    licence: str | None = None,
    name: str | None = None,
    salt: str = "",
    simulated: bool = False,
    passage: int | None = None,
) -> Source:
    """The source that a path names, guessed from what lies there when the format is auto.

    ``passage`` is the length in characters to which articles and pages are cut; the rest are options of their sources.

    Raises:
        ImportSourceError: nothing is there, or it is not of that format.
    """
    kind = _guess(path) if format is Format.auto else format
    if kind is Format.simulated:
        return SimulatedFolder(path, name)
    common = {"licence": licence or "unknown", "name": name, "salt": salt, "simulated": simulated}
    if kind is Format.dicom:
        return DicomFolder(path, reports, mapping, **common)
    if kind in (Format.pubmed, Format.pages):
        documents = PubMedSource if kind is Format.pubmed else PageFolder
        return documents(path, passages=Passages(passage) if passage else DEFAULT_PASSAGES, **common)
    if kind is Format.table:
        return TableSource(path, mapping, images=images, group=group, **common)
    return HuggingFaceSource(path, mapping, config=config, group=group, **common)


def _guess(path: str) -> Format:
    place = Path(path)
    documents = guess_documents(place)
    if documents:
        return Format(documents)
    if place.is_file():
        return Format.table
    if place.is_dir():
        if (place / "dataset_dict.json").is_file() or (place / "state.json").is_file():
            return Format.huggingface
        return Format.simulated if _is_simulated(place) else Format.dicom
    if place.is_absolute() or path.count("/") > 1 or place.suffix:
        raise ImportSourceError(f"there is no file or folder {path}")
    return Format.huggingface


def _is_simulated(folder: Path) -> bool:
    for table in sorted(folder.glob("*.jsonl")):
        with table.open(encoding="utf-8") as lines:
            try:
                row = json.loads(next(lines, "null"))
            except ValueError:
                return False
        return isinstance(row, dict) and {"patient", "study", "images", "truth"} <= set(row)
    return False
