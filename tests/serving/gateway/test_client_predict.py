"""`medvlm chat` and `medvlm predict` against a real gateway: what a user sees, and what a kill leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pydicom.data
import pytest
import typer
from typer.testing import CliRunner

from serving.cli_client import chat, parse_window, predict, printable
from serving.client import Client, ClientError
from serving.predict import Answers, PredictError, read_rows

ROOT = Path(__file__).resolve().parents[3]
CHEST = str(pydicom.data.get_testdata_file("RG1_UNCR.dcm", download=False))

RUN_PREDICT = "import typer; from serving.cli_client import predict; typer.run(predict)"

app = typer.Typer()
app.command()(chat)
app.command()(predict)


@pytest.fixture
def run(stand, tools, monkeypatch):
    monkeypatch.setenv("MEDVLM_URL", stand.url)
    monkeypatch.setenv("MEDVLM_API_KEY", tools.ALICE)
    runner = CliRunner()
    return lambda *words, **how: runner.invoke(app, [str(word) for word in words], catch_exceptions=True, **how)


@pytest.fixture
def client(stand, tools):
    with Client(f"{stand.url}/v1", tools.ALICE, retries=0) as client:
        yield client


# --- client ---------------------------------------------------------------------------------------------------------


def test_ask_about_files_of_every_kind(client, tools, tmp_path):
    (tmp_path / "a.png").write_bytes(tools.png())
    answer = client.ask("?", images=[CHEST, tmp_path / "a.png", tools.png(40, 30)], max_tokens=50)
    assert "1841x1955 L 32x24 L 40x30 L" in answer.text
    assert answer.model == "medvlm-test" and answer.completion_tokens > 0 and answer.request_id


def test_a_large_file_is_uploaded_and_named_twice(client, stand, monkeypatch):
    monkeypatch.setattr("serving.client.UPLOAD_BYTES", 1000)
    part = client.image(CHEST)
    assert part["image_url"]["url"].startswith("medvlm-file:")
    for _ in range(2):
        answer = client.ask([{"role": "user", "content": [part, {"type": "text", "text": "?"}]}])
        assert "1841x1955" in answer.text


def test_drawn_here_or_there_the_engine_sees_the_same(client, stand, tools):
    def sent(one: Client, **how) -> str:
        one.ask("?", images=[CHEST], **how)
        return stand.engine.bodies[-1]["messages"][0]["content"][0]["image_url"]["url"]

    with Client(stand.url, tools.ALICE, render_locally=True) as local:
        assert sent(client) == sent(local)


def test_stream_and_its_end(client, stand):
    assert "".join(client.stream("hello")).split()[:2] == ["1", "messages"]
    stand.engine.mode = "die"
    pieces = []
    with pytest.raises(ClientError) as caught:
        pieces.extend(client.stream("hello"))
    assert caught.value.code == "engine_died"


def test_client_says_what_is_wrong(client, stand, tmp_path):
    with pytest.raises(ClientError, match="cannot be read"):
        client.ask("?", images=[tmp_path / "none.dcm"])
    (tmp_path / "empty.dcm").touch()
    with pytest.raises(ClientError, match="empty"):
        client.ask("?", images=[tmp_path / "empty.dcm"])
    with pytest.raises(ClientError) as caught:
        client.ask("?", n=10**6)
    assert (caught.value.status, caught.value.code) == (400, "n_too_large")
    with pytest.raises(ClientError, match="medvlm serve"):
        Client("127.0.0.1:9", retries=0).models()


def test_a_busy_server_is_asked_again(build_stand, tools):
    stand = build_stand()
    stand.engine.mode = "ok"
    calls = []
    real = stand.gateway.limiter.slot

    def busy(caller):
        from serving.gateway.errors import retry_later

        calls.append(caller)
        if len(calls) == 1:
            raise retry_later(503, "overloaded", "Try again.", 0.2)
        return real(caller)

    stand.gateway.limiter.slot = busy
    with Client(stand.url, tools.ALICE, retries=1) as client:
        assert client.ask("x").text and len(calls) == 2


# --- chat -----------------------------------------------------------------------------------------------------------


def test_one_question_about_the_radiograph(run):
    result = run("chat", "--image", CHEST, "Is there an effusion?")
    assert result.exit_code == 0, result.output
    assert "1841x1955 L" in result.output


def test_a_talk_keeps_its_turns_and_survives_mistakes(run, stand, tools, tmp_path):
    (tmp_path / "a film.png").write_bytes(tools.png())
    lines = [f"/image {tmp_path}/a film.png", "first", "/image /nowhere.dcm", "second", "/reset", "third", "/quit"]
    result = run("chat", input="\n".join(lines) + "\n")
    assert result.exit_code == 0, result.output
    assert "1 messages 32x24 L" in result.output  # first
    assert "3 messages 32x24 L" in result.output  # second, with the first turn and its image
    assert "cannot be read" in result.output
    assert stand.engine.bodies[-1]["messages"] == [{"role": "user", "content": "third"}]


def test_what_a_model_writes_does_not_steer_the_terminal():
    assert printable("a\x1b[2Jb\u202ec\nd\te\x07") == "a[2Jbc\nd\te"


def test_windows_on_the_command_line():
    assert (
        parse_window("lung") == "lung" and parse_window("-600,1500") == (-600.0, 1500.0) and parse_window(None) is None
    )
    with pytest.raises(typer.BadParameter):
        parse_window("1,2,3")


@pytest.mark.parametrize("command", ["chat", "predict"])
def test_help_shows_examples(run, command):
    text = run(command, "--help").output
    assert "Examples" in text and f"medvlm {command}" in text


# --- predict --------------------------------------------------------------------------------------------------------


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def table(tools, tmp_path):
    """Six rows: good, good with two images, no image file, no question, no JSON, refused by the gateway."""
    (tmp_path / "a.png").write_bytes(tools.png())
    (tmp_path / "b.png").write_bytes(tools.png(50, 40))
    (tmp_path / "doc.pdf").write_bytes(b"%PDF-1.4 not an image")
    rows = [
        {"id": "one", "question": "?", "image": "a.png", "reference": "yes"},
        {"id": "two", "question": "?", "images": ["a.png", "b.png"]},
        {"id": "gone", "question": "?", "images": ["none.png"]},
        {"id": "mute", "images": ["a.png"]},
        {"id": "pdf", "question": "?", "images": ["doc.pdf"]},
    ]
    path = tmp_path / "table.jsonl"
    path.write_text("\n".join([*(json.dumps(row) for row in rows), "{broken"]) + "\n")
    return path


def test_every_row_is_answered_or_says_why_not(run, table):
    result = run("predict", table)
    assert result.exit_code == 1, result.output
    out = {line["id"]: line for line in lines_of(table.with_name("table.answers.jsonl"))}
    assert "32x24" in out["one"]["answer"] and out["one"]["reference"] == "yes"
    assert "32x24 L 50x40 L" in out["two"]["answer"]
    codes = {key: line["error"]["code"] for key, line in out.items() if "error" in line}
    assert codes == {
        "gone": "missing_image",
        "mute": "bad_row",
        "pdf": "unsupported_media_type" if codes["pdf"] == "unsupported_media_type" else codes["pdf"],
        "line-6": "bad_row",
    }
    assert "2 answered" in result.output and "2 failed: bad_row" in result.output


def test_a_second_run_asks_only_what_failed_or_changed(run, stand, table):
    run("predict", table)
    before = len(stand.engine.bodies)
    stand.engine.bodies.clear()
    assert "0 answered, 2 were there already" in run("predict", table).output
    assert before and not stand.engine.bodies
    text = table.read_text().replace('"id": "one", "question": "?"', '"id": "one", "question": "changed?"')
    table.write_text(text)
    assert "1 answered, 1 were there already" in run("predict", table).output
    assert len(stand.engine.bodies) == 1


def test_csv_and_simulated_tables(run, stand, tools, tmp_path):
    (tmp_path / "a.png").write_bytes(tools.png())
    (tmp_path / "t.csv").write_text("id,question,images\nx,what?,a.png;a.png\n")
    assert run("predict", tmp_path / "t.csv", "--out", tmp_path / "o.jsonl").exit_code == 0
    assert "32x24 L 32x24 L" in lines_of(tmp_path / "o.jsonl")[0]["answer"]
    qa = [
        {"id": "q1", "question": "Effusion?", "answer": "no", "view": None},
        {"id": "q2", "question": "Side?", "answer": "left", "view": 1},
    ]
    study = {"study": "s1", "images": ["a.png", "a.png"], "qa": qa}
    (tmp_path / "val.jsonl").write_text(json.dumps(study) + "\n")
    assert run("predict", tmp_path / "val.jsonl").exit_code == 0
    got = {line["id"]: line for line in lines_of(tmp_path / "val.answers.jsonl")}
    assert got["q1"]["answer"].count("32x24") == 2 and got["q2"]["answer"].count("32x24") == 1
    assert got["q2"]["reference"] == "left"


def test_a_folder_of_shards(run, tools, tmp_path):
    from pretrain.shards import DatasetInfo, ShardWriter
    from vlm.imaging import read_image
    from vlm.sample import EncodedImage, Sample, SampleProvenance

    image = EncodedImage.encode(read_image(CHEST))
    messages = [
        {"role": "user", "content": [{"type": "image", "image": 0}, {"type": "text", "text": "Effusion?"}]},
        {"role": "assistant", "content": "No."},
    ]
    provenance = SampleProvenance(source="test", licence="MIT", image_sha256=("0" * 64,))
    with ShardWriter(tmp_path / "shards", DatasetInfo(name="test", source="test", licence="MIT")) as writer:
        writer.write(Sample(key="k1", messages=messages, images=[image], provenance=provenance))
    assert run("predict", tmp_path / "shards", "--out", tmp_path / "o.jsonl").exit_code == 0
    line = lines_of(tmp_path / "o.jsonl")[0]
    assert "1 messages 1841x1955 L" in line["answer"] and line["reference"] == "No."


def test_a_run_that_is_killed_goes_on_where_it_was(stand, tools, tmp_path):
    """kill -9 in the middle, half a line at the end: the second run asks the rest, no row is lost or doubled."""
    rows = 40
    table = tmp_path / "t.jsonl"
    table.write_text("".join(json.dumps({"id": str(i), "question": f"q{i}"}) + "\n" for i in range(rows)))
    out = tmp_path / "o.jsonl"
    stand.engine.mode, stand.engine.tokens = "slow", 1
    command = [sys.executable, "-c", RUN_PREDICT, str(table), "--out", str(out)]
    environ = {**os.environ, "MEDVLM_URL": stand.url, "MEDVLM_API_KEY": tools.ALICE}
    first = subprocess.Popen([*command, "--concurrency", "2"], cwd=ROOT, env=environ, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and (not out.exists() or out.read_bytes().count(b"\n") < 5):
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.wait()
    had = out.read_bytes().count(b"\n")
    assert 5 <= had < rows
    with out.open("ab") as file:
        file.write(b'{"id": "39", "answ')
    stand.engine.mode = "ok"
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert f"{rows - had} answered, {had} were there already" in done.stderr
    assert sorted(int(line["id"]) for line in lines_of(out)) == list(range(rows))


def test_an_absent_server_stops_the_run_and_fails_no_row(run, table, monkeypatch):
    monkeypatch.setenv("MEDVLM_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    result = run("predict", table)
    assert isinstance(result.exception, ClientError) and "medvlm serve" in str(result.exception)
    assert not table.with_name("table.answers.jsonl").exists()


def test_output_files_that_are_not_ours(tmp_path):
    path = tmp_path / "o.jsonl"
    answers = Answers(path)
    with pytest.raises(PredictError, match="Another run"):
        Answers(path)
    answers.close()
    path.write_text('{"something": "else"}\n')
    with pytest.raises(PredictError, match="line 1"):
        Answers(path)
    assert path.read_text() == '{"something": "else"}\n', "and it is left as it was"


def test_inputs_that_are_none(tmp_path):
    (tmp_path / "a.txt").touch()
    (tmp_path / "b.csv").write_text("id,frage\n1,x\n")
    for name, word in (("none.jsonl", "does not exist"), ("a.txt", "neither"), ("b.csv", "frage")):
        with pytest.raises(PredictError, match=word):
            list(read_rows(tmp_path / name))
