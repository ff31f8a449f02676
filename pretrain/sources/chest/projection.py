"""Exact line integrals of simple bodies under a cone beam.

Patient frame: DICOM LPS in mm (x left, y posterior, z superior), origin mid chest. Beam frame (u, v, w): u to
the right and v down on the film, w from source to detector, same origin. The film is described in the plane
w = 0 (the *patient plane*), so a length there times 1 is a length in the patient; a point at depth w is seen
magnified by D / (D + w), D the distance from source to origin.

A ray is X = S + t (u/D, v/D, 1): t is depth from the source. Every body gives, per pixel, an interval of t;
multiplying a difference of t by `View.slant` gives millimetres along the ray.

Shapes: H rows, W columns, N segments, K patch side.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

FAR = np.float32(1e6)


@dataclass(frozen=True)
class View:
    """One projection: film size, spacing, position and the turn of the patient before the beam."""

    name: str
    rows: int
    cols: int
    spacing_mm: float
    centre_mm: tuple[float, float]
    rotation: np.ndarray
    source_mm: float

    @cached_property
    def u(self) -> np.ndarray:
        """Column positions in the patient plane, mm, (W,)."""
        return (self.centre_mm[0] + (np.arange(self.cols) - (self.cols - 1) / 2) * self.spacing_mm).astype(np.float32)

    @cached_property
    def v(self) -> np.ndarray:
        """Row positions in the patient plane, mm, (H,)."""
        return (self.centre_mm[1] + (np.arange(self.rows) - (self.rows - 1) / 2) * self.spacing_mm).astype(np.float32)

    @cached_property
    def slant(self) -> np.ndarray:
        """Millimetres along the ray for each millimetre of depth, (H, W)."""
        d2 = self.source_mm**2
        return np.sqrt(1 + (self.v**2 / d2)[:, None] + (self.u**2 / d2)[None, :])

    @cached_property
    def outlines(self) -> dict[int, tuple[Ellipsoid, Outline]]:
        """Outlines already worked out, by identity of the body (held, so that the number stays its own)."""
        return {}

    def to_beam(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) patient mm to (..., 3) beam mm."""
        return np.asarray(points, dtype=np.float64) @ self.rotation.T

    def to_pixels(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) patient mm to (..., 2) (column, row), float, pixel centres at integers."""
        beam = self.to_beam(points)
        scale = self.source_mm / (self.source_mm + beam[..., 2:3])
        uv = beam[..., :2] * scale - np.asarray(self.centre_mm)
        return uv / self.spacing_mm + np.array([(self.cols - 1) / 2, (self.rows - 1) / 2])

    def magnification(self, point: np.ndarray) -> float:
        """How much larger than life a body at `point` is, in patient-plane mm."""
        return float(self.source_mm / (self.source_mm + self.to_beam(point)[2]))


@dataclass(frozen=True)
class Ellipsoid:
    """Centre (3,) mm and axes (3, 3): columns are the semi-axes as vectors, mm."""

    centre: np.ndarray
    axes: np.ndarray

    @staticmethod
    def of(centre, semi, euler_deg=(0.0, 0.0, 0.0)) -> Ellipsoid:
        """Ellipsoid with semi-axes `semi` mm along x, y, z, then turned about x, y and z by degrees."""
        return Ellipsoid(np.asarray(centre, float), rotation_matrix(euler_deg) * np.asarray(semi, float)[None, :])

    def scaled(self, factor: float | np.ndarray, about: np.ndarray | None = None) -> Ellipsoid:
        """Scaled by a factor (or one for each of x, y, z) about a point, its own centre by default."""
        about = self.centre if about is None else np.asarray(about, float)
        f = np.broadcast_to(np.asarray(factor, float), (3,))
        return Ellipsoid(about + (self.centre - about) * f, self.axes * f[:, None])

    def contains(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) mm to (...) bool."""
        return self.level(points) <= 1.0

    def level(self, points: np.ndarray) -> np.ndarray:
        """Squared radius in units of the ellipsoid's own: 1 on the surface. (..., 3) to (...)."""
        offset = np.asarray(points, float) - self.centre
        inv = self.inverse
        total = 0.0
        for k in range(3):
            total = total + (offset[..., 0] * inv[k, 0] + offset[..., 1] * inv[k, 1] + offset[..., 2] * inv[k, 2]) ** 2
        return np.asarray(total)

    @cached_property
    def inverse(self) -> np.ndarray:
        """(3, 3): patient mm to the unit sphere."""
        return np.linalg.inv(self.axes)


def rotation_matrix(euler_deg) -> np.ndarray:
    """Rz @ Ry @ Rx for degrees about x, y, z."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(np.radians(euler_deg)), np.sin(np.radians(euler_deg))
    rx = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    ry = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    rz = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return rz @ ry @ rx


@dataclass
class Interval:
    """Per-pixel depth interval of a convex body, (H, W) float32 each; empty where lo > hi."""

    lo: np.ndarray
    hi: np.ndarray

    def length(self) -> np.ndarray:
        return np.maximum(self.hi - self.lo, 0)

    def __and__(self, other: Interval) -> Interval:
        return Interval(np.maximum(self.lo, other.lo), np.minimum(self.hi, other.hi))


@dataclass(frozen=True)
class Outline:
    """Conic outline of an ellipsoid on the film: inside where `form <= 1`, in patient-plane mm."""

    centre: np.ndarray
    form: np.ndarray
    gain: float
    quad: np.ndarray
    lin: np.ndarray

    @property
    def half_extent(self) -> np.ndarray:
        """Half width and half height of the outline, mm in the patient plane."""
        (a, b), (_, c) = self.form
        return np.sqrt(np.array([c, a]) / (a * c - b * b))


def outline(body: Ellipsoid, view: View) -> Outline:
    """The conic that bounds the shadow: b^2 - a c of the ray equation is itself quadratic in (u, v)."""
    if id(body) not in view.outlines:
        view.outlines[id(body)] = body, _outline(body, view)
    return view.outlines[id(body)][1]


def _outline(body: Ellipsoid, view: View) -> Outline:
    d = view.source_mm
    inv = body.inverse @ view.rotation.T
    p = inv @ (np.array([0.0, 0.0, -d]) - view.to_beam(body.centre))
    q = inv.T @ p
    quad = inv.T @ inv
    disc = np.outer(q, q) - (p @ p - 1) * quad
    (a, b, e), (_, c, f), (_, _, g) = disc
    det = a * c - b * b
    centre = np.array([b * f - c * e, b * e - a * f]) / det
    gain = float(g + e * centre[0] + f * centre[1])
    return Outline(centre * d, -disc[:2, :2] / (gain * d * d), gain, quad, q)


def _window(view: View, centre: np.ndarray, half: np.ndarray) -> tuple[slice, slice]:
    x0, y0 = (centre - half - np.array([view.u[0], view.v[0]])) / view.spacing_mm
    x1, y1 = (centre + half - np.array([view.u[0], view.v[0]])) / view.spacing_mm
    cols = slice(int(np.clip(np.floor(x0), 0, view.cols)), int(np.clip(np.ceil(x1) + 1, 0, view.cols)))
    rows = slice(int(np.clip(np.floor(y0), 0, view.rows)), int(np.clip(np.ceil(y1) + 1, 0, view.rows)))
    return rows, cols


def _profile(body: Ellipsoid, view: View):
    """Window, relative squared radius (h, w), depth of the middle and half depth at the centre scale."""
    out = outline(body, view)
    rows, cols = _window(view, out.centre, out.half_extent)
    du = (view.u[cols] - out.centre[0]).astype(np.float32)
    dv = (view.v[rows] - out.centre[1]).astype(np.float32)
    f = out.form.astype(np.float32)
    inside = np.multiply.outer(-2 * f[0, 1] * dv, du)
    inside += (1 - f[1, 1] * dv * dv)[:, None]
    inside -= (f[0, 0] * du * du)[None, :]
    return out, rows, cols, inside


def _quadratic(quad: np.ndarray, view: View, rows: slice, cols: slice) -> np.ndarray:
    d = view.source_mm
    hu, hv = view.u[cols].astype(np.float64) / d, view.v[rows].astype(np.float64) / d
    a = np.multiply.outer((2 * quad[0, 1] * hv).astype(np.float32), hu.astype(np.float32))
    a += (quad[2, 2] + 2 * quad[1, 2] * hv + quad[1, 1] * hv * hv).astype(np.float32)[:, None]
    a += (2 * quad[0, 2] * hu + quad[0, 0] * hu * hu).astype(np.float32)[None, :]
    return a


def _depths(body: Ellipsoid, view: View):
    """Window, and entry and exit depth in it; an empty interval where the ray misses."""
    out, rows, cols, inside = _profile(body, view)
    a = _quadratic(out.quad, view, rows, cols)
    d = view.source_mm
    mid = np.add.outer(
        (-out.lin[1] * view.v[rows] / d - out.lin[2]).astype(np.float32),
        (-out.lin[0] * view.u[cols] / d).astype(np.float32),
    )
    mid /= a
    miss = inside <= 0
    np.maximum(inside, 0, out=inside)
    inside *= np.float32(out.gain)
    half = np.sqrt(inside, out=inside)
    half /= a
    lo, hi = mid - half, mid + half
    lo[miss], hi[miss] = FAR, -FAR
    return rows, cols, lo, hi


def interval(*bodies: Ellipsoid, view: View) -> Interval:
    """Depth from first entry to last exit of some bodies (the union where they touch), over the whole film."""
    lo = np.full((view.rows, view.cols), FAR, np.float32)
    hi = np.full((view.rows, view.cols), -FAR, np.float32)
    for body in bodies:
        rows, cols, enter, leave = _depths(body, view)
        np.minimum(lo[rows, cols], enter, out=lo[rows, cols])
        np.maximum(hi[rows, cols], leave, out=hi[rows, cols])
    return Interval(lo, hi)


def add_ellipsoid(image: np.ndarray, body: Ellipsoid, view: View, weight: float, softness: float = 0.0) -> None:
    """Add weight x chord (depth units) of an ellipsoid to `image` (H, W), in place.

    softness p > 0 gives the body the density (1 - r^2)^p; its line integral keeps the shape
    (1 - rho^2)^(p + 1/2) and is scaled so that the centre keeps the full chord.
    """
    out, rows, cols, inside = _profile(body, view)
    if not inside.size:
        return
    np.maximum(inside, 0, out=inside)
    a = _quadratic(out.quad, view, rows, cols)
    chord = np.sqrt(inside)
    if softness:
        chord *= inside if softness == 1 else inside**softness
    chord *= np.float32(2 * weight * np.sqrt(out.gain))
    chord /= a
    image[rows, cols] += chord


def shadow(body: Ellipsoid, view: View) -> np.ndarray:
    """Bool (H, W): where the body's shadow falls; at least the pixel its centre falls in."""
    _, rows, cols, inside = _profile(body, view)
    mask = np.zeros((view.rows, view.cols), bool)
    mask[rows, cols] = inside > 0
    col, row = np.round(view.to_pixels(body.centre)).astype(int)
    if 0 <= row < view.rows and 0 <= col < view.cols:
        mask[row, col] = True
    return mask
