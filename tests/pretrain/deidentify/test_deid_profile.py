"""The profile against the standard's table, as another package has it, and attribute by attribute."""

# ruff: noqa: E501  (planted sentences are not folded)

import pydicom
import pytest
from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c
from pydicom.datadict import DicomDictionary, dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from pretrain.deidentify.dataset import Work, clean_header
from pretrain.deidentify.identity import walk
from pretrain.deidentify.known import Known, Patient
from pretrain.deidentify.options import Options
from pretrain.deidentify.profile import Action, Profile
from pretrain.deidentify.text import TextCleaner
from vlm.imaging.decode import quiet

SAMPLES = {
    "DA": "19330807", "DT": "19330807101112", "TM": "101112", "AS": "093Y", "UI": "1.2.276.99.1.2.3.4", "PN": "Zorblquist^Ann",
    "DS": "12.5", "IS": "4711", "US": 4711, "SS": 4711, "UL": 4711, "SL": 4711, "FL": 47.5, "FD": 47.5, "SV": 4711, "UV": 4711,
}  # fmt: skip


def sample(tag: Tag, vr: str) -> object:
    if vr == "SQ":
        item = Dataset()
        item.add(DataElement(0x00100010, "PN", "Zorblquist^Ann"))
        item.add(DataElement(0x0008103E, "LO", "Zorblquist"))
        return Sequence([item])
    if vr in ("OB", "OW", "UN", "OF", "OD", "OL", "OV"):
        return b"Zorblquist Ann  "
    return SAMPLES.get(vr, "ZORBLQUIST")


def text_of(ds: Dataset) -> str:
    return "\n".join(str(element.value) for element, _item, _private in walk(ds) if element.VR != "SQ")


@pytest.fixture
def work(keys):
    def make(**options) -> Work:
        chosen = Options(**options)
        patient = Patient("p1", {"Zorblquist^Ann"})
        return Work(patient, Profile(chosen), keys, TextCleaner(keys, chosen, Known(patients={"p1": patient})))

    return make


def test_no_value_of_the_standards_table_stays(work):
    """dicom-anonymizer 2.1.0 carries table E.1-1 (2026c): nothing in it passes under the default options."""
    stayed, seen = [], 0
    with quiet():
        for entry in dicomfields_2026c.ALL_TAGS:
            tag = Tag(entry[0], entry[1])  # of repeating groups the first
            if not pydicom.datadict.dictionary_has_tag(tag) or tag.group == 0x0002:
                continue
            vr = dictionary_VR(tag).split(" or ")[0]
            ds = Dataset()
            ds.add(DataElement(tag, vr, sample(tag, vr)))
            seen += 1
            out = text_of(clean_header(ds, work()))
            value = str(SAMPLES.get(vr, "ZORBLQUIST"))
            # Times of day stay with moved dates (option 113107); a code string is drawn from a list of the standard.
            if vr == "TM" and work().profile.action(tag, vr) is Action.TIME:
                continue
            if value in out or "orblquist" in out:
                stayed.append(f"{tag} {keyword_for_tag(tag)} {vr}")
    assert seen > 550 and stayed == []


def test_no_attribute_of_the_dictionary_keeps_free_text(work):
    """All 5,000 attributes, filled with a word that nobody knows: only those listed as technical keep it."""
    from pretrain.deidentify.identity import TECHNICAL_WORDS

    kept = []
    profile = work().profile
    for number, entry in DicomDictionary.items():
        tag, vr = Tag(number), entry[0].split(" or ")[0]
        if vr in ("LO", "SH", "ST", "LT", "UT", "UC", "UR", "PN", "AE", "OB", "UN") and tag.group != 0x0002:
            action = profile.action(tag, vr)
            if action is Action.KEEP and vr not in ("OB", "UN"):
                kept.append(keyword_for_tag(tag))
    assert set(kept) <= TECHNICAL_WORDS


@pytest.mark.parametrize(
    "keyword, vr, action",
    [
        ("PatientName", "PN", Action.PATIENT),
        ("PatientSex", "CS", Action.EMPTY),
        ("PatientWeight", "DS", Action.REMOVE),
        ("StudyDate", "DA", Action.DATE),
        ("DateOfLastCalibration", "DA", Action.REMOVE),
        ("SeriesDescription", "LO", Action.DESCRIPTION),
        ("ImageComments", "LT", Action.REMOVE),
        ("PixelSpacing", "DS", Action.NUMBER),
        ("Laterality", "CS", Action.CODE_STRING),
        ("SOPInstanceUID", "UI", Action.UID),
        ("ReferencedImageSequence", "SQ", Action.RECURSE),
        ("RequestAttributesSequence", "SQ", Action.REMOVE),
        ("Manufacturer", "LO", Action.KEEP),
        ("StationName", "SH", Action.REMOVE),
        ("InstitutionName", "LO", Action.REMOVE),
        ("StudyDescription", "OB", Action.REMOVE),
    ],
)
def test_actions(keyword, vr, action):
    assert Profile(Options()).action(Tag(keyword), vr) is action


def test_options_change_what_they_name(work):
    tag = {w: Tag(w) for w in ("PatientSex", "PatientAge", "DeviceSerialNumber", "InstitutionName", "StudyInstanceUID")}
    every = Profile(
        Options(
            keep_patient_characteristics=True, keep_device=True, keep_institution=True, keep_uids=True, dates="keep"
        )
    )
    assert every.action(tag["PatientSex"], "CS") is Action.CODE_STRING
    assert every.action(tag["PatientAge"], "AS") is Action.AGE
    assert every.action(tag["DeviceSerialNumber"], "LO") is Action.KEEP
    assert every.action(tag["InstitutionName"], "LO") is Action.KEEP
    assert every.action(tag["StudyInstanceUID"], "UI") is Action.KEEP
    assert every.action(Tag("PatientName"), "PN") is Action.PATIENT
    assert every.action(Tag("PatientBirthDate"), "DA") is Action.BIRTH


def test_a_name_in_a_technical_attribute_or_code_string_goes(work):
    ds = Dataset()
    ds.Manufacturer, ds.ConvolutionKernel, ds.ImageType = (
        "Zorblquist Inc",
        "B30f",
        ["ORIGINAL", "PRIMARY", "ZORBLQUIST"],
    )
    out = clean_header(ds, work())
    assert (
        out.Manufacturer == ""
        and out.ConvolutionKernel == "B30f"
        and list(out.ImageType) == ["ORIGINAL", "PRIMARY", ""]
    )


def test_sequences_are_followed_to_the_bottom_and_no_further(work):
    from pretrain.deidentify.errors import UnreadableError

    top = item = Dataset()
    for _ in range(30):
        inner = Dataset()
        item.ReferencedImageSequence = Sequence([inner])
        item = inner
    item.PatientName, item.ReferencedSOPInstanceUID = "Zorblquist^Ann", "1.2.276.99.5.6"
    assert "orblquist" not in text_of(clean_header(top, work())) and "1.2.276" not in text_of(clean_header(top, work()))
    for _ in range(20):
        outer = Dataset()
        outer.ReferencedImageSequence = Sequence([top])
        top = outer
    with pytest.raises(UnreadableError):
        clean_header(top, work())
