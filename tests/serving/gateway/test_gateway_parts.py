"""The parts that can be looked at alone: data URLs, buckets, keys, audit chain, events, refusals' words."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from serving.gateway.audit import AuditError, AuditLog, verify_audit
from serving.gateway.auth import KeyFileError, Keys, hash_key, new_key, read_keys_env, read_keys_file
from serving.gateway.body import _Gunzip
from serving.gateway.dataurl import MEDIA_TYPES, InlineImage, UploadedImage, parse_image_url
from serving.gateway.errors import GatewayError, scrub
from serving.gateway.limits import Bucket
from serving.gateway.multipart import OneFile
from serving.gateway.relay import EventReader
from serving.gateway.schema import parse_json, read_chat
from serving.gateway.settings import RESERVED_TOKENS, ApiKey, GatewaySettings, Limits
from serving.gateway.uploads import UploadStore
from serving.pictures import as_png, as_stored_png

# --- data URLs ------------------------------------------------------------------------------------------------------


@given(st.binary(min_size=1, max_size=300), st.sampled_from(sorted(MEDIA_TYPES)), st.booleans())
def test_every_encoded_file_comes_back(data, media_type, upper):
    media_type = media_type.upper() if upper else media_type
    url = f"data:{media_type};name=x;base64,{base64.b64encode(data).decode()}"
    assert parse_image_url(url, "p") == InlineImage(data, MEDIA_TYPES[media_type.lower()])


@given(st.text(max_size=200))
@settings(max_examples=300)
def test_any_text_is_an_image_an_id_or_a_refusal(text):
    for url in (text, "data:" + text, "data:image/png;base64," + text, "medvlm-file:" + text):
        try:
            got = parse_image_url(url, "p")
        except GatewayError as error:
            assert error.status in (400, 415) and error.param == "p"
            # Nothing of what was sent is said again.
            assert len(text) < 12 or text not in error.message
        else:
            assert isinstance(got, UploadedImage) or base64.b64encode(got.data).decode() in url


@given(st.binary(min_size=3, max_size=60), st.integers(0, 79), st.sampled_from("*-_%\n ="))
def test_one_wrong_character_is_never_decoded_to_something_else(data, where, wrong):
    text = base64.b64encode(data).decode()
    where %= len(text)
    broken = text[:where] + wrong + text[where + 1 :]
    try:
        got = parse_image_url(f"data:image/png;base64,{broken}", "p")
    except GatewayError as error:
        assert error.code in ("bad_base64", "empty_image")
    else:
        assert isinstance(got, InlineImage)
        # The last character before the padding may carry bits that stand for nothing.
        assert base64.b64encode(got.data).decode()[:-3] == broken[:-3]


# --- pictures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (64, 33, 3), (300, 200)])
def test_what_is_drawn_reaches_the_engine_to_the_pixel(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for picture in (pixels, np.asfortranarray(pixels), pixels[::-1]):
        stored, small = as_stored_png(picture), as_png(picture)
        for data in (stored, small):
            assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), picture)
    assert pixels.nbytes < len(stored) < pixels.nbytes + shape[0] + 200  # stored: nothing to compress or to undo


# --- requests -------------------------------------------------------------------------------------------------------

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=12), children, max_size=4),
    max_leaves=12,
)
_FIELDS = st.sampled_from(["messages", "n", "stop", "tools", "response_format", "logit_bias", "seed", "stream_options"])
_PART = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "image_url", "x"])}, optional={"text": _JSON, "image_url": _JSON}
)
_MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "tool", "system", "x"])},
    optional={"content": st.lists(_PART, max_size=3) | _JSON, "tool_calls": _JSON, "tool_call_id": _JSON},
)


@given(st.dictionaries(_FIELDS, _JSON, max_size=4), st.none() | st.lists(_MESSAGE, max_size=3))
@settings(max_examples=400)
def test_any_json_is_a_request_or_a_refusal(body, messages):
    if messages is not None:
        body["messages"] = messages
    try:
        chat = read_chat(json.dumps(body).encode(), Limits(), RESERVED_TOKENS)
    except GatewayError as error:
        assert 400 <= error.status < 500 and error.message.endswith((".", "!", "?"))
    else:
        chat.talk.pictures = [b"data:image/png;base64,AAAA"] * len(chat.talk.images)
        sent = json.loads(chat.engine_body("m", "salt"))
        assert sent["model"] == "m" and len(sent["messages"]) == len(body["messages"])


def test_each_picture_stands_where_its_file_stood():
    inline = "data:image/png;base64,iVBORw0KGgo="

    def image():
        return {"type": "image_url", "image_url": {"url": inline}}

    text = {"type": "text", "text": 'so: "url"\\'}
    turns = [
        {"role": "user", "content": [image(), text, image()]},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": [text, image()]},
    ]
    chat = read_chat(json.dumps({"messages": turns}).encode(), Limits(), RESERVED_TOKENS)
    with pytest.raises(ValueError):
        chat.engine_body("m", "salt")  # nothing is sent with a picture missing
    chat.talk.pictures = [f"data:image/png;base64,{n}".encode() for n in range(3)]
    sent = json.loads(chat.engine_body("m", "salt"))
    urls = [[p["image_url"]["url"] for p in m["content"] if p["type"] == "image_url"] for m in sent["messages"][::2]]
    assert urls == [["data:image/png;base64,0", "data:image/png;base64,1"], ["data:image/png;base64,2"]]
    assert sent["messages"][2]["content"][0] == text


@given(st.binary(max_size=200))
def test_any_bytes_are_json_or_a_refusal(body):
    try:
        assert isinstance(parse_json(body), dict)
    except GatewayError as error:
        assert error.code == "bad_json"


def test_a_refusal_never_repeats_a_value():
    planted = "DOE^JOHN"
    for body in (
        {"messages": [{"role": planted, "content": "x"}]},
        {"messages": [{"role": "user", "content": planted}], "temperature": planted},
        {"messages": [{"role": "user", "content": planted}], "stop": [planted, 3]},
        {"messages": [{"role": "user", "content": "x"}], "response_format": {"type": planted}},
        {"messages": [{"role": "user", "content": "x"}], planted: 1},
        {"messages": [{"role": "user", "content": [{"type": planted}]}]},
        {"messages": [{"role": "user", "content": "x", "name": planted}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": f"http://{planted}"}}]}]},
    ):
        with pytest.raises(GatewayError) as caught:
            read_chat(json.dumps(body).encode(), Limits(), RESERVED_TOKENS)
        assert planted not in json.dumps(caught.value.body())


# --- streams --------------------------------------------------------------------------------------------------------


@given(st.lists(st.binary(min_size=1, max_size=20).map(base64.b16encode), max_size=8), st.data())
def test_events_are_the_same_however_they_are_cut(events, data):
    end = data.draw(st.sampled_from([b"\n", b"\r\n"]))
    wire = b"".join(b": keep alive" + end * 2 + b"data: " + event + end * 2 for event in events)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=6)))
    reader, found = EventReader(), []
    for start, stop in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        found += reader.feed(wire[start:stop])
    assert found == events


@given(st.binary(max_size=3000), st.integers(1, 700))
def test_gunzip_in_pieces(data, size):
    import gzip

    packed, unpack, out = gzip.compress(data), _Gunzip(), b""
    for start in range(0, len(packed), size):
        chunk = packed[start : start + size]
        while chunk:
            piece, chunk = unpack(chunk)
            out += piece
    assert out == data and unpack.finished


@given(st.binary(max_size=2000), st.integers(1, 100))
def test_multipart_file_comes_back(data, size):
    boundary = "----0f1e2d3c4b5a69788796a5b4c3d2e1f0"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="DOE.dcm"\r\n\r\n'
    body = head.encode() + data + f"\r\n--{boundary}--\r\n".encode()
    form = OneFile(f"multipart/form-data; boundary={boundary}")
    for start in range(0, len(body), size):
        form.feed(body[start : start + size])
    assert form.take() == data


@pytest.mark.parametrize(
    "body",
    [
        b'--b\r\nContent-Disposition: form-data; name="other"\r\n\r\nx\r\n--b--\r\n',
        b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--b\r\n'
        b'Content-Disposition: form-data; name="file"\r\n\r\ny\r\n--b--\r\n',
        b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nx',
        b"no multipart at all",
        b"--b\r\nX: " + b"y" * 10_000,
    ],
)
def test_multipart_that_is_none(body):
    with pytest.raises(GatewayError) as caught:
        form = OneFile("multipart/form-data; boundary=b")
        form.feed(body)
        form.take()
    assert caught.value.code == "bad_multipart"


# --- limits ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(0, 30), st.floats(0, 50)), max_size=40))
def test_a_bucket_never_gives_more_than_its_rate(steps):
    now = 0.0
    bucket = Bucket(60, clock=lambda: now)
    taken = 0.0
    for wait, amount in steps:
        now += wait
        told = bucket.take(amount)
        if told == 0:
            taken += amount
        else:
            now += told + 1e-6
            assert bucket.take(amount) == 0, "after the time it told, there is room"
            taken += amount
        assert taken <= 60 + now + 1e-6  # a full bucket, and one a second


def test_debt_is_paid_before_the_next_one_gets_in():
    now = 0.0
    bucket = Bucket(60, clock=lambda: now)
    assert bucket.take(10) == 0
    bucket.charge(110)  # 60 short
    assert bucket.take(1) == pytest.approx(61)


def test_uploads_expire_and_have_a_quota():
    now = 0.0
    store = UploadStore(10, key_bytes=100, total_bytes=150, clock=lambda: now)
    first = store.put("a", b"x" * 80, "h", {})
    with pytest.raises(GatewayError) as caught:
        store.put("a", b"x" * 30, "h", {})
    assert (caught.value.status, caught.value.code) == (413, "upload_quota")
    with pytest.raises(GatewayError) as caught:
        store.put("b", b"x" * 80, "h", {})
    assert caught.value.status == 503
    now = 11
    with pytest.raises(GatewayError):
        store.get("a", first.file_id)
    assert store.bytes == 0


# --- keys and settings ----------------------------------------------------------------------------------------------


def test_keys_from_file_and_environment(tmp_path):
    secret, record = new_key("ward")
    path = tmp_path / "keys.json"
    path.write_text(json.dumps([record.model_dump()]))
    path.chmod(0o600)
    settings = GatewaySettings(engine_url="http://x", keys_file=path)
    keys = Keys(settings, {"MEDVLM_API_KEYS": f"lab:a-long-enough-key,other:{hash_key('s3')}"})
    assert keys.caller(f"Bearer {secret}").name == "ward"
    assert keys.caller("bearer a-long-enough-key").name == "lab"
    assert keys.caller("Bearer s3").name == "other"
    assert secret not in path.read_text()


@pytest.mark.parametrize(
    ("text", "word"),
    [("{", "JSON"), ("{}", "list"), ('[{"name": "a"}]', "sha256"), ('[{"name": "a", "sha256": "short"}]', "sha256")],
)
def test_key_files_that_are_none(tmp_path, text, word):
    path = tmp_path / "keys.json"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match=word):
        read_keys_file(path)


def test_keys_that_would_let_in_the_wrong_ones(tmp_path):
    with pytest.raises(KeyFileError, match="cannot be read"):
        read_keys_file(tmp_path / "none.json")
    with pytest.raises(KeyFileError, match="Nobody"):
        Keys(GatewaySettings(engine_url="http://x"), {})
    twin = ApiKey(name="a", sha256=hash_key("x"))
    with pytest.raises(KeyFileError, match="twice"):
        Keys(GatewaySettings(engine_url="http://x", keys=(twin, twin)), {})
    with pytest.raises(KeyFileError, match="16"):
        read_keys_env({"MEDVLM_API_KEYS": "a:short"})
    open_file = tmp_path / "open.json"
    open_file.write_text("[]")
    open_file.chmod(0o666)
    with pytest.raises(KeyFileError, match="chmod"):
        read_keys_file(open_file)


def test_an_anonymous_gateway_stays_on_loopback():
    GatewaySettings(engine_url="http://x", anonymous=True, host="::1")
    for host in ("0.0.0.0", "::", "10.0.0.5", "myhost"):
        with pytest.raises(ValidationError, match="loopback"):
            GatewaySettings(engine_url="http://x", anonymous=True, host=host)
    with pytest.raises(ValidationError, match="Extra"):
        GatewaySettings(engine_url="http://x", anonymus=True)  # type: ignore[call-arg]


# --- audit ----------------------------------------------------------------------------------------------------------


def test_audit_chain_goes_on_after_a_restart_and_after_a_torn_line(tmp_path):
    path = tmp_path / "audit.jsonl"
    for _ in range(2):
        log = AuditLog(path)
        log.append({"who": "a", "outcome": "ok"})
        log.close()
    with path.open("ab") as file:
        file.write(b'{"time": "2026-11-21T07')  # killed here
    log = AuditLog(path)
    log.append({"who": "b"})
    log.close()
    assert verify_audit(path) == 4
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("attack", ["change", "remove", "insert", "swap"])
def test_audit_tampering_is_found(tmp_path, attack):
    path = tmp_path / "audit.jsonl"
    log = AuditLog(path)
    for who in "abcde":
        log.append({"who": who})
    log.close()
    lines = path.read_bytes().splitlines(keepends=True)
    if attack == "change":
        lines[2] = lines[2].replace(b'"c"', b'"x"')
    elif attack == "remove":
        del lines[2]
    elif attack == "insert":
        lines.insert(2, lines[1])
    else:
        lines[1], lines[2] = lines[2], lines[1]
    path.write_bytes(b"".join(lines))
    with pytest.raises(AuditError, match=r"line [234]"):
        verify_audit(path)


def test_audit_has_one_writer(tmp_path):
    log = AuditLog(tmp_path / "a.jsonl")
    with pytest.raises(AuditError, match="Another process"):
        AuditLog(tmp_path / "a.jsonl")
    log.close()


def test_scrub_takes_addresses_urls_and_paths_out():
    text = scrub("bad at 0x7ffe12345678 in /usr/lib/python3/x.py from http://10.0.0.1:8000/v1\nsecond line")
    assert text == "bad at [address] in [path] from [url] second line."
    assert len(scrub("x" * 5000)) <= 401
