"""Measuring real HTTP endpoints with known behaviours: what is right, what is lost, what is asked twice."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.errors import BenchError, DataError, MeasurementStopped, RunError
from bench.measure import MeasureSettings, measure
from bench.records import read_run
from bench.scoring import balanced_accuracy
from vlm.chat_client import Patience
from vlm.errors import EndpointError

QUICK = Patience(attempts=3, first_pause_s=0.01, longest_pause_s=0.05, timeout_s=20)


def ask(films, served, out, patience=QUICK, **settings):
    return measure(films.folder, out, url=served.url, settings=MeasureSettings(**settings), patience=patience)


def balanced(run, arm, finding=None):
    rows = [
        r
        for r in run.records
        if r["arm"] == arm and r["kind"] == "closed" and r["finding"] == (finding or r["finding"])
    ]
    rows = [r for r in rows if r["options"] == ["yes", "no"]]
    return balanced_accuracy([r["truth"] for r in rows], [r["value"] for r in rows])


def test_an_oracle_is_right_with_the_real_image_only(films, serve, tmp_path):
    run = ask(films, serve("oracle"), tmp_path / "run", arms=("real", "blank", "shuffled", "text"))
    real = [r for r in run.records if r["arm"] == "real"]
    assert len(run.records) == 4 * 72 and len(real) == 72
    assert all(r["correct"] for r in real if r["kind"] == "closed")
    assert all(r["exact"] and r["f1"] == 1 for r in real if r["kind"] == "open")
    assert balanced(run, "real") == 1.0
    assert balanced(run, "blank") == 0.5 and balanced(run, "text") == 0.5
    assert balanced(run, "shuffled") < 0.9
    assert all(r["probabilities"]["yes"] == pytest.approx(0.9 if r["value"] == "yes" else 0.1, abs=1e-3)
               for r in real if r["options"] == ["yes", "no"])  # fmt: skip


def test_always_yes_is_at_the_floor_in_every_arm(films, serve, tmp_path):
    run = ask(films, serve("always-yes"), tmp_path / "run")
    assert [balanced(run, arm) for arm in ("real", "blank", "shuffled")] == [0.5] * 3


@pytest.mark.parametrize(("behaviour", "outcome"), [("garbage", "unparsed"), ("refuses", "abstain")])
def test_what_cannot_be_read_is_never_an_answer(films, serve, tmp_path, behaviour, outcome):
    run = ask(films, serve(behaviour), tmp_path / "run", kinds=("closed",))
    assert {r["outcome"] for r in run.records} == {outcome}
    assert all(r["value"] is None and r["correct"] is False for r in run.records)


def test_shuffled_images_are_another_patients(films, serve, tmp_path):
    run = ask(films, serve("oracle"), tmp_path / "run", arms=("real", "shuffled"))
    for record in run.records:
        shown = {Path(image).parts[1] for image in record["images"]}
        assert (record["cluster"] in shown) == (record["arm"] == "real")
        assert len(record["image_sha256"]) == len(record["images"])


def test_the_same_request_is_sent_once(films, serve, tmp_path):
    served = serve("oracle")
    run = ask(films, served, tmp_path / "run")
    requests = served.requests()
    different = {(r["image"], r["question"]) for r in requests}
    # Two sizes of blank image, and only the first image of the two-view question in the log: far fewer than 72 blanks.
    assert len(requests) == run.card["counts"]["requests"] < len(run.records) - 50
    assert len(requests) - len(different) <= 12  # shuffled two-view questions may share their first image
    asked = len(requests)
    ask(films, served, tmp_path / "run")
    assert len(served.requests()) == asked


def test_passing_trouble_is_survived(films, serve, tmp_path):
    calm, flaky = (
        ask(films, serve("oracle"), tmp_path / "calm"),
        ask(films, serve("flaky"), tmp_path / "flaky"),
    )
    assert flaky.card["counts"]["failed"] == 0
    assert (calm.folder / "results.jsonl").read_bytes() == (flaky.folder / "results.jsonl").read_bytes()


def test_refused_questions_are_counted_and_not_scored(films, serve, tmp_path):
    run = ask(films, serve("poison"), tmp_path / "run")
    failed = [r for r in run.records if r["outcome"] == "failed"]
    assert run.card["counts"]["failed"] == len(failed) == 36
    assert all(r["finding"] == "nodule" and "correct" not in r and "400" in r["error"] for r in failed)
    # Asked again when the trouble is over.
    again = ask(films, serve("oracle"), tmp_path / "run")
    assert again.card["counts"]["failed"] == 0 and all(r["outcome"] != "failed" for r in again.records)


def test_endpoint_without_logprobs(films, serve, tmp_path):
    run = ask(films, serve("no-logprobs"), tmp_path / "run", arms=("real",))
    assert run.card["counts"]["failed"] == 0 and all("probabilities" not in r for r in run.records)
    assert balanced(run, "real") == 1.0


def test_png_rendered_here(films, serve, tmp_path):
    served = serve("always-yes")
    run = ask(films, served, tmp_path / "run", image_format="png", longest_side=16)
    images = {r["image"] for r in served.requests()}
    assert images and balanced(run, "real") == 0.5
    blank = {tuple(r["image_sha256"]) for r in run.records if r["arm"] == "blank" and len(r["image_sha256"]) == 1}
    assert len(blank) == 2  # one for each of the two shapes


RESUMED = """
import sys
from pathlib import Path
from vlm.chat_client import Patience
from bench.measure import MeasureSettings, measure
measure(Path(sys.argv[1]), Path(sys.argv[2]), url=sys.argv[3], settings=MeasureSettings(concurrency=4),
        patience=Patience(attempts=2, first_pause_s=0.01, longest_pause_s=0.05))
"""


def test_killed_and_resumed_gives_the_same_file(films, serve, tmp_path):
    served = serve("oracle", delay=0.01)
    whole = ask(films, served, tmp_path / "whole", concurrency=4)
    asked_whole = len(served.requests())
    killed, journal = tmp_path / "killed", tmp_path / "killed" / "journal.jsonl"
    command = [sys.executable, "-c", RESUMED, str(films.folder), str(killed), served.url]
    for target in (15, 60):
        process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            if journal.exists() and journal.read_bytes().count(b"\n") >= target:
                break
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait(timeout=10) == -signal.SIGKILL
        with pytest.raises(RunError, match="not finished"):
            read_run(killed)
        with journal.open("ab") as file:
            file.write(b'{"key": "torn')  # a line that a kill cut short
    ask(films, served, killed, concurrency=4)
    assert (killed / "results.jsonl").read_bytes() == (whole.folder / "results.jsonl").read_bytes()
    assert len(served.requests()) - asked_whole <= asked_whole + 8  # only what was in flight is asked again


def test_a_dying_server_loses_nothing(films, serve, tmp_path):
    whole = ask(films, serve("oracle"), tmp_path / "whole")
    dying = serve("oracle", dies_after=40)
    with pytest.raises(MeasurementStopped, match=r"stopped answering .* answers are kept"):
        ask(films, dying, tmp_path / "run", concurrency=4)
    kept = (tmp_path / "run" / "journal.jsonl").read_bytes().count(b"\n")
    assert 36 <= kept <= 40
    assert not (tmp_path / "run" / "results.jsonl").exists()
    back = serve("oracle")
    run = ask(films, back, tmp_path / "run")
    assert (run.folder / "results.jsonl").read_bytes() == (whole.folder / "results.jsonl").read_bytes()
    assert len(back.requests()) == whole.card["counts"]["requests"] - kept


def test_wrong_key_wrong_model_no_server(films, serve, tmp_path):
    served = serve("oracle", key="s3cret")
    with pytest.raises(EndpointError, match="refused the API key"):
        measure(films.folder, tmp_path / "a", url=served.url, api_key="wrong", patience=QUICK)
    run = measure(films.folder, tmp_path / "a", url=served.url, api_key="s3cret", patience=QUICK)
    assert not any("s3cret" in path.read_text() for path in run.folder.iterdir())
    with pytest.raises(EndpointError, match="has no model 'other'; it has: test-model"):
        measure(films.folder, tmp_path / "b", url=served.url, api_key="s3cret", model="other", patience=QUICK)
    for address in ("127.0.0.1:8000", "http://me:s3cret@127.0.0.1:1/v1", "file:///etc/passwd"):
        with pytest.raises(EndpointError, match="must begin with http") as error:
            measure(films.folder, tmp_path / "d", url=address)
        assert "s3cret" not in str(error.value)
    served.stop()
    with pytest.raises(EndpointError, match="does not answer"):
        measure(films.folder, tmp_path / "c", url=served.url, patience=QUICK)


def test_a_folder_holds_one_measurement(films, serve, tmp_path):
    served = serve("oracle")
    ask(films, served, tmp_path / "run", arms=("real",), studies=4)
    with pytest.raises(RunError, match=r"another measurement \(differs in arms\)"):
        ask(films, served, tmp_path / "run", arms=("real", "blank"), studies=4)
    with pytest.raises(RunError, match="differs in model"):
        ask(films, serve("oracle", model="newer"), tmp_path / "run", arms=("real",), studies=4)
    with pytest.raises(BenchError, match="arms are real, blank"):
        ask(films, served, tmp_path / "new", arms=("reel",))


def test_damaged_files_are_named(films, serve, tmp_path):
    served = serve("oracle")
    ask(films, served, tmp_path / "run", arms=("real",), studies=4)
    results, journal = tmp_path / "run" / "results.jsonl", tmp_path / "run" / "journal.jsonl"
    text = results.read_text()
    results.write_text(text[:-20])
    with pytest.raises(RunError, match="cut short"):
        read_run(tmp_path / "run")
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join([lines[0], "{broken", *lines[1:]]) + "\n")
    with pytest.raises(RunError, match="line 2 is damaged"):
        ask(films, served, tmp_path / "run", arms=("real",), studies=4)


def test_an_image_that_cannot_be_read_is_named(films, serve, tmp_path):
    folder = tmp_path / "films"
    shutil.copytree(films.folder, folder)
    rows = [json.loads(line) for line in (folder / "test.jsonl").read_text().splitlines()]
    (folder / rows[3]["images"][0]).write_bytes(b"not an image at all")
    with pytest.raises(DataError, match=r"0\.dcm: cannot be sent"):
        measure(folder, tmp_path / "run", url=serve("oracle").url, settings=MeasureSettings(image_format="png"))


def test_two_processes_do_not_share_a_folder(tmp_path):
    from bench.journal import Journal

    with Journal(tmp_path / "journal.jsonl") as first:
        first.add({"key": "a", "text": "yes"})
        if os.fork() == 0:
            try:
                with Journal(tmp_path / "journal.jsonl"):
                    os._exit(0)
            except RunError:
                os._exit(3)
        assert os.waitstatus_to_exitcode(os.wait()[1]) == 3
