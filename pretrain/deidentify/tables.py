"""Tables of reports and labels: each column by what it holds; a column that is not recognised is left out."""

# ruff: noqa: E501  (word lists are not folded)

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from pretrain.deidentify.dates import find_dates, read_da
from pretrain.deidentify.errors import RefusedError, SettingsError, UnreadableError
from pretrain.deidentify.evidence import Identifier
from pretrain.deidentify.identity import fold
from pretrain.deidentify.keys import Keys, fold_id
from pretrain.deidentify.known import Known, Patient
from pretrain.deidentify.options import Dates, Options
from pretrain.deidentify.reports import decode_text, prove_text
from pretrain.deidentify.text import TextCleaner
from pretrain.deidentify.vocabulary import keep_clinical

KINDS = ("patient", "name", "accession", "uid", "date", "birth", "age", "sex", "text", "path", "keep", "drop", "staff")
# Column names, without blanks, case and punctuation.
_NAMES: dict[str, str] = {
    **dict.fromkeys(
        "patient patientid patid pid mrn subject subjectid 患者编号 病人号 住院号 病历号".split(), "patient"
    ),
    **dict.fromkeys("patientname name fullname 姓名 患者姓名 病人姓名".split(), "name"),
    **dict.fromkeys("accession accessionnumber accessionno accno accnumber 检查号 影像号".split(), "accession"),
    **dict.fromkeys(
        "uid studyuid studyinstanceuid seriesuid seriesinstanceuid sopuid sopinstanceuid instanceuid imageuid study".split(),
        "uid",
    ),
    **dict.fromkeys(
        "date studydate examdate scandate reportdate acquisitiondate seriesdate datetime studydatetime timestamp 检查日期 "
        "报告日期 日期".split(),
        "date",
    ),
    **dict.fromkeys("birthdate dob dateofbirth patientbirthdate 出生日期 生日".split(), "birth"),
    **dict.fromkeys("age patientage 年龄".split(), "age"),
    **dict.fromkeys("sex gender patientsex 性别".split(), "sex"),
    **dict.fromkeys(
        "text report reporttext findings impression conclusion narrative indication technique comparison caption question "
        "answer description clinicalhistory history comment comments 报告 检查所见 影像所见 诊断意见 诊断 结论 所见".split(),
        "text",
    ),
    **dict.fromkeys("image images imagepath path file filename filepath dicom dicompath dcm img 图像".split(), "path"),
    **dict.fromkeys(
        "split modality view viewposition laterality side bodypart rows columns frames label labels entities 部位 检查类型".split(),
        "keep",
    ),
    **dict.fromkeys(
        "physician doctor radiologist referringphysician technologist reader 医生 报告医师 审核医师".split(), "staff"
    ),
    **dict.fromkeys("phone telephone address email ssn insurance 电话 手机 手机号 地址 身份证号".split(), "drop"),
}


_SPLITS = frozenset("train val valid validation dev test holdout".split())


@dataclass
class Columns:
    """What each column of a table holds.

    Attributes:
        kinds: by name; columns that are left out are not in it.
        dropped: how many were left out because nothing is known of them.
    """

    kinds: dict[str, str]
    dropped: int = 0

    @classmethod
    def of(cls, names: Iterable[str], given: Mapping[str, str]) -> "Columns":
        """Kinds by name; what the user says comes first.

        Raises:
            RefusedError: no column is known. The first line may be data.
            SettingsError: a kind that does not exist.
        """
        unknown = set(given.values()) - set(KINDS)
        if unknown:
            raise SettingsError(f"there is no kind of column {sorted(unknown)[0]!r}; there are {', '.join(KINDS)}")
        names = list(names)
        kinds = {n: given.get(n) or _NAMES.get(re.sub(r"[\W_]+", "", fold(n)), "") for n in names if n}
        known = {n: kind for n, kind in kinds.items() if kind}
        if not known:
            raise RefusedError("no_column", "no column of the table is recognised (does it have a line of names?)")
        return cls(known, len(names) - len(known))

    def all_of(self, row: Mapping[str, Any], kind: str) -> list[str]:
        """Filled cells of the row in columns of a kind."""
        return [str(row[n]).strip() for n, k in self.kinds.items() if k == kind and row.get(n) not in (None, "")]


@dataclass
class CleanedTable:
    """A table as it is to be written."""

    data: bytes
    rows: int = 0
    counts: Counter = field(default_factory=Counter)


def read_rows(data: bytes, suffix: str) -> tuple[list[str], list[dict[str, Any]], int]:
    """Column names, rows, and how many lines are no row.

    Raises:
        UnreadableError: not a table.
    """
    text = decode_text(data)
    if suffix == ".jsonl":
        rows, bad = [], 0
        for line in filter(str.strip, text.splitlines()):
            row = _json(line)
            bad += row is None
            rows += [row] if row is not None else []
        return list(dict.fromkeys(name for row in rows for name in row)), rows, bad
    try:
        reader = csv.DictReader(io.StringIO(text), delimiter="\t" if suffix == ".tsv" else ",", strict=True)
        rows = [{k: v for k, v in row.items() if isinstance(k, str)} for row in reader]
    except csv.Error:
        rows = None
    if rows is None:
        raise UnreadableError("damaged", "the table does not parse")
    return list(reader.fieldnames or ()), rows, 0


def _json(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def learn(rows: Iterable[Mapping[str, Any]], columns: Columns, known: Known) -> None:
    """Add the people that a table names to what is known."""
    for row in rows:
        names, accessions = columns.all_of(row, "name"), columns.all_of(row, "accession")
        ids = columns.all_of(row, "patient")
        known.add_staff(columns.all_of(row, "staff"))
        if not ids:  # an accession number may be that of an image, whose patient it then is
            if names:
                known.add_patient(Patient(fold_id(names[0]), set(names)))
            continue
        births = {d for text in columns.all_of(row, "birth") if (d := _day(text))}
        patient = Patient(fold_id(ids[0]), set(names), {*ids, *accessions}, births)
        known.add_patient(patient)
        for value in columns.all_of(row, "uid"):
            known.link(value, patient.key)


class TableCleaner:
    """Cleans rows.

    Args:
        written: path of an image relative to the source -> path in the output, for those that were written.
    """

    def __init__(
        self,
        keys: Keys,
        options: Options,
        known: Known,
        cleaner: TextCleaner,
        finder: TextCleaner,
        written: Mapping[str, str],
    ):
        self.keys, self.options, self.known = keys, options, known
        self.cleaner, self.finder, self.written = cleaner, finder, written

    def clean(self, data: bytes, relative: str, given: Mapping[str, str]) -> CleanedTable:
        """A whole table. A row in which an identifier survives is left out and counted.

        Raises:
            RefusedError: nothing in it is recognised, or it does not parse.
        """
        suffix = PurePosixPath(relative).suffix.lower()
        names, rows, bad = read_rows(data, suffix)
        columns = Columns.of(names, given)
        result = CleanedTable(b"")
        result.counts["column left out"] = columns.dropped
        result.counts["line is no row"] = bad
        kept = list(self._rows(rows, columns, relative, result))
        result.rows = len(kept)
        result.data = _written(kept, [n for n in columns.kinds if self._stays(columns.kinds[n])], suffix)
        result.counts = +result.counts
        return result

    def _stays(self, kind: str) -> bool:
        if kind in ("name", "birth", "drop", "staff"):
            return False
        return self.options.keep_patient_characteristics or kind not in ("age", "sex")

    def _rows(
        self, rows: list[dict[str, Any]], columns: Columns, relative: str, result: CleanedTable
    ) -> Iterator[dict[str, Any]]:
        for row in rows:
            patient = self._owner(row, columns)
            try:
                new = {
                    n: self._cell(row.get(n), kind, patient, relative)
                    for n, kind in columns.kinds.items()
                    if self._stays(kind)
                }
                self._prove(row, new, columns, patient)
            except RefusedError as error:
                result.counts[f"row refused: {error.code}"] += 1
                continue
            yield new

    def _owner(self, row: Mapping[str, Any], columns: Columns) -> Patient | None:
        for kind in ("patient", "accession", "uid", "name"):
            for value in columns.all_of(row, kind):
                is_key = kind in ("patient", "name")
                patient = self.known.patients.get(fold_id(value)) if is_key else self.known.owner(value)
                if patient is not None:
                    return patient
        return None

    def _cell(self, value: Any, kind: str, patient: Patient | None, relative: str) -> Any:
        if value in (None, ""):
            return value
        if isinstance(value, list) and kind in ("path", "keep", "text", "uid"):
            return [new for v in value if (new := self._cell(v, kind, patient, relative)) not in (None, "")]
        if isinstance(value, (dict, list)):
            return None
        if isinstance(value, (bool, int, float)) and kind == "keep":
            return value if abs(value) < 1e6 else None  # a longer number may be somebody's
        text = str(value).strip()
        return getattr(self, f"_{kind}")(text, patient, relative)

    def _patient(self, text: str, patient: Patient | None, relative: str) -> str:
        return self.keys.patient_id(text)

    def _accession(self, text: str, patient: Patient | None, relative: str) -> str:
        return self.keys.accession(text)

    def _uid(self, text: str, patient: Patient | None, relative: str) -> str:
        if self.options.keep_uids:
            return text
        return self.keys.uid(text) if re.fullmatch(r"[\d.]+", text) else self.keys.code("study", text, "S", 16)

    def _date(self, text: str, patient: Patient | None, relative: str) -> str:
        if self.options.dates is Dates.keep:
            return text
        if self.options.dates is Dates.remove or patient is None:
            return ""
        return self.cleaner.clean(text, patient).text.replace("[DATE]", "")

    def _age(self, text: str, patient: Patient | None, relative: str) -> str:
        match = re.fullmatch(r"0*(\d{1,3})(?:\.\d+)?\s*[Yy岁]?", text)
        return ("90" if int(match[1]) > 89 else text) if match else ""

    def _sex(self, text: str, patient: Patient | None, relative: str) -> str:
        return text if fold(text) in ("m", "f", "o", "u", "male", "female", "other", "unknown", "男", "女") else ""

    def _text(self, text: str, patient: Patient | None, relative: str) -> str:
        return self.cleaner.clean(text, patient).text

    def _path(self, text: str, patient: Patient | None, relative: str) -> str:
        found = []
        for part in text.split(";"):
            near = PurePosixPath(part.strip().replace("\\", "/"))
            for start in (PurePosixPath(relative).parent, PurePosixPath(".")):
                place = str(start / near)
                if place in self.written:
                    found.append(self.written[place])
                    break
        return ";".join(found)

    def _keep(self, text: str, patient: Patient | None, relative: str) -> str:
        if re.fullmatch(r"[+-]?\d{1,6}(?:\.\d+)?", text) or text.lower() in _SPLITS:
            return text
        return keep_clinical(text)[0]

    def _prove(self, row: Mapping[str, Any], new: Mapping[str, Any], columns: Columns, patient: Patient | None) -> None:
        """The row as text, against everything in the row that identifies and what is known of the patient."""
        cells = {n: str(v) for n, v in row.items() if v not in (None, "")}
        kinds = {"patient": "id", "name": "name", "accession": "id", "staff": "name", "drop": "contact", "path": "path"}
        evidence = {
            Identifier(kinds[kind], cells[n]) for n, kind in columns.kinds.items() if kind in kinds and n in cells
        }
        days = {d for n, kind in columns.kinds.items() if kind == "birth" and n in cells and (d := _day(cells[n]))}
        evidence |= {Identifier("date", d.strftime("%Y%m%d")) for d in days}
        texts = "\n".join(cells[n] for n, kind in columns.kinds.items() if kind in ("text", "date") and n in cells)
        prove_text(texts, json.dumps(new, ensure_ascii=False), patient, self.finder, evidence, "table row")


def _day(text: str):
    for found in find_dates(text):
        return found.day
    return read_da(text)


def _written(rows: list[dict[str, Any]], names: list[str], suffix: str) -> bytes:
    out = io.StringIO(newline="")
    if suffix == ".jsonl":
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
    else:
        writer = csv.DictWriter(out, names, delimiter="\t" if suffix == ".tsv" else ",", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return out.getvalue().encode("utf-8")
