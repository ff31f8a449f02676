"""Grey-scale windows: the three functions and the table of DICOM PS3.3 C.11.2, presets, and a robust default."""

import math
from dataclasses import dataclass, replace

import numpy as np

from vlm.imaging.errors import WindowError

FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID", "TABLE")


@dataclass(frozen=True)
class Window:
    """How physical values become grey.

    Attributes:
        center, width: in the image's units; unused by a TABLE.
        function: one of :data:`FUNCTIONS`; TABLE is a VOI LUT.
        name: preset name, or "file" for a window that came with the image.
        table: grey values of a TABLE; entry i belongs to the value ``first + i``, the ends extend outwards.
        first: value that the first table entry belongs to.
        bits: bits of a table entry; full white is ``2**bits - 1``.
    """

    center: float = 0.0
    width: float = 0.0
    function: str = "LINEAR"
    name: str = ""
    table: tuple[int, ...] = ()
    first: int = 0
    bits: int = 0

    def __post_init__(self):
        if self.function not in FUNCTIONS:
            raise WindowError("window_function", f"window function must be one of {', '.join(FUNCTIONS)}")
        if self.function == "TABLE":
            if not self.table or not 1 <= self.bits <= 16:
                raise WindowError("window_table", "a VOI table needs entries of 1 to 16 bits")
            return
        if not (math.isfinite(self.center) and math.isfinite(self.width)):
            raise WindowError("window_not_finite", "window centre and width must be finite numbers")
        if self.width < 1 if self.function == "LINEAR" else self.width <= 0:
            need = "at least 1" if self.function == "LINEAR" else "above 0"
            raise WindowError("window_width", f"the width of a {self.function} window must be {need}")

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Grey in 0..1 for each value, by PS3.3 C.11.2.1.2 and C.11.2.1.3 (with y_min = 0 and y_max = 1).

        Args:
            values: any shape, in the image's units.

        Returns:
            float32 array of the same shape.
        """
        if self.function == "TABLE":
            table = np.asarray(self.table, np.float32) / np.float32(2**self.bits - 1)
            index = np.clip(np.rint(np.nan_to_num(values)) - self.first, 0, len(table) - 1)
            return table[index.astype(np.int64)]
        x = np.asarray(values, np.float64)
        if self.function == "SIGMOID":
            exponent = np.clip(-4.0 * (x - self.center) / self.width, -700.0, 700.0)
            return (1.0 / (1.0 + np.exp(exponent))).astype(np.float32)
        if self.function == "LINEAR_EXACT":
            return np.clip((x - self.center) / self.width + 0.5, 0.0, 1.0).astype(np.float32)
        if self.width == 1:  # the ramp has no length: everything above c - 0.5 is white
            return (x > self.center - 0.5).astype(np.float32)
        return np.clip((x - (self.center - 0.5)) / (self.width - 1) + 0.5, 0.0, 1.0).astype(np.float32)

    def scaled(self, factor: float) -> "Window":
        """The same window over values multiplied by ``factor``; LINEAR becomes LINEAR_EXACT, whose form scales."""
        function = "LINEAR_EXACT" if self.function == "LINEAR" else self.function
        return replace(self, center=self.center * factor, width=self.width * factor, function=function)


def _preset(name: str, center: float, width: float) -> Window:
    return Window(center, width, "LINEAR", name)


# Usual radiological settings in HU (https://radiopaedia.org/articles/windowing-ct), and one for PET in SUVbw.
PRESETS: dict[str, tuple[str, Window]] = {
    window.name: (units, window)
    for units, window in (
        ("HU", _preset("lung", -600, 1500)),
        ("HU", _preset("mediastinum", 50, 350)),
        ("HU", _preset("bone", 400, 1800)),
        ("HU", _preset("brain", 40, 80)),
        ("HU", _preset("subdural", 75, 215)),
        ("HU", _preset("stroke", 40, 40)),
        ("HU", _preset("temporal-bone", 600, 2800)),
        ("HU", _preset("soft-tissue", 50, 400)),
        ("HU", _preset("abdomen", 50, 400)),
        ("HU", _preset("liver", 30, 150)),
        ("HU", _preset("spine", 50, 250)),
        ("HU", _preset("angio", 300, 600)),
        ("SUVbw", Window(3.5, 7.0, "LINEAR_EXACT", "pet")),
    )
}


def auto_window(pixels: np.ndarray, valid: np.ndarray | None, low: float = 0.5, high: float = 99.5) -> Window:
    """A window over the robust range of the valid pixels.

    Args:
        pixels: (H, W) in any number type; NaN and infinities are left out.
        valid: (H, W) bool or None; False is padding.
        low, high: percentiles that become black and white.
    """
    step = max(1, int(math.sqrt(pixels.size / 262_144)))  # a quarter of a million samples place a percentile well
    values = pixels[::step, ::step]
    if valid is not None:
        picked = values[valid[::step, ::step]]
        values = picked if picked.size else pixels[valid]
    values = values.ravel()
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    if not values.size:
        return Window(0.5, 1.0, "LINEAR_EXACT", "auto")
    bottom, top = (float(v) for v in np.percentile(values, (low, high)))
    if top <= bottom:
        bottom, top = float(values.min()), float(values.max())
    # A constant picture (or a range too narrow for a float) is drawn mid-grey.
    width = top - bottom if top > bottom else 1.0
    return Window((bottom + top) / 2, width, "LINEAR_EXACT", "auto")


def to_grey(pixels: np.ndarray, window: Window, inverted: bool) -> np.ndarray:
    """8-bit grey of physical pixels; inversion (MONOCHROME1) comes once, after the window.

    Args:
        pixels: (H, W).

    Returns:
        (H, W) uint8; ``pixels`` itself where the window changes nothing.
    """
    if pixels.dtype.kind in "iu" and pixels.dtype.itemsize <= 2 and pixels.size > 65_536:
        info = np.iinfo(pixels.dtype)  # every value that there is, once, then one look-up a pixel
        every = np.arange(info.min, info.max + 1, dtype=np.int32)
        table = np.roll(
            _quantise(window.apply(every), inverted), info.min
        )  # rolled so that a signed bit pattern indexes it
        if pixels.dtype == np.uint8 and np.array_equal(table, every):
            return pixels  # drawn as it is: PNG, JPEG
        return table[pixels.view(f"u{pixels.dtype.itemsize}")]
    return _quantise(window.apply(pixels), inverted)


def _quantise(grey: np.ndarray, inverted: bool) -> np.ndarray:
    grey = np.nan_to_num(grey, nan=1.0 if inverted else 0.0)
    scaled = grey * np.float32(255.0)
    if inverted:
        scaled = np.float32(255.0) - scaled
    return np.floor(scaled + np.float32(0.5)).astype(np.uint8)
