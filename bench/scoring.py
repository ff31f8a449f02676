"""Scores of answers, as pure functions: closed answers, open answers, floors, calibration.

`None` as an answer means that none could be read; it is wrong for every true answer, never a guess.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from bench.parsing import normalise

SCORER_VERSION = "1.0"

# ---------------------------------------------------------------------------------------------- closed answers


def recalls(truth: Sequence[str], answers: Sequence[str | None]) -> dict[str, float]:
    """Share of right answers among the items of each true class."""
    totals = Counter(truth)
    hits = Counter(t for t, a in zip(truth, answers, strict=True) if a == t)
    return {label: hits[label] / totals[label] for label in sorted(totals)}


def balanced_accuracy(truth: Sequence[str], answers: Sequence[str | None]) -> float:
    """Mean of the recalls of the classes that occur; NaN unless two or more occur. A constant answer gets 1/K."""
    each = recalls(truth, answers)
    return sum(each.values()) / len(each) if len(each) > 1 else math.nan


def matthews(truth: Sequence[str], answers: Sequence[str | None]) -> float:
    """Matthews correlation, in Gorodkin's form for K classes (2004); unread answers are a class of their own.

    0 where the truth or the answers are constant, as is the custom.
    """
    labels = sorted({*truth, *(a if a is not None else "\0unread" for a in answers)})
    if not labels:
        return math.nan
    place = {label: i for i, label in enumerate(labels)}
    table = np.zeros((len(labels), len(labels)))
    for t, a in zip(truth, answers, strict=True):
        table[place[t], place[a if a is not None else "\0unread"]] += 1
    n, right = table.sum(), np.trace(table)
    truths, answered = table.sum(1), table.sum(0)
    spread = math.sqrt(max(0.0, n * n - truths @ truths)) * math.sqrt(max(0.0, n * n - answered @ answered))
    return float((right * n - truths @ answered) / spread) if spread else 0.0


class YesNo(NamedTuple):
    """Sensitivity (recall of yes) and specificity (recall of no); NaN where the class does not occur."""

    sensitivity: float
    specificity: float


def yes_no_rates(truth: Sequence[str], answers: Sequence[str | None]) -> YesNo:
    """Sensitivity and specificity of answers to yes-no questions."""
    each = recalls(truth, answers)
    return YesNo(each.get("yes", math.nan), each.get("no", math.nan))


# ------------------------------------------------------------------------------------------------- open answers

_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_NUMBER_WORDS = {word: str(i) for i, word in enumerate(_NUMBERS)}
_SIDES = {"left": "left", "left-sided": "left", "right": "right", "right-sided": "right"}
_ZONES = ("upper", "middle", "mid", "lower", "apical", "apex", "basal", "base", "perihilar", "hilar", "central")
_SAME_ZONE = {"mid": "middle", "apex": "apical", "base": "basal"}
_SIZE = re.compile(r"(?<![\w.])(\d+(?:[.,]\d+)?)\s*(mm|millimet(?:er|re)s?|cm|centimet(?:er|re)s?)\b")


def tokens(text: str) -> list[str]:
    """Words and numbers of a text: lower case, without punctuation and articles, number words as digits."""
    words: list[str] = re.findall(r"\d+(?:\.\d+)?|[^\W\d_]+", normalise(text))
    return [_NUMBER_WORDS.get(word, word) for word in words if word not in ("a", "an", "the")]


def exact_match(answer: str | None, reference: str) -> bool:
    """Whether both have the same words in the same order after normalising."""
    return answer is not None and tokens(answer) == tokens(reference)


def token_f1(answer: str | None, reference: str) -> float:
    """F1 of shared words (as in SQuAD). Two texts without words agree.

    Hand check: "left lower zone" against "left zone": precision 2/3, recall 1, F1 0.8.
    """
    said, wanted = tokens(answer or ""), tokens(reference)
    if not said or not wanted:
        return float(said == wanted)
    shared = sum((Counter(said) & Counter(wanted)).values())
    return 2 * shared / (len(said) + len(wanted))


def size_mm(text: str) -> float | None:
    """The size that a text states, in mm; None when it states none, or several different ones."""
    sizes = {
        float(number.replace(",", ".")) * (10 if unit.startswith("c") else 1)
        for number, unit in _SIZE.findall(normalise(text))
    }
    return sizes.pop() if len(sizes) == 1 else None


def sides(text: str) -> frozenset[str]:
    """Sides named in a text: left, right; bilateral and both are the two."""
    words = set(re.findall(r"[a-z-]+", normalise(text)))
    found = {_SIDES[word] for word in words if word in _SIDES}
    return frozenset(found | ({"left", "right"} if words & {"bilateral", "both", "bilaterally"} else set()))


def zones(text: str) -> frozenset[str]:
    """Lung zones named in a text: upper, middle, lower, apical, basal, ..."""
    words = set(re.findall(r"[a-z]+", normalise(text)))
    return frozenset(_SAME_ZONE.get(zone, zone) for zone in _ZONES if zone in words)


def ratio_in(text: str) -> float | None:
    """The unitless number below 1 that a text states, such as a cardiothoracic ratio; None without exactly one."""
    found = {float(number) for number in re.findall(r"(?<![\w.])(0?\.\d+)(?!\.?\d|\s*(?:mm|cm)\b)", normalise(text))}
    return found.pop() if len(found) == 1 else None


class OpenScore(NamedTuple):
    """Scores of one open answer; None where the reference names no size, ratio, side or zone."""

    exact: bool
    f1: float
    size: bool | None
    ratio: bool | None
    side: bool | None
    zone: bool | None


def score_open(
    answer: str | None,
    reference: str,
    *,
    tolerance_mm: float = 2.0,
    tolerance_share: float = 0.2,
    tolerance_ratio: float = 0.03,
) -> OpenScore:
    """Compare an open answer with its reference.

    A size is right within the larger of `tolerance_mm` and `tolerance_share` of the reference, a ratio within
    `tolerance_ratio`; sides and zones are right when exactly those of the reference are named.
    """
    wanted_size, wanted_sides, wanted_zones = size_mm(reference), sides(reference), zones(reference)
    said = answer or ""
    size = None
    if wanted_size is not None:
        got = size_mm(said)
        size = got is not None and abs(got - wanted_size) <= max(tolerance_mm, tolerance_share * wanted_size) + 1e-9
    ratio, wanted_ratio = None, ratio_in(reference)
    if wanted_ratio is not None:
        got = ratio_in(said)
        ratio = got is not None and abs(got - wanted_ratio) <= tolerance_ratio + 1e-9
    return OpenScore(
        exact=exact_match(answer, reference),
        f1=token_f1(answer, reference),
        size=size,
        ratio=ratio,
        side=sides(said) == wanted_sides if wanted_sides else None,
        zone=zones(said) == wanted_zones if wanted_zones else None,
    )


# ------------------------------------------------------------------------------------------------------- floors


def majority_answers(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The most frequent answer of each finding, from (finding, answer) pairs; ties go to the first in the alphabet."""
    counts: dict[str, Counter[str]] = {}
    for finding, answer in pairs:
        counts.setdefault(finding, Counter())[answer] += 1
    return {finding: min(count, key=lambda a: (-count[a], a)) for finding, count in counts.items()}


# -------------------------------------------------------------------------------------------------- calibration


def option_probabilities(top_logprobs: Mapping[str, float], options: Sequence[str]) -> dict[str, float] | None:
    """Probability of each option from the log-probabilities of the first answer token, scaled to sum to one.

    A token speaks for an option when it is the option's beginning, and of no other option. None when no token does.
    """
    mass = dict.fromkeys(options, 0.0)
    for token, logprob in top_logprobs.items():
        start = token.strip(" \u2581\u0120\n").lower()
        fits = [option for option in options if start and option.lower().startswith(start)]
        if len(fits) == 1:
            mass[fits[0]] += math.exp(min(0.0, logprob))
    total = sum(mass.values())
    return {option: value / total for option, value in mass.items()} if total > 0 else None


def brier(probabilities: Sequence[float], outcomes: Sequence[bool]) -> float:
    """Mean squared difference of probability and outcome (Brier 1950); 0 is best, 0.25 is a coin."""
    if not len(probabilities):
        return math.nan
    return float(np.mean((np.asarray(probabilities, float) - np.asarray(outcomes, float)) ** 2))


class Bin(NamedTuple):
    """One bin of a reliability plot: its mean probability, share of true outcomes, and number of items."""

    mean_probability: float
    share_true: float
    n: int


def reliability(probabilities: Sequence[float], outcomes: Sequence[bool], bins: int = 10) -> list[Bin]:
    """Bins of equal width over [0, 1] that hold items."""
    p, y = np.asarray(probabilities, float), np.asarray(outcomes, float)
    place = np.minimum((p * bins).astype(int), bins - 1)
    held = [np.flatnonzero(place == b) for b in range(bins)]
    return [Bin(float(p[i].mean()), float(y[i].mean()), len(i)) for i in held if len(i)]


def expected_calibration_error(probabilities: Sequence[float], outcomes: Sequence[bool], bins: int = 10) -> float:
    """Mean gap of probability and share of true outcomes over bins of equal width, weighted by items (Naeini 2015)."""
    table = reliability(probabilities, outcomes, bins)
    n = sum(b.n for b in table)
    return sum(b.n * abs(b.mean_probability - b.share_true) for b in table) / n if n else math.nan


def auroc(scores: Sequence[float], outcomes: Sequence[bool]) -> float:
    """Area under the ROC curve: chance that a true item scores above a false one, ties half (Mann and Whitney)."""
    values, true = np.asarray(scores, float), np.asarray(outcomes, bool)
    positives, negatives = int(true.sum()), int((~true).sum())
    if not positives or not negatives:
        return math.nan
    ranks = stats.rankdata(values)
    return float((ranks[true].sum() - positives * (positives + 1) / 2) / (positives * negatives))
