"""Report texts: whose they are, and what leaves of them."""

import re
from pathlib import PurePosixPath

from pretrain.deidentify.errors import RefusedError, UnreadableError
from pretrain.deidentify.evidence import Identifier, of_path, of_patient, of_text, without_moved_dates
from pretrain.deidentify.known import Known, Patient
from pretrain.deidentify.proof import Proof
from pretrain.deidentify.text import Cleaned, TextCleaner

MAX_TEXT_BYTES = 4 << 20
_TOKEN = re.compile(r"[^\W_][\w.-]*[^\W_]")


class Places:
    """Which patients a source's folders and file names belong to.

    A report is the patient's whose image has its name, or whose images alone lie in the folder of its name, or in its
    own folder; else the one whose number it quotes.
    """

    def __init__(self):
        self._folders: dict[str, str | None] = {}
        self._stems: dict[str, str | None] = {}

    def add(self, relative: str, key: str) -> None:
        """An image file of a patient."""
        path = PurePosixPath(relative)
        _unique(self._stems, stem_of(relative), key)
        for folder in path.parents:
            _unique(self._folders, str(folder), key)

    def owner(self, relative: str) -> str | None:
        """Key of the patient whose place this is."""
        stem = stem_of(relative)
        for found in (
            self._stems.get(stem),
            self._folders.get(stem),
            self._folders.get(str(PurePosixPath(relative).parent)),
        ):
            if found:
                return found
        return None


def _unique(table: dict[str, str | None], place: str, key: str) -> None:
    table[place] = key if table.get(place, key) == key else None


def stem_of(relative: str) -> str:
    """The path without an extension that says the kind of file; the last number of a UID is none."""
    return re.sub(r"\.(?:dcm|dicom|ima|img|txt|md|csv|tsv|jsonl)\Z", "", relative, flags=re.IGNORECASE)


def decode_text(data: bytes) -> str:
    """UTF-8, else GB 18030, else Latin-1, which everything is.

    Raises:
        UnreadableError: too large, or binary.
    """
    if len(data) > MAX_TEXT_BYTES:
        raise UnreadableError("text_too_large", f"the text is larger than {MAX_TEXT_BYTES >> 20} MiB")
    if b"\0" in data:
        raise UnreadableError("not_text", "the file holds zero bytes: it is no text in UTF-8, GB 18030 or Latin-1")
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")


def owner_of(text: str, relative: str, places: Places, known: Known) -> Patient | None:
    """The patient of a report.

    Raises:
        RefusedError: the numbers in it are those of another patient, or of several.
    """
    by_place = places.owner(relative)
    quoted: dict[str, Patient] = {}
    for token in set(_TOKEN.findall(text)):
        if sum(c.isdigit() for c in token) >= 4:
            patient = known.owner(token)
            if patient is not None:
                quoted[patient.key] = patient
    if len(quoted) > 1 or (quoted and by_place and by_place not in quoted):
        raise RefusedError("several_patients", "the report quotes numbers of more than one patient")
    if by_place is not None:
        return known.patients.get(by_place)
    return next(iter(quoted.values()), None)


def clean_report(
    text: str, patient: Patient | None, cleaner: TextCleaner, finder: TextCleaner, relative: str = ""
) -> Cleaned:
    """Clean one text and prove it.

    Args:
        cleaner: of the run. finder: with all kinds on; what it finds in the input is the evidence.
        relative: path of the file, whose words are evidence too.

    Raises:
        LeakError: an identifier survived.
    """
    cleaned = cleaner.clean(text, patient)
    prove_text(text, cleaned.text, patient, finder, set(of_path(relative)) if relative else set())
    return cleaned


def prove_text(
    text: str, cleaned: str, patient: Patient | None, finder: TextCleaner, more: set[Identifier], place: str = "text"
) -> None:
    """Raises LeakError where the cleaned text holds what the rules find, or what is known of the patient."""
    evidence = of_text(text, patient, finder) | (of_patient(patient) if patient is not None else set())
    proof = Proof(without_moved_dates({i for i in evidence | more if not i.weak}, patient, finder.keys))
    proof.text(cleaned, place)
    if any(span.kind == "age" for span in finder.find(cleaned, patient)):
        proof.found["age", place] += 1
    proof.conclude()
