"""The second implementation against a third one that enumerates, and against questions that were spoiled."""

import copy
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from med_entity_tree.entity import ROOTS, Entity
from med_entity_tree.errors import OntologyError
from med_entity_tree.graph import Edge, distinct
from med_entity_tree.questions.check import check, read_questions
from med_entity_tree.questions.generate import Settings, make_questions, verify
from med_entity_tree.questions.hops import FAMILIES, Facts, Hop
from med_entity_tree.tree import Tree, write_tree

_ALL = [hop for family in FAMILIES.values() for hop in family]
_NODES = [f"N{n}" for n in range(7)]
_KINDS = ["has_finding", "located_in", "is_a", "predisposes_to"]


def _reached(edges: list[Edge], parents: dict[str, str], start: str, hops: list[Hop]) -> set[str]:
    """All ends of all walks, one walk after the other: the definition, spelled out."""
    if not hops:
        return {start}
    hop, found = hops[0], set()
    pairs: dict[tuple[str, str], list[float]] = {}
    for edge in edges:
        if edge.kind == hop.kind:
            pairs.setdefault((edge.head, edge.tail), []).append(edge.frequency)
    if hop.kind == "parent":
        pairs = {pair: [-1.0] for pair in parents.items()}
    for (head, tail), frequencies in pairs.items():
        here, there = (head, tail) if hop.forward else (tail, head)
        if here != start or 0.0 in frequencies:
            continue
        if max(frequencies) >= (hop.at_least or 0.05) or (not hop.at_least and -1.0 in frequencies):
            found |= _reached(edges, parents, there, hops[1:])
    return found


@st.composite
def graphs(draw):
    rows = draw(
        st.lists(
            st.tuples(
                st.sampled_from(_NODES),
                st.sampled_from(_KINDS),
                st.sampled_from(_NODES),
                st.sampled_from(["S", "T"]),
                st.sampled_from([-1.0, 0.0, 0.025, 0.25, 0.5, 1.0]),
            ),
            min_size=4,
            max_size=30,
        )
    )
    edges = distinct(Edge(*row) for row in rows if row[0] != row[2])
    kinds = {edge.kind for edge in edges} | {"parent"}
    hops = draw(st.lists(st.sampled_from([h for h in _ALL if h.kind in kinds]), min_size=1, max_size=4))
    return edges, hops


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(graphs())
@example(  # merged hierarchies that make a circle: an entity is then above itself
    (
        distinct(
            Edge(a, kind, b, "S")
            for a, kind, b in (("N0", "has_finding", "N1"), ("N0", "is_a", "N1"), ("N1", "is_a", "N0"))
        ),
        [Hop("has_finding", True), Hop("is_a", True)],
    )
)
def test_both_implementations_and_enumeration_agree(tmp_path_factory, graph):
    edges, hops = graph
    entities = [Entity("MET:disease", ROOTS["disease"], "root", ["MET:disease"], root="disease")]
    parents = {}
    for n, node in enumerate(_NODES):
        parent = "MET:disease" if n < 3 else _NODES[n - 3]
        parents[node] = parent
        entities.append(Entity(node, f"name {node}", "disease", [node], root="disease", parent=parent, level=2))
    folder: Path = tmp_path_factory.mktemp("drawn")
    write_tree(folder, sorted(entities, key=lambda e: e.id), edges, [], {})
    facts = Facts(entities, Tree(folder).edges())
    start = _NODES[0]

    ends = {start}
    maybe = {start}
    for hop in hops:
        penultimate = maybe
        ends, maybe = facts.image(ends, hop, 99), facts.image(maybe, hop, 99, possible=True)
    expected = _reached(edges, parents, start, hops) - {start}
    assert ends - {start} == expected

    record = {
        "id": "q",
        "start": start,
        "steps": [{"kind": h.kind, "forward": h.forward, "at_least": h.at_least} for h in hops],
        "options": [{"letter": node, "entity": node, "name": f"name {node}"} for node in _NODES],
        "answer": "",
        "question": "",
        "hops": len(hops),
        "path": [],
        "entities": [start],
        "messages": [{}, {"content": ""}, {"content": ""}],
    }
    (verdict,) = check([record], folder)
    assert verdict.right == expected & set(_NODES)

    from med_entity_tree.questions.hops import Chain

    loose = facts.loose(penultimate, hops[-1], 999) - {start}
    chain = Chain((start, start), tuple(hops), frozenset(expected), loose, (1,))
    wrong = facts.judge(chain)
    assert verdict.wrong == {node for node in _NODES if wrong(node)}


@pytest.fixture(scope="module")
def made(question_tree):
    return make_questions(question_tree, Settings(hops=(1, 2, 3), count=16, seed=3))


def test_every_made_question_is_sound(made, question_tree):
    verdicts = check(made.records, question_tree.folder)
    assert len(verdicts) == 48
    assert all(v.sound and len(v.right) == 1 and len(v.wrong) == 3 for v in verdicts)


def _spoiled_answer(record: dict) -> None:
    record["answer"] = next(o["letter"] for o in record["options"] if o["letter"] != record["answer"])


def _turned_hop(record: dict) -> None:
    record["steps"][0]["forward"] = not record["steps"][0]["forward"]


def _invented_edge(record: dict) -> None:
    record["path"][-1]["source"] = "INVENTED"


def _other_name(record: dict) -> None:
    record["options"][0]["name"] = "something else"


def _twice(record: dict) -> None:
    record["options"][0] = dict(record["options"][1], letter="A")


def _short_path(record: dict) -> None:
    record["path"].pop()


def _unmasked(record: dict) -> None:
    record["question"] += " This is not in the message."


@pytest.mark.parametrize(
    "spoil", [_spoiled_answer, _turned_hop, _invented_edge, _other_name, _twice, _short_path, _unmasked]
)
def test_spoiled_questions_are_found(made, question_tree, spoil):
    records = copy.deepcopy(made.records)
    for record in records:
        spoil(record)
    assert not any(verdict.sound for verdict in check(records, question_tree.folder))
    with pytest.raises(OntologyError, match="48 of 48 questions do not follow"):
        verify(records, question_tree.folder)


def test_a_second_right_option_is_found(made, question_tree):
    """Any entity that the chain reaches as well is no distractor, also when the stored path does not run through it."""
    facts = Facts(question_tree, question_tree.edges())
    found = Counter()
    for record in copy.deepcopy(made.records):
        ends = {record["start"]}
        for step in record["steps"]:
            ends = facts.image(ends, Hop(**step), 10_000)
        answer = next(o for o in record["options"] if o["letter"] == record["answer"])
        more = sorted(ends - {record["start"], *(o["entity"] for o in record["options"])})
        if more:
            other = next(o for o in record["options"] if o is not answer)
            other["entity"], other["name"] = more[0], question_tree[more[0]].name
            (verdict,) = check([record], question_tree.folder)
            assert verdict.right == {answer["letter"], other["letter"]} and not verdict.sound
            found["checked"] += 1
    assert found["checked"] >= 10


def test_a_relative_of_the_answer_is_not_proven_wrong(made, question_tree):
    record = copy.deepcopy(next(r for r in made.records if r["type"].endswith("has_finding>")))
    answer = next(o for o in record["options"] if o["letter"] == record["answer"])
    other = next(o for o in record["options"] if o is not answer)
    parent = question_tree[question_tree[answer["entity"]].parent]
    other["entity"], other["name"] = parent.id, parent.name
    (verdict,) = check([record], question_tree.folder)
    assert verdict.problems == (f"option {other['letter']} is not proven wrong",)


def test_an_edge_that_is_taken_away_takes_the_answer_away(made, question_tree, tmp_path):
    record = random.Random(1).choice([r for r in made.records if r["hops"] == 1 and "has_finding" in r["type"]])
    gone = {(e["head"], e["tail"]) for e in record["path"]}
    edges = [edge for edge in question_tree.edges() if (edge.head, edge.tail) not in gone]
    write_tree(tmp_path / "tree", list(question_tree), edges, [], {})
    (verdict,) = check([record], tmp_path / "tree")
    assert not verdict.right and not verdict.sound


def test_damaged_files_and_strange_entities(made, question_tree, tmp_path):
    with pytest.raises(OntologyError, match="holds no questions"):
        read_questions(tmp_path)
    (tmp_path / "train.jsonl").write_text('{"id": 1}\n{"id"', "utf-8")
    with pytest.raises(OntologyError, match=r"train\.jsonl, line 2: no JSON"):
        read_questions(tmp_path)
    record = dict(made.records[0], start="MONDO:none")
    with pytest.raises(OntologyError, match="MONDO:none"):
        check([record], question_tree.folder)
