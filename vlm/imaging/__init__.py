"""Medical images: DICOM, NIfTI, PNG, JPEG and TIFF to one type in physical units, with untrusted bytes kept in a child.

>>> from vlm.imaging import read_image
>>> picture = read_image("chest.dcm").render(size=512)     # (H, W) uint8
"""

from vlm.imaging.api import read_frames, read_header, read_image, read_images
from vlm.imaging.errors import (
    DamagedError,
    DecoderDiedError,
    ImagingError,
    LimitError,
    NotAnImageError,
    RecordError,
    SeriesError,
    SuvError,
    UnreadableError,
    UnsupportedError,
    WindowError,
)
from vlm.imaging.image import ImageHeader, Limits, MedicalImage, Provenance
from vlm.imaging.series import Volume, read_series
from vlm.imaging.windows import PRESETS, Window

__all__ = [
    "PRESETS",
    "DamagedError",
    "DecoderDiedError",
    "ImageHeader",
    "ImagingError",
    "LimitError",
    "Limits",
    "MedicalImage",
    "NotAnImageError",
    "Provenance",
    "RecordError",
    "SeriesError",
    "SuvError",
    "UnreadableError",
    "UnsupportedError",
    "Volume",
    "Window",
    "WindowError",
    "read_frames",
    "read_header",
    "read_image",
    "read_images",
    "read_series",
]
