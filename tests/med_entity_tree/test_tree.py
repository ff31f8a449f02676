"""The tree on the disk, its exports, its page and its commands, on a small tree."""

import base64
import gzip
import json
import re
import xml.etree.ElementTree as ET
from collections import Counter

import pytest
from typer.testing import CliRunner

import medvlm
from med_entity_tree.build import build_tree
from med_entity_tree.errors import OntologyError
from med_entity_tree.export import export
from med_entity_tree.page import write_page
from med_entity_tree.readers.obo import read_obo
from med_entity_tree.tree import Tree

from .conftest import concepts


def command(*arguments):
    return CliRunner().invoke(medvlm.app, ["met", *map(str, arguments)])


def test_the_same_concepts_give_the_same_bytes(small_tree, tmp_path):
    build_tree(tmp_path / "again", ontologies=(), more=[("tests", lambda dropped: reversed(concepts()))])
    for file in ("entities.parquet", "edges.parquet", "merges.parquet", "manifest.json"):
        assert (tmp_path / "again" / file).read_bytes() == (small_tree.folder / file).read_bytes(), file


def test_entities_are_found_by_id_by_concept_and_by_name(small_tree):
    assert small_tree["MONDO:0005087"].id == "MET:respiratory" and "MONDO:0005087" in small_tree
    assert [e.id for e in small_tree.search("Pleural effusions")] == ["HP:11"]
    assert [e.id for e in small_tree.search("pneumonia")] == ["MONDO:4", "MONDO:5"]
    assert [e.id for e in small_tree.ancestors("MONDO:5")] == ["MONDO:4", "MET:respiratory", "MET:disease"]
    assert {e.id for e in small_tree.siblings("HP:11")} >= {"HP:10", "HP:12"}
    with pytest.raises(OntologyError, match="no entity MONDO:404"):
        small_tree["MONDO:404"]


def test_edges_keep_source_frequency_and_reference(small_tree):
    edges = {(e.head, e.kind, e.tail): e for e in small_tree.edges()}
    edge = edges["MONDO:4", "has_finding", "HP:11"]
    assert edge.frequency == pytest.approx(0.9) and (edge.source, edge.reference) == ("MONDO", "PMID:1")
    assert edges["HP:11", "located_in", "UBERON:22"].source == "NAME"
    assert ("MONDO:5", "is_a", "MONDO:4") in edges


def test_a_folder_without_a_tree_is_answered_with_what_to_do(tmp_path):
    with pytest.raises(OntologyError, match="medvlm met build"):
        Tree(tmp_path)


def test_exports_hold_every_entity_and_other_tools_read_them(small_tree, tmp_path):
    for suffix in ("jsonl", "csv", "obo", "graphml"):
        assert export(small_tree, tmp_path / f"t.{suffix}") == len(small_tree)
    rows = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text("utf-8").splitlines()]
    assert {row["id"] for row in rows} == set(small_tree.entities)
    back = {c.id: c for c in read_obo(tmp_path / "t.obo", kind="x", prefixes=None, dropped=Counter())}
    assert set(back) == set(small_tree.entities)
    assert back["MONDO:5"].parents == ["MONDO:4"] and "pulmonary thromboembolism" in {
        n.text for n in back["MONDO:2"].names
    }
    space = "{http://graphml.graphdrawing.org/xmlns}"
    graph = ET.parse(tmp_path / "t.graphml").getroot().find(f"{space}graph")
    assert graph is not None and len(graph.findall(f"{space}node")) == len(small_tree)
    assert len(graph.findall(f"{space}edge")) == small_tree.graph.count
    assert export(small_tree, tmp_path / "f.csv", "finding") == sum(e.root == "finding" for e in small_tree)
    for wrong in (tmp_path / "t.xml",), (tmp_path / "t.csv", "findings"):
        with pytest.raises(OntologyError, match=r"known formats|the roots are"):
            export(small_tree, *wrong)


def test_the_page_holds_the_whole_tree_and_fetches_nothing(small_tree, tmp_path):
    size = write_page(small_tree, tmp_path / "tree.html", {"HP:11": 7}, "reports")
    html = (tmp_path / "tree.html").read_text("utf-8")
    assert size == len(html.encode()) and "http" not in re.sub(r'id="data">[^<]*<', "", html)
    (packed,) = re.findall(r'id="data">([^<]*)<', html)
    data = json.loads(gzip.decompress(base64.b64decode(packed)))
    assert data["id"] == list(small_tree.entities) and len(data["roots"]) == 4
    assert data["count"][data["id"].index("HP:11")] == 7
    assert all(parent < number for number, parent in enumerate(data["parent"]))  # the page sums branches in one sweep


def test_commands_answer(small_tree, tmp_path):
    tree = ("--tree", small_tree.folder)
    assert "163" not in command("show", *tree).output and "Disease" in command("show", *tree).output
    shown = command("show", "lobar pneumonia", *tree).output
    assert "MONDO:5" in shown and "respiratory" in shown and "has_finding" in shown
    assert "HP:11" in command("search", "pleural effusions", *tree).output
    nothing = command("search", "zebra", *tree)
    assert nothing.exit_code == 1 and "fewer words" in nothing.output
    path = command("path", "lobar pneumonia", "pleura", *tree).output
    assert path.count("--") >= 4 and "located_in" in path
    assert command("path", "lobar pneumonia", "pleura", "--most", "1", *tree).exit_code == 1
    tagged = command("tag", "No pneumothorax but a pleural effusion.", *tree).output
    assert "negated" in tagged and "affirmed" in tagged
    (tmp_path / "texts.jsonl").write_text('{"text": "pleural effusion"}\n')
    counted = command("count", tmp_path / "texts.jsonl", "--out", tmp_path / "tags", *tree)
    assert "1 documents" in counted.output and "HP:11" in counted.output
    page = command("page", "--out", tmp_path / "page.html", "--counts", tmp_path / "tags", *tree)
    assert page.exit_code == 0 and (tmp_path / "page.html").stat().st_size > 10_000
    assert command("export", tmp_path / "e.obo", *tree).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["show", "zebra"], "nothing in the tree is called"),
        (["page", "--counts", "nowhere"], "medvlm met count"),
        (["export", "t.xml"], "known formats"),
        (["coverage", "ONTOLOGY:NONE", "x"], "the packages hold"),
        (["coverage", "nowhere", "x"], "no tree, no counts"),
    ],
)
def test_wrong_input_is_answered_with_a_sentence(small_tree, arguments, sentence, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["medvlm", "met", *arguments, "--tree", str(small_tree.folder)])
    with pytest.raises(SystemExit) as stop:
        medvlm.main()
    assert stop.value.code == 2 and sentence in " ".join(capsys.readouterr().err.split())
