"""A parametric chest: who the patient is, and the bodies and tubes that stand for their organs.

All lengths in mm, patient frame of `projection.py`. Attenuation is per mm at the effective energy of a filtered
120 kVp beam (about 70 keV; NIST XCOM water 0.0193, fat 0.0170, cortical bone 0.0470 at density 1.9).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .projection import Ellipsoid
from .tubes import Tube, round_tube, smooth_curve

MU_SOFT = 0.0190
MU_FAT = 0.0172
MU_LUNG = 0.0048
MU_BONE = 0.0400
MU_MARROW = 0.0235
MU_METAL = 0.30
RIGHT, LEFT = -1, 1  # sign of x
SIDES = {"right": RIGHT, "left": LEFT}


@dataclass(frozen=True)
class Build:
    """What varies between patients; every number is drawn in `draw_build`."""

    sex: str
    age: int
    scale: float
    width: float
    depth: float
    length: float
    fat: float
    kyphosis: float
    scoliosis: float
    inspiration: float
    rib_slope: float
    heart_tilt: float
    aorta: float
    vessel: float
    texture: float
    gas: float


def draw_build(rng: np.random.Generator) -> Build:
    """Sex, age and body shape. Distributions are listed in docs/simulator.md."""
    sex = "F" if rng.random() < 0.5 else "M"
    age = int(np.clip(rng.normal(58, 17), 18, 95))
    clip = lambda mean, sd, lo, hi: float(np.clip(rng.normal(mean, sd), lo, hi))  # noqa: E731
    return Build(
        sex=sex,
        age=age,
        scale=clip(0.95 if sex == "F" else 1.03, 0.04, 0.84, 1.14),
        width=clip(1.0, 0.04, 0.9, 1.12),
        depth=clip(1.0, 0.07, 0.84, 1.2),
        length=clip(1.0, 0.05, 0.88, 1.12),
        fat=float(np.clip(rng.gamma(3.0, 7.0), 4, 55)),
        kyphosis=clip(0.10 + 0.002 * max(age - 50, 0), 0.05, 0.0, 0.35),
        scoliosis=clip(0.0, 4.0, -10.0, 10.0),
        inspiration=clip(0.0, 7.0, -14.0, 14.0),
        rib_slope=clip(1.0, 0.12, 0.7, 1.3),
        heart_tilt=clip(38.0, 6.0, 24.0, 52.0),
        aorta=clip(0.9 + 0.006 * (age - 40), 0.12, 0.7, 1.4),
        vessel=clip(1.0, 0.12, 0.7, 1.35),
        texture=clip(1.0, 0.25, 0.4, 1.8),
        gas=float(rng.random()),
    )


@dataclass
class Chest:
    """Bodies and tubes of one patient. `lung`, `dome`: by side; `heart`, `mediastinum`: lists of bodies."""

    build: Build
    trunk: list[Ellipsoid]
    arms: list[Ellipsoid]
    lung: dict[str, Ellipsoid]
    dome: dict[str, Ellipsoid]
    heart: list[Ellipsoid]
    mediastinum: list[Ellipsoid]
    gas: list[Ellipsoid]
    ribs: dict[tuple[str, int], Tube]
    bones: list[Tube]
    arm_bones: list[Tube]
    plates: list[tuple[Ellipsoid, float]]
    arm_plates: list[tuple[Ellipsoid, float]]
    airway: list[Tube]
    carina: np.ndarray
    extra: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def hilum(self) -> dict[str, np.ndarray]:
        b = self.build
        return {
            s: np.array([x * 38.0, 5.0, 22.0 if s == "left" else 12.0]) * b.scale for s, x in SIDES.items()
        }


def build_chest(build: Build, heart_width: float, rng: np.random.Generator, *, bones: bool = True) -> Chest:
    """Assemble the anatomy. `heart_width` scales the heart (1 = a cardiothoracic ratio near 0.44);
    `bones=False` leaves out what a measurement of heart and lungs does not need."""
    b = build
    s = np.array([b.scale * b.width, b.scale * b.depth, b.scale * b.length])
    lung = {
        n: Ellipsoid.of(np.array([x * 63, 2, -60]) * s, np.array([69, 93, 205]) * s, (0, 0, -4 * x))
        for n, x in SIDES.items()
    }
    dome = {}
    for name, x in SIDES.items():
        top = (-88 if x == RIGHT else -104) + b.inspiration + rng.normal(0, 4)
        semi = np.array([100, 125, 105 + rng.normal(0, 6)])
        dome[name] = Ellipsoid.of(
            np.array([x * (60 + rng.normal(0, 3)), -22, top - semi[2]]) * s, semi * s, (7, 0, 0)
        )
    chest = Chest(
        build=b,
        trunk=_trunk(b, s),
        arms=[Ellipsoid.of(np.array([x * 158, 22, 118]) * s, np.array([62, 62, 52]) * s + b.fat * 0.4, (0, 25 * x, 0)) for x in (RIGHT, LEFT)],
        lung=lung,
        dome=dome,
        heart=_heart(b, s, heart_width),
        mediastinum=_mediastinum(b, s),
        gas=_gas(b, s, dome["left"], rng),
        ribs={},
        bones=[],
        arm_bones=[],
        plates=[],
        arm_plates=[],
        airway=[],
        carina=np.array([2.0, 28.0, 52.0]) * s,
    )  # fmt: skip
    if not bones:
        return chest
    chest.airway = _airway(chest, s)
    for name, x in SIDES.items():
        for i in range(1, 13):
            chest.ribs[name, i] = _rib(b, s, x, i, rng)
    chest.bones = _spine(b, s) + _sternum(s) + _clavicles(s, rng)
    chest.arm_bones, chest.arm_plates = _shoulder_girdle(s, rng)
    return chest


def _trunk(b: Build, s: np.ndarray) -> list[Ellipsoid]:
    fat = b.fat
    bodies = [
        Ellipsoid.of(np.array([0, 4, -90]) * s, np.array([152, 112, 420]) * s + [fat, fat * 0.9, 0]),
        Ellipsoid.of(np.array([0, 18, 92]) * s, np.array([150, 80, 66]) * s + fat * 0.5),
        Ellipsoid.of(np.array([0, 14, 190]) * s, np.array([58, 58, 150]) * s + fat * 0.2),
    ]
    if b.sex == "F":
        size = np.array([58, 42, 58]) + 0.5 * fat
        for x in (RIGHT, LEFT):
            bodies.append(Ellipsoid.of(np.array([x * 76, -98 - fat * 0.6, -72]) * s, size, (0, 8 * x, 0)))
    return bodies


def _heart(b: Build, s: np.ndarray, k: float) -> list[Ellipsoid]:
    tilt = b.heart_tilt
    left = Ellipsoid.of(
        np.array([20 * k + 4, -32, -48]) * s, np.array([58 * k, 46 * k**0.7, 45 * k**0.5]) * s, (0, tilt, -25)
    )
    right = Ellipsoid.of(
        np.array([-10 - 4 * (k - 1), -18, -40]) * s,
        np.array([31 * k, 42 * k**0.5, 50 * k**0.5]) * s,
        (0, 6, 0),
    )
    apex = Ellipsoid.of(
        np.array([40 * k, -42, -70]) * s, np.array([34 * k, 34, 28 * k**0.5]) * s, (0, tilt, 0)
    )
    return [left, right, apex]  # fmt: skip


def _mediastinum(b: Build, s: np.ndarray) -> list[Ellipsoid]:
    a = b.aorta
    return [
        Ellipsoid.of(np.array([0, 20, 20]) * s, np.array([23, 62, 260]) * s),
        Ellipsoid.of(np.array([-12, -12, 40]) * s, np.array([19, 22, 70]) * s),
        Ellipsoid.of(np.array([16 + 3 * a, 14, 66]) * s, np.array([17 * a, 26 * a, 16 * a]) * s),
        Ellipsoid.of(np.array([17, -6, 22]) * s, np.array([21, 24, 30]) * s, (0, -22, 0)),
        Ellipsoid.of(np.array([14 + 4 * a, 52, -30]) * s, np.array([13 * a, 13 * a, 130]) * s),
    ]


def _gas(b: Build, s: np.ndarray, dome: Ellipsoid, rng: np.random.Generator) -> list[Ellipsoid]:
    top = dome.centre[2] + dome.axes[2, 2]
    bodies = []
    if b.gas < 0.75:
        r = rng.uniform(16, 32)
        bodies.append(
            Ellipsoid.of([dome.centre[0] - rng.uniform(0, 20), -10, top - 9 - r * 0.7], [r * 1.3, r, r * 0.7])
        )
    for _ in range(int(rng.integers(0, 4))):
        r = rng.uniform(8, 16)
        x, z = rng.uniform(20, 110) * s[0], top - rng.uniform(50, 120)
        bodies.append(Ellipsoid.of([x, rng.uniform(-60, 0), z], [r * 1.4, r, r]))
    return bodies


def _airway(chest: Chest, s: np.ndarray) -> list[Tube]:
    c = chest.carina
    top = np.array([0, -8, 190]) * s
    trachea = smooth_curve(np.array([top, [0 * s[0], 6 * s[1], 120 * s[2]], c]), 14)
    weight = -MU_SOFT
    tubes = [round_tube(trachea, np.linspace(8.0, 8.8, 14) * chest.build.scale, weight)]
    for name, x in SIDES.items():
        h = chest.hilum[name]
        reach = np.array([x * 18, 6, -26]) * s
        path = smooth_curve(
            np.array([c + [0, 0, 2], 0.5 * (c + h) + [0, 0, 4 if x == RIGHT else 7], h, h + reach]), 12
        )
        tubes.append(round_tube(path, np.linspace(7.0, 3.4, 12) * chest.build.scale, weight * 0.9))
    return tubes


def spine_line(b: Build, s: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Centre of the vertebral bodies at heights z (n,) mm: (n, 3)."""
    zn = z / s[2]
    y = 62 - b.kyphosis * 0.012 * (zn - 10) ** 2 * 0.5 - 0.0006 * (zn - 10) ** 2
    x = b.scoliosis * np.sin(zn / 75)
    return np.stack([x, y * s[1], z], axis=-1)


VERTEBRA_Z = np.array(
    [152, 134, 116, 97, 77, 56, 34, 11, -13, -38, -64, -91, -120, -151], float
)  # T1 to L2, scale 1


def _rib(b: Build, s: np.ndarray, x: int, i: int, rng: np.random.Generator) -> Tube:
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
    thick = np.interp(np.linspace(0, 1, n), [0, 0.15, 0.85, 1], [3.6, 3.2, 3.1, 3.6])
    tall = np.interp(np.linspace(0, 1, n), [0, 0.12, 0.6, 1], [5.0, 6.0, 6.6, 7.8]) * (
        0.8 if i in (1, 11, 12) else 1.0
    )
    age_fade = 1.0 - 0.003 * max(b.age - 45, 0)
    wall = (MU_BONE - MU_SOFT) * 1.15 * age_fade
    return Tube(
        points,
        np.stack([thick, tall], 1) * b.scale,
        wall,
        facing,
        core=0.74,
        core_weight=-(wall - (MU_MARROW - MU_SOFT)),
    )


def _spine(b: Build, s: np.ndarray) -> list[Tube]:
    tubes = []
    zs = VERTEBRA_Z * s[2]
    front = np.array([0.0, 1.0, 0.0])
    wall = (MU_BONE - MU_SOFT) * 0.62
    for k, z in enumerate(zs):
        tall = np.interp(k, [0, 13], [14.5, 25]) * s[2]
        wide = np.interp(k, [0, 13], [14.5, 21]) * s[0]
        deep = np.interp(k, [0, 13], [9, 15]) * s[1]
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


def _sternum(s: np.ndarray) -> list[Tube]:
    line = smooth_curve(np.array([[0, -74, 104], [0, -92, 62], [0, -106, 0], [0, -108, -52]]) * s, 10)
    radii = np.stack([np.full(10, 4.5), np.interp(np.arange(10), [0, 3, 4, 9], [24, 14, 15, 11])], axis=1)
    wall = (MU_BONE - MU_SOFT) * 0.6
    return [
        Tube(line, radii, wall, np.broadcast_to([0.0, 1.0, 0.0], (10, 3)), core=0.7, core_weight=-wall * 0.6)
    ]


def _clavicles(s: np.ndarray, rng: np.random.Generator) -> list[Tube]:
    tubes = []
    wall = (MU_BONE - MU_SOFT) * 1.15
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
        line = smooth_curve(knots, 20)
        radius = np.interp(np.linspace(0, 1, 20), [0, 0.15, 0.6, 1], [8.5, 6.2, 5.6, 6.8]) * s[0]
        tubes.append(round_tube(line, radius, wall, core=0.66, core_weight=-wall * 0.7))
    return tubes


def _shoulder_girdle(
    s: np.ndarray, rng: np.random.Generator
) -> tuple[list[Tube], list[tuple[Ellipsoid, float]]]:
    wall = (MU_BONE - MU_SOFT) * 0.9
    tubes, plates = [], []
    spread = rng.normal(0, 6)
    for x in (RIGHT, LEFT):
        head = np.array([x * 164, 12, 112]) * s
        plates.append((Ellipsoid.of(head, np.array([23, 22, 23]) * s), wall * 0.42))
        shaft = np.array([head, head + np.array([x * 16, 0, -50]), head + np.array([x * 30, 4, -120])])
        tubes.append(
            round_tube(
                smooth_curve(shaft, 8), np.linspace(15, 11, 8), wall, core=0.68, core_weight=-wall * 0.8
            )
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


def inside_lung(chest: Chest, side: str, points: np.ndarray, margin: float = 0.0) -> np.ndarray:
    """Bool (...): points (..., 3) lie in the aerated lung, `margin` mm away from its surfaces."""
    hull = chest.lung[side]
    semi = float(np.linalg.norm(hull.axes, axis=0).min())
    ok = hull.level(points) < (1 - margin / semi) ** 2
    for body in [chest.dome[side], *chest.heart, *chest.mediastinum]:
        size = float(np.linalg.norm(body.axes, axis=0).min())
        ok &= body.level(points) > (1 + margin / size) ** 2
    return ok


def vessel_tree(chest: Chest, side: str, rng: np.random.Generator) -> list[Tube]:
    """Pulmonary vessels: branches that leave the hilum and thin out toward the pleura."""
    x = SIDES[side]
    root = chest.hilum[side]
    hull = chest.lung[side]
    tubes = []
    n_main = 13
    weight = (MU_SOFT - MU_LUNG) * 0.9
    for k in range(n_main):
        z = np.interp(k, [0, n_main - 1], [0.72, -0.72]) + rng.normal(0, 0.06)
        out = rng.uniform(0.45, 0.95) * np.sqrt(max(1 - z * z, 0.1))
        y = rng.uniform(-0.75, 0.75)
        goal = hull.centre + np.array([x * out * 66, y * 78, z * 150]) * chest.build.scale + [0, 0, 30]
        bend = np.array([x * 10, 0, 18 * np.sign(z)]) + rng.normal(0, 6, 3)
        n = 14
        path = smooth_curve(np.array([root + rng.normal(0, 4, 3), 0.6 * root + 0.4 * goal + bend, goal]), n)
        path += np.cumsum(rng.normal(0, 0.7, (n, 3)), axis=0)
        start = rng.uniform(3.0, 4.6) * chest.build.vessel * (1.15 if z < 0.1 else 0.8)
        tubes.append(_vessel(chest, side, path, start, 0.6, weight))
        for _ in range(4):
            j = int(rng.integers(3, n - 3))
            away = path[min(j + 4, n - 1)] - path[j] + rng.normal(0, 16, 3)
            twig = smooth_curve(
                np.array([path[j], path[j] + 0.6 * away, path[j] + away * rng.uniform(1.2, 2.2)]), 8
            )
            r = (start * (1 - j / n) + 0.5) * rng.uniform(0.5, 0.7)
            tubes.append(_vessel(chest, side, twig, r, 0.4, weight))
    return tubes


def _vessel(chest: Chest, side: str, path: np.ndarray, start: float, end: float, weight: float) -> Tube:
    n = len(path)
    radius = end + (start - end) * (1 - np.linspace(0, 1, n)) ** 1.1
    middle = 0.5 * (path[1:] + path[:-1])
    return round_tube(path, radius, weight, gain=inside_lung(chest, side, middle).astype(float))
