"""Who the patient is: attenuation of tissues, sex, age and shape.

All lengths in mm, patient frame of `projection.py`. Attenuation is per mm at the effective energy of a
filtered 120 kVp beam, about 70 keV (NIST XCOM: water 0.0193, fat 0.0170, cortical bone of density 1.9
0.0470). Metal stands for wire and titanium at a weight that stays within the detector's range.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MU_SOFT = 0.0190
MU_FAT = 0.0172
MU_LUNG = 0.0048
MU_BONE = 0.0400
MU_MARROW = 0.0235
MU_METAL = 0.30
RIGHT, LEFT = -1, 1  # sign of x
NODULE_LIMIT_MM = 6.0  # the Fleischner threshold parts nodules from micronodules
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
