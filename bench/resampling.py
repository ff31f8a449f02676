"""Balanced accuracies under resampling of patients: one set of draws for all arms, so that they can be compared."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bench import statistics as st

Record = dict[str, Any]
DRAWS = 2000


def group(records: Sequence[Record], key: Callable[[Record], str]) -> dict[str, list[Record]]:
    """Records by key, in order of first appearance."""
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        groups[key(record)].append(record)
    return dict(groups)


def spread(draws_R: np.ndarray) -> float:
    """Range of the draws that exist; 0 where they agree but for rounding."""
    usable = draws_R[~np.isnan(draws_R)]
    width = float(usable.max() - usable.min()) if len(usable) else 0.0
    return width if width > 1e-9 else 0.0


class BalancedBootstrap:
    """Balanced accuracies under one set of cluster draws, so that arms can be compared draw by draw.

    Args:
        records: closed records of all arms of one model.
    """

    def __init__(self, records: Sequence[Record], draws: int = DRAWS, seed: int = 0) -> None:
        self.patients = sorted({r["patient"] for r in records})
        self._place = {patient: i for i, patient in enumerate(self.patients)}
        self.weights_RG = st.bootstrap_weights(len(self.patients), draws, seed)

    def recall_draws(self, records: Sequence[Record]) -> tuple[float, np.ndarray]:
        """Share of right answers: the value, and (R,) its draws; NaN where a draw holds no such item."""
        hits_G, counts_G = np.zeros(len(self.patients)), np.zeros(len(self.patients))
        for record in records:
            place = self._place[record["patient"]]
            counts_G[place] += 1
            hits_G[place] += record["correct"]
        counts_R = self.weights_RG @ counts_G
        draws = np.divide(self.weights_RG @ hits_G, counts_R, out=np.full(len(counts_R), np.nan), where=counts_R > 0)
        return (float(hits_G.sum() / counts_G.sum()) if counts_G.sum() else math.nan), draws

    def balanced_draws(self, records: Sequence[Record]) -> tuple[float, np.ndarray]:
        """Balanced accuracy over the classes of these records, and its draws."""
        by_class: dict[str, list[Record]] = defaultdict(list)
        for record in records:
            by_class[record["truth"]].append(record)
        if len(by_class) < 2:
            return math.nan, np.full(len(self.weights_RG), np.nan)
        parts = [self.recall_draws(rows) for rows in by_class.values()]
        return float(np.mean([value for value, _ in parts])), np.mean([draws for _, draws in parts], axis=0)

    def mean_over_findings(self, records: Sequence[Record], findings: Sequence[str]) -> tuple[float, np.ndarray]:
        """Mean over findings of balanced accuracy, and its draws; a finding without two classes sits out."""
        groups = group(records, lambda r: r["finding"])
        parts = [self.balanced_draws(groups.get(finding, [])) for finding in findings]
        if not parts:
            return math.nan, np.full(len(self.weights_RG), np.nan)
        draws_FR = np.stack([draws for _, draws in parts])
        counts_R = (~np.isnan(draws_FR)).sum(0)
        mean_R = np.divide(
            np.nansum(draws_FR, axis=0), counts_R, out=np.full(len(counts_R), np.nan), where=counts_R > 0
        )
        values = [value for value, _ in parts if not math.isnan(value)]
        return float(np.mean(values)) if values else math.nan, mean_R
