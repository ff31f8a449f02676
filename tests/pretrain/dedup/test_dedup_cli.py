"""``medvlm data dedup`` from a table and from a folder to what is kept."""

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from pretrain.dedup.cli import register
from pretrain.dedup.errors import DedupError
from pretrain.sources.chest import generate_case

app = typer.Typer()
app.callback()(lambda: None)
register(app)


def run(*arguments):
    result = CliRunner().invoke(app, ["dedup", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Two patients; 16-bit PNG, an 8-bit JPEG of the first, and a file that is no image."""
    folder = tmp_path_factory.mktemp("films")
    for patient in range(2):
        raw = generate_case(11, patient, size=256, lateral_share=0).images[0]
        Image.fromarray(raw.astype(np.uint16) * 16).save(folder / f"p{patient}.png")
    low, high = np.percentile(raw := generate_case(11, 0, size=256, lateral_share=0).images[0], (1, 99))
    eight = (np.clip((raw.astype(float) - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    (folder / "copies").mkdir()
    Image.fromarray(eight).resize((200, 230)).save(folder / "copies" / "p0.jpg", quality=80)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    return folder


def test_help_has_examples():
    text = CliRunner().invoke(app, ["dedup", "--help"]).output
    assert "medvlm data dedup reports.csv" in text and "--image" in text


def test_a_folder_of_images(films, tmp_path):
    out = tmp_path / "out"
    said = run(films, "--out", out)
    assert (out / "kept.txt").read_text().split() == ["broken.png", "copies/p0.jpg", "p1.png"]
    table = {r["key"]: r for r in pq.read_table(out / "decisions.parquet").to_pylist()}
    assert table["p0.png"]["keeper"] == "copies/p0.jpg" and not table["p0.png"]["kept"]
    assert table["p0.png"]["cluster"] == table["copies/p0.jpg"]["cluster"] != table["p1.png"]["cluster"]
    summary = json.loads((out / "summary.json").read_text())
    assert sum(summary["refused images"].values()) == 1 and list(summary["refused files"]) == ["broken.png"]
    page = (out / "pairs.html").read_text()
    assert page.count("<img") >= 2 and "copies/p0.jpg" in page and "3 of 4 samples are kept" in said
    before = {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()}
    run(films, "--out", out)
    assert {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()} == before


def test_a_table_of_both(films, tmp_path):
    rows = [
        ("s1", "No acute disease.", "p0.png", "A"),
        ("s2", "no acute  disease.", "copies/p0.jpg", "A"),
        ("s3", "Small effusion on the left.", "p0.png", "A"),
        ("s4", "No acute disease.", "p1.png", "B"),
        ("s5", "No acute disease.", "", "C"),
        ("s6", "No acute disease.", "", "D"),
        ("s7", "No acute disease.", "p1.png", "E"),
        ("s8", "", "missing.png", "F"),
    ]
    with (films / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "report", "file", "who"), *rows])
    out = tmp_path / "out"
    said = run(
        films / "table.csv", "--out", out, "--text", "report", "--image", "file", "--key", "id", "--patient", "who"
    )  # fmt: skip
    table = {r["key"]: r for r in pq.read_table(out / "decisions.parquet").to_pylist()}
    assert {k: r["keeper"] for k, r in table.items() if not r["kept"]} == {"s2": "s1", "s6": "s5"}
    assert table["s3"]["reason"] == "same images, other text" and table["s3"]["cluster"] == table["s1"]["cluster"]
    assert table["s4"]["reason"] == table["s7"]["reason"] == "same image under two patients"
    assert json.loads((out / "conflicts.jsonl").read_text())["patients"] == ["B", "E"]
    with (out / "kept.csv").open(newline="") as file:
        kept = list(csv.DictReader(file))
    assert [r["id"] for r in kept] == ["s1", "s3", "s4", "s5", "s7", "s8"] and kept[0]["report"] == rows[0][1]
    assert "cannot be read: 1" in said and "conflicts.jsonl" in said


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "tsv"])
def test_texts_alone_in_every_form(kind, tmp_path):
    source = tmp_path / f"t.{kind}"
    rows = [
        {"text": "Clear lungs.", "n": "1"},
        {"text": "CLEAR lungs.", "n": "2"},
        {"text": "Left effusion.", "n": "3"},
    ]
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), source)
    elif kind == "jsonl":
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        source.write_text("text\tn\n" + "".join(f"{r['text']}\t{r['n']}\n" for r in rows))
    run(source, "--out", tmp_path / "out", "--text", "text")
    kept = tmp_path / "out" / f"kept.{kind}"
    if kind == "parquet":
        assert pq.read_table(kept)["n"].to_pylist() == ["1", "3"]
    else:
        lines = source.read_text().splitlines(keepends=True)
        dropped = 1 if kind == "jsonl" else 2
        assert kept.read_text() == "".join(line for i, line in enumerate(lines) if i != dropped)


def test_wrong_requests_say_what_to_do(films, tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("report,file\nx,y\n")
    for arguments, message in (
        ((table, "--text", "reprot"), "did you mean 'report'"),
        ((table,), "--text"),
        ((tmp_path / "none.csv", "--text", "a"), "no table"),
        ((films / "p0.png", "--text", "a"), "a table is"),
        ((table, "--image", "file"), "none of the 1 images can be read"),
    ):
        with pytest.raises(DedupError, match=message):
            run(*arguments, "--out", tmp_path / "o")
    table.write_text("report,file\nx,y,z\n")
    with pytest.raises(DedupError, match="row 1 has more or fewer fields"):
        run(table, "--out", tmp_path / "o", "--text", "report")
    with pytest.raises(DedupError, match="choose another --out"):
        run(films, "--out", films)
