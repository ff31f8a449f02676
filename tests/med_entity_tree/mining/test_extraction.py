"""Passages, what a model says of them, and what is not believed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from med_entity_tree.mining.extraction import Answer, Extracted, ModelExtractor, Named, accept, occurs
from med_entity_tree.mining.parts import extract_to_parts, mentions_of
from med_entity_tree.mining.passages import Passage, passages, passages_of
from vlm.chat_client import Patience

QUICK = Patience(attempts=2, first_pause_s=0.01, longest_pause_s=0.02, timeout_s=5)


@given(st.text(alphabet="ab .\n。", max_size=400), st.integers(10, 80))
def test_passages_keep_every_letter_in_order_and_their_length(text, longest):
    made = list(passages_of(("d", text), longest))
    assert "".join("".join(p.text.split()) for p in made) == "".join(text.split())
    assert all(0 < len(p.text) <= longest for p in made)
    assert [p.id for p in made] == [f"d#{n}" for n in range(len(made))]


def test_short_paragraphs_share_a_passage_and_long_ones_are_cut_at_sentences():
    text = "FINDINGS: clear.\n\nIMPRESSION: normal.\n\n" + "A sentence of words. " * 10
    made = [p.text for p in passages_of(("d", text), 90)]
    assert made[0].startswith("FINDINGS") and "IMPRESSION: normal." in made[0]
    assert all(p.endswith(".") for p in made)


@pytest.mark.parametrize(
    ("name", "text", "there"),
    [
        ("Pleural  Effusion", "small pleural\neffusion.", True),
        ("effusion", "effusions", False),
        ("CT", "CTA chest", False),
        ("C++ nodule", "a c++ nodule", True),
        ("肺炎", "有肺炎吗", True),
        ("", "anything", False),
    ],
)
def test_a_name_occurs_word_for_word(name, text, there):
    assert occurs(name, text) is there


def test_what_does_not_stand_in_the_passage_is_refused_and_counted():
    block = [Passage("a#0", "a", "No pneumothorax."), Passage("b#0", "b", "Lobar pneumonia.")]
    said = [
        (1, "pneumothorax", "finding"),
        (2, "pneumothorax", "finding"),  # of the other passage
        (1, "Pneumothorax", "finding"),
        (1, "pneumothorax", "disease"),
        (3, "pneumonia", "disease"),
        (0, "pneumonia", "disease"),
        (2, "...", "disease"),
        (2, "Lobar pneumonia", "disease"),
    ]
    found = Extracted()
    accept(block, Answer(mentions=[Named(passage=p, name=n, kind=k) for p, n, k in said]), found)
    assert [(m.passage, m.name) for m in found.mentions] == [("a#0", "pneumothorax"), ("b#0", "Lobar pneumonia")]
    assert found.refused == {
        "a name that does not occur in its passage": 1,
        "a name twice for one passage": 1,
        "a second kind for one name and passage": 1,
        "a passage number that was not asked": 2,
        "a name without words": 1,
    }


def test_many_passages_a_call_and_a_bad_passage_costs_itself_only(tmp_path, endpoint):
    sane = endpoint.script

    def script(body, times):
        return (400, "poison") if "POISON" in json.dumps(body) else sane(body, times)

    endpoint.script = script
    texts = [f"There is a calcified nodule on view {n}." for n in range(16)]
    texts[5] = "POISON"
    block = [Passage(f"d{n}#0", f"d{n}", text) for n, text in enumerate(texts)]
    extractor = ModelExtractor(endpoint.url, tmp_path, batch=8, patience=QUICK)
    found = extractor(block)
    assert extractor.name == "model test-model"
    assert {m.document for m in found.mentions} == {f"d{n}" for n in range(16)} - {"d5"}
    assert found.refused == {
        "passage without an answer (the server: 400)": 1,
        "a name that does not occur in its passage": 15,
    }
    answered = [b for b in endpoint.bodies if "POISON" not in json.dumps(b)]
    assert len(answered) == 4  # 8 good ones; then halves of 4, 2 and 1 beside the bad passage


def test_parts_are_made_once_but_those_with_gaps_again(tmp_path, endpoint):
    sane, bad = endpoint.script, ["view 3."]
    endpoint.script = lambda body, times: (400, "no") if bad and bad[0] in json.dumps(body) else sane(body, times)
    documents = [(f"d{n}", f"There is a calcified nodule on view {n}.") for n in range(8)]

    def run(more=()):
        extractor = ModelExtractor(endpoint.url, tmp_path / "answers", batch=2, patience=QUICK)
        return extract_to_parts(passages([*documents, *more]), extractor, tmp_path / "parts", "tree", chunk=4)

    first = run()
    assert (first.passages, first.mentions, first.unanswered, first.reused) == (8, 7, 1, 0)
    bad.clear()
    second = run([("d8", "There is a calcified nodule.")])
    assert (second.passages, second.mentions, second.unanswered, second.reused) == (9, 9, 0, 4)
    (tmp_path / "parts" / second.paths[1].name).write_bytes(b"torn")
    third = run()
    assert (third.mentions, third.reused) == (8, 4)
    found = [m.document for _, m in mentions_of(third.paths, range(256))]
    assert sorted(found) == [f"d{n}" for n in range(8)]
