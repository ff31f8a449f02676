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
    lo = np.minimum(seg[:, 0:2], seg[:, 2:4]) - seg[:, 10:11]
    hi = np.maximum(seg[:, 0:2], seg[:, 2:4]) + seg[:, 10:11]
    inside = (hi[:, 0] >= 0) & (hi[:, 1] >= 0) & (lo[:, 0] <= view.cols - 1) & (lo[:, 1] <= view.rows - 1)
    inside &= (seg[:, 11] != 0) | (seg[:, 13] != 0)
    seg, lo, hi = seg[inside], np.floor(lo[inside]).astype(np.int32), np.ceil(hi[inside]).astype(np.int32)
    size = hi - lo + 1
    height, width = _size_class(size[:, 1]), _size_class(size[:, 0])
    key = height.astype(np.int64) * 100_000 + width
    total = np.zeros(image.size, np.float64)
    for k in np.unique(key):
        pick = key == k
        _splat(total, seg[pick], lo[pick], int(k // 100_000), int(k % 100_000), view)
    image += total.reshape(image.shape).astype(np.float32)


def _size_class(n: np.ndarray) -> np.ndarray:
    """Round patch sides up to a few sizes, so that pieces are drawn in large batches."""
    steps = np.unique(np.ceil(4 * 1.4 ** np.arange(24)).astype(np.int64))
    return steps[np.minimum(np.searchsorted(steps, n), len(steps) - 1)]


def _splat(total: np.ndarray, seg: np.ndarray, lo: np.ndarray, kh: int, kw: int, view: View) -> None:
    c = [seg[:, i][:, None, None] for i in range(14)]
    x = (lo[:, 0:1] + np.arange(kw, dtype=np.int32))[:, None, :]
    y = (lo[:, 1:2] + np.arange(kh, dtype=np.int32))[:, :, None]
    xf, yf = x.astype(np.float32), y.astype(np.float32)
    across = ((yf - c[1]) * c[4] / c[10]) - ((xf - c[0]) * c[5] / c[10])
    np.square(across, out=across)
    value = np.sqrt(np.maximum(1 - across, 0)) * c[11]
    if np.any(seg[:, 13]):
        value += np.sqrt(np.maximum(1 - across / c[12] ** 2, 0)) * (c[13] * c[12])
    value *= np.clip((xf - c[0]) * c[6] + ((yf - c[1]) * c[7] + 0.5), 0, 1)
    value *= np.clip((c[2] - xf) * c[8] + ((c[3] - yf) * c[9] + 0.5), 0, 1)
    value *= ((x >= 0) & (x < view.cols)) & ((y >= 0) & (y < view.rows))
    index = np.clip(y, 0, view.rows - 1) * view.cols + np.clip(x, 0, view.cols - 1)
    total += np.bincount(index.ravel(), weights=value.ravel(), minlength=total.size)
