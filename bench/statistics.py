"""Statistics of measured answers, as pure functions of scores and cluster keys.

Questions about one patient are not independent, so every standard error and interval here takes a cluster key for
each score. A missing key is an error: putting such items into one shared cluster, or each into its own, would make
up a dependence that nobody stated.

Legend: N items, G clusters, R bootstrap draws.
"""

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from bench.errors import BenchError


class StatisticsError(BenchError):
    """The numbers given do not allow this statistic."""


class Interval(NamedTuple):
    """A point estimate with the limits of its confidence interval."""

    value: float
    low: float
    high: float

    @property
    def known(self) -> bool:
        """False where there was nothing to estimate from."""
        return not math.isnan(self.value)


NOTHING = Interval(math.nan, math.nan, math.nan)


class PairedResult(NamedTuple):
    """Two arms over the same items: difference of means, and the exact test where scores are right or wrong."""

    difference: Interval
    n: int
    only_first: int
    only_second: int
    p_value: float


def clusters_of(keys: Sequence[Hashable | None]) -> np.ndarray:
    """Cluster number (N,) of every item, 0..G-1 in order of first appearance.

    Raises:
        StatisticsError: when an item has no key (None, NaN or an empty text).
    """
    numbers: dict[Hashable, int] = {}
    out = np.empty(len(keys), dtype=np.int64)
    for i, key in enumerate(keys):
        if key is None or key == "" or (isinstance(key, float) and math.isnan(key)):
            raise StatisticsError(
                f"item {i} has no cluster key: give every item the patient (or study, or image) that it belongs to"
            )
        out[i] = numbers.setdefault(key, len(numbers))
    return out


def wilson(successes: float, n: float, confidence: float = 0.95) -> Interval:
    """Wilson score interval of a proportion (Wilson 1927). `n` may be an effective, fractional sample size.

    Hand check: 20 of 20 gives [0.839, 1]; 300 of 451 gives [0.620, 0.707].
    """
    if n <= 0:
        return NOTHING
    if not 0 <= successes <= n:
        raise StatisticsError(f"{successes} successes of {n}: must lie between 0 and n")
    z = float(stats.norm.ppf(0.5 + confidence / 2))
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return Interval(p, low, high)


def naive_se(scores: Sequence[float]) -> float:
    """Standard error of the mean as if items were independent: s / sqrt(N), with the N-1 variance."""
    n = len(scores)
    return float(np.std(np.asarray(scores, dtype=float), ddof=1) / math.sqrt(n)) if n > 1 else math.nan


def clustered_se(scores: Sequence[float], keys: Sequence[Hashable | None]) -> float:
    """Standard error of the mean of clustered scores.

    SE^2 = s^2 / N + (1 / N^2) * sum over clusters of sum_{i != j} d_i d_j, with d the deviations from the mean
    (Miller 2024, arXiv 2411.00640, equation 4; the formula of lmms-eval's `clustered_stderr`).
    """
    values = np.asarray(scores, dtype=float)
    n = len(values)
    if n != len(keys):
        raise StatisticsError(f"{n} scores but {len(keys)} cluster keys")
    cluster = clusters_of(keys)
    if n < 2:
        return math.nan
    deviation = values - values.mean()
    sums_G = np.bincount(cluster, weights=deviation)
    squares = float(np.sum(deviation**2))
    cross = float(np.sum(sums_G**2)) - squares
    return math.sqrt(max(0.0, squares / (n - 1) / n + cross / n**2))


def clustered_mean(scores: Sequence[float], keys: Sequence[Hashable | None], confidence: float = 0.95) -> Interval:
    """Mean with a clustered interval: Student's t with G - 1 degrees of freedom on the clustered standard error."""
    if not len(scores):
        return NOTHING
    mean = float(np.mean(np.asarray(scores, dtype=float)))
    groups = len(set(clusters_of(keys).tolist()))
    if groups < 2:
        return Interval(mean, math.nan, math.nan)
    half = float(stats.t.ppf(0.5 + confidence / 2, groups - 1)) * clustered_se(scores, keys)
    return Interval(mean, mean - half, mean + half)


def effective_n(scores: Sequence[float], keys: Sequence[Hashable | None]) -> float:
    """Number of independent items that would give the same standard error; at most N.

    N divided by the design effect (clustered over naive variance). Where all scores are equal the design effect
    cannot be seen, and the number of clusters stands in for it: the careful end.
    """
    n = len(scores)
    cluster = clusters_of(keys)
    if n < 2:
        return float(n)
    naive = naive_se(scores)
    if naive == 0:
        return float(len(set(cluster.tolist())))
    clustered = clustered_se(scores, keys)
    return float(n) if clustered <= naive else n * (naive / clustered) ** 2


def clustered_proportion(
    successes: Sequence[float], keys: Sequence[Hashable | None], confidence: float = 0.95
) -> Interval:
    """Proportion with Wilson's interval at the effective sample size: stays inside [0, 1], honest near the ends."""
    n = len(successes)
    if n == 0:
        return NOTHING
    size = effective_n(successes, keys)
    p = float(np.mean(np.asarray(successes, dtype=float)))
    _, low, high = wilson(min(p * size, size), size, confidence)
    return Interval(p, low, high)


def mean_of_independent(parts: Sequence[Interval]) -> Interval:
    """Mean of independent estimates, with limits by variance recovery (MOVER; Zou and Donner 2008).

    Balanced accuracy is such a mean: its recalls come from disjoint items. Unlike the bootstrap it keeps a width
    where every item is right.
    """
    known = [part for part in parts if part.known]
    if not known or len(known) < len(parts):
        return NOTHING
    k = len(known)
    value = sum(part.value for part in known) / k
    below = math.sqrt(sum((part.value - part.low) ** 2 for part in known)) / k
    above = math.sqrt(sum((part.high - part.value) ** 2 for part in known)) / k
    return Interval(value, value - below, value + above)


def bootstrap_weights(n_clusters: int, draws: int, seed: int) -> np.ndarray:
    """How often each cluster is drawn: (R, G) counts, every row sums to G. Equal seeds give equal draws."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_clusters, np.full(n_clusters, 1 / n_clusters), size=draws)


def percentile_interval(value: float, samples: np.ndarray, confidence: float = 0.95) -> Interval:
    """Percentile bootstrap interval; draws in which the statistic does not exist (NaN) are left out."""
    usable = samples[~np.isnan(samples)]
    if math.isnan(value) or not len(usable):
        return Interval(value, math.nan, math.nan)
    low, high = np.quantile(usable, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Interval(value, float(low), float(high))


def bootstrap_mean(
    scores: Sequence[float],
    keys: Sequence[Hashable | None],
    *,
    draws: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Mean with a cluster-bootstrap interval: whole clusters are drawn with replacement."""
    if not len(scores):
        return NOTHING
    cluster = clusters_of(keys)
    values = np.asarray(scores, dtype=float)
    sums_G, counts_G = np.bincount(cluster, weights=values), np.bincount(cluster)
    weights_RG = bootstrap_weights(len(counts_G), draws, seed)
    return percentile_interval(float(values.mean()), (weights_RG @ sums_G) / (weights_RG @ counts_G), confidence)


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Two-sided exact McNemar test: binomial test of the discordant pairs at one half. No discordant pair gives 1."""
    n = only_first + only_second
    return float(stats.binomtest(only_first, n, 0.5).pvalue) if n else 1.0


def paired_difference(
    first: Sequence[float],
    second: Sequence[float],
    keys: Sequence[Hashable | None],
    confidence: float = 0.95,
) -> PairedResult:
    """First minus second over the same items: clustered interval of the mean difference, exact test.

    The test looks at the items on which one of the two scores higher: for right-or-wrong scores it is McNemar's, for
    others the sign test. It takes items as independent; the interval does not.
    """
    if not len(first) == len(second) == len(keys):
        raise StatisticsError(f"paired scores differ in length: {len(first)}, {len(second)}, keys {len(keys)}")
    if not len(first):
        return PairedResult(NOTHING, 0, 0, 0, math.nan)
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    only_first = int(np.sum(a > b))
    only_second = int(np.sum(b > a))
    difference = clustered_mean((a - b).tolist(), keys, confidence)
    return PairedResult(difference, len(a), only_first, only_second, mcnemar_exact(only_first, only_second))


def normal_p_value(estimate: float, standard_error: float) -> float:
    """Two-sided p-value of an estimate against zero, by the normal distribution."""
    if math.isnan(estimate) or math.isnan(standard_error) or standard_error <= 0:
        return math.nan
    return float(2 * stats.norm.sf(abs(estimate) / standard_error))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (Holm 1979) in the order given; NaN stays NaN and is not counted as a test."""
    tested = [i for i, p in enumerate(p_values) if not math.isnan(p)]
    adjusted = [math.nan] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(sorted(tested, key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(tested) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def minimum_detectable_effect(
    n: float, *, sd: float = 0.5, correlation: float = 0.5, alpha: float = 0.05, power: float = 0.8
) -> float:
    """Smallest paired difference of means found with this power (Miller 2024, section 5).

    (z_{1-alpha/2} + z_power) * sd_difference / sqrt(n), with sd_difference^2 = 2 sd^2 (1 - correlation).
    Hand check: n = 451, defaults, gives 0.066.
    """
    if n <= 0:
        return math.nan
    z = float(stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power))
    return z * sd * math.sqrt(2 * (1 - correlation) / n)
