"""From stored values to physical units: colour, padding, modality LUT, SUV, windows, in the order of the standard."""

import io

import numpy as np
from PIL import Image, ImageCms
from pydicom.dataset import Dataset

from vlm.imaging import plane
from vlm.imaging.codecs import Stored, cut_unused_bits, decode_frame, decoder_version
from vlm.imaging.dicom_gate import Shape, admit, check_object, check_syntax
from vlm.imaging.dicom_read import Parsed
from vlm.imaging.errors import DamagedError, ImagingError, UnreadableError, UnsupportedError
from vlm.imaging.image import ImageHeader, Limits, MedicalImage, Provenance
from vlm.imaging.suv import suv_factor
from vlm.imaging.values import get, group, modality, number, numbers, uid, word
from vlm.imaging.windows import Window

# Defined terms of Rescale Type and Modality LUT Type (PS3.3 C.11.1.1.2); anything else is an unknown unit.
_UNITS = {"HU", "OD", "MGML", "Z_EFF", "ED", "EDW", "HU_MOD", "PCT"}
_LOSSY = (".4.50", ".4.51", ".4.81")  # syntaxes that are lossy whatever the flag says
_PET_UNITS = {"BQML", "CNTS", "GML"}


def header(parsed: Parsed, limits: Limits) -> ImageHeader:
    """The header of an admitted image; sizes and SOP class are checked as for decoding."""
    check_object(parsed)
    shape = admit(parsed, limits)
    ds = parsed.ds
    found, source, notes = plane.spacing(ds, 0)
    instance = number(get(ds, "InstanceNumber"))
    image_type = ds.get("ImageType") or ()
    return ImageHeader(
        kind="dicom",
        rows=shape.rows,
        columns=shape.columns,
        frames=shape.frames,
        samples=shape.samples,
        bits_stored=shape.bits_stored,
        modality=modality(ds),
        sop_class_uid=uid(ds.get("SOPClassUID")),
        transfer_syntax=uid(parsed.transfer_syntax),
        photometric=shape.photometric,
        spacing_mm=found,
        spacing_source=source,
        study_uid=uid(ds.get("StudyInstanceUID")),
        series_uid=uid(ds.get("SeriesInstanceUID")),
        instance_uid=uid(ds.get("SOPInstanceUID")),
        frame_of_reference_uid=uid(ds.get("FrameOfReferenceUID")),
        instance_number=None if instance is None else int(instance),
        view_position=word(ds.get("ViewPosition")) or None,
        laterality=word(ds.get("ImageLaterality")) or word(ds.get("Laterality")) or None,
        image_type=(image_type,) if isinstance(image_type, str) else tuple(str(v) for v in image_type),
        orientation=plane.orientation(ds, 0),
        position_mm=plane.position(ds, 0),
        frame_time_ms=number(get(ds, "FrameTime")),
        notes=tuple(parsed.notes + notes),
    )


def image(parsed: Parsed, frame: int, limits: Limits, sha256: str, pet_units: str) -> MedicalImage:
    """One frame in physical units.

    Raises:
        ImagingError: as :func:`check_object`, :func:`admit`, :func:`check_syntax`, the codecs and
            :func:`suv_factor` say.
    """
    check_object(parsed)
    decoder = check_syntax(parsed)
    shape = admit(parsed, limits)
    if not 0 <= frame < shape.frames:
        raise UnreadableError("frame_index", f"there is no frame {frame}: the file has {shape.frames}, counted from 0")
    ds, notes = parsed.ds, list(parsed.notes)
    factor = suv_factor(ds) if _wants_suv(ds, pet_units) else 1.0
    stored = decode_frame(parsed, shape, decoder, frame)
    valid = None
    windows: tuple[Window, ...] = ()
    if shape.samples == 3 or shape.photometric == "PALETTE COLOR":
        pixels, units = _colour(ds, shape, stored, notes), "rgb"
    else:
        valid = _padding(ds, shape, stored, notes)
        values = stored.values if stored.clean else cut_unused_bits(stored.values, stored.bits)
        pixels, units = _rescale(ds, frame, values, stored.bits, shape.signed, notes)
        if factor != 1.0 or _wants_suv(ds, pet_units):
            pixels, units = pixels.astype(np.float32) * np.float32(factor), "SUVbw"
        windows = _windows(ds, frame, factor, notes)
    found, source, spacing_notes = plane.spacing(ds, frame)
    return MedicalImage(
        pixels=pixels,
        units=units,
        spacing_mm=found,
        spacing_source=source,
        modality=modality(ds),
        inverted=_inverted(ds, shape),
        windows=windows,
        valid=valid,
        provenance=Provenance(
            sha256=sha256,
            kind="dicom",
            sop_instance_uid=uid(ds.get("SOPInstanceUID")),
            sop_class_uid=uid(ds.get("SOPClassUID")),
            frame=frame,
            frames=shape.frames,
            transfer_syntax=uid(parsed.transfer_syntax),
            photometric=shape.photometric,
            decoder=decoder_version(decoder),
            bits_stored=stored.bits,
            lossy=word(ds.get("LossyImageCompression")) == "01" or parsed.transfer_syntax.endswith(_LOSSY),
            notes=tuple(dict.fromkeys(notes + spacing_notes)),
        ),
        orientation=plane.orientation(ds, frame),
        position_mm=plane.position(ds, frame),
    )


def _wants_suv(ds: Dataset, pet_units: str) -> bool:
    return pet_units == "suv" and modality(ds) == "PT"


def _inverted(ds: Dataset, shape: Shape) -> bool:
    """MONOCHROME1 and PresentationLUTShape INVERSE say the same thing; both together still invert once."""
    return shape.photometric == "MONOCHROME1" or (
        shape.photometric == "MONOCHROME2" and word(ds.get("PresentationLUTShape")) == "INVERSE"
    )


# Colour


def _colour(ds: Dataset, shape: Shape, stored: Stored, notes: list[str]) -> np.ndarray:
    if shape.photometric == "PALETTE COLOR":
        rgb = _palette(ds, shape, stored)
    else:
        rgb = _eight_bit(stored, shape)
        if stored.colour == "YBR":
            picture = Image.frombytes("YCbCr", (shape.columns, shape.rows), np.ascontiguousarray(rgb).tobytes())
            rgb = np.array(picture.convert("RGB"))
    return _to_srgb(ds, np.ascontiguousarray(rgb), notes)


def _eight_bit(stored: Stored, shape: Shape) -> np.ndarray:
    values = stored.values if stored.clean else cut_unused_bits(stored.values, stored.bits)
    if values.dtype.kind != "u":
        raise UnsupportedError("signed_colour", "signed or floating point colour is not decoded here")
    if values.dtype == np.uint8 and stored.bits == 8:
        return values
    if stored.bits > 8:
        return (values >> (stored.bits - 8)).astype(np.uint8)
    return (values.astype(np.float32) * (255.0 / (2**stored.bits - 1)) + 0.5).astype(np.uint8)


def _palette(ds: Dataset, shape: Shape, stored: Stored) -> np.ndarray:
    """PS3.3 C.7.6.3.1.5: three look-up tables, 8 or 16 bits, shown as 8."""
    from pydicom.pixels.processing import apply_color_lut

    values = stored.values if stored.clean else cut_unused_bits(stored.values, stored.bits)
    failed = False
    try:
        rgb = apply_color_lut(np.ascontiguousarray(values), ds)
    except (AttributeError, KeyError, ValueError, IndexError, TypeError):
        failed = True
    if failed:
        raise DamagedError("palette", "the colour palette is missing or broken")
    rgb = np.asarray(rgb)
    if rgb.dtype == np.uint8:
        return rgb
    return rgb.astype(np.uint8) if int(rgb.max()) < 256 else (rgb >> 8).astype(np.uint8)


def _to_srgb(ds: Dataset, rgb: np.ndarray, notes: list[str]) -> np.ndarray:
    profile = ds.get("ICCProfile")
    if not isinstance(profile, bytes) or not profile:
        return rgb
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.createProfile("sRGB")
        picture = ImageCms.profileToProfile(Image.fromarray(rgb), source, target, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        notes.append("icc_invalid")
        return rgb
    notes.append("icc_applied")
    return np.array(picture) if picture is not None else rgb


# Grey


def _padding(ds: Dataset, shape: Shape, stored: Stored, notes: list[str]) -> np.ndarray | None:
    """Mask of valid pixels, from the stored values before anything is done to them (PS3.3 C.7.5.1.1.2)."""
    low = number(ds.get("PixelPaddingValue"))
    if low is None or stored.values.dtype.kind == "f":
        return None
    high = number(ds.get("PixelPaddingRangeLimit"))
    span = 1 << (stored.values.dtype.itemsize * 8)
    kind = np.iinfo(stored.values.dtype)
    ends = [
        int(v) if kind.min <= v <= kind.max else (int(v) + span) % span for v in (low, low if high is None else high)
    ]
    ends = [v - span if v > kind.max else v for v in ends]  # US and SS are confused in files: compare the bit pattern
    if not all(kind.min <= v <= kind.max for v in ends):
        return None
    if ends[0] == ends[1]:
        valid = stored.values != ends[0]
    else:
        valid = (stored.values < min(ends)) | (stored.values > max(ends))
    if valid.all():
        return None
    if not valid.any():
        notes.append("padding_everywhere")
        return None
    return valid


def _rescale(
    ds: Dataset, frame: int, values: np.ndarray, bits: int, signed: bool, notes: list[str]
) -> tuple[np.ndarray, str]:
    """Modality LUT: the sequence, else slope and intercept; per frame for enhanced objects."""
    sequence = ds.get("ModalityLUTSequence")
    if sequence is not None and len(sequence) and values.dtype.kind in "iu":
        item = sequence[0]
        table, first, _ = _table(ds, item, signed)
        index = np.clip(values.astype(np.int64) - first, 0, len(table) - 1)
        return table[index], _unit(ds, word(item.get("ModalityLUTType")))
    source = group(ds, "PixelValueTransformationSequence", frame)
    slope, intercept = (_exact(source, key) for key in ("RescaleSlope", "RescaleIntercept"))
    if slope is None and intercept is None:
        return np.ascontiguousarray(values), _unit(ds, "stored")
    slope, intercept = (1.0 if slope is None else slope), (intercept or 0.0)
    if slope == 0.0:
        notes.append("rescale_slope_zero")
        return np.ascontiguousarray(values), "stored"
    default = "HU" if modality(ds) == "CT" and "RescaleType" not in source else "unspecified"
    if (slope, intercept) == (1.0, 0.0) and default != "HU":
        default = "stored"
    return _linear(values, bits, signed, slope, intercept), _unit(ds, word(source.get("RescaleType")) or default)


def _exact(source: Dataset, keyword: str) -> float | None:
    """A number that the pixels depend on: None where it is absent, never where it is broken."""
    value = get(source, keyword)
    result = number(value)
    if result is None and keyword in source and source[keyword].value not in (None, ""):
        raise DamagedError("bad_value", f"{keyword} is not a finite number")
    return result


def _unit(ds: Dataset, declared: str) -> str:
    if modality(ds) == "PT" and word(ds.get("Units")) in _PET_UNITS:
        return word(ds.get("Units"))
    return declared if declared in _UNITS or declared == "stored" else "unspecified"


def _linear(values: np.ndarray, bits: int, signed: bool, slope: float, intercept: float) -> np.ndarray:
    """``values * slope + intercept`` in the smallest type that holds every possible result exactly, else float."""
    if (slope, intercept) == (1.0, 0.0):
        return np.ascontiguousarray(values)
    if values.dtype.kind == "f" or bits > 24 or not (slope.is_integer() and intercept.is_integer()):
        if bits <= 16 and values.dtype.kind != "f":  # float32 holds the stored value exactly; errors stay below 2 ulp
            out = np.multiply(values, np.float32(slope), dtype=np.float32)
            return out if intercept == 0.0 else np.add(out, np.float32(intercept), out=out)
        exact = values.astype(np.float64) * slope + intercept
        return exact.astype(np.float32) if bits <= 24 or values.dtype == np.float32 else exact
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    ends = sorted((low * int(slope) + int(intercept), high * int(slope) + int(intercept)))
    for dtype in (np.int16, np.uint16, np.int32):
        if np.iinfo(dtype).min <= ends[0] and ends[1] <= np.iinfo(dtype).max:
            # The end result fits, so wrapping on the way there does no harm.
            out = values.astype(dtype)
            if slope != 1.0:
                out *= np.int64(slope).astype(dtype)
            out += np.int64(intercept).astype(dtype)
            return out
    return values.astype(np.float64) * slope + intercept


def _table(ds: Dataset, item: Dataset, signed: bool) -> tuple[np.ndarray, int, int]:
    """Entries, first mapped value and bits of a LUT (PS3.3 C.11.1.1.1); an 8-bit table may be packed two to a word."""
    head, data = numbers(get(item, "LUTDescriptor")), get(item, "LUTData")
    if len(head) != 3 or data is None:
        raise DamagedError("lut", "a look-up table is missing its descriptor or its data")
    count, first, bits = (int(v) for v in head)
    count = count or 65_536
    if signed and first >= 32_768:
        first -= 65_536
    if isinstance(data, bytes):
        table = np.frombuffer(data[: len(data) // 2 * 2], "<u2" if ds.original_encoding[1] else ">u2")
    else:
        table = (np.atleast_1d(np.asarray(data, np.int64)) & 0xFFFF).astype(np.uint16)
    if bits <= 8 and len(table) < count <= 2 * len(table):
        table = table.astype("<u2").view(np.uint8).astype(np.uint16)
    if not 1 <= bits <= 16 or len(table) < count:
        raise DamagedError("lut", "a look-up table is shorter than its descriptor says")
    return table[:count], first, bits


def _windows(ds: Dataset, frame: int, factor: float, notes: list[str]) -> tuple[Window, ...]:
    """VOI LUTs first, then centre and width pairs, each checked by itself."""
    source = group(ds, "FrameVOILUTSequence", frame)
    found: list[Window] = []
    for item in source.get("VOILUTSequence") or ():
        try:
            table, first, bits = _table(ds, item, True)
            used = max(bits, int(table.max()).bit_length())
            found.append(Window(function="TABLE", name="file", table=tuple(table.tolist()), first=first, bits=used))
        except ImagingError:
            notes.append("voi_lut_invalid")
    centers, widths = numbers(get(source, "WindowCenter")), numbers(get(source, "WindowWidth"))
    function = word(source.get("VOILUTFunction")) or "LINEAR"
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        notes.append("voi_function_unknown")
        function = "LINEAR"
    for center, width in zip(centers, widths, strict=False):
        try:
            found.append(Window(center, width, function, "file"))
        except ImagingError:
            notes.append("window_invalid")
    if factor != 1.0:
        return tuple(window.scaled(factor) for window in found if window.function != "TABLE")
    return tuple(found)
