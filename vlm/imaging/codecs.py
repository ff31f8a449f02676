"""One pinned decoder for each family of transfer syntaxes: bytes of a frame to stored values.

Every codestream is measured before it is decoded: a size other than the header's is refused, so no decoder allocates
more than what the admission caps let through.
"""

import io
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import numpy as np
from PIL import Image

from vlm.imaging.codestream import Codestream, read_j2k, read_jpeg
from vlm.imaging.dicom_gate import NATIVE, Shape
from vlm.imaging.dicom_read import Parsed
from vlm.imaging.errors import DamagedError, UnsupportedError
from vlm.imaging.frames import encapsulated_frame, native_frame

JPEG_BASELINE = "1.2.840.10008.1.2.4.50"


@dataclass
class Stored:
    """Decoded stored values.

    Attributes:
        values: (H, W) or (H, W, 3); may be a read-only view of the file's bytes.
        bits: significant bits.
        colour: "GREY", "RGB" or "YBR" (full range YCbCr that is still to be converted).
        clean: False where bits above ``bits`` may hold something else (overlays, padding) and must be cut off.
    """

    values: np.ndarray
    bits: int
    colour: str
    clean: bool


@lru_cache
def decoder_version(name: str) -> str:
    """Name and version of a decoder, for the provenance."""
    package = {
        NATIVE: "numpy",
        "rle": "pillow",
        "pillow": "pillow",
        "libjpeg-turbo": "imagecodecs",
        "charls": "pyjpegls",
        "openjpeg": "pylibjpeg-openjpeg",
        "openjph": "imagecodecs",
    }[name]
    label = name if package == name else f"{name} ({package})"
    return f"{label} {version(package)}"


def decode_frame(parsed: Parsed, shape: Shape, decoder: str, index: int) -> Stored:
    """Stored values of frame ``index``.

    Raises:
        DamagedError, UnsupportedError: as the codec says; any other exception of a codec is the caller's to translate.
    """
    if decoder == NATIVE:
        return _native(parsed, shape, index)
    if shape.element != "PixelData":
        raise DamagedError("float_compressed", "floating point pixel data cannot be compressed")
    data = encapsulated_frame(parsed, shape, index)
    if decoder == "rle":
        return _rle(data, shape)
    if decoder in ("openjpeg", "openjph"):
        return _jpeg2000(data, shape, decoder)
    head = read_jpeg(data)
    _same_size(head, shape)
    if decoder == "pillow":
        return _jpeg_baseline(data, head, shape)
    if decoder == "charls":
        return _charls(data, head, shape)
    return _jpeg_deep(data, head, shape, parsed.transfer_syntax)


def _same_size(head: Codestream, shape: Shape) -> None:
    if (head.rows, head.columns, head.samples) != (shape.rows, shape.columns, shape.samples):
        raise DamagedError(
            "codestream_size", "the codestream's size differs from rows, columns and samples of the header"
        )


def _colour(shape: Shape) -> str:
    if shape.samples == 1:
        return "GREY"
    return "YBR" if shape.photometric in ("YBR_FULL", "YBR_FULL_422") else "RGB"


def _shaped(buffer: Any, dtype: str, shape: Shape, planar: bool) -> np.ndarray:
    values = np.frombuffer(buffer, dtype)
    size = shape.rows * shape.columns * shape.samples
    if values.size != size:
        raise DamagedError("decoded_size", "the decoder gave another number of pixels than rows and columns say")
    if shape.samples == 1:
        return values.reshape(shape.rows, shape.columns)
    if planar:
        return values.reshape(shape.samples, shape.rows, shape.columns).transpose(1, 2, 0)
    return values.reshape(shape.rows, shape.columns, shape.samples)


# Uncompressed


def _native(parsed: Parsed, shape: Shape, index: int) -> Stored:
    view = native_frame(parsed, shape, index)
    order = "<" if parsed.little_endian else ">"
    if shape.element != "PixelData":
        values = _shaped(view, f"{order}f{shape.bits_allocated // 8}", shape, shape.planar == 1)
        return Stored(values, shape.bits_allocated, _colour(shape), True)
    if shape.bits_allocated == 1:
        skip = shape.frame_bits * index % 8
        bits = np.unpackbits(np.frombuffer(view, np.uint8), bitorder="little")[skip : skip + shape.frame_bits]
        return Stored(_shaped(bits.data, "u1", shape, shape.planar == 1), 1, _colour(shape), True)
    buffer: bytes | memoryview = view
    if not parsed.little_endian and shape.bits_allocated == 8 and parsed.pixel_vr == b"OW":
        buffer = _swapped(parsed, shape, index)
    if shape.subsampled:
        return Stored(_upsample_422(buffer, shape), shape.bits_stored, "YBR", True)
    kind = "i" if shape.signed else "u"
    values = _shaped(buffer, f"{order}{kind}{shape.bits_allocated // 8}", shape, shape.planar == 1)
    if not parsed.little_endian:
        values = values.astype(values.dtype.newbyteorder("="))
    shift = shape.high_bit + 1 - shape.bits_stored
    if shift > 0 and shape.high_bit < shape.bits_allocated:
        values = values >> shift
    return Stored(values, shape.bits_stored, _colour(shape), shape.bits_stored == shape.bits_allocated)


def _swapped(parsed: Parsed, shape: Shape, index: int) -> bytes:
    """8-bit samples of a frame out of big endian 16-bit words."""
    start = parsed.offset + shape.frame_bits // 8 * index
    stop = start + shape.frame_bits // 8
    low, high = start - (start - parsed.offset) % 2, stop + (stop - parsed.offset) % 2
    words = np.frombuffer(parsed.data[low:high].ljust(high - low, b"\0"), "u1").reshape(-1, 2)
    return words[:, ::-1].tobytes()[start - low : stop - low]


def _upsample_422(buffer: bytes | memoryview, shape: Shape) -> np.ndarray:
    """Y1 Y2 Cb Cr to one triple a pixel (PS3.3 C.7.6.3.1.2)."""
    if shape.bits_allocated != 8 or shape.columns % 2:
        raise UnsupportedError("subsampled", "YBR_FULL_422 with odd columns or more than 8 bits is not decoded here")
    quads = np.frombuffer(buffer, np.uint8).reshape(shape.rows, shape.columns // 2, 4)
    out = np.empty((shape.rows, shape.columns, 3), np.uint8)
    out[:, 0::2, 0], out[:, 1::2, 0] = quads[..., 0], quads[..., 1]
    out[:, 0::2, 1:], out[:, 1::2, 1:] = quads[..., 2:], quads[..., 2:]
    return out


# RLE


def _rle(data: bytes, shape: Shape) -> Stored:
    """PS3.5 annex G. Pillow's PackBits decoder is C, bounded by the size asked for, and fuzzed upstream."""
    width = shape.bits_allocated // 8
    count = width * shape.samples
    if shape.bits_allocated % 8 or count > 15 or len(data) < 64:
        raise DamagedError("rle_header", "the RLE header is missing or the pixel size cannot be RLE")
    head = np.frombuffer(data[:64], "<u4")
    offsets = [int(v) for v in head[1 : 1 + count]] + [len(data)]
    if int(head[0]) != count or offsets[0] < 64 or offsets != sorted(offsets):
        raise DamagedError("rle_header", "the RLE segments contradict samples and bits of the header")
    pixels = shape.rows * shape.columns
    planes = np.empty((shape.samples, pixels, width), np.uint8)
    for i in range(count):
        # A segment holds one byte of every pixel, the most significant first.
        planes[i // width, :, width - 1 - i % width] = _packbits(data[offsets[i] : offsets[i + 1]], pixels)
    kind = "i" if shape.signed else "u"
    values = _shaped(planes.reshape(-1).data, f"<{kind}{width}", shape, True)
    clean = shape.bits_stored == shape.bits_allocated
    return Stored(values, shape.bits_stored, _colour(shape), clean)


def _packbits(segment: bytes, size: int) -> np.ndarray:
    failed = False
    try:
        return np.asarray(Image.frombytes("L", (size, 1), segment, "packbits", "L")).reshape(-1)
    except (ValueError, OSError):
        failed = True
    assert failed
    raise DamagedError("rle_segment", "an RLE segment is shorter or longer than the picture")


# JPEG families


def _jpeg_baseline(data: bytes, head: Codestream, shape: Shape) -> Stored:
    if head.precision != 8 or head.process not in (0xC0, 0xC1, 0xC2):
        raise UnsupportedError("jpeg_process", "a JPEG of another process than its transfer syntax says")
    picture = Image.open(io.BytesIO(data), formats=("JPEG",))
    if shape.samples == 1:
        return Stored(_shaped(picture.tobytes(), "u1", shape, False), 8, "GREY", True)
    is_rgb = head.component_ids in ((82, 71, 66), (114, 103, 98)) or head.adobe_transform == 0
    if shape.photometric == "RGB" and not head.jfif and head.adobe_transform is None and not is_rgb:
        # The file says RGB and the codestream says nothing: libjpeg would assume YCbCr. Take the samples as they are.
        picture.draft("YCbCr", picture.size)
        if picture.mode != "YCbCr":
            raise DamagedError("jpeg_colour", "the colour of the JPEG contradicts its markers")
    elif picture.mode != "RGB":
        picture = picture.convert("RGB")
    return Stored(_shaped(picture.tobytes(), "u1", shape, False), 8, "RGB", True)


def _charls(data: bytes, head: Codestream, shape: Shape) -> Stored:
    from jpeg_ls import decode_pixel_data

    if head.process != 0xF7:
        raise DamagedError("codestream", "the compressed frame is not a JPEG-LS codestream")
    buffer, info = decode_pixel_data(data)
    planar = info["components"] > 1 and info["interleave_mode"] == 0
    values = _shaped(buffer, "u1" if head.precision <= 8 else "<u2", shape, planar)
    return Stored(_resigned(values, head.precision, shape.signed), head.precision, _colour(shape), True)


def _jpeg_deep(data: bytes, head: Codestream, shape: Shape, syntax: str) -> Stored:
    """Lossless JPEG and JPEG of 8 and 12 bits by libjpeg-turbo 3, in half of gdcm's time."""
    import imagecodecs

    if head.process not in (0xC0, 0xC1, 0xC3):
        raise UnsupportedError(
            "jpeg_process", "a JPEG process (progressive, hierarchical, ...) that is not decoded here"
        )
    if (syntax.endswith(".51") and head.process == 0xC3) or (not syntax.endswith(".51") and head.process != 0xC3):
        raise DamagedError("jpeg_process", "a JPEG of another process than its transfer syntax says")
    # Both colour spaces alike: the samples come as they are, whatever the decoder would guess from its markers.
    space = "RGB" if shape.samples == 3 else None
    values = imagecodecs.jpeg8_decode(data, colorspace=space, outcolorspace=space)
    if values.dtype != np.dtype("u1" if head.precision <= 8 else "u2"):
        raise DamagedError("decoded_size", "the decoder gave another kind of number than the codestream says")
    values = _shaped(np.ascontiguousarray(values).reshape(-1), values.dtype.str, shape, False)
    return Stored(_resigned(values, head.precision, shape.signed), head.precision, _colour(shape), True)


def _jpeg2000(data: bytes, shape: Shape, decoder: str) -> Stored:
    head = read_j2k(data)
    _same_size(head, shape)
    if head.precision > 16:
        raise UnsupportedError("precision", "JPEG 2000 of more than 16 bits is not decoded here")
    width = 1 if head.precision <= 8 else 2
    dtype = f"<{'i' if head.signed else 'u'}{width}"
    codestream = data[head.start :] if head.start else data
    values = _shaped(
        _openjph(codestream, dtype) if decoder == "openjph" else _openjpeg(codestream), dtype, shape, False
    )
    if head.signed != shape.signed:
        # The header says how the numbers are meant: the codestream's bit pattern is read again that way (pydicom 3
        # does the same; J2K_pixelrep_mismatch.dcm is the case).
        values = _resigned(values.view(f"<u{width}"), head.precision, shape.signed)
    return Stored(values, head.precision, _colour(shape), True)


def _openjpeg(codestream: bytes) -> Any:
    from openjpeg.utils import decode_pixel_data

    return decode_pixel_data(codestream, version=2)


def _openjph(codestream: bytes, dtype: str) -> Any:
    """Half the time of OpenJPEG on high-throughput JPEG 2000, which is all that it decodes."""
    import imagecodecs

    values = imagecodecs.htj2k_decode(codestream)
    if values.dtype != np.dtype(dtype):
        raise DamagedError("decoded_size", "the decoder gave another kind of number than the codestream says")
    return np.ascontiguousarray(values).reshape(-1)


def _resigned(values: np.ndarray, bits: int, signed: bool) -> np.ndarray:
    """Unsigned bit patterns of ``bits`` bits as signed (or, unsigned, cut to ``bits``)."""
    container = values.dtype.itemsize * 8
    if signed:
        values = values.view(values.dtype.str.replace("u", "i"))
    shift = container - bits
    return (values << shift) >> shift if shift else values


def cut_unused_bits(values: np.ndarray, bits: int) -> np.ndarray:
    """Only the low ``bits`` bits count (PS3.5 8.1.1); the sign bit among them is extended."""
    shift = values.dtype.itemsize * 8 - bits
    if shift <= 0:
        return values
    if values.dtype.kind == "u":
        top = values.dtype.type((1 << bits) - 1)
        return values if values.max() <= top else values & top
    half = 1 << (bits - 1)
    if values.max() < half and values.min() >= -half:
        return values
    return (values << shift) >> shift
