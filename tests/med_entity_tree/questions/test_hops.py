"""What counts as right and as wrong, on graphs small enough to work out by hand."""

import pytest

from med_entity_tree.entity import Entity
from med_entity_tree.graph import Edge
from med_entity_tree.questions.hops import Chain, Facts, Hop, TooWide

FEATURE, OFTEN = Hop("has_finding", True), Hop("has_finding", True, 0.8)


def _facts(*edges: Edge) -> Facts:
    return Facts([], edges)


def _has(finding: str, frequency: float, source: str = "HPOA") -> Edge:
    return Edge("D", "has_finding", finding, source, frequency)


@pytest.mark.parametrize(
    ("frequencies", "any_certain", "any_possible", "often_certain", "often_possible"),
    [
        ([0.9], True, True, True, True),
        ([0.8], True, True, True, True),
        ([0.5], True, True, False, False),
        ([-1.0], True, True, False, True),  # not stated: it may well be often
        ([0.025], False, True, False, False),  # very rare: neither asked for nor a wrong answer
        ([0.0], False, False, False, False),  # excluded
        ([0.0, 0.9], False, True, False, True),  # sources differ: neither right nor wrong
        ([0.5, -1.0], True, True, False, True),
    ],
)
def test_frequencies(frequencies, any_certain, any_possible, often_certain, often_possible):
    facts = _facts(*(_has("F", f, f"S{n}") for n, f in enumerate(frequencies)))
    assert (facts.certain("D", FEATURE) == ("F",)) == any_certain
    assert (facts.possible("D", FEATURE) == ("F",)) == any_possible
    assert (facts.certain("D", OFTEN) == ("F",)) == often_certain
    assert (facts.possible("D", OFTEN) == ("F",)) == often_possible


def test_against_the_edge():
    facts = _facts(_has("F", 0.9), Edge("E", "has_finding", "F", "HPOA", 0.3))
    assert facts.certain("F", Hop("has_finding", False)) == ("D", "E")
    assert facts.certain("F", Hop("has_finding", False, 0.8)) == ("D",)


def test_a_hub_is_too_wide():
    facts = _facts(*(_has(f"F{n}", 0.9) for n in range(5)))
    assert len(facts.image(["D"], FEATURE, 5)) == 5
    with pytest.raises(TooWide):
        facts.image(["D"], FEATURE, 4)


@pytest.fixture
def wheezing() -> tuple[Facts, Chain]:
    """asthma has wheezing (90 %) and, very rarely, collapse; its parent has dyspnea; noises have kinds."""
    is_a = [
        ("expiratory wheezing", "wheezing"),
        ("wheezing", "noise"),
        ("asthma", "airway disease"),
        ("stridor", "noise"),
    ]
    edges = [
        Edge("asthma", "has_finding", "wheezing", "HPOA", 0.9),
        Edge("asthma", "has_finding", "collapse", "HPOA", 0.02),
        Edge("airway disease", "has_finding", "dyspnea", "HPOA", -1.0),
        Edge("asthma", "has_finding", "fever", "HPOA", 0.0),
        *(Edge(child, "is_a", parent, "HP") for child, parent in is_a),
    ]
    facts = _facts(*edges)
    right = facts.image(["asthma"], OFTEN, 10)
    return facts, Chain(("asthma", "wheezing"), (OFTEN,), right, facts.loose(["asthma"], OFTEN, 100), (1,))


@pytest.mark.parametrize(
    ("option", "wrong"),
    [
        ("wheezing", False),  # right
        ("expiratory wheezing", False),  # below what is right
        ("noise", False),  # above what is right
        ("collapse", False),  # very rare, but there
        ("dyspnea", False),  # of the broader disease, how often is not stated
        ("asthma", False),  # the start
        ("stridor", True),  # a sibling
        ("fever", True),  # excluded by the source
    ],
)
def test_wrong_by_the_graph(wheezing, option, wrong):
    facts, chain = wheezing
    assert facts.judge(chain)(option) == wrong


def test_the_end_of_a_climb_is_wrong_only_outside_the_whole_line():
    entities = [Entity(i, i, "disease", [i], root="disease", parent=p) for i, p in [("c", "b"), ("b", "a"), ("x", "a")]]
    facts = Facts(entities, [])
    up = Hop("parent", True)
    chain = Chain(("c", "b"), (up,), facts.image(["c"], up, 9), facts.loose(["c"], up, 9), (1,))
    assert chain.loose == {"a", "b"}
    wrong = facts.judge(chain)
    assert wrong("x") and not wrong("a") and not wrong("b")
