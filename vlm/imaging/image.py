"""The one image type of medvlm: a 2-D frame in physical units, with what is needed to draw, store and trace it."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from vlm.imaging.errors import WindowError
from vlm.imaging.windows import PRESETS, Window, auto_window, to_grey


@dataclass(frozen=True)
class Limits:
    """What a file may cost. Declared sizes are checked before anything is allocated for them.

    Attributes:
        max_file_bytes: of the file itself.
        max_inflated_bytes: of a deflated DICOM or gzipped NIfTI after inflation.
        max_frame_bytes: of one decoded frame (rows x columns x samples x bytes).
        max_total_bytes: of all frames together, decoded or not.
        max_frames: declared number of frames.
        max_side: rows or columns.
        memory_bytes: address space that the child may take beyond what it has at start.
        timeout_s: wall time for one file; a child that is slower is killed.
    """

    max_file_bytes: int = 1 << 30
    max_inflated_bytes: int = 256 << 20
    max_frame_bytes: int = 256 << 20
    max_total_bytes: int = 16 << 30
    max_frames: int = 100_000
    max_side: int = 65_535
    memory_bytes: int = 2 << 30
    timeout_s: float = 30.0


@dataclass(frozen=True)
class Provenance:
    """Where the pixels came from, enough to decode them again and to map a result back.

    Attributes:
        sha256: of the file's bytes.
        kind: "dicom", "nifti", "png", "jpeg", "tiff" or "array".
        sop_instance_uid, sop_class_uid: DICOM only, else None.
        frame: index within the file, from 0.
        frames: how many the file has.
        transfer_syntax: UID; for other kinds None.
        photometric: as declared by the file.
        decoder: name and version of what decoded the pixels.
        bits_stored: significant bits of a stored value.
        lossy: True where the pixel data went through lossy compression that the file admits to.
        notes: codes of what was odd and how it was met, e.g. "spacing_invalid".
    """

    sha256: str
    kind: str
    sop_instance_uid: str | None = None
    sop_class_uid: str | None = None
    frame: int = 0
    frames: int = 1
    transfer_syntax: str | None = None
    photometric: str | None = None
    decoder: str = ""
    bits_stored: int | None = None
    lossy: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImageHeader:
    """What a file says about its picture, read without touching pixel data.

    Lengths in millimetres; orientation and position in DICOM's patient system (LPS: x to the left, y to the back,
    z to the head). ``orientation`` is the direction of growing column index, then of growing row index.
    """

    kind: str
    rows: int
    columns: int
    frames: int = 1
    samples: int = 1
    bits_stored: int | None = None
    modality: str | None = None
    sop_class_uid: str | None = None
    transfer_syntax: str | None = None
    photometric: str | None = None
    spacing_mm: tuple[float, float] | None = None
    spacing_source: str = "unknown"
    study_uid: str | None = None
    series_uid: str | None = None
    instance_uid: str | None = None
    frame_of_reference_uid: str | None = None
    instance_number: int | None = None
    view_position: str | None = None
    laterality: str | None = None
    image_type: tuple[str, ...] = ()
    orientation: tuple[float, ...] | None = None
    position_mm: tuple[float, ...] | None = None
    frame_time_ms: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class MedicalImage:
    """A 2-D frame.

    Attributes:
        pixels: (H, W) in ``units`` after the modality LUT, in a number type of its own, or (H, W, 3) uint8 RGB.
        units: "HU", "SUVbw", "stored", "rgb", "OD", "BQML", ...
        spacing_mm: distance between rows, then between columns; None where unknown.
        spacing_source: the attribute it came from, or why there is none.
        modality: DICOM modality, None where unknown.
        inverted: low values are drawn white (MONOCHROME1 or PresentationLUTShape INVERSE).
        windows: those that came with the file, in ``units``.
        valid: (H, W) bool, False where the pixel is padding; None where all are valid.
        provenance: where it came from.
        orientation, position_mm: as in :class:`ImageHeader` (LPS), None where unknown.
    """

    pixels: np.ndarray
    units: str
    spacing_mm: tuple[float, float] | None
    spacing_source: str
    modality: str | None
    inverted: bool
    windows: tuple[Window, ...]
    valid: np.ndarray | None
    provenance: Provenance
    orientation: tuple[float, ...] | None = field(default=None)
    position_mm: tuple[float, ...] | None = field(default=None)

    @property
    def is_colour(self) -> bool:
        return self.pixels.ndim == 3

    def window(self, choice: Window | str | None = None) -> Window:
        """The window that :meth:`render` would use.

        Args:
            choice: a Window; a preset of :data:`vlm.imaging.PRESETS`; "auto"; "file" (the file's first) or "file:1"
                (its second); None for the file's first where there is one, else auto.

        Raises:
            WindowError: unknown name, no window in the file, or a preset in other units than the image's.
        """
        if isinstance(choice, Window):
            return choice
        if choice is None:
            return self.windows[0] if self.windows else auto_window(self.pixels, self.valid)
        if choice == "auto":
            return auto_window(self.pixels, self.valid)
        if choice == "file" or choice.startswith("file:"):
            index = choice[5:] or "0"
            if not index.isdigit() or int(index) >= len(self.windows):
                have = f"has {len(self.windows)}" if self.windows else "has none: use window='auto'"
                raise WindowError("window_not_in_file", f"the window '{choice}' is not in the file, which {have}")
            return self.windows[int(index)]
        if choice not in PRESETS:
            raise WindowError("window_unknown", f"no window '{choice}'; there are auto, file, {', '.join(PRESETS)}")
        units, window = PRESETS[choice]
        if units != self.units:
            raise WindowError(
                "window_units",
                f"the window '{choice}' is in {units} and this image is in '{self.units}': use window='auto' or 'file'",
            )
        return window

    def render(self, window: Window | str | None = None, size: int | tuple[int, int] | None = None) -> np.ndarray:
        """The 8-bit picture that a person or a model sees.

        Padding is drawn black. Pixels are not made square: a file with unequal row and column spacing keeps its grid.

        Args:
            window: see :meth:`window`; colour images take only None, "auto" and "file" and are drawn as they are.
            size: an int bounds the longest side and never enlarges; a pair is exactly (H, W).

        Returns:
            (H, W) uint8, or (H, W, 3) for colour.

        Raises:
            WindowError: as :meth:`window`, or a grey window asked of a colour image.
        """
        if self.is_colour:
            if window not in (None, "auto", "file"):
                raise WindowError("window_on_colour", "a colour image has no grey-scale window: leave the window out")
            grey = self.pixels
        else:
            grey = to_grey(self.pixels, self.window(window), self.inverted)
            if self.valid is not None:
                grey = np.where(self.valid, grey, np.uint8(0))
        shape = _target(grey.shape[:2], size)
        if shape == grey.shape[:2]:
            # A picture of its own, also where nothing had to be changed.
            return np.array(grey, order="C") if grey is self.pixels else np.ascontiguousarray(grey)
        # BILINEAR of Pillow widens its triangle when it shrinks, so nothing is skipped and nothing rings.
        return np.array(Image.fromarray(grey).resize((shape[1], shape[0]), Image.Resampling.BILINEAR))

    def to_record(self) -> tuple[bytes, dict[str, Any]]:
        """Lossless bytes (PNG, or .npy where PNG cannot hold the values) and JSON metadata; see :mod:`.record`."""
        from vlm.imaging.record import encode

        return encode(self)

    @classmethod
    def from_record(cls, data: bytes, meta: dict[str, Any]) -> "MedicalImage":
        """Exact inverse of :meth:`to_record`.

        Raises:
            RecordError: the bytes or the metadata are not those of a record.
        """
        from vlm.imaging.record import decode

        return decode(data, meta)


def _target(shape: tuple[int, int], size: int | tuple[int, int] | None) -> tuple[int, int]:
    if size is None:
        return shape
    if isinstance(size, int):
        if size < 1:
            raise WindowError("size", "the size of a rendering must be at least 1 pixel")
        longest = max(shape)
        if longest <= size:
            return shape
        return max(1, round(shape[0] * size / longest)), max(1, round(shape[1] * size / longest))
    if min(size) < 1:
        raise WindowError("size", "the size of a rendering must be at least 1 x 1 pixels")
    return int(size[0]), int(size[1])
