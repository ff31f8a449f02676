"""PNG, JPEG and TIFF through Pillow: 8 and 16 bit grey, RGB; no spacing, because DPI is not anatomy."""

import io

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL import __version__ as pillow_version

from vlm.imaging.dicom_gate import check_size
from vlm.imaging.errors import DamagedError, UnreadableError, UnsupportedError
from vlm.imaging.image import ImageHeader, Limits, MedicalImage, Provenance
from vlm.imaging.windows import Window

_FORMATS = {"png": ("PNG",), "jpeg": ("JPEG",), "tiff": ("TIFF",)}
# An 8-bit grey picture has been through a window already. A second one, found from its histogram, would change a film
# that somebody else drew, and a blank control; training and serving would see different greys.
AS_IT_IS = Window(127.5, 255.0, "LINEAR_EXACT", "as-it-is")
_GREY16 = {"I;16", "I;16B", "I;16L", "I;16N"}


def sniff(head: bytes) -> str | None:
    """Kind of a raster file by its first bytes, None if it is none of ours."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "tiff"
    return None


def _open(data: bytes, kind: str, frame: int, limits: Limits) -> tuple[Image.Image, int]:
    reason = None
    pillows_own = Image.MAX_IMAGE_PIXELS
    try:
        Image.MAX_IMAGE_PIXELS = None  # the limits below are checked instead, before any row is decoded
        picture = Image.open(io.BytesIO(data), formats=_FORMATS[kind])
        frames = getattr(picture, "n_frames", 1)
        if 0 <= frame < frames and frame:
            picture.seek(frame)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, KeyError, TypeError) as error:
        reason = type(error).__name__
    finally:
        Image.MAX_IMAGE_PIXELS = pillows_own
    if reason:
        raise DamagedError("damaged", f"the {kind.upper()} file is damaged ({reason})")
    if not 0 <= frame < frames:
        raise UnreadableError("frame_index", f"there is no frame {frame}: the file has {frames}, counted from 0")
    if min(picture.size) < 1:
        raise DamagedError("zero_size", "the picture has no pixels")
    bits = 8 * len(picture.getbands()) * (4 if picture.mode in ("I", "F") else 2 if picture.mode in _GREY16 else 1)
    check_size(picture.height, picture.width, frames, picture.height * picture.width * bits, limits)
    return picture, frames


def raster_header(data: bytes, kind: str, limits: Limits) -> ImageHeader:
    """Size and form of a PNG, JPEG or TIFF."""
    picture, frames = _open(data, kind, 0, limits)
    samples = 1 if picture.mode in ("1", "L", "LA", "I", "F", *_GREY16) else 3
    return ImageHeader(kind, picture.height, picture.width, frames, samples, photometric=picture.mode)


def raster_image(data: bytes, kind: str, frame: int, limits: Limits, sha256: str) -> MedicalImage:
    """One frame of a PNG, JPEG or TIFF; EXIF rotation of a photograph is undone.

    Raises:
        DamagedError: the file does not decode.
        UnsupportedError: a pixel format that is not kept exactly here (CMYK, Lab, 16-bit colour).
    """
    picture, frames = _open(data, kind, frame, limits)
    mode, notes, reason = picture.mode, [], None
    pixels = None
    try:
        picture.load()
        picture = ImageOps.exif_transpose(picture)
        pixels = _pixels(picture, notes)
    except UnsupportedError:
        raise
    except (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        KeyError,
        TypeError,
        IndexError,
        Image.DecompressionBombError,
    ) as error:
        reason = type(error).__name__
    if pixels is None:
        raise DamagedError("damaged", f"the {kind.upper()} file is damaged ({reason})")
    return MedicalImage(
        pixels=pixels,
        units="rgb" if pixels.ndim == 3 else "stored",
        spacing_mm=None,
        spacing_source="unknown",
        modality=None,
        inverted=False,
        windows=(AS_IT_IS,) if pixels.ndim == 2 and pixels.dtype == np.uint8 else (),
        valid=None,
        provenance=Provenance(
            sha256=sha256,
            kind=kind,
            frame=frame,
            frames=frames,
            photometric=mode,
            decoder=f"pillow {pillow_version}",
            bits_stored=8 * pixels.dtype.itemsize,
            lossy=kind == "jpeg",
            notes=tuple(notes),
        ),
    )


def _pixels(picture: Image.Image, notes: list[str]) -> np.ndarray:
    mode = picture.mode
    if mode == "1":
        return np.array(picture.convert("L"))
    if mode in ("L", "F"):
        return np.array(picture)
    if mode == "RGB":
        return np.array(picture)
    if mode in _GREY16:
        array = np.array(picture)
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    if mode == "I":
        array = np.array(picture)
        fits = int(array.min()) >= 0 and int(array.max()) <= 65_535
        return array.astype(np.uint16) if fits else array
    if mode in ("LA", "RGBA", "PA", "La", "RGBa"):
        notes.append("alpha_on_black")
        picture = picture.convert("RGBA")
        backed = Image.alpha_composite(Image.new("RGBA", picture.size, (0, 0, 0, 255)), picture)
        return np.array(backed.convert("L" if mode in ("LA", "La") else "RGB"))
    if mode == "P":
        return np.array(picture.convert("RGB"))
    if mode == "YCbCr":
        return np.array(picture.convert("RGB"))
    raise UnsupportedError("pixel_format", "the picture's pixel format is not decoded here: convert it to grey or RGB")
