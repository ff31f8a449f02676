"""Bones of the chest as tubes and thin plates: ribs, spine, sternum, clavicles, shoulder girdle."""

from __future__ import annotations

import numpy as np

from .body import LEFT, MU_BONE, MU_MARROW, MU_SOFT, RIGHT, SIDES, Build
from .projection import Ellipsoid
from .tubes import Tube, round_tube, smooth_curve


def spine_line(b: Build, s: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Centre of the vertebral bodies at heights z (n,) mm: (n, 3)."""
    zn = z / s[2]
    y = 62 - b.kyphosis * 0.012 * (zn - 10) ** 2 * 0.5 - 0.0006 * (zn - 10) ** 2
    x = b.scoliosis * np.sin(zn / 75)
    return np.stack([x, y * s[1], z], axis=-1)


VERTEBRA_Z = np.array(
    [152, 134, 116, 97, 77, 56, 34, 11, -13, -38, -64, -91, -120, -151, -184, -218], float
)  # T1 to L4, scale 1


RIB_POINTS = 26
RIB_END_DEG = np.array([150, 152, 154, 156, 158, 160, 162, 162, 158, 154, 118, 85], float)  # 0 = spine, 180 = front
_ALONG = np.linspace(0, 1, RIB_POINTS)
RIB_THICK = np.interp(_ALONG, [0, 0.15, 0.85, 1], [4.4, 4.0, 3.9, 4.2])
RIB_TALL = np.interp(_ALONG, [0, 0.12, 0.6, 1], [5.0, 6.0, 6.6, 7.8])


def ribs(b: Build, s: np.ndarray, rng: np.random.Generator) -> dict[tuple[str, int], Tube]:
    """Ribs 1 to 12 of both sides: each leaves the spine, runs round the chest wall and falls forward."""
    number = np.arange(1, 13)
    start, end = np.radians(9), np.radians(RIB_END_DEG)[:, None]
    theta = start + (end - start) * _ALONG  # (12, n)
    sine, cosine = np.sin(theta), np.cos(theta)
    z0 = (VERTEBRA_Z[:12] + 4)[:, None]
    fall = (np.interp(number, [1, 2, 4, 8, 12], [38, 55, 82, 105, 90]) * b.rib_slope)[:, None]
    level = z0 - fall * (-0.10 * sine + (1 - cosine) / 2 + 0.12 * (theta / np.pi))
    foot = spine_line(b, s, z0[:, 0] * s[2])
    wall = (MU_BONE - MU_SOFT) * 1.6 * (1.0 - 0.003 * max(b.age - 45, 0))
    found = {}
    for name, x in SIDES.items():
        z = level + rng.normal(0, 0.8, (12, 1))
        up, down = np.clip((z + 60) / 216, 0, 0.985), np.clip((-60 - z) / 205, 0, 1)
        ring = np.where(z > -60, np.sqrt(1 - up**2), 1 - 0.10 * down**2)
        px = x * (133 * ring**0.95 + 5) * sine**0.9 * s[0] + foot[:, :1] * (1 - sine)
        py = ((90 * ring**0.75 + 6) * cosine + 3) * s[1]
        points = np.stack([px, py, z * s[2]], axis=-1)
        facing = np.stack([x * sine, cosine, np.full_like(sine, 0.25)], axis=-1)
        for i in number:
            tall = RIB_TALL * (0.8 if i in (1, 11, 12) else 1.0)
            radii = np.stack([RIB_THICK, tall], axis=1) * b.scale
            core_weight = -(wall - (MU_MARROW - MU_SOFT))
            found[name, int(i)] = Tube(points[i - 1], radii, wall, facing[i - 1], core=0.74, core_weight=core_weight)
    return found


def spine(b: Build, s: np.ndarray) -> list[Tube]:
    """Bodies with denser end plates, pedicles, transverse and spinous processes of T1 to L4."""
    n, k = len(VERTEBRA_Z), np.linspace(0, 1, len(VERTEBRA_Z))
    wall = (MU_BONE - MU_SOFT) * 0.75
    tall, wide, deep = (14.5 + 12.5 * k) * s[2], (14.5 + 8.5 * k) * s[0], (9 + 7 * k) * s[1]
    ends = np.linspace(-0.5, 0.5, 5)
    z = (VERTEBRA_Z * s[2])[:, None] + ends * tall[:, None]
    waist = 1 + 0.10 * (2 * ends) ** 2
    radii = np.stack([deep[:, None] * waist, wide[:, None] * waist], axis=-1).reshape(-1, 2)
    gain = np.tile([1.35, 1, 1, 1.35, 0], n)[:-1]
    front = np.broadcast_to([0.0, 1.0, 0.0], (5 * n, 3))
    bodies = Tube(spine_line(b, s, z.ravel()), radii, wall, front, 0.9, -wall * 0.72, gain, np.repeat(np.arange(n), 5))
    middle = spine_line(b, s, VERTEBRA_Z * s[2])
    tubes = [bodies]
    for x in (RIGHT, LEFT):
        foot = middle + np.stack([x * wide * 0.62, deep * 0.7, tall * 0.12], axis=1)
        tubes.append(_pairs(foot, foot + [0, 12, 0], (3.4, 3.4), wall * 1.6))
        tubes.append(_pairs(foot + [0, 8, 0], foot + np.array([x * 17, 14, 4]) * b.scale, (3.4, 3.4), wall * 0.8))
    back = middle + np.stack([np.zeros(n), deep + 14, np.full(n, -2.0)], axis=1)
    tip = back + np.stack([np.zeros(n), np.full(n, 26.0), -16 - tall * 0.4], axis=1)
    return [*tubes, _pairs(back, tip, (2.9, 6.0), wall)]


def _pairs(start: np.ndarray, end: np.ndarray, radii: tuple[float, float], weight: float) -> Tube:
    """Straight pieces from start (n, 3) to end (n, 3) as one Tube, flat across x."""
    points = np.stack([start, end], axis=1).reshape(-1, 3)
    facing = np.broadcast_to([1.0, 0.0, 0.0], points.shape)
    chain = np.repeat(np.arange(len(start)), 2)
    return Tube(points, np.broadcast_to(radii, (len(points), 2)), weight, facing, chain=chain)


def sternum(s: np.ndarray) -> list[Tube]:
    line = smooth_curve(np.array([[0, -74, 104], [0, -92, 62], [0, -106, 0], [0, -108, -52]]) * s, 10)
    radii = np.stack([np.full(10, 4.5), np.interp(np.arange(10), [0, 3, 4, 9], [24, 14, 15, 11])], axis=1)
    wall = (MU_BONE - MU_SOFT) * 0.6
    return [Tube(line, radii, wall, np.broadcast_to([0.0, 1.0, 0.0], (10, 3)), core=0.7, core_weight=-wall * 0.6)]


def clavicles(s: np.ndarray, rng: np.random.Generator) -> list[Tube]:
    tubes = []
    wall = (MU_BONE - MU_SOFT) * 1.9
    rise = rng.normal(0, 6)
    for x in (RIGHT, LEFT):
        knots = (
            np.array(
                [
                    [x * 20, -66, 104],
                    [x * 52, -74, 112 + rise * 0.4],
                    [x * 92, -52, 122 + rise],
                    [x * 142, -18, 134 + rise],
                ]
            )
            * s
        )
        line = smooth_curve(knots, 48)
        radius = (
            np.interp(np.linspace(0, 1, 48), [0, 0.03, 0.12, 0.3, 0.6, 0.9, 1], [4.0, 8.0, 8.2, 6.2, 5.6, 7.0, 3.0])
            * s[0]
        )
        tubes.append(round_tube(line, radius, wall, core=0.66, core_weight=-wall * 0.7))
    return tubes


def shoulder_girdle(s: np.ndarray, rng: np.random.Generator) -> tuple[list[Tube], list[tuple[Ellipsoid, float]]]:
    wall = (MU_BONE - MU_SOFT) * 1.3
    tubes, plates = [], []
    spread = rng.normal(0, 6)
    for x in (RIGHT, LEFT):
        head = np.array([x * 164, 12, 112]) * s
        plates.append((Ellipsoid.of(head, np.array([23, 22, 23]) * s), wall * 0.42))
        shaft = np.array([head, head + np.array([x * 16, 0, -50]), head + np.array([x * 30, 4, -120])])
        tubes.append(
            round_tube(smooth_curve(shaft, 8), np.linspace(15, 11, 8), wall, core=0.68, core_weight=-wall * 0.8)
        )
        glenoid, angle = np.array([x * 142, 40, 108]) * s, np.array([x * (116 + spread), 92, -22]) * s
        medial = np.array([x * (88 + spread), 88, 92]) * s
        border = smooth_curve(np.array([glenoid, 0.5 * (glenoid + angle) + [x * 2, 4, 0], angle]), 12)
        tubes.append(round_tube(border, np.linspace(5.5, 3.0, 12), wall * 0.75))
        tubes.append(
            round_tube(
                smooth_curve(np.array([angle, 0.5 * (angle + medial) - [x * 3, 0, 0], medial]), 10),
                2.2,
                wall * 0.6,
            )
        )
        spine = smooth_curve(
            np.array([medial, 0.5 * (medial + glenoid) + [0, 16, 18], np.array([x * 152, 22, 136]) * s]), 10
        )
        tubes.append(round_tube(spine, np.linspace(3, 6, 10), wall * 0.6))
        centre = (glenoid + angle + medial) / 3
        down, across = 0.52 * (angle - 0.5 * (glenoid + medial)), 0.40 * (glenoid - medial)
        thick = np.cross(down, across)
        plates.append(
            (
                Ellipsoid(centre, np.stack([across, down, 2.2 * thick / np.linalg.norm(thick)], axis=1)),
                wall * 0.9,
            )
        )
    return tubes, plates
