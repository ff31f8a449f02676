"""Asking for JSON against a real server: faults, repairs, the cache, and a kill in the middle."""

import importlib.util
import json
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel

from vlm.asking import CACHE, AnswerCacheError, JsonAsker, Unanswered, read_answer, strict_schema, with_schema
from vlm.chat_client import Patience
from vlm.errors import EndpointError
from vlm.messages import MessageError

_spec = importlib.util.spec_from_file_location("json_endpoint", Path(__file__).with_name("json_endpoint.py"))
assert _spec and _spec.loader
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
json_endpoint, first_user = _module.json_endpoint, _module.first_user

QUICK = Patience(attempts=4, first_pause_s=0.01, longest_pause_s=0.05, timeout_s=5)


class Verdict(BaseModel):
    word: str
    sure: Literal["yes", "no"] = "yes"


class Longer(Verdict):
    reason: str


def request(word: str) -> list[dict]:
    return [{"role": "system", "content": "You judge words."}, {"role": "user", "content": f"word={word}."}]


def echo(body: dict, times: int) -> tuple[int, str]:
    word = first_user(body).split("word=")[1].split(".")[0]
    return 200, json.dumps({"word": word, "sure": "no"})


def ask(endpoint, words: list[str], cache: Path, answer=Verdict, **options):
    asker = JsonAsker(endpoint.url, answer, cache=cache, patience=QUICK, **options)
    return asker.ask([request(word) for word in words]), asker


def test_answers_come_in_order_and_equal_requests_are_asked_once(tmp_path):
    words = [f"w{i % 30}" for i in range(90)]
    seen = []
    with json_endpoint(echo) as endpoint:
        asker = JsonAsker(endpoint.url, Verdict, cache=tmp_path, patience=QUICK)
        answers = asker.ask([request(word) for word in words], progress=seen.append)
    assert [a.word for a in answers] == words
    assert len(endpoint.bodies) == 30 and sum(seen) == 90
    assert all(body["temperature"] == 0 and body["max_tokens"] == 2048 for body in endpoint.bodies)
    schema = endpoint.bodies[0]["response_format"]["json_schema"]
    assert schema["strict"] and schema["schema"]["required"] == ["word", "sure"]
    assert schema["schema"]["additionalProperties"] is False


def test_overload_and_server_errors_are_tried_again(tmp_path):
    def script(body, times):
        return ((429, "slow down"), (500, "oops"), echo(body, times))[min(times, 2)]

    with json_endpoint(script) as endpoint:
        answers, asker = ask(endpoint, ["a", "b"], tmp_path)
    assert [a.word for a in answers] == ["a", "b"] and asker.counts["unanswered"] == 0
    assert len(endpoint.bodies) == 6


def test_a_request_on_which_a_living_server_fails_costs_itself_only(tmp_path):
    def script(body, times):
        return (500, "poison") if "word=bad." in first_user(body) else echo(body, times)

    with json_endpoint(script) as endpoint:
        (good, bad), asker = ask(endpoint, ["good", "bad"], tmp_path)
    assert good.word == "good"
    assert isinstance(bad, Unanswered) and "poison" in bad.reason and asker.counts["unanswered"] == 1


def test_broken_json_is_sent_back_and_repaired(tmp_path):
    broken = ['{"word": "a", "sure"', '{"word": "a", "sure": "perhaps"}']

    def script(body, times):
        rounds = sum(m["role"] == "assistant" for m in body["messages"])
        return (200, broken[rounds]) if rounds < 2 else echo(body, times)

    with json_endpoint(script) as endpoint:
        (answer,), asker = ask(endpoint, ["a"], tmp_path)
    assert answer.word == "a" and asker.counts["repaired"] == 1
    second, third = endpoint.bodies[1]["messages"], endpoint.bodies[2]["messages"]
    assert second[2]["content"] == broken[0] and "not JSON" in second[3]["content"]
    assert third[4]["content"] == broken[1] and "sure: Input should be 'yes' or 'no'" in third[5]["content"]


def test_what_stays_broken_is_unanswered_and_is_asked_again_later(tmp_path):
    with json_endpoint(lambda body, times: (200, "I would rather not.")) as endpoint:
        endpoint.finish_reason = "length"
        (answer,), _ = ask(endpoint, ["a"], tmp_path, attempts=2, max_tokens=7)
    assert len(endpoint.bodies) == 2
    assert answer == Unanswered("no valid answer in 2 attempts; the last is cut off at 7 tokens, so no JSON object")
    with json_endpoint(echo) as endpoint:
        (answer,), _ = ask(endpoint, ["a"], tmp_path)
    assert answer.word == "a"


def test_a_server_without_response_format_is_asked_without(tmp_path):
    def script(body, times):
        return (400, "response_format is not supported") if "response_format" in body else echo(body, times)

    words = [f"w{i}" for i in range(20)]
    with json_endpoint(script) as endpoint:
        answers, _ = ask(endpoint, words, tmp_path, concurrency=2)
    assert [a.word for a in answers] == words
    assert sum("response_format" in body for body in endpoint.bodies) <= 2  # once for each of those under way
    assert '"sure"' in first_user(endpoint.bodies[-1])  # the schema is in the text


def test_a_request_refused_in_both_forms_does_not_switch_the_others_off(tmp_path):
    def script(body, times):
        return (400, "too long") if "word=long." in first_user(body) else echo(body, times)

    with json_endpoint(script) as endpoint:
        (bad, good), _ = ask(endpoint, ["long", "short"], tmp_path, concurrency=1)
    assert bad == Unanswered("the server: 400: too long") and good.word == "short"
    assert "response_format" in endpoint.bodies[-1]


def test_concurrency_is_bounded_and_used(tmp_path):
    with json_endpoint(echo, delay=0.03) as endpoint:
        ask(endpoint, [f"w{i}" for i in range(24)], tmp_path, concurrency=3)
    assert endpoint.most == 3


def test_answers_of_another_model_schema_or_request_are_not_reused(tmp_path):
    with json_endpoint(echo) as endpoint:
        ask(endpoint, ["a", "b"], tmp_path)
        _, again = ask(endpoint, ["a", "b"], tmp_path)
        assert len(endpoint.bodies) == 2 and again.counts["reused"] == 2
        ask(endpoint, ["c"], tmp_path)
        assert len(endpoint.bodies) == 3
    with json_endpoint(echo, model="other-model") as endpoint:
        ask(endpoint, ["a"], tmp_path)
        assert len(endpoint.bodies) == 1

    def longer(body, times):
        return 200, '{"word": "a", "sure": "no", "reason": "because"}'

    with json_endpoint(longer) as endpoint:
        (answer,), _ = ask(endpoint, ["a"], tmp_path, answer=Longer)
        assert len(endpoint.bodies) == 1 and answer.reason == "because"


def test_what_is_all_in_the_cache_needs_no_server(tmp_path):
    with json_endpoint(echo) as endpoint:
        ask(endpoint, ["a"], tmp_path, model="test-model")
        listed = endpoint.listed
        ask(endpoint, ["a"], tmp_path, model="test-model")
        assert endpoint.listed == listed
    (answer,), _ = ask(endpoint, ["a"], tmp_path, model="test-model")  # the server is gone
    assert answer.word == "a"


def test_a_server_that_goes_away_ends_the_run_and_loses_nothing(tmp_path):
    with json_endpoint(echo) as endpoint:
        ask(endpoint, ["a"], tmp_path, model="test-model")
    with pytest.raises(EndpointError, match="does not answer"):
        ask(endpoint, ["a", "b"], tmp_path, model="test-model")

    def script(body, times):
        endpoint.dead = len(endpoint.bodies) >= 5
        return echo(body, times)

    words = [f"w{i}" for i in range(40)]
    with json_endpoint(script) as endpoint, pytest.raises(EndpointError, match="stopped answering"):
        ask(endpoint, words, tmp_path, concurrency=1)
    with json_endpoint(echo) as endpoint:
        answers, _ = ask(endpoint, words, tmp_path)
        assert [a.word for a in answers] == words and len(endpoint.bodies) == 36


def test_a_wrong_model_is_refused(tmp_path):
    with json_endpoint(echo) as endpoint, pytest.raises(EndpointError, match="has no model 'better'"):
        ask(endpoint, ["a"], tmp_path, model="better")


def test_killed_and_run_again_asks_only_what_has_no_answer(tmp_path):
    program = textwrap.dedent(
        f"""
        import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})
        from pathlib import Path
        from pydantic import BaseModel
        from typing import Literal
        from vlm.asking import JsonAsker
        class Verdict(BaseModel):
            word: str
            sure: Literal["yes", "no"] = "yes"
        asker = JsonAsker(sys.argv[1], Verdict, cache=Path(sys.argv[2]), concurrency=2)
        asker.ask([[{{"role": "system", "content": "You judge words."}},
                    {{"role": "user", "content": f"word=w{{i}}."}}] for i in range(60)])
        """
    )
    words = [f"w{i}" for i in range(60)]
    with json_endpoint(echo, delay=0.02) as endpoint:
        child = subprocess.Popen([sys.executable, "-c", program, endpoint.url, str(tmp_path)])
        until = time.monotonic() + 60
        while len(endpoint.bodies) < 20 and time.monotonic() < until:
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
        child.wait()
        before = len(endpoint.bodies)
        assert 20 <= before < 60
        answers, asker = ask(endpoint, words, tmp_path)
    assert [a.word for a in answers] == words
    assert asker.counts["reused"] >= before - 2  # at most those under way were lost
    assert len(endpoint.bodies) == before + 60 - asker.counts["reused"]
    asked = Counter(first_user(body) for body in endpoint.bodies)
    assert max(asked.values()) <= 2 and sum(n == 2 for n in asked.values()) <= 2


def test_a_damaged_cache_is_said_and_a_stale_answer_is_asked_again(tmp_path):
    with json_endpoint(echo) as endpoint:
        ask(endpoint, ["a"], tmp_path)
        with sqlite3.connect(tmp_path / CACHE) as db:
            db.execute("UPDATE answers SET answer = '{\"word\": 3}'")
        db.close()
        (answer,), _ = ask(endpoint, ["a"], tmp_path)
        assert answer.word == "a" and len(endpoint.bodies) == 2
        (tmp_path / "bad").mkdir()
        (tmp_path / "bad" / CACHE).write_bytes(b"no database at all" * 100)
        with pytest.raises(AnswerCacheError, match=r"answers\.sqlite"):
            ask(endpoint, ["a"], tmp_path / "bad")


def test_requests_that_no_server_takes(tmp_path):
    with json_endpoint(echo) as endpoint:
        half, good = ask(endpoint, ["\ud800", "b"], tmp_path)[0]
        assert isinstance(half, Unanswered) and "surrogate" in half.reason and good.word == "b"
        asker = JsonAsker(endpoint.url, Verdict, cache=tmp_path)
        with pytest.raises(MessageError, match="no user message"):
            asker.ask([[{"role": "system", "content": "x"}]])
        with pytest.raises(MessageError, match="image_url"):
            asker.ask([[{"role": "user", "content": [{"type": "image", "image": 0}]}]])
        with pytest.raises(MessageError, match="not JSON"):
            asker.ask([[{"role": "user", "content": b"bytes"}]])
        assert asker.ask([]) == []


@pytest.mark.parametrize(
    "text",
    [
        '{"word": "a"}',
        '```json\n{"word": "a"}\n```',
        'Sure! {"word": "a"} I hope that this helps.',
        '<think>{"word": "b"}? no</think>\n{"word": "a", "more": 1}',
    ],
)
def test_an_object_is_found_among_words(text):
    assert read_answer(text, Verdict) == Verdict(word="a")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no JSON object"),
        ('["a"]', "no JSON object"),
        ('{"word": "a"} {"word": "b"}', "more than one"),
        ('{"word": {"word": "a"}', "not JSON"),  # cut off: the inner object is no answer
        ('{"word": NaN}', "NaN"),
        ('{"word": "\\ud800"}', "surrogates"),
        ("[" * 5 + '{"a":' * 100_000, "not JSON"),
    ],
)
def test_what_is_no_answer_is_refused_with_the_reason(text, why):
    with pytest.raises(ValueError, match=why):
        read_answer(text, Verdict)


def test_nested_models_are_strict_too_and_pictures_keep_their_parts():
    class Verdicts(BaseModel):
        verdicts: list[Verdict]
        note: str | None = None

    schema = strict_schema(Verdicts)
    assert schema["required"] == ["verdicts", "note"] and "default" not in schema["properties"]["note"]
    assert schema["$defs"]["Verdict"]["required"] == ["word", "sure"]
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    made = with_schema([{"role": "user", "content": [picture]}], schema)
    assert made[0]["content"][0] == picture and '"verdicts"' in made[0]["content"][1]["text"]
