"""Bones of the chest as tubes and thin plates: ribs, spine, sternum, clavicles, shoulder girdle."""

from __future__ import annotations

import numpy as np

from .body import LEFT, MU_BONE, MU_MARROW, MU_SOFT, RIGHT, Build
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


def rib(b: Build, s: np.ndarray, x: int, i: int, rng: np.random.Generator) -> Tube:
    """Rib i of 12: leaves the spine, runs round the chest wall and falls forward."""
    n = 26
    end = np.radians({1: 150, 11: 118, 12: 85}.get(i, 148 + 2 * min(i, 7) - 4 * max(i - 8, 0)))
    theta = np.linspace(np.radians(9), end, n)
    z0 = VERTEBRA_Z[i - 1] + 4
    fall = np.interp(i, [1, 2, 4, 8, 12], [38, 55, 82, 105, 90]) * b.rib_slope
    drop = fall * (0.10 * np.sin(theta) * -1 + (1 - np.cos(theta)) / 2 + 0.12 * (theta / np.pi))
    z = z0 - drop + rng.normal(0, 0.8)
    up = np.clip((z + 60) / 216, 0, 0.985)
    down = np.clip((-60 - z) / 205, 0, 1)
    ring = np.where(z > -60, (1 - up**2) ** 0.5, 1 - 0.10 * down**2)
    half_w = 133 * ring**0.95 + 5
    half_d = 90 * ring**0.75 + 6
    line = spine_line(b, s, z0 * s[2] * np.ones(1))[0]
    px = x * (half_w * np.sin(theta) ** 0.9) * s[0] + line[0] * (1 - np.sin(theta))
    py = (half_d * np.cos(theta) + 3) * s[1]
    points = np.stack([px, py, z * s[2]], axis=1)
    facing = np.stack([x * np.sin(theta), np.cos(theta), 0.25 * np.ones(n)], axis=1)
    thick = np.interp(np.linspace(0, 1, n), [0, 0.15, 0.85, 1], [4.4, 4.0, 3.9, 4.2])
    tall = np.interp(np.linspace(0, 1, n), [0, 0.12, 0.6, 1], [5.0, 6.0, 6.6, 7.8]) * (0.8 if i in (1, 11, 12) else 1.0)
    age_fade = 1.0 - 0.003 * max(b.age - 45, 0)
    wall = (MU_BONE - MU_SOFT) * 1.6 * age_fade
    return Tube(
        points,
        np.stack([thick, tall], 1) * b.scale,
        wall,
        facing,
        core=0.74,
        core_weight=-(wall - (MU_MARROW - MU_SOFT)),
    )


def spine(b: Build, s: np.ndarray) -> list[Tube]:
    tubes = []
    zs = VERTEBRA_Z * s[2]
    front = np.array([0.0, 1.0, 0.0])
    wall = (MU_BONE - MU_SOFT) * 0.75
    for k, z in enumerate(zs):
        tall = np.interp(k, [0, 15], [14.5, 27]) * s[2]
        wide = np.interp(k, [0, 15], [14.5, 23]) * s[0]
        deep = np.interp(k, [0, 15], [9, 16]) * s[1]
        ends = np.linspace(-0.5, 0.5, 5) * tall
        points = spine_line(b, s, z + ends)
        waist = 1 + 0.10 * (np.abs(ends) / (0.5 * tall)) ** 2
        radii = np.stack([deep * waist, wide * waist], axis=1)
        facing = np.broadcast_to(front, (5, 3))
        tubes.append(
            Tube(
                points,
                radii,
                wall,
                facing,
                core=0.9,
                core_weight=-wall * 0.72,
                gain=np.array([1.35, 1, 1, 1.35]),
            )
        )
        middle = spine_line(b, s, np.array([z]))[0]
        for x in (RIGHT, LEFT):
            foot = middle + np.array([x * wide * 0.62, deep * 0.7, tall * 0.12])
            tubes.append(round_tube(np.array([foot, foot + [0, 12, 0]]), 3.4, wall * 1.6))
            tip = foot + np.array([x * 17, 14, 4]) * b.scale
            tubes.append(round_tube(np.array([foot + [0, 8, 0], tip]), 3.4, wall * 0.8))
        back = middle + np.array([0, deep + 14, -2])
        tubes.append(
            Tube(
                np.array([back, back + [0, 26, -16 - tall * 0.4]]),
                np.array([[2.6, 5.5], [3.2, 6.5]]),
                wall,
                np.array([[1.0, 0, 0]] * 2),
            )
        )
    return tubes


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
