"""What of an input must not be in its output, read from the input without asking the profile what it removes."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from pretrain.deidentify.codes import CODE_WORDS, is_public, is_published, meaning_of
from pretrain.deidentify.dates import find_dates, move, read_da, read_dt
from pretrain.deidentify.identity import (
    CONTACT_WORDS,
    DEVICE_WORDS,
    ID_WORDS,
    INSTITUTION_WORDS,
    PLACE_WORDS,
    TECHNICAL_WORDS,
    fold,
    keeps_uid,
    name_parts,
    plain_text,
    readings,
    values_of,
    walk,
)
from pretrain.deidentify.keys import Keys
from pretrain.deidentify.known import Known, Patient
from pretrain.deidentify.options import Dates, Options
from pretrain.deidentify.text import TextCleaner
from pretrain.deidentify.vocabulary import is_clinical

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_RUN = re.compile(rb"[\x20-\x7e]{6,64}")
_AMOUNT = re.compile(r"[+-]?\d*\.\d*(?:[eE][+-]?\d+)?|[+-]\d{4}")  # a number with a point, a time zone
_TEXT = frozenset(["LO", "SH", "ST", "LT", "UT", "UC", "UR", "AE"])
_FREE = frozenset(["TextValue"])  # clinical text: only what the rules find in it identifies
_FROM_FINDER = {"name": "name", "id": "id", "phone": "contact", "email": "contact", "url": "contact"}
_FROM_FINDER |= {"contact": "contact", "place": "institution", "uid": "uid"}


@dataclass(frozen=True, order=True)
class Identifier:
    """Something of the input that must not be in the output.

    Attributes:
        kind: "name", "id", "uid", "date", "contact", "institution", "device", "text", "private", "preamble",
            "file meta", "path" or "age".
        value: as it stood; a date as YYYYMMDD.
        weak: a word of a description, a comment, a private element or a path. A clinical word may look like it, so it
            is looked for in header text alone.
    """

    kind: str
    value: str
    weak: bool = False


def of_header(ds: Dataset, options: Options) -> set[Identifier]:
    """Identifiers of every element, in sequences and private blocks too. Pixel data are not read."""
    found: set[Identifier] = set()
    technical = _technical(ds, options)
    for element, item, private in walk(ds):
        found.update(_of_element(element, item, private, options))
    return {i for i in found if i.kind in ("name", "id", "uid", "date") or fold(i.value) not in technical}


def _technical(ds: Dataset, options: Options) -> set[str]:
    """Values, and their words, that stay: nothing equal to one of them is evidence, wherever else it stands."""
    kept: set[str] = set()
    for element, item, private in walk(ds):
        word, vr = element.keyword, element.VR
        stays = (
            word in TECHNICAL_WORDS
            or word in ("RescaleType", "ModalityLUTType")
            or (word == "CodingSchemeDesignator" and is_public(item))
            or (word == "EthnicGroup" and options.keep_patient_characteristics)
            or vr == "CS"
            or (word in CODE_WORDS and _is_listed(word, item, element))
            or (options.keep_device and word in DEVICE_WORDS)
            or (options.keep_institution and word in INSTITUTION_WORDS)
            or (options.keep_uids and vr == "UI")
            or (options.keep_safe_private and element.tag.is_private_creator and vr == "LO")
        )
        if stays and (not private or element.tag.is_private_creator):
            for value in values_of(element):
                kept.add(fold(value))
                kept.update(fold(part) for part in _WORD.findall(value))
    return kept


def _is_listed(word: str, item: Dataset, element: DataElement) -> bool:
    """True for a published code, and for a meaning that is the standard's own."""
    if word == "CodeMeaning":
        listed = meaning_of(item)
        return listed is not None and fold(listed) == fold(str(element.value or "").strip())
    return is_published(item)


def _of_element(element: DataElement, item: Dataset, private: bool, options: Options) -> Iterator[Identifier]:
    word, vr = element.keyword, element.VR
    values = [r for value in values_of(element) for r in readings(value)]
    if vr == "PN":
        yield from (Identifier("name", v) for v in values)
    elif vr == "UI":
        if not options.keep_uids:
            yield from (Identifier("uid", v) for v in values if not keeps_uid(word, v))
    elif vr in ("DA", "DT"):
        yield from _dates(word, vr, values, options)
    elif vr == "AS":
        yield from (Identifier("age", v) for v in values if v.endswith("Y") and v[:3].isdigit() and int(v[:3]) > 89)
    elif word in ID_WORDS:
        yield from (Identifier("id", v) for v in values)
    elif word in CONTACT_WORDS:
        yield from (Identifier("contact", v) for v in values)
    elif word in PLACE_WORDS:
        yield from () if options.keep_institution else _text("institution", values)
    elif word in DEVICE_WORDS:
        yield from () if options.keep_device else _text("device", values)
    elif private:
        yield from _text("private", values if vr in _TEXT | {"CS", "UN"} else ())
        if isinstance(element.value, bytes) and vr != "SQ":
            yield from _runs("private", element.value[: 1 << 20])
    elif word in CODE_WORDS:
        yield from _code(word, item, values)
    elif vr in _TEXT and word not in TECHNICAL_WORDS | _FREE:
        yield from _text("text", values)


def _code(word: str, item: Dataset, values: list[str]) -> Iterator[Identifier]:
    """Codes of no published scheme, and what a meaning says beyond the standard's words for the code."""
    listed = meaning_of(item)
    if word == "CodeMeaning" and listed is not None:
        known = {fold(part) for part in _WORD.findall(listed)}
        yield from (i for i in _text("text", values) if i.weak and fold(i.value) not in known)
    elif word == "CodeMeaning" or not is_published(item):
        yield from _text("text", values)


def _dates(word: str, vr: str, values: Iterable[str], options: Options) -> Iterator[Identifier]:
    if options.dates is Dates.keep and word != "PatientBirthDate":
        return
    for value in values:
        day = read_da(value) if vr == "DA" else read_dt(value)
        if day is not None:
            yield Identifier("date", day.strftime("%Y%m%d"))


def _text(kind: str, values: Iterable[str]) -> Iterator[Identifier]:
    """The whole value where it has a word that is not clinical, and each such word."""
    for value in values:
        if _AMOUNT.fullmatch(value):
            continue
        unknown = [
            w
            for w in _WORD.findall(value)
            if not is_clinical(w) and not all(is_clinical(p) for p in re.split("['’-]", w))
        ]
        if unknown and len(value) > 3:
            yield Identifier(kind, value, weak=len(value) < 6)
            yield from (Identifier(kind, w, weak=True) for w in unknown if len(w) > 3)


def _runs(kind: str, data: bytes) -> Iterator[Identifier]:
    for run in sorted({m.group().decode("ascii").strip() for m in _RUN.finditer(data)})[:2000]:
        words = _WORD.findall(run)
        if any(len(w) > 4 and w.isalpha() and not is_clinical(w) for w in words):
            yield Identifier(kind, run, weak=len(run) < 10)


def of_container(preamble: bytes, meta: Dataset, relative_path: str, options: Options) -> set[Identifier]:
    """Identifiers around the data set: the preamble, the file meta group, the names of file and folders."""
    found = set(_runs("preamble", preamble))
    found |= {Identifier("preamble", m.decode("latin-1").strip()) for m in re.findall(rb"[\x21-\x7e]{4,}", preamble)}
    for element, _item, _private in walk(meta):
        if element.VR == "UI":
            if options.keep_uids:
                continue
            found |= {Identifier("uid", v) for v in values_of(element) if not keeps_uid(element.keyword, v)}
        elif element.VR in ("AE", "SH", "UR") or isinstance(element.value, bytes):
            values = values_of(element) or [b.decode("ascii") for b in _RUN.findall(element.value or b"")]
            found |= {Identifier("file meta", v) for v in values if len(v) > 2}
    return found | set(of_path(relative_path))


def of_path(relative_path: str) -> Iterator[Identifier]:
    """Names of file and folders, without extensions that everybody uses."""
    for part in relative_path.split("/"):
        stem = re.sub(r"\.(?:dcm|dicom|ima|img|txt|md|csv|tsv|jsonl)\Z", "", part, flags=re.IGNORECASE)
        yield from _text("path", [stem])


def of_patient(patient: Patient) -> set[Identifier]:
    """What the source says of the patient in any file."""
    found = {Identifier("name", v) for v in patient.names} | {Identifier("id", v) for v in patient.ids}
    return found | {Identifier("contact", v) for v in patient.contacts}


def of_text(text: str, patient: Patient | None, finder: TextCleaner) -> set[Identifier]:
    """What the rules find in a free text. The finder has all kinds on, whatever the cleaner had."""
    found, text = set(), plain_text(text)
    for span in finder.find(text, patient):
        value = text[span.start : span.end].strip(" ,.;:")
        if span.kind in _FROM_FINDER and len(value) > 1:
            found.add(Identifier(_FROM_FINDER[span.kind], value))
        elif span.kind in ("date", "birth"):
            days = [f.day for f in find_dates(value, finder.options.date_order) if f.day]
            found.update(Identifier("date", d.strftime("%Y%m%d")) for d in days[:1] if _has_day(value))
    return found


def _has_day(text: str) -> bool:
    """False for a year or a month alone: its moved form may be another's original."""
    return len(re.findall(r"\d+", text)) > 1 and not re.fullmatch(r"[A-Za-z]+\.?,?\s+\d{4}|\d{4}年\d{1,2}月", text)


def without_moved_dates(found: set[Identifier], patient: Patient | None, keys: Keys) -> set[Identifier]:
    """The evidence less those dates that another date of it becomes by the shift."""
    if patient is None:
        return found
    days = keys.shift_days(patient.key)
    all_days = [date(int(i.value[:4]), int(i.value[4:6]), int(i.value[6:])) for i in found if i.kind == "date"]
    moved = {m.strftime("%Y%m%d") for d in all_days if (m := move(d, days))}
    return {i for i in found if i.kind != "date" or i.value not in moved}


def of_known(known: Known, own_words: str) -> set[Identifier]:
    """Everybody: for what a run writes about itself.

    Args:
        own_words: text that is the program's own: who is called Kind or Text is not searched for. Numbers without a
            letter are left out as well, since sizes and counts are such.
    """
    own = {fold(word) for word in re.findall(r"[^\W\d_]+", own_words)}
    found = {Identifier("name", part) for part in known.staff - own}
    for patient in known.patients.values():
        found |= {i for i in of_patient(patient) if not i.value.isdigit() and not own & set(name_parts(i.value))}
    return found
