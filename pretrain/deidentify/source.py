"""A DICOM file as it comes: read within limits, refused where no rule makes it safe."""

import io
from dataclasses import dataclass

from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.filewriter import correct_ambiguous_vr

from pretrain.deidentify.errors import NotCoveredError, RefusedError, UnreadableError
from pretrain.deidentify.identity import walk
from vlm.imaging import Limits
from vlm.imaging.decode import load_bytes
from vlm.imaging.dicom_read import DEFLATED, EXPLICIT_LE, Parsed, parse
from vlm.imaging.errors import ImagingError

_STORAGE = "1.2.840.10008.5.1.4.1.1."
# PS3.4 table B.5-1. What is missing here (plans, doses, segmentations, presentation states, waveforms, whole slides,
# documents, everything private) is refused, because nobody has said what in it identifies.
_IMAGES = frozenset(
    "1 1.1 1.1.1 1.2 1.2.1 1.3 1.3.1 2 2.1 2.2 3 3.1 4 4.1 4.3 4.4 5 6 6.1 6.2 7 7.2 7.3 7.4 12.1 12.1.1 12.2 12.2.1 "
    "13.1.1 13.1.2 13.1.3 13.1.4 13.1.5 20 77.1.1 77.1.2 77.1.4 77.1.5.1 77.1.5.2 77.1.5.4 128 128.1 130".split()
)
_REPORTS = frozenset("88.11 88.22 88.33 88.34 88.35 88.50 88.59 88.65 88.67 88.68 88.69 88.76".split())
_LEFT_OUT = {
    "1.2.840.10008.1.3.10": ("dicomdir", "a DICOMDIR: it lists files that get other names"),
    _STORAGE + "77.1.6": ("whole_slide", "a whole slide image: its label and macro pictures carry names"),
}
_FAMILIES = (
    ("104.", "encapsulated_document", "an encapsulated document (PDF, CDA, ...)"),
    ("11.", "presentation_state", "a presentation state: without its graphics it says nothing"),
    ("481.", "radiotherapy", "a radiotherapy object"),
    ("9.", "waveform", "a waveform"),
    ("66", "derived_object", "a segmentation, registration, surface or raw data object"),
)
# Digital signatures, MAC parameters, encrypted attributes.
_SIGNED = (0xFFFAFFFA, 0x4FFE0001, 0x04000500, 0x04000520)


@dataclass
class Source:
    """A file that may be de-identified.

    Attributes:
        ds: every element, pixel data included.
        parsed: where the pixel data lie; for the decoder.
        kind: "image" or "report" (structured report, key object selection).
        preamble: the 128 bytes in front, b"" where there are none.
    """

    ds: FileDataset
    parsed: Parsed
    kind: str
    preamble: bytes


def read_source(data: bytes, limits: Limits) -> Source:
    """Parse and admit a file. Must run inside :func:`vlm.imaging.decode.quiet`.

    Raises:
        UnreadableError: it does not parse, or is over the limits.
        NotCoveredError: it is signed, encrypted, encapsulated, or of a class that no rule covers.
    """
    failure: RefusedError | None = None
    try:
        parsed = parse(data, limits)
        ds = dcmread(io.BytesIO(parsed.data), force=True)
        correct_ambiguous_vr(ds, parsed.little_endian)
    except ImagingError as error:
        failure = UnreadableError(error.code, error.reason)
    except (MemoryError, RecursionError) as error:
        failure = UnreadableError("damaged", f"the header asks for too much ({type(error).__name__})")
    except Exception as error:  # pydicom lets anything out on hostile bytes; its text may quote the file
        failure = UnreadableError("damaged", f"the header does not parse ({type(error).__name__})")
    if failure is not None:
        raise failure
    kind = _admit(ds)
    preamble = data[:128] if data[128:132] == b"DICM" else b""
    return Source(ds, parsed, kind, preamble)


def read_header_only(path: str, limits: Limits) -> FileDataset | None:
    """Every element but the pixel data, also those behind it; None where the file is no DICOM file that parses.

    Must run inside :func:`vlm.imaging.decode.quiet`.
    """
    try:
        data = load_bytes(path, limits)
        parsed_syntax = parse(data, limits)
        ds = dcmread(io.BytesIO(parsed_syntax.data), force=True)
        ds.pop("PixelData", None)
        return ds
    except ImagingError:
        return None
    except Exception:  # as in read_source; the file is met again there and refused with a reason
        return None


def _admit(ds: FileDataset) -> str:
    for tag in _SIGNED:
        if tag in ds:
            what = "digitally signed" if tag != 0x04000500 else "encrypted"
            raise NotCoveredError(
                "digital_signature" if tag != 0x04000500 else "encrypted",
                f"the object is {what}: any change breaks that, so it is not changed here",
            )
    if 0x00420011 in ds:
        raise NotCoveredError("encapsulated_document", "the object holds an encapsulated document")
    uid = str(ds.get("SOPClassUID") or getattr(ds.file_meta, "MediaStorageSOPClassUID", "") or "").strip("\0 ")
    if uid in _LEFT_OUT:
        code, what = _LEFT_OUT[uid]
        raise NotCoveredError(code, f"the object is {what}")
    tail = uid[len(_STORAGE) :] if uid.startswith(_STORAGE) else ""
    if tail in _REPORTS:
        _refuse_nested_signatures(ds)
        return "report"
    if tail in _IMAGES:
        _refuse_nested_signatures(ds)
        return "image"
    for prefix, code, what in _FAMILIES:
        if tail == prefix or tail.startswith(prefix if prefix.endswith(".") else prefix + "."):
            raise NotCoveredError(code, f"the object is {what}, which no rule here covers")
    raise NotCoveredError("sop_class", "the object's SOP class is missing or not one that the rules here cover")


def _refuse_nested_signatures(ds: FileDataset) -> None:
    for element, _item, _private in walk(ds):
        if element.tag in _SIGNED:
            raise NotCoveredError("digital_signature", "an item of the object is digitally signed or encrypted")


def is_compressed(parsed: Parsed) -> bool:
    """True where pixel data are encapsulated."""
    return parsed.length is None


def plain_syntax(parsed: Parsed) -> str:
    """Transfer syntax of ``parsed.data``, which is inflated already."""
    return EXPLICIT_LE if parsed.transfer_syntax == DEFLATED else parsed.transfer_syntax
