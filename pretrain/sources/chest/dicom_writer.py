"""Write a simulated film as a DX Image For Presentation (PS3.3 A.26), valid and labelled simulated.

Deterministic: UIDs and dates follow from seed and patient, and nothing of the machine or the clock is written.
"""

from __future__ import annotations

import hashlib
import io
from datetime import date, timedelta

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from .case import DETECTOR_MM, VERSION, Case
from .detector import MAX_VALUE

TRANSFER_SYNTAXES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    JPEGLSLossless,
    JPEG2000Lossless,
)
ENCODERS = {RLELossless: "gdcm", JPEGLSLossless: "pyjpegls", JPEG2000Lossless: "pylibjpeg"}
ROOT_UID = "2.25."
VIEW_CODES = {
    "PA": ("272479007", "postero-anterior"),
    "AP": ("399348003", "antero-posterior"),
    "LL": ("399173006", "left lateral"),
}
NAMES = {"F": ("Ada", "Berta", "Clara", "Dora", "Emma"), "M": ("Anton", "Bruno", "Carl", "David", "Emil")}


def uid(*parts: object) -> UID:
    """A UID below 2.25 (a UUID as integer) that depends only on `parts`."""
    text = "/".join(["medvlm-chest", str(VERSION), *map(str, parts)])
    return UID(ROOT_UID + str(int.from_bytes(hashlib.sha256(text.encode()).digest()[:15], "big")))


def encoding_of(case: Case, index: int) -> tuple[UID, str]:
    """Transfer syntax and photometric interpretation of film `index`: a rotation that starts at the seed."""
    k = case.patient + 3 * index + case.seed
    return TRANSFER_SYNTAXES[k % len(TRANSFER_SYNTAXES)], "MONOCHROME1" if (k // 5 + index) % 3 == 2 else "MONOCHROME2"


def encode(case: Case, index: int, transfer_syntax: UID | None = None, photometric: str | None = None) -> bytes:
    """Film `index` of a case as DICOM file bytes."""
    syntax, default = encoding_of(case, index)
    syntax, photometric = transfer_syntax or syntax, photometric or default
    ds = Dataset()
    _patient_and_study(ds, case)
    _series_and_equipment(ds, case, index)
    _positioning(ds, case, index)
    _pixels(ds, case, index, photometric)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.ImplementationClassUID = uid("implementation")
    ds.file_meta.ImplementationVersionName = f"MEDVLM_SIM_{VERSION}"
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if syntax in ENCODERS:
        ds.compress(syntax, encoding_plugin=ENCODERS[syntax], generate_instance_uid=False)
    else:
        ds.file_meta.TransferSyntaxUID = syntax
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=True)
    return out.getvalue()


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _day(case: Case) -> date:
    return date(2020, 1, 1) + timedelta(days=int(uid(case.seed, case.patient, "day")[5:]) % 1800)


def _patient_and_study(ds: Dataset, case: Case) -> None:
    day = _day(case)
    number = int(uid(case.seed, case.patient, "name")[5:])
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.PatientName = f"SIMULATED^{NAMES[case.build.sex][number % 5]}"
    ds.PatientID = f"SIM-{case.seed}-{case.patient:06d}"
    born = day - timedelta(days=int(case.build.age * 365.25) + number % 365)
    ds.PatientBirthDate, ds.PatientSex = born.strftime("%Y%m%d"), case.build.sex
    ds.PatientAge = f"{(day - born).days * 100 // 36525:03d}Y"
    ds.PatientIdentityRemoved = "YES"
    ds.DeidentificationMethod = "Simulated: no patient exists"
    ds.PatientComments = "SIMULATED"
    ds.StudyInstanceUID = uid(case.seed, case.patient, "study")
    ds.StudyDate, ds.StudyTime = day.strftime("%Y%m%d"), f"{8 + number % 10:02d}{number % 60:02d}00"
    ds.StudyID, ds.AccessionNumber, ds.ReferringPhysicianName = case.study, f"SIM{case.patient:06d}", None
    ds.StudyDescription = "SIMULATED chest radiograph"


def _series_and_equipment(ds: Dataset, case: Case, index: int) -> None:
    view = case.views[index]
    ds.SOPClassUID = DigitalXRayImageStorageForPresentation
    ds.SOPInstanceUID = uid(case.seed, case.patient, "image", index, view.cols, view.rows)
    ds.Modality, ds.PresentationIntentType = "DX", "FOR PRESENTATION"
    ds.SeriesInstanceUID = uid(case.seed, case.patient, "series", index)
    ds.SeriesNumber, ds.InstanceNumber = index + 1, 1
    ds.SeriesDescription = f"SIMULATED chest {view.name}"
    ds.Manufacturer, ds.ManufacturerModelName = "medvlm simulator", "pretrain.sources.chest"
    ds.SoftwareVersions, ds.DeviceSerialNumber = str(VERSION), "0"
    ds.BodyPartExamined, ds.ViewPosition = "CHEST", view.name
    ds.ImageType = ["DERIVED", "PRIMARY", ""]
    ds.DerivationDescription = "SIMULATED by ray attenuation through parametric anatomy"
    ds.ImageComments = "SIMULATED image, not of a patient; not for diagnosis"
    ds.QualityControlSubject = "NO"
    ds.AcquisitionDate, ds.AcquisitionTime = ds.StudyDate, ds.StudyTime
    ds.ContentDate, ds.ContentTime = ds.StudyDate, ds.StudyTime
    ds.SeriesDate, ds.SeriesTime = ds.StudyDate, ds.StudyTime
    ds.BurnedInAnnotation = "NO"  # a side marker only, nothing that names a patient
    ds.LossyImageCompression = "00"
    ds.AcquisitionContextSequence = []


def _positioning(ds: Dataset, case: Case, index: int) -> None:
    view, exposure = case.views[index], case.exposures[index]
    ds.ImageLaterality = "U"
    ds.PatientOrientation = ["P", "F"] if view.name == "LL" else ["L", "F"]
    ds.AnatomicRegionSequence = [_code("51185008", "SCT", "Chest")]
    value, meaning = VIEW_CODES[view.name]
    ds.ViewCodeSequence = [_code(value, "SCT", meaning)]
    ds.ViewCodeSequence[0].ViewModifierCodeSequence = []
    ds.PatientOrientationCodeSequence = [
        _code("102538003", "SCT", "recumbent") if view.name == "AP" else _code("10904000", "SCT", "erect")
    ]
    factor = (view.source_mm + DETECTOR_MM) / view.source_mm
    ds.PixelSpacing = [f"{view.spacing_mm:.6f}"] * 2
    ds.PixelSpacingCalibrationType = "GEOMETRY"
    ds.PixelSpacingCalibrationDescription = "plane through the middle of the patient"
    ds.ImagerPixelSpacing = [f"{view.spacing_mm * factor:.6f}"] * 2
    ds.EstimatedRadiographicMagnificationFactor = f"{factor:.6f}"
    ds.DistanceSourceToDetector = f"{view.source_mm + DETECTOR_MM:.1f}"
    ds.DistanceSourceToPatient = f"{view.source_mm:.1f}"
    ds.KVP = "120"
    ds.PositionerType = "NONE"
    ds.DetectorType = "SCINTILLATOR"
    ds.DetectorDescription = "simulated"
    ds.DetectorConditionsNominalFlag = "YES"
    ds.FieldOfViewShape = "RECTANGLE"
    ds.FieldOfViewDimensions = [max(1, round(n * view.spacing_mm * factor)) for n in (view.cols, view.rows)]
    ds.ExposureInuAs = max(1, round(exposure.photons_mm2 / 20))


def _pixels(ds: Dataset, case: Case, index: int, photometric: str) -> None:
    picture = case.images[index]
    inverse = photometric == "MONOCHROME1"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, photometric
    ds.Rows, ds.Columns = picture.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelIntensityRelationship = "LOG"
    ds.PixelIntensityRelationshipSign = 1 if inverse else -1
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "0", "1", "US"
    ds.PresentationLUTShape = "INVERSE" if inverse else "IDENTITY"
    offset = int(uid(case.seed, case.patient, "window", index)[5:]) % 301 - 150
    centre, width = 2048 + offset, 3900 - abs(offset)
    ds.WindowCenter, ds.WindowWidth = str(MAX_VALUE - centre if inverse else centre), str(width)
    ds.WindowCenterWidthExplanation = "NORMAL"
    stored = (MAX_VALUE - picture) if inverse else picture
    ds.set_pixel_data(np.ascontiguousarray(stored, dtype=np.uint16), photometric, 12, generate_instance_uid=False)
