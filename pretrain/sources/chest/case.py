"""One simulated patient in memory: anatomy, findings, films, truth, report and questions, from two numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from .anatomy import build_chest, heart_bodies, lung_bodies
from .body import Build, draw_build
from .detector import Exposure, collimate, detect, draw_exposure, present, stamp_marker
from .findings import FINDINGS, draw_pathology, draw_presence, with_shares
from .projection import View, rotation_matrix
from .questions import make_questions
from .report import make_report
from .scene import attenuation, lung_vessels
from .truth import chest_box, extent, make_truth, pack_masks

VERSION = 1
"""Raised whenever the same seed gives other pixels, words or truth."""
DETECTOR_MM = 180.0  # from the patient plane to the detector
AXES = {
    "PA": np.array([[1, 0, 0], [0, 0, -1], [0, -1, 0]], float),
    "AP": np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], float),
    "LL": np.array([[0, 1, 0], [0, 0, -1], [1, 0, 0]], float),
}


def stream(seed: int, patient: int, purpose: str) -> np.random.Generator:
    """Random numbers of one purpose for one patient: independent of all others and of the order of work."""
    text = f"medvlm-chest/{VERSION}/{seed}/{patient}/{purpose}".encode()
    return np.random.Generator(np.random.PCG64(int.from_bytes(hashlib.sha256(text).digest()[:16], "big")))


@dataclass
class Case:
    """One study.

    images: list of (H, W) uint16, 12 bits, MONOCHROME2 sense (bone bright), in the order of `views`.
    masks: list of (MASK_SIDE, MASK_SIDE) uint16 that cover the whole image; bit k is FINDINGS[k].
    """

    seed: int
    patient: int
    name: str
    study: str
    images: list[np.ndarray]
    masks: list[np.ndarray]
    views: list[View]
    exposures: list[Exposure]
    truth: dict
    report: dict[str, str]
    qa: list[dict]
    build: Build
    full_masks: list[dict[str, np.ndarray]] = field(default_factory=list, repr=False)


def generate_case(
    seed: int,
    patient: int,
    *,
    size: int = 256,
    lateral_share: float = 0.35,
    findings: Collection[str] = FINDINGS,
    shares: Mapping[str, float] | None = None,
    full_masks: bool = False,
) -> Case:
    """Make the whole study of one simulated patient.

    size: longest side of a film in pixels (the other follows from the field of view).
    lateral_share: share of upright (PA) studies that also have a left lateral film.
    findings: those of FINDINGS that may be there and are asked about.
    shares: of all patients that have a finding, where it is not the simulator's own (`findings.with_shares`).
    full_masks: also keep the truth masks at full resolution.
    """
    build = draw_build(stream(seed, patient, "build"))
    prevalence = with_shares(shares or {})
    presence = draw_presence(stream(seed, patient, "presence"), findings, prevalence)
    views = _draw_views(build, presence.intensive_care, size, lateral_share, stream(seed, patient, "views"))
    heart = _fit_heart(build, presence.present["cardiomegaly"], views[0], stream(seed, patient, "heart"))
    chest = build_chest(build, heart, stream(seed, patient, "anatomy"))
    pathology = draw_pathology(chest, presence, views[0], stream(seed, patient, "findings"))
    tree = lung_vessels(chest, pathology, stream(seed, patient, "vessels"))
    images, exposures, raw_masks = [], [], []
    for k, view in enumerate(views):
        scene = attenuation(chest, pathology, view, tree, stream(seed, patient, f"texture{k}"))
        rng = stream(seed, patient, f"exposure{k}")
        exposure = draw_exposure(view, chest_box(chest, view), rng)
        picture = present(detect(scene.line, view, exposure, rng), view, exposure)
        collimate(picture, view, exposure)
        stamp_marker(picture, view, exposure, view.name != "LL")
        images.append(picture)
        exposures.append(exposure)
        raw_masks.append(scene.masks)
    truth = make_truth(chest, pathology, views, raw_masks, VERSION)
    name = f"p{patient:06d}"
    return Case(
        seed=seed,
        patient=patient,
        name=name,
        study="s0",
        images=images,
        masks=[pack_masks(m, v) for m, v in zip(raw_masks, views, strict=True)],
        views=views,
        exposures=exposures,
        truth=truth,
        report=make_report(truth, stream(seed, patient, "report")),
        qa=make_questions(truth, stream(seed, patient, "questions"), lateral_share, findings, prevalence),
        build=build,
        full_masks=raw_masks if full_masks else [],
    )


def _draw_views(build: Build, intensive_care: float, size: int, lateral_share: float, rng) -> list[View]:
    """A supine AP film for the sicker, else an upright PA film and sometimes a left lateral one."""
    name = "AP" if intensive_care + rng.normal(0, 0.6) > 1.1 else "PA"
    least_high, least_wide = 285 * build.scale * build.length + 50, 272 * build.scale * build.width + 24
    high = max(rng.uniform(355, 415) * min(1.05, max(0.94, build.scale)), least_high)
    wide = max(high * rng.uniform(0.80, 1.0), least_wide)
    names = [(name, high, wide)]
    if name == "PA" and rng.random() < lateral_share:
        names.append(("LL", high, max(high * rng.uniform(0.72, 0.9), 240 * build.scale * build.depth)))
    views = []
    for which, h, w in names:
        turn = rng.normal(0, 1, 3) * ([3.0, 3.0, 1.5] if which == "AP" else [2.0, 2.5, 1.2])
        spacing = float(f"{max(h, w) / size:.6f}")
        shift = rng.normal(0, 1, 2) * [6, 7]
        centre = (float(shift[0] + (8 if which == "LL" else 0)), float(shift[1] - 8 * build.scale))
        # turn: nod about x, twist about z (frontal rotation), lean about y
        rotation = AXES[which] @ rotation_matrix((turn[0], turn[2], turn[1]))
        source = (1100.0 if which == "AP" else 1800.0) - DETECTOR_MM
        views.append(View(which, round(h / spacing), round(w / spacing), spacing, centre, rotation, source))
    return views


def _fit_heart(build: Build, enlarged: bool, view: View, rng) -> float:
    """Heart scale that gives the drawn cardiothoracic ratio on this very film (secant steps)."""
    target = rng.uniform(0.535, 0.66) if enlarged else rng.uniform(0.38, 0.475)
    chest = extent(lung_bodies(build).values(), view)
    old, k = 1.0, 1.3
    miss = extent(heart_bodies(build, old), view) / chest - target
    for _ in range(8):
        now = extent(heart_bodies(build, k), view) / chest - target
        if abs(now) < 1e-6:
            break
        old, miss, k = k, now, k - now * (k - old) / (now - miss)
    return k
