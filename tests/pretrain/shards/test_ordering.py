"""Shuffles are bijections, the same everywhere; quotas are exact."""

import math

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pretrain.shards.ordering import derive, keyed_uniform, permutation, repeats

keys = st.integers(0, 2**64 - 1)


@given(keys, st.integers(0, 500))
def test_permutation_is_a_bijection(key, n):
    assert sorted(permutation(key, n).tolist()) == list(range(n))


def test_permutation_never_changes_between_versions():
    assert permutation(derive(1, "window", 0, 0), 8).tolist() == [5, 4, 0, 3, 2, 1, 6, 7]
    assert derive("a", 1) == 7101513281160107814


def test_different_keys_give_different_orders():
    assert permutation(1, 100).tolist() != permutation(2, 100).tolist()


def test_uniform_numbers_fill_the_interval():
    numbers = keyed_uniform(5, np.arange(10_000))
    assert numbers.min() >= 0 and numbers.max() < 1
    assert abs(numbers.mean() - 0.5) < 0.01 and abs(numbers.std() - math.sqrt(1 / 12)) < 0.01


weights = st.lists(st.floats(0, 5, allow_subnormal=False), min_size=1, max_size=60)


@settings(max_examples=200)
@given(weights, st.integers(0, 200), keys, st.integers(1, 5))
@example([0.0, 1.4305137933486023e-307], 26, 0, 1)  # its reciprocal is beyond a float
def test_quota_is_exact_and_each_stratum_is_within_one(values, quota, key, groups):
    array = np.array(values)
    strata = np.arange(len(array)) % groups
    counts = repeats(array, quota, strata, key)
    if array.sum() == 0:
        assert counts.sum() == 0
        return
    scaled = array / array.max()
    share = scaled * (quota / math.fsum(scaled.tolist()))
    assert counts.sum() == quota
    assert (np.abs(counts - share) <= 1 + 1e-6).all()
    assert (counts[array == 0] == 0).all()
    for group in range(groups):
        # systematic sampling: within one of the stratum's share
        assert abs(counts[strata == group].sum() - share[strata == group].sum()) <= 1 + 1e-6


def test_weight_one_gives_every_sample_once():
    assert repeats(np.full(1000, 0.7), 1000, np.zeros(1000), 3).tolist() == [1] * 1000


def test_fraction_is_drawn_anew_each_epoch():
    first = repeats(np.ones(100), 50, np.zeros(100), derive("e", 0))
    second = repeats(np.ones(100), 50, np.zeros(100), derive("e", 1))
    assert first.sum() == second.sum() == 50 and (first != second).any()
