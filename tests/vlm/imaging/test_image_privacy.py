"""Planted attribute values never reach a log, a warning, an error, a stream or a record."""

import io
import json
import logging
import warnings

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from vlm.imaging import ImagingError, read_header, read_image, read_images
from vlm.imaging.worker import _serve

SECRET = "ZEBRAFISH"
# Keywords of every kind: identity, free text, dates as text, numbers that are none, code strings, UIDs.
TEXT = [
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "OtherPatientNames",
    "PatientAddress",
    "PatientComments",
    "AccessionNumber",
    "InstitutionName",
    "ReferringPhysicianName",
    "StudyDescription",
    "SeriesDescription",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "ProtocolName",
    "OperatorsName",
    "StationName",
    "Manufacturer",
    "ImageComments",
    "BodyPartExamined",
    "ViewPosition",
    "Laterality",
    "RescaleType",
    "SpecificCharacterSet",
    "AcquisitionDate",
    "ContentDate",
    "DeviceSerialNumber",
    "SoftwareVersions",
]
NUMBERS = [
    "RescaleSlope",
    "RescaleIntercept",
    "WindowCenter",
    "WindowWidth",
    "PixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "InstanceNumber",
    "NumberOfFrames",
    "PatientWeight",
    "SliceThickness",
    "ImagerPixelSpacing",
    "FrameTime",
]
CODES = [
    "Modality",
    "PhotometricInterpretation",
    "PresentationLUTShape",
    "VOILUTFunction",
    "ImageType",
    "LossyImageCompression",
    "Units",
]
UIDS = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "FrameOfReferenceUID"]
# A well-formed view position, laterality or image type is part of the header on purpose.
ALLOWED_IN_HEADER = {"ViewPosition", "Laterality", "ImageType"}


def plant(keyword: str, make_dicom, codec_seeds, codec: str) -> bytes:
    """A file with the secret in one attribute, put there with whatever VR, past pydicom's checks."""
    ds = pydicom.dcmread(io.BytesIO(codec_seeds[codec]))
    tag = pydicom.datadict.tag_for_keyword(keyword)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds.add(pydicom.DataElement(tag, "LO", SECRET, validation_mode=pydicom.config.IGNORE))
        inner = Dataset()
        inner.add(pydicom.DataElement(0x00100010, "PN", SECRET, validation_mode=pydicom.config.IGNORE))
        ds.RequestAttributesSequence = Sequence([inner])
        ds.add_new(0x00110010, "LO", SECRET)
        ds.add_new(0x00111001, "LO", SECRET)
        ds.file_meta.SourceApplicationEntityTitle = SECRET
        ds.preamble = SECRET.encode().ljust(128, b"\0")
        buffer = io.BytesIO()
        ds.save_as(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("codec", ["uncompressed", "J2K"])
def test_planted_values_stay_inside(make_dicom, codec_seeds, caplog, capfd, codec):
    caplog.set_level(logging.DEBUG)
    for keyword in (*TEXT, *NUMBERS, *CODES, *UIDS):
        data = plant(keyword, make_dicom, codec_seeds, codec)
        assert SECRET.encode() in data
        caplog.clear(), capfd.readouterr()  # pydicom talks while it writes the file, too
        said = []
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            for read in (read_image, read_header):
                try:
                    result = read(data, sandbox=False)
                except ImagingError as error:
                    said += [str(error), repr(error), repr(error.__context__), repr(error.__cause__), error.code]
                    continue
                if read is read_image:
                    body, meta = result.to_record()
                    said += [body.decode("latin-1"), json.dumps(meta)]
                elif keyword not in ALLOWED_IN_HEADER:
                    said.append(repr(result))
        out, err = capfd.readouterr()
        for text in (*said, *(str(w.message) for w in heard), caplog.text, out, err):
            assert SECRET not in text, keyword


def test_the_child_answers_without_values(make_dicom, codec_seeds, capfd):
    for keyword in ("PatientName", "RescaleSlope", "NumberOfFrames", "Modality"):
        data = plant(keyword, make_dicom, codec_seeds, "uncompressed")
        capfd.readouterr()
        for sandboxed in (False, True):
            try:
                answer = repr(read_image(data, sandbox=sandboxed).to_record()[1])
            except ImagingError as error:
                answer = repr(error) + str(error)
            assert SECRET not in answer
        from vlm.imaging import Limits

        request = {"op": "image", "frame": 0, "pet_units": "suv"}
        assert SECRET not in repr(_serve(request, data, Limits())[0])
    out, err = capfd.readouterr()
    assert SECRET not in out + err


def test_real_files_that_make_pydicom_warn_make_nothing_here(corpus, caplog, recwarn, capfd):
    names = [
        "badVR.dcm",
        "explicit_VR-UN.dcm",
        "SC_rgb_jpeg.dcm",
        "emri_small_jpeg_2k_lossless_too_short.dcm",
        "CT_small.dcm",
    ]
    caplog.set_level(logging.DEBUG)
    for name in names:
        for sandboxed in (False, True):
            try:
                read_image(corpus[name], sandbox=sandboxed)
            except ImagingError as error:
                assert error.code
    list(read_images([corpus[name] for name in names]))
    out, err = capfd.readouterr()
    assert not caplog.records and not recwarn.list and not out and not err


def test_logging_and_warnings_are_given_back(make_dicom):
    before = logging.getLogger("pydicom").level, pydicom.config.settings.reading_validation_mode, warnings.filters[:]
    read_image(make_dicom(np.zeros((2, 2), np.uint8)), sandbox=False)
    assert before == (
        logging.getLogger("pydicom").level,
        pydicom.config.settings.reading_validation_mode,
        warnings.filters[:],
    )
