"""Statistics against closed forms, scipy, and simulation."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench import statistics as s


def lmms_formula(scores: list[float], keys: list) -> float:
    """The published formula, as a plain double sum."""
    n, mean = len(scores), sum(scores) / len(scores)
    total = sum((x - mean) ** 2 for x in scores) / (n - 1) / n
    for i in range(n):
        for j in range(n):
            if i != j and keys[i] == keys[j]:
                total += (scores[i] - mean) * (scores[j] - mean) / n**2
    return math.sqrt(total)


def test_wilson_known_values():
    assert s.wilson(20, 20)[1:] == pytest.approx((0.8389, 1.0), abs=1e-4)
    assert s.wilson(300, 451)[1:] == pytest.approx((0.620, 0.707), abs=5e-4)


@given(st.integers(1, 400), st.data())
def test_wilson_agrees_with_scipy(n, data):
    k = data.draw(st.integers(0, n))
    expected = stats.binomtest(k, n).proportion_ci(method="wilson")
    assert s.wilson(k, n)[1:] == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_wilson_refuses_more_successes_than_items():
    with pytest.raises(s.StatisticsError, match="between 0 and n"):
        s.wilson(3, 2)


def test_clustered_se_by_hand():
    # scores 1,1,0,0 in clusters a,a,b,b: deviations +-1/2. SE_CLT^2 = (1/3)/4 = 1/12, cross = 4 * (1/4) / 16 = 1/16.
    assert s.clustered_se([1, 1, 0, 0], ["a", "a", "b", "b"]) == pytest.approx(math.sqrt(1 / 12 + 1 / 16), abs=1e-12)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5)), min_size=2, max_size=40))
def test_clustered_se_is_the_published_formula(rows):
    scores, keys = [float(a) for a, _ in rows], [b for _, b in rows]
    assert s.clustered_se(scores, keys) == pytest.approx(lmms_formula(scores, keys), abs=1e-9)


def test_clusters_of_one_give_the_naive_error():
    scores = [0.0, 1.0, 1.0, 0.0, 1.0]
    assert s.clustered_se(scores, list(range(5))) == pytest.approx(stats.sem(scores), abs=1e-12)
    assert s.naive_se(scores) == pytest.approx(stats.sem(scores), abs=1e-12)


@pytest.mark.parametrize("missing", [None, "", float("nan")])
def test_missing_cluster_key_is_an_error(missing):
    with pytest.raises(s.StatisticsError, match="item 1 has no cluster key"):
        s.clustered_se([1.0, 0.0], ["a", missing])


def test_effective_n():
    # Clusters of two equal scores: about half as many independent items as scores.
    scores, keys = [1, 1, 0, 0] * 50, [i // 2 for i in range(200)]
    assert s.effective_n(scores, keys) == pytest.approx(100, rel=0.02)
    assert s.effective_n([1.0] * 10, [i // 5 for i in range(10)]) == 2
    low = s.clustered_proportion([1.0] * 10, [i // 5 for i in range(10)]).low
    assert low == pytest.approx(s.wilson(2, 2).low)


def test_mcnemar_agrees_with_scipy_and_by_hand():
    assert s.mcnemar_exact(0, 5) == pytest.approx(2 * 0.5**5)
    assert s.mcnemar_exact(3, 9) == pytest.approx(stats.binomtest(3, 12).pvalue)
    assert s.mcnemar_exact(0, 0) == 1.0


def test_paired_difference_counts_only_discordant_items():
    result = s.paired_difference([1, 1, 1, 0], [1, 0, 0, 1], ["a", "b", "c", "d"])
    assert (result.difference.value, result.only_first, result.only_second) == (0.25, 2, 1)
    t = stats.ttest_1samp([0, 1, 1, -1], 0).confidence_interval()
    assert result.difference[1:] == pytest.approx((t.low, t.high), abs=1e-9)


def test_paired_difference_refuses_unequal_lengths():
    with pytest.raises(s.StatisticsError, match="differ in length"):
        s.paired_difference([1.0], [1.0, 0.0], ["a", "b"])


def test_holm_by_hand_and_with_missing():
    assert s.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    out = s.holm([0.01, math.nan, 0.5])
    assert out[0] == pytest.approx(0.02) and math.isnan(out[1]) and out[2] == pytest.approx(0.5)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_keeps_order_and_never_lowers(p):
    adjusted = s.holm(p)
    assert all(a >= b - 1e-12 and a <= 1 for a, b in zip(adjusted, p))
    ranked = [a for _, a in sorted(zip(p, adjusted))]
    assert all(x <= y + 1e-12 for x, y in pairwise(ranked))


def test_minimum_detectable_effect_known_values():
    assert s.minimum_detectable_effect(451) == pytest.approx(0.066, abs=5e-4)
    assert s.minimum_detectable_effect(2000) == pytest.approx(0.0313, abs=5e-5)
    assert s.minimum_detectable_effect(2181) <= 0.03 < s.minimum_detectable_effect(2179)


def test_mean_of_independent_is_the_sum_formula():
    parts = [s.Interval(0.8, 0.7, 0.85), s.Interval(0.6, 0.5, 0.75)]
    mean = s.mean_of_independent(parts)
    assert mean == pytest.approx((0.7, 0.7 - math.hypot(0.1, 0.1) / 2, 0.7 + math.hypot(0.05, 0.15) / 2))
    assert not s.mean_of_independent([parts[0], s.NOTHING]).known


def test_bootstrap_draws_clusters_and_repeats_from_its_seed():
    scores, keys = [1, 1, 0, 0, 1, 0] * 20, [i // 3 for i in range(120)]
    first, again = s.bootstrap_mean(scores, keys, seed=3), s.bootstrap_mean(scores, keys, seed=3)
    assert first == again and first.value == 0.5
    assert (first.high - first.low) / 2 == pytest.approx(1.96 * s.clustered_se(scores, keys), rel=0.15)
    assert (s.bootstrap_weights(7, 20, 0).sum(axis=1) == 7).all()


def coverage(interval, runs: int, clusters: int, size: int) -> float:
    """Share of simulated data sets whose interval holds the true mean: a patient effect of ICC about 0.25."""
    rng = np.random.default_rng(7)
    keys = [i // size for i in range(clusters * size)]
    hit = 0
    for _ in range(runs):
        chance_G = rng.beta(0.7 * 3, 0.3 * 3, clusters)  # ICC = 1 / (1 + a + b) = 0.25
        scores = (rng.random((clusters, size)) < chance_G[:, None]).astype(float).ravel()
        _, low, high = interval(scores.tolist(), keys)
        hit += low <= 0.7 <= high
    return hit / runs


@pytest.mark.slow
def test_clustered_intervals_cover_in_simulation():
    assert 0.93 <= coverage(s.clustered_mean, 2000, 100, 5) <= 0.97
    assert 0.93 <= coverage(s.clustered_proportion, 2000, 100, 5) <= 0.97
    assert 0.93 <= coverage(s.bootstrap_mean, 600, 100, 5) <= 0.97


def test_naive_interval_does_not_cover():
    def naive(scores, keys):
        mean, half = float(np.mean(scores)), 1.96 * s.naive_se(scores)
        return mean, mean - half, mean + half

    assert coverage(naive, 200, 100, 5) < 0.92 < coverage(s.clustered_mean, 200, 100, 5)
