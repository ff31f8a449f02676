from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from med_entity_tree.concept import Concept, Relation
from med_entity_tree.entity import Entity, Synonym
from med_entity_tree.graph import Edge, KnowledgeGraph, concept_edges, distinct, hpo_annotations, located_by_name

HEADER = "database_id disease_name qualifier hpo_id reference evidence onset frequency sex modifier aspect biocuration"


def annotation(disease="OMIM:1", qualifier="", term="HP:1", frequency="", aspect="P"):
    return "\t".join([disease, "name", qualifier, term, "PMID:1", "PCS", "", frequency, "", "", aspect, "x"])


def read(tmp_path, *rows):
    path = tmp_path / "phenotype.hpoa"
    path.write_text("\n".join(["#version: 1", HEADER.replace(" ", "\t"), *rows]) + "\n")
    concepts = {
        "MONDO:1": Concept("MONDO:1", "d", "MONDO", "disease", xrefs=["OMIM:1", "ORPHA:7"]),
        "MONDO:2": Concept("MONDO:2", "e", "MONDO", "disease", xrefs=["OMIM:2"]),
        "MONDO:3": Concept("MONDO:3", "f", "MONDO", "disease", xrefs=["OMIM:2"]),
        "HP:1": Concept("HP:1", "s", "HP", "finding"),
    }
    dropped: Counter[str] = Counter()
    return list(hpo_annotations(path, concepts, {i: i for i in concepts}, dropped)), dropped


def test_frequencies_of_hpo_annotations(tmp_path):
    rows = [annotation(frequency=f) for f in ("3/12", "45%", "HP:0040281", "", "12.5 %", "1/0", "odd")]
    edges, dropped = read(tmp_path, *rows)
    assert [e.frequency for e in edges] == [0.25, 0.45, 0.895, -1.0, 0.125, -1.0, -1.0]
    assert {(e.head, e.kind, e.tail, e.source, e.reference) for e in edges} == {
        ("MONDO:1", "has_finding", "HP:1", "HPOA", "PMID:1")
    }
    assert not dropped


def test_what_an_annotation_excludes_is_no_edge_and_every_drop_is_counted(tmp_path):
    edges, dropped = read(
        tmp_path,
        annotation(qualifier="NOT"),
        annotation(frequency="HP:0040285"),
        annotation(frequency="0/9"),
        annotation(disease="OMIM:2"),  # two diseases claim the number
        annotation(disease="OMIM:404"),
        annotation(term="HP:404"),
        annotation(aspect="I"),
        annotation(disease="ORPHA:7"),
    )
    assert [e.head for e in edges] == ["MONDO:1"]
    assert sorted(dropped.values()) == [1, 1, 2, 3]


def test_relations_are_turned_and_loops_left_out():
    concepts = {
        "HP:1": Concept("HP:1", "halo", "RADDICT", "finding", relations=[Relation("suggests", "MONDO:1", 0.5)]),
        "MONDO:1": Concept("MONDO:1", "x", "MONDO", "disease", parents=["MONDO:2"]),
        "MONDO:2": Concept("MONDO:2", "y", "MONDO", "disease", relations=[Relation("resembles", "MONDO:404")]),
        "MESH:1": Concept("MESH:1", "x", "MESH", "disease", parents=["MONDO:1"]),
    }
    entity_of = {"HP:1": "HP:1", "MONDO:1": "MONDO:1", "MONDO:2": "MONDO:2", "MESH:1": "MONDO:1"}
    dropped: Counter[str] = Counter()
    edges = list(concept_edges(concepts, entity_of, dropped))
    assert edges == [
        Edge("MONDO:1", "has_finding", "HP:1", "RADDICT", 0.5),
        Edge("MONDO:1", "is_a", "MONDO:2", "MONDO"),
    ]
    assert dropped == {"relation to a concept that is not in the tree": 1}


def entity(identity, name, root, *synonyms):
    names = [Synonym(s, "en", "exact", "X") for s in synonyms]
    return Entity(identity, name, root, [identity], names, root=root, level=3, parent="MET:x")


def test_places_are_found_in_names_by_noun_and_adjective():
    entities = {
        e.id: e
        for e in (
            entity("U:1", "pleura", "anatomy"),
            entity("U:2", "lung", "anatomy"),
            entity("U:3", "upper lobe of right lung", "anatomy", "right upper lobe"),
            entity("D:1", "Pleural effusion", "finding"),
            entity("D:2", "Mass of the right upper lobe", "finding"),
            entity("D:3", "Fistula between lung and pleura", "disease"),
            entity("D:4", "Lunger disease", "disease"),
        )
    }
    edges = {(e.head, e.tail) for e in located_by_name(entities, {"pleural": "pleura"})}
    assert edges == {("D:1", "U:1"), ("D:2", "U:3"), ("D:3", "U:1"), ("D:3", "U:2")}


PLACES = [
    entity("UBERON:0000001", "arm", "anatomy"),
    entity("UBERON:0000002", "radius bone", "anatomy", "radius"),
    entity("UBERON:2002118", "scale radius", "anatomy", "radius"),  # of fish
    entity("UBERON:0000004", "radial artery", "anatomy"),
    entity("UBERON:0000005", "neck", "anatomy"),
    entity("UBERON:0000006", "femur", "anatomy"),
    entity("UBERON:0000007", "vertebral column", "anatomy", "spine"),
    entity("UBERON:0000008", "tibia", "anatomy"),
    entity("UBERON:0000009", "wrist", "anatomy"),
    entity("UBERON:0000010", "kidney", "anatomy"),
    entity("UBERON:0000011", "adult organism", "anatomy", "adult"),
    entity("UBERON:0000012", "anterolateral ligament of knee", "anatomy", "ALL"),
    entity("UBERON:0000013", "finger", "anatomy"),
    entity("UBERON:0000014", "temple", "anatomy"),
    entity("UBERON:0000015", "breast", "anatomy"),
    entity("UBERON:0000016", "pleura", "anatomy"),
    entity("UBERON:0000017", "pleural effusion", "anatomy"),
    entity("MESH:1", "Cells", "anatomy"),
    entity("MESH:2", "Chromosomes", "anatomy"),
    entity("SNOMEDCT:1", "Tumor", "anatomy"),
    entity("SNOMEDCT:2", "Radius", "anatomy"),
]


@pytest.mark.parametrize(
    ("identity", "name", "places"),
    [
        ("MONDO:1", "partial deletion of the long arm of chromosome 7", []),
        ("HP:1", "Pain in the arm", ["UBERON:0000001"]),
        ("HP:2", "Hypoplasia of the radius", ["UBERON:0000002"]),
        (
            "ICD10CM:1",
            "Injury of radial artery",
            ["UBERON:0000004"],
        ),  # as it is written before the noun of the adjective
        ("HP:3", "Radial bowing", ["UBERON:0000002"]),
        ("ICD10CM:2", "Fracture of surgical neck of femur", ["UBERON:0000006"]),
        ("HP:4", "Short neck", ["UBERON:0000005"]),
        ("ICD10CM:3", "Fracture of tibial spine", ["UBERON:0000008"]),
        ("HP:5", "Stiff spine", ["UBERON:0000007"]),
        ("ICD10CM:4", "Burn of arm, except wrist", ["UBERON:0000001"]),
        ("ICD10CM:5", "Anemia due to disease of kidney", []),
        ("MONDO:2", "adult renal cell tumor", ["UBERON:0000010"]),
        ("ICD10CM:6", "Sextuplets, all liveborn", []),
        ("RADDICT:1", "Finger sign", []),
        ("ICD10CM:7", "Poisoning by drugs for the kidney", []),
        ("MONDO:3", "Temple syndrome", []),
        ("HP:6", "Narrow temple", ["UBERON:0000014"]),
        ("HP:8", "Pleural effusion", ["UBERON:0000016"]),
        ("HP:7", "Breast-like swelling", []),
    ],
)
def test_a_place_is_where_the_disease_is_and_no_word_that_only_sounds_like_it(identity, name, places):
    """Each was a false edge, or is the true one beside it."""
    named = entity(identity, name, "finding")
    adjectives = {"pleural": "pleura", "radial": "radius", "tibial": "tibia", "renal": "kidney"}
    edges = located_by_name({e.id: e for e in [*PLACES, named]}, adjectives)
    assert [e.tail for e in edges] == places


def test_external_causes_are_nowhere():
    cause = entity("ICD10CM:W60", "Contact with thorns and spines", "disease")
    cause.kind = "external cause"
    assert not list(located_by_name({e.id: e for e in [*PLACES, cause]}, {}))


def test_an_edge_is_kept_once_with_its_highest_frequency():
    edges = [Edge("a", "has_finding", "b", "HPOA", f, r) for f, r in ((0.1, "r1"), (0.5, "r2"), (-1.0, "r3"))]
    other = Edge("a", "has_finding", "b", "MONDO")
    assert distinct([*edges, other]) == sorted([edges[1], other])


def test_paths_say_which_way_an_edge_was_walked():
    graph = KnowledgeGraph(
        [Edge("d1", "has_finding", "f", "X"), Edge("d2", "has_finding", "f", "X"), Edge("d2", "is_a", "d3", "X")]
    )
    path = graph.shortest_path("d1", "d3")
    assert [(s.start, s.edge.kind, s.forward, s.end) for s in path] == [
        ("d1", "has_finding", True, "f"),
        ("f", "has_finding", False, "d2"),
        ("d2", "is_a", True, "d3"),
    ]
    assert graph.shortest_path("d1", "d3", frozenset({"has_finding"})) is None
    assert graph.shortest_path("d1", "d3", most=2) is None
    assert graph.shortest_path("d1", "d1") == []


@given(st.sets(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=20), st.integers(1, 4))
def test_paths_agree_with_a_search_by_matrix(pairs, length):
    """Shortest lengths against powers of the adjacency matrix, and every path is simple, connected and stored."""
    import numpy as np

    edges = [Edge(str(a), "k", str(b), "X") for a, b in sorted(pairs) if a != b]
    graph = KnowledgeGraph(edges)
    near = np.zeros((8, 8), bool)
    for e in edges:
        near[int(e.head), int(e.tail)] = near[int(e.tail), int(e.head)] = True
    reach, distance = np.eye(8, dtype=bool), np.where(np.eye(8, dtype=bool), 0, -1)
    for step in range(1, 9):
        reach = reach @ near | reach
        distance[(distance < 0) & reach] = step
    for a in range(8):
        for b in range(8):
            path = graph.shortest_path(str(a), str(b))
            assert (-1 if path is None else len(path)) == distance[a, b]
        for path in graph.paths(str(a), length):
            visited = [str(a), *(s.end for s in path)]
            assert len(set(visited)) == length + 1
            assert all(s.edge in edges and s.start == v for s, v in zip(path, visited, strict=False))
