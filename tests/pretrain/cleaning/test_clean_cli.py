"""``medvlm data clean`` and ``medvlm data quality`` over real tables."""

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

import pretrain.cleaning.cli
from pretrain.cleaning.bootstrap import SUMMARY
from pretrain.cleaning.errors import CleaningError
from pretrain.cleaning.quality import QualityClassifier
from pretrain.cleaning.run import clean_table, read_examples
from pretrain.cleaning.tables import batches

GOOD = "The heart is nor\u00admal in size.\nPage 1 of 2\nThe ﬁelds are clear."
MEDICAL = "lung heart effusion fracture lesion patient chronic acute left right mild severe pleural bone".split()
OTHER = "file server install python command package option click price offer licence code button page".split()


@pytest.fixture
def run():
    app = typer.Typer()
    pretrain.cleaning.cli.register(app)

    def invoke(*arguments, code=0):
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        if code == 0 and result.exception:
            raise result.exception
        assert result.exit_code == code, result.output
        return result.output

    return invoke


def write(path: Path, rows: list[dict]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", newline="") as file:
            made = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            made.writeheader()
            made.writerows(rows)
    return path


def read(path: Path) -> list[dict]:
    return [row for rows in batches(path) for row in rows]


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_a_table_keeps_its_kind_and_columns_and_drops_are_named(tmp_path, run, kind):
    rows = [{"id": "a", "befund": GOOD}, {"id": "b", "befund": "Normal."}, {"id": "c", "befund": "IMG_1.png"}]
    table = write(tmp_path / f"in.{kind}", rows)
    said = run("clean", table, "--kind", "report", "--text", "befund", "--out", tmp_path / f"out.{kind}")
    kept = [{"id": "a", "befund": "The heart is normal in size.\nThe fields are clear."}]
    assert read(tmp_path / f"out.{kind}") == kept
    drops = [json.loads(line) for line in (tmp_path / f"out.{kind}.dropped.jsonl").read_text().splitlines()]
    assert drops == [{"row": 2, "reasons": ["too short"]}, {"row": 3, "reasons": ["too short", "placeholder text"]}]
    assert "1 of 3 rows kept" in said and "dropped 2: too short" in said
    summary = json.loads((tmp_path / f"out.{kind}.cleaning.json").read_text())
    assert summary["boilerplate_lines"] == 1 and summary["faults"] == {"placeholder text": 1, "too short": 2}


def test_rules_may_be_allowed_and_languages_chosen(tmp_path, run):
    said = "Es zeigt sich eine Verschattung der linken Lunge mit Erguss und ohne Pneumothorax bei dem Patienten."
    table = write(tmp_path / "in.csv", [{"text": "Normal."}, {"text": said}])
    run("clean", table, "--kind", "report", "--allow", "too short", "--out", tmp_path / "a.csv")
    assert [row["text"] for row in read(tmp_path / "a.csv")] == ["Normal."]
    run("clean", table, "--kind", "report", "--language", "en,de", "--out", tmp_path / "b.csv")
    assert [row["text"] for row in read(tmp_path / "b.csv")] == [said]


def test_refusals_name_what_is_wrong_and_leave_nothing(tmp_path):
    table = write(tmp_path / "in.csv", [{"report": "The lungs are clear."}])
    wrong = [
        ({"text": "raport"}, "is it 'report'"),
        ({"text": "report", "allow": ("to short",)}, "there is no rule"),
    ]
    for options, message in wrong:
        with pytest.raises(CleaningError, match=message):
            clean_table(table, tmp_path / "out.csv", kind="report", **options)
    with pytest.raises(CleaningError, match=r"must be a \.csv table"):
        clean_table(table, tmp_path / "out.jsonl", kind="report", text="report")
    with pytest.raises(CleaningError, match="the table itself"):
        clean_table(table, table, kind="report", text="report")
    with pytest.raises(CleaningError, match="no table"):
        clean_table(tmp_path / "none.csv", tmp_path / "out.csv", kind="report")
    (tmp_path / "bad.csv").write_text("report,x\nThe lungs are clear.,1\nonly one field\n")
    with pytest.raises(CleaningError, match="line 3"):
        clean_table(tmp_path / "bad.csv", tmp_path / "out.csv", kind="report", text="report")
    (tmp_path / "bad.jsonl").write_text('{"report": "The lungs are clear."}\n{"repo')
    with pytest.raises(CleaningError, match="line 2 is not JSON"):
        clean_table(tmp_path / "bad.jsonl", tmp_path / "out.jsonl", kind="report", text="report")
    (tmp_path / "latin.csv").write_bytes("report\nMüller\n".encode("latin-1"))
    with pytest.raises(CleaningError, match="not UTF-8"):
        clean_table(tmp_path / "latin.csv", tmp_path / "out.csv", kind="report", text="report")
    assert not [p for p in tmp_path.iterdir() if "out" in p.name]


def labelled(tmp_path: Path, hide: str = "") -> Path:
    """Four sources of either label, 40 rows each; labels of sources in ``hide`` are left empty but for five rows."""
    rows = []
    for source in range(8):
        words = (MEDICAL, OTHER)[source % 2]
        for n in range(40):
            body = " ".join(words[(n * 7 + k * (source + 3)) % len(words)] for k in range(9))
            known = f"s{source}" not in hide.split(",") or n < 5
            label = ("yes", "no")[source % 2] if known else ""
            rows.append({"text": f"the {body} of row {n} {source}", "label": label, "source": f"s{source}"})
    return write(tmp_path / "labels.csv", rows)


def test_train_score_and_clean_with_a_classifier(tmp_path, run):
    said = run("quality", "train", labelled(tmp_path), "--out", tmp_path / "q")
    assert "learnt from 320 texts" in said and "8 sources" in said
    rows = [
        {"text": "there is a left pleural effusion and a fracture", "n": 1},
        {"text": "click to install the python package", "n": 2},
    ]
    table = write(tmp_path / "in.parquet", rows)
    assert "1 of 2 rows" in run(
        "quality", "score", table, "--model", tmp_path / "q/model", "--out", tmp_path / "s.parquet"
    )
    scores = [row["quality"] for row in read(tmp_path / "s.parquet")]
    model = QualityClassifier.load(tmp_path / "q/model")
    assert scores == model.score([row["text"] for row in rows]).tolist() and scores[0] > model.threshold > scores[1]
    run("clean", table, "--kind", "conversation", "--quality", tmp_path / "q/model", "--out", tmp_path / "k.parquet")
    assert [row["n"] for row in read(tmp_path / "k.parquet")] == [1]
    drops = (tmp_path / "k.parquet.dropped.jsonl").read_text()
    assert json.loads(drops) == {"row": 2, "reasons": ["low quality"]}


def test_a_bootstrap_by_rules_says_that_nobody_read(tmp_path, run):
    table = labelled(tmp_path, hide="s0,s1,s2,s3")
    held = ["--watch", "s4", "--watch", "s5", "--test", "s6", "--test", "s7"]
    said = run(
        "quality", "train", table, *held, "--judge-rules", "--rounds", 2, "--per-round", 30, "--out", tmp_path / "q"
    )
    assert "judged by rules and word lists (no reader)" in said and "F1" in said
    summary = json.loads((tmp_path / "q" / SUMMARY).read_text())
    assert summary["rounds"][0]["learnt"] == 20 and summary["settings"]["per_round"] == 30
    assert QualityClassifier.load(tmp_path / "q/model").about["judge"].startswith("rules")


def test_training_refuses_what_would_flatter(tmp_path, run):
    table = labelled(tmp_path)
    app = typer.Typer()
    pretrain.cleaning.cli.register(app)
    for arguments, message in (
        (["--judge-rules"], "needs --watch and --test"),
        (["--judge-rules", "--watch", "s4", "--test", "s4"], "other sources each"),
        (["--judge-rules", "--watch", "s9", "--test", "s4"], "no source 's9'"),
        (["--watch", "s4"], "belong to a judge"),
        (
            ["--judge-rules", "--watch", "s4", "--watch", "s5", "--test", "s6", "--test", "s7"],
            "leave labels of the pool empty",
        ),
    ):
        result = CliRunner().invoke(app, ["quality", "train", str(table), "--out", str(tmp_path / "q"), *arguments])
        assert isinstance(result.exception, CleaningError) and message in str(result.exception)
    bad = write(tmp_path / "bad.csv", [{"text": "x", "label": "maybe"}])
    with pytest.raises(CleaningError, match="row 1: label 'maybe'"):
        read_examples(bad, "text", "label", None)
    for command in (["clean"], ["quality", "train"], ["quality", "score"]):
        assert "medvlm data" in run(*command, "--help")
