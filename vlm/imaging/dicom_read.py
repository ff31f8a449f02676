"""DICOM bytes to a header and the place of the pixel data, without trusting a single length.

Only the elements named in :data:`TAGS` are read, so names, dates of birth and free text never enter this program.
Deflated files are inflated here, in bounded steps, because pydicom would inflate them whole while parsing.
"""

import contextlib
import io
import struct
from dataclasses import dataclass
from typing import Any

from isal import isal_zlib
from pydicom import dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from vlm.imaging.errors import DamagedError, LimitError, UnreadableError
from vlm.imaging.image import Limits

DEFLATED = "1.2.840.10008.1.2.1.99"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_BE = "1.2.840.10008.1.2.2"

_KEYWORDS = """
    SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID FrameOfReferenceUID Modality ImageType
    InstanceNumber ViewPosition ImageLaterality Laterality Manufacturer Rows Columns NumberOfFrames
    SamplesPerPixel PhotometricInterpretation PlanarConfiguration BitsAllocated BitsStored HighBit
    PixelRepresentation PixelPaddingValue PixelPaddingRangeLimit LossyImageCompression ICCProfile
    PixelPresentation ExtendedOffsetTable ExtendedOffsetTableLengths RedPaletteColorLookupTableDescriptor
    GreenPaletteColorLookupTableDescriptor BluePaletteColorLookupTableDescriptor RedPaletteColorLookupTableData
    GreenPaletteColorLookupTableData BluePaletteColorLookupTableData SegmentedRedPaletteColorLookupTableData
    SegmentedGreenPaletteColorLookupTableData SegmentedBluePaletteColorLookupTableData RescaleSlope
    RescaleIntercept RescaleType ModalityLUTSequence VOILUTSequence WindowCenter WindowWidth VOILUTFunction
    PresentationLUTShape PixelSpacing PixelSpacingCalibrationType ImagerPixelSpacing NominalScannedPixelSpacing
    EstimatedRadiographicMagnificationFactor PixelAspectRatio SequenceOfUltrasoundRegions ImagePositionPatient
    ImageOrientationPatient SliceThickness SpacingBetweenSlices GantryDetectorTilt FrameTime
    SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence Units DecayCorrection CorrectedImage SUVType
    PatientWeight RadiopharmaceuticalInformationSequence SeriesDate SeriesTime AcquisitionDate AcquisitionTime
    FrameReferenceTime ActualFrameDuration
"""
# Philips SUV factors and GE's scan time are private; the private creators are read to be sure whose they are.
_PRIVATE = [0x70530010, 0x70531000, 0x70531009, 0x00090010, 0x0009100D]
TAGS: list[Any] = [tag_for_keyword(word) for word in _KEYWORDS.split()] + _PRIVATE

_PIXEL_ELEMENTS = {0x7FE00010: "PixelData", 0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData"}
_LONG_VR = {b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"UN"}
_UNDEFINED = 0xFFFFFFFF
_STEP = 1 << 16


@dataclass
class Parsed:
    """A DICOM header with the place of its pixel data.

    Attributes:
        ds: the elements of :data:`TAGS` that the file has.
        data: the whole file (after inflation); the pixel data are a slice of it.
        transfer_syntax: UID as declared, or as recognised where the file meta group is missing.
        little_endian: byte order of the data set.
        pixel_element: keyword of the pixel element, None where there is none.
        pixel_vr: its VR, b"" in implicit files.
        offset, length: of its value in ``data``; length is None where undefined (encapsulated).
        notes: codes for :class:`Provenance`.
    """

    ds: Dataset
    data: bytes
    transfer_syntax: str
    little_endian: bool
    pixel_element: str | None
    pixel_vr: bytes
    offset: int
    length: int | None
    notes: list[str]


def looks_like_dicom(head: bytes) -> bool:
    """True for a Part 10 file, and for a bare data set that begins with a group 0002 or 0008 element."""
    if head[128:132] == b"DICM":
        return True
    if len(head) < 8:
        return False
    group, element, length = struct.unpack("<HHI", head[:8])
    letters = head[4:6].isalpha() and head[4:6].isupper()
    if head[:2] == b"\x00\x08" and letters:
        return True  # explicit big endian
    return group in (0x0002, 0x0008) and element <= 0x1200 and (letters or length <= 1 << 16)


def parse(data: bytes, limits: Limits) -> Parsed:
    """Read the header.

    Raises:
        LimitError: the deflated data set is larger than allowed.
        DamagedError: the header does not parse.
    """
    notes: list[str] = []
    syntax, body = _file_meta(data)
    if syntax == DEFLATED:
        data, body = _inflate(data, body, limits)
    if data[128:132] != b"DICM":
        notes.append("no_preamble")
    stream = io.BytesIO(data)
    ds = dcmread(stream, stop_before_pixels=True, force=True, specific_tags=TAGS)
    implicit, little = ds.original_encoding
    if syntax is None:
        notes.append("no_transfer_syntax")
        syntax = IMPLICIT_LE if implicit else EXPLICIT_LE if little else EXPLICIT_BE
    element, vr, offset, length = _pixel_element(data, stream.tell(), bool(implicit), bool(little))
    return Parsed(ds, data, syntax, bool(little), element, vr, offset, length, notes)


def _file_meta(data: bytes) -> tuple[str | None, int]:
    """Transfer syntax and the offset where the data set begins. Group 0002 is always explicit little endian."""
    position = 132 if data[128:132] == b"DICM" else 0
    syntax = None
    while len(data) >= position + 8 and data[position : position + 2] == b"\x02\x00":
        element = data[position + 2 : position + 4]
        if data[position + 4 : position + 6] in _LONG_VR:
            (length,) = struct.unpack("<I", data[position + 8 : position + 12].ljust(4, b"\0"))
            start = position + 12
        else:
            (length,) = struct.unpack_from("<H", data, position + 6)
            start = position + 8
        if element == b"\x10\x00":
            text = data[start : start + min(length, 64)].rstrip(b"\0 ")
            syntax = text.decode("ascii", "replace") or None
        position = start + length
    return syntax, position


def _inflate(data: bytes, body: int, limits: Limits) -> tuple[bytes, int]:
    """The file as explicit little endian. At most ``limits.max_inflated_bytes`` are ever made."""
    meta = struct.pack("<HH2sH", 2, 0x10, b"UI", 20) + EXPLICIT_LE.encode() + b"\0"
    head = b"\0" * 128 + b"DICM" + meta
    return inflate(data, body, -isal_zlib.MAX_WBITS, limits, head), len(head)


def inflate(data: bytes, start: int, window_bits: int, limits: Limits, head: bytes = b"") -> bytes:
    """``head`` and what inflates from ``start``, made in small steps that stop at ``limits.max_inflated_bytes``.

    Raises:
        LimitError: there is more.
        DamagedError: it does not inflate.
    """
    inflater, pieces, total = isal_zlib.decompressobj(window_bits), [head], 0
    with contextlib.suppress(isal_zlib.error):  # pyright: ignore[reportArgumentType]
        view = memoryview(data)[start:]
        for at in range(0, len(view), _STEP):
            rest: bytes | memoryview = view[at : at + _STEP]
            while rest and total <= limits.max_inflated_bytes:
                pieces.append(inflater.decompress(rest, _STEP * 16))
                total += len(pieces[-1])
                rest = inflater.unconsumed_tail
            if inflater.eof or total > limits.max_inflated_bytes:
                break
        if total <= limits.max_inflated_bytes:
            return b"".join(pieces)
    if total > limits.max_inflated_bytes:
        mib = limits.max_inflated_bytes >> 20
        raise LimitError("inflated_too_large", f"the compressed file inflates to more than {mib} MiB")
    raise DamagedError("deflate_damaged", "the compressed file does not inflate: it is damaged")


def _pixel_element(data: bytes, at: int, implicit: bool, little: bool) -> tuple[str | None, bytes, int, int | None]:
    order = "<" if little else ">"
    if len(data) < at + 8:
        return None, b"", 0, 0
    group, element = struct.unpack_from(f"{order}HH", data, at)
    name = _PIXEL_ELEMENTS.get(group << 16 | element)
    if name is None:
        return None, b"", 0, 0
    vr = b""
    if not implicit and not (data[at + 4 : at + 6].isalpha() and data[at + 4 : at + 6].isupper()):
        implicit = True  # an implicit data set under an explicit transfer syntax; pydicom reads it so as well
    if implicit:
        (length,) = struct.unpack_from(f"{order}I", data, at + 4)
        start = at + 8
    else:
        vr = data[at + 4 : at + 6]
        if len(data) < at + 12:
            raise DamagedError("truncated", "the file ends inside the pixel data element")
        (length,) = struct.unpack_from(f"{order}I", data, at + 8)
        start = at + 12
    return name, vr, start, None if length == _UNDEFINED else length


def check_file(data: bytes) -> None:
    """Refuse what is empty or plainly something else, saying what it is."""
    if not data:
        raise UnreadableError("empty_file", "the file is empty")
    for magic, code, what in (
        (
            b"%PDF",
            "is_pdf",
            "this is a PDF, not an image: export the pages or pictures in it as DICOM, PNG or JPEG",
        ),
        (b"PK\x03\x04", "is_archive", "this is a ZIP archive: unpack it and give the files in it"),
        (b"<", "is_markup", "this is a text or HTML page, not an image"),
        (b"Rar!", "is_archive", "this is a RAR archive: unpack it and give the files in it"),
    ):
        if data.startswith(magic):
            raise UnreadableError(code, what)
