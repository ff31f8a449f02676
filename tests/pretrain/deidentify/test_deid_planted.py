"""Planted identities: a file's own bytes do not hold one of them afterwards, whatever place they were planted in."""

# ruff: noqa: E501  (planted sentences are not folded)

import io
import logging
import warnings

import numpy as np
import pydicom
import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence

from pretrain.deidentify.errors import NotCoveredError, RefusedError
from pretrain.deidentify.objects import deidentify_object
from vlm.imaging.decode import quiet

FILES = ["CT_small.dcm", "MR_small.dcm", "examples_rgb_color.dcm", "RG1_UNCR.dcm"]  # CT, MR, US, CR


def small(ds: pydicom.FileDataset, side: int = 160) -> pydicom.FileDataset:
    """The upper left corner of a large picture."""
    if ds.Rows > 1000:
        ds.PixelData = np.ascontiguousarray(ds.pixel_array[:side, :side]).tobytes()
        ds.Rows = ds.Columns = side
    return ds


@pytest.mark.parametrize("name", FILES)
def test_no_planted_identity_survives(name, real_file, plant_file, planted, scan_bytes, context):
    before = plant_file(small(real_file(name)))
    there = scan_bytes(before, planted)
    assert len(there) >= 55, set(planted) - set(there)  # the planting itself works
    cleaned = deidentify_object(before, "Pathquist^Zora/IM1.dcm", context())
    assert scan_bytes(cleaned.data, planted) == []
    assert b"athquist" not in cleaned.data and b"PATHQUIST" not in cleaned.data


def test_the_scan_would_see_each_kind(real_file, plant_file, planted, scan_bytes):
    """A scan that finds nothing in anything proves nothing."""
    data = plant_file(real_file("CT_small.dcm"))
    assert set(planted) - set(scan_bytes(data, planted)) == set()


def test_a_report_object_keeps_its_findings_and_loses_its_people(
    real_file, plant_file, planted, report_object, file_bytes, scan_bytes, context
):
    ct = real_file("CT_small.dcm")
    text = (
        "Mrs. Brammelda Quixotzer, MRN QZ-0048151623, seen on 03/05/2021 and on June 2, 2019 at Klinikum Zurbelfingen. "
        "34.5 mm mass in the left lower lobe (T2 bright), L4-L5 disc, 12/5 mm nodule, no effusion. "
        "Discussed with Dr. Lookwell by phone 555-201-7788, mail p.ogil@zurbel.org. Dictated by: Nadine Scribequist, MD."
    )
    ds = report_object(text, planted["patient name"], planted["patient id"], planted["instance uid"], ct.SOPClassUID)
    more = {
        "observer": "Lookwell^Tamsin",
        "verifier": "Signhelm^Quorra",
        "dictator": "Scribequist",
        "phone in text": "555-201-7788",
        "mail": "p.ogil@zurbel.org",
        "date in text": "03/05/2021",
        "written date": "June 2, 2019",
    }
    data = file_bytes(ds)
    assert set(more) <= set(scan_bytes(data, more))
    cleaned = deidentify_object(data, "sr.dcm", context())
    assert scan_bytes(cleaned.data, {**planted, **more}) == []
    after = pydicom.dcmread(io.BytesIO(cleaned.data))
    items = after.ContentSequence
    finding = next(i.TextValue for i in items if i.ConceptNameCodeSequence[0].CodeValue == "121071")
    for phrase in ("34.5 mm mass in the left lower lobe (T2 bright)", "L4-L5 disc", "12/5 mm nodule, no effusion"):
        assert phrase in finding
    number = next(i for i in items if i.ConceptNameCodeSequence[0].CodeValue == "G-D7FE").MeasuredValueSequence[0]
    assert number.NumericValue == 34.5 and number.MeasurementUnitsCodeSequence[0].CodeValue == "mm"
    assert [i.ValueType for i in items].count("NUM") == 2 and len(items) == len(ds.ContentSequence)
    age = next(i for i in items if i.ConceptNameCodeSequence[0].CodeValue == "121033").MeasuredValueSequence[0]
    assert age.NumericValue == 90


def test_bits_above_bits_stored_are_cut(real_file, file_bytes, context):
    """An old overlay lives in the unused bits of the pixels; the picture is what is below."""
    ds = real_file("CT_small.dcm")
    ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 12, 11, 0
    pixels = np.random.default_rng(1).integers(0, 4096, ds.pixel_array.shape).astype(np.uint16)
    hidden = np.zeros_like(pixels)
    hidden[10:20, 10:60] = 0x8000
    ds.PixelData = (pixels | hidden).tobytes()
    after = pydicom.dcmread(io.BytesIO(deidentify_object(file_bytes(ds), "a", context()).data))
    assert np.array_equal(np.frombuffer(after.PixelData, "<u2").reshape(pixels.shape), pixels)


def test_what_no_rule_covers_is_refused(real_file, file_bytes, context):
    cases = {}
    signed = real_file("CT_small.dcm")
    signed.add_new(0xFFFAFFFA, "SQ", Sequence([pydicom.Dataset()]))
    cases["digital_signature"] = signed
    inside, item = real_file("CT_small.dcm"), pydicom.Dataset()
    item.add_new(0x04000520, "OB", b"\1\2")
    inside.SourceImageSequence = Sequence([item])
    cases["digital_signature "] = inside
    document = real_file("CT_small.dcm")
    document.add_new(0x00420011, "OB", b"%PDF")
    cases["encapsulated_document"] = document
    strange = real_file("CT_small.dcm")
    strange.SOPClassUID = "1.2.3.4.5.6"
    cases["sop_class"] = strange
    cases["radiotherapy"] = real_file("rtplan.dcm")
    cases["derived_object"] = real_file("liver_1frame.dcm")
    for code, ds in cases.items():
        with pytest.raises(NotCoveredError) as caught:
            deidentify_object(file_bytes(ds), "a", context())
        assert caught.value.code == code.strip()


def test_a_header_that_admits_burned_in_text_needs_ocr(real_file, file_bytes, context):
    ds = real_file("CT_small.dcm")
    ds.BurnedInAnnotation = "YES"
    with pytest.raises(NotCoveredError) as caught:
        deidentify_object(file_bytes(ds), "a", context())
    assert caught.value.code == "burned_in"


def test_no_value_reaches_log_warning_stream_or_error(
    real_file, plant_file, planted, scan_bytes, context, caplog, capfd
):
    """Also of files that are damaged anywhere: pydicom quotes values in warnings, logs and exceptions."""
    caplog.set_level(logging.DEBUG)
    data = plant_file(real_file("CT_small.dcm"))
    capfd.readouterr(), caplog.clear()
    said = []
    rng = np.random.default_rng(3)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        for n in range(60):
            broken = bytearray(data)
            for at in rng.integers(132, 6000, n // 4):
                broken[at] = int(rng.integers(256))
            broken = bytes(broken[: int(rng.integers(400, len(data)))] if n % 3 == 0 else broken)
            try:
                cleaned = deidentify_object(broken, "Pathquist/a.dcm", context())
                assert set(scan_bytes(cleaned.data, planted)) <= {"unknown public attribute"}
            except RefusedError as error:
                said += [str(error), repr(error), repr(error.__context__), repr(error.__cause__)]
    out, err = capfd.readouterr()
    said += [out, err, caplog.text, *(str(w.message) for w in heard)]
    assert len(said) > 10
    assert scan_bytes("\n".join(said).encode(), {**planted, "path": "Pathquist"}) == []


def _planted(ds: pydicom.FileDataset, keyword: str, value) -> pydicom.FileDataset:
    ds.add(DataElement(keyword, dictionary_VR(tag_for_keyword(keyword)), value, validation_mode=pydicom.config.IGNORE))
    return ds


@pytest.mark.parametrize(
    "keyword, value",
    [
        ("LUTExplanation", "for Quembolee"), ("WindowCenterWidthExplanation", ["Dr Quembolee", "LUNG"]), ("TransducerData", "Quembolee"),
        ("StackID", "Quembolee"), ("LUTLabel", "QUEMBOLEE"), ("DimensionDescriptionLabel", "Quembolee"), ("DataPathID", "QUEMBOLEE"),
        ("SegmentAlgorithmName", "Quembolee"), ("RescaleType", "HU by Quembolee"), ("CodingSchemeDesignator", "99QUEMBOLEE"),
        ("SoftwareVersions", "2.1 patched by Dr. Quembolee"), ("BodyPartExamined", "QUEMBOLEE"), ("PatientPosition", "ID 0079241539"),
        ("ViewPosition", "19310717"), ("StudyDescription", "CHEST 01/02/19 Quembolee"), ("SeriesDescription", "ABD 123-456-789"),
        ("AcquisitionContextDescription", "Quembolee"), ("FrameLabel", "Quembolee"), ("MultiCoilConfiguration", "Quembolee"),
    ],
)  # fmt: skip
def test_unknown_words_and_numbers_leave_attributes_that_people_type_in(keyword, value, real_file, file_bytes, context):
    data = file_bytes(_planted(real_file("CT_small.dcm"), keyword, value))
    after = deidentify_object(data, "a", context()).data
    for word in (b"uembolee", b"UEMBOLEE", b"0079241539", b"19310717", b"01/02/19", b"123-456"):
        assert word not in after


def test_software_and_makers_stay(real_file, file_bytes, context):
    ds = real_file("CT_small.dcm")
    ds.SoftwareVersions, ds.Manufacturer, ds.ManufacturerModelName = (
        ["2.6.3", "2.6.3.6", "syngo CT 2012B"],
        "GE Healthcare",
        "X 5",
    )
    ds.RescaleType = "HU"
    after = pydicom.dcmread(io.BytesIO(deidentify_object(file_bytes(ds), "a", context()).data))
    for word in ("SoftwareVersions", "Manufacturer", "ManufacturerModelName", "RescaleType"):
        assert after.get(word) == ds.get(word)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"])
def test_nothing_survives_of_other_transfer_syntaxes(syntax, real_file, plant_file, planted, scan_bytes, context):
    """Implicit, big endian and deflated files; what pydicom does not write under them is left out."""
    ds = real_file("CT_small.dcm")
    plant_file(ds)
    for tag in (0x00187F01, 0x00180081, 0xFFFCFFFC, 0x00180088):
        del ds[tag]
    pixels = np.frombuffer(real_file("CT_small.dcm").PixelData, "<i2")
    ds.PixelData = (pixels.astype(">i2") if syntax.endswith(".2.2") else pixels).tobytes()
    ds.file_meta.TransferSyntaxUID = syntax
    buffer = io.BytesIO()
    file = pydicom.FileDataset("", pydicom.Dataset(ds), preamble=ds.preamble, file_meta=ds.file_meta)
    with quiet():
        order = {"implicit_vr": syntax == "1.2.840.10008.1.2", "little_endian": not syntax.endswith(".2.2")}
        dcmwrite(buffer, file, force_encoding=True, **order)
    data = buffer.getvalue()
    assert len(scan_bytes(data, planted)) >= (3 if syntax.endswith(".99") else 50)
    assert scan_bytes(deidentify_object(data, "a", context()).data, planted) == []


@pytest.mark.parametrize(
    "charset, name",
    [
        ("ISO_IR 100", "Müllerquist^Jürgen"), ("ISO_IR 144", "Люкceмбypг^Иванна"), ("GB18030", "王青^小东"), ("ISO_IR 192", "Łukaszewicz^Paweł"),
        (["", "ISO 2022 IR 87"], "Yamadaquist^Tarou=山田^太郎=やまだ^たろう"), (["", "ISO 2022 IR 149"], "Hongquist^Gildong=洪家^吉洞=홍가^길동"),
    ],
)  # fmt: skip
def test_names_of_every_character_set_leave_header_and_report(
    charset, name, real_file, report_object, file_bytes, context
):
    ct = real_file("CT_small.dcm")
    plain = " ".join(name.replace("=", "^").split("^"))
    ct.SpecificCharacterSet, ct.PatientName, ct.PatientComments = charset, name, plain
    sr = report_object(f"Seen: {plain}. 5 mm.", name, "QZ-1", "1.2.276.99.1", ct.SOPClassUID)
    sr.SpecificCharacterSet = charset
    parts = [part for part in plain.split(" ") if len(part) > 1]
    for ds in (ct, sr):
        after = deidentify_object(file_bytes(ds), "a", context()).data
        for part in parts:
            for encoding in (
                "utf-8",
                "gb18030",
                "shift_jis",
                "iso2022_jp",
                "euc_kr",
                "iso8859_5",
                "latin-1",
                "utf-16-le",
            ):
                try:
                    assert part.encode(encoding) not in after, (part, encoding)
                except UnicodeEncodeError:
                    continue
    assert b"5 mm" in after


def test_codes_that_are_no_codes_go(real_file, file_bytes, context):
    ds = real_file("CT_small.dcm")
    given = [
        ("SMITH48", "DCM"),
        ("0048151623", "SCT"),
        ("121071", "DCM"),
        ("39607008", "SCT"),
        ("24725-4", "LN"),
        ("48151623", "RXNORM"),
    ]
    items = []
    for value, scheme in given:
        item = pydicom.Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, "Quembolee"
        items.append(item)
    ds.ProcedureCodeSequence = Sequence(items)
    after = deidentify_object(file_bytes(ds), "a", context()).data
    kept = [i.CodeValue for i in pydicom.dcmread(io.BytesIO(after)).ProcedureCodeSequence]
    assert kept[2:5] == ["121071", "39607008", "24725-4"] and not {"SMITH48", "0048151623", "48151623"} & set(kept)
    assert b"uembolee" not in after


def test_tables_and_profiles_hold_no_text(real_file, file_bytes, context):
    from PIL import ImageCms

    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    text = profile.index(b"mluc")
    at = profile.index("sRGB".encode("utf-16-be"), text)
    profile[at : at + 8] = "Quem".encode("utf-16-be")
    ds = real_file("examples_rgb_color.dcm")
    ds.ICCProfile = bytes(profile)
    result = pydicom.dcmread(io.BytesIO(deidentify_object(file_bytes(ds), "a", context()).data))
    assert (
        len(result.ICCProfile) in (len(profile), len(profile) + 1)
        and "Quem".encode("utf-16-be") not in result.ICCProfile
    )
    assert ImageCms.ImageCmsProfile(io.BytesIO(result.ICCProfile)).profile.xcolor_space.strip() == "RGB"
    ds.ICCProfile = b"\0" * 40 + b"Copyright Klinikum Iccquist "
    ct = real_file("CT_small.dcm")
    ct.add_new("RedPaletteColorLookupTableData", "OW", b"PALETTEQUISTOLA ")
    for planted in (ds, ct):
        after = deidentify_object(file_bytes(planted), "a", context()).data
        assert b"Iccquist" not in after and b"PALETTEQUIST" not in after
