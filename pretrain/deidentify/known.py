"""Everything that a source says about its people, gathered before the first file is written."""

import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date

from pydicom.dataset import Dataset

from pretrain.deidentify.dates import read_da
from pretrain.deidentify.identity import (
    CONTACT_WORDS,
    DEVICE_WORDS,
    ID_WORDS,
    PATIENT_NAME_WORDS,
    PLACE_WORDS,
    has_han,
    is_telling,
    name_forms,
    name_pairs,
    name_parts,
    readings,
    values_of,
    walk,
)
from pretrain.deidentify.keys import fold_id
from pretrain.deidentify.vocabulary import common_words, place_words

_LINKS = ("AccessionNumber", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


@dataclass
class Patient:
    """One patient, from all files that name the id.

    Attributes:
        key: Patient ID without case and outer blanks; all keyed maps of the patient start from it.
        names: in DICOM's form or as plain words.
        ids: numbers and codes of any issuer.
        births: dates of birth.
        contacts: addresses and phone numbers.
    """

    key: str
    names: set[str] = field(default_factory=set)
    ids: set[str] = field(default_factory=set)
    births: set[date] = field(default_factory=set)
    contacts: set[str] = field(default_factory=set)

    def merge(self, other: "Patient") -> None:
        """Add what the other record of the same patient holds."""
        self.names |= other.names
        self.ids |= other.ids
        self.births |= other.births
        self.contacts |= other.contacts


@dataclass
class Known:
    """The people and places of a source.

    Attributes:
        patients: by key.
        staff: folded parts of the names of everybody who is no patient (three letters or more, no common word).
        places: institution names and addresses.
        links: a number or UID (hashed, as there may be millions) to the one patient that it belongs to; None where it
            belongs to several.
        devices: serial numbers and names of stations.
        pairs: family and given name of everybody, see :func:`identity.pair`.
        han: whole names of everybody in Chinese, Japanese or Korean characters, which no blank sets off in a text.
        parts: folded parts of the patients' names: for texts of which nobody knows whose they are.
    """

    patients: dict[str, Patient] = field(default_factory=dict)
    staff: set[str] = field(default_factory=set)
    places: set[str] = field(default_factory=set)
    links: dict[bytes, str | None] = field(default_factory=dict)
    devices: set[str] = field(default_factory=set)
    pairs: set[str] = field(default_factory=set)
    han: set[str] = field(default_factory=set)
    parts: set[str] = field(default_factory=set)

    def add(self, ds: Dataset) -> Patient:
        """Read a header; gives the patient's record as it is now."""
        patient, staff, places, devices = read_people(ds)
        self.add_staff(staff)
        self.places |= places
        self.devices |= devices
        for word in _LINKS:
            self.link(str(ds.get(word) or ""), patient.key)
        return self.add_patient(patient)

    def add_patient(self, patient: Patient) -> Patient:
        """Remember what one file or row says of a patient; gives the record as it is now."""
        mine = self.patients.setdefault(patient.key, patient)
        mine.merge(patient)
        self._add_whole(patient.names)
        self.parts |= {p for name in patient.names for p in name_parts(name) if _is_own(p)}
        for value in patient.ids:
            self.link(value, patient.key)
        return mine

    def add_staff(self, names: Collection[str]) -> None:
        """Remember people who are no patients."""
        self._add_whole(names)
        self.staff |= {p for name in names for p in name_parts(name) if _is_own(p)}

    def _add_whole(self, names: Iterable[str]) -> None:
        """Family and given name together: two common words are a name where they are one."""
        for name in names:
            self.pairs |= name_pairs(name)
            if has_han(name):
                self.han |= {form for form in name_forms(name) if has_han(form)}

    def link(self, value: str, key: str) -> None:
        """Remember whose number this is."""
        value = fold_id(value)
        if len(value) > 2:
            place = _hash(value)
            self.links[place] = key if self.links.get(place, key) == key else None

    def is_number(self, value: str) -> bool:
        """True where the value is somebody's number or a UID of the source."""
        return _hash(fold_id(value)) in self.links

    def owner(self, value: str) -> Patient | None:
        """The patient whose number or UID this is, if it is one patient's only."""
        key = self.links.get(_hash(fold_id(value)))
        return self.patients.get(key) if key is not None else None


def _is_own(part: str) -> bool:
    """True for a part of a name that is no common word."""
    return is_telling(part) and part not in common_words()


def _hash(value: str) -> bytes:
    return hashlib.blake2b(value.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def patient_key(ds: Dataset) -> str:
    """Patient ID; where there is none, name and birth date, then the study: files of nobody are never joined."""
    identity = fold_id(str(ds.get("PatientID") or ""))
    if identity:
        return identity
    name, birth = fold_id(str(ds.get("PatientName") or "")), str(ds.get("PatientBirthDate") or "")
    if name:
        return f"name:{name}/{birth}"
    return f"study:{ds.get('StudyInstanceUID') or ds.get('SOPInstanceUID') or ''}"


def read_people(ds: Dataset) -> tuple[Patient, set[str], set[str], set[str]]:
    """The patient, the names of others, the institutions and the devices of a header, with its sequences."""
    patient, staff, places, devices = Patient(patient_key(ds)), set(), set(), set()
    for element, item, _private in walk(ds):
        word = element.keyword
        if element.VR == "PN":
            names = {r for value in values_of(element) for r in readings(value)}
            is_patient = word in PATIENT_NAME_WORDS and item.get("ValueType") is None
            (patient.names if is_patient else staff).update(names)
        elif word in ID_WORDS:
            patient.ids.update(values_of(element))
        elif word in CONTACT_WORDS and word.startswith("Patient"):
            patient.contacts.update(r for value in values_of(element) for r in readings(value))
        elif word in PLACE_WORDS:
            places.update(r for value in values_of(element) for r in readings(value))
        elif word in DEVICE_WORDS:
            devices.update(v for v in values_of(element) if len(v) > 4 and any(c.isdigit() for c in v))
        elif word == "PatientBirthDate":
            patient.births.update(day for value in values_of(element) if (day := read_da(value)))
    return patient, staff, places, devices


def own_words(texts: Iterable[str]) -> Iterator[str]:
    """Folded words of names of places that are no common words: what gives a hospital away."""
    for text in texts:
        for part in name_parts(text.replace("(", " ").replace(")", " ")):
            if len(part) > 3 and part not in common_words() and part not in place_words():
                yield part
