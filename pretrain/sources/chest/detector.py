"""From attenuation to the stored picture: scatter, quantum noise, log, display processing, collimation, markers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .projection import View
from .scene import upsample

MAX_VALUE = 4095


@dataclass(frozen=True)
class Exposure:
    """What varies between exposures; drawn in `draw_exposure`."""

    photons_mm2: float
    scatter: float
    blur_mm: float
    equalise: float
    gamma: float
    low: float
    high: float
    collimation_mm: tuple[float, ...]  # left, right, top, bottom
    collimation_deg: float
    marker: str
    marker_at: tuple[float, float]


def draw_exposure(view: View, keep: list[int], rng: np.random.Generator) -> Exposure:
    """Draw exposure and processing of one film. The collimator leaves stay outside the box `keep`, pixels."""
    collimated = rng.random() < 0.45
    turn = float(rng.normal(0, 1.0)) if collimated else 0.0
    edges = rng.uniform(0, 40, 4) if collimated else np.zeros(4)
    free = np.array([keep[0], view.cols - keep[2], keep[1], view.rows - keep[3]]) * view.spacing_mm
    lean = abs(np.tan(np.radians(turn))) * 0.5 * view.spacing_mm * np.array([view.rows] * 2 + [view.cols] * 2)
    edges = np.clip(np.minimum(edges, free - lean - 3.0), 0, None)
    side = "L" if rng.random() < 0.6 else "R"
    if view.name == "LL":
        side = "L"
    return Exposure(
        photons_mm2=float(np.exp(rng.uniform(np.log(4e3), np.log(6e4)))),
        scatter=float(rng.uniform(0.15, 0.5)),
        blur_mm=float(rng.uniform(0.15, 0.5)),
        equalise=float(rng.uniform(0.25, 0.55)),
        gamma=float(rng.uniform(0.75, 1.05)),
        low=float(rng.normal(0, 0.12)),
        high=float(rng.normal(0, 0.12)),
        collimation_mm=tuple(float(e) for e in edges),
        collimation_deg=turn,
        marker=side,
        marker_at=(float(rng.uniform(0.05, 0.12)), float(rng.uniform(0.04, 0.2))),
    )


def transmitted(line: np.ndarray, view: View, e: Exposure) -> np.ndarray:
    """Photons per pixel before noise: Beer-Lambert primary plus scatter as a wide blur of it, (H, W) float32."""
    primary = np.exp(-line)
    step = max(1, round(6.0 / view.spacing_mm))
    rows, cols = (-(-n // step) for n in primary.shape)
    padded = np.pad(primary, ((0, rows * step - view.rows), (0, cols * step - view.cols)), mode="edge")
    coarse = padded.reshape(rows, step, cols, step).mean(axis=(1, 3))
    inside = np.minimum(coarse, np.float32(0.35))  # the open beam beside the patient scatters little
    wide = ndimage.gaussian_filter(inside, 38.0 / (step * view.spacing_mm), mode="nearest")
    wide = upsample(np.pad(wide, 2, mode="edge"), view.rows, view.cols, step)
    flux = primary + np.float32(e.scatter) * wide
    if e.blur_mm / view.spacing_mm > 0.25:
        flux = ndimage.gaussian_filter(flux, e.blur_mm / view.spacing_mm, mode="nearest", truncate=3.0)
    flux *= np.float32(e.photons_mm2 * view.spacing_mm**2)
    return flux


def detect(line: np.ndarray, view: View, e: Exposure, rng: np.random.Generator) -> np.ndarray:
    """-log of detected over open-field signal, with quantum noise (normal approximation of Poisson), (H, W)."""
    flux = transmitted(line, view, e)
    noisy = flux + np.sqrt(flux) * rng.standard_normal(flux.shape, dtype=np.float32)
    floor = np.float32(1e-4 * e.photons_mm2 * view.spacing_mm**2)
    return -np.log(np.maximum(noisy, floor) / np.float32(e.photons_mm2 * view.spacing_mm**2))


def present(density: np.ndarray, view: View, e: Exposure) -> np.ndarray:
    """Display processing: equalise wide shades, stretch to the chest's own range, S curve. uint16, bone bright."""
    step = max(1, round(6.0 / view.spacing_mm))
    body = density[::step, ::step]
    inner = body[body > 0.5]
    inner = inner if inner.size > 50 else body.ravel()
    wide = ndimage.gaussian_filter(body, 30.0 / (step * view.spacing_mm), mode="nearest")
    wide = upsample(np.pad(wide, 2, mode="edge"), view.rows, view.cols, step)
    middle = float(np.median(inner))
    out = density - np.float32(e.equalise) * (np.clip(wide, *np.percentile(inner, [2, 98])) - middle)
    small = out[::step, ::step][body > 0.5] if (body > 0.5).sum() > 50 else out[::step, ::step].ravel()
    low, high = np.percentile(small, [1.5, 99.0])
    span = high - low
    low, high = low + (0.35 * e.low - 0.09) * span, high + (0.5 * e.high + 0.05) * span
    x = np.clip((out - low) / (high - low), 0, 1)
    x = x ** np.float32(e.gamma)
    x = 0.55 * x + 0.45 * (x * x * (3 - 2 * x))
    return (x * MAX_VALUE + 0.5).astype(np.uint16)


def collimate(picture: np.ndarray, view: View, e: Exposure) -> np.ndarray:
    """Blacken what the collimator leaf shades; four straight edges, slightly turned. In place."""
    left, right, top, bottom = e.collimation_mm
    if not any(e.collimation_mm):
        return picture
    turn = np.tan(np.radians(e.collimation_deg))
    width, height = view.cols * view.spacing_mm, view.rows * view.spacing_mm
    x = (np.arange(view.cols) * view.spacing_mm)[None, :]
    y = (np.arange(view.rows) * view.spacing_mm)[:, None]
    dx, dy = x + turn * (y - height / 2), y - turn * (x - width / 2)
    edge = np.minimum(np.minimum(dx - left, width - right - dx), np.minimum(dy - top, height - bottom - dy))
    picture *= (np.clip(edge / 1.5 + 0.5, 0, 1) > 0.5).astype(np.uint16)
    return picture


GLYPHS = {
    "L": ("1....", "1....", "1....", "1....", "1....", "1....", "11111"),
    "R": ("1111.", "1...1", "1...1", "1111.", "1.1..", "1..1.", "1...1"),
}


def stamp_marker(picture: np.ndarray, view: View, e: Exposure, frontal: bool) -> None:
    """Burn the side marker into the film: the lead letter stands beside the patient's own side. In place."""
    glyph = np.array([[c == "1" for c in row] for row in GLYPHS[e.marker]])
    tall = max(7, round(0.045 * view.rows))
    rows = np.arange(tall) * 7 // tall
    wide = max(5, round(tall * 5 / 7))
    cols = np.arange(wide) * 5 // wide
    big = glyph[rows][:, cols]
    y = int(e.marker_at[1] * view.rows) + int(e.collimation_mm[2] / view.spacing_mm)
    x = int(e.marker_at[0] * view.cols)
    if frontal and e.marker == "L":
        x = view.cols - x - wide - int(e.collimation_mm[1] / view.spacing_mm)
    else:
        x += int(e.collimation_mm[0] / view.spacing_mm)
    y, x = min(max(y, 0), view.rows - tall), min(max(x, 0), view.cols - wide)
    picture[y : y + tall, x : x + wide][big] = round(MAX_VALUE * 0.98)
