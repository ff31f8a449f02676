"""Entity-driven sampling: how often an epoch shows each sample, from how rare its entities are.

A sample is as rare as its rarest entity e, of which the corpus holds n_e samples, and is wanted n_e^-a times as often:

    r_i = (n_e / n_max)^-a          n_max: of the commonest entity; a sample without entity has r_i = 1
                                    n_e: not below a least count, or single slips of a tagger would fill the epoch
    w_i = clip(c r_i, floor, cap)   c such that the weights sum to the number of samples

so that an epoch keeps its size and no sample comes more than ``cap`` or less than ``floor`` times in it. Exponent 0 is
uniform sampling; 1 shows every entity about equally often, as far as the bounds allow. The paper that the tree follows
balances its training over entities and does not say how (MedXIAOHE, 3.3). The largest weight of a sample's entities is
repeat factor sampling (Gupta et al. 2019, LVIS, where a = 0.5); the free exponent is that of multilingual sampling
(Conneau and Lample 2019, XLM, section 3.1: the share of a language is its size to a power below one).
"""

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vlm.errors import MedVLMError

MANY_REPEATS = 4.0
"""Up to here the same data again are nearly as good as new data (Muennighoff et al. 2023, for language models)."""


class SamplingError(MedVLMError):
    """Weights of samples cannot be made, or are not for this data; the sentence says what to change."""


@dataclass(frozen=True)
class Exposure:
    """What an epoch shows of one entity.

    Attributes:
        entity: id.
        samples: that hold it.
        before, after: share of the draws that show it, uniform and weighted (0 to 1; samples hold several entities, so
            shares add up to more than 1).
        epochs: how often one of its samples comes in a weighted epoch, on average.
        most: how often the sample that comes most often does.
    """

    entity: str
    samples: int
    before: float
    after: float
    epochs: float
    most: float


@dataclass(frozen=True)
class Bucket:
    """Samples whose rarest entity is about as frequent; buckets share no sample, so their shares add up to 1.

    Attributes:
        name: range of counts, such as "10-99", or "no entity".
        entities: whose count is in the range; samples: whose rarest entity is one of them.
        before, after: share of draws, uniform and weighted; epochs: mean weight of the samples.
    """

    name: str
    entities: int
    samples: int
    before: float
    after: float
    epochs: float


def entity_counts(entities: Iterable[Collection[str]]) -> Counter[str]:
    """Samples that hold each entity; a sample that names one twice counts once."""
    return Counter(entity for row in entities for entity in set(row))


def roll_up(entities: Iterable[Collection[str]], ancestors: Callable[[str], Iterable[str]]) -> list[set[str]]:
    """The entities of each sample and all that stand above them.

    Counted so, an entity is as frequent as its whole branch: "pneumothorax" is not rare because most samples name a
    kind of it, and what stays rare is a thin branch.

    Args:
        entities: of each sample.
        ancestors: of one entity, itself not among them.
    """
    above: dict[str, frozenset[str]] = {}
    rolled = []
    for row in entities:
        for entity in row:
            if entity not in above:
                above[entity] = frozenset(ancestors(entity))
        rolled.append(set(row).union(*(above[entity] for entity in row)))
    return rolled


def rarest_counts(entities: Sequence[Collection[str]], counts: Mapping[str, int], least: int = 1) -> np.ndarray:
    """(N,) count of each sample's rarest entity; for a sample without entity that of the commonest one.

    Args:
        entities: of each sample; counts: of entities (an entity that they lack counts as ``least``).
        least: above 0; smaller counts are taken as this.

    Raises:
        SamplingError: ``least`` is not above 0.
    """
    if least < 1:
        raise SamplingError(f"the least count is {least}; give at least 1")
    seen = {entity: max(int(counts.get(entity, 0)), least) for row in entities for entity in row}
    commonest = max(seen.values(), default=least)
    rarest = (min((seen[entity] for entity in row), default=commonest) for row in entities)
    return np.fromiter(rarest, np.float64, len(entities))


def sample_weights(counts: np.ndarray, *, exponent: float, cap: float, floor: float) -> np.ndarray:
    """How often an epoch shows each sample.

    Args:
        counts: (N,) of each sample's rarest entity, above 0 (:func:`rarest_counts`).
        exponent: a >= 0; 0 is uniform.
        cap, floor: most and fewest times that a sample comes in an epoch; 0 <= floor <= 1 <= cap.

    Returns:
        (N,) float64 weights that sum to N; equal counts have equal weights, smaller counts never smaller ones.

    Raises:
        SamplingError: a setting or a count is outside its range.
    """
    _check(exponent, cap, floor)
    counts = np.asarray(counts, np.float64)
    if not len(counts):
        return counts
    if not (np.isfinite(counts) & (counts > 0)).all():
        raise SamplingError("a count of an entity is not a number above 0; count the corpus again")
    distinct, group, members = np.unique(counts, return_inverse=True, return_counts=True)
    with np.errstate(over="ignore"):  # told below
        wanted = (distinct / distinct[-1]) ** -exponent
    if not np.isfinite(wanted).all():
        raise SamplingError(f"counts from {distinct[0]:g} to {distinct[-1]:g} to the power of -{exponent:g} overflow")
    return np.clip(_scale(wanted, members, cap, floor) * wanted, floor, cap)[group]


def _check(exponent: float, cap: float, floor: float) -> None:
    if not (math.isfinite(exponent) and exponent >= 0):
        raise SamplingError(f"the exponent is {exponent}; give a number of at least 0 (0 is uniform, 0.3 to 0.7 usual)")
    if not (math.isfinite(cap) and 0 <= floor <= 1 <= cap):
        raise SamplingError(
            f"floor {floor} and cap {cap}: both are times that a sample comes in an epoch, whose mean is 1, so "
            "0 <= floor <= 1 <= cap"
        )


def _scale(wanted: np.ndarray, members: np.ndarray, cap: float, floor: float) -> float:
    """The c with sum(members * clip(c * wanted, floor, cap)) = sum(members).

    The sum grows with c from floor * N to cap * N and is linear between the points where a group meets a bound.
    """
    size = float(members.sum())

    def total(c: float) -> float:
        return float(np.clip(c * wanted, floor, cap) @ members)

    bends = np.unique(np.concatenate([floor / wanted, cap / wanted]))
    at = bisect_left(bends, size, key=total)
    if at == 0:
        return float(bends[0])
    if at == len(bends):  # cap 1, and a sum that rounding left below N
        return float(bends[-1])
    low, high = float(bends[at - 1]), float(bends[at])
    below, above = total(low), total(high)
    return low + (high - low) * (size - below) / (above - below)


def exposures(entities: Sequence[Collection[str]], weights: np.ndarray) -> list[Exposure]:
    """What an epoch with these weights shows of each entity, rarest first.

    Args:
        entities: of each of N samples.
        weights: (N,) times that a sample comes in an epoch.
    """
    samples, drawn, most = Counter[str](), Counter[str](), dict[str, float]()
    for row, weight in zip(entities, weights.tolist(), strict=True):
        for entity in set(row):
            samples[entity] += 1
            drawn[entity] += weight
            most[entity] = max(most.get(entity, 0.0), weight)
    size, draws = len(weights), math.fsum(weights.tolist())
    rows = [
        Exposure(entity, n, n / size, drawn[entity] / draws, drawn[entity] / n, most[entity])
        for entity, n in samples.items()
    ]
    return sorted(rows, key=lambda row: (row.samples, row.entity))


def repeated(rows: Iterable[Exposure], often: float = MANY_REPEATS) -> list[Exposure]:
    """Entities whose samples come more than ``often`` times in an epoch on average: they will be learnt by heart."""
    return [row for row in rows if row.epochs > often]


def buckets(entities: Sequence[Collection[str]], counts: Mapping[str, int], weights: np.ndarray) -> list[Bucket]:
    """Draws before and after by frequency: decades of the counts, and the samples without entity.

    Args:
        entities: of each of N samples; counts: of entities, as the weights were made from; weights: (N,).
    """
    kinds = Counter(_decade(max(int(counts.get(e, 1)), 1)) for e in {e for row in entities for e in row})
    rarest = rarest_counts(entities, counts)
    decade = np.array([_decade(int(n)) if row else -1 for n, row in zip(rarest, entities, strict=True)], np.int64)
    draws = math.fsum(weights.tolist())
    found = []
    for number in np.unique(decade).tolist():
        own = weights[decade == number]
        name = "no entity" if number < 0 else f"{10**number:,}-{10 ** (number + 1) - 1:,}"
        shares = len(own) / len(weights), math.fsum(own.tolist()) / draws
        found.append(Bucket(name, kinds[number] if number >= 0 else 0, len(own), *shares, float(own.mean())))
    return found[1:] + found[:1] if found and found[0].name == "no entity" else found


def _decade(count: int) -> int:
    return len(str(count)) - 1
