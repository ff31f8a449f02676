"""What is asked: items with their truth, images and cluster keys, read from a folder of simulated studies.

An `Item` says nothing about simulators: other data sets become items in the same way.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from bench.errors import DataError

GENERAL = "general"  # group of the questions that ask about no finding in particular


@dataclass(frozen=True)
class Picture:
    """One image file: its place in its study, from 0, its view and whose it is."""

    path: Path
    index: int
    view: str
    patient: str


@dataclass(frozen=True)
class Item:
    """One question with its reference answer.

    Attributes:
        key: unique within the data set.
        cluster: patient, the unit that standard errors are clustered by.
        images: the images asked about, in order.
        options: what may be answered; empty for open questions.
        finding: the group that scores are reported by.
    """

    key: str
    cluster: str
    study: str
    finding: str
    kind: Literal["closed", "open"]
    question: str
    answer: str
    options: tuple[str, ...]
    images: tuple[Picture, ...]


class Asked(NamedTuple):
    """A question with its answer, as far as the majority floor needs it."""

    kind: str
    finding: str
    question: str
    answer: str


@dataclass(frozen=True)
class ItemSet:
    """Items of one split, with what is needed to judge them."""

    name: str
    folder: Path
    split: str
    items: tuple[Item, ...]
    manifest_sha256: str
    train_answers: tuple["Asked", ...]  # of the train split, for the majority floor; empty without one
    simulated: bool
    licence: str
    truth: dict[str, dict[str, Any]] = field(default_factory=dict)  # by study, as far as the source states it

    @property
    def clusters(self) -> int:
        """Number of patients."""
        return len({item.cluster for item in self.items})


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError(f"{path}, line {number}: not JSON ({error}). Was the file cut short?") from None
            if not isinstance(row, dict):
                raise DataError(f"{path}, line {number}: expected one JSON object a line, found {type(row).__name__}")
            yield number, row


def _need(row: dict[str, Any], key: str, where: str) -> Any:
    value = row.get(key)
    if value in (None, ""):
        raise DataError(f"{where}: '{key}' is missing or empty")
    return value


def _item(qa: dict[str, Any], study: str, pictures: Sequence[Picture], where: str) -> Item:
    key = f"{study}/{_need(qa, 'id', where)}"
    where = f"{where}, question '{qa['id']}'"
    kind, answer = _need(qa, "kind", where), str(_need(qa, "answer", where))
    options = tuple(str(option) for option in qa.get("options") or ())
    if kind not in ("closed", "open"):
        raise DataError(f"{where}: kind is '{kind}', expected 'closed' or 'open'")
    if kind == "closed" and answer not in options:
        raise DataError(f"{where}: the answer is not among the options {list(options)}")
    view = qa.get("view")
    if view is not None and not (isinstance(view, int) and 0 <= view < len(pictures)):
        raise DataError(f"{where}: 'view' is {view!r}, but the study has images 0 to {len(pictures) - 1}")
    return Item(
        key=key,
        cluster=pictures[0].patient,
        study=study,
        finding=str(qa.get("finding") or GENERAL),
        kind=kind,
        question=str(_need(qa, "question", where)),
        answer=answer,
        options=options,
        images=tuple(pictures) if view is None else (pictures[view],),
    )


def _pictures(row: dict[str, Any], folder: Path, where: str) -> list[Picture]:
    images, views = _need(row, "images", where), row.get("views") or []
    if len(views) != len(images):
        raise DataError(f"{where}: {len(images)} images but {len(views)} views")
    for name in images:
        if not (folder / name).is_file():
            raise DataError(f"{where}: image {name} does not exist under {folder}")
    return [
        Picture(
            path=folder / name,
            index=i,
            view=str(views[i]),
            patient=str(row["patient"]),
        )
        for i, name in enumerate(images)
    ]


def read_simulated(
    folder: Path, split: str = "test", *, studies: int | None = None, kinds: Sequence[str] = ("closed", "open")
) -> ItemSet:
    """Items of a folder written by the simulator (`SPLIT.jsonl` with one study a line, DICOM files beside it).

    Args:
        folder: the simulator's output.
        split: which part to ask about; the train part, if there, gives the majority floor.
        studies: only the first so many studies.
        kinds: of the questions.

    Raises:
        DataError: names the file, line and key that cannot be used, or a patient who is in both train and `split`.
    """
    table = folder / f"{split}.jsonl"
    if not table.is_file():
        raise DataError(f"{table} does not exist. `medvlm data simulate --out {folder}` writes such a folder.")
    items: list[Item] = []
    truth: dict[str, dict[str, Any]] = {}
    patients: set[str] = set()
    simulated, licences = True, set()
    for count, (number, row) in enumerate(_rows(table)):
        if studies is not None and count >= studies:
            break
        where = f"{table}, line {number}"
        patients.add(str(_need(row, "patient", where)))
        study = f"{row['patient']}/{_need(row, 'study', where)}"
        if study in truth:
            raise DataError(f"{where}: the study occurs twice")
        truth[study] = {**(row.get("truth") or {}), "report": row.get("report") or {}}
        simulated = simulated and bool(row.get("simulated"))
        licences.add(str(row.get("licence", "not stated")))
        pictures = _pictures(row, folder, where)
        asked = [_item(qa, study, pictures, where) for qa in row.get("qa") or []]
        items.extend(item for item in asked if item.kind in kinds)
    if not items:
        raise DataError(f"{table} holds no questions of kind {' or '.join(kinds)}")
    doubled = len(items) - len({item.key for item in items})
    if doubled:
        raise DataError(f"{table}: {doubled} questions share their study and id with another; ids must be unique")
    return ItemSet(
        name=folder.name,
        folder=folder,
        split=split,
        items=tuple(items),
        manifest_sha256=hashlib.sha256(table.read_bytes()).hexdigest(),
        train_answers=_train_answers(folder / "train.jsonl", patients) if split != "train" else (),
        simulated=simulated,
        licence=", ".join(sorted(licences)),
        truth=truth,
    )


def _train_answers(table: Path, held_out: set[str]) -> tuple[Asked, ...]:
    if not table.is_file():
        return ()
    answers: list[Asked] = []
    for number, row in _rows(table):
        where = f"{table}, line {number}"
        if str(row.get("patient")) in held_out:
            raise DataError(
                f"{where}: this patient is also among the held-out ones, so the measurement would be of cases seen in"
                " training. Split by patient and measure again."
            )
        for qa in row.get("qa") or []:
            kind, question, answer = (str(_need(qa, key, where)) for key in ("kind", "question", "answer"))
            answers.append(Asked(kind, str(qa.get("finding") or GENERAL), question, answer))
    return tuple(answers)
