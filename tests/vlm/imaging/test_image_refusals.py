"""What is not read is refused with the right type, a code and a sentence that helps; PNG, JPEG, TIFF are read."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from vlm.imaging import (
    DamagedError,
    ImagingError,
    Limits,
    NotAnImageError,
    UnreadableError,
    UnsupportedError,
    read_header,
    read_image,
)

GREY = np.arange(24, dtype=np.uint16).reshape(4, 6)
ONE = "1.2.840.10008.1.2.4."


def refused(source, **options) -> ImagingError:
    with pytest.raises(ImagingError) as caught:
        read_image(source, sandbox=False, **options)
    assert caught.value.code and caught.value.reason
    return caught.value


@pytest.mark.parametrize(
    ("uid", "code"),
    [
        ("1.2.840.10008.5.1.4.1.1.88.11", "is_report"),
        ("1.2.840.10008.5.1.4.1.1.9.1.1", "is_waveform"),
        ("1.2.840.10008.5.1.4.1.1.104.1", "is_document"),
        ("1.2.840.10008.5.1.4.1.1.481.5", "is_radiotherapy"),
        ("1.2.840.10008.5.1.4.1.1.11.1", "is_presentation_state"),
        ("1.2.840.10008.5.1.4.1.1.66.4", "is_derived_object"),
    ],
)
def test_objects_that_are_no_images(make_dicom, uid, code):
    error = refused(make_dicom(GREY, SOPClassUID=uid))
    assert isinstance(error, NotAnImageError) and error.code == code


def test_modality_alone_can_refuse(make_dicom):
    assert refused(make_dicom(GREY, Modality="SR")).code == "is_report"


@pytest.mark.parametrize("number", ["110", "111", "112", "92", "100", "106", "107", "108", "94"])
def test_syntaxes_without_a_decoder(make_dicom, number):
    known = ONE + ("203" if len(number) == 3 else "90")  # pydicom does not write syntaxes that it does not know
    data = make_dicom(GREY, known, [b"\0\0"]).replace(known.encode(), (ONE + number).encode())
    error = refused(data)
    assert isinstance(error, UnsupportedError) and error.code.startswith("transfer_syntax") and "convert" in str(error)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"Rows": 0}, "zero_size"), ({"Columns": None}, "bad_value"), ({"NumberOfFrames": 0}, "zero_size"),
        ({"Rows": 5}, "truncated"), ({"BitsAllocated": 12}, "bits_allocated"),
        ({"PhotometricInterpretation": "HSV"}, "photometric"), ({"SamplesPerPixel": 3}, "samples"),
    ],
)  # fmt: skip
def test_headers_that_contradict_themselves(make_dicom, changes, code):
    assert refused(make_dicom(GREY, **changes)).code == code


def test_missing_frames_cost_only_themselves(make_dicom):
    data = make_dicom(GREY, NumberOfFrames=3)
    assert np.array_equal(read_image(data, sandbox=False).pixels, GREY)
    assert refused(data, frame=1).code == "truncated"


def test_number_of_frames_that_is_no_number(make_dicom):
    data = make_dicom(GREY, NumberOfFrames=11).replace(b"\x28\x00\x08\x00IS\x02\x0011", b"\x28\x00\x08\x00IS\x02\x001A")
    error = refused(data)
    assert isinstance(error, DamagedError) and error.code == "bad_value" and "1A" not in str(error)


def test_truncation_everywhere_is_typed(make_dicom):
    data = make_dicom(GREY)
    for length in range(0, len(data), 7):
        refused(data[:length])


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty_file"), (b"%PDF-1.7 and so on", "is_pdf"), (b"PK\x03\x04 zip", "is_archive"),
        (b"<!DOCTYPE html><html>", "is_markup"), (b"\0" * 500, "unknown_format"), (b"hello", "unknown_format"),
        (b"\x1f\x8b" + b"\0" * 400, "unknown_format"), (b"\0" * 128 + b"DICM", "bad_value"),
    ],
)  # fmt: skip
def test_other_files_are_named(data, code):
    error = refused(data)
    assert error.code == code or (data.endswith(b"DICM") and isinstance(error, ImagingError))


def test_paths_that_cannot_be_read(tmp_path):
    assert isinstance(refused(tmp_path / "none.dcm"), UnreadableError)
    assert "none.dcm" in str(refused(tmp_path / "none.dcm"))
    assert refused(tmp_path).code == "cannot_open"
    os.mkfifo(tmp_path / "pipe")
    assert refused(tmp_path / "pipe").code == "not_a_file"  # and it does not wait for a writer


def test_frame_out_of_range(make_dicom):
    for data in (make_dicom(GREY), png(GREY.astype(np.uint8))):
        for frame in (1, -1):
            assert refused(data, frame=frame).code == "frame_index"


def png(array: np.ndarray, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_rasters_keep_their_depth(kind, dtype):
    pixels = (np.arange(24) * (9 if dtype == np.uint8 else 2700)).astype(dtype).reshape(4, 6)
    image = read_image(png(pixels, kind), sandbox=False)
    assert image.pixels.dtype == dtype and np.array_equal(image.pixels, pixels)
    assert image.spacing_mm is None and image.units == "stored" and image.provenance.kind == kind.lower()


def test_colour_rasters():
    rgb = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    for kind in ("PNG", "TIFF"):
        assert np.array_equal(read_image(png(rgb, kind), sandbox=False).pixels, rgb)
    lossy = read_image(png(rgb, "JPEG"), sandbox=False)
    assert lossy.provenance.lossy and lossy.pixels.shape == rgb.shape and lossy.units == "rgb"


def test_transparency_is_laid_on_black_and_noted():
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[..., 0], rgba[0, :, 3] = 200, 255
    image = read_image(png(rgba), sandbox=False)
    assert image.pixels[0, 0].tolist() == [200, 0, 0] and image.pixels[1, 1].tolist() == [0, 0, 0]
    assert image.provenance.notes == ("alpha_on_black",)


def test_photograph_is_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.zeros((16, 32), np.uint8)
    assert read_image(png(pixels, "JPEG", exif=exif), sandbox=False).pixels.shape == (32, 16)


def test_pages_of_a_tiff():
    pages = [Image.fromarray(np.full((3, 3), value, np.uint8)) for value in (1, 2)]
    buffer = io.BytesIO()
    pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:])
    assert read_header(buffer.getvalue(), sandbox=False).frames == 2
    assert (read_image(buffer.getvalue(), frame=1, sandbox=False).pixels == 2).all()


def test_raster_limits_and_damage():
    data = png(np.zeros((64, 64), np.uint8))
    assert refused(data, limits=Limits(max_frame_bytes=4095)).code == "frame_too_large"
    assert refused(data[:60]).code == "damaged"
    assert isinstance(refused(png(np.zeros((4, 4, 4), np.uint8), "TIFF")[:-200] + b"\0" * 10), ImagingError)
    buffer = io.BytesIO()
    Image.new("CMYK", (4, 4)).save(buffer, "JPEG")
    assert isinstance(refused(buffer.getvalue()), UnsupportedError)


def test_header_of_every_kind(make_dicom):
    header = read_header(make_dicom(GREY, ViewPosition="PA", NumberOfFrames=1), sandbox=False)
    assert (header.kind, header.rows, header.columns, header.view_position) == ("dicom", 4, 6, "PA")
    assert header.study_uid and header.series_uid and header.instance_uid
    assert read_header(png(GREY.astype(np.uint8)), sandbox=False).kind == "png"
    data = make_dicom(GREY)
    assert read_header(data) == read_header(data, sandbox=False)
