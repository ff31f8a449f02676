"""The quality classifier: features, calibration, files, figures, and what the rounds of bootstrapping promise."""

import importlib.util
import json
import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain.cleaning.bootstrap import CURVE, MODEL, ROUNDS, SUMMARY, Labelled, Settings, bootstrap, choose
from pretrain.cleaning.errors import QualityModelError
from pretrain.cleaning.figures import f1_gain, figures
from pretrain.cleaning.judges import ModelJudge, RuleJudge, TableJudge, Verdict, text_id
from pretrain.cleaning.quality import SETTINGS, WEIGHTS, QualityClassifier, _best_cut, _platt, features
from vlm.asking import JsonAsker
from vlm.chat_client import Patience


def module(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


HERE = Path(__file__).parent
corpus = module(HERE / "quality_corpus.py").corpus


def columns(rows):
    texts, labels, sources = zip(*rows, strict=True)
    return list(texts), list(labels), list(sources)


@pytest.fixture(scope="module")
def trained() -> QualityClassifier:
    return QualityClassifier.fit_by_source(*columns(corpus()), bits=14)


@settings(max_examples=30)
@given(st.lists(st.text(max_size=60), max_size=4))
def test_features_are_unit_rows_of_their_text_alone(texts):
    rows = features(texts, 12)
    assert rows.shape == (len(texts), 4096) and rows.dtype == np.float32
    for n, text in enumerate(texts):
        length = float(np.sqrt(rows[[n]].multiply(rows[[n]]).sum()))
        assert length == pytest.approx(1, abs=1e-5) or (length == 0 and not any(c.isprintable() for c in text.strip()))
        assert abs(rows[[n]] - features([text], 12)).sum() == 0


def test_digits_and_case_do_not_matter_and_words_do():
    a, b, c = (features([t], 16) for t in ("A nodule of 5 mm", "a NODULE of 7 mm", "a nodule of the mm"))
    assert abs(a - b).sum() == 0 and abs(a - c).sum() > 0


def test_it_learns_and_says_where_its_threshold_comes_from(trained):
    texts, labels, _ = columns(corpus(seed=7))
    found = figures(np.array(labels), trained.keeps(texts))
    assert found.f1.value > 0.9 and trained.about["calibrated_on"] == "3 folds of 6 sources"
    scores = trained.score(["", " \n", texts[0]])
    assert scores.dtype == np.float32 and scores[0] == scores[1] == 0 and 0 < scores[2] <= 1


def test_scores_do_not_depend_on_the_batch(trained):
    texts = [t for t, _, _ in corpus(seed=3)] * 12  # more than a batch
    whole = trained.score(texts)
    assert (whole == np.concatenate([trained.score([text]) for text in texts[:50]] + [trained.score(texts[50:])])).all()


def test_a_classifier_comes_back_from_the_disk_byte_for_byte(trained, tmp_path):
    trained.save(tmp_path / "a")
    again = QualityClassifier.load(tmp_path / "a")
    again.save(tmp_path / "b")
    for name in (WEIGHTS, SETTINGS):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    QualityClassifier.fit_by_source(*columns(corpus()), bits=14).save(tmp_path / "c")
    assert (tmp_path / "c" / WEIGHTS).read_bytes() == (tmp_path / "a" / WEIGHTS).read_bytes()
    texts = [t for t, _, _ in corpus(seed=5)]
    assert (again.score(texts) == trained.score(texts)).all()


def test_damaged_and_foreign_files_are_told(trained, tmp_path):
    with pytest.raises(QualityModelError, match="holds no quality classifier"):
        QualityClassifier.load(tmp_path)
    trained.save(tmp_path)
    data = bytearray((tmp_path / WEIGHTS).read_bytes())
    data[2000] ^= 1
    (tmp_path / WEIGHTS).write_bytes(data)
    with pytest.raises(QualityModelError, match="damaged or of another classifier"):
        QualityClassifier.load(tmp_path)
    trained.save(tmp_path)
    stated = json.loads((tmp_path / SETTINGS).read_text())
    (tmp_path / SETTINGS).write_text(json.dumps({**stated, "format": 99}))
    with pytest.raises(QualityModelError, match="of format 99"):
        QualityClassifier.load(tmp_path)
    (tmp_path / SETTINGS).write_text("{")
    with pytest.raises(QualityModelError, match="is damaged"):
        QualityClassifier.load(tmp_path)


def test_one_label_and_one_source_are_refused():
    texts, labels, sources = columns(corpus(each=4))
    with pytest.raises(QualityModelError, match="both labels"):
        QualityClassifier.fit(texts[:8], [True] * 8)
    with pytest.raises(QualityModelError, match="two sources of wanted"):
        QualityClassifier.fit_by_source(texts, labels, ["m" if label else s for label, s in zip(labels, sources)])


def test_platt_finds_the_slope_that_made_the_labels():
    draw = np.random.default_rng(0)
    margins = draw.normal(0, 2, 40_000).astype(np.float32)
    wanted = draw.random(40_000) < 1 / (1 + np.exp(-(1.7 * margins - 0.6)))
    slope, offset = _platt(margins, wanted)
    assert slope == pytest.approx(1.7, abs=0.06) and offset == pytest.approx(-0.6, abs=0.05)
    with pytest.raises(QualityModelError, match="wrong way round"):
        _platt(margins, ~wanted)


def test_the_cut_of_the_best_f1_by_hand():
    margins = np.array([3.0, 2.0, 1.0, 0.0, -1.0], np.float32)
    wanted = np.array([True, True, False, True, False])
    # kept 1: F1 2/4; 2: 4/5; 3: 4/6; 4: 6/7; 5: 6/8
    assert _best_cut(margins, wanted, 0) == -0.5
    assert _best_cut(margins, wanted, 0.9) == 1.5  # 4 kept have a precision of 3/4
    with pytest.raises(QualityModelError, match="no threshold reaches"):
        _best_cut(margins, ~wanted, 0.9)


def test_figures_by_hand_and_their_interval():
    labels = np.array([True] * 60 + [False] * 40)
    kept = np.array([True] * 45 + [False] * 15 + [True] * 5 + [False] * 35)
    found = figures(labels, kept)
    assert (found.precision.value, found.recall.value) == (45 / 50, 45 / 60)
    assert found.f1.value == pytest.approx(2 * 45 / (2 * 45 + 5 + 15))
    spread = 1.96 * math.sqrt(0.9 * 0.1 / 50)
    assert found.precision.low == pytest.approx(0.9 - spread, abs=0.02)
    better = kept.copy()
    better[45:55] = True
    gain = f1_gain(labels, kept, better)
    assert gain.value == pytest.approx(2 * 55 / (110 + 5 + 5) - found.f1.value) and gain.low > 0
    assert f1_gain(labels, kept, kept).high == 0


def parts(seed=1):
    """Seed, pool, watched and tested texts of other sources each, and the truth about the pool."""
    texts, labels, sources = columns(corpus(each=150, seed=seed, sources=4))
    rows = list(zip(texts, labels, sources, strict=True))
    learn = [r for r in rows if r[2][1] in "01"]
    watch, test = ([r for r in rows if r[2][1] == n] for n in "23")
    wanted, other = ([r for r in learn if r[1] is label][:4] for label in (True, False))
    seeds = wanted + other
    truth = {t: label for t, label, _ in learn}

    def made(chosen):
        return Labelled(tuple(r[0] for r in chosen), tuple(r[1] for r in chosen))

    return made(seeds), list(truth), made(watch), made(test), truth


SMALL = Settings(rounds=4, per_round=40, bits=14, patience=2)


def test_rounds_raise_f1_and_the_record_tells_everything(tmp_path):
    seed, pool, watch, test, truth = parts()
    outcome = bootstrap(seed, pool, watch, test, TableJudge(truth, "people"), SMALL, tmp_path)
    first, best = outcome.rounds[0], outcome.rounds[outcome.best]
    assert outcome.best > 0 and best.watch.f1.value > first.watch.f1.value
    assert best.gain.value == pytest.approx(best.test.f1.value - first.test.f1.value) and best.gain.low > 0
    summary = json.loads((tmp_path / SUMMARY).read_text())
    assert summary["judge"] == "people" and summary["best"] == outcome.best and summary["stopped"] == outcome.stopped
    rounds = [json.loads(line) for line in (tmp_path / ROUNDS).read_text().splitlines()]
    judged = [item["text"] for made in rounds for item in made["items"]]
    held = {text_id(t) for t in (*watch.texts, *test.texts)}
    assert len(judged) == len(set(judged)) and not held & set(judged)  # nothing is judged twice, nothing held out is
    assert {i["why"] for i in rounds[1]["items"]} == {"unsure", "sure that it is wanted", "sure that it is not wanted"}
    assert rounds[-1]["learnt"] == len(seed.texts) + sum(made["judged"] for made in rounds)
    assert (tmp_path / CURVE).stat().st_size > 5000
    again = QualityClassifier.load(tmp_path / MODEL)
    assert (
        figures(np.array(test.labels), again.keeps(test.texts)).f1 == best.test.f1 and again.about["judge"] == "people"
    )


def test_the_same_settings_give_the_same_files(tmp_path):
    seed, pool, watch, test, truth = parts()
    for name in "ab":
        bootstrap(seed, pool, watch, test, TableJudge(truth), replace(SMALL, rounds=2), tmp_path / name)
    for path in sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file()):
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes(), path


def test_it_stops_when_the_judge_teaches_nothing():
    seed, pool, watch, test, truth = parts()
    draw = np.random.default_rng(0)
    blind = {t: bool(draw.random() < 0.5) for t in truth}
    outcome = bootstrap(seed, pool, watch, test, TableJudge(blind), replace(SMALL, rounds=9))
    assert "did not rise" in outcome.stopped and len(outcome.rounds) < 9
    best = max(r.watch.f1.value for r in outcome.rounds)
    assert outcome.rounds[outcome.best].watch.f1.value >= best - SMALL.least_gain


def test_a_judge_that_does_not_know_is_not_guessed_for():
    seed, pool, watch, test, _ = parts()
    outcome = bootstrap(seed, pool, watch, test, TableJudge({}), replace(SMALL, rounds=1))
    assert outcome.rounds[1].unjudged == 40 and outcome.rounds[1].learnt == len(seed.texts)


def test_shared_texts_and_missing_labels_are_refused():
    seed, pool, watch, test, truth = parts()
    with pytest.raises(QualityModelError, match="in both watch and test"):
        bootstrap(seed, pool, watch, watch, TableJudge(truth), SMALL)
    with pytest.raises(QualityModelError, match="seed texts need both"):
        bootstrap(Labelled(seed.texts[:4], (True,) * 4), pool, watch, test, TableJudge(truth), SMALL)


def test_choose_takes_the_unsure_and_both_sides_once():
    scores = np.linspace(0.001, 0.999, 999)
    chosen = choose(scores, 0.3, 1, Settings(per_round=100, unsure=0.5))
    rows = [row for row, _ in chosen]
    assert len(rows) == len(set(rows)) == 100
    unsure = [scores[row] for row, why in chosen if why == "unsure"]
    assert len(unsure) == 50 and max(abs(s - 0.3) for s in unsure) < 0.03
    for side, right in (("wanted", lambda s: s > 0.79), ("not wanted", lambda s: s < 0.21)):
        sure = [scores[row] for row, why in chosen if why == f"sure that it is {side}"]
        assert len(sure) == 25 and all(map(right, sure))
    assert choose(scores, 0.3, 1, Settings(per_round=100)) != choose(scores, 0.3, 2, Settings(per_round=100))


def test_a_language_model_judges_over_http_and_is_not_asked_twice(tmp_path):
    endpoint = module(HERE.parents[1] / "vlm" / "json_endpoint.py")

    def script(body: dict, times: int) -> tuple[int, str]:
        said = endpoint.first_user(body).split("====\n")[1]
        if "trouble" in said:
            return 400, "refused"
        medical = "lung" in said
        return 200, json.dumps({"medical": medical, "usable": "garbled" not in said, "reason": "read"})

    texts = ["the lung is clear", "pip install lung", "garbled lung lung", "a price list", "trouble"]
    with endpoint.json_endpoint(script) as server:
        for _ in range(2):
            asker = JsonAsker(
                server.url, Verdict, cache=tmp_path, patience=Patience(attempts=1, first_pause_s=0.01), attempts=1
            )
            judge = ModelJudge(asker)
            assert judge.judge(texts) == [True, True, False, False, None]
        assert judge.name == f"language model {server.model}"
        assert server.said("the lung is clear") == 1


def test_the_rule_judge_says_what_it_is_and_knows_words():
    judge = RuleJudge()
    assert "no reader" in judge.name
    found = judge.judge(
        [
            "There is a small pleural effusion and pulmonary oedema.",
            "Install the package and import the module.",
            "Blue.",
        ]
    )
    assert found[:2] == [True, False] and found[2] is None


def test_it_is_fast_enough(trained):
    texts = [f"{t} {n}" for n in range(20) for t, _, _ in corpus(seed=11)]
    trained.score(texts[:10])
    start = time.process_time()
    trained.score(texts)
    assert len(texts) / (time.process_time() - start) > 2000
