"""What a model is trained on survives: pixels, geometry, measurements, laterality, distances in time, references."""

import io
import os
import re
import subprocess
import sys
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest

from pretrain.deidentify.keys import Keys
from pretrain.deidentify.known import Known
from pretrain.deidentify.objects import Context, deidentify_object
from pretrain.deidentify.options import Options
from vlm.imaging.decode import quiet

CLINICAL = """
Rows Columns PixelSpacing ImagerPixelSpacing SliceThickness SpacingBetweenSlices ImagePositionPatient
ImageOrientationPatient SliceLocation RescaleSlope RescaleIntercept RescaleType WindowCenter WindowWidth KVP
XRayTubeCurrent ExposureTime Exposure RepetitionTime EchoTime FlipAngle MagneticFieldStrength Modality ImageType
PhotometricInterpretation PixelPaddingValue PatientPosition PatientOrientation ViewPosition Laterality ImageLaterality
BodyPartExamined ConvolutionKernel Manufacturer ManufacturerModelName SoftwareVersions SequenceName ScanningSequence
SequenceVariant InstanceNumber SeriesNumber AcquisitionNumber NumberOfFrames FrameTime PresentationLUTShape
GantryDetectorTilt SamplesPerPixel SOPClassUID LossyImageCompression
""".split()


def after(data: bytes, context) -> pydicom.FileDataset:
    return pydicom.dcmread(io.BytesIO(deidentify_object(data, "a", context).data))


@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",
        "MR_small.dcm",
        "RG1_UNCR.dcm",
        "693_J2KR.dcm",
        "US1_UNCR.dcm",
        "emri_small.dcm",
        "ExplVR_BigEnd.dcm",
    ],
)
def test_clinical_values_and_pixels_survive(name, real_file, file_bytes, context):
    before = real_file(name)
    if "Laterality" not in before:
        before.Laterality, before.ViewPosition, before.BodyPartExamined = "L", "PA", "CHEST"
    with quiet():
        result = after(file_bytes(before), context())
        for word in CLINICAL:
            if word in before and before[word].value not in (None, ""):
                assert result.get(word) == before[word].value, word
        if before.SamplesPerPixel == 1:
            assert np.array_equal(result.pixel_array, before.pixel_array)
            assert result.BitsStored == before.BitsStored and result.PixelRepresentation == before.PixelRepresentation
        else:
            assert result.pixel_array.shape == before.pixel_array.shape
    assert result.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert result.preamble == b"\0" * 128 and result.file_meta.MediaStorageSOPInstanceUID == result.SOPInstanceUID


def test_what_was_done_is_recorded(real_file, file_bytes, context):
    result = after(file_bytes(real_file("CT_small.dcm")), context())
    codes = {item.CodeValue: item.CodingSchemeDesignator for item in result.DeidentificationMethodCodeSequence}
    assert codes == dict.fromkeys(
        ("113100", "113103", "113105", "113107"), "DCM"
    )  # no 113101: pixels were not searched
    assert result.PatientIdentityRemoved == "YES" and result.LongitudinalTemporalInformationModified == "MODIFIED"
    assert "BurnedInAnnotation" not in result
    kept = after(
        file_bytes(real_file("CT_small.dcm")),
        context(
            dates="keep", keep_uids=True, keep_device=True, keep_institution=True, keep_patient_characteristics=True
        ),
    )
    codes = {item.CodeValue for item in kept.DeidentificationMethodCodeSequence}
    assert codes == {"113100", "113103", "113105", "113106", "113108", "113109", "113110", "113112"}
    assert kept.LongitudinalTemporalInformationModified == "UNMODIFIED"


def test_options_keep_what_they_say_and_no_more(real_file, file_bytes, context):
    before = real_file("CT_small.dcm")
    before.PatientAge, before.PatientWeight, before.DeviceSerialNumber = "092Y", "71.5", "SN-8812345"
    before.PatientSex = "F"
    plain = after(file_bytes(before), context())
    assert plain.PatientSex == "" and "PatientAge" not in plain and "PatientWeight" not in plain
    assert plain.DeviceSerialNumber != before.DeviceSerialNumber and "StationName" not in plain
    kept = after(
        file_bytes(before), context(keep_patient_characteristics=True, keep_device=True, keep_uids=True, dates="keep")
    )
    assert kept.PatientSex == "F" and kept.PatientAge == "090Y" and kept.PatientWeight == 71.5
    assert kept.DeviceSerialNumber == "SN-8812345" and kept.StationName == before.StationName
    assert kept.StudyInstanceUID == before.StudyInstanceUID and kept.StudyDate == before.StudyDate
    assert kept.PatientBirthDate == "" and kept.PatientName != before.PatientName
    bare = after(file_bytes(before), context(dates="remove", clean_descriptors=False))
    assert bare.StudyDate == "" and bare.StudyDescription == "" and bare.StudyTime == ""


def test_differences_of_dates_survive(real_file, file_bytes, context):
    before = real_file("CT_small.dcm")
    before.StudyDate, before.SeriesDate, before.ContentDate = "20210228", "20210301", "20200229"
    before.AcquisitionDateTime = "20210301101112.25+0100"
    result = after(file_bytes(before), context())
    days = [
        datetime.strptime(str(v)[:8], "%Y%m%d").date()
        for v in (result.StudyDate, result.SeriesDate, result.ContentDate)
    ]
    assert [(d - days[0]).days for d in days] == [0, 1, (date(2020, 2, 29) - date(2021, 2, 28)).days]
    assert str(result.AcquisitionDateTime) == days[1].strftime("%Y%m%d") + "101112.25+0100"
    moved = (days[0] - date(2021, 2, 28)).days
    assert -3650 <= moved <= -365
    other = real_file("MR_small.dcm")
    other.PatientID, other.StudyDate = before.PatientID, "20190101"
    again = after(file_bytes(other), context())
    assert (datetime.strptime(again.StudyDate, "%Y%m%d").date() - date(2019, 1, 1)).days == moved


def test_references_and_keys(real_file, report_object, file_bytes, planted, context):
    ct = real_file("CT_small.dcm")
    ct.PatientID, ct.PatientName = planted["patient id"], planted["patient name"]
    ct.StudyInstanceUID, ct.SeriesInstanceUID = planted["study uid"], planted["series uid"]
    ct.SOPInstanceUID = ct.file_meta.MediaStorageSOPInstanceUID = planted["instance uid"]
    sr = report_object(
        "Clear.", planted["patient name"], planted["patient id"], planted["instance uid"], ct.SOPClassUID
    )
    image, report = after(file_bytes(ct), context()), after(file_bytes(sr), context())
    reference = report.ContentSequence[-1].ReferencedSOPSequence[0]
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0]
    assert reference.ReferencedSOPInstanceUID == image.SOPInstanceUID != planted["instance uid"]
    assert reference.ReferencedSOPClassUID == ct.SOPClassUID
    assert evidence.StudyInstanceUID == image.StudyInstanceUID == report.StudyInstanceUID
    assert evidence.ReferencedSeriesSequence[0].SeriesInstanceUID == image.SeriesInstanceUID
    assert (image.PatientID, image.AccessionNumber) != (ct.PatientID, ct.get("AccessionNumber"))
    assert image.PatientID == report.PatientID == str(image.PatientName)
    assert (
        image.SOPInstanceUID.is_valid and image.SOPInstanceUID.startswith("2.25.") and len(image.SOPInstanceUID) <= 64
    )
    other = Context(Keys(b"\7" * 32), Options(clean_pixels=False), Known())
    elsewhere = after(file_bytes(ct), other)
    assert elsewhere.PatientID != image.PatientID and elsewhere.SOPInstanceUID != image.SOPInstanceUID
    assert file_bytes(after(file_bytes(ct), context())) == file_bytes(image)


def test_descriptions_keep_their_clinical_words(real_file, file_bytes, context):
    ds = real_file("CT_small.dcm")
    ds.StudyDescription, ds.SeriesDescription = "CT CHEST W/O CONTRAST (Marblethwap)", "Ax T2 FLAIR 3mm L4-L5"
    ds.PatientName = "Chestnutter^Axel"
    result = after(file_bytes(ds), context())
    assert result.StudyDescription == "CT CHEST W/O CONTRAST" and result.SeriesDescription == "Ax T2 FLAIR 3mm L4-L5"


def test_safe_private_numbers_on_request(real_file, file_bytes, context):
    ds = real_file("MR_small.dcm")
    ds.add_new(0x00190010, "LO", "SIEMENS MR HEADER")
    ds.add_new(0x0019100C, "IS", "1000")
    ds.add_new(0x0019100E, "FD", [0.5, 0.5, 0.7])
    ds.add_new(0x00191008, "CS", "Zurbelquist")
    assert not [e for e in after(file_bytes(ds), context()) if e.tag.is_private]
    kept = after(file_bytes(ds), context(keep_safe_private=True))
    assert kept[0x0019100C].value == 1000 and list(kept[0x0019100E].value) == [0.5, 0.5, 0.7]
    assert 0x00191008 not in kept


def errors_of(path: Path) -> set[str]:
    """Errors of dciodvfy, less values and places."""
    program = Path(sys.executable).with_name("dciodvfy")
    done = subprocess.run([str(program), str(path)], capture_output=True, text=True, errors="replace", timeout=60)
    lines = [line for line in (done.stderr + done.stdout).splitlines() if line.startswith("Error")]
    return {re.sub(r"<[^>]*>|\[[^\]]*\]|\d+|value dicom", "", line).strip() for line in lines}


@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",
        "MR_small.dcm",
        pytest.param("RG1_UNCR.dcm", marks=pytest.mark.slow),
        "693_J2KR.dcm",
        "US1_UNCR.dcm",
        "emri_small.dcm",
    ],
)
def test_dciodvfy_finds_no_new_error(name, real_file, file_bytes, context, tmp_path):
    before = file_bytes(real_file(name))
    (tmp_path / "before.dcm").write_bytes(before)
    for n, options in enumerate(({}, {"dates": "remove"}, {"keep_uids": True, "keep_patient_characteristics": True})):
        path = tmp_path / f"after{n}.dcm"
        path.write_bytes(deidentify_object(before, "a", context(**options)).data)
        assert errors_of(path) - errors_of(tmp_path / "before.dcm") == set(), options


def test_dciodvfy_accepts_the_report_object(report_object, file_bytes, planted, context, tmp_path):
    ds = report_object(
        "Clear.", planted["patient name"], planted["patient id"], planted["instance uid"], "1.2.840.10008.5.1.4.1.1.2"
    )
    (tmp_path / "before.dcm").write_bytes(file_bytes(ds))
    (tmp_path / "after.dcm").write_bytes(deidentify_object(file_bytes(ds), "a", context()).data)
    assert errors_of(tmp_path / "after.dcm") - errors_of(tmp_path / "before.dcm") == set()
    assert os.path.getsize(tmp_path / "after.dcm") > 1000
