"""A drawn image as PNG bytes, for the gateway, the client and batch prediction alike."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def as_png(picture: np.ndarray) -> bytes:
    """uint8 pixels as PNG bytes; quickly rather than small, since they are read once and not kept."""
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG", compress_level=1)
    return out.getvalue()
