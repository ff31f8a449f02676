"""A stored record gives back exactly the image that went in."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vlm.imaging import MedicalImage, Provenance, RecordError, Window, read_image

DTYPES = st.sampled_from(["u1", "i1", "<u2", "<i2", "<u4", "<i4", "<f4", "<f8"])
WINDOWS = st.lists(
    st.one_of(
        st.builds(Window, st.floats(-1e4, 1e4), st.floats(1, 1e4), st.sampled_from(["LINEAR", "SIGMOID"])),
        st.builds(
            Window, function=st.just("TABLE"), table=st.lists(st.integers(0, 4095), min_size=1).map(tuple),
            first=st.integers(-40, 40), bits=st.just(12),
        ),
    ),
    max_size=3,
)  # fmt: skip


@st.composite
def images(draw) -> MedicalImage:
    if draw(st.booleans()):
        pixels = draw(hnp.arrays(DTYPES, st.tuples(st.integers(1, 12), st.integers(1, 12))))
        units = draw(st.sampled_from(["HU", "SUVbw", "stored"]))
    else:
        pixels, units = draw(hnp.arrays("u1", st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)))), "rgb"
    valid = draw(st.one_of(st.none(), hnp.arrays(bool, pixels.shape[:2])))
    spacing = draw(st.one_of(st.none(), st.tuples(st.floats(0.01, 10), st.floats(0.01, 10))))
    six = st.tuples(*[st.floats(-1, 1)] * 6)
    return MedicalImage(
        pixels, units, spacing, "PixelSpacing" if spacing else "unknown", draw(st.sampled_from([None, "CT"])),
        draw(st.booleans()), tuple(draw(WINDOWS)), valid,
        Provenance("a" * 64, "dicom", "1.2.3", "1.2", 4, 9, "1.2.840", "MONOCHROME2", "x 1", 12, True, ("a", "b")),
        draw(st.one_of(st.none(), six)), draw(st.one_of(st.none(), st.tuples(*[st.floats(-999, 999)] * 3))),
    )  # fmt: skip


def assert_same(a: MedicalImage, b: MedicalImage) -> None:
    assert a.pixels.dtype == b.pixels.dtype and a.pixels.shape == b.pixels.shape
    assert a.pixels.tobytes() == b.pixels.tobytes()
    assert (a.valid is None) == (b.valid is None)
    assert a.valid is None or (a.valid == b.valid).all()
    for name in (
        "units",
        "spacing_mm",
        "spacing_source",
        "modality",
        "inverted",
        "windows",
        "provenance",
        "orientation",
        "position_mm",
    ):
        assert getattr(a, name) == getattr(b, name), name


@settings(deadline=None)
@given(images())
def test_round_trip(image):
    data, meta = image.to_record()
    assert_same(image, MedicalImage.from_record(data, json.loads(json.dumps(meta))))


@pytest.mark.parametrize(
    "name", ["693_J2KR.dcm", "CT_small.dcm", "vlut_04.dcm", "MR2_UNCR.dcm", "US1_UNCR.dcm", "eCT_Supplemental.dcm"]
)
def test_round_trip_of_real_images(corpus, name):
    image = read_image(corpus[name])
    data, meta = image.to_record()
    assert_same(image, MedicalImage.from_record(data, json.loads(json.dumps(meta))))


def test_grey_integers_are_png_and_floats_are_npy(make_dicom):
    ct = read_image(make_dicom(np.full((4, 4), -5, np.int16)), sandbox=False)
    assert ct.to_record()[0].startswith(b"\x89PNG")
    mr = read_image(make_dicom(np.full((4, 4), 5, np.int16), RescaleSlope="0.3", RescaleIntercept="0"), sandbox=False)
    assert mr.to_record()[0].startswith(b"\x93NUMPY")


def test_broken_records_are_refused():
    data, meta = MedicalImage(
        np.zeros((3, 3), np.int16), "HU", None, "unknown", None, False, (), None, Provenance("0" * 64, "array")
    ).to_record()
    object_array = (
        b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1, 1), }".ljust(128)
        + b"\n"
        + b"\0" * 16
    )
    cases = [
        (data[:20], meta), (b"", meta), (data, {}), (data, {**meta, "dtype": "|O"}),
        (data, {**meta, "encoding": "npy"}),
        (data, {**meta, "valid": {"bits": "!"}}), (object_array, {**meta, "encoding": "npy"}),
        (data, {**meta, "spacing_mm": [1]}),
        (data, {**meta, "windows": [{"center": "x"}]}), (data, {**meta, "provenance": {"sha256": "0"}}),
    ]  # fmt: skip
    for bad_data, bad_meta in cases:
        with pytest.raises(RecordError):
            MedicalImage.from_record(bad_data, bad_meta)
