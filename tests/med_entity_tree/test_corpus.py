import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from med_entity_tree.corpus import read_documents, tag_corpus
from med_entity_tree.errors import OntologyError

TEXTS = [
    "Pleural effusion. No pneumothorax.",
    "Pneumothorax, pleural effusion, pleural effusion.",
    "",
    "Nothing here.",
] * 3


def documents(texts=TEXTS):
    return [(f"d{number}", text) for number, text in enumerate(texts)]


def test_counts_are_of_documents_and_negations_do_not_count(small_tree, tmp_path):
    tagged = tag_corpus(documents(), small_tree.folder, tmp_path, workers=2, chunk=5)
    assert (tagged.documents, tagged.reused) == (12, 0)
    assert dict(tagged.present) == {"HP:11": 6, "HP:10": 3}
    assert dict(tagged.mentions) == {"HP:11": 9, "HP:10": 6}
    counts = json.loads((tmp_path / "counts.json").read_text())
    assert counts["documents"] == 12 and counts["present"] == {"HP:10": 3, "HP:11": 6}
    rows = pa.concat_tables(pq.read_table(tmp_path / part) for part in counts["parts"]).to_pylist()
    first = [row for row in rows if row["document"] == "d0"]
    assert [(r["entity"], r["start"], r["end"], r["polarity"], r["present"]) for r in first] == [
        ("HP:11", 0, 16, "affirmed", True),
        ("HP:10", 21, 33, "negated", False),
    ]


def test_what_is_tagged_is_not_tagged_again(small_tree, tmp_path):
    whole = tag_corpus(documents(), small_tree.folder, tmp_path / "whole", chunk=4)
    tag_corpus(documents(TEXTS[:8]), small_tree.folder, tmp_path / "two", chunk=4)
    (tmp_path / "two" / "part-0.parquet.part").write_bytes(b"left by a killed run")
    grown = tag_corpus(documents(), small_tree.folder, tmp_path / "two", chunk=4)
    assert grown.reused == 8 and grown.present == whole.present and grown.mentions == whole.mentions
    changed = tag_corpus(documents([*TEXTS[:4], "pneumonia", *TEXTS[5:]]), small_tree.folder, tmp_path / "two", chunk=4)
    assert changed.reused == 8 and changed.present["MONDO:4"] == 1


def test_documents_of_every_kind_of_source(tmp_path):
    rows = {"text": ["one", "two"], "case": ["007", "b"]}
    pq.write_table(pa.table(rows), tmp_path / "t.parquet")
    (tmp_path / "t.csv").write_text("text,case\none,007\ntwo,b\n")
    (tmp_path / "t.tsv").write_text("text\tcase\none\t007\ntwo\tb\n")
    (tmp_path / "t.jsonl").write_text('{"text": "one", "case": "007"}\n{"text": "two", "case": "b"}\n')
    for suffix in ("parquet", "csv", "tsv", "jsonl"):
        path = tmp_path / f"t.{suffix}"
        assert list(read_documents(path, "text", "case")) == [("007", "one"), ("b", "two")]
        assert list(read_documents(path)) == [("0", "one"), ("1", "two")]
        with pytest.raises(OntologyError, match="no column findings; it has text, case"):
            list(read_documents(path, "findings"))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_bytes("caf\u00e9 \u6c14".encode() + b"\xff")
    assert list(read_documents(tmp_path / "folder")) == [("a.txt", "caf\u00e9 \u6c14\ufffd")]
    with pytest.raises(OntologyError, match=r"\.txt, or from"):
        list(read_documents(tmp_path / "t.pdf"))
