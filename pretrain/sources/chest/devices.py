"""Tubes, lines and implants: where they run and where their tips lie."""

from __future__ import annotations

import numpy as np

from .anatomy import Chest
from .body import LEFT, MU_METAL, RIGHT
from .findings import Device
from .projection import Ellipsoid
from .tubes import round_tube, smooth_curve


def draw_device(name: str, chest: Chest, rng: np.random.Generator) -> Device:
    """The device `name` of FINDINGS, placed in this chest."""
    return {"endotracheal_tube": _endotracheal, "central_line": _central, "pacemaker": _pacemaker}[name](chest, rng)


def _endotracheal(chest: Chest, rng) -> Device:
    above = float(rng.uniform(15, 70))
    top = chest.airway[0].points[0] + [0, 0, 60]
    path = smooth_curve(np.concatenate([top[None], chest.airway[0].points]), 60)
    keep = path[:, 2] > chest.carina[2] + above
    path = path[keep] + np.array([rng.uniform(-1.5, 1.5), 2, 0])
    wall = round_tube(path, 5.2, 0.016, core=0.72, core_weight=-0.016)
    stripe = round_tube(path + [3.4, 0, 0], 1.0, MU_METAL * 0.9)
    above = float(path[-1, 2] - chest.carina[2])
    return Device("endotracheal_tube", None, {"tip_above_carina_mm": round(above, 1)}, [wall, stripe])


def _central(chest: Chest, rng) -> Device:
    s = chest.build.scale
    side, entry = ("right" if rng.random() < 0.7 else "left"), str(rng.choice(["jugular", "subclavian"]))
    x = RIGHT if side == "right" else LEFT
    tip = np.array([-17, -6, rng.uniform(-5, 38)]) * s
    svc_top = np.array([-15, -16, 84]) * s
    if entry == "jugular":
        head = [
            np.array([x * 34, -12, 210]) * s,
            np.array([x * 30, -18, 150]) * s,
            np.array([x * 24, -22, 108]) * s,
        ]
    else:
        head = [
            np.array([x * 120, -50, 150]) * s,
            np.array([x * 88, -40, 116]) * s,
            np.array([x * 45, -30, 108]) * s,
        ]
    if side == "left":
        head.append(np.array([2, -24, 94]) * s)
    path = smooth_curve(np.array([*head, svc_top, tip]), 60)
    detail = {"entry": entry, "tip": "superior vena cava" if tip[2] > 8 * s else "cavoatrial junction"}
    return Device("central_line", side, detail, [round_tube(path, 1.2, MU_METAL * 0.75)])


def _pacemaker(chest: Chest, rng) -> Device:
    s = chest.build.scale
    side = "left" if rng.random() < 0.85 else "right"
    x = LEFT if side == "left" else RIGHT
    can = np.array([x * (98 + rng.normal(0, 5)), -92, 92 + rng.normal(0, 6)]) * s
    body = Ellipsoid.of(can, np.array([24, 4.5, 20]), (0, x * rng.uniform(0, 30), x * 20))
    inner = Ellipsoid.of(can + [x * 3, 0, -3], np.array([15, 3.5, 11]), (0, x * rng.uniform(0, 30), x * 20))
    header = Ellipsoid.of(can + [-x * 14, 0, 15], np.array([9, 4, 6]), (0, 0, x * 20))
    k = float(np.linalg.norm(chest.heart[0].axes[:, 0])) / 58
    ventricle = chest.heart[2].centre + np.array([6 * k, 4, -14])
    atrium = chest.heart[1].centre + np.array([-12 * k, -8, 6])
    vein = [can + [-x * 10, 0, 18], np.array([x * 60, -45, 118]) * s, np.array([x * 26, -28, 104]) * s]
    if x == LEFT:
        vein.append(np.array([-2, -24, 92]) * s)
    svc = [np.array([-16, -16, 66]) * s, np.array([-17, -10, 20]) * s]
    down = np.array([-14 * k, -20, -52])
    leads = [np.array([*vein, *svc, down, 0.5 * (down + ventricle) + [0, -6, -16], ventricle])]
    n_leads = 2 if rng.random() < 0.7 else 1
    if n_leads == 2:
        leads.append(np.array([*vein, *svc, atrium + [4, 0, -24], atrium + [-2, -4, -14], atrium]) + [1.5, 0, 1.5])
    tubes = [round_tube(smooth_curve(lead, 70), 1.0, MU_METAL * 1.1) for lead in leads]
    tubes += [round_tube(smooth_curve(lead, 70)[-3:], 1.7, MU_METAL * 1.6) for lead in leads]
    return Device("pacemaker", side, {"leads": n_leads}, tubes, [(body, 0.17), (inner, 0.25), (header, 0.05)])
