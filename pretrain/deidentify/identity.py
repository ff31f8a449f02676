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

_PN_SPLIT = re.compile(r"[\^=,\s./\\_-]+")
_HAN = re.compile(r"[\u3400-\u9fff\uac00-\ud7af\u3040-\u30ff]")
_TITLES = frozenset("dr mr mrs ms miss prof md phd do rn pa np frcr jr sr ii iii iv the of and".split())
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
# Published, technical, or drawn from a list: kept as they are, unless they name somebody who is known.
TECHNICAL_WORDS = frozenset(
    """
Manufacturer ManufacturerModelName SoftwareVersions ConvolutionKernel SequenceName PulseSequenceName TransmitCoilName
ReceiveCoilName MultiCoilElementName FilterType ImagedNucleus ResonantNucleus ReconstructionMethod RescaleType
AttenuationCorrectionMethod ScatterCorrectionMethod CollimatorGridName DetectorManufacturerName
DetectorManufacturerModelName TransducerType TransducerData LUTExplanation WindowCenterWidthExplanation LUTLabel
ModalityLUTType CodingSchemeDesignator CodingSchemeVersion CodingSchemeName MappingResourceName
DimensionDescriptionLabel StackID DataPathID SegmentAlgorithmName
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
    """Lower case without accents: Müller, MULLER and muller are one."""
    if text.isascii():
        return text.lower()
    flat = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in flat if not unicodedata.combining(c))


def has_han(text: str) -> bool:
    """True where a Chinese, Japanese or Korean character is in it."""
    return bool(_HAN.search(text))


@lru_cache(maxsize=65536)
def name_parts(name: str) -> tuple[str, ...]:
    """Folded parts of a person's name, without titles and initials."""
    parts = (fold(part).strip("'’()[]\"") for part in _PN_SPLIT.split(name))
    return tuple(dict.fromkeys(p for p in parts if len(p) > 1 and p not in _TITLES and not p.isdigit()))


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
        for encoding in ("utf-8", "gb18030"):
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
