"""Stored pixel values at full depth, decoded by the sandboxed reader, and written back uncompressed."""

import io
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID

from pretrain.deidentify.errors import RefusedError, UnreadableError
from pretrain.deidentify.source import Source, is_compressed, plain_syntax
from vlm.imaging import Limits, read_frames, read_image
from vlm.imaging.errors import ImagingError

_SHAPE = """
Rows Columns NumberOfFrames SamplesPerPixel PlanarConfiguration BitsAllocated BitsStored HighBit PixelRepresentation
""".split()
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@dataclass
class Stored:
    """The frames of a file.

    Attributes:
        frames: (F, H, W) integers, or (F, H, W, 3) uint8 RGB.
        bits: significant bits of a value.
        photometric: as it is to be written: MONOCHROME1, MONOCHROME2, PALETTE COLOR or RGB.
    """

    frames: np.ndarray
    bits: int
    photometric: str

    @property
    def is_colour(self) -> bool:
        return self.frames.ndim == 4


def decode(source: Source, limits: Limits) -> Stored:
    """Every frame's stored values.

    The decoding child is given a file with nothing in it but the pixel data and their shape, so that no rescale,
    window, palette or colour profile is applied, and no name reaches it. YBR becomes RGB.

    Raises:
        UnreadableError: the pixels do not decode, or all frames together are too large.
    """
    ds = source.ds
    photometric = str(ds.get("PhotometricInterpretation") or "MONOCHROME2").strip()
    samples, bits = int(ds.get("SamplesPerPixel") or 1), int(ds.get("BitsAllocated") or 0)
    if "PixelData" not in ds:
        raise UnreadableError("no_pixel_data", "the image has no integer pixel data")
    if bits == 1 or (samples > 1 and bits != 8):
        raise UnreadableError("pixel_format", "one-bit pixels and colour of more than 8 bits are not cleaned here")
    failure: RefusedError | None = None
    images = []
    try:
        bare = _bare(source, samples, photometric)
        if int(ds.get("NumberOfFrames") or 1) == 1:
            images = [read_image(bare, limits=limits, pet_units="file")]
        else:
            images = read_frames(bare, limits=limits, pet_units="file")
    except ImagingError as error:
        failure = UnreadableError(error.code, f"the pixels do not decode: {error.reason}")
    except Exception as error:  # pydicom on a header that contradicts itself; its text may quote the file
        failure = UnreadableError("damaged", f"the pixel data element does not parse ({type(error).__name__})")
    if failure is not None:
        raise failure
    frames = np.stack([image.pixels for image in images])
    if frames.dtype.kind not in "iu":
        raise UnreadableError("pixel_format", "the pixels are not whole numbers")
    if samples > 1:
        return Stored(frames, 8, "RGB")
    # A codestream of fewer bits than the header says is padded with its sign: the header stays right.
    stored_bits = min(bits, max(images[0].provenance.bits_stored or bits, int(ds.get("BitsStored") or 0)))
    kind = np.dtype(f"<{frames.dtype.kind}{max(bits, frames.dtype.itemsize * 8) // 8}")
    return Stored(frames.astype(kind), stored_bits, photometric)


def _bare(source: Source, samples: int, photometric: str) -> bytes:
    ds, bare = source.ds, Dataset()
    bare.SOPClassUID, bare.Modality = _SECONDARY_CAPTURE, "OT"
    for word in _SHAPE:
        value = ds.get(word)
        if value not in (None, ""):
            setattr(bare, word, int(value))
    bare.PhotometricInterpretation = photometric if samples > 1 else "MONOCHROME2"
    for word in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        if word in ds:
            bare[word] = ds[word]
    bare.add(ds["PixelData"])
    bare["PixelData"].is_undefined_length = is_compressed(source.parsed)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(plain_syntax(source.parsed))
    buffer = io.BytesIO()
    little = source.parsed.little_endian
    implicit = meta.TransferSyntaxUID.is_implicit_VR
    file = FileDataset("", bare, preamble=b"\0" * 128, file_meta=meta)
    dcmwrite(buffer, file, implicit_vr=implicit, little_endian=little, force_encoding=True)
    return buffer.getvalue()


def put_pixels(out: Dataset, stored: Stored) -> None:
    """Describe and store the frames in a data set that is to be written as explicit little endian."""
    frames = np.ascontiguousarray(stored.frames)
    out.SamplesPerPixel = 3 if stored.is_colour else 1
    out.PhotometricInterpretation = stored.photometric
    if stored.is_colour:
        out.PlanarConfiguration = 0
    elif "PlanarConfiguration" in out:
        del out.PlanarConfiguration
    out.Rows, out.Columns = frames.shape[1:3]
    out.BitsAllocated = frames.dtype.itemsize * 8
    out.BitsStored, out.HighBit = stored.bits, stored.bits - 1
    out.PixelRepresentation = int(frames.dtype.kind == "i")
    data = frames.astype(frames.dtype.newbyteorder("<")).tobytes()
    out.add_new("PixelData", "OB" if out.BitsAllocated == 8 else "OW", data + b"\0" * (len(data) % 2))
    for word in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths", "EncapsulatedPixelDataValueTotalLength"):
        if word in out:
            del out[word]
