"""What a well-behaved client gets: answers, streams, models, uploads."""

from __future__ import annotations

import base64
from pathlib import Path

import openai
import pydicom.data
import pytest

CHEST = Path(str(pydicom.data.get_testdata_file("RG1_UNCR.dcm", download=False)))


@pytest.fixture
def client(stand, tools):
    return openai.OpenAI(base_url=f"{stand.url}/v1", api_key=tools.ALICE, max_retries=0)


def test_openai_client_asks_about_the_real_radiograph(client, stand):
    url = "data:application/dicom;base64," + base64.b64encode(CHEST.read_bytes()).decode()
    answer = client.chat.completions.create(
        model="medvlm-test",
        max_tokens=20,
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": url}},
                    {"type": "text", "text": "Is there an effusion?"},
                ],
            }
        ],
    )
    # What the engine saw: the radiograph itself, at its own size, as 8-bit grey.
    assert "1841x1955 L" in answer.choices[0].message.content
    assert answer.usage.completion_tokens > 0
    assert stand.engine.bodies[-1]["max_tokens"] == 20


def test_openai_client_asks_about_a_png_and_sends_the_answer_back(client, tools):
    first = [{"role": "user", "content": [tools.image_part(tools.png()), {"type": "text", "text": "What is it?"}]}]
    answer = client.chat.completions.create(model="medvlm-test", messages=first)
    assert "32x24 L" in answer.choices[0].message.content
    again = [*first, answer.choices[0].message, {"role": "user", "content": "Sure?"}]
    second = client.chat.completions.create(model="medvlm-test", messages=again)
    assert second.choices[0].message.content.startswith("3 messages 32x24")


def test_stream_arrives_in_pieces_and_counts_when_asked(client):
    chunks = list(
        client.chat.completions.create(
            model="medvlm-test",
            messages=[{"role": "user", "content": "hi"}],
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text.split() == ["1", "messages", *(f"w{i}" for i in range(8))]
    assert chunks[-1].usage.completion_tokens == 9


def test_usage_is_counted_by_the_gateway_but_not_shown_unasked(client, stand):
    chunks = list(
        client.chat.completions.create(model="medvlm-test", messages=[{"role": "user", "content": "hi"}], stream=True)
    )
    assert all(chunk.choices for chunk in chunks)
    assert stand.engine.bodies[-1]["stream_options"] == {"include_usage": True}


def test_models_are_listed_without_the_paths_of_the_machine(client, stand):
    assert [model.id for model in client.models.list()] == ["medvlm-test"]
    assert client.models.retrieve("medvlm-test").id == "medvlm-test"
    assert "secret" not in stand.http.get("/v1/models").text


def test_model_may_be_left_out(stand):
    answer = stand.http.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "x"}]})
    assert answer.json()["model"] == "medvlm-test"


@pytest.mark.parametrize("way", ["raw", "multipart"])
def test_upload_is_asked_about_by_its_id(stand, way):
    if way == "raw":
        made = stand.http.post("/v1/images", content=CHEST.read_bytes(), headers={"Content-Type": "application/dicom"})
    else:
        made = stand.http.post("/v1/images", files={"file": ("DOE^JOHN.dcm", CHEST.read_bytes(), "application/dicom")})
    assert made.status_code == 201, made.text
    about = made.json()
    assert (about["kind"], about["rows"], about["columns"], about["frames"]) == ("dicom", 1955, 1841, 1)
    part = {"type": "image_url", "image_url": {"url": about["url"]}}
    answer = stand.ask([part, {"type": "text", "text": "?"}])
    assert "1841x1955 L" in answer.json()["choices"][0]["message"]["content"]
    assert stand.http.get(f"/v1/images/{about['id']}").json() == about
    assert stand.http.delete(f"/v1/images/{about['id']}").json()["deleted"] is True
    assert stand.ask([part]).status_code == 404


def test_window_frame_and_detail_change_the_picture(stand, tools):
    def sent(**extra):
        assert stand.ask([tools.image_part(data, "application/dicom", **extra)]).status_code == 200
        return stand.engine.bodies[-1]["messages"][0]["content"][0]["image_url"]["url"]

    ct = Path(str(pydicom.data.get_testdata_file("CT_small.dcm", download=False)))
    data = ct.read_bytes()
    assert len({sent(), sent(window="lung"), sent(window="bone"), sent(window={"center": 0, "width": 100})}) == 4
    data = Path(str(pydicom.data.get_testdata_file("emri_small.dcm", download=False))).read_bytes()
    assert sent(frame=0) != sent(frame=5)
    data = CHEST.read_bytes()
    assert len(sent(detail="low")) < len(sent()) / 4


def test_sampling_fields_reach_the_engine_unchanged(stand):
    fields = {
        "temperature": 0.3,
        "top_p": 0.9,
        "seed": 7,
        "stop": ["\n"],
        "n": 2,
        "logprobs": True,
        "top_logprobs": 3,
        "structured_outputs": {"choice": ["yes", "no"]},
    }
    assert stand.ask(**fields).status_code == 200
    body = stand.engine.bodies[-1]
    assert {name: body[name] for name in fields} == fields


def test_the_longest_answer_when_nobody_says(build_stand):
    """A small context bounds itself: a number of ours would have vLLM refuse prompts that nearly fill it."""
    stand = build_stand()
    stand.ask()
    assert "max_tokens" not in stand.engine.bodies[-1]  # 2048 of context
    stand.engine.context = 131_072
    stand.gateway.engine._models.clear()
    stand.ask()
    assert stand.engine.bodies[-1]["max_tokens"] == 512
    stand.ask(min_tokens=600)
    assert stand.engine.bodies[-1]["max_tokens"] == 600
    stand.ask(max_completion_tokens=7)
    assert stand.engine.bodies[-1]["max_tokens"] == 7 and "max_completion_tokens" not in stand.engine.bodies[-1]


def test_caches_of_two_keys_are_apart(stand, tools):
    salts = []
    for key in (tools.ALICE, tools.ALICE, tools.BOB):
        stand.ask(key=key)
        salts.append(stand.engine.bodies[-1]["cache_salt"])
    assert salts[0] == salts[1] != salts[2]


def test_request_ids_come_back_and_never_reach_the_engine(stand):
    answer = stand.http.post(
        "/v1/chat/completions",
        json={"messages": [{"role": "user", "content": "x"}]},
        headers={"X-Request-Id": "mine-7"},
    )
    assert answer.headers["x-request-id"] == "mine-7"
    assert stand.engine.headers[-1]["x-request-id"] != "mine-7"
    odd = stand.http.get("/v1/models", headers={"X-Request-Id": "Doe, John"})
    assert len(odd.headers["x-request-id"]) == 32


def test_health_metrics_and_headers(stand):
    health = stand.http.get("/health")
    assert health.status_code == 200 and health.json()["ready"] is True
    assert health.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in health.headers and "server" not in health.headers
    stand.ask()
    text = stand.metrics()
    assert 'medvlm_gateway_requests_total{route="/v1/chat/completions",status="200"}' in text
    assert 'medvlm_gateway_tokens_total{kind="completion"}' in text
    assert stand.http.get("/metrics").status_code == 403  # alice's key lacks the scope
