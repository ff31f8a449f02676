"""The whole text step against brute force; partitions, workers, kills and broken input."""

import os
import random
import signal
import subprocess
import sys
import time
from itertools import combinations
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain.dedup.errors import DedupError
from pretrain.dedup.text import TextSettings
from pretrain.dedup.text_parts import sign_texts
from pretrain.dedup.text_run import summary, text_duplicates

SURE = TextSettings(threshold=0.5, ngram=2, found=0.9999)


def decide(folder: Path, rows, how=SURE, size=1000, workers=1, **columns) -> dict[str, dict]:
    keys, texts = zip(*rows, strict=True)
    table = pa.table({"key": list(keys), "text": list(texts), **columns})
    chunks = [table.slice(start, size) for start in range(0, len(table), size)]
    sign_texts(chunks, folder / "signatures", how, workers=workers)
    return {
        r["key"]: r for r in pq.read_table(text_duplicates(folder / "signatures", folder / "work", how)).to_pylist()
    }


def shingles(text: str, n: int) -> set:
    words = text.lower().replace(".", " ").split()
    return {tuple(words[i : i + n]) for i in range(max(1, len(words) - n + 1))} if words else set()


def jaccard(a: str, b: str, n: int) -> float:
    x, y = shingles(a, n), shingles(b, n)
    return len(x & y) / len(x | y) if x and y else 0.0


def test_a_small_corpus_by_hand(tmp_path):
    base = (
        "Heart size and the mediastinum look as expected for the age of this person. Trachea in the midline as before"
    )
    rows = [
        ("a", base),
        ("b", base.upper() + "  "),
        ("c", base + ". Thank you for this referral"),
        ("d", base + ". 5 mm nodule left"),
        ("e", base + ". 6 mm nodule right"),
        ("f", "No acute disease."),
        ("g", "no  ACUTE disease."),
        ("h", "No acute disease"),
        ("i", "Acute disease."),
        ("j", ""),
        ("k", " ... "),
        ("l", None),
    ]
    found = decide(tmp_path, rows, TextSettings(threshold=0.7))
    assert {k: (r["relation"], r["keeper"]) for k, r in found.items()} == {
        "a": ("unique", "a"), "b": ("exact", "a"), "c": ("near", "a"), "d": ("unique", "d"), "e": ("unique", "e"),
        "f": ("unique", "f"), "g": ("exact", "f"), "h": ("near", "f"), "i": ("unique", "i"),
        "j": ("no text", "j"), "k": ("no text", "k"), "l": ("no text", "l"),
    }  # fmt: skip
    assert found["c"]["jaccard"] == pytest.approx(jaccard(rows[0][1], rows[2][1], 3)) and found["b"]["jaccard"] == 1.0
    assert "numbers" in found["d"]["refused"] and "sides" in found["e"]["refused"]
    counts = summary(tmp_path / "work" / "text_decisions.parquet")
    assert counts["exact"] == 2 and counts["no text"] == 3 and counts["near-duplicate differs in sides"] >= 2
    free = decide(tmp_path / "free", rows, TextSettings(threshold=0.7, guard=False))
    assert free["e"]["keeper"] in ("a", "d") and free["e"]["refused"] == ""


def test_the_order_column_chooses_the_keeper(tmp_path):
    rows = [("a", "one text of some words"), ("b", "one text of some words"), ("c", "one text of some words")]
    found = decide(tmp_path, rows, order=[3, None, 1])
    assert {k: r["keeper"] for k, r in found.items()} == {"a": "c", "b": "c", "c": "c"}
    assert {r["cluster"] for r in found.values()} == {"c"}


word = st.sampled_from("alpha beta gamma delta epsilon zeta eta theta".split())


@settings(max_examples=25)
@given(texts=st.lists(st.lists(word, max_size=9).map(" ".join), min_size=1, max_size=14))
def test_against_brute_force(tmp_path_factory, texts):
    rows = [(f"{i:02d}", text) for i, text in enumerate(texts)]
    found = decide(tmp_path_factory.mktemp("brute"), rows)
    kept = []
    for key, text in rows:  # keys are the order of preference
        similar = [other for other, t in kept if jaccard(text, t, 2) >= 0.5]
        assert found[key]["keeper"] == (similar[0] if similar else key)
        if not similar:
            kept.append((key, text))
    for (a, _), (b, _) in combinations(kept, 2):
        assert found[a]["keeper"] != found[b]["keeper"]


def corpus(count: int) -> list[tuple[str, str]]:
    chance = random.Random(3)
    words = [f"w{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(120)]
    rows = []
    for i in range(count):
        if rows and chance.random() < 0.4:
            text = chance.choice(rows)[1].split()
            text[chance.randrange(len(text))] = chance.choice(words)
        else:
            text = chance.choices(words, k=chance.randint(1, 40))
        rows.append((f"k{i:05d}", " ".join(text)))
    return rows


def test_the_same_bytes_with_other_parts_order_and_workers(tmp_path):
    rows = corpus(600)
    decide(tmp_path / "one", rows)
    decide(tmp_path / "many", random.Random(1).sample(rows, len(rows)), size=37, workers=2)
    one, many = (tmp_path / name / "work" / "text_decisions.parquet" for name in ("one", "many"))
    assert one.read_bytes() == many.read_bytes()
    assert summary(one)["near"] > 50


def test_a_template_with_thousands_of_variants_is_linear(tmp_path):
    """Every report equals a template but for its date: no pair may merge, and it must not take a pair's time each."""
    text = "Chest film of the ward. Heart and lungs as on the film before. The line was removed. Film number {}."
    rows = [(f"{i:05d}", text.format(i)) for i in range(20_000)]
    start = time.process_time()
    found = decide(tmp_path, rows, TextSettings())
    assert all(r["relation"] == "unique" and r["refused"] == "numbers" for r in found.values())
    assert time.process_time() - start < 60


def test_a_changed_input_is_not_mixed_with_the_old_one(tmp_path):
    first = decide(tmp_path, [("a", "some words of a text"), ("b", "some words of a text")])
    assert first["b"]["keeper"] == "a"
    second = decide(tmp_path, [("b", "some words of a text"), ("c", "other things are said here")])
    assert set(second) == {"b", "c"} and second["b"]["keeper"] == "b"
    assert len(list((tmp_path / "signatures").glob("*.parquet"))) == 1


def test_keys_and_columns_that_are_wrong_are_named(tmp_path):
    with pytest.raises(DedupError, match="'a' occurs 2 times"):
        decide(tmp_path / "twice", [("a", "x"), ("a", "y")])
    with pytest.raises(DedupError, match="no signature parts"):
        text_duplicates(tmp_path, tmp_path / "w", SURE)
    pq.write_table(pa.table({"key": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(DedupError, match="no part of text signatures"):
        text_duplicates(tmp_path, tmp_path / "w", SURE)
    with pytest.raises(DedupError, match="ask for"):
        decide(tmp_path / "bands", [("a", "x")])
        text_duplicates(tmp_path / "bands" / "signatures", tmp_path / "w2", TextSettings())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("keep me")
    with pytest.raises(DedupError, match="choose another folder"):
        text_duplicates(tmp_path / "bands" / "signatures", tmp_path / "mine", SURE)
    assert (tmp_path / "mine" / "letter.txt").is_file()


_RUN = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
import pretrain.dedup.text_parts as parts
from test_dedup_text_run import corpus, decide
real = parts.text_signatures
def slow(*arguments):
    time.sleep(0.15)
    return real(*arguments)
parts.text_signatures = slow
decide(Path({folder!r}), corpus(600), size=40)
"""


def test_killed_at_any_moment_it_goes_on_to_the_same_bytes(tmp_path):
    decide(tmp_path / "whole", corpus(600), size=40)
    folder = tmp_path / "killed"
    code = _RUN.format(tests=str(Path(__file__).parent), folder=str(folder))
    running = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[3])
    while len(list(folder.glob("signatures/*.parquet"))) < 4:
        assert running.poll() is None
        time.sleep(0.02)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    (folder / "signatures" / "part-left.tmp").write_bytes(b"half a part")
    before = {p.name: p.stat().st_mtime_ns for p in folder.glob("signatures/*.parquet")}
    assert 4 <= len(before) < 15
    decide(folder, corpus(600), size=40)
    after = {p.name: p.stat().st_mtime_ns for p in folder.glob("signatures/*.parquet")}
    assert len(after) == 15 and all(after[name] == at for name, at in before.items())
    assert not list(folder.glob("signatures/*.tmp"))
    name = "work/text_decisions.parquet"
    assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_step_that_was_cut_off_is_done_again(tmp_path):
    rows = corpus(300)
    decide(tmp_path, rows)
    result = tmp_path / "work" / "text_decisions.parquet"
    whole = result.read_bytes()
    result.write_bytes(b"torn")
    (tmp_path / "work" / "decisions.done").unlink()
    (tmp_path / "work" / "gathered.done").unlink()
    decide(tmp_path, rows)
    assert result.read_bytes() == whole


def test_parts_without_rows_are_no_reason_to_fail(tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    table = pa.table({"key": pa.array(["a"]), "text": pa.array(["some words"])})
    sign_texts([table.slice(0, 0)], folder, SURE)
    assert pq.read_table(text_duplicates(folder, tmp_path / "work", SURE)).num_rows == 0
    sign_texts([table.slice(0, 0), table], folder, SURE)
    assert pq.read_table(text_duplicates(folder, tmp_path / "work", SURE))["key"].to_pylist() == ["a"]
