"""From runs to numbers and pages: what known models get, what is pooled, what the page may not do."""

import csv
import json
import math
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from bench.errors import RunError
from bench.measure import MeasureSettings, measure
from bench.records import read_run
from bench.report import Section, load_summaries, write_report
from bench.resampling import BalancedBootstrap
from bench.summary import FLOOR_ARM, compare, summarise, summarise_finding
from bench.tables import number, verdict
from vlm.chat_client import Patience

QUICK = Patience(attempts=3, first_pause_s=0.01, longest_pause_s=0.05, timeout_s=20)


def ask(films, served, out, **settings):
    return measure(films.folder, out, url=served.url, settings=MeasureSettings(**settings), patience=QUICK)


@pytest.fixture
def oracle(films, serve, tmp_path):
    return ask(films, serve("oracle"), tmp_path / "oracle", label="oracle", model_seed=0)


@pytest.fixture
def yes_man(films, serve, tmp_path):
    return ask(films, serve("always-yes"), tmp_path / "yes", label="yes")


def test_oracle_learnt_everything(oracle):
    s = summarise([oracle])
    assert s.overall["real"].by_finding.value == s.overall["real"].pooled.value == 1.0
    assert s.overall["real"].by_finding.low < 1.0  # all right is not certainty
    assert s.overall[FLOOR_ARM].pooled.value == pytest.approx(0.5, abs=0.26)
    yes_no = [row for row in s.findings if row.name != "tube"]
    assert all(row.arms[FLOOR_ARM].balanced.value == row.arms["blank"].balanced.value == 0.5 for row in yes_no)
    assert all(row.learnt and verdict(row) == "learnt" and row.adjusted_p < 0.05 for row in yes_no)
    assert [row.floor for row in s.findings if row.name == "tube"] == [pytest.approx(1 / 3)]
    assert s.gains["blank"].value == pytest.approx(0.5, abs=0.1) and s.gains["blank"].low > 0.2
    assert s.open_overall["real"].exact.value == s.open_overall["real"].size.value == 1.0
    assert s.open_overall["blank"].f1.value == 0.0 < s.open_overall[FLOOR_ARM].f1.value
    assert s.calibration is not None and s.calibration.auroc == 1.0
    assert s.calibration.ece == pytest.approx(0.1, abs=1e-3) and s.calibration.n == 48


def test_always_yes_learnt_nothing(yes_man):
    s = summarise([yes_man])
    for row in s.findings:
        if row.name == "tube":
            continue
        assert row.arms["real"].balanced.value == row.floor == row.arms["blank"].balanced.value == 0.5
        assert row.learnt is False and row.balanced_gain.value == 0.0
        assert (row.arms["real"].sensitivity.value, row.arms["real"].specificity.value) == (1.0, 0.0)
    assert s.overall["real"].outcomes["unparsed"] == 12  # "yes" to the question of side


def test_unread_answers_move_the_band_not_the_score(films, serve, tmp_path):
    s = summarise([ask(films, serve("garbage"), tmp_path / "run", kinds=("closed",))])
    real = s.overall["real"]
    assert real.accuracy.value == 0.0 and real.outcomes["unparsed"] == real.n == 60
    assert real.band == (0.0, 1.0)
    assert all(row.learnt is False for row in s.findings)


def test_failed_questions_leave_all_arms_of_their_finding(films, serve, tmp_path):
    s = summarise([ask(films, serve("poison"), tmp_path / "run")])
    nodule = next(row for row in s.findings if row.name == "nodule")
    assert all(scores.n == 0 for scores in nodule.arms.values()) and nodule.learnt is None
    assert s.overall["real"].outcomes["failed"] == 12
    low, high = s.overall["real"].band
    assert high - low == pytest.approx(12 / 60)
    assert s.overall["real"].by_finding.value == 1.0


def test_without_a_blank_arm_nothing_is_called_learnt(films, serve, tmp_path):
    s = summarise([ask(films, serve("oracle"), tmp_path / "run", arms=("real",))])
    assert {verdict(row) for row in s.findings} == {"cannot be said"}


def test_seeds_are_pooled_by_patient(films, serve, tmp_path, oracle):
    half = ask(films, serve("half"), tmp_path / "half", label="oracle", model_seed=1)
    pooled = summarise([oracle, half])
    alone = summarise([half])
    left = next(row for row in pooled.findings if row.name == "effusion_left")
    assert (left.arms["real"].n, left.arms["real"].patients) == (24, 12)
    assert left.arms["real"].balanced.value == 0.75
    mean = (1.0 + alone.overall["real"].by_finding.value) / 2
    assert pooled.overall["real"].by_finding.value == pytest.approx(mean)
    assert pooled.range_ == (pytest.approx(alone.overall["real"].by_finding.value), 1.0)
    # The same patients twice are not twice the patients: no narrower than one seed of the same answers.
    twice = summarise([oracle, oracle]).overall["real"].accuracy
    once = summarise([oracle]).overall["real"].accuracy
    assert twice.low <= once.low + 1e-9
    with pytest.raises(RunError, match="same label and the same arms"):
        summarise([oracle, ask(films, serve("oracle"), tmp_path / "other", label="oracle", arms=("real",))])


def test_models_are_compared_on_shared_items(oracle, yes_man):
    (pair,) = compare([summarise([oracle]), summarise([yes_man])])
    assert (pair.first, pair.second, pair.result.n) == ("oracle", "yes", 60)
    assert pair.result.difference.low > 0.3 and pair.result.only_second == 0 and pair.adjusted_p < 1e-6


class Tags(HTMLParser):
    """Collects tags and what they load."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loads += [str(v) for k, v in attrs if k in ("src", "href", "xlink:href", "data") and v]

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)


def test_the_page_is_one_file_with_images_and_banner(oracle, yes_man, tmp_path):
    section = Section("Imported films", "<p id='extra'>Real films.</p>")
    html, md, table = write_report([oracle.folder, yes_man.folder], tmp_path / "report", extra_sections=[section])
    page = Tags()
    text = html.read_text()
    page.feed(text)
    assert "Simulated radiographs; not for diagnosis" in text and "<p id='extra'>Real films.</p>" in text
    assert "script" not in page.tags and "link" not in page.tags and page.tags.count("html") == 1
    outside = [load for load in page.loads if not load.startswith(("data:image/", "#"))]
    assert outside == [] and sum(load.startswith("data:image/jpeg") for load in page.loads) > 10
    assert "rect" in page.tags and "url(http" not in text
    for word in ("Models compared", "Run card: oracle", "1.00", "learnt", "Majority answers come from the train split"):
        assert word in text
    assert "| nodule |" in md.read_text() and "Models compared" in md.read_text()
    rows = list(csv.DictReader(table.open()))
    found = [
        r for r in rows if (r["model"], r["finding"], r["arm"], r["metric"]) == ("oracle", "nodule", "real", "balanced")
    ]
    assert [float(r["value"]) for r in found] == [1.0] and float(found[0]["low"]) < 1


def test_what_a_model_says_is_text_not_markup(oracle, tmp_path):
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    results = oracle.folder / "results.jsonl"
    records = [json.loads(line) for line in results.read_text().splitlines()]
    for record in records:
        record["reply"] = record["question"] = record["truth"] = evil
    results.write_text("".join(json.dumps(record) + "\n" for record in records))
    html, _, _ = write_report([oracle.folder], tmp_path / "report")
    page = Tags()
    page.feed(html.read_text())
    assert "script" not in page.tags and not any(load == "x" for load in page.loads)
    assert "&lt;script&gt;" in html.read_text()


def test_a_report_without_its_data_has_no_films(films, serve, tmp_path):
    folder = tmp_path / "films"
    shutil.copytree(films.folder, folder)
    run = measure(folder, tmp_path / "run", url=serve("oracle").url, patience=QUICK)
    folder.rename(tmp_path / "moved")
    gone, _, _ = write_report([run.folder], tmp_path / "gone")
    found, _, _ = write_report([run.folder], tmp_path / "found", data=tmp_path / "moved")
    assert "data:image/jpeg" not in gone.read_text() and "data:image/jpeg" in found.read_text()


def test_unusable_runs_are_refused(oracle, tmp_path):
    with pytest.raises(RunError, match="not a run folder"):
        load_summaries([tmp_path])
    with pytest.raises(RunError, match="given twice"):
        load_summaries([oracle.folder, oracle.folder])
    with pytest.raises(RunError, match="at least one"):
        load_summaries([])
    card = json.loads((oracle.folder / "run.json").read_text())
    (oracle.folder / "run.json").write_text(json.dumps({**card, "finished": None}))
    with pytest.raises(RunError, match="not finished"):
        read_run(oracle.folder)


def test_numbers_in_words():
    assert [number(x) for x in (0.5, -0.001, -0.25, math.nan, 1.0)] == ["0.50", "0.00", "−0.25", "–", "1.00"]


def run_command(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", "from bench.cli import app; app()", *arguments]
    return subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=120)


def test_commands(films, serve, tmp_path):
    served = serve("oracle")
    out = tmp_path / "run"
    done = run_command("measure", "--data", str(films.folder), "--url", served.url, "--out", str(out), "--studies", "6")
    assert done.returncode == 0 and "balanced accuracy" in re.sub(r"\s+", " ", done.stdout), done.stderr
    made = run_command("report", str(out), "--out", str(tmp_path / "page"))
    assert made.returncode == 0 and (tmp_path / "page" / "report.html").stat().st_size > 20_000, made.stderr
    card = json.loads((out / "run.json").read_text())
    assert "--studies 6" in card["command"] and card["data"]["patients"] == 6


@pytest.mark.parametrize("command", ["measure", "report"])
def test_help_has_examples(command):
    shown = run_command(command, "--help")
    assert shown.returncode == 0 and f"medvlm bench {command}" in shown.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("accuracy", "low", "high"), [(0.5, 0.0, 0.06), (0.8, 0.9, 1.0)])
def test_how_often_a_finding_is_called_learnt(accuracy, low, high):
    """Through the real summary: 60 questions of 60 patients, a blank arm that always says no."""
    rng = np.random.default_rng(0)
    other = {"yes": "no", "no": "yes"}

    def record(number: int, truth: str, value: str) -> dict:
        base = {"item": str(number), "run": 0, "patient": str(number), "finding": "x", "kind": "closed"}
        scored = {"outcome": "answer", "options": ["yes", "no"], "truth": truth, "value": value}
        return {**base, **scored, "correct": value == truth}

    called = 0
    for _ in range(300):
        truth = [("yes", "no")[int(rng.integers(2))] for _ in range(60)]
        said = [t if rng.random() < accuracy else other[t] for t in truth]
        arms = {
            "real": [record(i, t, v) for i, (t, v) in enumerate(zip(truth, said))],
            "blank": [record(i, t, "no") for i, t in enumerate(truth)],
            FLOOR_ARM: [record(i, t, "no") for i, t in enumerate(truth)],
        }
        draws = BalancedBootstrap([r for rows in arms.values() for r in rows], draws=300)
        called += bool(summarise_finding("x", arms, draws).learnt)
    assert low <= called / 300 <= high
