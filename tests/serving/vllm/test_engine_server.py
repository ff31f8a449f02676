"""One real server: started, asked, abused, and ended without leaving a process behind."""

import base64
from pathlib import Path

import httpx
import pytest

from serving import launch
from serving.launch import start_engine


@pytest.fixture(scope="module")
def served(lab):
    """(engine, prompts, transformers' answers) of a running server with the tiny model; at most 2 images."""
    folder, model, processor = lab.checkpoint("patch_merge_mlp")
    question = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Is the heart large?"}]}
    text = processor.apply_chat_template([question], tokenize=False, add_generation_prompt=True)
    prompts = [
        {**prompt, "text": text, "images": prompt["images"][:1]}
        for prompt in lab.make_prompts(processor, lab.folder, 3)
    ]
    answers = lab.answers(model, processor, prompts, 8)
    stages = []
    log = lab.folder / "server.log"
    options = {"dtype": "float32", "max_images": 2, "max_model_len": 1024, "max_num_seqs": 4}
    with start_engine(folder, log_path=log, on_progress=stages.append, served_name="tiny", **options) as engine:
        yield engine, prompts, answers
        assert engine.healthy()
        group = engine.process.pid
    assert stages[-1].startswith("ready")
    assert launch._running(group) == [], "processes of the engine were left behind"
    assert engine.api_key not in log.read_text()


def image(path):
    url = "data:image/png;base64," + base64.b64encode(Path(path).read_bytes()).decode()
    return {"type": "image_url", "image_url": {"url": url}}


def ask(engine, *parts, key=None, **more):
    body = {
        "model": "tiny",
        "messages": [{"role": "user", "content": [*parts]}],
        "max_tokens": 8,
        "temperature": 0,
        "ignore_eos": True,
        "return_token_ids": True,
        **more,
    }
    headers = {"Authorization": f"Bearer {key or engine.api_key}"}
    return httpx.post(f"{engine.base_url}/chat/completions", json=body, headers=headers, timeout=120)


QUESTION = {"type": "text", "text": "Is the heart large?"}


@pytest.mark.timeout(600)
def test_server_answers_as_transformers(served):
    engine, prompts, answers = served
    for prompt, reference in zip(prompts, answers, strict=True):
        reply = ask(engine, image(prompt["images"][0]), QUESTION).json()
        assert reply["choices"][0]["token_ids"] == reference.ids
        assert reply["prompt_token_ids"] == reference.prompt_ids


def test_server_refuses_cleanly_and_answers_the_next_request(served):
    engine, prompts, *_ = served
    picture = image(prompts[0]["images"][0])

    def remote(url):
        return {"type": "image_url", "image_url": {"url": url}}

    refused = {
        "too many images": ask(engine, picture, picture, picture, QUESTION),
        "placeholder as text": ask(engine, picture, {"type": "text", "text": "<|image_pad|>"}),
        "remote image": ask(engine, remote("http://127.0.0.1:9/x.png"), QUESTION),
        "metadata service": ask(engine, remote("http://169.254.169.254/latest/meta-data"), QUESTION),
        "no picture": ask(engine, remote("data:image/png;base64,JVBERi0xLjQK"), QUESTION),
        "too long": ask(engine, {"type": "text", "text": "word " * 2000}),
        "unknown model": ask(engine, QUESTION, model="other"),
    }
    for name, reply in refused.items():
        assert 400 <= reply.status_code < 500, (name, reply.status_code, reply.text[:300])
    assert "At most 2 image" in refused["too many images"].text
    local = ask(engine, remote("file:///etc/hostname"), QUESTION)
    assert local.status_code >= 400 and "allowed-local-media-path" in local.text
    assert ask(engine, QUESTION, key="wrong").status_code == 401
    assert ask(engine, picture, QUESTION).status_code == 200
