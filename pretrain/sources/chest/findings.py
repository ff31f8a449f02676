"""Which findings a patient has, and where: the exact truth that pixels, reports and questions are made from.

Presence is drawn from a Gaussian copula: each finding has a liability = loadings on four latent causes (heart
failure, intensive care, trauma, smoking) + noise of its own, and is present where it exceeds the quantile of its
prevalence. Findings therefore co-occur plausibly while each keeps its own stated prevalence.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np

from .anatomy import Chest, inside_lung
from .body import NODULE_LIMIT_MM, SIDES
from .projection import Ellipsoid, View, outline

FINDINGS = (
    "cardiomegaly",
    "effusion_left",
    "effusion_right",
    "pneumothorax_left",
    "pneumothorax_right",
    "consolidation_left",
    "consolidation_right",
    "nodule",
    "micronodule",
    "rib_fracture",
    "endotracheal_tube",
    "central_line",
    "pacemaker",
)
"""Order of bits in the masks; append only."""

PREVALENCE = {
    "cardiomegaly": 0.44,
    "effusion_left": 0.48,
    "effusion_right": 0.48,
    "pneumothorax_left": 0.44,
    "pneumothorax_right": 0.44,
    "consolidation_left": 0.34,
    "consolidation_right": 0.34,
    "nodule": 0.40,
    "micronodule": 0.34,
    "rib_fracture": 0.34,
    "endotracheal_tube": 0.34,
    "central_line": 0.40,
    "pacemaker": 0.34,
}
"""Of the patients who are not drawn normal, before air and fluid of one pleural space exclude each other."""
NORMAL_SHARE = 0.10

# columns: heart failure, intensive care, trauma, smoking
LOADINGS = {
    "cardiomegaly": (0.65, 0.10, 0.0, 0.0),
    "effusion_left": (0.50, 0.30, 0.15, 0.0),
    "effusion_right": (0.55, 0.30, 0.15, 0.0),
    "pneumothorax_left": (0.0, 0.15, 0.45, 0.2),
    "pneumothorax_right": (0.0, 0.15, 0.45, 0.2),
    "consolidation_left": (0.0, 0.45, 0.0, 0.15),
    "consolidation_right": (0.0, 0.45, 0.0, 0.15),
    "nodule": (0.0, 0.0, 0.0, 0.55),
    "micronodule": (0.0, 0.0, 0.0, 0.55),
    "rib_fracture": (0.0, 0.0, 0.60, 0.0),
    "endotracheal_tube": (0.0, 0.70, 0.20, 0.0),
    "central_line": (0.10, 0.65, 0.0, 0.0),
    "pacemaker": (0.55, 0.0, 0.0, 0.0),
}


@dataclass
class Presence:
    """Findings drawn for a patient, with the latent causes that drew them."""

    present: dict[str, bool]
    intensive_care: float


def with_shares(shares: Mapping[str, float]) -> dict[str, float]:
    """PREVALENCE, with the given shares of *all* patients (0 to 0.9) in place of its own."""
    return PREVALENCE | {name: share / (1 - NORMAL_SHARE) for name, share in shares.items()}


def draw_presence(
    rng: np.random.Generator, findings: Collection[str] = FINDINGS, prevalence: Mapping[str, float] = PREVALENCE
) -> Presence:
    """Draw the findings of one patient. Pleural air and fluid of one side exclude each other (stated limit).

    findings: those that may be there; leaving some out changes nothing about the others of the same patient.
    prevalence: of every finding, as PREVALENCE; a patient who has a finding at some prevalence has it at a higher one.
    """
    latent = rng.standard_normal(4)
    excess = {}
    for name in FINDINGS:
        load = np.array(LOADINGS[name])
        liability = load @ latent + np.sqrt(1 - load @ load) * rng.standard_normal()
        excess[name] = liability - NormalDist().inv_cdf(1 - prevalence[name])
    normal = rng.random() < NORMAL_SHARE
    present = {name: bool(e > 0 and not normal) for name, e in excess.items()}
    for side in SIDES:
        if present[f"effusion_{side}"] and present[f"pneumothorax_{side}"]:
            loser = "effusion" if rng.random() < 0.5 else "pneumothorax"
            present[f"{loser}_{side}"] = False
    return Presence({name: there and name in findings for name, there in present.items()}, float(latent[1]))


@dataclass
class Nodule:
    body: Ellipsoid
    diameter_mm: float
    side: str
    zone: str
    density: float
    calcified: bool


@dataclass
class Effusion:
    side: str
    size: str
    level_mm: float
    surface: Ellipsoid


@dataclass
class Pneumothorax:
    side: str
    size: str
    collapse: float
    lung: Ellipsoid
    anchor: np.ndarray


@dataclass
class Consolidation:
    side: str
    zone: str
    extent: str
    bodies: list[Ellipsoid]
    density: float


@dataclass
class Fracture:
    side: str
    rib: int
    place: str
    point: np.ndarray
    offset_mm: float


@dataclass
class Device:
    name: str
    side: str | None
    detail: dict
    tubes: list = field(default_factory=list)
    bodies: list = field(default_factory=list)


@dataclass
class Pathology:
    """All findings of one patient as bodies in the patient frame."""

    present: dict[str, bool]
    nodules: list[Nodule] = field(default_factory=list)
    effusions: dict[str, Effusion] = field(default_factory=dict)
    pneumothoraces: dict[str, Pneumothorax] = field(default_factory=dict)
    consolidations: dict[str, Consolidation] = field(default_factory=dict)
    fractures: list[Fracture] = field(default_factory=list)
    devices: dict[str, Device] = field(default_factory=dict)


ZONES = ("upper", "mid", "lower")


def zone_index(chest: Chest, side: str, z: np.ndarray) -> np.ndarray:
    """Index into ZONES for heights z mm: cuts at 38 and 68 % of the way from apex to dome of that side."""
    top = chest.lung[side].centre[2] + np.linalg.norm(chest.lung[side].axes[2])
    low = chest.dome[side].centre[2] + np.linalg.norm(chest.dome[side].axes[2])
    return np.digitize((top - z) / (top - low), (0.38, 0.68))


def zone_of(chest: Chest, side: str, z: float) -> str:
    """Upper, mid or lower zone of a height z mm."""
    return ZONES[int(zone_index(chest, side, np.asarray(z)))]


def place_in_lung(chest: Chest, side: str, view: View, rng, margin: float, zone: str | None = None) -> np.ndarray:
    """A random point of the aerated lung, `margin` mm off its walls; if possible in the zone, and where the
    frontal ray through it misses heart, mediastinum and dome."""
    hull = chest.lung[side]
    local = rng.uniform(-1, 1, (400, 3)) * [0.95, 0.8, 0.95]
    points = hull.centre + local @ hull.axes.T
    inside = inside_lung(chest, side, points, margin)
    uv = (view.to_pixels(points) - [(view.cols - 1) / 2, (view.rows - 1) / 2]) * view.spacing_mm + view.centre_mm
    clear = inside.copy()
    for body in [*chest.heart, *chest.mediastinum, chest.dome[side]]:
        o = outline(body, view)
        d = uv - o.centre
        clear &= np.einsum("ni,ij,nj->n", d, o.form, d) > (1 + margin / o.half_extent.min()) ** 2
    in_zone = np.ones(len(points), bool) if zone is None else zone_index(chest, side, points[:, 2]) == ZONES.index(zone)
    for wish in (clear & in_zone, clear, inside):
        if wish.any():
            return points[int(np.argmax(wish))]
    return hull.centre + hull.axes @ np.array([0.3 * SIDES[side], 0, 0.3])


def draw_pathology(chest: Chest, presence: Presence, view: View, rng: np.random.Generator) -> Pathology:
    """Place every finding that is present. `view` is the frontal view (places are chosen to be seen there)."""
    from .devices import draw_device

    p = Pathology(dict(presence.present))
    for side in SIDES:
        if p.present[f"effusion_{side}"]:
            p.effusions[side] = _effusion(chest, side, rng)
        if p.present[f"pneumothorax_{side}"]:
            p.pneumothoraces[side] = _pneumothorax(chest, side, rng)
        if p.present[f"consolidation_{side}"]:
            p.consolidations[side] = _consolidation(chest, side, view, p, rng)
    for name in ("nodule", "micronodule"):
        if p.present[name]:
            for _ in range(int(rng.choice([1, 2, 3], p=[0.72, 0.2, 0.08]))):
                p.nodules.append(_nodule(chest, name, view, p, rng))
    if p.present["rib_fracture"]:
        p.fractures = _fractures(chest, p, rng)
    for name in ("endotracheal_tube", "central_line", "pacemaker"):
        if p.present[name]:
            p.devices[name] = draw_device(name, chest, rng)
    return p


def _nodule(chest: Chest, name: str, view: View, p: Pathology, rng) -> Nodule:
    if name == "micronodule":
        diameter = round(float(rng.uniform(2.0, NODULE_LIMIT_MM - 0.1)), 1)
    else:
        diameter = round(float(rng.uniform(NODULE_LIMIT_MM, 30.0)), 1)
    free = [s for s in SIDES if s not in p.effusions and s not in p.pneumothoraces] or list(SIDES)
    side = str(rng.choice(free))
    zone = str(rng.choice(["upper", "mid", "lower"], p=[0.45, 0.35, 0.2])) if side not in p.effusions else "upper"
    point = place_in_lung(chest, side, view, rng, diameter / 2 + 3, zone)
    if side in p.pneumothoraces:
        ptx = p.pneumothoraces[side]
        point = ptx.anchor + (point - ptx.anchor) * ptx.collapse
    calcified = bool(rng.random() < (0.35 if name == "micronodule" else 0.1))
    density = float(rng.uniform(1.6, 2.4) if calcified else rng.uniform(0.85, 1.1))
    return Nodule(
        Ellipsoid.of(point, [diameter / 2] * 3),
        diameter,
        side,
        zone_of(chest, side, point[2]),
        density,
        calcified,
    )


def _effusion(chest: Chest, side: str, rng) -> Effusion:
    hull, dome = chest.lung[side], chest.dome[side]
    size = str(rng.choice(["small", "moderate", "large"], p=[0.38, 0.4, 0.22]))
    rise = {"small": (-22, -8), "moderate": (0, 35), "large": (45, 85)}[size]
    level = dome.centre[2] + np.linalg.norm(dome.axes[2]) + rng.uniform(*rise)
    semi_x, semi_y = np.linalg.norm(hull.axes[0]) * 1.38, np.linalg.norm(hull.axes[1]) * 1.16
    tall = rng.uniform(75, 105)
    centre = [hull.centre[0] - SIDES[side] * 24, hull.centre[1] - 8, level + tall]
    return Effusion(side, size, float(level), Ellipsoid.of(centre, [semi_x, semi_y, tall]))


def _pneumothorax(chest: Chest, side: str, rng) -> Pneumothorax:
    size = str(rng.choice(["small", "moderate", "large"], p=[0.35, 0.4, 0.25]))
    collapse = float(rng.uniform(*{"small": (0.86, 0.9), "moderate": (0.74, 0.84), "large": (0.5, 0.68)}[size]))
    hull = chest.lung[side]
    anchor = chest.hilum[side] + np.array([-SIDES[side] * 20, 10, -85.0]) * chest.build.scale
    return Pneumothorax(side, size, collapse, hull.scaled(collapse, anchor), anchor)


def _consolidation(chest: Chest, side: str, view: View, p: Pathology, rng) -> Consolidation:
    effusion, ptx = p.effusions.get(side), p.pneumothoraces.get(side)
    zones = ZONES if effusion is None else ZONES[:1] if effusion.size == "large" else ZONES[:2]
    extent = str(rng.choice(["patchy", "lobar"], p=[0.6, 0.4]))
    size = rng.uniform(22, 34) if extent == "patchy" else rng.uniform(32, 46)
    centre = place_in_lung(chest, side, view, rng, 14, str(rng.choice(zones)))
    bodies = [Ellipsoid.of(centre, size * rng.uniform(0.75, 1.3, 3), rng.uniform(-30, 30, 3))]
    for _ in range(int(rng.integers(3, 7))):
        shift = rng.normal(0, 0.6 * size, 3) * [1, 1, 0.7]
        bodies.append(Ellipsoid.of(centre + shift, size * rng.uniform(0.35, 0.75, 3), rng.uniform(-40, 40, 3)))
    if ptx is not None:
        bodies = [b.scaled(ptx.collapse, ptx.anchor) for b in bodies]
    zone = zone_of(chest, side, bodies[0].centre[2])
    return Consolidation(side, zone, extent, bodies, float(rng.uniform(0.7, 1.0)))


def _fractures(chest: Chest, p: Pathology, rng) -> list[Fracture]:
    hurt = [s for s in SIDES if s in p.pneumothoraces] or list(SIDES)
    side = str(rng.choice(hurt))
    first, count = int(rng.integers(4, 9)), int(rng.choice([1, 2, 3], p=[0.2, 0.45, 0.35]))
    place = "posterior" if rng.random() < 0.7 else "anterior"
    share = float(rng.uniform(0.20, 0.40) if place == "posterior" else rng.uniform(0.66, 0.76))
    found = []
    for i in range(first, min(first + count, 10)):
        tube = chest.ribs[side, i]
        j = int(np.clip(round((share + rng.normal(0, 0.015)) * (len(tube.points) - 1)), 6, len(tube.points) - 7))
        offset = float(rng.uniform(9, 14)) * (1 if rng.random() < 0.5 else -1)
        tube.points, tube.radii, tube.facing, tube.gain, at = _break(tube, j, offset)
        found.append(Fracture(side, i, place, at, abs(offset)))
    return found


def _break(tube, j: int, offset: float):
    """Cut a rib at point j: a short gap, then the front piece is shifted by `offset` mm and comes back slowly."""
    points, n = tube.points, len(tube.points)
    along = points[j + 1] - points[j]
    along /= np.linalg.norm(along)
    across = np.cross(along, tube.facing[j] / np.linalg.norm(tube.facing[j]))
    fade = np.exp(-np.arange(n - j) / 7.0)[:, None]
    tail = points[j:] + (across * offset) * fade
    cut_a, cut_b = points[j] - along * 3.0, tail[0] + along * 3.0
    new = np.concatenate([points[:j], cut_a[None], cut_b[None], tail[1:]])
    pick = np.concatenate([np.arange(j), [j, j], np.arange(j + 1, n)])
    gain = np.ones(len(new) - 1)
    gain[j - 1 : j + 2] = 1.7, 0.0, 1.7  # impacted ends look denser
    return new, tube.radii[pick], tube.facing[pick], gain, points[j] + across * offset / 2
