"""The arbiter: it looks things up, its decisions are checked, and every turn is in the log."""

import json

import pytest

from med_entity_tree.mining.arbiter import Arbiter
from med_entity_tree.mining.attach import Attacher, Rules, mined_id
from med_entity_tree.mining.clusters import Cluster
from med_entity_tree.mining.counting import Candidate
from vlm.chat_client import Patience

QUICK = Patience(attempts=2, first_pause_s=0.01, longest_pause_s=0.02, timeout_s=5)
TURN = {"thought": "", "action": "decide", "argument": "", "decision": "", "reason": ""}
PASSAGE = "A streaky whiteness of the left lung. Secret text."


def conflict(attacher, name="streaky whiteness"):
    candidate = Candidate(name, 12, 12, 11)
    candidate.kinds["finding"], candidate.forms[name], candidate.examples = 12, 12, ["d1#0", "d2#0"]
    return attacher.attach([Cluster(candidate)])[0]


@pytest.fixture
def decide(small_tree, tmp_path, endpoint):
    def run(*turns: dict, limit: int = 6):
        said = [TURN | turn for turn in turns]

        def script(body, times):
            rounds = sum(message["role"] == "assistant" for message in body["messages"])
            return 200, json.dumps(said[min(rounds, len(said) - 1)])

        endpoint.script = script
        attacher = Attacher(small_tree.entities, "tests/rules", Rules())
        answers = tmp_path / f"answers{len(list(tmp_path.iterdir()))}"  # another script is another model
        arbiter = Arbiter(endpoint.url, answers, turns=limit, patience=QUICK)
        log = tmp_path / "arbiter.jsonl"
        (outcome,) = arbiter.decide([conflict(attacher)], small_tree, attacher, {"d1#0": PASSAGE}, log)
        return outcome, attacher, [json.loads(line) for line in log.read_text().splitlines()]

    return run


def test_it_searches_shows_reads_and_decides(decide, endpoint):
    outcome, attacher, log = decide(
        {"action": "search_tree", "argument": "pleural"},
        {"action": "show", "argument": "HP:11"},
        {"action": "evidence"},
        {"decision": "parent", "argument": "HP:11", "reason": "it is fluid"},
    )
    assert (outcome.result, outcome.parent, outcome.decided_by) == ("attached", "HP:11", "model test-model")
    assert attacher.entities[mined_id("streaky whiteness")].placed_by == "MINED arbiter"
    assert [line["turn"] for line in log] == [1, 2, 3, 4]
    assert "HP:11" in log[0]["observation"] and log[2]["observation"] == ["d1#0"]
    assert log[3]["reason"] == "it is fluid" and log[0]["conflict"] == "no parent proposed"
    seen = endpoint.bodies[-1]["messages"]
    assert "fluid around the lung" in seen[5]["content"] and PASSAGE in seen[7]["content"]
    assert "Secret" not in json.dumps(log)  # texts stay where they are


def test_a_parent_that_nothing_showed_is_refused(decide):
    guess = {"decision": "parent", "argument": "HP:13", "reason": "I think so"}
    outcome, attacher, log = decide(guess, {"action": "search_tree", "argument": "nodule"}, guess)
    assert "look it up first" in log[0]["observation"] and outcome.parent == "HP:13"
    assert len(attacher.edges) == 1


@pytest.mark.parametrize(
    "turn",
    [
        {"decision": "parent", "argument": "HP:404", "reason": "made up"},
        {"decision": "parent", "argument": "", "reason": "none"},
        {"decision": "", "reason": "cannot say"},
        {"decision": "new", "reason": " "},
        {"action": "show", "argument": "HP:404"},
        {"action": "search_tree", "argument": "zzz"},
        {"action": "show", "argument": "MET:finding"},
    ],
)
def test_without_a_valid_decision_it_stays_undecided(decide, small_tree, turn):
    outcome, attacher, log = decide(turn, limit=3)
    assert (outcome.result, outcome.why) == ("undecided", "no decision in 3 turns")
    assert len(log) == 3 and set(attacher.entities) == set(small_tree.entities)


def test_a_root_is_no_parent(decide):
    outcome, _, log = decide(
        {"action": "show", "argument": "MET:finding"}, {"decision": "parent", "argument": "MET:finding", "reason": "x"}
    )
    assert outcome.result == "undecided" and "is a root" in log[1]["observation"]


def test_new_hangs_below_other_without_an_edge_and_drop_leaves_nothing(decide, small_tree):
    outcome, attacher, _ = decide({"decision": "new", "reason": "nothing fits"})
    assert attacher.entities[outcome.entity].parent == "MET:other-finding" and attacher.edges == []
    outcome, attacher, _ = decide({"decision": "drop", "reason": "no entity"})
    assert outcome.result == "dropped" and set(attacher.entities) == set(small_tree.entities)


def test_no_answer_is_no_decision(small_tree, tmp_path, endpoint):
    endpoint.script = lambda body, times: (200, "I do not do JSON")
    attacher = Attacher(small_tree.entities, "tests/rules", Rules())
    arbiter = Arbiter(endpoint.url, tmp_path, patience=QUICK)
    (outcome,) = arbiter.decide([conflict(attacher)], small_tree, attacher, {}, tmp_path / "log.jsonl")
    assert outcome.result == "undecided" and "did not answer" in outcome.why
    assert "no JSON object" in json.loads((tmp_path / "log.jsonl").read_text())["failed"]
