"""Radiology prose from the truth: varied wording, negation, hedging and order; never against the truth."""

from __future__ import annotations

import numpy as np

from .findings import FINDINGS

HEADER = "SIMULATED EXAMINATION. No real patient."


def make_report(truth: dict, rng: np.random.Generator) -> dict[str, str]:
    """Findings and impression. Every finding present is told; absent ones are denied or left out."""
    say = _Speaker(rng)
    groups = [
        _heart(truth, say),
        _pleura(truth, say),
        _lungs(truth, say),
        _bones(truth, say),
        _devices(truth, say),
    ]
    order = list(range(len(groups)))
    if rng.random() < 0.5:
        rng.shuffle(order)
    findings = [s for k in order for s in groups[k]]
    technique = _technique(truth, say)
    findings = [HEADER, *technique, *findings]
    return {"findings": " ".join(findings), "impression": _impression(truth, say)}


class _Speaker:
    def __init__(self, rng: np.random.Generator):
        self.rng = rng

    def __call__(self, *options: str) -> str:
        return options[int(self.rng.integers(len(options)))]

    def maybe(self, share: float) -> bool:
        return bool(self.rng.random() < share)


def _technique(truth: dict, say: _Speaker) -> list[str]:
    names = [v["view"] for v in truth["views"]]
    what = {"PA": "Frontal (PA) view", "AP": "Supine AP view"}[names[0]]
    if "LL" in names:
        what = say("PA and left lateral views", "Frontal and lateral views")
    inside = what if what.startswith("PA") else what[0].lower() + what[1:]
    lines = [say(f"{what} of the chest.", f"Chest radiograph: {inside}.")]
    if say.maybe(0.3):
        lines.append(
            say(
                "No prior study is available for comparison.",
                "Comparison: none available.",
                "No previous films to compare with.",
            )
        )
    return lines


def _heart(truth: dict, say: _Speaker) -> list[str]:
    ratio = truth["cardiothoracic_ratio"]
    if truth["findings"]["cardiomegaly"]:
        grade = "mildly" if ratio < 0.57 else "moderately" if ratio < 0.62 else "markedly"
        return [
            say(
                f"The heart is {grade} enlarged, with a cardiothoracic ratio of {ratio:.2f}.",
                f"There is {grade.removesuffix('ly')} cardiomegaly (CTR {ratio:.2f}).",
                f"The cardiac silhouette is {grade} enlarged.",
                f"Cardiomegaly, {grade.removesuffix('ly')} in degree.",
                f"Heart size is increased; the cardiothoracic ratio measures {ratio:.2f}.",
            )
        ]
    return [
        say(
            "The heart is not enlarged.",
            f"Heart size is normal, with a cardiothoracic ratio of {ratio:.2f}.",
            "The cardiac silhouette is within normal limits.",
            "Normal heart size.",
            "No cardiomegaly.",
            "The cardiomediastinal silhouette is unremarkable.",
        )
    ]


def _both(truth: dict, name: str) -> list[str]:
    return [s for s in ("left", "right") if truth["findings"][f"{name}_{s}"]]


def _pleura(truth: dict, say: _Speaker) -> list[str]:
    lines = []
    wet, air = _both(truth, "effusion"), _both(truth, "pneumothorax")
    if len(wet) == 2 and say.maybe(0.6):
        sizes = [truth["effusions"][s]["size"] for s in wet]
        lines.append(
            say(
                f"Bilateral pleural effusions, {sizes[0]} on the left and {sizes[1]} on the right.",
                f"There are bilateral pleural effusions (left {sizes[0]}, right {sizes[1]}).",
            )
        )
    else:
        for s in wet:
            size = truth["effusions"][s]["size"]
            lines.append(
                say(
                    f"There is a {size} {s} pleural effusion.",
                    f"{size.capitalize()} {s}-sided pleural effusion with a meniscus at the {s} costophrenic angle.",
                    f"Blunting of the {s} costophrenic angle, in keeping with a {size} {s} pleural effusion.",
                    f"Opacity at the {s} base with a meniscus, likely a {size} {s} pleural effusion.",
                )
            )
    for s in air:
        size = truth["pneumothoraces"][s]["size"]
        lines.append(
            say(
                f"There is a {size} {s} pneumothorax.",
                f"A {s} visceral pleural line is seen with absent lung markings beyond it: {size} {s} pneumothorax.",
                f"{size.capitalize()} {s}-sided pneumothorax.",
                f"Avascular lucency around the {s} lung, consistent with a {size} {s} pneumothorax.",
            )
        )
    if not wet and not air:
        if say.maybe(0.9):
            lines.append(
                say(
                    "No pleural effusion or pneumothorax.",
                    "There is no pneumothorax or pleural effusion.",
                    "The costophrenic angles are clear. No pneumothorax.",
                    "No pleural effusion. No pneumothorax is identified.",
                )
            )
        return lines
    if not wet and say.maybe(0.7):
        lines.append(
            say(
                "No pleural effusion.",
                "There is no evidence of pleural effusion.",
                "No definite pleural effusion.",
            )
        )
    if not air and say.maybe(0.7):
        lines.append(say("No pneumothorax.", "There is no pneumothorax.", "No convincing pneumothorax is seen."))
    for name, sides in (("pleural effusion", wet), ("pneumothorax", air)):
        if len(sides) == 1 and say.maybe(0.35):
            other = "left" if sides[0] == "right" else "right"
            lines.append(f"No {other} {name}.")
    return lines


def _lungs(truth: dict, say: _Speaker) -> list[str]:
    lines = []
    dense = _both(truth, "consolidation")
    for s in dense:
        c = truth["consolidations"][s]
        zone = f"{s} {c['zone']} zone"
        lines.append(
            say(
                f"There is {c['extent']} consolidation in the {zone}.",
                f"{c['extent'].capitalize()} airspace opacity in the {zone}, likely consolidation.",
                f"Consolidation in the {zone}, which may represent pneumonia.",
                f"An area of {c['extent']} consolidation projects over the {zone}.",
            )
        )
    for n in truth["nodules"]:
        lines.append(_nodule(n, say))
    if not dense and not truth["nodules"]:
        lines.append(
            say(
                "The lungs are clear.",
                "No focal consolidation or nodule.",
                "No consolidation. No pulmonary nodule.",
                "The lung fields are clear, without consolidation or nodule.",
                "No focal airspace disease and no suspicious nodule.",
            )
        )
    elif not dense and say.maybe(0.6):
        lines.append(say("No consolidation.", "There is no focal consolidation.", "No convincing consolidation."))
    elif not truth["nodules"] and say.maybe(0.4):
        lines.append(say("No pulmonary nodule.", "No suspicious nodule is identified."))
    return lines


def _nodule(n: dict, say: _Speaker) -> str:
    mm = f"{n['diameter_mm']:.0f} mm" if n["finding"] == "nodule" else f"{n['diameter_mm']:.1f} mm"
    zone = f"{n['side']} {n['zone']} zone"
    kind = "calcified " if n["calcified"] else ""
    if n["finding"] == "nodule":
        return say(
            f"A {mm} {kind}nodule is seen in the {zone}.",
            f"There is a {kind}pulmonary nodule in the {zone}, measuring {mm}.",
            f"A rounded {kind}nodule of {mm} projects over the {zone}, suspicious for a pulmonary lesion.",
            f"{kind.capitalize()}{'nodule' if kind else 'Nodule'} in the {zone} measuring approximately {mm}.",
        )
    return say(
        f"A {mm} {kind}micronodule is seen in the {zone}.",
        f"There is a tiny {kind}micronodule in the {zone}, about {mm}.",
        f"Possible {kind}micronodule of {mm} in the {zone}.",
    )


def _bones(truth: dict, say: _Speaker) -> list[str]:
    broken = truth["fractures"]
    if not broken:
        if say.maybe(0.7):
            return [
                say(
                    "No rib fracture.",
                    "No acute osseous abnormality.",
                    "The bony thorax is intact.",
                    "No displaced rib fracture is seen.",
                )
            ]
        return []
    side, ribs = broken[0]["side"], [f["rib"] for f in broken]
    which = (
        f"the {side} {_ordinal(ribs[0])} rib"
        if len(ribs) == 1
        else f"the {side} {_ordinal(ribs[0])} to {_ordinal(ribs[-1])} ribs"
    )
    s = "" if len(ribs) == 1 else "s"
    verb = "is" if len(ribs) == 1 else "are"
    article = "a " if len(ribs) == 1 else ""
    return [
        say(
            f"There {verb} {article}displaced fracture{s} of {which}.",
            f"{'Displaced' if not s else 'Multiple displaced'} {side} rib fracture{s} involving {which}.",
            f"Cortical break with displacement at {which}, in keeping with {article}rib fracture{s}.",
        )
    ]


def _ordinal(n: int) -> str:
    return f"{n}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(n, 'th') }"


def _devices(truth: dict, say: _Speaker) -> list[str]:
    d, lines = truth["devices"], []
    if "endotracheal_tube" in d:
        mm = d["endotracheal_tube"]["tip_above_carina_mm"]
        lines.append(
            say(
                f"Endotracheal tube with its tip {mm:.0f} mm above the carina.",
                f"The tip of the endotracheal tube lies {mm:.0f} mm above the carina.",
                f"An endotracheal tube is in place, {mm:.0f} mm above the carina.",
            )
        )
    if "central_line" in d:
        c = d["central_line"]
        entry = {"jugular": "internal jugular", "subclavian": "subclavian"}[c["entry"]]
        lines.append(
            say(
                f"{c['side'].capitalize()} {entry} central venous line with the tip in the {c['tip']}.",
                f"A {c['side']} {entry} central line ends in the {c['tip']}.",
                f"The tip of the {c['side']} {entry} central venous catheter projects over the {c['tip']}.",
            )
        )
    if "pacemaker" in d:
        c = d["pacemaker"]
        leads, lead = ("dual-chamber", "leads") if c["leads"] == 2 else ("single-chamber", "lead")
        lines.append(
            say(
                f"A {c['side']}-sided {leads} pacemaker is present.",
                f"{c['side'].capitalize()} chest wall {leads} pacemaker with its {lead} in expected position.",
                f"{leads.capitalize()} pacemaker over the {c['side']} chest.",
            )
        )
    if not lines and say.maybe(0.3):
        lines.append(say("No tubes or lines.", "No support devices."))
    return lines


def _impression(truth: dict, say: _Speaker) -> str:
    f = truth["findings"]
    items = []
    if f["cardiomegaly"]:
        items.append(say("Cardiomegaly", "Enlarged heart"))
    for name, word in (
        ("effusion", "pleural effusion"),
        ("pneumothorax", "pneumothorax"),
        ("consolidation", "consolidation"),
    ):
        sides = _both(truth, name)
        if len(sides) == 2:
            plural = {
                "pleural effusion": "pleural effusions",
                "pneumothorax": "pneumothoraces",
                "consolidation": "consolidation",
            }[word]
            items.append(f"Bilateral {plural}")
        elif sides:
            items.append(f"{sides[0].capitalize()} {word}")
    big = [n for n in truth["nodules"] if n["finding"] == "nodule"]
    if big:
        items.append(
            say("Pulmonary nodule; CT recommended", "Lung nodule, CT advised for characterisation")
            if len(big) == 1
            else "Pulmonary nodules; CT recommended"
        )
    if f["micronodule"]:
        items.append(say("Tiny micronodule", "Micronodule of doubtful significance"))
    if f["rib_fracture"]:
        items.append(say("Displaced rib fracture", "Rib fracture") + ("s" if len(truth["fractures"]) > 1 else ""))
    devices = [n.replace("_", " ") for n in FINDINGS[-3:] if f[n]]
    if devices:
        items.append(say("Support devices: ", "In situ: ") + ", ".join(devices))
    if not items:
        return say("No acute cardiopulmonary abnormality.", "Normal chest radiograph.", "No acute findings.")
    if say.maybe(0.5):
        return " ".join(f"{i}. {item}." for i, item in enumerate(items, 1))
    return " ".join(f"{item}." for item in items)
