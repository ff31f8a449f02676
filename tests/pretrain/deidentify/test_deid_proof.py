"""The proof refuses what a cleaner with a hole lets through: each kind of cleaning is switched off, one at a time."""

# ruff: noqa: E501  (planted sentences are not folded)

import pytest
from pydicom.datadict import tag_for_keyword

from pretrain.deidentify import dataset, objects
from pretrain.deidentify.errors import LeakError
from pretrain.deidentify.evidence import Identifier
from pretrain.deidentify.known import Known, Patient
from pretrain.deidentify.objects import deidentify_object
from pretrain.deidentify.options import Options
from pretrain.deidentify.profile import Action, Profile
from pretrain.deidentify.proof import Proof
from pretrain.deidentify.reports import clean_report
from pretrain.deidentify.text import KINDS, TextCleaner

WORDS = """
PatientName PatientID OtherPatientIDs OtherPatientNames PatientMotherBirthName PatientBirthDate PatientAddress
PatientTelephoneNumbers AccessionNumber StudyID InstitutionName InstitutionAddress InstitutionalDepartmentName
ReferringPhysicianName PerformingPhysicianName OperatorsName PhysiciansOfRecord StationName DeviceSerialNumber
StudyDescription SeriesDescription ProtocolName ImageComments PatientComments AdditionalPatientHistory Occupation
PatientReligiousPreference Allergies CountryOfResidence RetrieveAETitle ContentCreatorName ClinicalTrialSiteName
IssuerOfPatientID InsurancePlanIdentification CurrentPatientLocation ReasonForStudy StudyInstanceUID SeriesInstanceUID
SOPInstanceUID FrameOfReferenceUID StudyDate AcquisitionDateTime RequestAttributesSequence OriginalAttributesSequence
""".split()


class WithHole(Profile):
    """Keeps, untouched, what it is told to."""

    def __init__(self, options, hole):
        super().__init__(options)
        self.hole = hole

    def action(self, tag, vr, creator=None):
        if self.hole(tag, vr):
            return Action.RECURSE if vr == "SQ" else Action.KEEP
        return super().action(tag, vr, creator)


@pytest.fixture
def leaky(context, monkeypatch):
    """A context whose profile keeps some elements; the guard that knows names is off, as it would also catch them."""

    def make(hole, **options):
        chosen = context(**options)
        monkeypatch.setattr(TextCleaner, "names_known", lambda *_: False)
        return context(profile=WithHole(chosen.options, hole), **options)

    return make


@pytest.mark.parametrize("word", WORDS)
def test_an_attribute_that_is_kept_is_caught(word, real_file, plant_file, leaky):
    tag = tag_for_keyword(word)
    inside = word.endswith("Sequence")
    kept = {"RequestedProcedureID", "ScheduledProcedureStepID", "PatientName", "ModifiedAttributesSequence"}
    tags = {tag} | ({tag_for_keyword(k) for k in kept} if inside else set())
    with pytest.raises(LeakError) as caught:
        deidentify_object(plant_file(real_file("CT_small.dcm")), "a", leaky(lambda t, vr: t in tags))
    assert caught.value.found


@pytest.mark.parametrize(
    "hole, kind",
    [
        (lambda tag, vr: tag.is_private and vr != "SQ", "private"),
        (lambda tag, vr: (tag.is_private and (vr == "SQ" or vr == "PN")) or tag == 0x00100010, "name"),
        (lambda tag, vr: vr == "UI", "uid"),
        (lambda tag, vr: vr in ("DA", "DT"), "date"),
        (lambda tag, vr: vr == "PN", "name"),
        (lambda tag, vr: tag.group & 0xFF00 == 0x6000 and vr == "LT", "text"),
        (lambda tag, vr: tag.group & 0xFF00 == 0x5000, "text"),
    ],
)
def test_a_kind_that_is_kept_is_caught(hole, kind, real_file, plant_file, leaky):
    with pytest.raises(LeakError) as caught:
        deidentify_object(plant_file(real_file("CT_small.dcm")), "a", leaky(hole))
    assert kind in {found for found, _place in caught.value.found}
    assert "uist" not in str(caught.value) and "uixotzer" not in str(caught.value)


def test_preamble_and_file_meta_are_searched(real_file, plant_file, planted, context, monkeypatch):
    made = objects._as_file
    data = plant_file(real_file("CT_small.dcm"))
    for keep, kind in (
        ("preamble", "preamble"),
        ("SourceApplicationEntityTitle", "file meta"),
        ("PrivateInformation", "file meta"),
    ):

        def leaving(out, source, given, keep=keep):
            file = made(out, source, given)
            if keep == "preamble":
                file.preamble = source.preamble
            else:
                setattr(file.file_meta, keep, source.ds.file_meta.get(keep))
                file.file_meta.PrivateInformationCreatorUID = "1.2.3"
            return file

        monkeypatch.setattr(objects, "_as_file", leaving)
        with pytest.raises(LeakError) as caught:
            deidentify_object(data, "a", context())
        assert kind in {found for found, _place in caught.value.found}


def test_slack_behind_the_pixels_is_searched(real_file, plant_file, context, monkeypatch):
    made = objects.put_pixels

    def leaving(out, stored):
        made(out, stored)
        out.PixelData = out.PixelData + b"QZ-0048151623 "

    monkeypatch.setattr(objects, "put_pixels", leaving)
    with pytest.raises(LeakError) as caught:
        deidentify_object(plant_file(real_file("CT_small.dcm")), "a", context())
    assert ("id", "pixel data") in caught.value.found


def test_codes_and_words_of_the_path_are_searched(real_file, plant_file, context, monkeypatch):
    data = plant_file(real_file("CT_small.dcm"))
    monkeypatch.setattr(dataset, "is_published", lambda item: True)
    monkeypatch.setattr(dataset, "clean_meaning", lambda item: item.CodeMeaning)
    with pytest.raises(LeakError) as caught:
        deidentify_object(data, "a", context())
    assert "text" in {kind for kind, _place in caught.value.found}
    monkeypatch.undo()
    monkeypatch.setattr(dataset, "REMOVED", "Pathquist Zora")
    with pytest.raises(LeakError) as caught:
        deidentify_object(data, "Pathquist Zora/x.dcm", context())
    assert {kind for kind, _place in caught.value.found} == {"path"}


TEXT = (
    "Dictated by: Nadine Scribequist, MD. Born on 17 July 1931, 93-year-old. Seen 2021-03-05 at Zurbel Valley Hospital. "
    "Call 555-201-7788 or write p.ogil@zurbel.org, http://zurbel.org/x. MRN: 7781203345. 12 Elmquist Street. "
    "Study 1.2.276.0.7230010.3.99.1.48151623.1. 5 mm nodule."
)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_free_text_that_is_left_is_caught(kind, keys):
    options, known = Options(), Known()
    patient = Patient("qz1", {"Quixotzer^Brammelda"}, {"QZ1"}, set(), {"4815 Zwirbelnock Terrace"})
    finder = TextCleaner(keys, options, known)
    whole = clean_report(TEXT, patient, finder, finder)
    assert "5 mm nodule" in whole.text and whole.counts[kind] >= 1
    with pytest.raises(LeakError):
        clean_report(TEXT, patient, TextCleaner(keys, options, known, [k for k in KINDS if k != kind]), finder)


@pytest.mark.parametrize(
    "identifier, leak, innocent",
    [
        (Identifier("name", "Costa^Li"), b"seen by Costa", b"COSTAL margin, costae"),
        (Identifier("name", "Brown^Ann"), b"Ann Brown", b"brown discoloration"),
        (Identifier("id", "123456"), b"id 123456.", b"0.123456 1.2.123456.7 91234567"),
        (Identifier("date", "20210305"), b"on 3/5/2021", b"on 3/5/20219 and 20210306"),
        (Identifier("date", "20210305"), b"20210305101112", b"9920210305 202103059999"),
        (Identifier("date", "20210305"), "2021年3月5日".encode(), "2021年3月15日".encode()),
        (Identifier("name", "Vornhagedal^Oda"), "VORNHAGEDAL".encode("utf-16-le"), b"V.O.R"),
        (Identifier("name", "Vornhagedal^Oda"), b"eHhWb3JuaGFnZWRhbA==", b"eHhWb3JuaGFn"),
        (Identifier("name", "张^三丰"), "报告：张三丰".encode("gb18030"), "报告：张三".encode("gb18030")),
        (Identifier("name", "Müller^Jürgen"), "JÜRGEN".encode("latin-1"), b"jrgen"),
        (Identifier("contact", "12 Elmquist Street"), b"12%20Elmquist%20Street", b"12 Elm Street"),
        (Identifier("uid", "1.2.840.99.1.2.3"), b"1.2.840.99.1.2.3\0", b"1.2.840.99.1.2.34 1.2.840.99.1.2.3.5"),
        (Identifier("age", "093Y"), b"093Y", b"1093Y"),
    ],
)
def test_what_counts_as_found(identifier, leak, innocent):
    for data, expected in ((leak, 1), (innocent, 0), (b"T\0" + leak + b"T\0", 1)):
        proof = Proof([identifier])
        proof.raw(data, "here")
        assert bool(proof.found) is bool(expected), data
