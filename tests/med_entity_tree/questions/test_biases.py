"""The rules find what is planted, the filters take it out, and even questions stay."""

import random
from collections import Counter

import pytest

from med_entity_tree.questions.balance import adversarial, even
from med_entity_tree.questions.biases import Item, Signals, blind, folds, frequent_answer, frequent_position, measure
from med_entity_tree.questions.hops import Facts


@pytest.fixture(scope="module")
def signals(question_tree):
    return Signals(question_tree.entities, Facts(question_tree, question_tree.edges()))


def _items(tree, count: int, seed: int, choose=None) -> list[Item]:
    """Questions with options drawn from the tree; ``choose`` plants which one is right."""
    rng = random.Random(seed)
    pool = sorted(e.id for e in tree if e.level == 3)
    items = []
    for n in range(count):
        entities = tuple(rng.sample(pool, 4))
        names = tuple(tree[e].name for e in entities)
        answer = rng.randrange(4) if choose is None or rng.random() < 0.3 else choose(entities, names)
        items.append(Item(f"S{n}", 1 + n % 2, "Which of these?", names, entities, answer))
    return items


def test_a_planted_length_is_found_and_taken_out(question_tree, signals):
    items = _items(question_tree, 500, 1, lambda entities, names: max(range(4), key=lambda n: len(names[n])))
    floor = next(f for f in measure(items[:200], signals) if f.rule == "longest option" and f.hops == 0)
    assert floor.share > 0.65 and floor.low > 0.6 and floor.n == 200
    dropped = Counter()
    kept = even(items, signals, 60, dropped)
    assert len(kept) == 60 and dropped["would tilt a rule: longest option"] > 50
    left = [items[n] for n in kept]
    for rule in signals.rules:
        assert abs(sum(signals.credit(rule, item) for item in left) / 60 - 0.25) <= 0.02 + 3 / 60


def test_a_planted_word_is_found_by_the_blind_classifier_and_filtered(question_tree, signals):
    """Names with an early first letter are right: no rule looks for that, the classifier does."""
    items = _items(question_tree, 400, 2, lambda entities, names: min(range(4), key=lambda n: names[n]))
    before = sum(margin > 0 for margin in blind(items, signals)) / 400
    dropped = Counter()
    kept = adversarial(items, signals, 150, dropped)
    after = sum(margin > 0 for margin in blind([items[n] for n in kept], signals, "other folds")) / len(kept)
    assert before > 0.4 and after < before - 0.1
    assert len(kept) + sum(dropped.values()) == 400 and len(kept) >= 150


def test_even_questions_stay(question_tree, signals):
    items = _items(question_tree, 400, 3)
    assert abs(sum(margin > 0 for margin in blind(items, signals)) / 400 - 0.25) < 0.07
    assert len(even(items, signals, 250, Counter())) == 250


def test_ties_share_the_credit_and_frequent_answers_are_held_out(question_tree, signals):
    same = Item("S", 1, "?", ("aaaa", "bbbb", "cccc", "dd"), tuple(sorted(e.id for e in question_tree)[:4]), 0)
    assert signals.credit("longest option", same) == pytest.approx(1 / 3)
    assert signals.credit("shortest option", same) == 0
    # Right once each: the count of a question's own answer must not answer it.
    items = [Item(f"S{n}", 1, "?", (f"own {n}", "x", "y", "z"), same.entities, 0) for n in range(40)]
    assert frequent_answer(items) == [0.25] * 40
    assert frequent_position(items) == [1.0] * 40


def test_folds_keep_starts_together(question_tree):
    items = [item for item in _items(question_tree, 50, 4) for _ in range(2)]
    fold = folds(items)
    assert all(fold[n] == fold[n + 1] for n in range(0, 100, 2)) and len(set(fold)) == 5
