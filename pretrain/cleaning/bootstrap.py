"""A quality classifier from few labels, as MedXIAOHE trains its page classifier (arXiv 2602.12705, section 4.2).

Seed labels give a first classifier. In each round it scores the pool, a judge re-checks the texts that it is unsure of
and some that it is sure of in both classes, and the classifier is trained again on all that was verified, positive and
negative. Texts of three kinds never mix: those to learn from (seed and pool), those to ``watch`` (they set the
threshold and say when to stop) and those to ``test`` (they decide nothing and give the figures).
"""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pretrain.cleaning.errors import QualityModelError
from pretrain.cleaning.figures import Figures, Interval, f1_gain, figures
from pretrain.cleaning.judges import Judge, text_id
from pretrain.cleaning.quality import QualityClassifier

log = logging.getLogger(__name__)
ROUNDS, SUMMARY, CURVE, MODEL = "rounds.jsonl", "bootstrap.json", "learning_curve.png", "model"


@dataclass(frozen=True)
class Labelled:
    """Texts with labels, True for wanted."""

    texts: tuple[str, ...]
    labels: tuple[bool, ...]

    def __post_init__(self):
        if len(self.texts) != len(self.labels):
            raise QualityModelError(f"{len(self.texts)} texts have {len(self.labels)} labels")


@dataclass(frozen=True)
class Settings:
    """How a bootstrap is done.

    Attributes:
        rounds: at most, after the first classifier.
        per_round: texts that the judge sees in a round.
        unsure: share of them next to the threshold; the rest is drawn from both sides, half of each.
        sure: share of the pool at either end that "sure" texts are drawn from.
        least_gain: rise of F1 on the watched texts that counts as one.
        patience: rounds without such a rise before the end.
        least_precision: of the threshold on the watched texts.
        strength, bits: of the classifier.
        seed: of all draws.
    """

    rounds: int = 8
    per_round: int = 200
    unsure: float = 0.5
    sure: float = 0.2
    least_gain: float = 0.002
    patience: int = 2
    least_precision: float = 0.0
    strength: float = 30.0
    bits: int = 18
    seed: int = 0


@dataclass(frozen=True)
class Round:
    """One classifier: what it learnt from, what was re-checked for it, and how it does.

    Attributes:
        number: 0 for the first one.
        learnt, learnt_wanted: texts in training, and those of them that are wanted.
        judged, unjudged: texts that the judge labelled, and could not label.
        corrected: of the sure ones, those on which the judge said the opposite.
        threshold: of the classifier.
        watch, test: figures; those of test decide nothing.
        gain: of F1 on test against the first classifier.
        items: ids of the judged texts with score, why they were chosen, and the judge's label.
    """

    number: int
    learnt: int
    learnt_wanted: int
    judged: int
    unjudged: int
    corrected: int
    threshold: float
    watch: Figures
    test: Figures
    gain: Interval
    items: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Outcome:
    """The best classifier on the watched texts, and all rounds."""

    classifier: QualityClassifier
    rounds: list[Round]
    best: int
    stopped: str


def bootstrap(
    seed: Labelled,
    pool: Sequence[str],
    watch: Labelled,
    test: Labelled,
    judge: Judge,
    settings: Settings = Settings(),
    out: Path | None = None,
    on_round: Callable[[Round], None] | None = None,
) -> Outcome:
    """Train, re-check, train again until F1 on ``watch`` stops rising.

    Args:
        seed: first labels.
        pool: texts without labels; those that are also in seed, watch or test are left out.
        watch: for threshold and stop; best from sources that the others do not have.
        test: for the figures alone.
        judge: labels what is chosen.
        settings: see there.
        out: folder for the classifier, ``rounds.jsonl``, ``bootstrap.json`` and the learning curve.
        on_round: called after each round.

    Raises:
        QualityModelError: a part holds one label only, or parts share a text.
    """
    _keep_apart(seed, watch, test)
    run = _Run(seed, pool, watch, test, judge, settings)
    best, waited, stopped = 0, 0, f"{settings.rounds} rounds"
    classifiers = [run.first()]
    while True:
        if on_round:
            on_round(run.rounds[-1])
        f1 = [r.watch.f1.value for r in run.rounds]
        if run.rounds[-1].number and f1[-1] > f1[best] + settings.least_gain:
            best, waited = len(f1) - 1, 0
        elif run.rounds[-1].number:
            waited += 1
        if waited >= settings.patience:
            stopped = f"F1 on the watched texts did not rise for {waited} rounds"
            break
        if len(f1) > settings.rounds:
            break
        following = run.following(classifiers[-1])
        if following is None:
            stopped = "the judge has nothing left to label in the pool"
            break
        classifiers.append(following)
    outcome = Outcome(run.named(classifiers[best]), run.rounds, best, stopped)
    if out is not None:
        write(outcome, settings, judge.name, Path(out))
    return outcome


class _Run:
    def __init__(self, seed: Labelled, pool: Sequence[str], watch: Labelled, test: Labelled, judge: Judge, s: Settings):
        self.watch, self.test, self.judge, self.settings = watch, test, judge, s
        self.texts, self.labels = list(seed.texts), list(seed.labels)
        known = {text_id(text) for part in (seed, watch, test) for text in part.texts}
        self.pool = [text for i, text in {text_id(text): text for text in pool}.items() if i not in known]
        self.open = np.ones(len(self.pool), bool)
        self.rounds: list[Round] = []
        self._first_kept: np.ndarray | None = None

    def first(self) -> QualityClassifier:
        return self._trained([], 0, 0)

    def following(self, classifier: QualityClassifier) -> QualityClassifier | None:
        """The classifier after another round of re-checking; None when there is nothing to check."""
        left = np.flatnonzero(self.open)
        if not len(left):
            return None
        scores = classifier.score([self.pool[i] for i in left])
        chosen = choose(scores, classifier.threshold, len(self.rounds), self.settings)
        places = [int(left[i]) for i, _ in chosen]
        verdicts = self.judge.judge([self.pool[i] for i in places])
        self.open[places] = False
        items, corrected = [], 0
        for (row, why), place, verdict in zip(chosen, places, verdicts, strict=True):
            text, score = self.pool[place], float(scores[row])
            items.append({"text": text_id(text), "score": round(score, 6), "why": why, "wanted": verdict})
            if verdict is not None:
                self.texts.append(text)
                self.labels.append(verdict)
                corrected += why != "unsure" and verdict != (why == "sure that it is wanted")
        unjudged = sum(verdict is None for verdict in verdicts)
        return self._trained(items, unjudged, corrected)

    def _trained(self, items: list[dict[str, Any]], unjudged: int, corrected: int) -> QualityClassifier:
        s = self.settings
        made = QualityClassifier.fit(self.texts, self.labels, bits=s.bits, strength=s.strength)
        made = made.calibrated(self.watch.texts, self.watch.labels, s.least_precision)
        truth, kept = np.array(self.test.labels), made.keeps(self.test.texts)
        if self._first_kept is None:
            self._first_kept = kept
        self.rounds.append(
            Round(
                number=len(self.rounds),
                learnt=len(self.texts),
                learnt_wanted=sum(self.labels),
                judged=len(items) - unjudged,
                unjudged=unjudged,
                corrected=corrected,
                threshold=made.threshold,
                watch=figures(np.array(self.watch.labels), made.keeps(self.watch.texts)),
                test=figures(truth, kept),
                gain=f1_gain(truth, self._first_kept, kept),
                items=items,
            )
        )
        return made

    def named(self, classifier: QualityClassifier) -> QualityClassifier:
        """With the judge's name in what it says about itself."""
        return replace(classifier, about={**classifier.about, "judge": self.judge.name})


def choose(scores: np.ndarray, threshold: float, number: int, settings: Settings) -> list[tuple[int, str]]:
    """Rows of the pool to re-check, each with the reason: the least sure, and a draw of the surest of both sides."""
    wanted = min(settings.per_round, len(scores))
    distance = np.abs(_logit(scores) - _logit(np.array([threshold])))
    unsure = np.argsort(distance, kind="stable")[: round(settings.unsure * wanted)]
    rest = np.setdiff1d(np.arange(len(scores)), unsure)
    ranked = rest[np.argsort(scores[rest], kind="stable")]
    many = max(wanted, round(settings.sure * len(ranked)))
    draw = np.random.default_rng([settings.seed, number])
    half = (wanted - len(unsure)) // 2
    high = [i for i in ranked[-many:] if scores[i] >= threshold]
    low = [i for i in ranked[:many] if scores[i] < threshold]
    picked = [(int(i), "unsure") for i in unsure]
    for side, count, why in ((high, half, "wanted"), (low, wanted - len(unsure) - half, "not wanted")):
        taken = draw.permutation(np.array(side, int))[:count]
        picked += [(int(i), f"sure that it is {why}") for i in sorted(taken)]
    return picked


def _logit(p: np.ndarray) -> np.ndarray:
    p = np.clip(p.astype(np.float64), 1e-9, 1 - 1e-9)
    return np.log(p / (1 - p))


def _keep_apart(seed: Labelled, watch: Labelled, test: Labelled) -> None:
    parts = {"seed": seed, "watch": watch, "test": test}
    for name, part in parts.items():
        if len(set(part.labels)) < 2:
            raise QualityModelError(f"the {name} texts need both labels, wanted and not wanted")
    ids = {name: {text_id(text) for text in part.texts} for name, part in parts.items()}
    for a, b in (("seed", "watch"), ("seed", "test"), ("watch", "test")):
        if shared := ids[a] & ids[b]:
            raise QualityModelError(f"{len(shared)} texts are in both {a} and {b}: figures would flatter")


def write(outcome: Outcome, settings: Settings, judge: str, out: Path) -> None:
    """The classifier and the whole record of how it came about."""
    out.mkdir(parents=True, exist_ok=True)
    outcome.classifier.save(out / MODEL)
    with (out / ROUNDS).open("w", encoding="utf-8") as file:
        for made in outcome.rounds:
            file.write(json.dumps(asdict(made), sort_keys=True) + "\n")
    rounds = [{k: v for k, v in asdict(r).items() if k != "items"} for r in outcome.rounds]
    summary = {"judge": judge, "best": outcome.best, "stopped": outcome.stopped, "settings": asdict(settings)}
    text = json.dumps({**summary, "rounds": rounds}, indent=1, sort_keys=True)
    (out / SUMMARY).write_text(text + "\n", encoding="utf-8")
    draw_curve({judge: outcome.rounds}, out / CURVE)


def draw_curve(runs: dict[str, list[Round]], path: Path) -> None:
    """F1 on the test texts against the number of labelled texts, with its interval."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    for name, rounds in runs.items():
        learnt = [r.learnt for r in rounds]
        f1 = [r.test.f1 for r in rounds]
        errors = [[i.value - i.low for i in f1], [i.high - i.value for i in f1]]
        axes.errorbar(learnt, [i.value for i in f1], errors, marker="o", capsize=3, label=name)
    axes.set_xlabel("labelled texts")
    axes.set_ylabel("F1 on the test texts, 95 % bootstrap")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=120, metadata={"Software": None})
