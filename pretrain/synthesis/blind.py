"""Can the questions be answered without the image? Floors of the set, and a guesser that sees the words alone.

A question that a blind answerer gets right again and again, in whatever order its options stand, teaches a model to
guess: it is dropped and counted. The answerer is a language model behind an endpoint, or where there is none a logistic
regression over the options, fitted on other patients. Neither sees a picture.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel

from pretrain.shards.ordering import derive
from pretrain.synthesis.questions import LETTERS, Question

if TYPE_CHECKING:
    from vlm.asking import JsonAsker

MARGIN = 0.05  # above chance: what the issue allows a guesser
_ASKED = """Answer this question about a medical image that you cannot see. Guess from the words alone, and always
choose the most likely option.

"""


class Choice(BaseModel):
    """The letter of an option."""

    answer: str


@dataclass(frozen=True)
class Floors:
    """What a guesser reaches who never looks: shares of right answers, to be compared with ``chance``.

    Attributes:
        questions: how many.
        chance: mean of 1 / options.
        majority: the commonest position; longest, shortest: the longest or shortest option (ties shared).
        prior: the option that was most often right in other studies (cross-fitted).
        words: logistic regression on question and options (cross-fitted), nan where there are too few.
    """

    questions: int
    chance: float
    majority: float
    longest: float
    shortest: float
    prior: float
    words: float

    def above(self, margin: float = MARGIN) -> list[str]:
        """Names of the floors that are higher than chance by more than a margin."""
        names = ("majority", "longest", "shortest", "prior", "words")
        return [name for name in names if getattr(self, name) > self.chance + margin]


def floors(questions: Sequence[Question], seed: int = 0) -> Floors:
    """Floors of a set of questions."""
    if not questions:
        nan = float("nan")
        return Floors(0, nan, nan, nan, nan, nan, nan)
    count = len(questions)
    chance = sum(1 / len(q.options) for q in questions) / count
    return Floors(
        count,
        chance,
        max(Counter(q.answer for q in questions).values()) / count,
        sum(_length_guess(q, max) for q in questions) / count,
        sum(_length_guess(q, min) for q in questions) / count,
        float(np.mean(prior_right(questions, seed))),
        float(np.mean(TextGuesser(seed).right(questions))),
    )


def _length_guess(question: Question, pick: Callable) -> float:
    """Expected share of right answers of one who takes the longest (or shortest) option, and draws among equals."""
    lengths = [len(name) for name in question.names]
    taken = [i for i, length in enumerate(lengths) if length == pick(lengths)]
    return (question.answer in taken) / len(taken)


def prior_right(questions: Sequence[Question], seed: int = 0, folds: int = 5) -> np.ndarray:
    """(Q,) expected share of right answers by the option that was most often right elsewhere, add-one smoothed."""
    fold = _folds(questions, seed, folds)
    right: list[Counter[tuple[str, str]]] = [Counter() for _ in range(folds)]
    shown: list[Counter[tuple[str, str]]] = [Counter() for _ in range(folds)]
    for question, own in zip(questions, fold):
        for other in range(folds):
            if other != own:
                right[other][question.kind, question.options[question.answer]] += 1
                shown[other].update((question.kind, option) for option in question.options)
    result = np.zeros(len(questions))
    for n, (question, own) in enumerate(zip(questions, fold)):
        keys = [(question.kind, option) for option in question.options]
        shares = [(right[own][key] + 1) / (shown[own][key] + len(question.options)) for key in keys]
        best = [i for i, share in enumerate(shares) if share == max(shares)]
        result[n] = (question.answer in best) / len(best)
    return result


def _folds(questions: Sequence[Question], seed: int, folds: int) -> list[int]:
    """A fold for each question, by its patient, so that no patient is on both sides."""
    return [derive("fold", seed, q.group) % folds for q in questions]


class TextGuesser:
    """Logistic regression on (question, option) pairs: which option of a question is right, from words alone.

    Features of a pair: the option, its words, its length against the others, its position, the other options, each
    with the kind of question; hashed. Cross-fitted by patient."""

    name = "logistic regression on question and options (no language model, no image)"

    def __init__(self, seed: int = 0, folds: int = 5, features: int = 1 << 15):
        self.seed, self.folds, self.features = seed, folds, features

    def probabilities(self, questions: Sequence[Question]) -> list[np.ndarray]:
        """For each question the probability of each option, from a model that never saw the question's patient."""
        from sklearn.feature_extraction import FeatureHasher
        from sklearn.linear_model import LogisticRegression

        fold = np.array(_folds(questions, self.seed, self.folds))
        if len(set(fold.tolist())) < 2:
            return [np.full(len(q.options), 1 / len(q.options)) for q in questions]
        rows = [_features(q, i) for q in questions for i in range(len(q.options))]
        matrix = FeatureHasher(self.features, input_type="string").transform(rows)
        owner = np.repeat(np.arange(len(questions)), [len(q.options) for q in questions])
        truth = np.array([i == q.answer for q in questions for i in range(len(q.options))])
        scores = np.zeros(len(truth))
        for held in sorted(set(fold.tolist())):
            out = fold[owner] == held
            model = LogisticRegression(C=1.0, solver="liblinear", random_state=self.seed).fit(matrix[~out], truth[~out])
            scores[out] = model.decision_function(matrix[out])
        ends = np.cumsum([len(q.options) for q in questions])[:-1]
        return [np.exp(s - s.max()) / np.exp(s - s.max()).sum() for s in np.split(scores, ends)]

    def right(self, questions: Sequence[Question]) -> np.ndarray:
        """(Q,) whether the likeliest option is the right one."""
        return np.array(
            [int(p.argmax()) == q.answer for p, q in zip(self.probabilities(questions), questions)], np.float64
        )


def _features(question: Question, option: int) -> list[str]:
    kind, name = question.kind, question.names[option]
    lengths = [len(other) for other in question.names]
    rank = sum(length < len(name) for length in lengths)
    others = [f"{kind}|{name}|not {other}" for i, other in enumerate(question.names) if i != option]
    words = [f"{kind}|word {word}" for word in name.lower().split()]
    return [f"{kind}|{name}", f"{kind}|place {option}", f"{kind}|length {rank}", *words, *others]


@dataclass
class Checked:
    """What a blind check left, who answered, and how often it was right before and after; ``by_kind``: after."""

    kept: list[Question]
    answerer: str
    dropped: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0
    before: Floors | None = None
    after: Floors | None = None
    by_kind: dict[str, Floors] = field(default_factory=dict)


def check_by_guessing(questions: Sequence[Question], seed: int = 0, repeats: int = 3, rounds: int = 8) -> Checked:
    """Drop what the text guesser gets right in each of ``repeats`` fits on other patients with more than chance.

    Each kind of question is held to the limit alone: in one set, one that is guessed hides behind those that are not.
    """
    checked = Checked([], TextGuesser.name, before=floors(questions, seed))
    kept: set[int] = set()
    for kind in sorted({q.kind for q in questions}):
        numbers = [n for n, q in enumerate(questions) if q.kind == kind]
        left = _until_guessing_fails([questions[n] for n in numbers], seed, repeats, rounds)
        kept.update(numbers[n] for n in left)
        checked.dropped[kind] = len(numbers) - len(left)
        checked.by_kind[kind] = floors([questions[numbers[n]] for n in left], seed + 1000)
    checked.dropped = +checked.dropped
    checked.kept = [q for n, q in enumerate(questions) if n in kept]
    checked.after = floors(checked.kept, seed + 1000)
    return checked


def _until_guessing_fails(questions: Sequence[Question], seed: int, repeats: int, rounds: int) -> list[int]:
    """Numbers of the questions that stay. One round leaves a set with other habits, so it is repeated until words alone
    are within the margin of chance, or nothing more can be dropped."""
    left = list(range(len(questions)))
    for _ in range(rounds):
        asked = [questions[n] for n in left]
        after = floors(asked, seed + 1000)  # folds that no round has dropped by
        if not asked or not {"prior", "words"} & set(after.above()):
            break
        sure = np.zeros(len(asked))
        right = np.ones(len(asked), bool)
        for repeat in range(repeats):
            for n, (p, q) in enumerate(zip(TextGuesser(seed + repeat).probabilities(asked), asked)):
                right[n] &= int(p.argmax()) == q.answer
                sure[n] += p[q.answer] * len(p)
        # The surest first, and no more than the excess over chance: dropping all would turn the habit round.
        excess = max(after.prior, after.words) - after.chance
        most = max(1, int(excess * len(asked)))
        gone = set([n for n in np.argsort(-sure, kind="stable").tolist() if right[n]][:most])
        if not gone:
            break
        left = [number for n, number in enumerate(left) if n not in gone]
    return left


def check_by_asking(
    questions: Sequence[Question],
    asker: "JsonAsker[Choice]",
    *,
    repeats: int = 3,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Checked:
    """Drop what a language model gets right each time, with the options turned round each time, and no image.

    One who draws lots is right ``repeats`` times in a row with (1 / options) ** repeats, 1 in 64 for 3 of 4. A question
    that gets no valid answer is kept and counted."""
    orders = [_turns(q, repeats) for q in questions]
    requests = [
        [{"role": "user", "content": _ASKED + q.text(order) + "\n\nAnswer with the letter."}]
        for q, turns in zip(questions, orders)
        for order in turns
    ]
    answers = iter(asker.ask(requests, progress=progress))
    checked = Checked([], "", before=floors(questions, seed))
    for question, turns in zip(questions, orders):
        found = [next(answers) for _ in turns]
        chosen = [_letter(a.answer) if isinstance(a, Choice) else -1 for a in found]
        valid = [order[c] if 0 <= c < len(order) else -1 for c, order in zip(chosen, turns)]
        checked.unanswered += -1 in valid
        if all(choice == question.answer for choice in valid):
            checked.dropped[question.kind] += 1
        else:
            checked.kept.append(question)
    checked.answerer = f"model {asker.model}, without the image"
    checked.after = floors(checked.kept, seed)
    return checked


def _turns(question: Question, repeats: int) -> list[list[int]]:
    """Cyclic shifts of the options, so that the right one stands at another place each time."""
    count = len(question.options)
    return [[(i + shift) % count for i in range(count)] for shift in range(min(repeats, count))]


def _letter(text: str) -> int:
    letter = text.strip().strip("().").upper()[:1]
    return LETTERS.index(letter) if letter and letter in LETTERS else -1
