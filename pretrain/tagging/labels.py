"""Structured labels: tables of findings to entities, where uncertain and negative values never count as present.

Four forms are read: a column a label with 1, 0, -1 or nothing (CheXpert), one column with several labels ("A|B", or a
Python list as PadChest writes it), and a label a row with several rows an image (VinBigData), where each reader has a
vote. Which entity a label stands for is said by a mapping that people can edit (``labels.tsv``), else by the preferred
name of an entity; a label that nothing explains is refused with near names, because a near name is often wrong.
"""

import ast
import csv
import difflib
import gzip
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Literal

from med_entity_tree.names import name_key
from med_entity_tree.tree import Tree
from pretrain.tagging.errors import LabelError
from pretrain.tagging.tags import State, Tag

Form = Literal["columns", "list", "rows"]

_VALUES: dict[str, State | None] = {
    "": None, "nan": None, "none": None,
    "1": "present", "1.0": "present", "true": "present", "yes": "present", "y": "present", "positive": "present",
    "0": "negated", "0.0": "negated", "false": "negated", "no": "negated", "n": "negated", "negative": "negated",
    "-1": "uncertain", "-1.0": "uncertain", "uncertain": "uncertain", "u": "uncertain",
}  # fmt: skip


@dataclass(frozen=True)
class LabelForm:
    """How a table says its labels.

    Attributes:
        form: "columns" (a column a label), "list" (one column with several), "rows" (a label a row).
        key: column that names the image or study.
        columns: the label columns ("columns"), or the one that holds them.
        separator: between labels of a "list" column; "[]" for a Python list.
        reader: column of the reader ("rows"): a label counts where more than half of an image's readers give it,
            and is uncertain where fewer do.
        mapping: rows of the mapping file that apply, by their first column.
    """

    form: Form
    key: str
    columns: tuple[str, ...]
    separator: str = "|"
    reader: str = ""
    mapping: str = ""


_CHEXPERT = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema",
    "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture",
    "Support Devices",
)  # fmt: skip
FORMS = {
    "chexpert": LabelForm("columns", "Path", _CHEXPERT, mapping="chexpert"),
    "nih": LabelForm("list", "Image Index", ("Finding Labels",), mapping="nih"),
    "google-nih": LabelForm(
        "columns",
        "Image Index",
        ("Fracture", "Pneumothorax", "Airspace opacity", "Nodule or mass"),
        mapping="google-nih",
    ),
    "padchest": LabelForm("list", "ImageID", ("Labels",), separator="[]", mapping="padchest"),
    "vinbigdata": LabelForm("rows", "image_id", ("class_name",), reader="rad_id", mapping="vinbigdata"),
}

Statement = tuple[str, State]  # label as the table spells it


def read_labels(path: Path, form: LabelForm) -> Iterator[tuple[str, list[Statement]]]:
    """``(key, statements)`` of a .csv or .tsv (also .gz), in the order of first appearance.

    A "rows" table is read whole, since the rows of an image may lie apart.

    Raises:
        LabelError: a column is not there, or a value is none that is known.
    """
    if form.form != "rows":
        for number, row in _rows(path, [form.key, *form.columns]):
            yield row[form.key], list(_statements(row, form, path, number))
        return
    votes: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    readers: dict[str, set[str]] = defaultdict(set)
    for number, row in _rows(path, [form.key, form.columns[0], *([form.reader] if form.reader else [])]):
        who = row[form.reader] if form.reader else str(number)
        readers[row[form.key]].add(who)
        if row[form.columns[0]].strip():
            votes[row[form.key]][row[form.columns[0]].strip()].add(who)
    for key, found in readers.items():
        yield key, [(label, _vote(len(who), len(found), form)) for label, who in votes[key].items()]


def _vote(named: int, readers: int, form: LabelForm) -> State:
    return "present" if not form.reader or 2 * named > readers else "uncertain"


def _statements(row: Mapping[str, str], form: LabelForm, path: Path, number: int) -> Iterator[Statement]:
    if form.form == "list":
        for label in _split(row[form.columns[0]], form.separator, path, number):
            if label.strip():
                yield label.strip(), "present"
        return
    for column in form.columns:
        value = row[column].strip().lower()
        if value not in _VALUES:
            raise LabelError(
                f"{path}, row {number}, column {column!r} holds {row[column]!r}: a label is 1, 0, -1 (uncertain), "
                "yes, no or empty; turn it into one of these, so that no uncertain value is taken for a finding"
            )
        state = _VALUES[value]
        if state is not None:
            yield column, state


def _split(text: str, separator: str, path: Path, number: int) -> list[str]:
    if separator != "[]":
        return text.split(separator)
    if text.strip().lower() in ("", "nan"):
        return []
    try:
        found = ast.literal_eval(text)
        return [label for label in found if isinstance(label, str)]
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise LabelError(
            f"{path}, row {number}: {text[:60]!r} is no list of labels such as ['a', 'b']: correct the row, or choose "
            "another separator"
        ) from None


def _rows(path: Path, wanted: Iterable[str]) -> Iterator[tuple[int, dict[str, str]]]:
    name = path.name.removesuffix(".gz")
    if not name.endswith((".csv", ".tsv")):
        raise LabelError(f"{path}: labels are read from .csv or .tsv (also .gz)")
    if not path.is_file():
        raise LabelError(f"there is no table of labels {path}")
    opened = gzip.open if path.name.endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t" if name.endswith(".tsv") else ",")
        columns = rows.fieldnames or []
        for column in wanted:
            if column not in columns:
                near = difflib.get_close_matches(column, columns, 3, 0.4)
                hint = f"; near: {', '.join(near)}" if near else f"; it has {', '.join(columns[:20])}"
                raise LabelError(f"{path} has no column {column!r}{hint}")
        for number, row in enumerate(rows, 2):
            yield number, {column: value or "" for column, value in row.items() if column is not None}


def labels_of(path: Path, form: LabelForm) -> Counter[str]:
    """The labels of a table and how often each is stated, in whatever state; columns without a value count 0."""
    found: Counter[str] = Counter(dict.fromkeys(form.columns, 0) if form.form == "columns" else {})
    for _, statements in read_labels(path, form):
        found.update(label for label, _ in statements)
    return found


def label_key(label: str) -> str:
    """What two spellings of a label share."""
    return " ".join(label.replace("_", " ").lower().split())


@dataclass
class LabelMap:
    """Labels to entities of a tree: what a mapping says, else the entity whose preferred name the label is.

    ``dropped`` counts labels that the mapping says are no entity, by label.
    """

    tree: Tree
    mapping: str = ""
    path: Path | None = None
    count_unmapped: bool = False
    dropped: Counter[str] = field(default_factory=Counter)
    unmapped: Counter[str] = field(default_factory=Counter)

    def __post_init__(self):
        self._known = dict(self._read(None))
        if self.path is not None:
            self._known |= dict(self._read(self.path))

    def entities(self, label: str) -> list[str] | None:
        """Entities of a label, [] where it stands for none, None where nothing says."""
        key = label_key(label)
        if key in self._known:
            return self._known[key]
        named = [e for e in self.tree.names.get(name_key(key), ()) if name_key(self.tree[e].name) == name_key(key)]
        named = [e for e in named if self.tree[e].root in ("finding", "disease") and self.tree[e].level]
        return named if len(named) == 1 else None

    def check(self, labels: Iterable[str], where: str) -> None:
        """
        Raises:
            LabelError: labels that nothing explains, all named at once.
        """
        strange = [label for label in labels if self.entities(label) is None]
        if strange and not self.count_unmapped:
            more = f"; {len(strange) - 1} more labels: {', '.join(strange[1:12])}" if len(strange) > 1 else ""
            raise LabelError(f"{where}: {self.refusal(strange[0])}{more}")

    def tags(self, statements: Sequence[Statement], where: str) -> list[Tag]:
        """
        Raises:
            LabelError: a label that nothing explains, unless ``count_unmapped``.
        """
        made = []
        for label, state in statements:
            found = self.entities(label)
            if found is None:
                self.unmapped[label] += 1
                if not self.count_unmapped:
                    raise LabelError(f"{where}: {self.refusal(label)}")
                continue
            if not found:
                self.dropped[label] += 1
            made += [Tag(entity, "label", state, label) for entity in found]
        return made

    def refusal(self, label: str) -> str:
        near = "; ".join(f"{self.tree[e].name} ({e})" for e in self.near(label)) or "none"
        return (
            f"nothing says which entity the label {label!r} stands for (near: {near}). Write it into a mapping (`medvlm"
            " data labels TABLE --out mapping.tsv` makes one to edit) and give it with --mapping; - is for no entity"
        )

    def near(self, label: str, most: int = 3) -> list[str]:
        """Entities with a like name: what a person might have meant, never taken by itself."""
        found = [e.id for e in self.tree.search(label_key(label), most) if e.level]
        if len(found) < most:
            words = difflib.get_close_matches(name_key(label_key(label)), self.tree.names, most, 0.75)
            found += [self.tree.names[word][0] for word in words]
        return list(dict.fromkeys(found))[:most]

    def _read(self, path: Path | None) -> Iterator[tuple[str, list[str]]]:
        text = (files("pretrain.tagging") / "labels.tsv" if path is None else path).read_text("utf-8")
        where = "pretrain/tagging/labels.tsv" if path is None else str(path)
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            cells = [cell.strip() for cell in line.split("\t")]
            if len(cells) < 3:
                raise LabelError(f"{where}, line {number}: a line is TABLE, label, entities, why, separated by tabs")
            if cells[0] not in (self.mapping, "*"):
                continue
            ids = [] if cells[2] in ("-", "") else cells[2].split()
            strange = [identity for identity in ids if identity not in self.tree]
            if strange and path is not None:
                raise LabelError(f"{where}, line {number}: {self.tree.folder} has no entity {strange[0]}")
            if not strange:  # our own list names entities of the packages' tree; another tree may lack some
                yield label_key(cells[1]), [self.tree[identity].id for identity in ids]


def write_mapping(path: Path, table: str, labels: Mapping[str, int], known: LabelMap) -> tuple[int, int]:
    """A mapping to be edited: each label with its entity where known, else with near ones. Returns (known, open)."""
    lines = ["# table\tlabel\tentities (ids, separated by spaces; - for none)\twhy"]
    open_labels = 0
    for label, count in sorted(labels.items(), key=lambda item: (-item[1], item[0])):
        found = known.entities(label)
        if found is None:
            open_labels += 1
            near = "; ".join(f"{e} {known.tree[e].name}" for e in known.near(label))
            lines.append(f"# {table}\t{label}\t?\t{count} times; near: {near or 'none'}")
        else:
            names = "; ".join(known.tree[e].name for e in found)
            lines.append(f"{table}\t{label}\t{' '.join(found) or '-'}\t{count} times; {names or 'no entity'}")
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return len(labels) - open_labels, open_labels
