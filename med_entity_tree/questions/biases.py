"""What can be scored without knowing the answer: rules on the options alone, and a classifier that never sees the
question. Each is measured against chance, for each number of hops, with a Wilson interval."""

import math
import statistics
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from med_entity_tree.entity import Entity
from med_entity_tree.questions.askable import stems
from med_entity_tree.questions.hops import Facts

_BUCKETS = 4096  # of letter n-grams


@dataclass(frozen=True, slots=True)
class Item:
    """A question as the rules see it: options in order, the place of the right one (from 0), and its start."""

    start: str
    hops: int
    question: str
    names: tuple[str, ...]
    entities: tuple[str, ...]
    answer: int


@dataclass(frozen=True, slots=True)
class Floor:
    """Share of questions that a rule answers, with the 95 % Wilson interval; a tie of t options counts 1/t."""

    rule: str
    hops: int  # 0: all
    n: int
    share: float
    low: float
    high: float


class Signals:
    """Numbers of an option that a rule or the classifier may look at."""

    def __init__(self, entities: Mapping[str, Entity], facts: Facts):
        self._entities, self._facts = entities, facts

    def length(self, item: Item) -> list[float]:
        return [float(len(name)) for name in item.names]

    def words(self, item: Item) -> list[float]:
        return [float(len(name.split())) for name in item.names]

    def degree(self, item: Item) -> list[float]:
        return [float(self._facts.degree[entity]) for entity in item.entities]

    def level(self, item: Item) -> list[float]:
        return [float(self._entities[entity].level) for entity in item.entities]

    def synonyms(self, item: Item) -> list[float]:
        return [float(len(self._entities[entity].synonyms)) for entity in item.entities]

    def overlap(self, item: Item) -> list[float]:
        """Words that the option shares with the question (by their first five letters)."""
        asked = stems([item.question])
        return [float(len(stems([name]) & asked)) for name in item.names]

    def likeness(self, item: Item) -> list[float]:
        """Words that the option shares with the other options."""
        each = [stems([name]) for name in item.names]
        return [float(sum(len(one & other) for m, other in enumerate(each) if m != n)) for n, one in enumerate(each)]

    def kin(self, item: Item) -> list[float]:
        """Levels of the tree that the option shares with the other options."""
        lines = []
        for entity in item.entities:
            line = [entity]
            while parent := self._entities[line[-1]].parent:
                line.append(parent)
            lines.append(frozenset(line))
        return [float(sum(len(one & o) for m, o in enumerate(lines) if m != n)) for n, one in enumerate(lines)]

    @property
    def rules(self) -> dict[str, tuple[Callable[[Item], list[float]], int]]:
        """Rule by name: the signal, and +1 to take the largest or -1 the smallest."""
        return {
            "longest option": (self.length, 1),
            "shortest option": (self.length, -1),
            "most words": (self.words, 1),
            "fewest words": (self.words, -1),
            "most edges": (self.degree, 1),
            "fewest edges": (self.degree, -1),
            "deepest in the tree": (self.level, 1),
            "highest in the tree": (self.level, -1),
            "most synonyms": (self.synonyms, 1),
            "overlap with the question": (self.overlap, 1),
            "most like the other options": (self.likeness, 1),
            "least like the other options": (self.likeness, -1),
            "nearest kin of the others": (self.kin, 1),
            "farthest from the others": (self.kin, -1),
        }

    def credit(self, rule: str, item: Item) -> float:
        """Chance that the rule takes the right option: 1/t where t options tie and the right one is among them."""
        signal, sign = self.rules[rule]
        return _credit([sign * value for value in signal(item)], item.answer)


def _credit(scores: Sequence[float], answer: int) -> float:
    best = max(scores)
    return 1 / scores.count(best) if scores[answer] == best else 0.0


def folds(items: Sequence[Item], count: int = 5, salt: str = "") -> list[int]:
    """Fold of each question, by its start: questions with one start are never on both sides."""
    return [zlib.crc32(f"{salt}{item.start}".encode()) % count for item in items]


def frequent_answer(items: Sequence[Item]) -> list[float]:
    """Credit of taking the option that is right most often in the other folds (in its share of being an option)."""
    fold = folds(items)
    credits = [0.0] * len(items)
    for held in sorted(set(fold)):
        right = Counter(item.names[item.answer] for item, f in zip(items, fold) if f != held)
        for n, item in enumerate(items):
            if fold[n] == held:
                credits[n] = _credit([right[name] for name in item.names], item.answer)
    return credits


def frequent_position(items: Sequence[Item]) -> list[float]:
    """Credit of the letter that is right most often, over the very questions that it is scored on."""
    letter, _ = Counter(item.answer for item in items).most_common(1)[0]
    return [float(item.answer == letter) for item in items]


def blind(items: Sequence[Item], signals: Signals, salt: str = "") -> list[float]:
    """Score margin of the right option for a logistic regression that sees only the options; above 0 it is right.

    Held out by start (5 folds). Features of an option: its signals and how they stand to the other options', how often
    it was right and how often an option in the training folds, and the 3- to 5-letter pieces of its name.
    """
    import numpy as np
    from scipy.sparse import csr_matrix, hstack, vstack
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    wide = max((len(item.names) for item in items), default=0)
    letters: dict[str, csr_matrix] = {name: _pieces(name, csr_matrix) for item in items for name in item.names}
    plain = [_numbers(item, signals) for item in items]
    fold = folds(items, salt=salt)
    margins = [0.0] * len(items)
    for held in sorted(set(fold)):
        train = [n for n in range(len(items)) if fold[n] != held]
        test = [n for n in range(len(items)) if fold[n] == held]
        right = Counter(items[n].names[items[n].answer] for n in train)
        seen = Counter(name for n in train for name in items[n].names)

        def matrix(rows: list[int], own: bool, right=right, seen=seen):
            dense, sparse = [], []
            for n in rows:
                for place, name in enumerate(items[n].names):
                    # A training question must not meet its own label in its counts.
                    r, s = right[name] - own * (place == items[n].answer), seen[name] - own
                    dense.append([*plain[n][place], math.log((r + 1) / (s - r + 3)), math.log(1 + s)])
                    sparse.append(letters[name])
            return np.array(dense), vstack(sparse)

        dense, sparse = matrix(train, True)
        scaler = StandardScaler().fit(dense)
        target = [place == items[n].answer for n in train for place in range(len(items[n].names))]
        model = LogisticRegression(C=0.1, solver="liblinear", random_state=0, max_iter=200)
        model.fit(hstack([csr_matrix(scaler.transform(dense)), sparse]).tocsr(), target)
        dense, sparse = matrix(test, False)
        scores = model.decision_function(hstack([csr_matrix(scaler.transform(dense)), sparse]).tocsr())
        at = 0
        for n in test:
            own = scores[at : at + len(items[n].names)]
            at += len(items[n].names)
            margins[n] = float(own[items[n].answer] - max(np.delete(own, items[n].answer))) if wide > 1 else 0.0
    return margins


def _numbers(item: Item, signals: Signals) -> list[list[float]]:
    """Signals of each option: as they are, and less the mean of the other options."""
    columns = []
    for signal in (signals.length, signals.words, signals.degree, signals.level, signals.synonyms):
        values = [math.log(1 + value) for value in signal(item)]
        columns += [values, [v - statistics.fmean(values[:n] + values[n + 1 :]) for n, v in enumerate(values)]]
    for signal in (signals.likeness, signals.kin):
        columns.append(signal(item))
    return [list(row) for row in zip(*columns)]


def _pieces(name: str, csr_matrix):
    text = f" {name.lower()} "
    cells = sorted(
        {zlib.crc32(text[i : i + k].encode()) % _BUCKETS for k in (3, 4, 5) for i in range(len(text) - k + 1)}
    )
    return csr_matrix(([1.0] * len(cells), ([0] * len(cells), cells)), shape=(1, _BUCKETS))


def measure(items: Sequence[Item], signals: Signals) -> list[Floor]:
    """Floors of every rule and of the blind classifier, over all questions (hops 0) and for each number of hops."""
    credits = {
        "most frequent position": frequent_position(items),
        "most frequent answer": frequent_answer(items),
        **{rule: [signals.credit(rule, item) for item in items] for rule in signals.rules},
        "blind classifier": [float(margin > 0) for margin in blind(items, signals, "measure")],
    }
    floors = []
    by_hops: dict[int, list[int]] = defaultdict(list)
    for n, item in enumerate(items):
        by_hops[item.hops].append(n)
    for rule, credit in credits.items():
        for hops, rows in [(0, list(range(len(items)))), *sorted(by_hops.items())]:
            floors.append(_floor(rule, hops, [credit[n] for n in rows]))
    return floors


def _floor(rule: str, hops: int, credit: Sequence[float]) -> Floor:
    from scipy.stats import binomtest

    hits = sum(credit)
    interval = binomtest(round(hits), len(credit)).proportion_ci(method="wilson")
    return Floor(rule, hops, len(credit), hits / len(credit), float(interval.low), float(interval.high))
