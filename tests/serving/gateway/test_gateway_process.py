"""The gateway as a process of its own: signals, logs, what is left behind; and rates, audit and PHI over HTTP."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import ClassVar

import httpx
import psutil
import pydicom
import pydicom.data
import pytest
from pydicom import config as pydicom_config

from serving.gateway.audit import verify_audit
from serving.gateway.auth import hash_key
from serving.gateway.server import ListenError, listen
from serving.gateway.settings import ApiKey, Limits, Rates

ROOT = Path(__file__).resolve().parents[3]
PLANTED = ("ZZPLANTED^NAME", "ZZ-ID-4711", "ZZ-DOB-NOTADATE", "ZZCOMMENT")

RUN = """
import json, sys
from pathlib import Path
from serving.gateway.server import run_gateway
from serving.gateway.settings import GatewaySettings
settings = GatewaySettings.model_validate_json(sys.argv[1])
run_gateway(settings, ready=lambda port: print(port, flush=True))
print("returned", flush=True)
"""


class Process:
    """run_gateway in a child; its log is read at the end."""

    started: ClassVar[list[subprocess.Popen]] = []

    def __init__(self, tmp: Path, **settings) -> None:
        settings = {"port": 0, "anonymous": True, "audit_path": str(tmp / "audit.jsonl"), **settings}
        self.log = tmp / "gateway.log"
        with self.log.open("wb") as log:
            self.child = subprocess.Popen(
                [sys.executable, "-c", RUN, json.dumps(settings)],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "TMPDIR": str(tmp)},
            )
        Process.started.append(self.child)
        assert self.child.stdout is not None
        self.url = f"http://127.0.0.1:{int(self.child.stdout.readline())}"

    def end(self, sig: int = signal.SIGTERM) -> int:
        self.child.send_signal(sig)
        return self.child.wait(20)


@pytest.fixture
def engine(tools):
    fake = tools.load_fake_engine()
    engine = fake.FakeEngine()
    thread = fake.start_fake_engine(engine)
    engine.settings = {"engine_url": engine.url, "engine_key": fake.KEY}
    yield engine
    for child in Process.started:  # also when a test has failed before it ended its gateway
        child.kill()
        child.wait()
    Process.started.clear()
    thread.stop(force=True)


def planted_dicom() -> bytes:
    data = pydicom.dcmread(str(pydicom.data.get_testdata_file("CT_small.dcm", download=False)))
    data.PatientName, data.PatientID, data.ImageComments = PLANTED[0], PLANTED[1], PLANTED[3]
    pydicom_config.settings.writing_validation_mode = pydicom_config.IGNORE
    data.PatientBirthDate = PLANTED[2]
    out = io.BytesIO()
    data.save_as(out)
    return out.getvalue()


def test_nothing_of_the_patient_is_left_anywhere(engine, tools, tmp_path):
    """Planted name, id, date and comment, in a good file, a torn one, a refused one, in names of fields and files."""
    process = Process(tmp_path, **engine.settings)
    dicom = planted_dicom()
    assert all(word.encode() in dicom for word in PLANTED)
    answers = []
    with httpx.Client(base_url=process.url, timeout=20, trust_env=False) as http:

        def ask(part, **fields):
            body = {"messages": [{"role": "user", "content": [part]}], **fields}
            answers.append(http.post("/v1/chat/completions", json=body))
            return answers[-1].status_code

        assert ask(tools.image_part(dicom, "application/dicom")) == 200
        assert ask(tools.image_part(dicom[: len(dicom) // 2], "application/dicom")) in (415, 422)
        assert ask(tools.image_part(dicom, "application/dicom", frame=9)) >= 400
        assert ask({"type": "text", "text": " ".join(PLANTED)}, temperature=PLANTED[0]) == 400
        assert ask({"type": "image_url", "image_url": {"url": f"http://h/{PLANTED[0]}"}}) == 400
        assert ask({"type": "text", "text": " ".join(PLANTED)}) == 200
        engine.mode = "crash"
        assert ask({"type": "text", "text": " ".join(PLANTED)}) == 502
        engine.mode = "ok"
        files = {"file": (f"{PLANTED[0]}.dcm", dicom, "application/dicom")}
        answers.append(http.post("/v1/images", files=files))
        answers.append(http.get(f"/{PLANTED[0]}?q={PLANTED[1]}", headers={"x-request-id": PLANTED[0]}))
        answers.append(http.get(f"/v1/images/{PLANTED[0]}"))
        metrics = http.get("/metrics")
        assert metrics.status_code == 200
        answers.append(metrics)
    assert process.end() == 0
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name for path in left} == {"gateway.log", "audit.jsonl"}, "no temporary files stay behind"
    seen = b"".join(path.read_bytes() for path in left) + b"".join(answer.content for answer in answers)
    for word in PLANTED:
        assert word.encode() not in seen
    # What the engine got is a picture and the text, nothing of the file.
    assert PLANTED[0] not in json.dumps([body["messages"] for body in engine.bodies[:1]])
    lines = [json.loads(line) for line in process.log.read_text().splitlines()]
    assert sum(line["event"] == "request" for line in lines) == len(answers) - 1  # /metrics is not logged
    assert verify_audit(tmp_path / "audit.jsonl") == len(answers) - 1


def test_sigterm_lets_the_stream_finish_and_takes_no_more(engine, tmp_path):
    engine.mode, engine.tokens = "slow", 15  # about 1.6 s
    process = Process(tmp_path, **engine.settings, drain_seconds=10)
    body = {"messages": [{"role": "user", "content": "x"}], "stream": True}
    url = f"{process.url}/v1/chat/completions"
    with httpx.Client(timeout=20, trust_env=False) as http, http.stream("POST", url, json=body) as response:
        lines = response.iter_lines()
        next(lines)
        process.child.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{process.url}/health", trust_env=False)
        assert "data: [DONE]" in list(lines)
    assert process.child.wait(10) == 0
    assert process.child.stdout and "returned" in process.child.stdout.read()


def test_sigterm_ends_what_takes_too_long_with_a_typed_error(engine, tmp_path):
    engine.mode = "hang"
    process = Process(tmp_path, **engine.settings, drain_seconds=0.5)
    body = {"messages": [{"role": "user", "content": "x"}], "stream": True}
    url = f"{process.url}/v1/chat/completions"
    with httpx.Client(timeout=20, trust_env=False) as http, http.stream("POST", url, json=body) as response:
        lines = response.iter_lines()
        next(lines)
        process.child.send_signal(signal.SIGTERM)
        errors = [json.loads(line[6:])["error"] for line in lines if line.startswith('data: {"error"')]
    assert [error["code"] for error in errors] == ["shutting_down"]
    assert process.child.wait(10) == 0
    assert engine.aborts == 1


def test_decode_children_go_with_the_gateway_even_when_it_is_killed(engine, tools, tmp_path):
    process = Process(tmp_path, **engine.settings)
    body = {"messages": [{"role": "user", "content": [tools.image_part(tools.png())]}]}
    assert httpx.post(f"{process.url}/v1/chat/completions", json=body, trust_env=False, timeout=20).status_code == 200
    children = psutil.Process(process.child.pid).children(recursive=True)
    assert children, "images are decoded in children"
    process.end(signal.SIGKILL)
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive


def test_port_in_use_is_said(engine):
    with pytest.raises(ListenError, match="in use"):
        listen("127.0.0.1", engine.port)
    with pytest.raises(ListenError, match="Cannot listen"):
        listen("203.0.113.7", 0)


# --- rates ----------------------------------------------------------------------------------------------------------


def limited(build_stand, tools, **rates):
    keys = (ApiKey(name="alice", sha256=hash_key(tools.ALICE), rates=Rates(**rates)),)
    keys += (ApiKey(name="bob", sha256=hash_key(tools.BOB), scopes=("chat", "images", "metrics")),)
    return build_stand(keys=keys)


def test_request_rate_of_one_key_leaves_the_others_alone(build_stand, tools):
    stand = limited(build_stand, tools, requests_per_minute=3)
    answers = [stand.ask() for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[0].headers["x-ratelimit-remaining-requests"] == "2"
    assert 1 <= int(answers[3].headers["retry-after"]) <= 21
    assert tools.error_of(answers[3])["code"] == "rate_limit_exceeded"
    assert stand.ask(key=tools.BOB).status_code == 200


def test_tokens_are_reserved_and_what_was_not_used_comes_back(build_stand, tools):
    stand = limited(build_stand, tools, tokens_per_minute=1000)
    for _ in range(5):  # each reserves 900 and uses 19
        assert stand.ask(max_tokens=900).status_code == 200
    stand.engine.mode = "crash"
    for _ in range(3):  # nothing used, nothing charged
        assert stand.ask(max_tokens=900).status_code == 502
    stand.engine.mode = "ok"
    stand.engine.tokens = 2000
    assert stand.ask(max_tokens=900).status_code == 200
    assert stand.ask(max_tokens=900).status_code == 429


def test_pixels_and_concurrency(build_stand, tools):
    stand = limited(build_stand, tools, pixels_per_minute=1000, concurrent=1)
    part = tools.image_part(tools.png(30, 30))
    assert [stand.ask([part]).status_code for _ in range(2)] == [200, 429]
    stand.engine.mode = "slow"
    first = threading.Thread(target=stand.ask)
    first.start()
    time.sleep(0.3)
    response = stand.ask()
    assert response.status_code == 429 and tools.error_of(response)["code"] == "concurrency_limit"
    first.join()
    stand.engine.mode = "ok"
    assert stand.ask().status_code == 200


def test_too_many_waiting_images_are_refused_and_not_queued(build_stand, tools):
    stand = build_stand(decode_queue=1, decode_workers=1, limits=Limits(images=3))
    stand.good()
    parts = [tools.image_part(tools.png(700, 700, value)) for value in (1, 2, 3)]
    response = stand.ask(parts)
    assert response.status_code == 503 and tools.error_of(response)["code"] == "overloaded"
    stand.good()


# --- audit ----------------------------------------------------------------------------------------------------------


def audited(stand) -> int:
    """Lines in the audit: one is written behind its answer."""
    return len(stand.gateway.settings.audit_path.read_text().splitlines())


def wait_until(holds, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_audit_says_who_did_what_and_no_content(build_stand, tools):
    stand = build_stand()
    stand.ask([tools.image_part(tools.png()), {"type": "text", "text": "the-question"}])
    stand.ask(key="mv-wrong-key-000000000000")
    stand.ask(n=10**6)
    path = stand.gateway.settings.audit_path
    wait_until(lambda: audited(stand) >= 3)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["who"], line["outcome"], line["status"]) for line in lines] == [
        ("alice", "ok", 200),
        (None, "invalid_api_key", 401),
        ("alice", "n_too_large", 400),
    ]
    assert len(lines[0]["image_sha256"][0]) == 64 and lines[0]["completion_tokens"] > 0
    assert "the-question" not in path.read_text() and tools.ALICE not in path.read_text()
    assert verify_audit(path) == 3


def test_no_audit_no_service(build_stand, tools):
    stand = build_stand()
    stand.good()
    wait_until(lambda: audited(stand) >= 1)
    audit = stand.gateway.audit
    full = os.open("/dev/full", os.O_WRONLY)
    real, audit._fd = audit._fd, full
    try:
        stand.ask()  # answered, and its line is lost
        wait_until(lambda: stand.http.get("/health").status_code == 503)
        response = stand.ask()
        assert response.status_code == 503 and tools.error_of(response)["code"] == "audit_unavailable"
    finally:
        audit._fd = real
        os.close(full)
    stand.good()
    wait_until(lambda: audited(stand) >= 2)
    assert verify_audit(stand.gateway.settings.audit_path) >= 2
