"""Counting, clusters and floors, against cases counted by hand."""

import random
from collections import Counter

import numpy as np
import pytest

from med_entity_tree.mining import counting
from med_entity_tree.mining.clusters import LARGEST, apply_floors, cluster
from med_entity_tree.mining.counting import Candidate, count, in_sentence
from med_entity_tree.mining.extraction import Extracted, Mention
from med_entity_tree.mining.parts import extract_to_parts
from med_entity_tree.mining.passages import passages
from med_entity_tree.names import name_key


class Words:
    """Every word of a passage is a mention of itself."""

    def __init__(self):
        self.name, self.settings, self.chunk = "words", {}, 100

    def __call__(self, block):
        return Extracted([Mention(p.id, p.document, word, "finding") for p in block for word in set(p.text.split())])


def candidate(name: str, mentions: int = 10, kind: str = "finding", whole: int | None = None) -> Candidate:
    whole = mentions if whole is None else whole
    made = Candidate(name_key(name), mentions, whole, mentions, Counter({kind: mentions}), Counter({name: mentions}))
    made.examples = [f"{name}#0"]
    return made


def test_counts_are_exact_however_many_passes_they_take(tmp_path, monkeypatch):
    rng = random.Random(0)
    documents = [
        (f"d{n}", " ".join(f"word{min(rng.randrange(40), rng.randrange(40))}" for _ in range(12))) for n in range(200)
    ]
    truth = Counter(word for _, text in documents for word in set(text.split()))
    parts = extract_to_parts(passages(documents), Words(), tmp_path, "tree", chunk=32)
    results = []
    for rows in (10**6, 300):
        monkeypatch.setattr(counting, "ROWS", rows)
        dropped = Counter()
        kept = count(parts, 5, dropped)
        assert {c.key: c.mentions for c in kept} == {w: n for w, n in truth.items() if n >= 5}
        assert dropped.total() == sum(n < 5 for n in truth.values())
        results.append(kept)
    assert results[0] == results[1]


def test_a_document_counts_once_and_its_passages_each(tmp_path):
    documents = [("a", "nodule one.\n\n" * 3), ("b", "nodule")]
    parts = extract_to_parts(passages(documents, longest=15), Words(), tmp_path, "tree")
    (found,) = [c for c in count(parts, 1, Counter()) if c.key == "nodule"]
    assert (found.mentions, found.documents) == (4, 2)
    assert found.examples == ["a#0", "a#1", "a#2", "b#0"]


def test_the_name_is_the_form_that_text_uses_most():
    assert in_sentence("Calcified  granuloma") == "calcified granuloma"
    assert in_sentence("PICC line") == "PICC line"
    made = candidate("nodule")
    made.forms = Counter({"nodules": 5, "nodule": 5, "Nodule": 2})
    assert made.name == "nodule"


def test_the_same_words_are_one_and_telling_words_keep_apart():
    names = ["rib fracture", "fracture of the rib", "left rib fracture", "right rib fracture", "rib lesion"]
    made = cluster([candidate(n) for n in sorted(names, key=name_key)], None, 0.97)
    together = {frozenset([c.candidate.name, *c.others.values()]) for c in made}
    assert together == {
        frozenset(["rib fracture", "fracture of the rib"]),
        frozenset(["left rib fracture"]),
        frozenset(["right rib fracture"]),
        frozenset(["rib lesion"]),
    }
    (one,) = [c for c in made if c.others]
    assert one.candidate.mentions == 20


def test_clusters_need_every_pair_to_be_near():
    """a-b and b-c at 0.98, a-c at 0.92: a chain, not a cluster."""
    angle = np.arccos(0.98)
    place = {"patchy lung shade": 0.0, "patchy lung shadow": angle, "patchy lung shading": 2 * angle}

    def encode(texts):
        return np.array([[np.cos(place[t]), np.sin(place[t])] for t in texts], np.float32)

    made = cluster([candidate(n) for n in sorted(place)], encode, 0.97)
    assert sorted(len(c.others) for c in made) == [0, 1]
    assert min(c.cosine for c in made) == pytest.approx(0.98, abs=1e-3)


def test_a_word_more_or_an_opposite_is_another_meaning():
    def encode(texts):
        return np.ones((len(texts), 1), np.float32)  # everything is near

    names = ["lobe granuloma", "middle lobe granuloma", "hypoinflated lung", "hyperinflated lung", "lower rib pain"]
    assert len(cluster([candidate(n) for n in sorted([*names, "upper rib pain"])], encode, 0.97)) == 6
    assert len(cluster([candidate(n) for n in ("osseous change", "osseus change")], encode, 0.97)) == 1


def test_names_of_two_entities_or_of_other_kinds_never_meet():
    pair = [candidate("rib fracture"), candidate("fracture rib", 3)]
    assert len(cluster(pair, None, 0.97)) == 1
    assert len(cluster(pair, None, 0.97, same=lambda key: key)) == 2
    assert len(cluster([pair[0], candidate("fracture rib", 3, "anatomy")], None, 0.97)) == 2


def test_a_crowded_block_is_cut_and_said():
    many = [candidate(f"lung spot{chr(97 + i // 26 % 26)}{chr(97 + i % 26)}{i // 676}") for i in range(LARGEST + 7)]
    dropped = Counter()
    cluster(many, None, 0.97, dropped=dropped)
    assert dropped["names not compared: too many share their other words"] == 7


def test_the_floors_of_the_paper():
    def one(name, mentions, kind="finding", whole=None):
        return cluster([candidate(name, mentions, kind, whole)], None, 0.97)[0]

    findings = [one(f"spot{letter}", 10) for letter in "abcde"]
    others = [one("thin spot", 9), one("space spot", 20, whole=4), *(one(f"part{c}", 30, "anatomy") for c in "abcd")]
    dropped = Counter()
    kept = apply_floors([*findings, *others], 10, 5, 0.25, dropped)
    assert kept == findings
    assert dropped == {
        "seen fewer than 10 times": 1,
        "seen mostly inside longer names": 1,
        "type of fewer than 5 entities (anatomy)": 4,
    }
