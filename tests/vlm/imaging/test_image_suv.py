"""SUVbw by hand-worked cases for each vendor's way, and refusals for what is missing."""

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from vlm.imaging import ImagingError, SuvError, read_image

HALF_LIFE = 6586.2  # F-18, seconds
BASE = {
    "Modality": "PT",
    "Units": "BQML",
    "DecayCorrection": "START",
    "CorrectedImage": ["DECY", "ATTN"],
    "PatientWeight": "70",
    "SeriesDate": "20260102",
    "SeriesTime": "110000",
    "AcquisitionDate": "20260102",
    "AcquisitionTime": "110000",
    "RescaleSlope": "2",
    "RescaleIntercept": "0",
}


def drug(**changes) -> Sequence:
    ds = Dataset()
    values = {
        "RadionuclideTotalDose": "350000000",
        "RadionuclideHalfLife": str(HALF_LIFE),
        "RadiopharmaceuticalStartTime": "100000",
    }
    for keyword, value in {**values, **changes}.items():
        if value is not None:
            setattr(ds, keyword, value)
    return Sequence([ds])


def suv(make_dicom, drug_changes=None, private=None, **changes) -> float:
    """SUV of a pixel that holds 5000 after rescale."""
    attributes = {**BASE, "RadiopharmaceuticalInformationSequence": drug(**(drug_changes or {})), **changes}
    data = make_dicom(np.full((2, 2), 2500, np.uint16), **attributes)
    if private:
        data = with_private(data, private)
    image = read_image(data, sandbox=False)
    assert image.units == "SUVbw" and image.pixels.dtype == np.float32
    return float(image.pixels[0, 0])


def with_private(data: bytes, elements: list[tuple[int, str, object]]) -> bytes:
    import io

    import pydicom

    ds = pydicom.dcmread(io.BytesIO(data))
    for tag, vr, value in elements:
        ds.add_new(tag, vr, value)
    buffer = io.BytesIO()
    ds.save_as(buffer)
    return buffer.getvalue()


def expected(elapsed_s: float) -> float:
    return 5000 * 70 * 1000 / (350e6 * 2 ** (-elapsed_s / HALF_LIFE))


def test_decay_is_taken_from_injection_to_series_start(make_dicom):
    assert suv(make_dicom) == pytest.approx(expected(3600), rel=1e-5)


def test_admin_correction_has_no_decay(make_dicom):
    assert suv(make_dicom, DecayCorrection="ADMIN") == pytest.approx(expected(0), rel=1e-5)


def test_injection_before_midnight(make_dicom):
    value = suv(make_dicom, {"RadiopharmaceuticalStartTime": "233000"}, SeriesTime="003000", AcquisitionTime="003000")
    assert value == pytest.approx(expected(3600), rel=1e-5)


def test_date_time_of_injection_is_preferred(make_dicom):
    changes = {"RadiopharmaceuticalStartDateTime": "20260102103000.500000"}
    assert suv(make_dicom, changes) == pytest.approx(expected(1799.5), rel=1e-5)


def test_rewritten_series_time_falls_back_to_ge_private_time(make_dicom):
    private = [(0x00090010, "LO", "GEMS_PETD_01"), (0x0009100D, "DT", "20260102110500.00")]
    value = suv(make_dicom, private=private, SeriesTime="150000", AcquisitionTime="111000")
    assert value == pytest.approx(expected(3900), rel=1e-5)


def test_rewritten_series_time_falls_back_to_frame_reference(make_dicom):
    # One-minute frame at 11:10, mean count rate 29.97 s in, 600 s after the reference: the scan began about 11:00:30.
    value = suv(
        make_dicom,
        SeriesTime="150000",
        AcquisitionTime="111000",
        FrameReferenceTime="600000",
        ActualFrameDuration="60000",
    )
    assert value == pytest.approx(expected(3630), rel=1e-4)


def test_philips_counts(make_dicom):
    creator = (0x70530010, "LO", "Philips PET Private Group")
    suv_factor = [creator, (0x70531000, "DS", "0.0004"), (0x70531009, "DS", "3")]
    assert suv(make_dicom, private=suv_factor, Units="CNTS") == pytest.approx(2.0)
    activity = [creator, (0x70531000, "DS", "0"), (0x70531009, "DS", "3")]
    assert suv(make_dicom, private=activity, Units="CNTS") == pytest.approx(3 * expected(3600), rel=1e-5)


def test_values_that_are_suv_already(make_dicom):
    assert suv(make_dicom, Units="GML") == 5000


def test_file_windows_follow_the_values(make_dicom):
    attributes = {**BASE, "RadiopharmaceuticalInformationSequence": drug()}
    data = make_dicom(np.full((2, 2), 2500, np.uint16), **attributes, WindowCenter="5000", WindowWidth="10000")
    window = read_image(data, sandbox=False).windows[0]
    assert window.center == pytest.approx(expected(3600), rel=1e-5) and window.function == "LINEAR_EXACT"


@pytest.mark.parametrize(
    ("changes", "drug_changes", "code"),
    [
        ({"PatientWeight": None}, {}, "suv_weight"),
        ({"PatientWeight": "0"}, {}, "suv_weight"),
        ({}, {"RadionuclideTotalDose": None}, "suv_dose"),
        ({}, {"RadionuclideHalfLife": None}, "suv_half_life"),
        ({}, {"RadiopharmaceuticalStartTime": None}, "suv_times"),
        ({}, {"RadiopharmaceuticalStartDateTime": "20251230100000"}, "suv_times"),
        ({"AcquisitionTime": None}, {}, "suv_times"),
        ({"SeriesTime": "150000"}, {}, "suv_times"),
        ({"CorrectedImage": ["DECY"]}, {}, "suv_corrections"),
        ({"DecayCorrection": "NONE"}, {}, "suv_decay"),
        ({"Units": "CNTS"}, {}, "suv_counts"),
        ({"Units": "GML", "SUVType": "LBM"}, {}, "suv_type"),
        ({"Units": None}, {}, "suv_units"),
    ],
)
def test_missing_facts_are_refused_not_guessed(make_dicom, changes, drug_changes, code):
    attributes = {**BASE, "RadiopharmaceuticalInformationSequence": drug(**drug_changes), **changes}
    data = make_dicom(np.full((2, 2), 2500, np.uint16), **attributes)
    with pytest.raises(SuvError) as caught:
        read_image(data, sandbox=False)
    assert caught.value.code == code
    assert "pet_units" in str(caught.value)
    raw = read_image(data, sandbox=False, pet_units="file")
    assert raw.units == (attributes["Units"] or "unspecified") and (raw.pixels == 5000).all()


def test_no_radiopharmaceutical(make_dicom):
    with pytest.raises(ImagingError) as caught:
        read_image(make_dicom(np.zeros((2, 2), np.uint16), **BASE), sandbox=False)
    assert caught.value.code == "suv_radiopharmaceutical"
