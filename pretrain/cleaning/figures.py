"""Precision, recall and F1 with bootstrap intervals.

All three depend on the four counts of right and wrong alone, so drawing N rows with replacement is drawing the counts
from a multinomial: exact, and 10,000 draws cost nothing. Rows are drawn one by one; where rows of one source resemble
each other, the interval speaks of other rows of these sources and not of other sources.
"""

from dataclasses import asdict, dataclass

import numpy as np


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class Figures:
    """How well a classifier did on labelled texts."""

    texts: int
    precision: Interval
    recall: Interval
    f1: Interval

    def to_json(self) -> dict:
        return asdict(self)


def figures(labels: np.ndarray, kept: np.ndarray, draws: int = 10_000, seed: int = 0) -> Figures:
    """Precision, recall and F1 of ``kept`` (N,) against ``labels`` (N,), both bool."""
    counts = np.bincount(2 * labels.astype(int) + kept.astype(int), minlength=4)
    drawn = _drawn(counts, draws, seed)
    rates = [_rates(c[..., 3], c[..., 1], c[..., 2]) for c in (counts, drawn)]
    return Figures(len(labels), *(_interval(float(now), other) for now, other in zip(*rates)))


def f1_gain(labels: np.ndarray, before: np.ndarray, after: np.ndarray, draws: int = 10_000, seed: int = 0) -> Interval:
    """F1 of ``after`` less that of ``before`` on the same texts, drawn together."""
    cells = 4 * labels.astype(int) + 2 * before.astype(int) + after.astype(int)
    counts = np.bincount(cells, minlength=8)

    def gain(c: np.ndarray) -> np.ndarray:
        old = _rates(c[..., 6] + c[..., 7], c[..., 2] + c[..., 3], c[..., 4] + c[..., 5])[2]
        new = _rates(c[..., 5] + c[..., 7], c[..., 1] + c[..., 3], c[..., 4] + c[..., 6])[2]
        return new - old

    return _interval(float(gain(counts)), gain(_drawn(counts, draws, seed)))


def _drawn(counts: np.ndarray, draws: int, seed: int) -> np.ndarray:
    total = counts.sum()
    return np.random.default_rng(seed).multinomial(total, counts / total, size=draws)


def _rates(hits: np.ndarray, false: np.ndarray, missed: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall, F1; 0 where nothing was kept or wanted."""
    precision = hits / np.maximum(hits + false, 1)
    recall = hits / np.maximum(hits + missed, 1)
    return precision, recall, 2 * hits / np.maximum(2 * hits + false + missed, 1)


def _interval(value: float, drawn: np.ndarray) -> Interval:
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Interval(value, float(low), float(high))
