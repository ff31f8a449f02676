"""Attaching to a frozen tree: who wins, who waits, and what never changes."""

import hashlib
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from med_entity_tree.entity import LEVELS, Entity
from med_entity_tree.mining.attach import Attacher, Rules, mined_id
from med_entity_tree.mining.clusters import Cluster
from med_entity_tree.mining.counting import Candidate
from med_entity_tree.mining.parents import Names, Neighbours, Proposal, by_neighbours
from med_entity_tree.names import name_key
from med_entity_tree.skeleton import check


def one(name: str, kind: str = "finding", others=(), kinds=None, shorts=None) -> Cluster:
    key = name_key(name)
    made = Candidate(
        key, 12, 12, 11, Counter(kinds or {kind: 12}), Counter({name: 12}), Counter(shorts or {}), ["d1#0"]
    )
    return Cluster(made, {name_key(other): other for other in others})


@pytest.fixture
def attacher(small_tree) -> Attacher:
    return Attacher(small_tree.entities, "tests/rules", Rules())


def outcomes(attacher, *clusters):
    return {o.cluster.candidate.name: o for o in attacher.attach(sorted(clusters, key=lambda c: c.key))}


def test_a_head_is_a_parent_and_a_new_entity_may_be_a_head(attacher):
    found = outcomes(
        attacher, one("calcified nodule"), one("hilar calcified nodule"), one("opacified lung nodule of base")
    )
    assert found["calcified nodule"].parent == "HP:13"
    assert found["hilar calcified nodule"].parent == mined_id("calcified nodule")
    assert found["opacified lung nodule of base"].parent == "HP:13"
    new = attacher.entities[mined_id("calcified nodule")]
    assert (new.parent, new.root, new.level, new.kind) == ("HP:13", "finding", 3, "finding")
    assert new.sources == [f"CORPUS:tests/rules/{new.id.partition(':')[2]}"] and new.placed_by == "MINED head"
    assert check(attacher.entities) == []


def test_known_names_synonyms_and_word_order_add_no_entity(attacher, small_tree):
    found = outcomes(
        attacher,
        one("Lung infections", "disease"),
        one("effusion, pleural", others=["effusion of pleura fluid"]),
        one("left lower lobe", "anatomy"),
    )
    assert {o.result for o in found.values()} == {"known"} and len(attacher.entities) == len(small_tree)
    assert found["Lung infections"].entity == "MONDO:4"
    assert found["effusion, pleural"].why == "the same words in the tree"
    assert found["effusion, pleural"].synonyms == ["effusion, pleural", "effusion of pleura fluid"]
    assert [s.source for s in attacher.entities["HP:11"].synonyms[-2:]] == ["MINED", "MINED"]
    assert not any(s.source == "MINED" for s in small_tree["HP:11"].synonyms)  # the given tree is as it was


def test_an_abbreviation_that_text_explains_twice_becomes_a_name(attacher):
    effusion, nodule = one("pleural effusion", shorts={"PLE": 3}), one("nodule", shorts={"ND": 1})
    found = outcomes(attacher, effusion, nodule, one("lung", "anatomy", shorts={"LU": 2, "LG": 2}))
    assert found["pleural effusion"].synonyms == ["PLE"]
    assert found["nodule"].synonyms == [] and found["lung"].synonyms == []


def test_contradictions_wait(attacher):
    found = outcomes(
        attacher,
        one("streaky whiteness"),
        one("collapsed lung", "finding"),
        one("basal nodule", kinds={"finding": 7, "anatomy": 5}),
        one("apical nodule", kinds={"finding": 7, "disease": 5}),
    )
    assert found["streaky whiteness"].why == "no parent proposed"
    assert found["collapsed lung"].why == "kinds disagree (finding, but its head is anatomy)"
    assert found["basal nodule"].why == "kinds disagree (anatomy 5, finding 7)"
    assert found["apical nodule"].result == "attached"  # a disease or a finding is no contradiction


def test_a_disease_below_a_finding_takes_its_kind(attacher):
    found = outcomes(attacher, one("rheumatoid nodule", "disease"))
    entity = attacher.entities[found["rheumatoid nodule"].entity]
    assert (entity.kind, entity.root) == ("finding", "finding") and check(attacher.entities) == []


def test_two_parents_of_one_name_are_a_conflict(small_tree):
    twin = Entity("HP:99", "Nodule", "finding", ["HP:99"], root="finding", parent="MET:imaging-finding", level=2)
    attacher = Attacher(small_tree.entities | {"HP:99": twin}, "tests/rules", Rules())
    found = outcomes(attacher, one("calcified nodule"))["calcified nodule"]
    assert found.why == "two parents are close in score"
    assert {p.parent for p in found.proposals} == {"HP:13", "HP:99"}


def test_below_the_fifth_level_a_new_entity_hangs_beside_its_parent(small_tree):
    entities, above = dict(small_tree.entities), "HP:13"
    for level in range(small_tree["HP:13"].level + 1, LEVELS + 1):
        identity = f"HP:10{level}"
        entities[identity] = Entity(
            identity, f"{'x' * level} nodulette", "finding", [identity], root="finding", parent=above, level=level
        )
        above = identity
    attacher = Attacher(entities, "tests/rules", Rules())
    found = outcomes(attacher, one("bright xxxxx nodulette"))["bright xxxxx nodulette"]
    new = attacher.entities[found.entity]
    assert found.parent == "HP:105" and new.parent == "HP:104" and new.level == LEVELS
    assert new.placed_by == "MINED head, level"
    assert [(e.head, e.kind, e.tail) for e in attacher.edges] == [(new.id, "is_a", "HP:105")]
    assert check(attacher.entities) == []


def test_ids_follow_from_the_name_alone():
    digest = hashlib.sha256(b"calcified nodule").hexdigest()
    assert mined_id(name_key("Calcified Nodules")) == f"MINED:{digest[:12]}"


def test_votes_of_neighbours_by_hand(small_tree):
    near = [(0.9, "HP:10"), (0.8, "HP:11"), (0.7, "MONDO:4"), (0.6, "MONDO:5"), (0.5, "MET:respiratory")]
    got = {p.parent: p.score for p in by_neighbours(near, small_tree.entities)}
    finding, respiratory = small_tree["HP:10"].parent, "MET:respiratory"
    assert small_tree["HP:11"].parent == finding and small_tree["MONDO:4"].parent == respiratory
    assert small_tree["MONDO:5"].parent == "MONDO:4"
    assert got == {finding: 0.34, respiratory: 0.24, "MONDO:4": 0.12}  # (0.9 + 0.8) / 5, (0.7 + 0.5) / 5, 0.6 / 5


class Axes:
    """Names as points that the tests choose; everything else is far away."""

    model_name = "axes"

    def __init__(self, places: dict[str, list[float]]):
        self.places, self.asked = places, 0

    def __call__(self, texts):
        self.asked += len(texts)
        made = np.zeros((len(texts), 8), np.float32)
        for row, text in enumerate(texts):
            place = self.places.get(text, [0, 0, 0, 0, 0, 0, 0, 1])
            made[row, : len(place)] = np.array(place) / np.linalg.norm(place)
        return made


def attached_by(small_tree, tmp_path: Path, places, *clusters, rules=Rules()):  # noqa: B008
    encode = Axes(places)
    neighbours = Neighbours(small_tree.entities, encode, tmp_path, "stamp")
    return outcomes(Attacher(small_tree.entities, "tests/rules", rules, neighbours), *clusters), encode


def test_neighbours_place_a_name_that_has_no_head(small_tree, tmp_path):
    places = {e.name: [1.0] for e in small_tree.children(small_tree["HP:10"].parent)}
    places["whiteness"] = [1.0]
    found, _ = attached_by(small_tree, tmp_path, places, one("whiteness"))
    assert found["whiteness"].why == "neighbours share a vague parent only"  # it is of the first level
    found, _ = attached_by(small_tree, tmp_path, places, one("whiteness"), rules=Rules(level=1))
    assert found["whiteness"].parent == small_tree["HP:10"].parent
    assert found["whiteness"].result == "attached" and found["whiteness"].why == "neighbours"
    assert found["whiteness"].score == 0.8  # four of the five nearest, each at a cosine of 1


def test_a_head_that_is_only_another_name_must_look_like_the_preferred_one(small_tree, tmp_path):
    for cosine, result in ((0.6, "conflict"), (0.8, "attached")):
        places = {"pneumonia": [1.0], "basal lung infection": [cosine, 0.0, (1 - cosine**2) ** 0.5]}
        found, _ = attached_by(small_tree, tmp_path / str(cosine), places, one("basal lung infection", "disease"))
        head = next(p for p in found["basal lung infection"].proposals if p.how == "head")
        assert head.score == pytest.approx(0.4 + 0.3 * cosine)
        assert found["basal lung infection"].result == result


def test_neighbours_on_another_branch_hold_a_head_back(small_tree, tmp_path):
    """The head scores 0.7; the neighbours, all below the respiratory diseases, 4 * 1.0 / 5 = 0.8 with a lead of 0.1."""
    below = [e for e in small_tree.children("MET:respiratory") if e.level < LEVELS]
    places = {e.name: [1.0] for e in below} | {"odd nodule": [1.0], "Nodule": [0.0, 1.0]}
    assert len(below) == 4
    found, _ = attached_by(small_tree, tmp_path, places, one("odd nodule"), rules=Rules(level=1))
    assert found["odd nodule"].proposals[:2] == [
        Proposal("MET:respiratory", 0.8, "neighbours", found["odd nodule"].proposals[0].evidence),
        Proposal("HP:13", 0.7, "head", "nodule"),
    ]
    found, _ = attached_by(small_tree, tmp_path, places, one("odd nodule"), rules=Rules(gap=0.2, level=1))
    assert found["odd nodule"].why == "two parents are close in score"


def test_vectors_of_the_tree_are_made_once(small_tree, tmp_path):
    _, first = attached_by(small_tree, tmp_path, {}, one("whiteness"))
    _, second = attached_by(small_tree, tmp_path, {}, one("whiteness"))
    assert first.asked > 40 and second.asked == 1


def test_no_neighbour_is_of_the_fifth_level_or_of_another_group(small_tree, tmp_path):
    found, _ = attached_by(small_tree, tmp_path, {}, one("whiteness", "anatomy"))
    roots = {small_tree[p.parent].root for p in found["whiteness"].proposals}
    assert roots == {"anatomy"}


def test_attaching_in_any_order_gives_the_same_tree(small_tree):
    names = ["calcified nodule", "hilar calcified nodule", "lobar consolidation", "apical pneumothorax", "whiteness"]
    made = []
    for order in (names, names[::-1]):
        attacher = Attacher(small_tree.entities, "tests/rules", Rules())
        attacher.attach([one(name) for name in order])
        made.append({i: asdict(e) for i, e in sorted(attacher.entities.items())})
    assert made[0] == made[1]


def test_heads_skip_what_is_too_common(small_tree):
    names = Names(
        [
            *small_tree,
            Entity("X:1", "Disease", "disease", ["X:1"], level=2),
            Entity("X:2", "2", "disease", ["X:2"], level=2),
        ]
    )
    assert names.heads("odd disease") == ("", False, [])
    assert names.heads("stage 2") == ("", False, [])
    assert names.heads("basal lung infection") == ("lung infection", False, ["MONDO:4"])
    assert names.heads("nodule") == ("", False, [])  # itself is no head
    assert names.heads("nodule of the lung") == ("nodule", True, ["HP:13"])
