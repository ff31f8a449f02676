"""Scores against hand computation and closed forms."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import scoring as s

TRUTH = ["yes"] * 4 + ["no"] * 6


def test_constant_answers_are_at_the_floor():
    assert s.balanced_accuracy(TRUTH, ["yes"] * 10) == 0.5
    assert s.matthews(TRUTH, ["yes"] * 10) == 0.0
    assert s.yes_no_rates(TRUTH, ["yes"] * 10) == (1.0, 0.0)


def test_hand_counted_table():
    answers = ["yes", "yes", "yes", "no", "no", "no", "no", "no", "yes", None]
    assert s.balanced_accuracy(TRUTH, answers) == pytest.approx((3 / 4 + 4 / 6) / 2)
    assert s.yes_no_rates(TRUTH, answers) == (0.75, pytest.approx(4 / 6))


def test_matthews_is_phi_for_two_classes():
    answers = ["yes", "yes", "yes", "no", "no", "no", "no", "no", "yes", "yes"]  # TP 3, FN 1, FP 2, TN 4
    assert s.matthews(TRUTH, answers) == pytest.approx((3 * 4 - 2 * 1) / math.sqrt(5 * 4 * 6 * 5))
    assert s.matthews(TRUTH, TRUTH) == pytest.approx(1.0)


def test_one_class_has_no_balanced_accuracy():
    assert math.isnan(s.balanced_accuracy(["yes", "yes"], ["yes", "no"]))


def test_unread_answers_are_wrong_in_every_class():
    assert s.balanced_accuracy(TRUTH, [None] * 10) == 0.0


def test_majority_answers_per_finding_with_ties_in_alphabet_order():
    pairs = [("a", "yes"), ("a", "yes"), ("a", "no"), ("b", "yes"), ("b", "no")]
    assert s.majority_answers(pairs) == {"a": "yes", "b": "no"}


def test_token_f1_by_hand():
    assert s.token_f1("left lower zone", "the left zone") == pytest.approx(0.8)
    assert s.token_f1("", "left") == 0.0 and s.token_f1(None, "left") == 0.0
    assert s.token_f1("Three nodules.", "3 nodules") == 1.0


@given(st.text(max_size=60), st.text(max_size=60))
def test_token_f1_is_symmetric_and_bounded(a, b):
    assert 0 <= s.token_f1(a, b) <= 1 and s.token_f1(a, b) == s.token_f1(b, a)
    assert s.token_f1(a, a) == 1.0 and s.exact_match(a, a)


@pytest.mark.parametrize(
    ("text", "size"),
    [("12 mm", 12), ("about 1.2 cm", 12), ("1,5cm", 15), ("12", None), ("10 mm or 20 mm", None),
     ("8 mm, that is 0.8 cm", 8), ("12 mmHg", None), ("twelve", None), ("5-mm", None), ("v2.12 mm", None)],
)  # fmt: skip
def test_sizes(text, size):
    assert s.size_mm(text) == size


def test_open_score_checks_only_what_the_reference_states():
    right = s.score_open("In the left upper zone, 13 mm", "left upper zone, 12 mm")
    assert (right.size, right.side, right.zone, right.exact) == (True, True, True, False)
    wrong = s.score_open("right upper zone, 30 mm", "left upper zone, 12 mm")
    assert (wrong.size, wrong.side, wrong.zone) == (False, False, True)
    plain = s.score_open("enlarged heart", "Enlarged heart.")
    assert plain == s.OpenScore(True, 1.0, None, None, None, None)
    assert s.score_open("left", "bilateral").side is False and s.score_open("both sides", "bilateral").side is True


def test_ratios():
    reference = "The heart is enlarged, with a cardiothoracic ratio of 0.56."
    assert s.score_open("0.53", reference).ratio and not s.score_open("0.52", reference).ratio
    assert s.score_open("the ratio is .55.", "0.56").ratio
    assert s.score_open("0.5 or 0.6", "0.56").ratio is False
    assert s.score_open("12 mm", "0.8 mm").ratio is None and s.score_open("left", "12 mm").ratio is None


def test_tolerance_is_the_larger_of_absolute_and_relative():
    assert s.score_open("12 mm", "10 mm").size and not s.score_open("12.1 mm", "10 mm").size
    assert s.score_open("24 mm", "20 mm").size and not s.score_open("24.1 mm", "20 mm").size


def test_option_probabilities():
    p = s.option_probabilities({"Yes": math.log(0.6), " no": math.log(0.2), "maybe": math.log(0.1)}, ["yes", "no"])
    assert p == pytest.approx({"yes": 0.75, "no": 0.25})
    assert s.option_probabilities({"maybe": -0.1}, ["yes", "no"]) is None
    assert s.option_probabilities({"le": math.log(0.5), "": -0.1}, ["left", "lower"]) == {"left": 1.0, "lower": 0.0}
    assert s.option_probabilities({"l": math.log(0.5)}, ["left", "lower"]) is None


def test_calibration_by_hand():
    p, y = [0.9, 0.9, 0.1, 0.1], [True, False, False, False]
    assert s.brier(p, y) == pytest.approx((0.01 + 0.81 + 0.01 + 0.01) / 4)
    assert s.expected_calibration_error(p, y) == pytest.approx(0.5 * 0.4 + 0.5 * 0.1)
    assert [b.n for b in s.reliability(p, y)] == [2, 2]
    assert s.auroc(p, y) == pytest.approx((1 + 1 + 0.5) / 3)
    assert math.isnan(s.auroc([0.5], [True]))


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=2, max_size=40))
def test_auroc_is_the_share_of_ordered_pairs(rows):
    p, y = [a for a, _ in rows], [b for _, b in rows]
    pairs = [(a > b) + 0.5 * (a == b) for a, ya in rows if ya for b, yb in rows if not yb]
    if pairs:
        assert s.auroc(p, y) == pytest.approx(float(np.mean(pairs)), abs=1e-9)
    assert 0 <= s.expected_calibration_error(p, y) <= 1
