"""A header made anew, element by element, from what the profile lets through."""

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from pretrain.deidentify.codes import CODE_WORDS, LOCAL_SCHEME, clean_meaning, is_public, is_published
from pretrain.deidentify.dates import is_tm, shift_da, shift_dt
from pretrain.deidentify.errors import UnreadableError
from pretrain.deidentify.identity import TECHNICAL_WORDS, element_of, fold, keeps_uid, name_parts, values_of
from pretrain.deidentify.keys import Keys
from pretrain.deidentify.known import Patient
from pretrain.deidentify.lookup import kept_bytes
from pretrain.deidentify.options import Dates, Options
from pretrain.deidentify.profile import Action, Profile
from pretrain.deidentify.text import TextCleaner
from pretrain.deidentify.vocabulary import keep_clinical

MAX_DEPTH = 40
REMOVED = "REMOVED"
_PIXELS = frozenset([0x7FE00008, 0x7FE00009, 0x7FE00010, 0x7FE00001, 0x7FE00002, 0x7FE00003])
_NUMBER = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*\Z")
_CODE_STRING = re.compile(
    r"(?!.*\d[ ./-]?\d[ ./-]?\d[ ./-]?\d[ ./-]?\d)[A-Za-z0-9 _./+-]{0,16}\Z"
)  # no number of somebody
# Concepts of PS3.16 (scheme DCM) whose TEXT says who or which: person and device observers, procedure, subject.
_IDENTITY_CONCEPTS = frozenset(
    "121008 121009 121010 121013 121016 121017 121020 121021 121022 121029 121030 121036 113870 113871 113872 113877 "
    "113880 128774 121428 121433 121435".split()
)
_BIRTH, _SEX, _AGE = "121031", "121032", "121033"


@dataclass
class Work:
    """What one file's header is cleaned with.

    Attributes:
        patient: whose file it is; ``profile``, ``keys``, ``cleaner``: of the run; ``counts``: what was done, by kind.
    """

    patient: Patient
    profile: Profile
    keys: Keys
    cleaner: TextCleaner
    counts: Counter = field(default_factory=Counter)

    @property
    def options(self) -> Options:
        return self.profile.options


def clean_header(ds: Dataset, work: Work) -> Dataset:
    """A new data set without pixel data, overlays, curves, private elements and everything else that identifies.

    Args:
        ds: as read, ambiguous VRs resolved; it is not changed.
    """
    return _clean(ds, work, 0)


def _clean(ds: Dataset, work: Work, depth: int) -> Dataset:
    if depth > MAX_DEPTH:
        raise UnreadableError("nested_too_deep", f"sequences are nested more than {MAX_DEPTH} deep")
    out = Dataset()
    for tag in sorted(ds.keys()):
        if tag in _PIXELS:
            continue
        element = element_of(ds, tag)
        if element is None:
            work.counts["element unreadable"] += 1
            continue
        cleaned = _content(element, ds, work) if "ValueType" in ds else None
        cleaned = _code(element, ds, work) if cleaned is None else cleaned
        cleaned = _by_profile(element, ds, work, depth) if cleaned is None else cleaned
        if isinstance(cleaned, DataElement):
            out.add(cleaned)
        else:
            work.counts["private element removed" if tag.is_private else "element removed"] += 1
    return out


_GONE = object()


def _new(element: DataElement, value: Any) -> DataElement:
    return DataElement(element.tag, element.VR, value)


def _by_profile(element: DataElement, ds: Dataset, work: Work, depth: int) -> Any:
    """The element that takes this one's place, or something else where none does."""
    action = work.profile.action(element.tag, element.VR, _creator(element, ds))
    if action is Action.REMOVE or element.keyword == "SpecificCharacterSet":
        return _GONE
    if action is Action.RECURSE:
        items = [_clean(item, work, depth + 1) for item in element.value or ()]
        return _new(element, Sequence(items))
    if action is Action.EMPTY or not _filled(element):
        return _new(element, Sequence() if element.VR == "SQ" else "" if _is_text(element.VR) else None)
    if action is Action.BYTES:
        data = element.value if isinstance(element.value, bytes) else None
        kept = kept_bytes(element.keyword, data, ds) if data is not None else None
        return _GONE if kept is None else _new(element, kept)
    return _ACTIONS[action](element, work)


def _creator(element: DataElement, ds: Dataset) -> str | None:
    if not element.tag.is_private:
        return None
    at = element.tag.element
    block = element_of(ds, (element.tag.group << 16) | (at if at < 0x100 else at >> 8))
    return str(block.value) if block is not None else None


def _filled(element: DataElement) -> bool:
    return element.value not in (None, "", b"") and not (hasattr(element.value, "__len__") and len(element.value) == 0)


def _is_text(vr: str) -> bool:
    return vr in ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT")


def _many(element: DataElement, values: list[str]) -> DataElement:
    return _new(element, values[0] if len(values) == 1 else values if values else "")


# One function for each action that keeps something.


def _keep(element: DataElement, work: Work) -> Any:
    if not _is_text(element.VR):
        return _new(element, element.value)
    names_somebody = _identifies if element.keyword in TECHNICAL_WORDS else _names_known
    return _many(element, [v for v in values_of(element) if not names_somebody(v, work)])


def _names_known(value: str, work: Work) -> bool:
    return work.cleaner.names_known(value, work.patient)


def _identifies(value: str, work: Work) -> bool:
    """True for a text that names somebody who is known, or in which the rules for reports find a person."""
    spans = work.cleaner.find(value, work.patient)
    return work.cleaner.names_known(value, work.patient) or any(s.kind in ("name", "email", "phone") for s in spans)


def _keep_number(element: DataElement, work: Work) -> Any:
    if isinstance(element.value, bytes):
        return _GONE
    if element.VR in ("DS", "IS", "SH", "LO", "CS", "UN"):
        values = values_of(element)
        if not values or not all(_NUMBER.match(v) for v in values):
            return _GONE
        return _many(element, values) if element.VR in ("SH", "LO", "CS") else _new(element, element.value)
    return _new(element, element.value) if element.VR in _NUMERIC else _GONE


_NUMERIC = frozenset(["US", "SS", "UL", "SL", "FL", "FD", "SV", "UV", "AT"])


def _keep_code_string(element: DataElement, work: Work) -> Any:
    raw = element.value if isinstance(element.value, (list, MultiValue)) else [element.value]
    values = [str(v).strip("\0 ") for v in raw]
    kept = [v if _CODE_STRING.match(v) and not work.cleaner.names_known(v, work.patient) else "" for v in values]
    if not any(kept) or (element.VR != "CS" and any(" " in v for v in kept)):  # other VRs hold sentences as well
        return _GONE
    return _many(element, kept)  # places are kept: value 1 of Image Type stays value 1


def _patient(element: DataElement, work: Work) -> Any:
    return _new(element, work.keys.patient_id(work.patient.key))


def _hash(element: DataElement, work: Work) -> Any:
    if element.keyword == "AccessionNumber":
        return _new(element, work.keys.accession(str(element.value)))
    return _many(element, [work.keys.code(element.keyword, v, "H", 16) for v in values_of(element)])


def _uid(element: DataElement, work: Work) -> Any:
    keep, keys = keeps_uid, work.keys
    return _many(element, [v if keep(element.keyword, v) else keys.uid(v) for v in values_of(element)])


def _date(element: DataElement, work: Work) -> Any:
    dates, days = work.options.dates, work.keys.shift_days(work.patient.key)
    if dates is Dates.remove:
        return _new(element, "19000101" if element.VR == "DT" or element.keyword == "ContentDate" else "")
    move = shift_da if element.VR == "DA" else shift_dt
    moved = [move(v, days) for v in values_of(element)]
    work.counts["date not understood"] += sum(m is None for m in moved)
    return _many(element, [m or "" for m in moved])


def _birth(element: DataElement, work: Work) -> Any:
    if not work.options.shift_birth_date or work.counts["over 89"]:
        return _new(element, "")
    return _date(element, work)


def _time(element: DataElement, work: Work) -> Any:
    if work.options.dates is Dates.remove:
        return _new(element, "000000" if element.keyword == "ContentTime" else "")
    return _many(element, [v if is_tm(v) else "" for v in values_of(element)])


def _age(element: DataElement, work: Work) -> Any:
    match = re.match(r"(\d{3})([DWMY])\Z", str(element.value).strip("\0 "))
    if not match:
        return _GONE
    years = int(match[1]) if match[2] == "Y" else 0
    return _new(element, "090Y" if years > 89 else match[0])


def _description(element: DataElement, work: Work) -> Any:
    if not work.options.clean_descriptors:
        return _new(element, "")
    own = {part for name in work.patient.names for part in name_parts(name)}
    kept = []
    for value in values_of(element):
        text, dropped = keep_clinical(value)
        work.counts["word dropped from a description"] += dropped
        text = " ".join(w for w in text.split(" ") if fold(w.strip("^,.()/")) not in own)
        kept.append(text)
    return _many(element, kept if any(kept) else [])


def _dummy(element: DataElement, work: Work) -> Any:
    return _new(element, REMOVED)


_ACTIONS = {
    Action.KEEP: _keep,
    Action.NUMBER: _keep_number,
    Action.CODE_STRING: _keep_code_string,
    Action.PATIENT: _patient,
    Action.HASH: _hash,
    Action.DUMMY: _dummy,
    Action.UID: _uid,
    Action.DATE: _date,
    Action.BIRTH: _birth,
    Action.TIME: _time,
    Action.AGE: _age,
    Action.DESCRIPTION: _description,
}


# Codes and content items


def _code(element: DataElement, ds: Dataset, work: Work) -> Any:
    """Parts of a code sequence item: published codes stay, local ones become keyed ones with their clinical words."""
    if element.keyword == "CodingSchemeDesignator":
        return _new(element, element.value if is_public(ds) else LOCAL_SCHEME)
    if element.keyword not in CODE_WORDS:
        return None
    if element.keyword == "CodeMeaning":
        return _new(element, clean_meaning(ds))
    text = str(element.value or "").strip()
    if is_published(ds):
        return _new(element, element.value)
    work.counts["local code"] += 1
    prefix = "urn:code:" if element.keyword == "URNCodeValue" else "L"
    return _new(element, work.keys.code("code", text, prefix, len(prefix) + 15))


def _content(element: DataElement, ds: Dataset, work: Work) -> Any:
    """The value of a content item (PS3.3 C.17.3): text is cleaned as a report is, names become a fixed word."""
    concept, keyword = _concept(ds), element.keyword
    if keyword == "ValueType" and concept == _BIRTH:
        return _new(element, "TEXT")
    if concept == _BIRTH and keyword in ("Date", "DateTime"):
        return DataElement("TextValue", "UT", REMOVED)
    if keyword == "TextValue":
        if concept in _IDENTITY_CONCEPTS:
            return _new(element, REMOVED)
        cleaned = work.cleaner.clean(str(element.value or ""), work.patient)
        work.counts.update({f"text: {kind}": n for kind, n in cleaned.counts.items()})
        return _new(element, cleaned.text)
    if keyword == "MeasuredValueSequence" and concept == _AGE:
        return _aged(element, work)
    if keyword == "ConceptCodeSequence" and concept == _SEX and not work.options.keep_patient_characteristics:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "261665006", "SCT", "Unknown"
        return _new(element, Sequence([item]))
    return None


def _concept(ds: Dataset) -> str:
    names = ds.get("ConceptNameCodeSequence")
    return str(names[0].get("CodeValue") or "").strip() if names else ""


def _aged(element: DataElement, work: Work) -> Any:
    """A measured age in years, over 89 made 90."""
    cleaned = _clean(Dataset({element.tag: element}), Work(work.patient, work.profile, work.keys, work.cleaner), 1)
    new = cleaned[element.tag]
    for item in new.value or ():
        value = item.get("NumericValue")
        if value is not None and float(value) > 89:
            item.NumericValue = "90"
    return new
