"""Line integrals of bent tubes (ribs, vessels, airways, catheters), all segments of a scene at once.

A tube is a polyline with an elliptical cross-section that may be hollow. Under projection a straight piece of
elliptical tube is again a half-ellipse profile across its axis; the area below the profile is the area of the
cross-section, which fixes the chord. Neighbouring pieces are parted along the bisector of their directions, so
the pieces of one tube tile it without seams.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .projection import View

MAX_OBLIQUITY = 4.0  # a tube seen nearly end-on is limited to this many diameters
BATCH = 1 << 20  # pixels of tubes drawn at once
MIN_HALF_PX = 0.45  # thinner tubes are drawn this wide and as much fainter


@dataclass
class Tube:
    """points (n, 3) patient mm; radii (n, 2) mm half-thickness along `facing` and across it; facing (n, 3) or
    None for a round tube; weight per mm of wall, core the inner radius ratio and core_weight its weight per mm;
    gain (n - 1,) scales single pieces (0 = a gap); chain (n,) numbers
    the polylines where one Tube holds many, pieces between two of them are left out."""

    points: np.ndarray
    radii: np.ndarray
    weight: float
    facing: np.ndarray | None = None
    core: float = 0.0
    core_weight: float = 0.0
    gain: np.ndarray | None = None
    chain: np.ndarray | None = None


def round_tube(points: np.ndarray, radius, weight: float, **kw) -> Tube:
    """A tube of circular section; radius mm, a number or (n,)."""
    points = np.asarray(points, float)
    r = np.broadcast_to(np.asarray(radius, float), (len(points),))
    return Tube(points, np.stack([r, r], axis=1), weight, **kw)


def smooth_curve(knots: np.ndarray, n: int) -> np.ndarray:
    """Catmull-Rom curve through knots (..., k, 3): (..., n, 3)."""
    knots = np.asarray(knots, float)
    first, last = 2 * knots[..., :1, :] - knots[..., 1:2, :], 2 * knots[..., -1:, :] - knots[..., -2:-1, :]
    padded = np.concatenate([first, knots, last], axis=-2)
    s = np.linspace(0, knots.shape[-2] - 1, n)
    i = np.minimum(s.astype(int), knots.shape[-2] - 2)
    t = (s - i)[:, None]
    p0, p1, p2, p3 = (padded[..., i + k, :] for k in range(4))
    return 0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-9)


def _gather(tubes: list[Tube]):
    """All tubes end to end: points, radii, facing (n, 3), wall, core, core weight, round, real (n - 1 each)."""
    count = np.array([len(t.points) for t in tubes])
    points = np.concatenate([t.points for t in tubes])
    radii = np.concatenate([t.radii for t in tubes])
    facing = np.concatenate([np.ones_like(t.points) if t.facing is None else t.facing for t in tubes])
    spread = lambda values: np.repeat(np.array(values, float), count)[:-1]  # noqa: E731
    gain = np.concatenate([np.append(np.ones(len(t.points) - 1) if t.gain is None else t.gain, 0.0) for t in tubes])
    real = np.concatenate(
        [np.append(np.ones(len(t.points) - 1) if t.chain is None else np.diff(t.chain) == 0, 0.0) for t in tubes]
    )
    is_round = spread([t.facing is None for t in tubes]) > 0
    wall = spread([t.weight for t in tubes]) * gain[:-1]
    core = np.maximum(spread([t.core for t in tubes]), 1e-3)
    core_wall = spread([t.core_weight for t in tubes]) * gain[:-1]
    return points, radii, facing, wall, core, core_wall, is_round, real[:-1] > 0


def _segments(tubes: list[Tube], view: View) -> np.ndarray:
    """One row per piece: x0 y0 x1 y1 tx ty b0x b0y b1x b1y half_width_px peak core peak_core, float32."""
    points, radii, facing, wall, core, core_wall, is_round, real = _gather(tubes)
    px, beam = view.to_pixels(points), view.to_beam(points)
    along3 = _unit(np.diff(beam, axis=0))
    step = np.diff(px, axis=0)
    along = step / np.maximum(np.hypot(step[:, 0], step[:, 1]), 1e-6)[:, None]
    before, after = np.vstack([along[:1], along[:-1]]), np.vstack([along[1:], along[-1:]])
    joined = np.append(real[:-1] & real[1:], False)
    enter = np.where(np.append(False, joined[:-1])[:, None], _unit(before + along), along)
    leave = np.where(joined[:, None], _unit(along + after), along)
    radii = 0.5 * (radii[1:] + radii[:-1])
    face = view.to_beam(0.5 * (facing[1:] + facing[:-1]))
    face = _unit(face - along3 * np.sum(face * along3, axis=1, keepdims=True))
    across = np.cross(along3, face)
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1)
    half = np.hypot(radii[:, 0] * np.sum(face[:, :2] * normal, 1), radii[:, 1] * np.sum(across[:, :2] * normal, 1))
    half = np.where(is_round, radii[:, 0], half)
    sine = np.hypot(along3[:, 0], along3[:, 1])
    mag = view.source_mm / (view.source_mm + 0.5 * (beam[1:, 2] + beam[:-1, 2]))
    half_px = half * mag / view.spacing_mm
    width = np.hypot(half_px, MIN_HALF_PX)
    peak = (
        2 * radii[:, 0] * radii[:, 1] / np.maximum(half, 1e-6) * (half_px / width) / np.maximum(sine, 1 / MAX_OBLIQUITY)
    )
    tail = np.stack([width, peak * wall, core, peak * core_wall], axis=1)
    return np.concatenate([px[:-1], px[1:], along, enter, leave, tail], axis=1)[real].astype(np.float32)


def add_tubes(image: np.ndarray, tubes: list[Tube], view: View) -> None:
    """Add the weighted chords (mm along the ray) of all tubes to `image` (H, W), in place."""
    if not tubes:
        return
    seg = _segments(tubes, view)
    seg = seg[(seg[:, 11] != 0) | (seg[:, 13] != 0)]
    rows = _spans(seg, view)
    ends = np.cumsum(rows.count)
    start = 0
    while start < len(ends):  # a batch of rows at a time
        stop = int(np.searchsorted(ends, (ends[start - 1] if start else 0) + BATCH, side="right"))
        stop = max(stop, start + 1)
        at, value = _draw(rows.part(start, stop), view.cols)
        total = np.bincount(at, weights=value, minlength=image.size)
        image += total.reshape(image.shape).astype(np.float32)
        start = stop


@dataclass
class _Rows:
    """One entry per piece and film row it crosses: where the run of pixels starts, how long it is, and the
    three linear forms of the piece (across, past its start, before its end) at the first pixel and per pixel."""

    first: np.ndarray
    count: np.ndarray
    forms: np.ndarray  # (n, 3)
    steps: np.ndarray  # (n, 3)
    paint: np.ndarray  # (n, 3): peak, core, peak of the core

    def part(self, a: int, b: int) -> _Rows:
        return _Rows(self.first[a:b], self.count[a:b], self.forms[a:b], self.steps[a:b], self.paint[a:b])


def _spans(seg: np.ndarray, view: View) -> _Rows:
    """Cut every piece into runs of pixels: the row's overlap with the strip and with both ends."""
    low = np.clip(np.floor(np.minimum(seg[:, 1], seg[:, 3]) - seg[:, 10]), 0, view.rows)
    high = np.clip(np.ceil(np.maximum(seg[:, 1], seg[:, 3]) + seg[:, 10]) + 1, 0, view.rows)
    tall = np.maximum(high - low, 0).astype(np.intp)
    piece = np.repeat(np.arange(len(seg)), tall)
    y = low[piece] + (np.arange(len(piece)) - np.repeat(np.cumsum(tall) - tall, tall)).astype(np.float32)
    x0, y0, x1, y1, tx, ty, ax, ay, bx, by, width = seg[piece, :11].T
    steps = np.stack([-ty / width, ax, -bx], axis=1)
    zero = np.stack(
        [((y - y0) * tx + x0 * ty) / width, (y - y0) * ay - x0 * ax + 0.5, (y1 - y) * by + x1 * bx + 0.5], 1
    )
    left = np.maximum(np.minimum(x0, x1) - width, 0)
    right = np.minimum(np.maximum(x0, x1) + width, view.cols - 1)
    for slope, level in (
        (steps[:, 0], zero[:, 0] + 1),
        (-steps[:, 0], 1 - zero[:, 0]),
        (steps[:, 1], zero[:, 1]),
        (steps[:, 2], zero[:, 2]),
    ):  # slope x + level >= 0
        root = -level / np.where(np.abs(slope) < 1e-6, 1.0, slope)
        left = np.where(slope > 1e-6, np.maximum(left, root), left)
        right = np.where(slope < -1e-6, np.minimum(right, root), right)
        right = np.where((np.abs(slope) <= 1e-6) & (level < 0), -1.0, right)
    first = np.ceil(left).astype(np.intp)
    count = np.maximum(np.floor(right).astype(np.intp) - first + 1, 0)
    some = count > 0
    first, steps = first[some], steps[some]
    forms = zero[some] + steps * first[:, None].astype(np.float32)
    return _Rows(y[some].astype(np.intp) * view.cols + first, count[some], forms, steps, seg[piece[some], 11:14])


def _draw(rows: _Rows, cols: int) -> tuple[np.ndarray, np.ndarray]:
    """Flat pixel numbers and values of all runs."""
    run = np.repeat(np.arange(len(rows.count)), rows.count)
    along = np.arange(len(run)) - np.repeat(np.cumsum(rows.count) - rows.count, rows.count)
    k = along.astype(np.float32)
    across = rows.steps[:, 0][run] * k + rows.forms[:, 0][run]
    np.square(across, out=across)
    value = np.sqrt(np.maximum(1 - across, 0)) * rows.paint[:, 0][run]
    hollow = np.flatnonzero(rows.paint[:, 2][run])
    at = run[hollow]
    core = rows.paint[:, 1][at]
    value[hollow] += np.sqrt(np.maximum(1 - across[hollow] / core**2, 0)) * (rows.paint[:, 2][at] * core)
    for end in (1, 2):
        value *= np.clip(rows.steps[:, end][run] * k + rows.forms[:, end][run], 0, 1)
    return rows.first[run] + along, value
