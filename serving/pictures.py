"""An image as a PNG for a model: drawn once, here, for the gateway, the client and batch prediction alike."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from vlm.imaging import MedicalImage, Window

_AS_IT_IS = Window(127.5, 255.0, "LINEAR_EXACT", "as-it-is")


def draw(image: MedicalImage, window: Window | str | None = None, side: int | None = None) -> np.ndarray:
    """`image.render`, except that 8-bit pictures (PNG, JPEG, TIFF) keep their greys when no window is named.

    Such a picture has been through a window already. A second one found from its histogram would change it: a film
    drawn by somebody else's viewer, a blank control image, a client's own rendering.

    Returns:
        (H, W) or (H, W, 3) uint8.

    Raises:
        WindowError: as `MedicalImage.render`.
    """
    is_picture = image.provenance.kind in ("png", "jpeg", "tiff") and image.pixels.dtype == np.uint8
    if window is None and is_picture and not image.is_colour and not image.windows:
        window = _AS_IT_IS
    return image.render(window, size=side)


def as_png(picture: np.ndarray) -> bytes:
    """uint8 pixels as PNG bytes; quickly rather than small, since they are read once and not kept."""
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG", compress_level=1)
    return out.getvalue()
