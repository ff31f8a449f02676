from collections import Counter

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
