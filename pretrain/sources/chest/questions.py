"""Questions with reference answers, from the truth alone.

Closed yes/no questions are asked for every finding that is present, and for absent ones with the odds of its
prevalence, so that over many patients each finding's answers are yes and no equally often.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from .findings import FINDINGS, NORMAL_SHARE, PREVALENCE

UPRIGHT_SHARE = 0.827  # of studies, see case.draw_views
YES_NO = ["yes", "no"]
EXCLUDED = 0.5  # of the patients drawn with air and fluid on one side, this share loses either

CLOSED = {
    "cardiomegaly": (
        "Is the heart enlarged?",
        "Is there cardiomegaly?",
        "Is the cardiothoracic ratio above 0.5?",
        "Does this radiograph show an enlarged cardiac silhouette?",
    ),
    "effusion_left": (
        "Is there a left pleural effusion?",
        "Is there pleural fluid on the left?",
        "Does this radiograph show a left-sided pleural effusion?",
        "Is the left costophrenic angle blunted by fluid?",
    ),
    "effusion_right": (
        "Is there a right pleural effusion?",
        "Is there pleural fluid on the right?",
        "Does this radiograph show a right-sided pleural effusion?",
        "Is the right costophrenic angle blunted by fluid?",
    ),
    "pneumothorax_left": (
        "Is there a left pneumothorax?",
        "Does this radiograph show a left-sided pneumothorax?",
        "Is there free pleural air on the left?",
    ),
    "pneumothorax_right": (
        "Is there a right pneumothorax?",
        "Does this radiograph show a right-sided pneumothorax?",
        "Is there free pleural air on the right?",
    ),
    "consolidation_left": (
        "Is there consolidation in the left lung?",
        "Does the left lung show an airspace opacity?",
        "Is there a left-sided consolidation?",
    ),
    "consolidation_right": (
        "Is there consolidation in the right lung?",
        "Does the right lung show an airspace opacity?",
        "Is there a right-sided consolidation?",
    ),
    "nodule": (
        "Is there a lung nodule of 6 mm or more?",
        "Does this radiograph show a pulmonary nodule of at least 6 mm?",
        "Is a nodule of 6 mm or larger visible in either lung?",
    ),
    "micronodule": (
        "Is there a micronodule (smaller than 6 mm)?",
        "Does this radiograph show a nodule smaller than 6 mm?",
        "Is there a tiny lung nodule under 6 mm?",
    ),
    "rib_fracture": (
        "Is there a rib fracture?",
        "Does any rib show a displaced fracture?",
        "Is a rib broken?",
    ),
    "endotracheal_tube": (
        "Is there an endotracheal tube?",
        "Is the patient intubated?",
        "Does this radiograph show an endotracheal tube?",
    ),
    "central_line": (
        "Is there a central venous line?",
        "Does this radiograph show a central line?",
        "Is a central venous catheter present?",
    ),
    "pacemaker": (
        "Is there a pacemaker?",
        "Does this radiograph show a cardiac pacemaker?",
        "Is a pacemaker generator visible?",
    ),
}


def share_present(name: str, prevalence: Mapping[str, float] = PREVALENCE) -> float:
    """Share of patients that have the finding after the normal ones and the exclusions, to about 0.01."""
    base, _, side = name.rpartition("_")
    share = prevalence[name]
    if base in ("effusion", "pneumothorax"):
        other = "pneumothorax" if base == "effusion" else "effusion"
        share -= EXCLUDED * 1.13 * prevalence[name] * prevalence[f"{other}_{side}"]
    return share * (1 - NORMAL_SHARE)


def make_questions(
    truth: dict,
    rng: np.random.Generator,
    lateral_share: float = 0.35,
    findings: Collection[str] = FINDINGS,
    prevalence: Mapping[str, float] = PREVALENCE,
) -> list[dict]:
    """All questions of one study, each `{id, question, answer, kind, finding, options, view}`.

    lateral_share: as in `generate_case`; balances the question for the view.
    findings: those that may be there; of the others nothing is asked, since the answer would always be no.
    prevalence: that the truth was drawn with; above a half, yes stays the more frequent answer.
    """
    rows: list[dict] = []

    def add(
        question: str,
        answer: str,
        kind: str,
        finding: str | None,
        options: list[str] | None,
        view: int | None = 0,
    ):
        row = {"id": f"q{len(rows):02d}", "question": question, "answer": answer, "kind": kind}
        rows.append({**row, "finding": finding, "options": options, "view": view})

    def pick(options):
        return options[int(rng.integers(len(options)))]

    for name in FINDINGS:
        there = truth["findings"][name]
        share = share_present(name, prevalence)
        odds = share / (1 - share)
        draw, wording = rng.random(), pick(CLOSED[name])
        if name in findings and (there or draw < odds):
            add(wording, "yes" if there else "no", "closed", name, YES_NO)
    _sides(truth, add, pick)
    _view(truth, add, rng, lateral_share)
    _open(truth, add, pick, rng)
    return rows


def _sides(truth: dict, add, pick) -> None:
    f = truth["findings"]
    for name, word in (
        ("effusion", "pleural effusion"),
        ("pneumothorax", "pneumothorax"),
        ("consolidation", "consolidation"),
    ):
        sides = [s for s in ("left", "right") if f[f"{name}_{s}"]]
        if sides:
            answer = "both" if len(sides) == 2 else sides[0]
            add(
                pick((f"On which side is the {word}", f"Which side shows {word}")) + ": left, right or both?",
                answer,
                "closed",
                f"{name}_side",
                ["left", "right", "both"],
            )
    for s, c in truth["consolidations"].items():
        add(
            f"In which zone of the {s} lung is the consolidation: upper, mid or lower?",
            c["zone"],
            "closed",
            "consolidation_zone",
            ["upper", "mid", "lower"],
        )
    for s, e in truth["effusions"].items():
        add(
            f"How large is the {s} pleural effusion: small, moderate or large?",
            e["size"],
            "closed",
            "effusion_size",
            ["small", "moderate", "large"],
        )
    big = [n for n in truth["nodules"] if n["finding"] == "nodule"]
    if len(big) == 1:
        add(
            pick(
                (
                    "Which lung holds the nodule of 6 mm or more, left or right?",
                    "On which side is the nodule of at least 6 mm, left or right?",
                )
            ),
            big[0]["side"],
            "closed",
            "nodule_side",
            ["left", "right"],
        )
    if "central_line" in truth["devices"]:
        add(
            "From which side does the central line enter, left or right?",
            truth["devices"]["central_line"]["side"],
            "closed",
            "central_line_side",
            ["left", "right"],
        )


def _view(truth: dict, add, rng, lateral_share: float) -> None:
    """Frontal or lateral: always asked of a lateral film, of frontal ones as often as there are lateral films."""
    with_lateral = UPRIGHT_SHARE * lateral_share
    draw, k = rng.random(), len(truth["views"]) - 1
    if k > 0 or draw < with_lateral / (1 - with_lateral):
        answer = "lateral" if truth["views"][k]["view"] == "LL" else "frontal"
        add("Is this a frontal or a lateral view?", answer, "closed", "view", ["frontal", "lateral"], k)


def _open(truth: dict, add, pick, rng) -> None:
    f, ratio = truth["findings"], truth["cardiothoracic_ratio"]
    word = "enlarged" if f["cardiomegaly"] else "normal in size"
    if rng.random() < 0.5:
        add(
            pick(("Describe the heart.", "How is the heart?", "Comment on the cardiac silhouette.")),
            f"The heart is {word}, with a cardiothoracic ratio of {ratio:.2f}.",
            "open",
            "cardiomegaly",
            None,
        )
    if rng.random() < 0.3:
        add("What is the cardiothoracic ratio?", f"{ratio:.2f}", "open", "cardiomegaly", None)
    for s in truth["consolidations"]:
        if rng.random() < 0.5:
            where = [f"{x} {y['zone']} zone" for x, y in truth["consolidations"].items()]
            add(
                pick(("Where is the opacity?", "Where is the consolidation?")),
                " and ".join(where),
                "open",
                f"consolidation_{s}",
                None,
            )
            break
    big = [n for n in truth["nodules"] if n["finding"] == "nodule"]
    if len(big) == 1:
        add(
            pick(
                (
                    "What is the size of the nodule of 6 mm or more?",
                    "How large is the nodule of at least 6 mm?",
                )
            ),
            f"{big[0]['diameter_mm']:.0f} mm",
            "open",
            "nodule",
            None,
        )
        add(
            "Where is the nodule of 6 mm or more?",
            f"{big[0]['side']} {big[0]['zone']} zone",
            "open",
            "nodule",
            None,
        )
    if "endotracheal_tube" in truth["devices"]:
        add(
            "How far above the carina is the tip of the endotracheal tube?",
            f"{truth['devices']['endotracheal_tube']['tip_above_carina_mm']:.0f} mm",
            "open",
            "endotracheal_tube",
            None,
        )
    if rng.random() < 0.5:
        named = [NAMES[n] for n in FINDINGS if f[n]]
        add(
            pick(("List the abnormal findings.", "What is abnormal on this radiograph?")),
            ", ".join(named) if named else "no abnormal finding",
            "open",
            None,
            None,
        )


NAMES = {
    "cardiomegaly": "cardiomegaly",
    "effusion_left": "left pleural effusion",
    "effusion_right": "right pleural effusion",
    "pneumothorax_left": "left pneumothorax",
    "pneumothorax_right": "right pneumothorax",
    "consolidation_left": "left consolidation",
    "consolidation_right": "right consolidation",
    "nodule": "nodule",
    "micronodule": "micronodule",
    "rib_fracture": "rib fracture",
    "endotracheal_tube": "endotracheal tube",
    "central_line": "central line",
    "pacemaker": "pacemaker",
}
