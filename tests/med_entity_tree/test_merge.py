import numpy as np
import pytest

from med_entity_tree.build import merge
from med_entity_tree.concept import Concept, Name
from med_entity_tree.merge import is_abbreviation, tells_apart


def concept(identity: str, name: str, kind: str = "disease", **more) -> Concept:
    return Concept(identity, name, more.pop("source", identity.partition(":")[0]), kind, **more)


def together(merger) -> list[list[str]]:
    return [[c.id for c in group] for group in merger.groups() if len(group) > 1]


def test_a_reference_merges_whatever_the_names():
    merged = merge([concept("MONDO:1", "grippe", xrefs=["MESH:1"]), concept("MESH:1", "Influenza, Human")])
    assert together(merged) == [["MONDO:1", "MESH:1"]]
    (decision,) = merged.decisions
    assert (decision.method, decision.score, decision.merged) == ("xref", 1.0, True)


def test_of_several_references_only_the_one_whose_name_agrees_merges():
    merged = merge(
        [
            concept("MONDO:1", "lung abscess", xrefs=["MESH:1"]),
            concept("MONDO:2", "cerebral abscess", xrefs=["MESH:1"]),
            concept("MESH:1", "Lung Abscess"),
        ]
    )
    assert together(merged) == [["MONDO:1", "MESH:1"]]
    assert [(d.left, d.merged) for d in merged.decisions if d.method == "xref"] == [
        ("MONDO:1", True),
        ("MONDO:2", False),
    ]


def test_a_code_that_both_carry_merges_unless_a_sibling_carries_it_too():
    pair = [
        concept("MONDO:1", "a disease", xrefs=["UMLS:C1"]),
        concept("HP:1", "b finding", "finding", xrefs=["UMLS:C1"]),
    ]
    assert together(merge(pair)) == [["MONDO:1", "HP:1"]]
    assert together(merge([*pair, concept("HP:2", "c finding", "finding", xrefs=["UMLS:C1"])])) == []


def test_equal_names_merge_but_not_across_kinds():
    disease, finding = concept("MONDO:1", "Pleural effusions"), concept("HP:1", "pleural effusion", "finding")
    place = concept("UBERON:1", "pleural effusion", "anatomy")
    merged = merge([disease, finding, place])
    assert together(merged) == [["MONDO:1", "HP:1"]]
    assert any("kinds differ" in d.reason for d in merged.decisions)


def test_two_synonyms_are_not_enough():
    one = concept("MONDO:1", "alpha disease", names=[Name("shared name here")])
    two = concept("HP:1", "beta sign", "finding", names=[Name("shared name here")])
    assert together(merge([one, two])) == []


def test_abbreviations_and_loose_synonyms_never_merge():
    assert (
        is_abbreviation("PE") and is_abbreviation("SARS") and not is_abbreviation("Ebola") and not is_abbreviation("12")
    )
    one = concept("MONDO:1", "pulmonary embolism", names=[Name("PE"), Name("lung clots", scope="related")])
    assert together(merge([one, concept("HP:1", "PE", "finding"), concept("MESH:1", "lung clot")])) == []


def test_codes_that_differ_are_a_veto_and_held_out_ones_are_not_looked_at():
    one = concept("MONDO:1", "blindness", xrefs=["UMLS:C1"])
    two = concept("HP:1", "Blindness", "finding", xrefs=["UMLS:C2"])
    refused = merge([one, two])
    assert together(refused) == [] and refused.decisions[0].reason == "codes of UMLS differ"
    assert together(merge([one, two], held_out=frozenset({"UMLS"}))) == [["MONDO:1", "HP:1"]]


def test_an_entity_never_holds_two_concepts_of_one_ontology():
    merged = merge(
        [
            concept("MONDO:1", "first thing", xrefs=["MESH:1"]),
            concept("MONDO:2", "second thing", names=[Name("one name")]),
            concept("MESH:1", "one name"),
        ]
    )
    assert together(merged) == [["MONDO:1", "MESH:1"]]
    assert any("two concepts of MONDO" in d.reason for d in merged.decisions)


@pytest.mark.parametrize("order", [1, -1])
def test_the_order_of_reading_changes_nothing(order):
    concepts = [
        concept("MONDO:1", "lung abscess", xrefs=["MESH:1"]),
        concept("HP:1", "abscess of lung", "finding", names=[Name("lung abscess")]),
        concept("MESH:1", "Lung Abscess"),
        concept("ICD10CM:J85", "Lung abscesses"),
    ]
    merged = merge(concepts[::order])
    assert together(merged) == [["MONDO:1", "HP:1", "ICD10CM:J85", "MESH:1"]]


def encoder(table: dict[str, list[float]]):
    def encode(names):
        vectors = np.array([table[name] for name in names], np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    return encode


def test_near_neighbours_merge_above_the_threshold_only_and_mutually():
    names = {"abscess of the lung": [1, 0.05], "lung abscess": [1, 0], "lung abscess cavity": [1, 0.9]}
    concepts = [
        concept("MONDO:1", "abscess of the lung"),
        concept("MESH:1", "lung abscess"),
        concept("MESH:2", "lung abscess cavity"),
    ]
    merged = merge(concepts, encoder(names), threshold=0.95)
    assert together(merged) == [["MONDO:1", "MESH:1"]]
    assert [d.reason for d in merged.decisions if not d.merged] == ["below 0.95"]


@pytest.mark.parametrize(
    ("one", "other", "word"),
    [
        ("left lung mass", "right lung mass", "left"),
        ("grade 1 glioma", "grade 2 glioma", "1"),
        ("acute pancreatitis", "chronic pancreatitis", "acute"),
        ("stroke with seizure", "stroke without seizure", "with"),
        ("hepatitis b", "hepatitis c", "b"),
        ("lung mass", "lung masse", ""),
    ],
)
def test_words_that_tell_names_apart(one, other, word):
    assert tells_apart(frozenset(one.split()), frozenset(other.split())) == word
    if word:
        same = {one: [1.0, 0.0], other: [1.0, 0.0]}
        assert together(merge([concept("MONDO:1", one), concept("MESH:1", other)], encoder(same))) == []
