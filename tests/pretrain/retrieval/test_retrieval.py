"""Node-guided retrieval: who is thin, what counts as evidence, quotas, and why the rest was refused."""

import csv
import json
import math

import numpy as np
import pyarrow.parquet as pq
import pytest
import typer
from chest_entities import CONSOLIDATION, EFFUSION, LUNG, NODULE, OPACITY, PNEUMOTHORAX, sample, write_samples
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from med_entity_tree.errors import OntologyError
from pretrain.retrieval.choose import Rules
from pretrain.retrieval.cli import register
from pretrain.retrieval.needs import Need, kinds_of, query_of, thin_nodes
from pretrain.retrieval.run import retrieve
from pretrain.retrieval.scan import StoredEncoder, _Best, _WordCounts, read_pool

POOL = [
    ("present", "Large pleural effusion on the left."),
    ("denied", "No pleural effusion."),
    ("doubtful", "Possible pleural effusion."),
    ("past", "History of pleural effusion."),
    ("words", "The pleural space and the lungs; effusion elsewhere in the abdomen is not meant."),
    ("kind", "Consolidation of the right lung."),
    ("twin", "LARGE pleural effusion, on the left!"),
    ("two", "Pleural effusion and consolidation."),
    ("none", "The weather is fine."),
]


def outcome(result):
    return {POOL[c.document][0]: c.reason for c in result.candidates}


def hashed_words(texts):
    """A real, if simple, encoder: hashed words as unit vectors."""
    rows = np.zeros((len(texts), 64), np.float32)
    for row, text in zip(rows, texts):
        for word in text.lower().split():
            row[sum(word.encode()) % 64] += 1
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def test_thin_nodes_rarest_first_with_what_they_want(chest_tree):
    counts = {EFFUSION: 3, CONSOLIDATION: 1, NODULE: 9, LUNG: 1}
    needs = thin_nodes(chest_tree, counts, below=5)
    assert needs == [Need(CONSOLIDATION, 1, 4), Need(EFFUSION, 3, 2)]
    assert {n.entity for n in thin_nodes(chest_tree, counts, below=5, least=0)} > {PNEUMOTHORAX, EFFUSION}
    assert [n.entity for n in thin_nodes(chest_tree, counts, below=5, roots=["anatomy"])] == [LUNG]
    assert thin_nodes(chest_tree, counts, below=5, only=[NODULE, PNEUMOTHORAX]) == [Need(PNEUMOTHORAX, 0, 5)]
    inside = thin_nodes(chest_tree, counts, below=20, under=[OPACITY])
    assert {n.entity for n in inside} == {CONSOLIDATION, NODULE}
    with pytest.raises(OntologyError):
        thin_nodes(chest_tree, counts, below=5, only=["HP:0"])


def test_a_query_is_name_synonyms_and_path(chest_tree):
    query = query_of(chest_tree, EFFUSION)
    assert query.text.startswith("Pleural effusion; fluid around the lung. Abnormal pleura morphology; ")
    assert query.words["effusion"] == query.words["fluid"] == 1.0 and query.words["morphology"] == 0.3


def test_evidence_and_refusals_of_a_node(chest_tree, tagger):
    found = retrieve(POOL, chest_tree, tagger, [Need(EFFUSION, 0, 10)], encode=hashed_words, reach=20)
    said = outcome(found.results[0])
    taken = {name for name, reason in said.items() if not reason}
    assert taken in ({"present", "two"}, {"twin", "two"})  # equal words: the nearer by meaning stands for both
    assert said["denied"] == "named, but denied" and said["doubtful"] == "named, but uncertain"
    assert said["past"] == "named, but in the past, or only asked about"
    assert {said["present"], said["twin"]} == {"", "same text as another"}
    assert said["words"] == "not named, and not alike enough"
    assert said["none"] == "not named, and alike by words or by meaning alone"
    assert found.results[0].need.want - len(found.results[0].taken) == 8


def test_a_kind_counts_after_the_node_itself(chest_tree, tagger):
    assert CONSOLIDATION in kinds_of(chest_tree, OPACITY)
    pool = [*POOL, ("itself", "Pulmonary opacity.")]
    taken = retrieve(pool, chest_tree, tagger, [Need(OPACITY, 0, 2)]).results[0].taken
    assert [(pool[c.document][0], c.kind) for c in taken[:1]] == [("itself", "")] and taken[1].kind == CONSOLIDATION
    alone = retrieve(pool, chest_tree, tagger, [Need(OPACITY, 0, 5)], rules=Rules(kinds=False)).results[0]
    assert [pool[c.document][0] for c in alone.taken] == ["itself"]


def test_the_quota_is_kept_and_what_is_beyond_says_so(chest_tree, tagger):
    result = retrieve(POOL, chest_tree, tagger, [Need(EFFUSION, 0, 1)]).results[0]
    assert len(result.taken) == 1 and result.refused["over quota"] + result.refused["same text as another"] == 2
    assert result.refused["over quota"] >= 1


def test_documents_that_are_only_alike_are_taken_when_asked_for(chest_tree, tagger):
    needs = [Need(EFFUSION, 0, 10)]
    found = retrieve(POOL, chest_tree, tagger, needs, encode=hashed_words, rules=Rules(similar=0.0), reach=20)
    assert "words" in {name for name, reason in outcome(found.results[0]).items() if not reason}


def test_bm25_of_a_hand_computed_case():
    counted = _WordCounts({"effusion": 0, "pleura": 1})
    for text in (["effusion", "x"], ["effusion", "effusion", "y", "z"], ["nothing", "here", "at", "all"]):
        counted.add(text)
    found = dict(counted.bm25({"effusion": 1.0, "pleura": 0.3}, 10))
    idf = math.log1p((3 - 2 + 0.5) / (2 + 0.5))
    average = 10 / 3
    for document, tf, length in ((0, 1, 2), (1, 2, 4)):
        wanted = idf * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * length / average))
        assert found[document] == pytest.approx(wanted)
    assert set(found) == {0, 1}


def test_a_document_with_words_of_the_path_only_is_no_candidate():
    counted = _WordCounts({"effusion": 0, "abnormality": 1})
    for text in (["abnormality"] * 5, ["effusion"]):
        counted.add(text)
    assert [d for d, _ in counted.bm25({"effusion": 1.0, "abnormality": 0.3}, 10)] == [1]


@given(st.lists(st.lists(st.integers(0, 20), min_size=1, max_size=6), min_size=1, max_size=6), st.integers(1, 5))
def test_the_best_of_blocks_are_the_best_of_all(blocks, most):
    best, first = _Best(1, most), 0
    for block in blocks:
        best.add(np.array([block], np.float32), first)
        first += len(block)
    flat = [value for block in blocks for value in block]
    wanted = sorted(enumerate(flat), key=lambda item: (-item[1], item[0]))[:most]
    assert best.rows(0) == [(n, float(v)) for n, v in wanted]


def test_vectors_are_made_once(tmp_path):
    calls = []

    def encode(texts):
        calls.append(len(texts))
        return hashed_words(texts)

    stored = StoredEncoder(encode, tmp_path)
    first = stored(["a b", "c"])
    assert np.array_equal(stored(["a b", "c"]), first) and np.array_equal(
        StoredEncoder(encode, tmp_path)(["a b", "c"]), first
    )
    stored(["a", "b c"])  # other texts with the same letters
    assert calls == [2, 2]


def test_a_pool_of_shards_is_what_the_conversations_say(tmp_path):
    write_samples(tmp_path / "pool", [sample("a", "Pleural effusion.", seed=1)])
    assert list(read_pool(tmp_path / "pool")) == [("a", "Report this examination.\nPleural effusion.")]


def test_the_command_writes_the_table_the_evidence_and_the_list_the_same_each_time(tmp_path, chest_tree):
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps({"id": i, "text": t}) + "\n" for i, t in POOL))
    (tmp_path / "have").mkdir()
    (tmp_path / "have" / "counts.json").write_text(json.dumps({"present": {EFFUSION: 1, CONSOLIDATION: 49}}))
    app = typer.Typer()
    register(app)
    args = [str(tmp_path / "pool.jsonl"), "--id", "id", "--for", str(tmp_path / "have"), "--no-meaning"]
    run = CliRunner()
    for out in ("one", "two"):
        done = run.invoke(app, [*args, "--tree", str(chest_tree.folder), "--out", str(tmp_path / out)])
        assert done.exit_code == 0, done.output
    assert "1 of 2 nodes reach 50" in done.output.replace("\n", " ")
    for name in ("nodes.csv", "candidates.parquet", "taken.jsonl", "summary.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    rows = list(csv.DictReader((tmp_path / "one" / "nodes.csv").open()))
    assert [(r["node"], r["had"], r["wanted"], r["taken"], r["missing"]) for r in rows] == [
        (EFFUSION, "1", "49", "2", "47"),
        (CONSOLIDATION, "49", "1", "1", "0"),
    ]
    taken = [json.loads(line) for line in (tmp_path / "one" / "taken.jsonl").open()]
    assert {line["document"]: line["entities"] for line in taken}["present"] == [EFFUSION]
    table = pq.read_table(tmp_path / "one" / "candidates.parquet").to_pylist()
    assert sum(row["taken"] for row in table) == 3 and all(row["taken"] == (row["reason"] == "") for row in table)
    assert "Examples" in run.invoke(app, ["--help"]).output
    assert run.invoke(app, ["x", "--for", str(tmp_path), "--out", str(tmp_path / "no")]).exit_code != 0
