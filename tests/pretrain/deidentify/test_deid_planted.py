"""Planted identities: a file's own bytes do not hold one of them afterwards, whatever place they were planted in."""

# ruff: noqa: E501  (planted sentences are not folded)

import io
import logging
import warnings

import numpy as np
import pydicom
import pytest
from pydicom.sequence import Sequence

from pretrain.deidentify.errors import NotCoveredError, RefusedError
from pretrain.deidentify.objects import deidentify_object

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
