"""A parametric chest: the bodies and tubes that stand for the organs of one patient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .body import LEFT, MU_SOFT, RIGHT, SIDES, Build
from .projection import Ellipsoid
from .skeleton import clavicles, ribs, shoulder_girdle, spine, sternum
from .tubes import Tube, round_tube, smooth_curve

BACK = ((36, 4, 18), (28, 10, 40), (20, 18, 58), (12, 24, 74))
"""Half width, place and half depth of the nested columns that make the back mediastinum thin out sideways."""


@dataclass
class Chest:
    """Bodies and tubes of one patient. `lung`, `dome`: by side; `heart`, `mediastinum`: lists of bodies."""

    build: Build
    trunk: list[Ellipsoid]
    arms: list[Ellipsoid]
    breasts: list[Ellipsoid]
    lung: dict[str, Ellipsoid]
    dome: dict[str, Ellipsoid]
    heart: list[Ellipsoid]
    mediastinum: list[Ellipsoid]
    aorta: Ellipsoid
    gas: list[Ellipsoid]
    ribs: dict[tuple[str, int], Tube]
    bones: list[Tube]
    arm_bones: list[Tube]
    plates: list[tuple[Ellipsoid, float]]
    arm_plates: list[tuple[Ellipsoid, float]]
    airway: list[Tube]
    carina: np.ndarray

    @property
    def hilum(self) -> dict[str, np.ndarray]:
        b = self.build
        return {s: np.array([x * 38.0, 5.0, 22.0 if s == "left" else 12.0]) * b.scale for s, x in SIDES.items()}


def build_chest(build: Build, heart_width: float, rng: np.random.Generator) -> Chest:
    """Assemble the anatomy. `heart_width` scales the heart (1 = a cardiothoracic ratio near 0.44)."""
    b = build
    s = _axes_scale(b)
    lung = lung_bodies(b)
    dome = {}
    for name, x in SIDES.items():
        top = (-88 if x == RIGHT else -104) + b.inspiration + rng.normal(0, 4)
        semi = np.array([100, 125, 105 + rng.normal(0, 6)])
        dome[name] = Ellipsoid.of(np.array([x * (60 + rng.normal(0, 3)), -22, top - semi[2]]) * s, semi * s, (7, 0, 0))
    chest = Chest(
        build=b,
        trunk=_trunk(b, s),
        arms=_arms(b, s),
        breasts=_breasts(b, s),
        lung=lung,
        dome=dome,
        heart=heart_bodies(b, heart_width),
        mediastinum=_mediastinum(b, s),
        aorta=Ellipsoid.of(np.array([14 + 4 * b.aorta, 50, -40]) * s, np.array([13, 13, 128]) * s * b.aorta**0.5),
        gas=_gas(b, s, dome["left"], rng),
        ribs={},
        bones=[],
        arm_bones=[],
        plates=[],
        arm_plates=[],
        airway=[],
        carina=np.array([2.0, 28.0, 52.0]) * s,
    )
    chest.airway = _airway(chest, s)
    chest.ribs = ribs(b, s, rng)
    chest.bones = spine(b, s) + sternum(s) + clavicles(s, rng)
    chest.arm_bones, chest.arm_plates = shoulder_girdle(s, rng)
    return chest


def _trunk(b: Build, s: np.ndarray) -> list[Ellipsoid]:
    fat = b.fat
    return [
        Ellipsoid.of(np.array([0, 4, -90]) * s, np.array([150, 110, 300]) * s + [fat, fat * 0.9, 0]),
        Ellipsoid.of(np.array([0, 14, 118]) * s, np.array([104, 64, 62]) * s + fat * 0.3),
        Ellipsoid.of(np.array([0, 14, 215]) * s, np.array([57, 60, 150]) * s + fat * 0.2),
    ]


def _arms(b: Build, s: np.ndarray) -> list[Ellipsoid]:
    """Shoulders and upper arms as they hang in a frontal film; a lateral film has them raised out of it."""
    bodies = [Ellipsoid.of(np.array([0, 18, 92]) * s, np.array([208, 66, 66]) * s + b.fat * 0.4)]
    for x in (RIGHT, LEFT):
        slope = Ellipsoid.of(np.array([x * 74, 20, 138]) * s, np.array([96, 44, 34]) * s, (0, 20 * x, 0))
        upper = Ellipsoid.of(np.array([x * 192, 14, 20]) * s, np.array([46, 48, 130]) * s + 0.4 * b.fat, (0, -6 * x, 0))
        bodies += [slope, upper]
    return bodies


def _breasts(b: Build, s: np.ndarray) -> list[Ellipsoid]:
    if b.sex == "M":
        return []
    size = np.array([74, 20, 70]) + np.array([0.7, 0.45, 0.7]) * b.fat
    return [Ellipsoid.of(np.array([x * 80, -94 - b.fat * 0.9, -84]) * s, size, (0, 10 * x, 0)) for x in (RIGHT, LEFT)]


def _axes_scale(b: Build) -> np.ndarray:
    return np.array([b.scale * b.width, b.scale * b.depth, b.scale * b.length])


def lung_bodies(b: Build) -> dict[str, Ellipsoid]:
    """The inside of the rib cage on each side; what else lies in it is cut away when rays are cast."""
    s = _axes_scale(b)
    return {
        n: Ellipsoid.of(np.array([x * 63, 2, -60]) * s, np.array([69, 93, 205]) * s, (0, 0, -4 * x))
        for n, x in SIDES.items()
    }


def heart_bodies(b: Build, k: float) -> list[Ellipsoid]:
    """Left chambers, right atrium and apex; it rides on the diaphragm, and only its width follows k fully."""
    s = _axes_scale(b)
    tilt, low = b.heart_tilt, 0.6 * b.inspiration
    deep, tall = k**0.6, k**0.5
    left = Ellipsoid.of(
        np.array([21 * k + 3, -34, -54 + low]) * s, np.array([60 * k, 46 * deep, 46 * tall]) * s, (0, tilt, -25)
    )
    right = Ellipsoid.of(
        np.array([-9 - 5 * (k - 1), -20, -50 + low]) * s, np.array([31 * k, 42 * deep, 54 * tall]) * s, (0, 8, 0)
    )
    apex = Ellipsoid.of(
        np.array([38 * k, -40, -80 + low]) * s, np.array([40 * k, 36 * deep, 30 * tall]) * s, (0, 0.5 * tilt, 0)
    )
    return [left, right, apex]


def _mediastinum(b: Build, s: np.ndarray) -> list[Ellipsoid]:
    a = b.aorta
    return [
        *(Ellipsoid.of(np.array([1, y, -90]) * s, np.array([x, d, 190 + 3.5 * d]) * s) for x, y, d in BACK),
        Ellipsoid.of(np.array([0, -22, 112]) * s, np.array([30, 40, 92]) * s),
        Ellipsoid.of(np.array([-13, -12, 44]) * s, np.array([19, 26, 74]) * s),
        Ellipsoid.of(np.array([15 + 3 * a, 14, 66]) * s, np.array([18 * a, 26 * a, 17 * a]) * s),
        Ellipsoid.of(np.array([17, -6, 20]) * s, np.array([21, 26, 34]) * s, (0, -18, 0)),
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
    top = np.array([0, -14, 300]) * s
    trachea = smooth_curve(np.array([top, [0 * s[0], 6 * s[1], 120 * s[2]], c]), 14)
    weight = -MU_SOFT
    tubes = [round_tube(trachea, np.linspace(8.0, 8.8, 14) * chest.build.scale, weight)]
    for name, x in SIDES.items():
        h = chest.hilum[name]
        reach = np.array([x * 18, 6, -26]) * s
        path = smooth_curve(np.array([c + [0, 0, 2], 0.5 * (c + h) + [0, 0, 4 if x == RIGHT else 7], h, h + reach]), 12)
        tubes.append(round_tube(path, np.linspace(7.0, 3.4, 12) * chest.build.scale, weight * 0.9))
    return tubes


def inside_lung(chest: Chest, side: str, points: np.ndarray, margin: float = 0.0) -> np.ndarray:
    """Bool (...): points (..., 3) lie in the aerated lung, `margin` mm away from its surfaces."""
    hull = chest.lung[side]
    semi = float(np.linalg.norm(hull.axes, axis=0).min())
    ok = hull.level(points) < (1 - margin / semi) ** 2
    for body in [chest.dome[side], *chest.heart, *chest.mediastinum]:
        size = float(np.linalg.norm(body.axes, axis=0).min())
        ok &= body.level(points) > (1 + margin / size) ** 2
    return ok
