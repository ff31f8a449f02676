"""Normal form: idempotent, and nothing that a clinician reads is changed."""

# ruff: noqa: E501  (texts of the cases are not folded)

import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain.cleaning.normalise import normalise, normalised

ODD = st.sampled_from(
    list("ab -\n\r\t\xad5LR/.µ≥ﬁé\u0301\u200b\xa0\u3000。，©p") + ["Page 1 of 2\n", "-\n", "left-\n", "\x00", "\ufeff"]
)
MEASURES = [
    "5 mm", "0.5–1.2 cm", "10⁹/L", "-3.5 SD", "±0.2", "≥ 37.5 °C", "µg/kg", "SpO₂ 92 %", "1/2", "½ tab", "T2-weighted", "L4-L5",
    "left-sided", "right upper lobe", "L > R", "120/80 mmHg", "3×4×5 cm", "2,5 mg", "HU -50", "5'-end", "℃", "Ω", "β-hCG", "1:1000",
    "左肺下叶，见 5 mm 结节；≥3。", "（右侧）", "“双肺”", "+++", "p<0.05", "c.35delG", "Th12/L1", "No. 7", "XXXX", "q.d.",
]  # fmt: skip


@settings(max_examples=400)
@given(st.lists(st.one_of(ODD, st.text(max_size=5)), max_size=40))
def test_the_normal_form_of_a_normal_form_is_itself(parts):
    once = normalise("".join(parts))
    assert normalise(once) == once


@given(st.lists(st.sampled_from(MEASURES), min_size=1, max_size=12), st.sampled_from([" ", ", ", "\n", "\n\n"]))
def test_measures_signs_sides_and_chinese_stay_as_they_are(parts, between):
    text = between.join(parts)
    assert normalise(text) == unicodedata.normalize("NFC", text)


@given(
    st.text(alphabet=st.characters(blacklist_categories=("Cc", "Cf", "Cs", "Cn", "Co", "Zs", "Zl", "Zp")), max_size=80)
)
def test_a_line_of_visible_characters_changes_by_nfc_and_ligatures_alone(line):
    ligatures = {"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"}
    expected = unicodedata.normalize("NFC", line)
    for one, many in ligatures.items():
        expected = expected.replace(one, many)
    assert normalise(line) in (expected, "")  # "" for a line of boilerplate such as "©"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("a\u00a0b\u2009c\u3000d\te", "a b c d e"),
        ("pneu\u00admo\u00ad\nthorax", "pneumothorax"),
        ("a\u200bb\ufeffc\u202ed\x07", "abcd"),
        ("one\r\ntwo\rthree\x0cfour\u2028five", "one\ntwo\nthree\nfour\nfive"),
        ("  a  \n\n\n\n  b  ", "a\n\nb"),
        ("ﬁbrosis, eﬀusion", "fibrosis, effusion"),
        ("cafe\u0301", "café"),
        ("atelec-\ntasis", "atelectasis"),
        ("left-\nsided and non-\ncontrast", "left-sided and non-contrast"),
        ("ill-defined. It is ill-\ndefined", "ill-defined. It is ill-defined"),
        ("end-diastolic; end-\ndiastolic", "end-diastolic; end-diastolic"),
        ("T2-\nweighted, 5-\n10 mm, COVID-\n19", "T2-weighted, 5-10 mm, COVID-19"),
        ("Findings-\nLungs are clear", "Findings-\nLungs are clear"),
        ("a list:\n- one\n- two", "a list:\n- one\n- two"),
        ("beyond Page-\n2", "beyond Page-2"),
    ],
)
def test_what_is_taken_away(written, meant):
    assert normalise(written) == meant


@pytest.mark.parametrize(
    "line",
    ["Page 3 of 12", "- 4 -", "第 3 页 共 10 页", "© 2020 The Authors", "Copyright 2019 Publisher. All rights reserved.",
     "Downloaded from https://x.org on 1 May", "Electronically signed by: Dr. A. Bee", "We use cookies to improve your visit",
     "Skip to main content", "Share on Facebook", "Privacy policy | Terms of use", "版权所有 某医院"],
)  # fmt: skip
def test_lines_of_boilerplate_go_and_are_named(line):
    made = normalised(f"The heart is normal.\n{line}\nThe lungs are clear.")
    assert made.text == "The heart is normal.\nThe lungs are clear." and made.removed == (line,)


@pytest.mark.parametrize(
    "line",
    ["See page 3 of the report of 2019.", "The patient signed by hand.", "Cookies were eaten before the scan.", "Page",
     "Copy of the film right.", "3", "Search for a primary tumour is advised.", "Approved dose: 5 mg", "- 4 - 5 mm"],
)  # fmt: skip
def test_lines_that_say_something_stay(line):
    assert normalise(f"A.\n{line}\nB.") == f"A.\n{line}\nB."


def test_a_word_around_a_removed_page_number_is_made_whole():
    assert normalise("There is a pneumo-\nPage 2 of 3\nthorax.") == "There is a pneumothorax."


@given(st.lists(st.sampled_from(MEASURES), min_size=1, max_size=8))
def test_numbers_are_never_joined_or_lost(parts):
    text = "\n".join(parts)
    assert re.findall(r"\d+", normalise(text)) == re.findall(r"\d+", unicodedata.normalize("NFC", text))
