"""What is let in: SOP classes that hold a picture, transfer syntaxes that have a decoder, sizes within the limits."""

from dataclasses import dataclass

from vlm.imaging.dicom_read import Parsed
from vlm.imaging.errors import DamagedError, LimitError, NotAnImageError, UnsupportedError
from vlm.imaging.image import Limits

_STORAGE = "1.2.840.10008.5.1.4.1.1."
# PS3.4 table B.5-1; a trailing dot is a family.
_NOT_IMAGES = (
    ("88.", "is_report", "a structured report or key object selection"),
    ("9.", "is_waveform", "a waveform (ECG, audio, ...)"),
    ("11.", "is_presentation_state", "a presentation state"),
    ("104.", "is_document", "an encapsulated document (PDF, CDA, STL, ...)"),
    ("481.", "is_radiotherapy", "a radiotherapy object (plan, dose, structure set, record)"),
    ("34.", "is_radiotherapy", "a radiotherapy object"),
    ("66", "is_derived_object", "a registration, segmentation, surface or raw data object"),
    ("66.", "is_derived_object", "a registration, segmentation, surface or raw data object"),
    ("4.2", "is_spectroscopy", "magnetic resonance spectroscopy"),
    ("67", "is_mapping", "a real world value mapping"),
    ("68.", "is_derived_object", "a surface scan"),
    ("78.", "is_measurement", "an ophthalmic measurement without a picture"),
    ("79.", "is_measurement", "an ophthalmic measurement without a picture"),
    ("80.", "is_measurement", "an ophthalmic measurement without a picture"),
    ("90.", "is_measurement", "an assessment without a picture"),
    ("131", "is_protocol", "an implant or protocol description"),
    ("200.", "is_protocol", "a protocol"),
    ("201.", "is_inventory", "an inventory"),
)
_OTHER_NOT_IMAGES = {
    "1.2.840.10008.1.3.10": ("is_dicomdir", "a DICOMDIR index: give the files that it lists"),
    "1.2.840.10008.5.1.4.39.1": ("is_palette", "a colour palette"),
    "1.2.840.10008.5.1.4.34.6.1": ("is_worklist", "a procedure step"),
}
_NOT_IMAGE_MODALITIES = {
    **dict.fromkeys(("SR", "KO", "FID"), "is_report"),
    **dict.fromkeys(("ECG", "EPS", "HD", "RESP", "EEG", "EMG", "AU"), "is_waveform"),
    **dict.fromkeys(("RTPLAN", "RTSTRUCT", "RTDOSE", "RTRECORD"), "is_radiotherapy"),
    **dict.fromkeys(("PR",), "is_presentation_state"),
    **dict.fromkeys(("DOC", "M3D"), "is_document"),
    **dict.fromkeys(("SEG", "REG"), "is_derived_object"),
}


def check_object(parsed: Parsed) -> None:
    """Route by SOP class, then by modality.

    Raises:
        NotAnImageError: a report, plan, waveform, document, ...; or an object without pixel data.
    """
    ds = parsed.ds
    uid = str(ds.get("SOPClassUID") or getattr(ds.file_meta, "MediaStorageSOPClassUID", "") or "")
    if uid in _OTHER_NOT_IMAGES:
        code, what = _OTHER_NOT_IMAGES[uid]
        raise NotAnImageError(code, f"this DICOM object is {what}, not an image")
    if uid.startswith(_STORAGE):
        tail = uid[len(_STORAGE) :]
        for prefix, code, what in _NOT_IMAGES:
            if tail == prefix or (prefix.endswith(".") and tail.startswith(prefix)):
                raise NotAnImageError(code, f"this DICOM object is {what}, not an image")
    code = _NOT_IMAGE_MODALITIES.get(str(ds.get("Modality", "")))
    if code:
        raise NotAnImageError(code, "the modality of this DICOM object is not that of an image")
    if not uid:
        parsed.notes.append("no_sop_class")
    if parsed.pixel_element is None:
        raise NotAnImageError("no_pixel_data", "this DICOM object has no pixel data")


# One decoder for each transfer syntax, never "try all": a second installed library must not change pixels.
NATIVE = "native"
DECODERS: dict[str, str] = {
    "1.2.840.10008.1.2": NATIVE,
    "1.2.840.10008.1.2.1": NATIVE,
    "1.2.840.10008.1.2.1.99": NATIVE,
    "1.2.840.10008.1.2.2": NATIVE,
    "1.2.840.10008.1.2.5": "rle",
    "1.2.840.10008.1.2.4.50": "pillow",
    "1.2.840.10008.1.2.4.51": "libjpeg-turbo",
    "1.2.840.10008.1.2.4.57": "libjpeg-turbo",
    "1.2.840.10008.1.2.4.70": "libjpeg-turbo",
    "1.2.840.10008.1.2.4.80": "charls",
    "1.2.840.10008.1.2.4.81": "charls",
    "1.2.840.10008.1.2.4.90": "openjpeg",
    "1.2.840.10008.1.2.4.91": "openjpeg",
    "1.2.840.10008.1.2.4.201": "openjph",
    "1.2.840.10008.1.2.4.202": "openjph",
    "1.2.840.10008.1.2.4.203": "openjph",
}
_KNOWN_UNSUPPORTED = {
    "1.2.840.10008.1.2.4.92": "JPEG 2000 part 2",
    "1.2.840.10008.1.2.4.93": "JPEG 2000 part 2",
    "1.2.840.10008.1.2.4.94": "JPIP (pixels by reference)",
    "1.2.840.10008.1.2.4.95": "JPIP (pixels by reference)",
    "1.2.840.10008.1.2.4.110": "JPEG XL",
    "1.2.840.10008.1.2.4.111": "JPEG XL",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
    "1.2.840.10008.1.2.8.1": "deflated image frames",
}
_VIDEO = tuple(f"1.2.840.10008.1.2.4.{n}" for n in (100, 101, 102, 103, 104, 105, 106, 107, 108))


def check_syntax(parsed: Parsed) -> str:
    """Name of the one decoder for the file's transfer syntax.

    Raises:
        UnsupportedError: there is none.
    """
    uid = parsed.transfer_syntax
    decoder = DECODERS.get(uid)
    if decoder:
        return decoder
    advice = "convert it to another transfer syntax, for example with dcmdjpeg or gdcmconv"
    if uid in _KNOWN_UNSUPPORTED:
        raise UnsupportedError("transfer_syntax", f"{_KNOWN_UNSUPPORTED[uid]} has no decoder here: {advice}")
    if uid.startswith(_VIDEO):
        raise UnsupportedError("transfer_syntax_video", f"MPEG and HEVC video have no decoder here: {advice}")
    raise UnsupportedError("transfer_syntax", f"the transfer syntax is not one that is decoded here: {advice}")


@dataclass(frozen=True)
class Shape:
    """Declared shape of the pixel data; all of it checked against the limits."""

    rows: int
    columns: int
    frames: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    photometric: str
    planar: int
    element: str

    @property
    def frame_bits(self) -> int:
        per_pixel = 2 if self.subsampled else self.samples
        return self.rows * self.columns * per_pixel * self.bits_allocated

    @property
    def subsampled(self) -> bool:
        """Uncompressed YBR_FULL_422 holds two samples a pixel."""
        return self.photometric == "YBR_FULL_422"


PHOTOMETRIC = {
    "MONOCHROME1": 1,
    "MONOCHROME2": 1,
    "PALETTE COLOR": 1,
    "RGB": 3,
    "YBR_FULL": 3,
    "YBR_FULL_422": 3,
    "YBR_ICT": 3,
    "YBR_RCT": 3,
}


def admit(parsed: Parsed, limits: Limits) -> Shape:
    """Check every declared size before anything is allocated.

    Raises:
        DamagedError: a size is missing, zero or not a number.
        LimitError: a size is over the limits.
        UnsupportedError: a photometric interpretation or bit depth that is not decoded here.
    """
    rows, columns = _whole(parsed, "Rows"), _whole(parsed, "Columns")
    frames = _whole(parsed, "NumberOfFrames", 1)
    samples = _whole(parsed, "SamplesPerPixel", 1)
    bits = _whole(
        parsed,
        "BitsAllocated",
        {"FloatPixelData": 32, "DoubleFloatPixelData": 64}.get(parsed.pixel_element or ""),
    )
    stored = _whole(parsed, "BitsStored", bits)
    if min(rows, columns, frames, samples, bits) < 1:
        raise DamagedError("zero_size", "rows, columns, frames, samples or bits are zero")
    check_size(rows, columns, frames, rows * columns * samples * bits, limits)
    if bits not in (1, 8, 16, 32, 64) or (bits == 64 and parsed.pixel_element == "PixelData"):
        raise UnsupportedError("bits_allocated", "Bits Allocated is not 1, 8, 16 or 32: not decoded here")
    if not 1 <= stored <= bits:
        parsed.notes.append("bits_stored_invalid")
        stored = bits
    photometric = str(parsed.ds.get("PhotometricInterpretation") or "").strip()
    if not photometric:
        photometric = "MONOCHROME2" if samples == 1 else "RGB"
        parsed.notes.append("no_photometric")
    if photometric not in PHOTOMETRIC:
        raise UnsupportedError("photometric", "the photometric interpretation is not one that is decoded here")
    if PHOTOMETRIC[photometric] != samples:
        raise DamagedError("samples", "samples per pixel contradict the photometric interpretation")
    high = _whole(parsed, "HighBit", stored - 1)
    planar = _whole(parsed, "PlanarConfiguration", 0) if samples > 1 else 0
    signed = _whole(parsed, "PixelRepresentation", 0) == 1
    element = parsed.pixel_element or "PixelData"
    return Shape(rows, columns, frames, samples, bits, stored, high, signed, photometric, planar, element)


def check_size(rows: int, columns: int, frames: int, frame_bits: int, limits: Limits) -> None:
    """Raises LimitError naming the limit that is passed."""
    if max(rows, columns) > limits.max_side:
        raise LimitError("side_too_long", f"a side is longer than {limits.max_side} pixels")
    if frames > limits.max_frames:
        raise LimitError("too_many_frames", f"more than {limits.max_frames} frames are declared")
    frame_bytes = (frame_bits + 7) // 8
    if frame_bytes > limits.max_frame_bytes:
        raise LimitError("frame_too_large", f"a decoded frame would take more than {limits.max_frame_bytes >> 20} MiB")
    if frame_bytes * frames > limits.max_total_bytes:
        raise LimitError("frames_too_large", f"all frames would take more than {limits.max_total_bytes >> 20} MiB")


def _whole(parsed: Parsed, keyword: str, default: int | None = None) -> int:
    """An element as a whole number; what cannot be one is damage, and its value is not repeated."""
    number = None
    try:
        value = parsed.ds.get(keyword)
        if value is None or value == "":
            number = default
        else:
            number = int(value[0] if isinstance(value, (list, tuple)) else value)
    except (TypeError, ValueError, OverflowError, IndexError):
        number = None
    if number is None or number < 0:
        raise DamagedError("bad_value", f"{keyword} is missing or not a whole number")
    return number
