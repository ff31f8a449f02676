"""The simulator's folder: ``{train,val,test}.jsonl``, one row a study, with DICOM files and truth masks beside."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pretrain.importing.errors import ImportSourceError
from pretrain.importing.study import Drop, Question, Report, Study


class SimulatedFolder:
    """Reads what ``medvlm data simulate`` wrote; everything in it is marked as simulated.

    Args:
        folder: with one .jsonl file a split.
        name: of the data set; default the folder's.

    Raises:
        ImportSourceError: no such folder, or no .jsonl in it.
    """

    simulated = True

    def __init__(self, folder: str | Path, name: str | None = None):
        self.folder = Path(folder)
        self.name = name or self.folder.name
        self._files = {p.stem: p for p in sorted(self.folder.glob("*.jsonl"))}
        if not self._files:
            raise ImportSourceError(
                f"{self.folder} holds no .jsonl file of studies: make one with `medvlm data simulate`"
            )
        first = next(iter(self._rows(next(iter(self._files)))), None)
        self.licence = first[1].get("licence", "unknown") if first and isinstance(first[1], dict) else "unknown"

    def splits(self) -> list[str]:
        order = {"train": 0, "val": 1, "test": 2}
        return sorted(self._files, key=lambda s: (order.get(s, 3), s))

    def total(self, split: str) -> int:
        with self._files[split].open("rb") as lines:
            return sum(1 for line in lines if line.strip())

    def fingerprint(self) -> str:
        sha = hashlib.sha256()
        for name, path in self._files.items():
            sha.update(name.encode() + hashlib.sha256(path.read_bytes()).digest())
        return sha.hexdigest()

    def studies(self, split: str) -> Iterator[Study | Drop]:
        for number, row in self._rows(split):
            where = f"{self._files[split].name}, line {number}"
            if not isinstance(row, dict):
                yield Drop(where, "row is not JSON")
                continue
            try:
                yield self._study(row, split, where)
            except (KeyError, TypeError, AttributeError) as error:
                yield Drop(where, f"row lacks or breaks {error}")

    def _rows(self, split: str) -> Iterator[tuple[int, Any]]:
        with self._files[split].open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    try:
                        yield number, json.loads(line)
                    except ValueError:
                        yield number, None

    def _study(self, row: dict[str, Any], split: str, where: str) -> Study:
        questions = tuple(Question(q["question"], q["answer"], q) for q in row.get("qa", ()))
        report = row.get("report") or {}
        masks = row.get("masks") or []
        kept = ("qa", "truth", "views", "report")
        key = row["study"] if row["patient"] in row["study"] else f"{row['patient']}-{row['study']}"
        return Study(
            key=key,
            where=where,
            images=tuple(self.folder / image for image in row["images"]),
            report=Report(report.get("findings", ""), report.get("impression", "")),
            questions=questions,
            patient=row["patient"],
            study=key,
            masks={i: self.folder / mask for i, mask in enumerate(masks) if mask},
            split=split,
            entities=tuple(row.get("entities") or _findings(row.get("truth"))),
            licence=row.get("licence", ""),
            extra={"split": split, **{name: row[name] for name in kept if name in row}},
        )


def _findings(truth: Any) -> list[str]:
    """Names of the findings that the truth says are there."""
    findings = truth.get("findings", ()) if isinstance(truth, dict) else ()
    if isinstance(findings, dict):
        return sorted(name for name, present in findings.items() if present)
    names = (f if isinstance(f, str) else f.get("name") or f.get("finding") or f.get("id") for f in findings)
    return sorted({name for name in names if name})
