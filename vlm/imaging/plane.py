"""Where a frame lies: pixel spacing with its source, position and orientation in the patient (LPS)."""

import math

from pydicom.dataset import Dataset

from vlm.imaging.values import get, group, modality, number, numbers, word

_PROJECTION = {"CR", "DX", "RF", "XA", "MG", "PX", "IO", "RTIMAGE"}
_SMALLEST_MM, _LARGEST_MM = 1e-5, 100.0


def spacing(ds: Dataset, frame: int) -> tuple[tuple[float, float] | None, str, list[str]]:
    """Distance between rows, then columns, in millimetres.

    In this order: PixelSpacing of the frame's functional group, PixelSpacing, ImagerPixelSpacing (divided by the
    magnification where the file estimates one), a single calibrated ultrasound region, NominalScannedPixelSpacing.
    Zero, absurd or malformed values count as missing.

    Returns:
        the pair or None, the name of its source, and notes.
    """
    notes: list[str] = []
    measures = group(ds, "PixelMeasuresSequence", frame)
    if measures is not ds:
        found = _pair(get(measures, "PixelSpacing"), notes)
        if found:
            return found, "PixelMeasures", notes
    found = _pair(get(ds, "PixelSpacing"), notes)
    imager = _pair(get(ds, "ImagerPixelSpacing"), notes)
    if found:
        at_detector = modality(ds) in _PROJECTION and not word(get(ds, "PixelSpacingCalibrationType"))
        if at_detector and (imager is None or imager == found):
            notes.append("spacing_at_detector")
        return found, "PixelSpacing", notes
    if imager:
        factor = number(get(ds, "EstimatedRadiographicMagnificationFactor"))
        if factor and 1.0 <= factor <= 10.0:
            return (imager[0] / factor, imager[1] / factor), "ImagerPixelSpacing/magnification", notes
        notes.append("spacing_at_detector")
        return imager, "ImagerPixelSpacing", notes
    region = _ultrasound(ds)
    if region:
        return region, "UltrasoundRegion", notes
    scanned = _pair(get(ds, "NominalScannedPixelSpacing"), notes)
    if scanned:
        return scanned, "NominalScannedPixelSpacing", notes
    return None, "unknown", notes


def _pair(value: object, notes: list[str]) -> tuple[float, float] | None:
    if value is None or value == "":
        return None
    pair = numbers(value)
    if len(pair) == 2 and all(_SMALLEST_MM <= part <= _LARGEST_MM for part in pair):
        return pair[0], pair[1]
    notes.append("spacing_invalid")
    return None


def _ultrasound(ds: Dataset) -> tuple[float, float] | None:
    """Spacing of a picture with exactly one region, and that a two-dimensional one in centimetres."""
    regions = get(ds, "SequenceOfUltrasoundRegions")
    if regions is None or len(regions) != 1:
        return None
    region = regions[0]
    units = (get(region, "PhysicalUnitsXDirection"), get(region, "PhysicalUnitsYDirection"))
    if get(region, "RegionSpatialFormat") != 1 or units != (3, 3):
        return None
    dx, dy = number(get(region, "PhysicalDeltaX")), number(get(region, "PhysicalDeltaY"))
    if not dx or not dy:
        return None
    pair = abs(dy) * 10.0, abs(dx) * 10.0
    return pair if all(_SMALLEST_MM <= part <= _LARGEST_MM for part in pair) else None


def position(ds: Dataset, frame: int) -> tuple[float, ...] | None:
    """ImagePositionPatient of a frame: centre of the first pixel, LPS millimetres."""
    found = numbers(get(group(ds, "PlanePositionSequence", frame), "ImagePositionPatient"))
    return found if len(found) == 3 else None


def orientation(ds: Dataset, frame: int) -> tuple[float, ...] | None:
    """ImageOrientationPatient of a frame: unit vectors of growing column, then growing row; None unless orthonormal."""
    found = numbers(get(group(ds, "PlaneOrientationSequence", frame), "ImageOrientationPatient"))
    if len(found) != 6:
        return None
    row, column = found[:3], found[3:]
    lengths = math.hypot(*row), math.hypot(*column)
    dot = sum(a * b for a, b in zip(row, column, strict=True))
    if any(abs(length - 1.0) > 1e-2 for length in lengths) or abs(dot) > 1e-2:
        return None
    return found
