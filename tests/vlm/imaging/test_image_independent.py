"""Pixels agree with decoders that this package does not use for them: imagecodecs, pydicom plugins, SimpleITK."""

import io

import imagecodecs
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.encaps import get_frame
from pydicom.pixels import pixel_array

from vlm.imaging import ImagingError, read_image

# (other decoder, largest difference): lossless must agree to the bit.
OTHER = {
    "1.2.840.10008.1.2.4.50": ("imagecodecs", 2),
    "1.2.840.10008.1.2.4.51": ("simpleitk", 1),
    "1.2.840.10008.1.2.4.57": ("gdcm", 0),
    "1.2.840.10008.1.2.4.70": ("gdcm", 0),
    "1.2.840.10008.1.2.4.80": ("imagecodecs", 0),
    "1.2.840.10008.1.2.4.81": ("imagecodecs", 0),
    "1.2.840.10008.1.2.4.90": ("gdcm", 0),
    "1.2.840.10008.1.2.4.91": ("gdcm", 1),
    "1.2.840.10008.1.2.5": ("pydicom", 0),
}


def independent(ds: pydicom.Dataset, how: str) -> np.ndarray:
    if how != "imagecodecs":
        return pixel_array(ds, index=0, decoding_plugin=how)
    data = get_frame(ds.PixelData, 0, number_of_frames=int(ds.get("NumberOfFrames") or 1))
    syntax = ds.file_meta.TransferSyntaxUID
    if syntax.endswith((".80", ".81")):
        return imagecodecs.jpegls_decode(data)
    if ds.SamplesPerPixel == 3 and ds.PhotometricInterpretation == "RGB":
        return imagecodecs.jpeg8_decode(data, colorspace="RGB", outcolorspace="RGB")
    return imagecodecs.jpeg_decode(data)


def rescaled(array: np.ndarray, ds: pydicom.Dataset) -> np.ndarray:
    if ds.SamplesPerPixel == 3:
        return array
    if array.dtype.kind == "u" and ds.PixelRepresentation == 1:
        array = array.view(array.dtype.str.replace("u", "i"))
    return array * float(ds.get("RescaleSlope", 1)) + float(ds.get("RescaleIntercept", 0))


def test_compressed_files_agree_with_an_independent_decoder(corpus):
    compared: dict[str, int] = {}
    for name, path in corpus.items():
        if path.stat().st_size > 2_000_000:
            continue
        try:
            image = read_image(path)
        except ImagingError:
            continue
        how = OTHER.get(image.provenance.transfer_syntax or "")
        if how is None or image.provenance.photometric == "PALETTE COLOR":
            continue
        ds = pydicom.dcmread(path)
        if "PixelData" not in ds:  # pydicom drops a truncated last element; this package reads its first frame
            continue
        if how[0] == "simpleitk":  # decodes 12 bits with its own copy of gdcm, and rescales
            expected = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[0]
        else:
            expected = rescaled(independent(ds, how[0]), ds)
        if expected.dtype.itemsize * 8 > 8 and image.is_colour:
            continue
        assert np.abs(expected.astype(float) - image.pixels).max() <= how[1] + 1e-3, name
        compared[how[0]] = compared.get(how[0], 0) + 1
    assert compared["imagecodecs"] >= 10 and compared["gdcm"] >= 20
    assert compared["pydicom"] >= 4 and compared["simpleitk"] >= 2


@pytest.mark.parametrize(("syntax", "reversible", "largest"), [("201", True, 0), ("203", False, 1)])
def test_htj2k_agrees_with_openjpeg(make_dicom, corpus, syntax, reversible, largest):
    film = pixel_array(corpus["RG1_UNCR.dcm"])[400:700, 300:620]
    data = imagecodecs.htj2k_encode(film, reversible=reversible)
    made = make_dicom(film, f"1.2.840.10008.1.2.4.{syntax}", [data])
    image = read_image(made)
    assert image.provenance.decoder.startswith("openjph (imagecodecs)")
    other = pixel_array(io.BytesIO(made), index=0, decoding_plugin="pylibjpeg")
    assert np.abs(image.pixels.astype(int) - other.astype(int)).max() <= largest
    assert np.array_equal(image.pixels, film) or not reversible


@pytest.mark.parametrize("name", ["CT_small.dcm", "693_UNCR.dcm", "MR_small.dcm", "MR2_UNCR.dcm"])
def test_uncompressed_files_agree_with_simpleitk(corpus, name):
    expected = sitk.GetArrayFromImage(sitk.ReadImage(str(corpus[name])))[0]
    image = read_image(corpus[name])
    assert np.abs(expected.astype(float) - image.pixels).max() < 1e-3
    assert image.spacing_mm is not None
    assert image.spacing_mm[::-1] == pytest.approx(sitk.ReadImage(str(corpus[name])).GetSpacing()[:2])


def test_made_files_decode_to_what_went_in(codec_seeds):
    original = read_image(codec_seeds["uncompressed"]).pixels
    for codec in ("RLE", "JPEG lossless", "JPEG-LS", "J2K", "HTJ2K"):
        assert np.array_equal(read_image(codec_seeds[codec]).pixels, original), codec


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_lossless_codecs_keep_sign_and_depth(make_dicom, bits, signed):
    rng = np.random.default_rng(bits)
    low, high = (-(1 << (bits - 1)), 1 << (bits - 1)) if signed else (0, 1 << bits)
    pixels = rng.integers(low, high, (24, 30)).astype(f"{'i' if signed else 'u'}{1 if bits == 8 else 2}")
    unsigned = pixels.view(f"u{pixels.itemsize}") & (2**bits - 1)
    one, depth = "1.2.840.10008.1.2.4.", {"BitsStored": bits, "HighBit": bits - 1}
    files = [
        make_dicom(pixels, **depth),
        make_dicom(
            pixels,
            f"{one}70",
            [imagecodecs.ljpeg_encode(unsigned.astype(f"u{pixels.itemsize}"), bitspersample=bits)],
            **depth,
        ),
    ]
    if bits != 12:
        files.append(
            make_dicom(
                pixels, f"{one}90", [imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", reversible=True)], **depth
            )
        )
        files.append(make_dicom(pixels, f"{one}201", [imagecodecs.htj2k_encode(pixels, reversible=True)], **depth))
    for syntax in ("1.2.840.10008.1.2.5", f"{one}80"):
        ds, buffer = pydicom.dcmread(io.BytesIO(files[0])), io.BytesIO()
        ds.compress(syntax)
        ds.save_as(buffer)
        files.append(buffer.getvalue())
    for data in files:
        assert np.array_equal(read_image(data, sandbox=False).pixels, pixels)
