"""Real files of pydicom with an identity planted in every place that can hold one, and a scan that is not the proof's."""

# ruff: noqa: E501  (planted sentences are not folded)

import base64
import io
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.uid import UID

from pretrain.deidentify.keys import Keys
from pretrain.deidentify.known import Known
from pretrain.deidentify.objects import Context
from pretrain.deidentify.options import Options
from vlm.imaging.decode import quiet

# What must not survive, by kind. No word of it is a word of any language.
PLANTED: dict[str, str] = {
    "patient name": "Quixotzer^Brammelda^Ph",
    "patient id": "QZ-0048151623",
    "other patient id": "OPI77120043",
    "other patient name": "Vornhagedal^Brammelda",
    "mother's name": "Mutterzwick^Oda",
    "birth date": "19310717",
    "birth time": "041733.123456",
    "address": "4815 Zwirbelnock Terrace",
    "phone": "+49 6221 5550147",
    "accession": "ACX5550199",
    "study id": "SIDX60117",
    "institution": "Klinikum Zurbelfingen",
    "institution address": "Zurbelweg 12, 79999 Zurbelfingen",
    "department": "Zurbel Radiology West",
    "referring physician": "Ogilthorpe^Penrhyn",
    "performing physician": "Taskerville^Umber",
    "operator": "Jollyfants^Wilbur",
    "physician of record": "Sternwheelr^Ned",
    "station": "ZURBELCT07",
    "serial number": "SNX99120554",
    "study description": "Chest for Quembolee",
    "series description": "Axial Dweezilnik 5mm",
    "protocol": "Kombolistan routine",
    "image comments": "brought by Wattlespoon",
    "patient comments": "knows Frobisherly",
    "history": "cousin of Glimmerang",
    "occupation": "Zookeeperino",
    "religion": "Zurbelism",
    "allergies": "Pollenquark",
    "country": "Zurbelistan",
    "requested procedure id": "RPX8830012",
    "scheduled step id": "SPX2210044",
    "nested name": "Underhillzon^Belinda",
    "nested comment": "told Marblethwap",
    "private text": "Privatwelm Ostergrab",
    "private nested": "Nestprivat Quolzen",
    "private sequence name": "Schmokwitzel^Ada",
    "private bytes": "Bytewelm Farquondle",
    "private utf-16": "Widechar Vanquishel",
    "preamble": "Preamblewitz Tolliver",
    "source AE title": "AEQUONDLESRC",
    "private meta": "Metaquondle Strabo",
    "retrieve AE title": "AERETRQUON",
    "overlay comment": "Overlayquist note",
    "overlay bits": "OVERLAYBITSQUIST",
    "curve label": "Curvequist label",
    "trailing padding": "Paddingquist tail",
    "pixel slack": "Slackquist beyond",
    "text in a number": "Numberquist",
    "text under another VR": "Vrquistword",
    "unknown public attribute": "Unknownquist",
    "local code": "Localquist^Orla",
    "comment in base64": base64.b64encode(b"Basequistel Morwenna").decode(),
    "clinical trial": "Trialquist site",
    "issuer": "Issuerquist",
    "insurance": "INSQ44120987",
    "visit location": "Bedquist 12B",
    "modified attributes": "Oldnamequist^Vera",
    "request reason": "Reasonquist fell",
    "GPS": "GPSQUIST48N",
    "content creator": "Creatorquist^Hal",
    "study uid": "1.2.276.0.7230010.3.99.1.48151623.1",
    "series uid": "1.2.276.0.7230010.3.99.1.48151623.2",
    "instance uid": "1.2.276.0.7230010.3.99.1.48151623.3",
    "frame of reference uid": "1.2.276.0.7230010.3.99.1.48151623.4",
    "study date": "20210305",
    "acquisition datetime": "20210306101112.5",
}


def forms_of(value: str) -> list[bytes]:
    """Ways in which a planted value, or the telling half of it, may lie in a file."""
    words = {
        value,
        value.replace("^", " "),
        *(w for w in value.replace("^", " ").split(" ") if "q" in w.lower() and len(w) > 6),
    }
    if "^" in value:
        words |= {part for part in value.split("^") if len(part) > 4}
    found = []
    for word in words:
        for form in {word, word.lower(), word.upper()}:
            raw = form.encode()
            found += [raw, form.encode("utf-16-le"), form.encode("utf-16-be"), form.encode("gb18030")]
            if len(raw) > 8:
                found += [base64.b64encode(b"\0" * n + raw)[4:-4] for n in range(3)]
    return [f for f in dict.fromkeys(found) if len(f) > 3]


def survivors(data: bytes, planted: dict[str, str]) -> list[str]:
    """Kinds of which any form is in the bytes."""
    return sorted(kind for kind, value in planted.items() if any(form in data for form in forms_of(value)))


def tree_survivors(folder: Path, planted: dict[str, str]) -> dict[str, list[str]]:
    """Kinds that survive in any file, file name or folder name below a folder."""
    found: dict[str, list[str]] = {}
    for path in folder.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        kinds = survivors(str(path.relative_to(folder)).encode() + b"\n" + content, planted)
        if kinds:
            found[path.name] = kinds
    return found


def _element(tag, vr: str, value) -> DataElement:
    return DataElement(tag, vr, value, validation_mode=pydicom.config.IGNORE)


def plant(ds: pydicom.FileDataset, planted: dict[str, str] = PLANTED) -> bytes:
    """The file with every planted value in its place, past pydicom's checks."""
    p = planted
    simple = {
        "PatientName": "patient name", "PatientID": "patient id", "OtherPatientIDs": "other patient id",
        "OtherPatientNames": "other patient name", "PatientMotherBirthName": "mother's name",
        "PatientBirthDate": "birth date", "PatientBirthTime": "birth time", "PatientAddress": "address",
        "PatientTelephoneNumbers": "phone", "AccessionNumber": "accession", "StudyID": "study id",
        "InstitutionName": "institution", "InstitutionAddress": "institution address",
        "InstitutionalDepartmentName": "department", "ReferringPhysicianName": "referring physician",
        "PerformingPhysicianName": "performing physician", "OperatorsName": "operator",
        "PhysiciansOfRecord": "physician of record", "StationName": "station", "DeviceSerialNumber": "serial number",
        "StudyDescription": "study description", "SeriesDescription": "series description", "ProtocolName": "protocol",
        "ImageComments": "image comments", "PatientComments": "patient comments", "AdditionalPatientHistory": "history",
        "Occupation": "occupation", "PatientReligiousPreference": "religion", "Allergies": "allergies",
        "CountryOfResidence": "country", "RetrieveAETitle": "retrieve AE title", "ContentCreatorName": "content creator",
        "ClinicalTrialSiteName": "clinical trial", "IssuerOfPatientID": "issuer",
        "InsurancePlanIdentification": "insurance", "CurrentPatientLocation": "visit location",
        "ReasonForStudy": "request reason", "GPSLatitudeRef": "GPS", "PatientState": "comment in base64",
        "StudyInstanceUID": "study uid", "SeriesInstanceUID": "series uid", "SOPInstanceUID": "instance uid",
        "FrameOfReferenceUID": "frame of reference uid", "StudyDate": "study date",
        "AcquisitionDateTime": "acquisition datetime",
    }  # fmt: skip
    for keyword, kind in simple.items():
        tag = pydicom.datadict.tag_for_keyword(keyword)
        ds.add(_element(tag, pydicom.datadict.dictionary_VR(tag), p[kind]))
    request, inner = Dataset(), Dataset()
    request.add(_element("RequestedProcedureID", "SH", p["requested procedure id"]))
    request.add(_element("ScheduledProcedureStepID", "SH", p["scheduled step id"]))
    ds.RequestAttributesSequence = Sequence([request])
    inner.add(_element("PersonName", "PN", p["nested name"]))
    inner.add(_element("ContributionDescription", "ST", p["nested comment"]))
    inner.add_new(0x00110010, "LO", "QUONDLE 1")
    inner.add(_element(0x00111001, "LO", p["private nested"]))
    ds.ContributingEquipmentSequence = Sequence([inner])
    old, attributes = Dataset(), Dataset()
    old.add(_element("PatientName", "PN", p["modified attributes"]))
    attributes.ModifiedAttributesSequence = Sequence([old])
    ds.OriginalAttributesSequence = Sequence([attributes])
    code = Dataset()
    code.add(_element("CodeValue", "SH", p["local code"]))
    code.CodingSchemeDesignator = "99QUON"
    code.add(_element("CodeMeaning", "LO", p["local code"]))
    ds.ProcedureCodeSequence = Sequence([code])
    ds.add_new(0x00090010, "LO", "QUONDLE 1")
    ds.add(_element(0x00091001, "LT", p["private text"]))
    named = Dataset()
    named.add(_element("PatientName", "PN", p["private sequence name"]))
    ds.add_new(0x00091002, "SQ", Sequence([named]))
    ds.add_new(0x00091003, "OB", p["private bytes"].encode() + b"\0")
    ds.add_new(0x00091004, "OB", p["private utf-16"].encode("utf-16-le"))
    ds.add(_element(0x60004000, "LT", p["overlay comment"]))
    ds.add_new(0x60003000, "OW", p["overlay bits"].encode())
    ds.add(_element(0x50000022, "LO", p["curve label"]))
    ds.add_new(0xFFFCFFFC, "OB", p["trailing padding"].encode() + b"\0")
    ds.add_new("SpacingBetweenSlices", "DS", _PLACEHOLDER)
    ds.add(_element("EchoTime", "LO", p["text under another VR"]))
    ds.add(_element(0x00187F01, "LO", p["unknown public attribute"]))
    if "PixelData" in ds:
        slack = p["pixel slack"].encode()
        ds.PixelData = ds.PixelData + slack + b"\0" * (len(slack) % 2)
    ds.preamble = p["preamble"].encode().ljust(128, b"\0")
    ds.file_meta.SourceApplicationEntityTitle = p["source AE title"]
    ds.file_meta.MediaStorageSOPInstanceUID = UID(p["instance uid"])
    ds.file_meta.PrivateInformationCreatorUID = UID(p["study uid"] + ".9")
    ds.file_meta.PrivateInformation = p["private meta"].encode() + b"\0" * (len(p["private meta"]) % 2)
    return to_bytes(ds).replace(_PLACEHOLDER.encode(), p["text in a number"].encode())


_PLACEHOLDER = "75315985201"  # pydicom does not write words as numbers


def to_bytes(ds: pydicom.FileDataset) -> bytes:
    """The file as it would lie on the disk."""
    buffer = io.BytesIO()
    with quiet():
        dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


def real(name: str) -> pydicom.FileDataset:
    """A file of pydicom or pydicom-data."""
    path = get_testdata_file(name, download=False)
    assert path, f"{name} is not in pydicom or pydicom-data"
    return pydicom.dcmread(str(path))


@pytest.fixture(scope="session")
def planted() -> dict[str, str]:
    return PLANTED


@pytest.fixture(scope="session")
def plant_file() -> Callable[..., bytes]:
    return plant


@pytest.fixture(scope="session")
def real_file() -> Callable[[str], pydicom.FileDataset]:
    return real


@pytest.fixture(scope="session")
def file_bytes() -> Callable[[pydicom.FileDataset], bytes]:
    return to_bytes


@pytest.fixture(scope="session")
def scan_bytes() -> Callable[[bytes, dict[str, str]], list[str]]:
    return survivors


@pytest.fixture(scope="session")
def scan_tree() -> Callable[[Path, dict[str, str]], dict[str, list[str]]]:
    return tree_survivors


@pytest.fixture
def keys() -> Keys:
    return Keys(bytes(range(32)))


@pytest.fixture
def context(keys) -> Callable[..., Context]:
    """A context without OCR, which has tests of its own."""

    def make(known: Known | None = None, profile=None, cleaner=None, **options) -> Context:
        chosen = Options(**{"clean_pixels": False, **options})
        return Context(keys, chosen, known or Known(), profile=profile, cleaner=cleaner)

    return make


def _item(kind: str, concept: tuple[str, str], **values) -> Dataset:
    item, name = Dataset(), Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", kind
    name.CodeValue, name.CodingSchemeDesignator, name.CodeMeaning = concept[0], "DCM", concept[1]
    item.ConceptNameCodeSequence = Sequence([name])
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


@pytest.fixture(scope="session")
def report_object() -> Callable[..., pydicom.FileDataset]:
    """A comprehensive SR with observers, free text, a measurement and a reference to an image."""

    def make(text: str, patient: str, patient_id: str, image_uid: str, image_class: str) -> pydicom.FileDataset:
        ds = Dataset()
        ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.33"
        ds.SOPInstanceUID = image_uid + ".77"
        ds.StudyInstanceUID, ds.SeriesInstanceUID = PLANTED["study uid"], PLANTED["series uid"] + ".5"
        ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = patient, patient_id, "19310717", "F"
        ds.Modality, ds.StudyDate, ds.StudyTime, ds.SeriesNumber, ds.InstanceNumber = "SR", "20210305", "101500", 9, 1
        ds.ContentDate, ds.ContentTime, ds.AccessionNumber, ds.StudyID = "20210305", "111500", "ACX5550199", "1"
        ds.ReferringPhysicianName, ds.Manufacturer = "Ogilthorpe^Penrhyn", "medvlm tests"
        ds.CompletionFlag, ds.VerificationFlag, ds.ReferencedPerformedProcedureStepSequence = "COMPLETE", "VERIFIED", []
        verifier = Dataset()
        verifier.VerifyingObserverName, verifier.VerifyingOrganization = "Signhelm^Quorra", "Klinikum Zurbelfingen"
        verifier.VerificationDateTime = "20210305120000"
        verifier.VerifyingObserverIdentificationCodeSequence = []
        ds.VerifyingObserverSequence = Sequence([verifier])
        ds.PerformedProcedureCodeSequence = []
        title = Dataset()
        title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning = "126000", "DCM", "Imaging Measurement Report"
        ds.ValueType, ds.ConceptNameCodeSequence, ds.ContinuityOfContent = "CONTAINER", Sequence([title]), "SEPARATE"
        units, number, measured = Dataset(), Dataset(), Dataset()
        units.CodeValue, units.CodingSchemeDesignator, units.CodeMeaning = "mm", "UCUM", "mm"
        number.NumericValue, number.MeasurementUnitsCodeSequence = "34.5", Sequence([units])
        years, age = Dataset(), Dataset()
        years.CodeValue, years.CodingSchemeDesignator, years.CodeMeaning = "a", "UCUM", "year"
        age.NumericValue, age.MeasurementUnitsCodeSequence = "93", Sequence([years])
        measured = _item("NUM", ("G-D7FE", "Length"), MeasuredValueSequence=Sequence([number]))
        measured.ConceptNameCodeSequence[0].CodingSchemeDesignator = "SRT"
        reference, image = Dataset(), _item("IMAGE", ("121112", "Source of Measurement"))
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = image_class, image_uid
        image.ReferencedSOPSequence = Sequence([reference])
        ds.ContentSequence = Sequence(
            [
                _item("PNAME", ("121008", "Person Observer Name"), PersonName="Lookwell^Tamsin"),
                _item("TEXT", ("121013", "Device Observer Name"), TextValue="ZURBELCT07"),
                _item("UIDREF", ("121012", "Device Observer UID"), UID=PLANTED["study uid"] + ".8"),
                _item("PNAME", ("121029", "Subject Name"), PersonName=patient),
                _item("TEXT", ("121030", "Subject ID"), TextValue=patient_id),
                _item("DATE", ("121031", "Subject Birth Date"), Date="19310717"),
                _item("NUM", ("121033", "Subject Age"), MeasuredValueSequence=Sequence([age])),
                _item("DATE", ("111060", "Study Date"), Date="20210305"),
                _item("TEXT", ("121071", "Finding"), TextValue=text),
                measured,
                image,
            ]
        )
        study, series, evidence = Dataset(), Dataset(), Dataset()
        evidence.ReferencedSOPClassUID, evidence.ReferencedSOPInstanceUID = image_class, image_uid
        series.SeriesInstanceUID, series.ReferencedSOPSequence = PLANTED["series uid"], Sequence([evidence])
        study.StudyInstanceUID, study.ReferencedSeriesSequence = PLANTED["study uid"], Sequence([series])
        ds.CurrentRequestedProcedureEvidenceSequence = Sequence([study])
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.1")
        ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = (
            ds.SOPClassUID,
            ds.SOPInstanceUID,
        )
        return pydicom.FileDataset("", ds, preamble=b"\0" * 128, file_meta=ds.file_meta)

    return make
