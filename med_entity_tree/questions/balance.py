"""Which of the posed questions are kept, so that no rule on the options alone beats chance."""

from collections import Counter
from collections.abc import Sequence

from med_entity_tree.questions.biases import Item, Signals, blind, folds

_SLACK = 0.02  # share of the kept questions by which a rule may beat chance, or fall behind it (and two questions)
_CLASSIFIER = 0.01  # the same for the blind classifier
_ROUNDS = 8


def adversarial(items: Sequence[Item], signals: Signals, need: int, dropped: Counter[str]) -> list[int]:
    """Numbers of the questions that are left when those that a blind classifier gets right by far are taken out.

    AFLite (Le Bras et al. 2020, arXiv 2002.04108) in short: train on the other folds, drop what is predicted right with
    the widest margin, again with other folds, until the rest is answered no better than by chance. Never below ``need``
    questions.
    """
    kept = list(range(len(items)))
    for turn in range(_ROUNDS):
        rest = [items[n] for n in kept]
        if len(rest) <= need or len(set(folds(rest, salt=str(turn)))) < 2:
            break
        margins = blind(rest, signals, str(turn))
        chance = sum(1 / len(item.names) for item in rest) / len(rest)
        right = [n for n, margin in enumerate(margins) if margin > 0]
        # Dropping d right ones of r in n leaves (r - d) / (n - d): chance when d = (r - n * chance) / (1 - chance).
        excess = round((len(right) - len(rest) * (chance + _CLASSIFIER)) / (1 - chance))
        if excess <= 0:
            break
        widest = sorted(right, key=lambda n: (-margins[n], n))[: min(excess, len(rest) - need)]
        dropped["answered by a classifier that sees only the options"] += len(widest)
        out = set(widest)
        kept = [n for place, n in enumerate(kept) if place not in out]
    return kept


def even(items: Sequence[Item], signals: Signals, need: int, dropped: Counter[str]) -> list[int]:
    """Numbers of ``need`` questions, in their order, of which no rule answers more, or fewer, than chance and a slack.

    A question is passed over when one more hit (or miss) of a rule would break its quota. Fewer than ``need`` come back
    when the questions do not suffice.
    """
    if not items:
        return []
    chance = 1 / len(items[0].names)
    rules = list(signals.rules)
    # The quota of misses only binds rules that can tell options apart; a rule that ties everywhere stands at chance.
    most = dict.fromkeys(rules, (chance + _SLACK) * need + 2)
    hits = dict.fromkeys(rules, 0.0)
    misses = dict.fromkeys(rules, 0.0)
    kept: list[int] = []
    for n, item in enumerate(items):
        if len(kept) == need:
            break
        credit = {rule: signals.credit(rule, item) for rule in rules}
        over = [rule for rule in rules if hits[rule] + credit[rule] > most[rule]]
        under = [rule for rule in rules if misses[rule] + 1 - credit[rule] > (1 - chance + _SLACK) * need + 2]
        if over or under:
            dropped[f"would tilt a rule: {(over or under)[0]}"] += 1
            continue
        for rule in rules:
            hits[rule] += credit[rule]
            misses[rule] += 1 - credit[rule]
        kept.append(n)
    return kept
