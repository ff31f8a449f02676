"""Names and numbers: how they are written, and which attribute holds which kind."""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from pydicom._uid_dict import UID_dictionary
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

_PIECES = re.compile(r"[\^=,]+")
_WORDS = re.compile(r"[\s./\\_-]+")
# Characters that are written without blanks between words: a name or number may touch them.
HAN = r"\u3400-\u9fff\uac00-\ud7af\u3040-\u30ff"
_HAN = re.compile(f"[{HAN}]")
_KANA = re.compile(r"[\u3040-\u30ff]+\Z")
_TITLES = frozenset("dr mr mrs ms miss prof md phd do rn pa np frcr jr sr ii iii iv the of and".split())
# Inside a longer name these are no part of it: "van" alone gives nobody away, "vandenberg" does.
_PARTICLES = frozenset("da das de del della den der di do dos du el het ibn la las le los ter van von zu zur".split())
# Letters that Unicode does not take apart, marks that stand for an apostrophe, and katakana as hiragana.
_LETTERS = str.maketrans(
    {"æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "ł": "l", "þ": "th", "ı": "i", "ħ": "h"}
    | dict.fromkeys("’‘`´ʼ", "'")
    | {chr(c): chr(c - 0x60) for c in range(0x30A1, 0x30F7)}
)
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe"})
_VOICED = frozenset("\u3099\u309a")  # a mark that makes another kana is no accent
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
_WIDE = {
    code: code - 0xFEE0 for a, b in ((0xFF10, 0xFF19), (0xFF21, 0xFF3A), (0xFF41, 0xFF5A)) for code in range(a, b + 1)
}
_CLASS_UID = re.compile(r"1\.2\.840\.10008(?:\.\d{1,4}){2,9}\Z")

PATIENT_NAME_WORDS = frozenset(
    """
PatientName OtherPatientNames PatientBirthName PatientMotherBirthName ResponsiblePerson NameToUse
""".split()
)
ID_WORDS = frozenset(
    """
PatientID OtherPatientIDs AccessionNumber StudyID AdmissionID ServiceEpisodeID MedicalRecordLocator
InsurancePlanIdentification RequestedProcedureID ScheduledProcedureStepID PerformedProcedureStepID
PlacerOrderNumberImagingServiceRequest FillerOrderNumberImagingServiceRequest SpecimenAccessionNumber
SpecimenIdentifier ContainerIdentifier SlideIdentifier ClinicalTrialSubjectID ClinicalTrialSubjectReadingID
IssuerOfPatientID IssuerOfAdmissionID
""".split()
)
DEVICE_WORDS = frozenset(
    """
DeviceSerialNumber StationName GantryID DetectorID PlateID CassetteID GeneratorID SecondaryCaptureDeviceID
HardcopyCreationDeviceID UniqueDeviceIdentifier XRaySourceID XRayDetectorID XRayDetectorLabel StationAETitle
PerformedStationName PerformedStationAETitle ScheduledStationName ScheduledStationAETitle
""".split()
)
INSTITUTION_WORDS = frozenset("InstitutionName InstitutionAddress InstitutionalDepartmentName".split())
PLACE_WORDS = INSTITUTION_WORDS | frozenset(
    """
VerifyingOrganization ResponsibleOrganization HumanPerformerOrganization ClinicalTrialSiteName
ClinicalTrialCoordinatingCenterName RequestingService
""".split()
)
CONTACT_WORDS = frozenset(
    """
PatientAddress PatientTelephoneNumbers PatientTelecomInformation PersonAddress PersonTelephoneNumbers
PersonTelecomInformation ReferringPhysicianAddress ReferringPhysicianTelephoneNumbers OrderCallbackPhoneNumber
OrderCallbackTelecomInformation
""".split()
)
# Written by machines: kept as they are, unless they name somebody who is known or hold what the text rules find.
TECHNICAL_WORDS = frozenset(
    """
Manufacturer ManufacturerModelName SoftwareVersions ConvolutionKernel SequenceName PulseSequenceName TransmitCoilName
ReceiveCoilName MultiCoilElementName FilterType ImagedNucleus ResonantNucleus ReconstructionMethod
AttenuationCorrectionMethod ScatterCorrectionMethod CollimatorGridName DetectorManufacturerName
DetectorManufacturerModelName TransducerType CodingSchemeVersion
""".split()
)
# UIDs of classes, syntaxes and context groups: never of an instance.
CLASS_UID_WORDS = frozenset(
    """
SOPClassUID ReferencedSOPClassUID MediaStorageSOPClassUID TransferSyntaxUID RelatedGeneralSOPClassUID
OriginalSpecializedSOPClassUID SOPClassesInStudy SOPClassesSupported ContextUID MappingResourceUID CodingSchemeUID
ContextGroupExtensionCreatorUID ReferencedSOPClassUIDInFile PrivateRecordUID AvailableTransferSyntaxUID
EncryptedContentTransferSyntaxUID MACCalculationTransferSyntaxUID
""".split()
)


def fold(text: str) -> str:
    """Lower case without accents: Müller, MULLER and muller are one; so are ヤマダ and やまだ."""
    if text.isascii():
        return text.lower()
    flat = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    flat = "".join(c for c in flat if c in _VOICED or not unicodedata.combining(c))
    return unicodedata.normalize("NFC", flat).translate(_LETTERS)


def plain_text(text: str) -> str:
    """The text without characters that are not seen (soft hyphens, zero-width spaces), wide letters and digits narrow.

    Both hide a name from a search, and both are common in reports that were copied from a page or typed in Chinese.
    """
    return text if text.isascii() else _INVISIBLE.sub("", text).translate(_WIDE)


def bare(word: str) -> str:
    """A word folded, without quotes, brackets and apostrophes: O'Connor, O’CONNOR and OConnor are one."""
    return re.sub("['`]", "", fold(word).strip('()[]"'))


def has_han(text: str) -> bool:
    """True where a Chinese, Japanese or Korean character is in it."""
    return bool(_HAN.search(text))


def is_telling(part: str) -> bool:
    """True for a folded part of a name that is long enough to be looked for alone."""
    if not has_han(part):
        return len(part) > 2
    return len(part) > (2 if _KANA.match(part) else 1)


@lru_cache(maxsize=65536)
def name_parts(name: str) -> tuple[str, ...]:
    """Folded parts of a person's name, without titles, initials and particles; then how else they are written.

    Müller is mueller as well and MUELLER muller; "van den Berg" is vandenberg, Smith-Jones smithjones, O'Connor connor.
    """
    parts: list[str] = []
    others: list[str] = []
    for piece in _PIECES.split(name):
        given = [(bare(w), w) for w in _WORDS.split(piece)]
        words = [(b, w) for b, w in given if len(b) > 1 and b not in _TITLES and not b.isdigit()]
        parts += [b for b, _ in words if b not in _PARTICLES] or [b for b, _ in words]
        others += ["".join(b for b, _ in words)] if len(words) > 1 else []
        others += [other for _, w in words for other in _spellings(w)]
    return tuple(dict.fromkeys([*parts, *others]))


def _spellings(word: str) -> Iterator[str]:
    """Other ways to write one word of a name, folded."""
    long = bare(word.casefold().translate(_UMLAUTS))
    short = re.sub("([aou])e", r"\1", bare(word))
    tail = fold(word).rpartition("'")[2]
    yield from (w for w in (long, short, tail) if w != bare(word) and len(w) > 3)


@lru_cache(maxsize=65536)
def name_pairs(name: str) -> frozenset[str]:
    """Each part of the family name with each of the given names, as :func:`pair` writes them.

    Args:
        name: DICOM's PN, "family, given", or plain words, of which the last is then the family name.
    """
    pairs: set[str] = set()
    for group in name.split("="):
        pieces = [p for p in re.split(r"[\^,]", group)[:3] if p.strip()]
        if len(pieces) == 1:
            words = pieces[0].split()
            pieces = [words[-1], *words[:-1]]
        for family in name_parts(pieces[0]) if pieces else ():
            pairs |= {pair(family, given) for p in pieces[1:] for given in name_parts(p) if given not in _PARTICLES}
    return frozenset(pairs)


def pair(a: str, b: str) -> str:
    """Two folded parts of a name as one string that does not tell which came first."""
    return f"{a} {b}" if a < b else f"{b} {a}"


def initials_of(name: str) -> tuple[str, ...]:
    """Initials of given and family name, with the middle name and without, in capitals: ("JQS", "JS")."""
    pieces = [p.strip() for p in name.split("=")[0].split("^")[:3] if p.strip()]
    if len(pieces) < 2 or not all(p[0].isalpha() and not has_han(p[0]) for p in pieces):
        return ()
    family, given = pieces[0], [w for p in pieces[1:] for w in _WORDS.split(p) if w]
    letters = [fold(w[0])[:1].upper() for w in (*given, family)]
    return tuple(dict.fromkeys(("".join(letters), letters[0] + letters[-1])))


@lru_cache(maxsize=65536)
def name_forms(name: str) -> tuple[str, ...]:
    """How a whole name may be written: with carets, blanks, commas, turned round, and run together in Chinese.

    Args:
        name: DICOM's PN (family^given^..., groups with "="), or plain words.
    """
    forms: list[str] = []
    for group in name.split("="):
        words = [w for piece in group.split("^") if (w := piece.strip())]
        if not words:
            continue
        forms += [group.strip("^ "), " ".join(words)]
        if len(words) > 1:
            family, given = words[:2]
            forms += [f"{given} {family}", f"{family} {given}", f"{family}, {given}", f"{family},{given}"]
            forms += [f"{family}_{given}", f"{given}_{family}", f"{family}{given}", f"{given}{family}"]
            if len(family) > 3 and not has_han(family):  # jsmithson, smithsonj: what people log in as
                forms += [f"{given[0]}{family}", f"{family}{given[0]}"]
    return tuple(f for f in dict.fromkeys(forms) if len(f) > (1 if has_han(f) else 3))


def readings(value: str) -> list[str]:
    """The text, and what it may be where the file did not say its character set (pydicom then reads Latin-1)."""
    found = [value]
    if not value.isascii():
        raw = b""
        try:
            raw = value.encode("latin-1")
        except UnicodeEncodeError:
            return found
        for encoding in ("utf-8", "gb18030", "shift_jis", "euc_kr"):
            try:
                found.append(raw.decode(encoding))
            except UnicodeDecodeError:
                continue
    return found


def values_of(element: DataElement) -> list[str]:
    """The element's values as text without padding; nothing for bytes and sequences."""
    value: Any = element.value
    if value is None or isinstance(value, bytes) or element.VR == "SQ":
        return []
    many = value if isinstance(value, (list, tuple, MultiValue)) else [value]
    return [text for v in many if (text := str(v).strip("\0 \r\n\t"))]


def walk(ds: Dataset) -> Iterator[tuple[DataElement, Dataset, bool]]:
    """Every element with the item that holds it, and whether it is private or inside something private.

    An element that does not parse is passed over: the cleaner removes and counts it.
    """
    stack: list[tuple[Dataset, bool]] = [(ds, False)]
    while stack:
        item, inside = stack.pop()
        for tag in list(item.keys()):
            element = element_of(item, tag)
            if element is None:
                continue
            private = inside or element.tag.is_private
            yield element, item, private
            if element.VR == "SQ" and element.value:
                stack += [(inner, private) for inner in element.value]


def element_of(item: Dataset, tag: Any) -> DataElement | None:
    """The element, or None where its bytes are no value of its VR."""
    try:
        return item[tag]
    except Exception:  # pydicom converts on access and lets many kinds of exception out
        return None


def keeps_uid(keyword: str, value: str) -> bool:
    """True for a UID that the standard defines; one that only begins like it counts in a class attribute alone."""
    return value in UID_dictionary or (keyword in CLASS_UID_WORDS and bool(_CLASS_UID.match(value)))
