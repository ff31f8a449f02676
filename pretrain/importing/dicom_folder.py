"""A folder of DICOM (or PNG, NIfTI, ...) files with reports beside them, or with a table that says which text is whose.

Without a table, the report of an image is the nearest of: a .txt of its own name, ``report.txt`` or the only .txt of
its folder, a .txt beside the folder with the folder's name, and then the same one folder up. Images with the same
report are one study. File and folder names often hold names of people: keys are hashes of paths, and only the local
list of dropped records shows the paths themselves.
"""

import csv
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pretrain.importing.errors import ColumnError, ImportSourceError
from pretrain.importing.study import Drop, Question, Report, Study, cluster_key
from pretrain.importing.tables import Columns

_TEXTS = ("txt", "md", "html", "xml", "pdf", "json", "jsonl", "csv", "tsv", "parquet", "tar", "zip", "py")
_NOT_IMAGES = {f".{kind}" for kind in _TEXTS}  # everything else is for the decoder to judge
_NAMES_OF_INDEX = {"dicomdir", "readme", "license", "licence", "lockfile", "version"}


class DicomFolder:
    """Studies of a folder tree.

    Args:
        folder: with images, at any depth.
        reports: CSV with a column ``image`` (a file or a folder, relative to ``folder``) and the text, instead of
            .txt files.
        mapping: field -> column of that CSV.
        salt: keeps hashed paths from being guessed.
    """

    def __init__(
        self,
        folder: str | Path,
        reports: str | Path | None = None,
        mapping: Mapping[str, str] | None = None,
        *,
        licence: str = "unknown",
        name: str | None = None,
        simulated: bool = False,
        salt: str = "",
    ):
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise ImportSourceError(f"there is no folder {self.folder}")
        self.name = name or self.folder.resolve().name
        self.licence, self.simulated, self.salt = licence, simulated, salt
        self.reports = Path(reports) if reports else None
        self._folder_reports: dict[Path, Path | None] = {}
        self._rows = self._read_reports(mapping or {}) if self.reports else None
        self._groups = self._listed() if self._rows is not None else self._found()
        if not self._groups:
            raise ImportSourceError(f"{self.folder} holds no image files")

    def splits(self) -> list[str]:
        if self._rows is None:
            return ["train"]
        return sorted({str(self._columns.get(row, "split") or "train") for row in self._rows}) or ["train"]

    def total(self, split: str) -> int | None:
        return len(self._groups) if len(self.splits()) == 1 else None

    def fingerprint(self) -> str:
        sha = hashlib.sha256()
        for group, images in self._groups.items():
            sha.update(f"{group}\0".encode())
            for path in images:
                size = path.stat().st_size if path.is_file() else -1
                sha.update(f"{path.relative_to(self.folder)}\0{size}\n".encode())
        if self.reports:
            sha.update(self.reports.read_bytes())
        sha.update(self.salt.encode())
        return sha.hexdigest()

    def studies(self, split: str) -> Iterator[Study | Drop]:
        if self._rows is None:
            for group, images in self._groups.items():
                yield self._study(group, images)
            return
        for number, ((_, images), row) in enumerate(zip(self._groups.items(), self._rows), 1):
            if str(self._columns.get(row, "split") or "train") == split:
                yield self._row_study(number, images, row)

    def _study(self, group: str, images: list[Path]) -> Study | Drop:
        text = self._report_of(images[0])
        if text is None:
            return Drop(group, "no report")
        try:
            report = Report(text.read_text(encoding="utf-8-sig"))
        except UnicodeDecodeError:
            return Drop(group, "report is not UTF-8")
        patient, study = self._clusters(group)
        return Study(group_key(group, self.salt), group, tuple(images), report, patient=patient, study=study)

    def _row_study(self, number: int, images: list[Path], row: Mapping[str, Any]) -> Study:
        get = self._columns.get
        asked, answer = get(row, "question"), get(row, "answer")
        details = {"question": asked, "answer": answer}
        group = images[0].relative_to(self.folder).as_posix() if images else str(get(row, "image"))
        patient, study = self._clusters(group)
        return Study(
            key=get(row, "key") or f"{group_key(group, self.salt)}-{number}",
            where=f"{self.reports.name if self.reports else ''}, row {number} ({group})",
            images=tuple(images) or (self.folder / str(get(row, "image") or "?"),),
            report=Report(get(row, "findings") or get(row, "text") or "", get(row, "impression") or ""),
            questions=(Question(asked, answer, details),) if asked and answer else (),
            split=get(row, "split") or "",
            entities=tuple(e.strip() for e in (get(row, "entities") or "").split(";") if e.strip()),
            licence=get(row, "licence") or "",
            extra={"qa": [details]} if asked and answer else {},
            patient=cluster_key("patient", get(row, "patient") or "", self.salt) or patient,
            study=cluster_key("study", get(row, "study") or "", self.salt) or study,
        )

    def _clusters(self, group: str) -> tuple[str, str]:
        """Keys of patient and study: the first folder of a path stands for the patient, the whole for the study."""
        return cluster_key("patient", group.split("/")[0], self.salt), cluster_key("study", group, self.salt)

    def _found(self) -> dict[str, list[Path]]:
        """Images by group: the path of the report without .txt, or of the folder where there is none."""
        groups: dict[str, list[Path]] = {}
        for path in _image_files(self.folder):
            report = self._report_of(path)
            group = report.with_suffix("") if report else path.parent
            if report is not None and report.stem == "report":
                group = report.parent
            name = group.relative_to(self.folder).as_posix() if group != self.folder else path.stem
            if report is None and group == self.folder:
                name = path.name
            groups.setdefault(name, []).append(path)
        return dict(sorted(groups.items()))

    def _report_of(self, image: Path) -> Path | None:
        own = image.with_suffix(".txt")
        if own.is_file():
            return own
        folder = image.parent
        while True:
            if folder not in self._folder_reports:
                self._folder_reports[folder] = _folder_report(folder)
            report = self._folder_reports[folder]
            if report is None and folder != self.folder:
                beside = folder.with_name(folder.name + ".txt")
                report = beside if beside.is_file() else None
            if report is not None or folder == self.folder:
                return report
            folder = folder.parent

    def _read_reports(self, mapping: Mapping[str, str]) -> list[dict[str, str]]:
        assert self.reports is not None
        try:
            with self.reports.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.DictReader(file)
                columns = reader.fieldnames or []
                rows = list(reader)
        except FileNotFoundError:
            raise ImportSourceError(f"there is no table of reports {self.reports}") from None
        self._columns = Columns.resolve(mapping, columns, self.reports.name)
        if "image" not in self._columns.of:
            raise ColumnError(f"{self.reports.name} needs a column of files or folders: --map image=NAME")
        return rows

    def _listed(self) -> dict[str, list[Path]]:
        """Images of each row; a row whose file is missing keeps its place with an empty list."""
        groups: dict[str, list[Path]] = {}
        for number, row in enumerate(self._rows or ()):
            path = self.folder / str(self._columns.get(row, "image") or "?")
            images = _image_files(path) if path.is_dir() else [path] if path.is_file() else []
            groups[f"{number:08d}"] = [p for p in images if p.is_relative_to(self.folder)]
        return groups


def group_key(group: str, salt: str) -> str:
    """Sample key of a study: shows nothing of the path."""
    return "study-" + cluster_key("key", group, salt)


def _image_files(folder: Path) -> list[Path]:
    """Files that may be images, in a fixed order; hidden files, texts, tables and DICOMDIR are not."""
    found = []
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            path = Path(parent, name)
            stem = path.name.lower().split(".")[0]
            if name.startswith(".") or path.suffix.lower() in _NOT_IMAGES or stem in _NAMES_OF_INDEX:
                continue
            if name.endswith(".mask.png"):
                continue
            found.append(path)
    return found


def _folder_report(folder: Path) -> Path | None:
    """``report.txt``, or the only .txt of a folder that is not the report of one image or of a folder beside it."""
    if (folder / "report.txt").is_file():
        return folder / "report.txt"
    texts = [p for p in folder.glob("*.txt") if not (folder / p.stem).is_dir() and not _has_image(p)]
    return texts[0] if len(texts) == 1 else None


def _has_image(text: Path) -> bool:
    twins = text.parent.glob(f"{_quoted(text.stem)}.*")
    return any(twin.suffix != ".txt" and twin.is_file() for twin in twins)


def _quoted(stem: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in stem)
