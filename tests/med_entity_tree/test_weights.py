"""Sampling weights: hand-computed cases, and what must hold for any corpus and any setting."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from med_entity_tree.weights import (
    SamplingError,
    buckets,
    entity_counts,
    exposures,
    rarest_counts,
    repeated,
    roll_up,
    sample_weights,
)

WIDE = {"cap": 1e9, "floor": 0.0}

counts_of_samples = st.lists(st.integers(1, 10**6), min_size=1, max_size=60)
settings = st.fixed_dictionaries(
    {"exponent": st.floats(0, 1.5), "cap": st.floats(1, 50), "floor": st.floats(0, 1)},
)


def weigh(counts, **options):
    return sample_weights(np.array(counts, float), **options)


def test_square_root_of_a_hundredfold_rarity_is_ten():
    # nine samples of count 100 and one of count 1: wanted 1 and 10, 19 in all, so c = 10/19
    weights = weigh([100] * 9 + [1], exponent=0.5, **WIDE)
    assert weights[:9] == pytest.approx(10 / 19)
    assert weights[9] == pytest.approx(100 / 19)


def test_the_cap_gives_what_it_takes_to_the_others():
    # capped at 3: the other nine share 7
    weights = weigh([100] * 9 + [1], exponent=0.5, cap=3, floor=0)
    assert weights[9] == 3
    assert weights[:9] == pytest.approx(7 / 9)


def test_the_floor_takes_from_the_others():
    # wanted 1 (x 8) and 100 (x 2); floored at 0.5 the eight keep 4, the two share 6
    weights = weigh([100] * 8 + [1] * 2, exponent=1, cap=100, floor=0.5)
    assert weights[:8] == pytest.approx(0.5)
    assert weights[8:] == pytest.approx(3)


def test_exponent_one_draws_every_entity_equally_often():
    entities = [["a"]] * 60 + [["b"]] * 30 + [["c"]] * 10
    weights = sample_weights(rarest_counts(entities, entity_counts(entities)), exponent=1, **WIDE)
    assert [row.after for row in exposures(entities, weights)] == pytest.approx([1 / 3] * 3)


def test_a_sample_is_as_rare_as_its_rarest_entity_and_one_without_as_the_commonest():
    counts = {"common": 100, "rare": 4, "never": 0}
    rows = [["common"], ["rare", "common"], [], ["never"], ["unheard of", "common"]]
    assert rarest_counts(rows, counts).tolist() == [100, 4, 100, 1, 1]


def test_an_entity_named_twice_counts_once():
    assert entity_counts([["a", "a"], ["a", "b"], []]) == {"a": 2, "b": 1}


def test_rolled_up_counts_are_those_of_the_branch():
    parents = {"left": ["lung"], "right": ["lung"], "lung": [], "toe": []}
    rows = [["left"], ["right"], ["left", "right"], ["lung"], ["toe"]]
    counts = entity_counts(roll_up(rows, parents.__getitem__))
    assert counts == {"left": 2, "right": 2, "lung": 4, "toe": 1}


def test_exposures_and_buckets_by_hand():
    entities = [["a"], ["a", "b"], ["a"], []]
    rows = exposures(entities, np.array([0.5, 2.0, 1.0, 0.5]))
    assert [(r.entity, r.samples, r.before, r.after, r.epochs, r.most) for r in rows] == [
        ("b", 1, 0.25, 0.5, 2.0, 2.0),
        ("a", 3, 0.75, 0.875, pytest.approx(3.5 / 3), 2.0),
    ]
    found = buckets(entities, {"a": 30, "b": 9}, np.array([0.5, 2.0, 1.0, 0.5]))
    assert [(b.name, b.entities, b.samples, b.before, b.after, b.epochs) for b in found] == [
        ("1-9", 1, 1, 0.25, 0.5, 2.0),
        ("10-99", 1, 2, 0.5, 0.375, 0.75),
        ("no entity", 0, 1, 0.25, 0.125, 0.5),
    ]
    assert [r.entity for r in repeated(rows, 1.9)] == ["b"]
    assert repeated(rows) == []


@given(counts_of_samples, settings)
def test_an_epoch_keeps_its_size_and_every_weight_its_bounds(counts, options):
    weights = weigh(counts, **options)
    assert math.fsum(weights) == pytest.approx(len(counts), rel=1e-9)
    assert weights.max() <= options["cap"]
    assert weights.min() >= options["floor"]


@given(counts_of_samples, settings)
def test_rarer_is_never_weighed_less_and_equal_is_weighed_equally(counts, options):
    weights = weigh(counts, **options)
    order = np.argsort(counts, kind="stable")
    assert (np.diff(weights[order]) <= 0).all()
    for i, j in itertools.pairwise(order):
        assert counts[i] != counts[j] or weights[i] == weights[j]


@given(counts_of_samples, settings, st.randoms())
def test_the_order_of_the_samples_does_not_matter(counts, options, random):
    order = list(range(len(counts)))
    random.shuffle(order)
    assert weigh([counts[i] for i in order], **options).tolist() == weigh(counts, **options)[order].tolist()


@given(counts_of_samples, st.floats(1, 50), st.floats(0, 1))
def test_exponent_zero_is_uniform(counts, cap, floor):
    assert weigh(counts, exponent=0, cap=cap, floor=floor) == pytest.approx(1)


@given(counts_of_samples, st.floats(0, 1.5))
def test_between_the_bounds_weights_follow_the_power(counts, exponent):
    weights = weigh(counts, exponent=exponent, **WIDE)
    ratios = weights / weights[0]
    assert ratios == pytest.approx((np.array(counts) / counts[0]) ** -exponent, rel=1e-6)


@given(counts_of_samples, st.floats(0, 1.4), settings)
def test_a_larger_exponent_never_shows_the_rarest_less(counts, exponent, options):
    bounds = {k: options[k] for k in ("cap", "floor")}
    rarest = int(np.argmin(counts))
    less, more = (weigh(counts, exponent=a, **bounds)[rarest] for a in (exponent, exponent + 0.1))
    assert more >= less - 1e-9


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"exponent": -0.1, "cap": 8, "floor": 0}, "exponent is -0.1"),
        ({"exponent": math.nan, "cap": 8, "floor": 0}, "exponent is nan"),
        ({"exponent": 1, "cap": 0.5, "floor": 0}, "floor 0 and cap 0.5"),
        ({"exponent": 1, "cap": 8, "floor": 2}, "floor 2 and cap 8"),
        ({"exponent": 1, "cap": math.inf, "floor": 0}, "cap inf"),
        ({"exponent": 900, "cap": 8, "floor": 0}, "overflow"),
    ],
)
def test_settings_out_of_range_are_told(options, words):
    with pytest.raises(SamplingError, match=words):
        weigh([1, 10], **options)


def test_counts_that_are_none_are_told():
    with pytest.raises(SamplingError, match="above 0"):
        weigh([0, 10], exponent=1, **WIDE)
    assert not len(weigh([], exponent=1, **WIDE))
