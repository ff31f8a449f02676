"""The gateway before a real vLLM engine with a tiny random model: what the small test server only pretends."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from statistics import median

import httpx
import openai
import pydicom.data
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
CHEST = Path(str(pydicom.data.get_testdata_file("RG1_UNCR.dcm", download=False)))


CONTEXT = 8192  # an answer that fills it takes far longer than anything here may take to notice that nobody listens


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    from serving.engine_settings import EngineOptions
    from serving.local import serve_locally
    from vlm.build import new_model

    folder = tmp_path_factory.mktemp("model") / "tiny"
    model, processor = new_model(decoder="tiny", tower="test")
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    options = EngineOptions(device="cpu", dtype="float32", max_images=3, max_model_len=CONTEXT)
    with serve_locally(folder, options) as served:
        yield served


@pytest.fixture
def client(served):
    return openai.OpenAI(base_url=served.base_url, api_key="none", max_retries=0, timeout=120)


def dicom_url(data: bytes) -> str:
    return "data:application/dicom;base64," + base64.b64encode(data).decode()


def message(*urls: str, text: str = "Is there an effusion?"):
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


def test_radiograph_whole_streamed_and_uploaded_say_the_same(client, served):
    url = dicom_url(CHEST.read_bytes())
    how = {"model": served.model, "max_tokens": 12, "temperature": 0, "extra_body": {"ignore_eos": True}}
    whole = client.chat.completions.create(messages=message(url), **how)
    assert whole.usage.completion_tokens == 12 and whole.usage.prompt_tokens > 16
    pieces = client.chat.completions.create(messages=message(url), stream=True, **how)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in pieces)
    made = httpx.post(f"{served.url}/v1/images", files={"file": CHEST.read_bytes()}, timeout=60, trust_env=False)
    by_id = client.chat.completions.create(messages=message(made.json()["url"]), **how)
    assert text == whole.choices[0].message.content == by_id.choices[0].message.content


def test_several_images_choices_and_json(client, served):
    import json

    ct = Path(str(pydicom.data.get_testdata_file("CT_small.dcm", download=False))).read_bytes()
    urls = [dicom_url(ct)] * 3
    choice = client.chat.completions.create(
        model=served.model,
        messages=message(*urls),
        max_tokens=8,
        extra_body={"structured_outputs": {"choice": ["yes", "no"]}},
    )
    assert choice.choices[0].message.content in ("yes", "no")
    schema = {"type": "object", "properties": {"effusion": {"type": "boolean"}}, "required": ["effusion"]}
    answer = client.chat.completions.create(
        model=served.model,
        messages=message(urls[0]),
        max_tokens=200,
        response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": schema}},
        logprobs=True,
        top_logprobs=2,
        n=2,
    )
    assert len(answer.choices) == 2 and answer.choices[0].logprobs.content
    whole = [choice for choice in answer.choices if choice.finish_reason == "stop"]
    assert all(isinstance(json.loads(choice.message.content)["effusion"], bool) for choice in whole)


def test_a_prompt_that_is_too_long_is_refused_in_a_sentence(client, served):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=served.model, messages=message(text="effusion " * 9000), max_tokens=5)
    assert caught.value.code == "engine_refused" and str(CONTEXT) in str(caught.value)


def engine_metric(served, name: str) -> float:
    text = httpx.get(f"{served.engine.url}/metrics", trust_env=False).text
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"vllm:{name}{{"))


def test_pieces_come_while_the_answer_is_written(served):
    """Not all at its end: on two cores vLLM's own processes starved server, gateway and client for whole answers.

    Of 2,000 tokens about 1,990 are still to be written when the first has come; with vLLM's own processes none, in nine
    of twelve answers. The median, because a neighbour on the machine may cost one of them.
    """
    body = {"messages": message(text="x"), "max_tokens": 2000, "ignore_eos": True, "stream": True}
    to_come = []
    with httpx.Client(base_url=served.url, trust_env=False, timeout=60) as http:
        for _ in range(5):
            with http.stream("POST", "/v1/chat/completions", json=body) as response:
                lines = response.iter_lines()
                next(lines)
                before = engine_metric(served, "generation_tokens_total")
                rest = list(lines)
            assert "data: [DONE]" in rest
            to_come.append(engine_metric(served, "generation_tokens_total") - before)
    assert median(to_come) > 1000, to_come


@pytest.mark.parametrize("stream", [True, False])
def test_hanging_up_aborts_the_work_in_the_engine(client, served, stream):
    """8 x 4,000 tokens are asked for; after the client has gone the engine stops well before them and stays idle."""
    written = engine_metric(served, "generation_tokens_total")
    body = {"messages": message(text="x"), "max_tokens": 4000, "n": 8, "ignore_eos": True, "stream": stream}
    with httpx.Client(base_url=served.url, trust_env=False, timeout=60) as http:
        if stream:
            with http.stream("POST", "/v1/chat/completions", json=body) as response:
                assert response.status_code == 200
                for _ in zip(range(4), response.iter_lines(), strict=False):
                    pass
        else:
            with pytest.raises(httpx.ReadTimeout):
                http.post("/v1/chat/completions", json=body, timeout=0.3)
    deadline = time.monotonic() + 5
    while engine_metric(served, "num_requests_running") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert engine_metric(served, "num_requests_running") == 0
    assert engine_metric(served, "generation_tokens_total") - written < 30_000
    answer = client.chat.completions.create(model=served.model, messages=message(text="next"), max_tokens=2)
    assert answer.usage.completion_tokens >= 1


def test_a_killed_engine_is_a_typed_error_and_503_from_then_on(served):
    """Last: nothing serves afterwards."""
    body = {"messages": message(text="x"), "max_tokens": 4000, "ignore_eos": True, "stream": True}
    with httpx.Client(base_url=served.url, trust_env=False, timeout=60) as http:
        with http.stream("POST", "/v1/chat/completions", json=body) as response:
            assert response.status_code == 200
            lines = response.iter_lines()
            next(lines)
            served.engine.process.kill()
            rest = list(lines)
        assert any('"code":"engine_' in line for line in rest) and "data: [DONE]" not in rest, (len(rest), rest[-3:])
        deadline = time.monotonic() + 10
        while (answer := http.post("/v1/chat/completions", json={**body, "stream": False})).status_code != 503:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert answer.json()["error"]["code"] == "engine_unavailable" and answer.headers["retry-after"]
        assert http.get("/health").status_code == 503
