"""The real engine behind the real gateway: what a caller sees from one end to the other."""

import base64
import json
import socket
import threading
import time
import urllib.request

import httpx
import openai
import pytest
import torch
from pydicom.data import get_testdata_file

from serving.engine_settings import EngineOptions
from serving.local import serve_locally


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    from vlm.build import new_model

    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    model, processor = new_model(decoder="tiny", tower="test")
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    options = EngineOptions(dtype="float32", served_name="tiny", max_model_len=1024, max_images=4, max_num_seqs=4)
    with serve_locally(folder, options) as running:
        yield running


@pytest.fixture(scope="module")
def client(served):
    return openai.OpenAI(base_url=served.base_url, api_key="not-needed", max_retries=0)


def dicom(name="RG1_UNCR.dcm"):
    with open(get_testdata_file(name), "rb") as file:
        return "data:application/dicom;base64," + base64.b64encode(file.read()).decode()


def turn(*urls, text="What is this?"):
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


def ask(client, messages, **more):
    reply = client.chat.completions.create(model="tiny", messages=messages, max_tokens=6, temperature=0, **more)
    return reply.choices[0].message.content, reply.usage


def test_the_openai_client_gets_an_answer_about_a_real_radiograph(client):
    answer, usage = ask(client, turn(dicom()))
    again, _ = ask(client, turn(dicom()))
    assert answer and answer == again
    _, without = ask(client, turn())
    assert usage.prompt_tokens > without.prompt_tokens + 10  # the picture is in the prompt


def test_several_pictures_of_different_shapes_in_several_turns(client):
    first = turn(dicom(), dicom("CT_small.dcm"))
    answer, _ = ask(client, first)
    later = [*first, {"role": "assistant", "content": answer}, *turn(dicom("MR_small.dcm"), text="And this?")]
    assert ask(client, later)[0]


def test_a_streamed_answer_is_the_same_answer(client):
    whole, _ = ask(client, turn(dicom("CT_small.dcm")))
    stream = client.chat.completions.create(
        model="tiny", messages=turn(dicom("CT_small.dcm")), max_tokens=6, temperature=0, stream=True
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices) == whole


DICOM = {"content-type": "application/dicom"}
PDF = "data:image/png;base64," + base64.b64encode(b"%PDF-1.7 not a picture").decode()


@pytest.mark.parametrize(
    "messages",
    [
        turn("http://127.0.0.1/x.png"),
        turn("file:///etc/hostname"),
        turn(PDF),
        turn("data:application/dicom;base64,AAAA"),
        turn(*[dicom("CT_small.dcm")] * 5),
        [{"role": "user", "content": [{"type": "image_url"}]}],
        [],
    ],
    ids=["remote address", "local file", "pdf as image", "not dicom", "too many images", "missing image", "no message"],
)
def test_bad_requests_are_refused_in_a_sentence_and_the_next_one_is_answered(client, messages):
    with pytest.raises(openai.APIStatusError) as refused:
        ask(client, messages)
    assert 400 <= refused.value.status_code < 500
    assert len(refused.value.body["message"].split()) > 3  # type: ignore[index]
    assert ask(client, turn(dicom("CT_small.dcm")))[0]


def test_a_prompt_longer_than_the_model_takes_is_refused(client):
    with pytest.raises(openai.APIStatusError) as refused:
        ask(client, turn(text="word " * 4000))
    assert 400 <= refused.value.status_code < 500
    assert ask(client, turn())[0]


def test_a_client_that_hangs_up_frees_its_place(served, client):
    body = json.dumps({"model": "tiny", "messages": turn(dicom()), "max_tokens": 900, "stream": True, "temperature": 0})
    host, port = served.url.removeprefix("http://").split(":")
    for _ in range(4):  # as many as the engine runs at once
        with socket.create_connection((host, int(port))) as raw:
            head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
            raw.sendall(f"{head}content-length: {len(body)}\r\n\r\n{body}".encode())
            raw.recv(200)
    began = time.monotonic()
    assert ask(client, turn(text="Still there?"))[0]
    assert time.monotonic() - began < 30
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if _running(served) == 0:
            return
        time.sleep(0.2)
    pytest.fail("the engine still works for callers who are gone")


def _running(served) -> float:
    request = urllib.request.Request(
        f"{served.engine.url}/metrics", headers={"Authorization": f"Bearer {served.engine.api_key}"}
    )
    text = urllib.request.urlopen(request).read().decode()
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("vllm:num_requests_running"))


def test_an_upload_of_200_mb_is_refused_and_others_are_served_meanwhile(served, client):
    refused: list[int] = []

    def upload():
        def pieces():
            for _ in range(200):
                yield b"0" * (1 << 20)

        try:
            refused.append(
                httpx.post(f"{served.url}/v1/images", content=pieces(), headers=DICOM, timeout=60).status_code
            )
        except httpx.HTTPError:
            refused.append(0)  # closed in the face of the sender, which is a refusal too

    thread = threading.Thread(target=upload)
    thread.start()
    assert ask(client, turn(dicom("CT_small.dcm")))[0]
    thread.join()
    assert refused[0] in (0, 413)
    assert ask(client, turn(dicom("CT_small.dcm")))[0]


def test_health_and_metrics_speak_of_the_engine(served):
    assert httpx.get(f"{served.url}/health").status_code == 200
    text = httpx.get(f"{served.url}/metrics").text
    assert "medvlm" in text and "CompressedSamples" not in text
