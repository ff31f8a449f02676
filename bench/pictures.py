"""Images as they are sent: DICOM as it is (a medvlm gateway renders it), or PNG rendered here (any other server)."""

import base64
import hashlib
import io
from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from bench.arms import Arm
from bench.errors import DataError
from bench.items import Picture
from vlm.errors import MedVLMError
from vlm.imaging import read_header, read_image

ImageFormat = Literal["dicom", "png"]
BLANK_GREY = 128  # one grey for all: the mean grey of the real image could tell something about it


@dataclass(frozen=True)
class SentImage:
    """An image part of a request: its data URL and the SHA-256 of the bytes inside it."""

    url: str
    sha256: str


def _as_url(data: bytes, mime: str) -> SentImage:
    encoded = base64.b64encode(data).decode("ascii")
    return SentImage(f"data:{mime};base64,{encoded}", hashlib.sha256(data).hexdigest())


def png_bytes(pixels: np.ndarray) -> bytes:
    """PNG of an 8-bit picture, (H, W) grey or (H, W, 3) colour."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def blank_png(rows: int, columns: int) -> bytes:
    """PNG of uniform middle grey."""
    return png_bytes(np.full((rows, columns), BLANK_GREY, dtype=np.uint8))


class PictureStore:
    """Encodes images, and keeps the last few so that questions about one image do not read it again.

    Args:
        image_format: how real and shuffled images are sent.
        longest_side: PNG only; larger images are rendered down to it, in pixels.
        keep: number of encoded images held.
    """

    def __init__(self, image_format: ImageFormat, longest_side: int | None = None, keep: int = 32) -> None:
        self.image_format: ImageFormat = image_format
        self.longest_side = longest_side
        self._keep = keep
        self._held: OrderedDict[tuple[str, Picture], SentImage] = OrderedDict()

    def get(self, picture: Picture, arm: Arm) -> SentImage:
        """The image that stands for `picture` in this arm (for the shuffled arm, pass the other patient's).

        Raises:
            DataError: naming the file, when it cannot be read.
        """
        kind = "blank" if arm == "blank" else self.image_format
        slot = (kind, picture)
        if slot not in self._held:
            try:
                self._held[slot] = self._encode(picture, kind)
            except (MedVLMError, OSError) as error:
                raise DataError(f"{picture.path}: cannot be sent to the model: {error}") from error
            while len(self._held) > self._keep:
                self._held.popitem(last=False)
        self._held.move_to_end(slot)
        return self._held[slot]

    def _encode(self, picture: Picture, kind: str) -> SentImage:
        if kind == "dicom":
            return _as_url(picture.path.read_bytes(), "application/dicom")
        if kind == "png":
            return _as_url(png_bytes(read_image(picture.path).render(size=self.longest_side)), "image/png")
        header = read_header(picture.path)
        rows, columns = self._fitted(header.rows, header.columns)
        return _as_url(blank_png(rows, columns), "image/png")

    def _fitted(self, rows: int, columns: int) -> tuple[int, int]:
        longest = max(rows, columns)
        if self.image_format == "dicom" or self.longest_side is None or longest <= self.longest_side:
            return rows, columns
        scale = self.longest_side / longest
        return max(1, round(rows * scale)), max(1, round(columns * scale))
