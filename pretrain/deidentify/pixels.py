"""Burned-in text: seen at several windows, removed at full depth, looked for again, refused where it is still there."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from pydicom.dataset import Dataset
from scipy.ndimage import label

from pretrain.deidentify.errors import TextRemainsError
from pretrain.deidentify.ocr import Finder, Found, box_height
from pretrain.deidentify.stored import Stored

ROUNDS = 3  # of finding and removing; text that is seen after the last is a refusal
# Of the longest side: the detector takes a whole skull for an O, and a whole chest, rib below rib, for 1001.
_LARGEST_LETTER, _LARGEST_WORD, _TALLEST = 0.2, 0.3, 0.3
_MARKERS = frozenset("L R LT RT LEFT RIGHT".split())
_SPACING = 16  # of a multi-frame file at least every 16th frame is read
_CELL = 8
_MAX_BLANK = 0.6  # a file that is mostly text (a scanned form) is refused rather than made a black page


@dataclass
class CleanedPixels:
    """Frames without text.

    Attributes:
        stored: the frames; the same values where nothing was found.
        boxes: how many separate pieces of the picture were blanked. blanked: share of the picture that they took.
        read: frames that were looked at. texts: what was read; for the proof, never to be logged.
    """

    stored: Stored
    boxes: int = 0
    blanked: float = 0.0
    read: int = 0
    texts: list[str] = field(default_factory=list)
    counts: Counter = field(default_factory=Counter)


def clean_pixels(stored: Stored, header: Dataset, finder: Finder, *, keep_markers: bool = False) -> CleanedPixels:
    """Find text in the frames and remove it from all of them.

    Looked at are the only frame, or of several: the first, the last, at least every 16th, every frame with sharp edges
    where no frame before had any, and the darkest and the brightest value of each pixel over all frames (in which text
    that does not move stands alone). What is found in one frame is removed from every frame.

    Args:
        stored: decoded values.
        header: of the source, for windows, palette and padding.
        keep_markers: leave a lone L, R, LT, RT, LEFT or RIGHT.

    Raises:
        TextRemainsError: text is still read after three rounds, or most of the picture is text.
    """
    result = CleanedPixels(stored)
    gone: np.ndarray = np.zeros(stored.frames.shape[1:3], bool)
    views = Views(stored, header)
    frames = stored.frames
    for turn in range(ROUNDS + 1):
        now = Stored(frames, stored.bits, stored.photometric)
        seen = _find(now, views, finder, keep_markers, result, extra=turn > 0)
        if not seen:
            break
        if turn == ROUNDS:
            raise TextRemainsError("text_remains", f"text is still seen in the pixels after {ROUNDS} rounds of removal")
        for found in seen:
            gone |= _box_mask(found.box, (gone.shape[0], gone.shape[1]), turn)
        if gone.mean() > _MAX_BLANK:
            raise TextRemainsError("mostly_text", "most of the picture is text (a scanned page?): it is not cleaned")
        frames = frames.copy() if turn == 0 else frames
        frames[:, gone] = views.background
    result.stored = Stored(frames, stored.bits, stored.photometric)
    pieces = np.zeros(gone.shape, np.int32)
    label(gone, np.ones((3, 3)), pieces)
    result.blanked, result.boxes = float(gone.mean()), int(pieces.max())
    return result


def is_text(found: Found, keep_markers: bool, longest: int) -> bool:
    """What counts as text.

    Measured on nine real radiographs, CT and MR slices at two to five windows each (1,442 boxes that are no text), and
    on 143 pictures with a line written into one: this takes none of the former but a film marker, and 137 of the
    latter in the one window that was looked at.

    Args:
        found: a box as seen and read.
        longest: side of the picture, in pixels.
    """
    if keep_markers and found.text.strip(" .()[]").upper() in _MARKERS:
        return False
    if box_height(found.box) > _TALLEST * longest:
        return False
    size = float((found.box.max(axis=0) - found.box.min(axis=0)).max()) / longest
    if found.letters < 2:
        return found.letters == 1 and found.seen >= 0.4 and found.score >= 0.9 and size <= _LARGEST_LETTER
    if found.letters > 2 and found.score >= 0.85:
        return True
    return found.seen >= 0.4 and found.score >= (0.6 if size <= _LARGEST_WORD else 0.8)


def _find(
    stored: Stored, views: "Views", finder: Finder, keep_markers: bool, result: CleanedPixels, *, extra: bool
) -> list[Found]:
    seen: list[Found] = []
    for frame in _frames_to_read(stored.frames, extra):
        result.read += not extra
        pictures = list(views.of(frame))
        for number, picture in enumerate(pictures):
            tiles = number in (0, len(pictures) - 1)  # the full range and the equalised view show small text best
            seen += [found for found in finder.find(picture, tiles) if is_text(found, keep_markers, max(picture.shape))]
    result.texts += [found.text for found in seen]
    return seen


def _box_mask(box: np.ndarray, shape: tuple[int, int], turn: int) -> np.ndarray:
    """The upright rectangle around a box, and a margin of a quarter of its height, wider in every round."""
    low, high = box.min(axis=0), box.max(axis=0)
    margin = max(2.0, 0.25 * float(min(high - low))) * (1 + turn)
    x0, y0 = (max(0, int(v)) for v in np.floor(low - margin))
    x1, y1 = (int(v) + 1 for v in np.ceil(high + margin))
    mask = np.zeros(shape, bool)
    mask[y0:y1, x0:x1] = True
    return mask


# Which frames


def _frames_to_read(frames: np.ndarray, extra: bool) -> Iterator[np.ndarray]:
    """See :func:`clean_pixels`; ``extra`` looks between the frames as well."""
    count = len(frames)
    if count == 1:
        yield frames[0]
        return
    for index in chosen_frames(frames, _SPACING // 2 if extra else _SPACING):
        yield frames[index]
    yield frames.min(axis=0)
    yield frames.max(axis=0)


def chosen_frames(frames: np.ndarray, spacing: int) -> list[int]:
    """Indices of the frames that are read.

    Args:
        frames: (F, H, W) or (F, H, W, 3).
        spacing: at least every so many frames.
    """
    last = len(frames) - 1
    low, high = float(frames.min()), float(frames.max())
    seen: np.ndarray | None = None
    chosen = []
    for index, frame in enumerate(frames):
        cells = _sharp_cells(frame, (high - low) * 0.3)
        new = cells if seen is None else cells & ~_grown(seen)
        if index in (0, last) or index - chosen[-1] >= spacing or int(new.sum()) >= 6:
            chosen.append(index)
            seen = cells if seen is None else seen | cells
    return chosen


def _sharp_cells(frame: np.ndarray, step: float) -> np.ndarray:
    """Cells of 8 x 8 pixels with four or more jumps of at least ``step`` between neighbours: letters have many."""
    grey = frame.max(axis=2) if frame.ndim == 3 else frame
    grey = grey.astype(np.int32)
    jumps: np.ndarray = np.zeros(grey.shape, bool)
    jumps[:, 1:] |= np.abs(np.diff(grey, axis=1)) >= max(1.0, step)
    jumps[1:] |= np.abs(np.diff(grey, axis=0)) >= max(1.0, step)
    height, width = (-(-n // _CELL) * _CELL for n in jumps.shape)
    padded = np.zeros((height, width), bool)
    padded[: jumps.shape[0], : jumps.shape[1]] = jumps
    return padded.reshape(height // _CELL, _CELL, width // _CELL, _CELL).sum(axis=(1, 3)) >= 4


def _grown(cells: np.ndarray) -> np.ndarray:
    out = cells.copy()
    out[1:] |= cells[:-1]
    out[:-1] |= cells[1:]
    wide = out.copy()
    wide[:, 1:] |= out[:, :-1]
    wide[:, :-1] |= out[:, 1:]
    return wide


# How they are looked at


class Views:
    """Pictures of a frame in which text of any brightness can be seen.

    A grey frame: its full range; the middle 99 percent; each window of the file (two at most); all grey levels equally
    often, which shows faint text. A view that looks like one before is left out. Colour is looked at as it is, and as
    the grey of its brightness, equalised.

    Args:
        stored, header: of the file.
    """

    def __init__(self, stored: Stored, header: Dataset):
        self.photometric = stored.photometric
        self._lut = _palette(stored, header) if stored.photometric == "PALETTE COLOR" else None
        self.background = self._background(stored, header)
        self._windows = [] if stored.is_colour or self._lut is not None else _windows(header)

    def _background(self, stored: Stored, header: Dataset) -> int:
        """What stands where text stood: padding where the file has it, else what is drawn black."""
        if self._lut is not None:
            return int(self._lut.sum(axis=1).argmin())
        if stored.is_colour:
            return 0
        info = np.iinfo(stored.frames.dtype)
        padding = header.get("PixelPaddingValue")
        if isinstance(padding, int):
            for value in (padding, padding - 65536):
                if info.min <= value <= info.max and value in (int(stored.frames.min()), int(stored.frames.max())):
                    return value
        return int(stored.frames.max() if stored.photometric == "MONOCHROME1" else stored.frames.min())

    def of(self, frame: np.ndarray) -> Iterator[np.ndarray]:
        """(H, W, 3) uint8 pictures of one frame."""
        if frame.ndim == 3 or self._lut is not None:
            colour = frame if self._lut is None else self._lut[np.clip(frame, 0, len(self._lut) - 1)]
            yield np.ascontiguousarray(colour)
            yield np.repeat(_equalised(colour.astype(np.uint16).sum(axis=2))[..., None], 3, axis=2)
            return
        shown: list[np.ndarray] = []
        for grey in self._grey(frame.astype(np.float32)):
            small = grey[::4, ::4].astype(np.int16)
            if int(grey.max()) - int(grey.min()) < 4 or any(np.abs(small - s).mean() < 3 for s in shown):
                continue
            shown.append(small)
            yield np.repeat(grey[..., None], 3, axis=2)

    def _grey(self, frame: np.ndarray) -> Iterator[np.ndarray]:
        yield _scaled(frame, float(frame.min()), float(frame.max()))
        low, high = (float(v) for v in np.percentile(frame[::2, ::2], (0.5, 99.5)))
        yield _scaled(frame, low, high)
        for low, high in self._windows:
            yield _scaled(frame, low, high)
        yield _equalised(frame)


def _scaled(frame: np.ndarray, low: float, high: float) -> np.ndarray:
    return (np.clip((frame - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)


def _equalised(frame: np.ndarray) -> np.ndarray:
    """Grey by rank among the values that occur, so that two close values are drawn apart."""
    values, inverse = np.unique(frame, return_inverse=True)
    counts = np.minimum(np.bincount(inverse.ravel()), frame.size // 64 + 1)  # a large background takes no more room
    ranks = np.cumsum(counts).astype(np.float64)
    grey = (ranks - ranks[0]) / max(ranks[-1] - ranks[0], 1) * 255
    return grey[inverse].reshape(frame.shape).astype(np.uint8) if len(values) > 1 else np.zeros(frame.shape, np.uint8)


def _windows(header: Dataset) -> list[tuple[float, float]]:
    """The file's first two windows as ranges of stored values."""
    found = []
    try:
        slope = float(header.get("RescaleSlope") or 1.0)
        intercept = float(header.get("RescaleIntercept") or 0.0)
        keywords = ("WindowCenter", "WindowWidth")
        centers, widths = (np.atleast_1d(np.asarray(header.get(w) or [], float)) for w in keywords)
        for center, width in list(zip(centers, widths))[:2]:
            if slope and width > 0:
                ends = sorted(((center - width / 2 - intercept) / slope, (center + width / 2 - intercept) / slope))
                found.append((float(ends[0]), float(ends[1])))
    except (TypeError, ValueError):
        return found
    return found


def _palette(stored: Stored, header: Dataset) -> np.ndarray:
    """RGB of every stored value that the palette has."""
    from pydicom.pixels.processing import apply_color_lut

    size = int(min(1 << stored.bits, 1 << 16))
    indices = np.arange(size, dtype=stored.frames.dtype.newbyteorder("=")).reshape(1, -1)
    rgb = np.asarray(apply_color_lut(indices, header))
    rgb = rgb.reshape(-1, 3)
    return rgb.astype(np.uint8) if rgb.dtype == np.uint8 or int(rgb.max()) < 256 else (rgb >> 8).astype(np.uint8)
