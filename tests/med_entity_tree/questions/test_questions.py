"""Questions end to end: what they hold, that they need the chain, splits, the same bytes, the command."""

import json
import os
import random
import subprocess
import sys
from collections import Counter, defaultdict

import pytest
import typer
from typer.testing import CliRunner

from med_entity_tree.entity import Entity
from med_entity_tree.errors import OntologyError
from med_entity_tree.questions.askable import askable, display_name, stems
from med_entity_tree.questions.cli import register
from med_entity_tree.questions.generate import Settings, make_questions, write_questions
from med_entity_tree.questions.hops import FAMILIES, HIERARCHY, Chain, Facts, Hop
from med_entity_tree.questions.paths import Limits, PathSampler, start_weights
from med_entity_tree.questions.pose import stem, wordings
from med_entity_tree.questions.split import groups, split_names
from vlm.errors import MedVLMError
from vlm.messages import validate_messages

_SETTINGS = Settings(hops=(1, 2, 4), count=20, seed=5, split={"train": 0.7, "test": 0.3})


@pytest.fixture(scope="module")
def made(question_tree):
    return make_questions(question_tree, _SETTINGS)


def test_records(made, question_tree):
    assert Counter(r["hops"] for r in made.records) == {1: 20, 2: 20, 4: 20}
    assert len({r["id"] for r in made.records}) == 60
    for record in made.records:
        validate_messages(record["messages"], 0)
        assert [m["role"] for m in record["messages"]] == ["system", "user", "assistant"]
        assert record["messages"][2]["content"] == record["answer"]
        assert len(record["path"]) == record["hops"] == len(record["entities"]) - 1
        assert question_tree[record["start"]].name in record["question"]
        for masked in record["entities"][1:]:
            assert question_tree[masked].name not in record["question"]
        assert len(set(record["entities"])) == len(record["entities"])
        answer = next(o["entity"] for o in record["options"] if o["letter"] == record["answer"])
        assert answer == record["entities"][-1]
        named = [question_tree[record["start"]].name]
        assert not any(stems([option["name"]]) & stems(named) for option in record["options"])


def test_answers_need_the_chain(made, question_tree):
    """With two hops and more the start does not touch the answer, nor does a shorter part of the chain reach it."""
    facts = Facts(question_tree, question_tree.edges())
    for record in made.records:
        reached, answer = {record["start"]}, record["entities"][-1]
        for step in record["steps"][:-1]:
            assert answer not in reached
            reached = facts.image(reached, Hop(**step), 10_000, possible=True)
        assert answer not in reached
        if record["hops"] > 1:
            assert answer not in facts.adjacent(record["start"])


def test_letters_are_dealt_evenly(made):
    by_cell = defaultdict(Counter)
    for record in made.records:
        by_cell[record["hops"], record["split"]][record["answer"]] += 1
    for letters in by_cell.values():
        assert max(letters.values()) - min(letters[c] for c in "ABCD") <= 1


def test_splits_share_no_start_and_no_answering_fact(made):
    sides = defaultdict(lambda: (set(), set()))
    for record in made.records:
        last = record["path"][-1]
        starts, facts = sides[record["split"]]
        starts.add(record["start"])
        facts.add((last["head"], last["kind"], last["tail"]))
    (starts, facts), (other_starts, other_facts) = sides["train"], sides["test"]
    assert not starts & other_starts and not facts & other_facts
    assert len(starts) > len(other_starts) > 5


def test_groups_hang_together_by_start_and_fact():
    def chain(*nodes):
        return Chain(nodes, (Hop("is_a", True),) * (len(nodes) - 1), frozenset(), frozenset(), ())

    # 0 and 1 share a start; 1 and 2 the fact b-c, walked from either end; 3 shares only a masked entity.
    chains = [chain("s", "x"), chain("s", "b", "c"), chain("t", "c", "b"), chain("u", "b", "y")]
    assert groups(chains) == [0, 0, 0, 3]
    with pytest.raises(OntologyError, match="do not add up to 1"):
        split_names(chains, {"train": 0.5, "test": 0.3}, 0)
    with pytest.raises(OntologyError, match="hang together"):
        split_names(chains, {"train": 0.9, "test": 0.1}, 0)


def test_same_bytes_whatever_the_hash_seed(made, question_tree, tmp_path):
    write_questions(made, _SETTINGS, question_tree, tmp_path / "here")
    script = (
        "import sys; from pathlib import Path; from med_entity_tree.tree import Tree\n"
        "from med_entity_tree.questions.generate import Settings, make_questions, write_questions\n"
        "s = Settings(hops=(1, 2, 4), count=20, seed=5, split={'train': 0.7, 'test': 0.3}); t = Tree(sys.argv[1])\n"
        "write_questions(make_questions(t, s), s, t, Path(sys.argv[2]))\n"
    )
    env = {**os.environ, "PYTHONHASHSEED": "12345"}
    subprocess.run([sys.executable, "-c", script, question_tree.folder, tmp_path / "there"], check=True, env=env)
    names = sorted(path.name for path in (tmp_path / "here").iterdir())
    assert names == ["report.json", "test.jsonl", "train.jsonl"]
    for name in names:
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()


def test_thin_entities_start_more_questions(question_tree):
    facts = Facts(question_tree, question_tree.edges())
    sampler = PathSampler(question_tree.entities, facts)
    starts = sampler.starts()
    seen = dict.fromkeys(starts[::2], 10_000)
    assert start_weights(["a", "b"], {"a": 3}) == [0.5, 1.0]
    weights = start_weights(starts, seen)
    chains = sampler.many(60, 1, 0, weights)
    assert sum(chain.start in seen for chain in chains) <= 6
    plain = sampler.many(60, 1, 0)
    assert sum(chain.start in seen for chain in plain) >= 15


def test_hubs_are_avoided_and_time_is_bounded(question_tree):
    facts = Facts(question_tree, question_tree.edges())
    sampler = PathSampler(question_tree.entities, facts, Limits(fan=2, middle=3, right=4))
    rng = random.Random(0)
    found = [c for c in (sampler.sample(s, 3, rng) for s in sampler.starts()[:200]) if c is not None]
    assert found
    for chain in found:
        assert max(chain.widths[:-1]) <= 3 and chain.widths[-1] <= 4
        for here, hop in zip(chain.nodes, chain.hops):
            assert len(facts.certain(here, hop)) <= 2
    with pytest.raises(OntologyError, match="gave 0 of 100 chains"):
        PathSampler(question_tree.entities, facts, Limits(fan=0)).many(100, 1, 0)


def _entity(name: str, kind: str = "disease", sources=("MONDO:1",), level: int = 3) -> Entity:
    return Entity("MONDO:1", name, kind, list(sources), root=kind, parent="p", level=level)


@pytest.mark.parametrize(
    ("entity", "may"),
    [
        (_entity("pulmonary embolism"), True),
        (_entity("Other forms of chromomycosis"), False),
        (_entity("Fracture of left tibia, initial encounter"), False),
        (_entity("nephronophthisis 18"), False),
        (_entity("Disease of anus and rectum, unspecified"), False),
        (_entity("Chylous effusion", sources=("RADDICT:3",)), False),  # authorship is not shown
        (_entity("spinoid scale", "anatomy", ("UBERON:1",)), False),  # of fish
        (_entity("manus", "anatomy", ("UBERON:1", "MESH:D006225")), True),
        (_entity("respiratory disease", level=1), False),
    ],
)
def test_who_may_be_named(entity, may):
    assert askable(entity) == may
    assert display_name(_entity("manus", "anatomy")) == "hand"


def test_every_hop_has_wordings_and_every_form_masks(question_tree):
    for hop in (hop for family in FAMILIES.values() for hop in family):
        for root in ("disease", "finding", "anatomy"):
            assert all("{x}" in wording for wording in wordings(hop, root))
    facts = Facts(question_tree, question_tree.edges())
    chain = next(
        c for c in PathSampler(question_tree.entities, facts).many(20, 3, 1) if any(h.kind in HIERARCHY for h in c.hops)
    )
    texts = {stem(chain, question_tree.entities, random.Random(n)) for n in range(60)}
    assert len(texts) > 8 and not any("{" in text for text in texts)
    with pytest.raises(OntologyError, match="no wording for seen_on>"):
        wordings(Hop("seen_on", True), "procedure")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Settings(hops=(7,)), "Ask for 1 to 6"),
        (Settings(hops=()), "Ask for 1 to 6"),
        (Settings(options=1), "Ask for 2 to 8"),
        (Settings(count=0), "at least one"),
    ],
)
def test_settings_that_cannot_be_met(settings, said):
    with pytest.raises(OntologyError, match=said):
        settings.validate()


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    return app


def test_command(app, question_tree, tmp_path):
    out = tmp_path / "questions"
    runner = CliRunner()
    said = runner.invoke(app, ["questions", "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
    assert "medvlm met questions --hops 1-3 --count 500 --counts runs/tags" in said
    counts = tmp_path / "tags"
    counts.mkdir()
    (counts / "counts.json").write_text(json.dumps({"present": {"MONDO:111": 40}}), "utf-8")
    arguments = ["questions", "--tree", str(question_tree.folder), "--out", str(out)]
    more = ["--hops", "1-2", "--count", "12", "--split", "train=0.5,test=0.5", "--counts", str(counts)]
    result = runner.invoke(app, [*arguments, *more], env={"COLUMNS": "160"})
    assert result.exit_code == 0, result.output
    assert "24 questions" in result.output and "longest option" in result.output and "path types" in result.output
    assert (out / "sheet.html").read_text("utf-8").count("<article>") == 24
    assert runner.invoke(app, [*arguments, "--check"]).exit_code == 0
    # A letter that is turned in the file is found, and the questions stay as they are.
    lines = (out / "test.jsonl").read_text("utf-8").splitlines()
    record = json.loads(lines[0])
    record["answer"] = next(o["letter"] for o in record["options"] if o["letter"] != record["answer"])
    (out / "test.jsonl").write_text("\n".join([json.dumps(record), *lines[1:]]), "utf-8")
    failed = runner.invoke(app, [*arguments, "--check"])
    assert isinstance(failed.exception, MedVLMError) and "1 of 24 questions" in str(failed.exception)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--hops", "one"], "--hops"),
        (["--split", "train"], "--split"),
    ],
)
def test_command_refuses(app, arguments, said, tmp_path):
    result = CliRunner().invoke(app, ["questions", *arguments, "--out", str(tmp_path)], env={"COLUMNS": "200"})
    assert result.exit_code == 2 and said in result.output
