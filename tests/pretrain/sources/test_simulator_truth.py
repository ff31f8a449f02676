"""Truth, masks, reports and answers say the same thing, and the picture shows it."""

import re
from collections import Counter

import numpy as np
import pytest

from pretrain.sources.chest import FINDINGS, generate_case
from pretrain.sources.chest.questions import YES_NO

# An independent reader of the reports: finding -> words, and words that deny in the same sentence.
WORDS = {
    "cardiomegaly": r"cardiomegaly|enlarged heart|"
    r"(?:heart|cardiac silhouette|heart size) is (?:\w+ly )?(?:enlarged|increased)",
    "effusion": r"pleural effusions?",
    "pneumothorax": r"pneumothora(?:x|ces)",
    "consolidation": r"consolidation|airspace (?:opacity|disease)",
    "nodule": r"\bnodules?\b",
    "micronodule": r"micronodule",
    "rib_fracture": r"rib fractures?|fractures? of the|fractures? involving",
    "endotracheal_tube": r"endotracheal tube",
    "central_line": r"central (?:venous )?(?:line|catheter)",
    "pacemaker": r"pacemaker",
}
DENIAL = re.compile(r"\b(no|not|without|clear|absent lung)\b", re.IGNORECASE)


def read_report(text: str) -> dict[str, set[str]]:
    """Finding (with side where told) -> {"present"}, {"absent"} or both."""
    told: dict[str, set[str]] = {}
    for sentence in re.split(r"(?<=[.:;])\s+(?!\d)", text):
        denied = bool(DENIAL.search(sentence)) and "absent lung" not in sentence
        for name, words in WORDS.items():
            if not re.search(words, sentence, re.IGNORECASE):
                continue
            if (
                name == "nodule"
                and re.search(r"micronodule", sentence, re.IGNORECASE)
                and not re.search(r"\bnodule", sentence, re.IGNORECASE)
            ):
                continue
            sides = re.findall(r"\b(left|right)\b", sentence, re.IGNORECASE)
            if re.search("bilateral", sentence, re.IGNORECASE):
                sides = ["left", "right"]
            if name in ("effusion", "pneumothorax", "consolidation"):
                names = [f"{name}_{s.lower()}" for s in (sides or ["left", "right"])]
            else:
                names = [name]
            for n in names:
                told.setdefault(n, set()).add("absent" if denied else "present")
    return told


def test_reports_affirm_what_is_there_and_deny_only_what_is_not(chest_cases):
    wrong, affirmed, denied = [], 0, 0
    for case in chest_cases:
        for part in ("findings", "impression"):
            told = read_report(case.report[part])
            for name, there in case.truth["findings"].items():
                says = told.get(name, set())
                affirmed += "present" in says
                denied += "absent" in says
                if there and "present" not in says:
                    wrong.append((case.name, part, name, "not told", case.report[part]))
                if not there and "present" in says:
                    wrong.append((case.name, part, name, "made up", case.report[part]))
                if there and "absent" in says:
                    wrong.append((case.name, part, name, "denied", case.report[part]))
    assert not wrong, wrong[:3]
    assert affirmed > 1000 and denied > 400


def test_reports_vary_and_give_truthful_numbers(chest_cases):
    texts = {c.report["findings"] for c in chest_cases}
    assert len(texts) > 0.95 * len(chest_cases)
    for case in chest_cases:
        assert case.report["findings"].startswith("SIMULATED") and " pA " not in case.report["findings"]
        for value in re.findall(r"(?:ratio (?:of|measures) |CTR )(\d\.\d\d)", case.report["findings"]):
            assert float(value) == pytest.approx(case.truth["cardiothoracic_ratio"], abs=0.0051)
        sizes = {f"{n['diameter_mm']:.0f}" for n in case.truth["nodules"]} | {
            f"{n['diameter_mm']:.1f}" for n in case.truth["nodules"]
        }
        for sentence in re.split(r"(?<=\.)\s(?=[A-Z])", case.report["findings"]):
            assert "nodule" not in sentence or all(x in sizes for x in re.findall(r"(\d+(?:\.\d)?) mm", sentence)), (
                sentence
            )


def test_every_finding_present_has_a_mask_and_a_box_on_the_frontal_film_and_no_other(chest_cases):
    for case in chest_cases:
        boxes = case.truth["views"][0]["boxes"]
        assert {n for n, there in case.truth["findings"].items() if there} == set(boxes), case.name
        for k, name in enumerate(FINDINGS):
            bit = (case.masks[0] >> k) & 1
            assert bool(bit.any()) == case.truth["findings"][name]
        for image, mask, full, told in zip(case.images, case.masks, case.full_masks, case.truth["views"], strict=True):
            assert image.shape == (told["rows"], told["columns"]) and mask.shape == (64, 64)
            for name, (x0, y0, x1, y1) in told["boxes"].items():
                rows, cols = np.nonzero(full[name])
                assert (rows.min(), cols.min(), rows.max() + 1, cols.max() + 1) == (y0, x0, y1, x1)
                cells = np.argwhere((mask >> FINDINGS.index(name)) & 1)
                assert (cells[:, 0].min() + 1) * image.shape[0] / 64 >= y0 and cells[:, 0].max() * image.shape[
                    0
                ] / 64 <= y1


def test_sides_of_masks_are_the_sides_told(chest_cases):
    for case in chest_cases:
        told = case.truth["views"][0]
        middle = told["carina_px"][0]
        for name, (x0, _, x1, _) in told["boxes"].items():
            if name.endswith(("_left", "_right")):
                # a frontal film shows the patient's left on the right of the image
                assert ((x0 + x1) / 2 > middle) == name.endswith("_left"), (case.name, name)


def test_heart_is_enlarged_exactly_where_the_ratio_says(chest_cases):
    for case in chest_cases:
        ratio, told = case.truth["cardiothoracic_ratio"], case.truth["views"][0]
        assert (ratio > 0.5) == case.truth["findings"]["cardiomegaly"]
        heart, lungs = told["anatomy"]["heart"], [told["anatomy"][f"lung_{s}"] for s in ("left", "right")]
        wide = max(b[2] for b in lungs) - min(b[0] for b in lungs)
        if min(b[0] for b in lungs) > 0 and max(b[2] for b in lungs) < told["columns"]:
            assert (heart[2] - heart[0]) / wide == pytest.approx(ratio, abs=0.035)


def test_nodules_have_their_size_and_place_on_the_film():
    seen = 0
    for k in range(30):
        case = generate_case(3, k, size=400, lateral_share=0, full_masks=True)
        big = [n for n in case.truth["nodules"] if n["finding"] == "nodule"]
        assert all(6.0 <= n["diameter_mm"] <= 30.0 for n in big)
        assert all(2.0 <= n["diameter_mm"] < 6.0 for n in case.truth["nodules"] if n not in big)
        if len(big) != 1:
            continue
        x0, y0, x1, y1 = case.truth["views"][0]["boxes"]["nodule"]
        spacing = case.truth["views"][0]["spacing_mm"]
        size = big[0]["diameter_mm"] * big[0]["magnification"][0]
        assert (x1 - x0) * spacing == pytest.approx(size, abs=2.2 * spacing)
        assert (y1 - y0) * spacing == pytest.approx(size, abs=2.2 * spacing)
        assert (x0 + x1 - 1) / 2 == pytest.approx(big[0]["centre_px"][0][0], abs=1)
        seen += 1
    assert seen > 4


def test_answers_follow_from_the_truth(chest_cases):
    kinds = Counter()
    for case in chest_cases:
        assert len({q["id"] for q in case.qa}) == len(case.qa)
        for q in case.qa:
            kinds[q["kind"], q["finding"]] += 1
            assert set(q) == {"id", "question", "answer", "kind", "finding", "options", "view"}
            assert 0 <= q["view"] < len(case.images)
            if q["kind"] == "closed":
                assert q["answer"] in q["options"]
            if q["options"] == YES_NO:
                assert (q["answer"] == "yes") == case.truth["findings"][q["finding"]]
    assert all(kinds["closed", name] for name in FINDINGS)
    assert sum(n for (kind, _), n in kinds.items() if kind == "open") > 200


def test_yes_and_no_are_balanced_for_every_finding(chest_cases):
    """No wording gives the answer away either: each is asked of both."""
    for name in FINDINGS:
        answers = [q["answer"] for c in chest_cases for q in c.qa if q["finding"] == name and q["options"] == YES_NO]
        share = np.mean([a == "yes" for a in answers])
        assert abs(share - 0.5) < 2.6 * 0.5 / np.sqrt(len(answers)) + 0.01, (name, share, len(answers))
        wording = {}
        for c in chest_cases:
            for q in c.qa:
                if q["finding"] == name and q["options"] == YES_NO:
                    wording.setdefault(q["question"], set()).add(q["answer"])
        assert all(answers == {"yes", "no"} for answers in wording.values())


def lung_crop(case, side=20):
    """The chest inside the rib cage as a small (side, side) picture, and nothing of the truth about findings."""
    boxes = np.array([case.truth["views"][0]["anatomy"][f"lung_{s}"] for s in ("left", "right")])
    (x0, y0), (x1, y1) = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    crop = case.images[0][y0:y1, x0:x1].astype(float)
    rows, cols = (np.arange(side + 1) * n // side for n in crop.shape)
    cells = np.add.reduceat(np.add.reduceat(crop, rows[:-1], 0), cols[:-1], 1)
    cells /= np.diff(rows)[:, None] * np.diff(cols)[None, :]
    return ((cells - cells.mean()) / cells.std()).ravel()


def auc(score, label):
    order = np.argsort(np.argsort(score))
    n = label.sum()
    return (order[label].sum() - n * (n - 1) / 2) / (n * (~label).sum())


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("cardiomegaly", 0.85),
        ("effusion_left", 0.85),
        ("effusion_right", 0.85),
        ("pneumothorax_left", 0.80),
        ("pneumothorax_right", 0.80),
    ],
)
def test_a_linear_classifier_sees_the_large_findings(chest_cases, name, least):
    x = np.stack([lung_crop(c) for c in chest_cases])
    y = np.array([c.truth["findings"][name] for c in chest_cases])
    fold = np.arange(len(y)) % 4
    score = np.zeros(len(y))
    for k in range(4):
        a, b = x[fold != k], y[fold != k] * 2.0 - 1
        kernel = a @ a.T + 200.0 * np.eye(len(a))  # ridge
        score[fold == k] = (x[fold == k] @ a.T) @ np.linalg.solve(kernel, b - b.mean())
    assert auc(score, y) > least


def test_micronodules_stay_below_what_128_pixels_show(chest_cases):
    """Intended: a 4 mm nodule at 3 mm a pixel is one faint pixel."""
    for case in chest_cases:
        for n in case.truth["nodules"]:
            if n["finding"] == "micronodule":
                assert n["diameter_mm"] / case.truth["views"][0]["spacing_mm"] < 2.3
