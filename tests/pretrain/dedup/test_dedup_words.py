"""What the guard keeps apart and what it lets merge."""

import numpy as np
import pytest

from pretrain.dedup.store import matrix
from pretrain.dedup.text import TextSettings, text_signatures
from pretrain.dedup.words import FACTS, normalise, tokens

LONG = "Comparison with the outside film was made by the reader. The trachea projects over the spine. "


def differing(a: str, b: str) -> set[str]:
    facts = matrix(text_signatures([LONG + a, LONG + b], TextSettings())["facts"])
    return {name for i, name in enumerate(FACTS) if facts[0, i] != facts[1, i]}


@pytest.mark.parametrize(
    ("a", "b", "fact"),
    [
        ("5 mm nodule.", "6 mm nodule.", "numbers"),
        ("Nodule of 5.2 mm.", "Nodule of 52 mm.", "numbers"),
        ("Less than < 3 ribs.", "Less than > 3 ribs.", "numbers"),
        ("Two nodules.", "Three nodules.", "numbers"),
        ("Effusion left.", "Effusion right.", "sides"),
        ("Lt effusion.", "Rt effusion.", "sides"),
        ("No effusion.", "Effusion.", "negations"),
        ("No effusion. Pneumothorax.", "No effusion, pneumothorax.", "negations"),
        ("No pneumonia.", "No pneumothorax.", "negations"),
        ("There isn't a fracture.", "There is a fracture.", "negations"),
        ("Effusion: none. Fracture.", "Effusion. Fracture: none.", "negations"),
        ("Mild oedema.", "Severe oedema.", "degrees"),
        ("左侧结节。", "右侧结节。", "sides"),
        ("无结节。", "有结节。", "negations"),
        ("Catheter left 28 mm above the carina. Catheter right 9 mm above it.",
         "Catheter right 28 mm above the carina. Catheter left 9 mm above it.", "sides"),
    ],
)  # fmt: skip
def test_another_fact_is_seen(a, b, fact):
    assert fact in differing(a, b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("There is a 5 mm nodule in the left lung.", "5 mm nodule in left lung."),
        ("No effusion. 5 mm nodule.", "5 mm nodule. No effusion."),
        ("No effusion.", "No effusion. No effusion."),
        ("No effusion.", "NO  EFFUSION !"),
        ("No effusion. Thank you for the referral.", "No effusion."),
    ],
)
def test_the_same_facts_in_other_words_are_the_same(a, b):
    assert differing(a, b) == set()


def test_terms_of_the_caller_are_facts():
    texts = [LONG + "Consolidation.", LONG + "Cardiomegaly."]
    assert differing("Consolidation.", "Cardiomegaly.") == set()  # the guard alone has no dictionary of diseases
    facts = matrix(text_signatures(texts, TextSettings(), [["HP:1"], ["HP:2", "HP:2"]])["facts"])
    assert facts[0, -1] != facts[1, -1]
    again = matrix(text_signatures(texts, TextSettings(), [["b", "a"], ["a", "b"]])["facts"])
    assert again[0, -1] == again[1, -1]


def test_normal_form_and_tokens():
    assert normalise(" No  acute\nDISEASE． ") == "no acute disease."
    assert tokens("a 5.2mm nodule, t2-3; 肺结节。") == [
        "a",
        "5.2",
        "mm",
        "nodule",
        "t",
        "2",
        "-",
        "3",
        ";",
        "肺",
        "结",
        "节",
        "。",
    ]


def test_signatures_do_not_depend_on_their_neighbours():
    texts = ["No acute disease.", "", None, "Heart size is normal. Lungs are clear.", "???", "\ud800 broken"]
    whole = text_signatures(texts, TextSettings())
    for i, text in enumerate(texts):
        assert text_signatures([text], TextSettings()).to_pylist() == whole.slice(i, 1).to_pylist()
    assert [len(s) for s in whole["shingles"].to_pylist()] == [1, 0, 0, 5, 0, 1]
    assert np.unique(matrix(whole["bands"]), axis=0).shape == (4, 32)
