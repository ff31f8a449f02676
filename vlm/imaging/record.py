"""A MedicalImage as bytes and JSON, and back, exactly.

Integer pixels whose range fits 16 bits are a PNG of ``pixels - offset``; colour is an RGB PNG; everything else
(floating point, wide integers) is a .npy file. Nothing is ever unpickled.
"""

import base64
import binascii
import io
import zlib
from dataclasses import asdict
from typing import Any

import numpy as np
from PIL import Image

from vlm.imaging.errors import ImagingError, RecordError
from vlm.imaging.image import MedicalImage, Provenance
from vlm.imaging.windows import Window

_MAX_PIXELS = 1 << 28
DTYPES = {"|b1", "|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<f4", "<f8"}


def describe(image: MedicalImage) -> dict[str, Any]:
    """Everything but the arrays, as JSON."""
    return {
        "units": image.units,
        "spacing_mm": image.spacing_mm and list(image.spacing_mm),
        "spacing_source": image.spacing_source,
        "modality": image.modality,
        "inverted": image.inverted,
        "windows": [_window_json(w) for w in image.windows],
        "provenance": {**asdict(image.provenance), "notes": list(image.provenance.notes)},
        "orientation": image.orientation and list(image.orientation),
        "position_mm": image.position_mm and list(image.position_mm),
    }


def rebuild(pixels: np.ndarray, valid: np.ndarray | None, meta: dict[str, Any]) -> MedicalImage:
    """Inverse of :func:`describe`, given the arrays.

    Raises:
        RecordError: a key is missing or of the wrong type.
    """
    try:
        provenance = {**meta["provenance"], "notes": tuple(meta["provenance"].get("notes", ()))}
        return MedicalImage(
            pixels=pixels,
            units=meta["units"],
            spacing_mm=_floats(meta["spacing_mm"], 2),  # type: ignore[arg-type]
            spacing_source=meta["spacing_source"],
            modality=meta["modality"],
            inverted=bool(meta["inverted"]),
            windows=tuple(_window_from(w) for w in meta["windows"]),
            valid=valid,
            provenance=Provenance(**provenance),
            orientation=_floats(meta.get("orientation"), 6),
            position_mm=_floats(meta.get("position_mm"), 3),
        )
    except (KeyError, TypeError, ValueError, AttributeError, ImagingError) as error:
        kind = type(error).__name__
    raise RecordError("record_meta", f"the metadata of an image record is broken ({kind}): import the file again")


def encode(image: MedicalImage) -> tuple[bytes, dict[str, Any]]:
    """See :meth:`MedicalImage.to_record`."""
    meta = describe(image)
    meta["valid"] = _encode_mask(image)
    pixels = image.pixels
    meta["dtype"] = pixels.dtype.newbyteorder("<").str if pixels.dtype.itemsize > 1 else pixels.dtype.str
    if pixels.ndim == 3:
        return _png(pixels, "RGB"), {**meta, "encoding": "png", "offset": 0}
    if pixels.dtype.kind in "iu":
        low, high = int(pixels.min()), int(pixels.max())
        offset = 0 if low >= 0 and high <= 65_535 else low
        span = high - offset
        if span <= 255:
            shifted = pixels if pixels.dtype == np.uint8 and offset == 0 else (pixels - offset).astype(np.uint8)
            return _png(shifted, "L"), {**meta, "encoding": "png", "offset": offset}
        if span <= 65_535:
            wide = pixels.astype(np.int64) - offset if offset else pixels
            return _png(wide.astype("<u2"), "I;16"), {**meta, "encoding": "png", "offset": offset}
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(pixels, dtype=meta["dtype"]), allow_pickle=False)
    return buffer.getvalue(), {**meta, "encoding": "npy", "offset": 0}


def decode(data: bytes, meta: dict[str, Any]) -> MedicalImage:
    """See :meth:`MedicalImage.from_record`."""
    try:
        dtype = np.dtype(meta["dtype"])
        if dtype.str not in DTYPES:
            raise RecordError("record_dtype", "an image record holds a number type that is not stored here")
        if meta["encoding"] == "npy":
            pixels = np.load(io.BytesIO(data), allow_pickle=False)
        else:
            with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
                if picture.width * picture.height > _MAX_PIXELS:
                    raise RecordError("record_too_large", "an image record declares more pixels than any image has")
                pixels = np.array(picture)
            offset = int(meta["offset"])
            if offset:
                pixels = pixels.astype(np.int64) + offset
            pixels = pixels.astype(dtype, copy=False)
        if pixels.dtype.str != dtype.str or pixels.ndim not in (2, 3):
            raise RecordError("record_shape", "the pixels of an image record are not what its metadata says")
        valid = _decode_mask(meta["valid"], pixels)
        return rebuild(pixels, valid, meta)
    except RecordError:
        raise
    except (
        KeyError,
        TypeError,
        ValueError,
        OSError,
        EOFError,
        zlib.error,
        binascii.Error,
        SyntaxError,
    ) as error:
        kind = type(error).__name__
    raise RecordError("record_broken", f"the bytes of an image record are broken ({kind}): import the file again")


def _png(array: np.ndarray, mode: str) -> bytes:
    buffer = io.BytesIO()
    picture = Image.frombytes(mode, (array.shape[1], array.shape[0]), np.ascontiguousarray(array).tobytes())
    # Run lengths and Huffman after the row filters: half the time of level 1, and smaller for radiographs.
    picture.save(buffer, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return buffer.getvalue()


def _encode_mask(image: MedicalImage) -> dict[str, Any] | None:
    """The padding value alone where no valid pixel has it, else packed bits."""
    if image.valid is None:
        return None
    padding = image.pixels[~image.valid]
    constant = (
        image.pixels.ndim == 2 and image.pixels.dtype.kind in "iu" and padding.size and (padding == padding[0]).all()
    )
    if constant and int((image.pixels == padding[0]).sum()) == padding.size:
        return {"padding": int(padding[0])}
    bits = zlib.compress(np.packbits(image.valid).tobytes(), 6)
    return {"bits": base64.b64encode(bits).decode()}


def _decode_mask(spec: dict[str, Any] | None, pixels: np.ndarray) -> np.ndarray | None:
    if spec is None:
        return None
    if "padding" in spec:
        return pixels != spec["padding"]
    shape = pixels.shape[:2]
    size = shape[0] * shape[1]
    packed = zlib.decompressobj().decompress(base64.b64decode(spec["bits"], validate=True), (size + 7) // 8)
    if len(packed) != (size + 7) // 8:
        raise ValueError("mask too short")
    return np.unpackbits(np.frombuffer(packed, np.uint8), count=size).reshape(shape).astype(bool)


def _window_json(window: Window) -> dict[str, Any]:
    values: dict[str, Any] = {"name": window.name, "function": window.function}
    if window.function != "TABLE":
        return {**values, "center": window.center, "width": window.width}
    table = base64.b64encode(zlib.compress(np.asarray(window.table, "<u2").tobytes())).decode()
    return {**values, "table": table, "first": window.first, "bits": window.bits}


def _window_from(values: dict[str, Any]) -> Window:
    values = dict(values)
    if "table" in values:
        raw = zlib.decompressobj().decompress(base64.b64decode(values["table"]), 1 << 18)
        values["table"] = tuple(int(v) for v in np.frombuffer(raw, "<u2"))
    return Window(**values)


def _floats(values: Any, count: int) -> tuple[float, ...] | None:
    if values is None:
        return None
    if len(values) != count:
        raise ValueError("wrong number of values")
    return tuple(float(v) for v in values)
