"""From bodies to a picture of attenuation: the line integral of one view, and the truth masks beside it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .anatomy import Chest
from .body import MU_FAT, MU_LUNG, MU_SOFT, SIDES
from .findings import FINDINGS, Pathology
from .projection import Ellipsoid, Interval, View, add_ellipsoid, interval, shadow
from .tubes import Tube, add_tubes
from .vessels import vessel_tree

MU_AIR = 0.0


@dataclass
class Attenuation:
    """`line` (H, W) float32: -log of transmitted over incident; `masks`: finding to bool (H, W)."""

    line: np.ndarray
    masks: dict[str, np.ndarray]


def _open(space: Interval, organs: Interval, dome: Interval) -> np.ndarray:
    """Length of `space` outside organs and dome, exact by inclusion and exclusion."""
    so, sd = space & organs, space & dome
    length = space.length()
    length -= so.length()
    length -= sd.length()
    length += (so & dome).length()
    return length


def attenuation(chest: Chest, p: Pathology, view: View, tree: dict[str, Tube], rng) -> Attenuation:
    """Project the whole scene. `tree` from `lung_vessels` (the same for all views of a patient)."""
    frontal = view.name in ("PA", "AP")
    depth = np.zeros((view.rows, view.cols), np.float32)
    masks: dict[str, np.ndarray] = {}
    trunk = interval(*chest.trunk, *(chest.arms if frontal else []), view=view)
    body_mu = MU_SOFT * 0.72 + MU_FAT * 0.28
    depth += body_mu * trunk.length()
    for breast in chest.breasts:
        add_ellipsoid(depth, breast, view, body_mu, softness=1.0)
    organs = interval(*chest.heart, *chest.mediastinum, view=view)
    if frontal:
        domes = {s: interval(chest.dome[s], view=view) for s in SIDES}
    else:
        domes = dict.fromkeys(SIDES, interval(*chest.dome.values(), view=view))
    aorta = interval(chest.aorta, view=view)
    noise = _texture(view, chest.build.texture, rng)
    for side in SIDES:
        hull = interval(chest.lung[side], view=view)
        depth -= _lung(hull, p, side, view, organs, domes[side], noise, masks)
        depth += (MU_SOFT - MU_LUNG) * _open(aorta & hull, organs, domes[side])
    for gas in chest.gas:
        add_ellipsoid(depth, gas, view, -MU_SOFT)
    for body, mu in chest.plates + (chest.arm_plates if frontal else []):
        add_ellipsoid(depth, body, view, mu)
    for nodule in p.nodules:
        add_ellipsoid(depth, nodule.body, view, (MU_SOFT - MU_LUNG) * nodule.density)
    for device in p.devices.values():
        for body, mu in device.bodies:
            add_ellipsoid(depth, body, view, mu)
    tubes = [*chest.ribs.values(), *chest.bones, *chest.airway, *tree.values()]
    tubes += chest.arm_bones if frontal else []
    for device in p.devices.values():
        tubes += device.tubes
    add_tubes(depth, tubes, view)
    np.maximum(depth, 0, out=depth)
    _small_masks(chest, p, view, masks)
    return Attenuation(depth * view.slant, masks)


def lung_vessels(chest: Chest, p: Pathology, rng) -> dict[str, Tube]:
    """Vessels of both lungs, drawn in with the lung where it has collapsed and drowned where fluid stands."""
    tree = {}
    for side in SIDES:
        vessels = vessel_tree(chest, side, rng)
        ptx, eff = p.pneumothoraces.get(side), p.effusions.get(side)
        if ptx is not None:
            vessels.points = ptx.anchor + (vessels.points - ptx.anchor) * ptx.collapse
        if eff is not None:
            middle = 0.5 * (vessels.points[1:] + vessels.points[:-1])
            dry = eff.surface.contains(middle) | (middle[:, 2] > eff.surface.centre[2])
            vessels.gain = np.asarray(vessels.gain) * dry
        tree[side] = vessels
    return tree


def _lung(hull: Interval, p: Pathology, side: str, view: View, organs, dome, noise, masks) -> np.ndarray:
    """Attenuation that air takes away from the solid trunk, (H, W)."""
    space = _open(hull, organs, dome)
    aerated, lung_interval, extra = space, hull, None
    if side in p.effusions:
        lung_interval, aerated = _drain(hull, space, p.effusions[side].surface, organs, dome, view)
        fluid = space - aerated
        masks[f"effusion_{side}"] = fluid > 8
    if side in p.pneumothoraces:
        ptx = p.pneumothoraces[side]
        lung_interval = hull & interval(ptx.lung, view=view)
        aerated = _open(lung_interval, organs, dome)
        gap = space - aerated
        masks[f"pneumothorax_{side}"] = (gap > 0.55 * space) & (gap > 8)
        rind = interval(ptx.lung.scaled(1 + 1.3 / 80), view=view) & hull
        pleura = _open(rind, organs, dome) - aerated
        extra = (MU_SOFT - MU_AIR) * gap - (MU_SOFT * 0.95) * np.maximum(pleura, 0)
    density = 1.0 if side not in p.pneumothoraces else p.pneumothoraces[side].collapse ** -1.2
    taken = (MU_SOFT - MU_LUNG * density * noise) * aerated
    if extra is not None:
        taken += extra
    if side in p.consolidations:
        taken -= _consolidate(p.consolidations[side], side, lung_interval, organs, dome, view, noise, masks)
    return taken


def _drain(hull, space, surface: Ellipsoid, organs, dome, view: View):
    """Cut the lung at the meniscus: above its widest level all stays, below only what the bowl holds."""
    bowl = interval(surface, view=view)
    lung = hull & bowl
    wet = _open(lung, organs, dome)
    beam = view.to_beam(surface.centre)
    level = beam[1] * view.source_mm / (view.source_mm + beam[2])
    above = (view.v < level)[:, None]
    return Interval(np.where(above, hull.lo, lung.lo), np.where(above, hull.hi, lung.hi)), np.where(above, space, wet)


def _consolidate(c, side, lung, organs, dome, view: View, noise, masks) -> np.ndarray:
    total = np.zeros((view.rows, view.cols), np.float32)
    whole = interval(c.bodies[0].scaled(1.25), view=view)
    share = _open(whole & lung, organs, dome) / np.maximum(whole.length(), 1.0)
    for k, body in enumerate(c.bodies):
        add_ellipsoid(total, body, view, 0.8 if k == 0 else 0.6, softness=1.0)
    total *= np.minimum(share, 1)
    mottle = np.clip(1.0 + 0.9 * (noise - 1.0), 0.5, 1.4)
    masks[f"consolidation_{side}"] = total > 0.3 * max(float(total.max()), 5.0)
    return total * mottle * ((MU_SOFT - MU_LUNG) * c.density)


def _texture(view: View, strength: float, rng) -> np.ndarray:
    """Relative lung density, mean 1: smooth noise at 25, 8 and 3 mm."""
    total = np.ones((view.rows, view.cols), np.float32)
    for scale_mm, amount in ((28.0, 0.10), (9.0, 0.09), (3.5, 0.10)):
        total += (amount * strength) * smooth_noise(view.rows, view.cols, scale_mm / view.spacing_mm, rng)
    return total


def smooth_noise(rows: int, cols: int, scale_px: float, rng) -> np.ndarray:
    """Unit-variance noise with features of about `scale_px` pixels, (rows, cols) float32."""
    step = max(scale_px, 1.0)
    shape = (int(np.ceil(rows / step)) + 4, int(np.ceil(cols / step)) + 4)
    coarse = rng.standard_normal(shape).astype(np.float32)
    return upsample(coarse, rows, cols, step) * np.float32(1.5)


def upsample(coarse: np.ndarray, rows: int, cols: int, step: float) -> np.ndarray:
    """Quadratic B-spline through a coarse grid: fine pixel i lies at coarse coordinate i / step + 1.

    coarse (h, w) needs one cell of margin on each side. Returns (rows, cols) float32. Sums of three taps a
    side rather than a matrix product, whose bits depend on the number of threads.
    """
    tall = sum(coarse[i] * w[:, None] for i, w in _taps(rows, step))
    return sum(tall[:, i] * w[None, :] for i, w in _taps(cols, step))  # pyright: ignore


def _taps(size: int, step: float) -> list[tuple[np.ndarray, np.ndarray]]:
    x = np.arange(size, dtype=np.float32) / np.float32(step) + 1
    near = np.floor(x + 0.5).astype(np.intp)
    f = x - near
    return [(near - 1, 0.5 * (0.5 - f) ** 2), (near, 0.75 - f * f), (near + 1, 0.5 * (0.5 + f) ** 2)]


def _small_masks(chest: Chest, p: Pathology, view: View, masks) -> None:
    zero = np.zeros((view.rows, view.cols), bool)
    if p.present["cardiomegaly"]:
        masks["cardiomegaly"] = np.logical_or.reduce([shadow(b, view) for b in chest.heart])
    for n in p.nodules:
        name = "nodule" if n.diameter_mm >= 6.0 else "micronodule"
        masks[name] = masks.get(name, zero) | shadow(n.body, view)
    for f in p.fractures:
        masks["rib_fracture"] = masks.get("rib_fracture", zero) | shadow(Ellipsoid.of(f.point, [12, 12, 12]), view)
    for name, device in p.devices.items():
        drawn = np.zeros((view.rows, view.cols), np.float32)
        add_tubes(drawn, device.tubes, view)
        for body, _ in device.bodies:
            add_ellipsoid(drawn, body, view, 1.0)
        masks[name] = ndimage.binary_dilation(np.abs(drawn) > 0.02)
    for name in masks:
        assert name in FINDINGS
