"""Assertion scope against sentences written by hand, and what no text may change.

``assertions.jsonl`` (424 texts, 537 entities) was written in full before any rule and split in two by the SHA-256 of
the text; rules were changed on the dev half only. ``assertions_second``, ``_third`` and ``_fourth`` (100, 100 and 99
texts) were each written when the rules were thought finished, scored once, and only then used to improve them. One
author wrote sentences and rules, which flatters the rules, the first set most. Macro F1 of polarity, time, subject:

- first set, held-out half: 0.987, 0.988, 1.000 at the first look; 0.997, 0.988, 1.000 at the end
- second set, first look: 0.911, 0.908, 1.000
- third set, first look: 0.944, 0.981, 0.962
- fourth set, first look: 0.943, 0.962, 0.666 (one mention of another person, missed)

So 0.94 is what to expect of polarity in sentences nobody has seen. The first looks at the second and fourth set hold
one and two errors that were the label's, put right since. What the tests below ask for is what was reached in the end.
"""

import hashlib
import json
from collections import defaultdict
from functools import lru_cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from med_entity_tree.scope import Assertion, SpanError, assert_spans
from med_entity_tree.scope_text import find_headings, sentence_starts, table_rows
from med_entity_tree.scope_triggers import Automaton, ScopeRuleError, automaton, word_classes

HERE = Path(__file__).parent
SETS = ["assertions.jsonl", "assertions_second.jsonl", "assertions_third.jsonl", "assertions_fourth.jsonl"]
VALUES = {
    "polarity": ("affirmed", "negated", "uncertain"),
    "time": ("current", "historical", "hypothetical"),
    "subject": ("patient", "family", "other"),
}


@lru_cache
def rows_of(name):
    return [json.loads(line) for line in (HERE / name).read_text(encoding="utf-8").splitlines()]


def span_of(row):
    at = -1
    for _ in range(row.get("occurrence", 0) + 1):
        at = row["text"].index(row["span"], at + 1)
    return at, at + len(row["span"])


def predictions(rows):
    """The answers in the order of the rows; the spans of one text are asked for together, as the tagger does."""
    numbers = defaultdict(list)
    for number, row in enumerate(rows):
        numbers[row["text"]].append(number)
    answers = {}
    for text, group in numbers.items():
        answers.update(zip(group, assert_spans(text, [span_of(rows[number]) for number in group])))
    return [answers[number] for number in range(len(rows))]


def macro_f1(pairs, labels):
    scores = []
    for label in labels:
        hits = sum(truth == guess == label for truth, guess in pairs)
        wrong = sum((truth == label) != (guess == label) for truth, guess in pairs)
        scores.append(2 * hits / (2 * hits + wrong))
    return sum(scores) / len(scores)


def is_dev(row):
    return hashlib.sha256(row["text"].encode()).digest()[0] % 2 == 0


def one(text, entity):
    start = text.index(entity)
    return assert_spans(text, [(start, start + len(entity))])[0]


def test_the_set_has_the_breadth_it_claims():
    rows = rows_of("assertions.jsonl")
    texts = defaultdict(set)
    for row in rows:
        texts["all"].add(row["text"])
        texts[row["polarity"]].add(row["text"])
        texts[row["group"]].add(row["text"])
        if row["time"] != "current" or row["subject"] != "patient":
            texts["elsewhere"].add(row["text"])
    assert len(texts["all"]) >= 320
    assert len(texts["chinese"]) >= 60
    assert len(texts["elsewhere"]) >= 40
    assert len(texts["uncertain"]) >= 60
    assert len(texts["negated"]) >= 100
    assert len(texts["pseudo and double negation"]) >= 40
    assert all(len({row["text"] for row in rows_of(name)}) >= 99 for name in SETS[1:])


def test_f1_known_by_hand():
    pairs = [("a", "a"), ("a", "b"), ("b", "b"), ("b", "b")]
    assert macro_f1(pairs, ("a", "b")) == pytest.approx((2 / 3 + 4 / 5) / 2)


@pytest.mark.parametrize("axis", VALUES)
@pytest.mark.parametrize("half", ["all", "held out"])
def test_first_set(axis, half):
    rows = [row for row in rows_of("assertions.jsonl") if half == "all" or not is_dev(row)]
    pairs = [(row[axis], getattr(answer, axis)) for row, answer in zip(rows, predictions(rows))]
    assert macro_f1(pairs, VALUES[axis]) >= 0.95


@pytest.mark.parametrize("axis", VALUES)
@pytest.mark.parametrize("name", SETS[1:])
def test_later_sets(name, axis):
    rows = rows_of(name)
    pairs = [(row[axis], getattr(answer, axis)) for row, answer in zip(rows, predictions(rows))]
    assert macro_f1(pairs, VALUES[axis]) >= 0.95


@pytest.mark.parametrize("name", SETS)
def test_sections(name):
    rows = [row for row in rows_of(name) if "section" in row]
    assert len(rows) >= 5
    assert [row["section"] for row in rows] == [answer.section for answer in predictions(rows)]


def test_what_is_denied_never_counts():
    denied = [row for name in SETS for row in rows_of(name) if row["polarity"] == "negated"]
    counted = [row["text"] for row, answer in zip(denied, predictions(denied)) if answer.counts]
    assert len(denied) >= 370
    assert len(counted) <= 0.01 * len(denied), counted


@pytest.mark.parametrize("denial", ["No", "There is no", "no evidence of", "Lungs are clear without", "negative for"])
@pytest.mark.parametrize("rest", [".", "", " or effusion.", ", effusion or edema", " is seen.", "\nis identified."])
def test_no_pneumothorax_is_none(denial, rest):
    answer = one(f"{denial} pneumothorax{rest}", "pneumothorax")
    assert answer.polarity == "negated"
    assert not answer.counts


def test_counts_and_present():
    text = "INDICATION: cough.\nFINDINGS: Effusion. No edema. Possible pneumonia. History of asthma. Mother has lupus."
    words = ["cough", "Effusion", "edema", "pneumonia", "asthma", "lupus"]
    answers = assert_spans(text, [(text.index(word), text.index(word) + len(word)) for word in words])
    assert [answer.counts for answer in answers] == [False, True, False, False, False, False]
    assert [answer.present for answer in answers] == [True, True, False, False, False, False]
    assert answers[0].section == "indication"


def test_words_inside_a_span_do_not_act_on_it_or_on_its_neighbours():
    text = "Non-Hodgkin lymphoma, no-reflow phenomenon and absent radius, with effusion."
    names = ["Non-Hodgkin lymphoma", "no-reflow phenomenon", "absent radius", "effusion"]
    spans = [(text.index(name), text.index(name) + len(name)) for name in names]
    assert {answer.polarity for answer in assert_spans(text, spans)} == {"affirmed"}
    assert one("No history of malaria", "history of malaria").polarity == "negated"
    assert one("History of malaria", "History of malaria").time == "current"


def test_an_entity_inside_a_trigger_leaves_the_trigger_to_others():
    text = "No change in effusion"
    spans = [(text.index(word), text.index(word) + len(word)) for word in ("change", "effusion")]
    assert assert_spans(text, spans)[1].polarity == "affirmed"


def test_spans_outside_the_text_are_refused():
    for span in [(-1, 3), (2, 1), (0, 99)]:
        with pytest.raises(SpanError, match="characters"):
            assert_spans("effusion", [span])
    assert assert_spans("effusion", []) == []


@pytest.mark.parametrize(
    "text, pieces",
    [
        ("No PE. Effusion.", ["No PE.", " Effusion."]),
        ("A 1.2 cm nodule. Dr. Smith was told.", ["A 1.2 cm nodule.", " Dr. Smith was told."]),
        ("1. No PE.\n2. Effusion.", ["1. No PE.", "\n", "2. Effusion."]),
        ("- No PE\n- Effusion", ["- No PE\n", "- Effusion"]),
        ("1) No PE 2) Effusion", ["1) No PE ", "2) Effusion"]),
        ("there is no\npneumothorax or\nPleural effusion", ["there is no\npneumothorax or\nPleural effusion"]),
        ("No PE\nEffusion on the left", ["No PE\n", "Effusion on the left"]),
        ("Fever\n\nno cough", ["Fever\n", "\n", "no cough"]),
        ("FINDINGS: No PE.", ["FINDINGS:", " No PE."]),
        ("未见气胸。心影增大；主动脉迂曲", ["未见气胸。", "心影增大；", "主动脉迂曲"]),
        ("cough, ?pneumonia", ["cough, ?pneumonia"]),
        ("tumor (grade 2) of the lung", ["tumor (grade 2) of the lung"]),
    ],
)
def test_sentences(text, pieces):
    starts = sentence_starts(text, find_headings(text))
    assert [text[a:b] for a, b in zip(starts, [*starts[1:], len(text)])] == pieces


def test_headings():
    text = "Findings:\nclear\nIMPRESSION\nfine. Comparison: none. Effusion: none\n检查所见：正常"
    assert [heading.section for heading in find_headings(text)] == ["findings", "impression", "comparison", "findings"]
    assert [text[h.begin : h.end].strip() for h in find_headings(text)][1:3] == ["IMPRESSION", "Comparison:"]


def test_tables_hold_no_phrase_twice_with_one_meaning():
    rows = [tuple(row) for name in ("english.tsv", "chinese.tsv") for row in table_rows(name)]
    assert len(rows) == len(set(rows))
    headings = [heading for row in table_rows("headings.tsv") for heading in row[1].split("|")]
    assert len(headings) == len(set(headings))


@pytest.mark.parametrize(
    "row, words",
    [
        (["negated", "forward", "list"], "columns"),
        (["denied", "forward", "list", "no"], "unknown action"),
        (["negated", "left", "list", "no"], "unknown action, direction or reach"),
        (["negated", "forward", "list", "no <nothing>"], "class <nothing>"),
        (["negated", "forward", "list", "(no|)"], "empty alternative"),
    ],
)
def test_a_wrong_row_is_refused(row, words):
    with pytest.raises(ScopeRuleError, match=words):
        Automaton([row], word_classes())


def test_the_automaton_takes_the_longest_phrase_and_leaves_its_context():
    rules = Automaton(
        [
            ["negated", "forward", "list", "no"],
            ["neutral", "-", "-", "no [new|great] change [in]"],
            ["family", "forward", "list", "mother >> [#word] reports"],
            ["uncertain", "backward", "list", "likely >> #end"],
        ],
        word_classes(),
    )

    def found(text):
        return [(match.start, match.end, match.triggers[0].row) for match in rules.find(text.split())]

    assert found("no new change in size") == [(0, 4, 1)]
    assert found("no new effusion") == [(0, 1, 0)]
    assert found("mother often reports no") == [(0, 1, 2), (3, 4, 0)]
    assert found("mother has") == []
    assert found("likely .") == [(0, 1, 3)]
    assert found("likely edema") == []


# --- properties

NEIGHBOURS = [
    "No pleural effusion.",
    "Denies fever, chills or cough.",
    "Family history of cancer.",
    "History of tuberculosis.",
    "Possible fracture.",
    "If pain recurs, return at once.",
    "The patient was examined.",
    "The mother has diabetes.",
    "Pneumonia cannot be excluded.",
    "Was ruled out.",
    "未见骨折。",
    "不除外肿瘤。",
    "既往高血压。",
]


@given(st.data())
def test_a_sentence_before_or_after_changes_nothing(data):
    row = data.draw(st.sampled_from(rows_of("assertions.jsonl")))
    before, after = data.draw(st.sampled_from(NEIGHBOURS)), data.draw(st.sampled_from(NEIGHBOURS))
    text, (start, end) = row["text"], span_of(row)
    closed = text[-1] in ".?。？!"
    joins = [" ", "\n", "\n\n"] if closed else ["\n\n"]
    alone = assert_spans(text, [(start, end)])
    lead = before + data.draw(st.sampled_from([" ", "\n", "\n\n"]))
    assert assert_spans(lead + text, [(start + len(lead), end + len(lead))]) == alone
    assert assert_spans(text + data.draw(st.sampled_from(joins)) + after, [(start, end)]) == alone


@given(st.data())
def test_the_order_of_the_spans_does_not_matter(data):
    text = data.draw(st.sampled_from(rows_of("assertions.jsonl")))["text"]
    spans = sorted({span_of(row) for row in rows_of("assertions.jsonl") if row["text"] == text})
    spans += data.draw(st.lists(st.sampled_from(spans), max_size=2))
    shuffled = data.draw(st.permutations(range(len(spans))))
    answers = assert_spans(text, spans)
    assert assert_spans(text, [spans[at] for at in shuffled]) == [answers[at] for at in shuffled]


PIECES = [
    "no",
    "not",
    "history",
    "of",
    "if",
    ",",
    "and",
    "with",
    ".",
    "?",
    "\n",
    ":",
    "FINDINGS",
    "未见",
    "可能",
    "，",
    "(",
    "2)",
]


@given(st.one_of(st.text(), st.lists(st.sampled_from([*PIECES, "x"])).map(" ".join)), st.data())
def test_any_text_and_any_spans_inside_it_have_an_answer(text, data):
    place = st.integers(0, len(text))
    spans = data.draw(st.lists(st.tuples(place, place).map(lambda pair: (min(pair), max(pair))), max_size=4))
    answers = assert_spans(text, spans)
    assert len(answers) == len(spans)
    for answer in answers:
        assert isinstance(answer, Assertion)
        assert all(getattr(answer, axis) in labels for axis, labels in VALUES.items())


@given(st.lists(st.sampled_from([*PIECES, "x", "1999", "3"]), max_size=12))
def test_remembered_states_give_what_fresh_ones_give(tokens):
    fresh = Automaton([["negated", "forward", "list", "no"], *RULE_SAMPLE], word_classes())
    assert RULES_SEEN.find(tokens) == fresh.find(tokens)


RULE_SAMPLE = [
    ["historical", "both", "list", "(in|since) #year"],
    ["uncertain", "forward", "near", "? [#word] >> x"],
    ["neutral", "-", "-", "not [#word] [#] of"],
]
RULES_SEEN = Automaton([["negated", "forward", "list", "no"], *RULE_SAMPLE], word_classes())


def test_memory_is_bounded_by_the_tables():
    rules = automaton()
    for number in range(300):
        assert_spans(f"No word{number} effusion in {number} and {number}x.", [(0, 2)])
    following = sum(len(state.following) for state in rules._states.values())
    for number in range(300, 600):
        assert_spans(f"No word{number} effusion in {number} and {number}x.", [(0, 2)])
    assert sum(len(state.following) for state in rules._states.values()) == following
