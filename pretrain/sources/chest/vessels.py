"""Pulmonary vessels: branches that leave the hilum and thin out toward the pleura."""

from __future__ import annotations

import numpy as np

from .anatomy import Chest, inside_lung
from .body import MU_LUNG, MU_SOFT, SIDES
from .tubes import Tube, smooth_curve

TRUNKS, TWIGS = 18, 4
TRUNK_POINTS, TWIG_POINTS = 14, 8


def vessel_tree(chest: Chest, side: str, rng: np.random.Generator) -> Tube:
    """All vessels of one lung as one Tube of many chains: trunks from hilum to pleura, four twigs on each."""
    x, scale = SIDES[side], chest.build.scale
    root, hull = chest.hilum[side], chest.lung[side]
    m, n = TRUNKS, TRUNK_POINTS
    z = np.linspace(0.72, -0.72, m) + rng.normal(0, 0.06, m)
    out = rng.uniform(0.45, 0.95, m) * np.sqrt(np.maximum(1 - z * z, 0.1))
    goal = np.stack([x * out * 66, rng.uniform(-0.75, 0.75, m) * 78, z * 150 + 30], axis=1) * scale + hull.centre
    bend = np.stack([np.full(m, x * 10.0), np.zeros(m), 18 * np.sign(z)], axis=1) + rng.normal(0, 9, (m, 3))
    trunk = smooth_curve(np.stack([root + rng.normal(0, 7, (m, 3)), 0.6 * root + 0.4 * goal + bend, goal], 1), n)
    trunk += np.cumsum(rng.normal(0, 1.1, (m, n, 3)), axis=1)
    start = rng.uniform(2.4, 4.4, m) * chest.build.vessel * np.where(z < 0.1, 1.15, 0.8)
    fork = rng.integers(3, n - 3, (m, TWIGS))
    foot = np.take_along_axis(trunk, fork[:, :, None], axis=1)
    ahead = np.take_along_axis(trunk, np.minimum(fork + 4, n - 1)[:, :, None], axis=1)
    away = ahead - foot + rng.normal(0, 16, (m, TWIGS, 3))
    tip = foot + away * rng.uniform(1.2, 2.2, (m, TWIGS, 1))
    twig = smooth_curve(np.stack([foot, foot + 0.6 * away, tip], axis=2), TWIG_POINTS).reshape(-1, TWIG_POINTS, 3)
    thin = ((start[:, None] * (1 - fork / n) + 0.5) * rng.uniform(0.5, 0.7, (m, TWIGS))).ravel()
    points = np.concatenate([trunk.reshape(-1, 3), twig.reshape(-1, 3)])
    radius = np.concatenate([_taper(start, 0.6, n).ravel(), _taper(thin, 0.4, TWIG_POINTS).ravel()])
    chain = np.concatenate([np.repeat(np.arange(m), n), m + np.repeat(np.arange(m * TWIGS), TWIG_POINTS)])
    inside = inside_lung(chest, side, 0.5 * (points[1:] + points[:-1])).astype(float)
    weight = (MU_SOFT - MU_LUNG) * 1.05
    return Tube(points, np.stack([radius, radius], axis=1), weight, gain=inside, chain=chain)


def _taper(start: np.ndarray, end: float, n: int) -> np.ndarray:
    """Radii along each of m vessels: (m, n)."""
    return end + np.maximum(start - end, 0)[:, None] * (1 - np.linspace(0, 1, n)) ** 1.5
