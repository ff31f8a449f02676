"""Questions under the tree's constraints, checked by a second implementation, balanced, and answered blind."""

import json
import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import typer
from chest_entities import (
    CARDIOMEGALY,
    CHEST,
    CONSOLIDATION,
    EFFUSION,
    FAILURE,
    NODULE,
    OPACITY,
    PNEUMONIA,
    PNEUMOTHORAX,
    sample,
    write_samples,
)  # fmt: skip
from judge_server import Server
from typer.testing import CliRunner

from med_entity_tree.build import build_tree
from med_entity_tree.concept import Concept
from med_entity_tree.tagger import Tagger
from med_entity_tree.tree import Tree
from pretrain.shards import ShardReader, ShardSet
from pretrain.shards.verify import verify
from pretrain.synthesis.blind import (
    Choice,
    TextGuesser,
    check_by_asking,
    check_by_guessing,
    floors,
    prior_right,
)  # fmt: skip
from pretrain.synthesis.cli import register
from pretrain.synthesis.facts import Knowledge, StudyFacts, SynthesisError
from pretrain.synthesis.questions import LETTERS, Question, make_questions
from pretrain.synthesis.run import Options, synthesize
from pretrain.tagging.shards import TagOptions, tag_shards
from vlm.asking import JsonAsker
from vlm.chat_client import Patience

FINDINGS = [EFFUSION, CARDIOMEGALY, NODULE, PNEUMOTHORAX, CONSOLIDATION, "HP:0031944", "HP:0033821", "HP:0100750"]
MORE = [*FINDINGS, "HP:0002110", "HP:6000008", "HP:0033663"]


def studies(count=120, seed=0, findings=MORE):
    """One or two findings, some denied and some doubted, drawn at random."""
    draw = random.Random(seed)
    for n in range(count):
        chosen = draw.sample(findings, 4)
        yield StudyFacts(
            f"s{n:03d}", present=tuple(sorted(chosen[: draw.randint(1, 2)])), negated=(chosen[2],),
            uncertain=(chosen[3],), group=f"p{n:03d}",
        )  # fmt: skip


@pytest.fixture(scope="module")
def made(known):
    return make_questions(studies(), known)


def climbs(tree, entity):
    """Ancestors, by a second implementation: edges and parents as they lie in the files."""
    up = {}
    for edge in tree.edges():
        if edge.kind.startswith("is_a"):
            up.setdefault(edge.head, set()).add(edge.tail)
    for other in tree:
        if other.parent:
            up.setdefault(other.id, set()).add(other.parent)
    found, layer = set(), {entity}
    while layer:
        layer = {parent for e in layer for parent in up.get(e, ())} - found
        found |= layer
    return found


def test_every_answer_is_stated_or_follows_and_no_distractor_does(made, chest_tree):
    facts = {f.key: f for f in studies()}
    above = {e.id: climbs(chest_tree, e.id) for e in chest_tree}
    edges = {(e.head, e.kind, e.tail) for e in chest_tree.edges()}
    kinds = Counter(question.kind for question in made.questions)
    assert kinds["sibling"] > 60 and kinds["parent"] > 20 and kinds["disease hop"] > 0
    for question in made.questions:
        study, answer = facts[question.key], question.options[question.answer]
        possible = {*study.present, *study.uncertain}
        assert question.entity in study.present
        distractors = set(question.options) - {answer}
        if question.kind in ("sibling", "parent"):
            assert answer == question.entity or answer in above[question.entity]
            for one in distractors:
                assert not any(one == e or one in above[e] or e in above[one] for e in possible), (question, one)
        if question.kind == "disease hop":
            assert (answer, "has_finding", question.entity) in edges and question.evidence[:3] in edges
            for one in distractors:
                assert not any((one, "has_finding", e) in edges for e in possible)
        assert len(set(question.names)) == len(question.options)


def test_the_set_is_balanced_in_place_and_length_and_made_the_same_each_time(made, known):
    for kind in ("sibling", "parent"):
        of_kind = [q for q in made.questions if q.kind == kind]
        places = Counter(q.answer for q in of_kind)
        assert max(places.values()) - min(places[i] for i in range(4)) <= 1
    found = floors(made.questions)
    assert found.majority <= found.chance + 0.05
    assert make_questions(studies(), known).questions == made.questions
    assert make_questions(studies(), known, seed=1).questions != made.questions


def test_options_text_and_order():
    question = Question("i", "k", "g", "sibling", "E", ("E", "F"), ("one", "two"), 0, ("E", "stated by", "k", "study"))
    assert question.text() == "Which of these does this study show?\nA. one\nB. two"
    assert question.text([1, 0]).endswith("A. two\nB. one")


def constructed(count, right, rng=None):
    """Questions whose right option is ``right(n)`` among four fixed ones."""
    names = ("alpha", "beta", "gamma", "delta")
    return [
        Question(f"q{n}", f"s{n}", f"p{n}", "sibling", "E", names, names, right(n), ("E", "stated by", "s", "study"))
        for n in range(count)
    ]


def test_floors_of_sets_whose_floors_are_known():
    always = floors(constructed(100, lambda n: 1))
    assert (always.majority, always.prior, always.words) == (1.0, 1.0, 1.0)
    assert set(always.above()) >= {"majority", "prior", "words"}
    draw = random.Random(1)
    even = floors(constructed(600, lambda n: draw.randrange(4)))
    assert even.above() == [] and even.chance == 0.25
    lengths = [replace(q, names=("a", "bb", "cc", "dddd"), answer=3) for q in constructed(40, lambda n: 3)]
    assert floors(lengths).longest == 1.0 and floors(lengths).shortest == 0.0
    tied = [replace(q, names=("aa", "bb", "cc", "dd")) for q in constructed(40, lambda n: 3)]
    assert floors(tied).longest == 0.25


def test_the_prior_is_learned_from_other_patients_only():
    own = [replace(q, group="the only patient") for q in constructed(50, lambda n: 2)]
    assert prior_right(own).mean() == pytest.approx(0.25)  # nothing to learn from
    assert TextGuesser().probabilities(own)[0] == pytest.approx(np.full(4, 0.25))


def test_what_words_give_away_is_dropped_and_counted():
    draw = random.Random(2)
    fair = [replace(q, id=f"fair {q.id}") for q in constructed(400, lambda n: draw.randrange(4))]
    leaking = []
    for n, q in enumerate(constructed(200, lambda n: draw.randrange(4))):
        names = tuple("surely this one" if i == q.answer else f"other {i} {n % 7}" for i in range(4))
        leaking.append(replace(q, id=f"leak {n}", group=f"l{n}", names=names, options=names))
    checked = check_by_guessing([*fair, *leaking])
    assert checked.before.words > 0.4 and checked.after.words <= 0.30 and checked.after.prior <= 0.30
    gone = {q.id for q in [*fair, *leaking]} - {q.id for q in checked.kept}
    assert sum(i.startswith("leak") for i in gone) > 150 and sum(i.startswith("fair") for i in gone) < 80
    assert checked.dropped.total() == len(gone) and "no image" in checked.answerer


def test_a_kind_that_is_guessed_does_not_hide_behind_one_that_is_not():
    draw = random.Random(4)
    fair = constructed(1900, lambda n: draw.randrange(4))
    known = [
        replace(q, id=f"k{q.id}", kind="parent", group=f"k{q.group}") for q in constructed(100, lambda n: n % 10 % 4)
    ]
    known = [replace(q, answer=0 if n % 10 else q.answer) for n, q in enumerate(known)]
    checked = check_by_guessing([*fair, *known])
    assert checked.before.words <= 0.30 < floors(known).words
    assert checked.dropped["parent"] > 50 and checked.dropped["sibling"] == 0
    assert checked.by_kind["sibling"].above() == []


def test_a_fair_set_loses_nothing():
    draw = random.Random(3)
    checked = check_by_guessing(constructed(600, lambda n: draw.randrange(4)))
    assert len(checked.kept) == 600 and checked.dropped.total() == 0


def test_a_model_that_guesses_right_each_time_costs_the_question_and_never_sees_a_picture(tmp_path):
    questions = constructed(30, lambda n: n % 4)
    known_by_heart = {q.names[q.answer] for q in questions[:1]}

    def answer(digest, text):
        assert digest is None and "data:image" not in text
        lines = [line for line in text.splitlines() if line[:2] in ("A.", "B.", "C.", "D.")]
        right = next((line for line in lines if line[3:] in known_by_heart), lines[0])
        return {"answer": f"{right[0]}."}

    with Server(answer) as server:
        asker = JsonAsker(server.url, Choice, cache=tmp_path, patience=Patience(2, 0.01))
        checked = check_by_asking(questions, asker)
    # "alpha" is chosen wherever it stands: the questions whose answer it is are dropped, the others are kept.
    assert {q.answer for q in checked.kept} == {1, 2, 3} and checked.dropped["sibling"] == 8
    assert checked.unanswered == 0 and checked.answerer == "model scripted, without the image"


def test_one_who_always_says_a_is_not_right_each_time(tmp_path):
    questions = constructed(20, lambda n: n % 4)
    with Server(lambda digest, text: {"answer": "A"}) as server:
        asker = JsonAsker(server.url, Choice, cache=tmp_path, patience=Patience(2, 0.01))
        checked = check_by_asking(questions, asker)
    assert len(checked.kept) == 20


def test_an_answer_that_is_no_letter_keeps_the_question(tmp_path):
    questions = constructed(4, lambda n: 0)
    with Server(lambda digest, text: {"answer": "?"}) as server:
        asker = JsonAsker(server.url, Choice, cache=tmp_path, patience=Patience(2, 0.01))
        checked = check_by_asking(questions, asker)
    assert len(checked.kept) == 4 and checked.unanswered == 4


@pytest.fixture(scope="module")
def tagged(tmp_path_factory, chest_tree):
    folder = tmp_path_factory.mktemp("tagged")
    names = {EFFUSION: "pleural effusion", CARDIOMEGALY: "cardiomegaly", NODULE: "pulmonary nodule",
             PNEUMOTHORAX: "pneumothorax", CONSOLIDATION: "consolidation", "HP:0031944": "pleural thickening",
             "HP:0033821": "pulmonary mass", "HP:0100750": "atelectasis"}  # fmt: skip
    samples = []
    for n, facts in enumerate(studies(60, findings=FINDINGS)):
        text = [f"There is {names[e]}." for e in facts.present] + [f"No {names[e]}." for e in facts.negated]
        text += [f"Possible {names[e]}." for e in facts.uncertain]
        headers = {"headers": [{"body_part": "CHEST", "view_position": "PA"}]}
        samples.append(sample(facts.key, " ".join(text), seed=n, extra=headers))
    write_samples(folder / "in", samples)
    tag_shards(folder / "in", folder / "tagged", TagOptions(chest_tree.folder))
    return folder / "tagged"


def test_shards_of_captions_and_questions(tagged, tmp_path, chest_tree, known):
    report = synthesize(tagged, chest_tree, tmp_path / "out")
    assert report.studies == 60 == report.captions["template"] and report.questions.total() > 60
    assert verify(tmp_path / "out", decode=True).problems == []
    before = {s.key: s for s in ShardReader(ShardSet.open(tagged))}
    listed = {}
    for line in (tmp_path / "out" / "questions.jsonl").open():
        question = json.loads(line)
        listed.setdefault(question["key"], []).append(question)
    for one in ShardReader(ShardSet.open(tmp_path / "out")):
        assert [i.data for i in one.images] == [i.data for i in before[one.key].images]
        assert one.provenance.source == "tests, synthesis" and one.provenance.simulated
        caption = one.messages[1]["content"]
        assert caption.startswith("Digital Radiography, PA view. Region: chest.")
        for question, turn in zip(listed.get(one.key, []), one.messages[3::2]):
            right = question["names"][question["answer"]]
            assert turn["content"] == f"{LETTERS[question['answer']]}. {right}"
    again = synthesize(tagged, chest_tree, tmp_path / "again")
    assert again.samples == report.samples
    assert ShardSet.open(tmp_path / "out").digest == ShardSet.open(tmp_path / "again").digest
    manifest = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert manifest["synthesis"]["answered blind by"] == TextGuesser.name
    whole = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    stamps = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir()}
    assert synthesize(tagged, chest_tree, tmp_path / "out") == report, "a finished folder is left as it is"
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir()} == stamps
    (tmp_path / "out" / "dataset.json").unlink()  # killed while it wrote
    (tmp_path / "out" / "shard-000000.tar").write_bytes(b"cut")
    synthesize(tagged, chest_tree, tmp_path / "out")
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == whole


def test_the_command_and_refusals(tagged, tmp_path, chest_tree):
    app = typer.Typer()
    register(app)
    run = CliRunner()
    args = [str(tagged), "--tree", str(chest_tree.folder), "--kind", "sibling", "--no-captions"]
    done = run.invoke(app, [*args, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0 and "Without the image" in done.output, done.output
    assert "Examples" in run.invoke(app, ["--help"]).output
    with pytest.raises(SynthesisError, match="source itself"):
        synthesize(tagged, chest_tree, tagged)
    write_samples(tmp_path / "raw", [sample("x", "Pleural effusion.", seed=1)])
    with pytest.raises(SynthesisError, match="medvlm data tag"):
        synthesize(tmp_path / "raw", chest_tree, tmp_path / "no")
    with pytest.raises(SynthesisError, match="did not write"):
        synthesize(tagged, chest_tree, tmp_path / "raw", Options())


def test_a_model_that_is_asked_blind_from_the_command(tagged, tmp_path, chest_tree):
    app = typer.Typer()
    register(app)
    with Server(lambda digest, text: {"answer": "A"}) as server:
        args = [str(tagged), "--tree", str(chest_tree.folder), "--out", str(tmp_path / "o"), "--blind", server.url]
        done = CliRunner().invoke(app, args)
    assert done.exit_code == 0 and "answered blind by model scripted" in done.output.replace("\n", " "), done.output


def test_capitals_do_not_tell_where_an_option_comes_from(tmp_path):
    names = {
        "MONDO:1": "Parkinson disease", "MONDO:2": "Charcot-Marie-Tooth disease", "MONDO:3": "tooth disease",
        "MONDO:4": "rib fracture", "MONDO:5": "COVID-19", "MESH:1": "Bone Lines", "MESH:2": "Lines of Bone",
        "HP:1": "Kerley B lines", "HP:2": "Dense Kerley lines",
    }  # fmt: skip
    concepts = [Concept(i, name, i.split(":")[0], "disease", [], []) for i, name in names.items()]
    build_tree(tmp_path, ontologies=(), more=[("tests", lambda dropped: iter(concepts))])
    tree = Tree(tmp_path)
    known = Knowledge(tree, Tagger.of(tree))
    called = {names[i]: known.called(i) for i in names}
    assert called == {**{name: name for name in names.values()}, "Bone Lines": "bone lines",
                      "Lines of Bone": "lines of bone", "Dense Kerley lines": "dense Kerley lines"}  # fmt: skip
    assert known.name("HP:1") == "Kerley B lines"


def test_the_knowledge_that_the_constraints_rest_on(known):
    assert known.related(CONSOLIDATION, OPACITY) and not known.related(CONSOLIDATION, NODULE)
    assert known.name(EFFUSION) == "pleural effusion" and CHEST not in known.above(EFFUSION)
    assert {FAILURE, PNEUMONIA} <= {e.head for e in known.tree.edges() if e.kind == "has_finding"}
