"""The exact truth of a study in JSON form, and the masks beside it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from .anatomy import Chest
from .body import NODULE_LIMIT_MM, SIDES
from .findings import FINDINGS, Pathology
from .projection import Ellipsoid, View, outline

MASK_SIDE = 64


def pack_masks(masks: dict[str, np.ndarray], view: View) -> np.ndarray:
    """Full-size bool masks to a (MASK_SIDE, MASK_SIDE) uint16 grid over the whole image.

    Bit k is FINDINGS[k]; a cell is set where any pixel in it is.
    """
    packed = np.zeros((MASK_SIDE, MASK_SIDE), np.uint16)
    for name, mask in masks.items():
        rows, cols = np.nonzero(mask)
        packed[rows * MASK_SIDE // view.rows, cols * MASK_SIDE // view.cols] |= np.uint16(1 << FINDINGS.index(name))
    return packed


def extent(bodies: Iterable[Ellipsoid], view: View) -> float:
    """Width across the film of some bodies together, mm in the patient plane."""
    low, high = _span(bodies, view)
    return float(high[0] - low[0])


def cardiothoracic_ratio(chest: Chest, view: View) -> float:
    """Widest heart over widest inner chest, both measured on the film from exact outlines."""
    return extent(chest.heart, view) / extent(chest.lung.values(), view)


def make_truth(chest: Chest, p: Pathology, views: list[View], masks: list[dict[str, np.ndarray]], version: int) -> dict:
    """Everything that is known. Boxes are [x0, y0, x1, y1] in pixels, end exclusive; lengths are life size."""
    return {
        "simulated": True,
        "simulator_version": version,
        "findings": dict(p.present),
        "mask_side": MASK_SIDE,
        "mask_bits": list(FINDINGS),
        "age": chest.build.age,
        "sex": chest.build.sex,
        "cardiothoracic_ratio": round(cardiothoracic_ratio(chest, views[0]), 3),
        "nodules": [_nodule(n, views) for n in p.nodules],
        "effusions": {s: {"size": e.size} for s, e in p.effusions.items()},
        "pneumothoraces": {
            s: {"size": e.size, "collapsed_share": round(1 - e.collapse**3, 2)} for s, e in p.pneumothoraces.items()
        },
        "consolidations": {s: {"zone": c.zone, "extent": c.extent} for s, c in p.consolidations.items()},
        "fractures": [
            {"side": f.side, "rib": f.rib, "place": f.place, "offset_mm": round(f.offset_mm, 1)} for f in p.fractures
        ],
        "devices": {n: {"side": d.side, **d.detail} for n, d in p.devices.items()},
        "views": [_view(chest, v, m) for v, m in zip(views, masks, strict=True)],
    }


def chest_box(chest: Chest, view: View) -> list[int]:
    """The inside of the rib cage down to the lower lung edge, [x0, y0, x1, y1] in pixels."""
    boxes = np.array([_lung_box(chest, side, view) for side in SIDES])
    return [*(int(n) for n in boxes[:, :2].min(axis=0)), *(int(n) for n in boxes[:, 2:].max(axis=0))]


def _lung_box(chest: Chest, side: str, view: View) -> list[int]:
    x0, y0, x1, y1 = _body_box([chest.lung[side]], view)
    floor = _body_box([chest.dome[side]], view)[1] + round(45 / view.spacing_mm)
    return [x0, y0, x1, min(y1, floor, view.rows)]


def _nodule(n, views: list[View]) -> dict:
    return {
        "finding": "nodule" if n.diameter_mm >= NODULE_LIMIT_MM else "micronodule",
        "diameter_mm": n.diameter_mm,
        "side": n.side,
        "zone": n.zone,
        "calcified": n.calcified,
        "centre_px": [[round(float(c), 2) for c in v.to_pixels(n.body.centre)] for v in views],
        "magnification": [round(v.magnification(n.body.centre), 4) for v in views],
    }


def _view(chest: Chest, view: View, masks: dict[str, np.ndarray]) -> dict:
    boxes = {name: box for name, mask in masks.items() if (box := _box(mask))}
    anatomy = {"heart": _body_box(chest.heart, view)}
    anatomy |= {f"lung_{side}": _lung_box(chest, side, view) for side in SIDES}
    return {
        "view": view.name,
        "rows": view.rows,
        "columns": view.cols,
        "spacing_mm": view.spacing_mm,
        "boxes": boxes,
        "anatomy": anatomy,
        "carina_px": [round(float(c), 1) for c in view.to_pixels(chest.carina)],
    }


def _box(mask: np.ndarray) -> list[int] | None:
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return [int(cols[0]), int(rows[0]), int(cols[-1]) + 1, int(rows[-1]) + 1]


def _span(bodies: Iterable[Ellipsoid], view: View) -> tuple[np.ndarray, np.ndarray]:
    outlines = [outline(b, view) for b in bodies]
    low = np.min([o.centre - o.half_extent for o in outlines], axis=0)
    return low, np.max([o.centre + o.half_extent for o in outlines], axis=0)


def _body_box(bodies: Iterable[Ellipsoid], view: View) -> list[int]:
    corners = np.array(_span(bodies, view)) - [view.u[0], view.v[0]]
    x, y = (corners / view.spacing_mm).T
    return [
        int(np.clip(np.floor(x[0]), 0, view.cols)),
        int(np.clip(np.floor(y[0]), 0, view.rows)),
        int(np.clip(np.ceil(x[1]) + 1, 0, view.cols)),
        int(np.clip(np.ceil(y[1]) + 1, 0, view.rows)),
    ]
