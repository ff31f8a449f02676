"""DICOM to physical values, on small files whose right answer is known by hand."""

import io

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from vlm.imaging import DamagedError, Window, read_frames, read_header, read_image


def read(data: bytes, **options):
    return read_image(data, sandbox=False, **options)


def item(**attributes) -> Dataset:
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def ramp(dtype, start=0, rows=4, columns=6) -> np.ndarray:
    return (np.arange(rows * columns) + start).astype(dtype).reshape(rows, columns)


def test_ct_becomes_hounsfield_units(make_dicom):
    image = read(make_dicom(ramp(np.uint16), BitsStored=12, HighBit=11, RescaleSlope="1", RescaleIntercept="-1024"))
    assert image.units == "HU" and image.pixels.dtype == np.int16
    assert (image.pixels == ramp(int) - 1024).all()


@pytest.mark.parametrize(
    ("dtype", "slope", "intercept", "expected"),
    [
        (np.uint16, 1, -1024, np.int32),  # 16 stored bits may reach 64511
        (np.int16, 1, -1024, np.int32),
        (np.uint16, -1, 65535, np.uint16),
        (np.uint8, 3, -10, np.int16),
        (np.uint16, 0.5, 0, np.float32),
        (np.int16, 1, 0.25, np.float32),
    ],
)
def test_rescale_is_exact_in_every_number_type(make_dicom, dtype, slope, intercept, expected):
    info = np.iinfo(dtype)
    stored = np.linspace(info.min, info.max, 24).astype(dtype).reshape(4, 6)
    image = read(make_dicom(stored, RescaleSlope=str(slope), RescaleIntercept=str(intercept)))
    assert image.pixels.dtype == expected
    assert (image.pixels == (stored.astype(np.float64) * slope + intercept).astype(expected)).all()


def test_float_rescale_is_good_to_a_few_units_in_the_last_place(make_dicom):
    stored = np.resize(np.arange(-32768, 32768), (300, 300)).astype(np.int16)
    image = read(make_dicom(stored, RescaleSlope="0.0012345", RescaleIntercept="-3.5"))
    assert np.abs(image.pixels - (stored * 0.0012345 - 3.5)).max() < 40 * 2e-7


def test_broken_rescale_is_refused_and_broken_window_is_not(make_dicom):
    good = make_dicom(
        ramp(np.int16), RescaleSlope="1.250", RescaleIntercept="0", WindowCenter="40.00", WindowWidth="80.00"
    )
    with pytest.raises(DamagedError) as caught:
        read(good.replace(b"1.250 ", b"SMITH "))
    assert caught.value.code == "bad_value" and "SMITH" not in str(caught.value)
    assert read(good.replace(b"40.00 ", b"SMITH ")).windows == ()


def test_modality_lut_sequence_comes_before_slope(make_dicom):
    lut = item(LUTDescriptor=[4, 2, 16], LUTData=np.array([10, 20, 30, 40], "<u2").tobytes(), ModalityLUTType="OD")
    data = make_dicom(ramp(np.uint8), RescaleSlope="5", RescaleIntercept="0", ModalityLUTSequence=Sequence([lut]))
    image = read(data)
    assert image.units == "OD"
    assert image.pixels.ravel()[:8].tolist() == [10, 10, 10, 20, 30, 40, 40, 40]


def test_voi_lut_comes_before_windows_and_both_are_kept(make_dicom):
    lut = item(LUTDescriptor=[3, 1, 8], LUTData=np.array([0, 100, 255], "<u2").tobytes())
    data = make_dicom(ramp(np.uint8), VOILUTSequence=Sequence([lut]), WindowCenter=["5", "6"], WindowWidth=["7", "8"])
    windows = read(data).windows
    assert [w.function for w in windows] == ["TABLE", "LINEAR", "LINEAR"]
    assert windows[0].table == (0, 100, 255) and windows[0].first == 1
    assert windows[2] == Window(6, 8, "LINEAR", "file")


def test_voi_function_is_honoured(make_dicom):
    data = make_dicom(ramp(np.uint8), WindowCenter="5", WindowWidth="7", VOILUTFunction="SIGMOID")
    assert read(data).windows[0].function == "SIGMOID"


def test_monochrome1_is_inverted_once_after_the_window(make_dicom):
    pixels, window = (
        ramp(np.uint8) * 10,
        {"WindowCenter": "115", "WindowWidth": "230", "VOILUTFunction": "LINEAR_EXACT"},
    )
    plain = read(make_dicom(pixels, **window)).render()
    for extra in (
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"PresentationLUTShape": "INVERSE"},
        {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"},
    ):
        image = read(make_dicom(pixels, **window, **extra))
        assert image.inverted and (image.pixels == pixels).all()
        assert np.abs(image.render().astype(int) - (255 - plain)).max() <= 1


def test_padding_is_masked_before_rescale(make_dicom):
    pixels = ramp(np.int16)
    pixels[0] = -2000
    image = read(make_dicom(pixels, PixelPaddingValue=-2000, RescaleSlope="1", RescaleIntercept="-1024"))
    assert image.valid is not None and not image.valid[0].any() and image.valid[1:].all()
    window = image.window("auto")
    assert window.center - window.width / 2 >= -1024


def test_padding_range_and_confused_sign(make_dicom):
    image = read(make_dicom(ramp(np.uint16), PixelPaddingValue=3, PixelPaddingRangeLimit=5))
    assert image.valid is not None and (~image.valid).sum() == 3
    pixels = ramp(np.uint16)
    pixels[0, 0] = 63536  # -2000 as a bit pattern
    data = make_dicom(pixels, PixelPaddingValue=63536).replace(b"\x28\x00\x20\x01US", b"\x28\x00\x20\x01SS")
    valid = read(data).valid
    assert valid is not None and not valid[0, 0] and valid.sum() == 23


def test_bits_above_bits_stored_do_not_count(make_dicom):
    pixels = ramp(np.uint16)
    overlay = pixels | 0xF000
    assert (read(make_dicom(overlay, BitsStored=12, HighBit=11)).pixels == pixels).all()
    signed = np.array([[0x0FFF, 0x0001]], np.uint16).view(np.int16)  # -1 in 12 bits without sign extension
    assert read(make_dicom(signed, BitsStored=12, HighBit=11)).pixels.tolist() == [[-1, 1]]
    shifted = (pixels << 4).astype(np.uint16)
    assert (read(make_dicom(shifted, BitsStored=12, HighBit=15)).pixels == pixels).all()


def test_planar_and_interleaved_colour_are_the_same(make_dicom):
    rgb = np.random.default_rng(1).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    planar = make_dicom(rgb, PlanarConfiguration=1)
    planes = np.ascontiguousarray(rgb.transpose(2, 0, 1)).tobytes()
    planar = planar[: -len(planes)] + planes
    assert (read(make_dicom(rgb)).pixels == rgb).all()
    assert (read(planar).pixels == rgb).all()


def test_ybr_becomes_rgb_once(make_dicom):
    # JFIF: pure red is Y 76, Cb 85, Cr 255; grey has Cb = Cr = 128.
    ybr = np.array([[[76, 85, 255], [128, 128, 128]]], np.uint8)
    rgb = read(make_dicom(ybr, PhotometricInterpretation="YBR_FULL")).pixels
    assert np.abs(rgb.astype(int) - [[[254, 0, 0], [128, 128, 128]]]).max() <= 1
    halved = make_dicom(ybr, PhotometricInterpretation="YBR_FULL_422")[:-6] + bytes([76, 128, 128, 128])
    grey = read(halved).pixels
    assert grey[0].tolist() == [[76] * 3, [128] * 3]


def test_palette(make_dicom):
    tables = {}
    for i, name in enumerate(("Red", "Green", "Blue")):
        tables[f"{name}PaletteColorLookupTableDescriptor"] = [4, 0, 16]
        tables[f"{name}PaletteColorLookupTableData"] = (np.arange(4, dtype="<u2") * 0x1000 * (i + 1)).tobytes()
    image = read(make_dicom(np.array([[0, 1, 2, 3]], np.uint8), PhotometricInterpretation="PALETTE COLOR", **tables))
    assert image.units == "rgb"
    assert image.pixels[0].tolist() == [[0, 0, 0], [16, 32, 48], [32, 64, 96], [48, 96, 144]]


def test_one_bit_frames_that_do_not_begin_on_a_byte(make_dicom):
    bits = np.random.default_rng(2).integers(0, 2, (3, 3, 5)).astype(np.uint8)
    packed = np.packbits(bits.ravel(), bitorder="little")
    data = make_dicom(
        np.resize(packed, (1, 6)), Rows=3, Columns=5, BitsAllocated=1, BitsStored=1, HighBit=0, NumberOfFrames=3
    )
    for i in range(3):
        assert (read(data, frame=i).pixels == bits[i]).all()


def test_float_pixel_data(make_dicom):
    values = np.linspace(-1, 1, 24, dtype=np.float32).reshape(4, 6)
    ds = pydicom.dcmread(io.BytesIO(make_dicom(np.zeros((4, 6), np.uint32))))
    del ds.PixelData, ds.BitsStored, ds.HighBit, ds.PixelRepresentation
    ds.BitsAllocated, ds.FloatPixelData = 32, values.tobytes()
    buffer = io.BytesIO()
    ds.save_as(buffer)
    assert (read(buffer.getvalue()).pixels == values).all()


def test_frames_are_read_by_index(corpus):
    path = corpus["SC_rgb_rle_2frame.dcm"]
    expected = pydicom.dcmread(path).pixel_array
    frames = read_frames(path)
    for i in range(len(expected)):
        assert np.array_equal(frames[i].pixels, read_image(path, frame=i).pixels)
        assert frames[i].provenance.frame == i


def test_cine_frames_match_pydicom(corpus):
    path = corpus["color3d_jpeg_baseline.dcm"]
    assert read_header(path).frames == 120
    for index in (0, 7, 119):
        expected = pydicom.pixels.pixel_array(path, index=index, decoding_plugin="gdcm")
        difference = np.abs(expected.astype(int) - read_image(path, frame=index).pixels)
        assert difference.max() <= 2  # lossy: two decoders round differently


def test_enhanced_groups_go_by_frame(make_dicom):
    def frame(position: float, slope: str) -> Dataset:
        return item(
            PlanePositionSequence=Sequence([item(ImagePositionPatient=[0, 0, position])]),
            PixelValueTransformationSequence=Sequence(
                [item(RescaleSlope=slope, RescaleIntercept="0", RescaleType="HU")]
            ),
            FrameVOILUTSequence=Sequence([item(WindowCenter=slope, WindowWidth="10")]),
        )

    shared = item(
        PixelMeasuresSequence=Sequence([item(PixelSpacing=[0.5, 0.25])]),
        PlaneOrientationSequence=Sequence([item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])]),
    )
    data = make_dicom(
        np.ones((2, 3, 4), np.int16), NumberOfFrames=2, SharedFunctionalGroupsSequence=Sequence([shared]),
        PerFrameFunctionalGroupsSequence=Sequence([frame(5, "2"), frame(7, "3")]), PixelSpacing=[9, 9],
    )  # fmt: skip
    first, second = read(data, frame=0), read(data, frame=1)
    assert (first.pixels == 2).all() and (second.pixels == 3).all()
    assert first.position_mm == (0, 0, 5) and second.position_mm == (0, 0, 7)
    assert second.spacing_mm == (0.5, 0.25) and second.spacing_source == "PixelMeasures"
    assert second.windows[0].center == 3


@pytest.mark.parametrize(
    ("attributes", "spacing", "source"),
    [
        ({"PixelSpacing": [0.5, 0.4], "ImagerPixelSpacing": [1, 1]}, (0.5, 0.4), "PixelSpacing"),
        ({"ImagerPixelSpacing": [0.2, 0.2]}, (0.2, 0.2), "ImagerPixelSpacing"),
        (
            {"ImagerPixelSpacing": [0.2, 0.2], "EstimatedRadiographicMagnificationFactor": "1.25"},
            (0.16, 0.16),
            "ImagerPixelSpacing/magnification",
        ),
        ({"PixelSpacing": [0, 0]}, None, "unknown"),
        ({"PixelSpacing": [-1, 1]}, None, "unknown"),
        ({"PixelSpacing": [1e9, 1e9]}, None, "unknown"),
        ({}, None, "unknown"),
    ],
)
def test_spacing_order_and_unknown(make_dicom, attributes, spacing, source):
    image = read(make_dicom(ramp(np.uint8), **attributes))
    assert image.spacing_mm == (spacing and pytest.approx(spacing)) and image.spacing_source == source
    assert read_header(make_dicom(ramp(np.uint8), **attributes), sandbox=False).spacing_source == source


def test_spacing_of_zero_is_noted(corpus):
    image = read_image(corpus["RG1_UNCR.dcm"])
    assert image.spacing_mm is None and "spacing_invalid" in image.provenance.notes and image.inverted


def test_j2k_codestream_overrides_the_header(corpus):
    image = read_image(corpus["J2K_pixelrep_mismatch.dcm"])
    assert image.pixels.min() == pydicom.dcmread(corpus["J2K_pixelrep_mismatch.dcm"]).RescaleIntercept - 2000


def test_provenance_says_where_pixels_came_from(corpus):
    origin = read_image(corpus["693_J2KR.dcm"]).provenance
    assert origin.kind == "dicom" and origin.transfer_syntax == "1.2.840.10008.1.2.4.90" and origin.bits_stored == 14
    assert origin.decoder.startswith("openjpeg") and len(origin.sha256) == 64 and origin.sop_instance_uid
