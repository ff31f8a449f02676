"""What is done with each attribute: PS3.15 table E.1-1 (2026c) and what the table leaves open.

The table is a list of what to remove. This is the reverse: an element is kept because of what its value is (a number,
a code of the standard, a UID that is mapped, a date that is moved), and text is kept only where it is named below as
technical, or word by word where its words are clinical. So an attribute that nobody thought of, or that the standard
gains tomorrow, does not pass. The table's own attributes are all met: ``test_deid_profile.py`` goes through the one of
dicom-anonymizer 2.1.0 and finds no value of any of them in an output.
"""

# ruff: noqa: E501  (word lists are not folded)

from enum import Enum, auto

from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag
from pydicom.tag import BaseTag, Tag

from pretrain.deidentify.identity import DEVICE_WORDS, INSTITUTION_WORDS, TECHNICAL_WORDS
from pretrain.deidentify.options import Dates, Options


class Action(Enum):
    """What becomes of an element (the letters are those of PS3.15 table E.1-1a)."""

    KEEP = auto()  # K: as it is, unless it names somebody who is known
    BYTES = auto()  # K: a lookup table or colour profile, see lookup.py
    NUMBER = auto()  # K where every value is a number; else X
    CODE_STRING = auto()  # K where every value has the form of a code string and names nobody who is known; else X
    REMOVE = auto()  # X
    EMPTY = auto()  # Z
    PATIENT = auto()  # D: the patient's pseudonym
    HASH = auto()  # D: a keyed code
    DUMMY = auto()  # D: a fixed word
    UID = auto()  # U
    DATE = auto()  # C (or X, Z, D): moved with all dates of the patient, or emptied
    BIRTH = auto()  # Z, or moved
    TIME = auto()  # kept with the dates, or emptied
    AGE = auto()  # K, over 89 made 90
    DESCRIPTION = auto()  # C: its clinical words alone
    RECURSE = auto()  # its items are cleaned


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_EMPTY = _words(
    """
ReferringPhysicianName ConsultingPhysicianName ContentCreatorName PlacerOrderNumberImagingServiceRequest
FillerOrderNumberImagingServiceRequest RequestedProcedureID VerifyingObserverIdentificationCodeSequence
IssuerOfTheContainerIdentifierSequence IssuerOfTheSpecimenIdentifierSequence ReferencedStudySequence
ReferencedPerformedProcedureStepSequence
"""
)
_HASH = _words(
    """
AccessionNumber StudyID DeviceSerialNumber DetectorID XRayDetectorID XRaySourceID ContainerIdentifier
SpecimenIdentifier TrackingID
"""
)
_DUMMY = _words("VerifyingObserverName VerifyingOrganization PersonName")
_CHARACTERISTICS = _words(
    """
PatientSex PatientAge PatientSize PatientWeight PatientBodyMassIndex PatientSexNeutered PregnancyStatus SmokingStatus
EthnicGroup MeasuredAPDimension MeasuredLateralDimension
"""
)
# Sequences that say who or where, and the rest of the table's single attributes that no rule below reaches.
_REMOVE = _words(
    """
InstitutionCodeSequence InstitutionalDepartmentTypeCodeSequence NetworkID RetrieveAETitle
ReferringPhysicianIdentificationSequence ConsultingPhysicianIdentificationSequence OperatorIdentificationSequence
PhysiciansOfRecordIdentificationSequence PhysiciansReadingStudyIdentificationSequence
PerformingPhysicianIdentificationSequence AdmittingDiagnosesDescription AdmittingDiagnosesCodeSequence
PrincipalDiagnosisCodeSequence PrimaryDiagnosisCodeSequence SecondaryDiagnosesCodeSequence
HistologicalDiagnosesCodeSequence ReferencedPatientSequence ReferencedPatientPhotoSequence
InstanceCoercionDateTime
RequestAttributesSequence OriginalAttributesSequence
ModifiedAttributesSequence ActualHumanPerformersSequence ScheduledHumanPerformersSequence
HumanPerformerCodeSequence HumanPerformerName HumanPerformerOrganization AuthorObserverSequence ParticipantSequence
CustodialOrganizationSequence PersonIdentificationCodeSequence IntendedRecipientsOfResultsIdentificationSequence
ContentCreatorIdentificationCodeSequence IconImageSequence DataSetTrailingPadding UDISequence
UniqueDeviceIdentifier TransducerIdentificationSequence ReasonForRequestedProcedureCodeSequence
ReasonForTheRequestedProcedure ReasonForTheImagingServiceRequest ReasonForPerformedProcedureCodeSequence
PreMedication OrderEnteredBy OrderEntererLocation NamesOfIntendedRecipientsOfResults AcquisitionContextDescription
ConfidentialityConstraintOnPatientDataDescription HL7InstanceIdentifier DisplayURI
DateOfManufacture DateOfInstallation DateOfLastCalibration TimeOfLastCalibration DateTimeOfLastCalibration
CalibrationDateTime DateOfLastDetectorCalibration TimeOfLastDetectorCalibration
RequestedProcedureLocation RequestedProcedurePriority PatientTransportArrangements CurrentRequestedProcedureLocation
GraphicAnnotationSequence UnformattedTextValue TextObjectSequence ModifyingDeviceID ModifiedImageDescription
DeviceSettingDescription SpecimenDetailedDescription SpecimenShortDescription SpecimenPreparationSequence
SlideIdentifier SpecimenAccessionNumber ContainerComponentID BarcodeValue LabelText
PrivateGroupReference NonconformingModifiedAttributesSequence EncapsulatedDocument
PrivateDataElementCharacteristicsSequence DeidentificationActionSequence AlternateContentDescriptionSequence
"""
)
_DESCRIPTIONS = _words(
    """
StudyDescription SeriesDescription ProtocolName PerformedProcedureStepDescription RequestedProcedureDescription
DerivationDescription AcquisitionDeviceProcessingDescription AcquisitionProtocolDescription ContrastBolusAgent
BodyPartExamined ContentDescription DeviceDescription LongDeviceDescription AcquisitionProtocolName ContributionDescription
LUTExplanation WindowCenterWidthExplanation LUTLabel TransducerData DimensionDescriptionLabel StackID DataPathID
"""
)
# One word out of a list that the standard leaves open.
_TERMS = _words("RescaleType ModalityLUTType")
# Groups of which nothing is kept, apart from what is named in this module.
_GONE_GROUPS = frozenset(
    [0x0000, 0x0002, 0x0004, 0x0006, 0x0010, 0x0012, 0x0014, 0x0016, 0x0032, 0x0034, 0x0038, 0x003A, 0x0044, 0x0068]
    + [0x006A, 0x0072, 0x0074, 0x0076, 0x0078, 0x0080, 0x0082, 0x0088, 0x0100, 0x0400, 0x1000, 0x1010, 0x2000, 0x2010]
    + [0x2020, 0x2030, 0x2040, 0x2100, 0x2110, 0x2120, 0x2130, 0x2200, 0x3002, 0x3004, 0x3006, 0x3008, 0x300A, 0x300C]
    + [0x300E, 0x3010, 0x4000, 0x4008, 0x4010, 0x4FFE, 0xFFFA, 0xFFFC]
)
_KEPT_OF_GONE = {
    "PatientName": Action.PATIENT,
    "PatientID": Action.PATIENT,
    "PatientBirthDate": Action.BIRTH,
    "PatientSex": Action.EMPTY,
    "RequestedProcedureDescription": Action.DESCRIPTION,
    "RequestedProcedureCodeSequence": Action.RECURSE,
}
# PS3.15 E.3.10 asks for private elements known to be safe. Numbers alone are taken from these, whatever the VR says.
SAFE_PRIVATE: dict[str, frozenset[int]] = {
    "SIEMENS MR HEADER": frozenset([0x0C, 0x0E, 0x27, 0x28]),  # b-value, gradient direction, b-matrix, bandwidth
    "GEMS_ACQU_01": frozenset([0xBB, 0xBC, 0xBD]),  # diffusion gradient x, y, z
    "GEMS_PARM_01": frozenset([0x39]),  # b-value
    "PHILIPS IMAGING DD 001": frozenset([0x03, 0x04]),  # b-factor; the direction is a word and fails as a number
    "PHILIPS MR IMAGING DD 001": frozenset([0x0D, 0x0E, 0xB0, 0xB1, 0xB2]),  # scale intercept and slope, direction
    "PHILIPS PET PRIVATE GROUP": frozenset([0x00, 0x09]),  # SUV and activity scale factors
}
# Bytes are kept only where the standard gives them a meaning that pixels need.
_KEPT_BYTES = _words(
    """
RedPaletteColorLookupTableData GreenPaletteColorLookupTableData BluePaletteColorLookupTableData
SegmentedRedPaletteColorLookupTableData SegmentedGreenPaletteColorLookupTableData
SegmentedBluePaletteColorLookupTableData AlphaPaletteColorLookupTableData LUTData ICCProfile
RealWorldValueLUTData FilterLookupTableData
"""
)
_BY_VR = {
    **dict.fromkeys(("US", "SS", "UL", "SL", "FL", "FD", "SV", "UV", "AT", "DS", "IS"), Action.NUMBER),
    **dict.fromkeys(("DA", "DT"), Action.DATE),
    **dict.fromkeys(("LO", "SH", "UC"), Action.DESCRIPTION),
    **dict.fromkeys(("ST", "LT", "UT", "UR", "AE"), Action.REMOVE),
    **dict.fromkeys(("OB", "OW", "OF", "OD", "OL", "OV", "UN"), Action.REMOVE),
    "TM": Action.TIME,
    "CS": Action.CODE_STRING,
    "UI": Action.UID,
    "PN": Action.EMPTY,
    "AS": Action.REMOVE,
    "SQ": Action.RECURSE,
}
_COMMENTS = ("Comments", "Comment", "Notes", "CommentsTrial")


class Profile:
    """The action for each element under some options.

    Args:
        options: of the run.
    """

    def __init__(self, options: Options):
        self.options = options

    def action(self, tag: BaseTag, vr: str, creator: str | None = None) -> Action:
        """What is done with an element.

        Args:
            tag: of the element.
            vr: as the file has it.
            creator: private creator of the block, for private elements.
        """
        if tag.is_private:
            return self._private(tag, creator)
        keyword = keyword_for_tag(tag)
        if tag.element == 0 or not keyword or 0x5000 <= tag.group <= 0x501E or 0x6000 <= tag.group <= 0x60FF:
            return Action.REMOVE  # group lengths, unknown attributes, curves, overlays
        if not _vr_fits(tag, vr):
            return Action.REMOVE
        chosen = self._chosen(keyword)
        if chosen is not None:
            return chosen
        if tag.group in _GONE_GROUPS:
            return _KEPT_OF_GONE.get(keyword, Action.REMOVE)
        named = _named(keyword)
        return named if named is not None else self._by_vr(keyword, vr)

    def _chosen(self, keyword: str) -> Action | None:
        """What an option retains."""
        options = self.options
        if keyword in _CHARACTERISTICS and options.keep_patient_characteristics:
            return {"PatientAge": Action.AGE, "EthnicGroup": Action.CODE_STRING}.get(
                keyword, self._by_vr(keyword, _vr(keyword))
            )
        if keyword in DEVICE_WORDS or keyword == "DeviceUID":
            if options.keep_device:
                return Action.KEEP
            return None if keyword in _HASH or keyword == "DeviceUID" else Action.REMOVE
        if keyword in INSTITUTION_WORDS:
            return Action.KEEP if options.keep_institution else Action.REMOVE
        if keyword == "TimezoneOffsetFromUTC":
            return Action.REMOVE if options.dates is Dates.remove else Action.NUMBER
        if keyword in ("ReferencedStudySequence", "ReferencedPerformedProcedureStepSequence") and options.keep_uids:
            return Action.RECURSE
        return None

    def _by_vr(self, keyword: str, vr: str) -> Action:
        if keyword in _KEPT_BYTES:
            return Action.BYTES
        if vr == "UI" and self.options.keep_uids:
            return Action.KEEP
        if vr in ("DA", "DT", "TM") and self.options.dates is Dates.keep:
            return Action.KEEP
        return _BY_VR.get(vr, Action.REMOVE)

    def _private(self, tag: BaseTag, creator: str | None) -> Action:
        safe = SAFE_PRIVATE.get((creator or "").strip().upper())
        if not self.options.keep_safe_private or safe is None:
            return Action.REMOVE
        if tag.is_private_creator:
            return Action.KEEP  # one of the list's keys
        return Action.NUMBER if tag.element & 0xFF in safe else Action.REMOVE


def _named(keyword: str) -> Action | None:
    """What this module says of single attributes."""
    for words, action in (
        (_EMPTY, Action.EMPTY),
        (_HASH, Action.HASH),
        (_DUMMY, Action.DUMMY),
        (_REMOVE, Action.REMOVE),
        (_DESCRIPTIONS, Action.DESCRIPTION),
        (_TERMS, Action.CODE_STRING),
        (TECHNICAL_WORDS, Action.KEEP),
    ):
        if keyword in words:
            return action
    if keyword.endswith(_COMMENTS) or keyword.startswith("CommentsOn") or "AETitle" in keyword:
        return Action.REMOVE
    if (
        keyword.startswith(("Issuer", "Scheduled", "Telephone", "Person"))
        and keyword != "ScheduledProtocolCodeSequence"
    ):
        return Action.REMOVE
    if keyword.startswith("Performed") and keyword.endswith(
        ("ID", "Name", "Location", "GeographicLocationCodeSequence")
    ):
        return Action.REMOVE
    return None


def _vr(keyword: str) -> str:
    return dictionary_VR(Tag(keyword))


def _vr_fits(tag: BaseTag, vr: str) -> bool:
    """False where the file gives a public attribute another VR than the standard: its value cannot be judged."""
    if not dictionary_has_tag(tag):
        return False
    return vr in dictionary_VR(tag).split(" or ")
