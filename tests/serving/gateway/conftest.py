"""A real gateway in front of a small real server, both on free loopback ports."""

from __future__ import annotations

import base64
import importlib.util
import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from serving.gateway.app import create_app
from serving.gateway.auth import hash_key
from serving.gateway.server import GatewayServer
from serving.gateway.settings import ApiKey, GatewaySettings, Limits, Rates

ALICE, BOB = "mv-alice-0123456789abcdef", "mv-bob-0123456789abcdef"


def load_fake_engine() -> ModuleType:
    name = "gateway_fake_engine"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("fake_engine.py"))
        assert spec and spec.loader
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


@dataclass
class Stand:
    """One gateway and its engine; `http` speaks as alice."""

    engine: Any
    gateway: Any
    url: str
    http: httpx.Client
    _stop: list[Callable[[], None]] = field(default_factory=list)

    def ask(self, content: Any = "hello", key: str = ALICE, **fields: Any) -> httpx.Response:
        body = {"model": "medvlm-test", "messages": [{"role": "user", "content": content}], **fields}
        return self.http.post("/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {key}"})

    def good(self) -> None:
        """The next request is answered: what every fault's test ends with."""
        mode, self.engine.mode = self.engine.mode, "ok"
        try:
            answer = self.ask([image_part(png()), {"type": "text", "text": "and now?"}])
            assert answer.status_code == 200, answer.text
            assert "32x24" in answer.json()["choices"][0]["message"]["content"]
        finally:
            self.engine.mode = mode

    def metrics(self) -> str:
        return self.http.get("/metrics", headers={"Authorization": f"Bearer {BOB}"}).text


def png(width: int = 32, height: int = 24, value: int = 100) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.new("L", (width, height), value).save(out, "PNG")
    return out.getvalue()


def image_part(data: bytes, kind: str = "image/png", **extra: Any) -> dict[str, Any]:
    url = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    return {"type": "image_url", "image_url": {"url": url, **extra}}


def error_of(response: httpx.Response) -> dict[str, Any]:
    """The error of a refusal, after checking its shape."""
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"].endswith((".", "?", "!")) and len(error["message"]) > 15
    return error


@pytest.fixture(scope="session")
def build_stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Stand]]:
    fake = load_fake_engine()
    stops: list[Callable[[], None]] = []

    def build(**changes: Any) -> Stand:
        engine = fake.FakeEngine()
        upstream = fake.start_fake_engine(engine)
        defaults: dict[str, Any] = {
            "engine_url": engine.url,
            "engine_key": fake.KEY,
            "keys": (
                ApiKey(name="alice", sha256=hash_key(ALICE)),
                ApiKey(name="bob", sha256=hash_key(BOB), scopes=("chat", "images", "metrics")),
            ),
            "audit_path": tmp_path_factory.mktemp("audit") / "audit.jsonl",
            "limits": Limits(images=3, body_idle_seconds=2),
            "drain_seconds": 2,
        }
        settings = GatewaySettings(**(defaults | changes))
        app = create_app(settings)
        server = fake.ServerThread(GatewayServer(app, settings)).start()
        url = f"http://127.0.0.1:{server.port}"
        http = httpx.Client(base_url=url, timeout=30, headers={"Authorization": f"Bearer {ALICE}"}, trust_env=False)
        stand = Stand(engine, app.state.gateway, url, http)

        def stop() -> None:
            http.close()
            server.stop()
            upstream.stop(force=True)

        stand._stop.append(stop)
        stops.append(stop)
        return stand

    yield build
    for stop in reversed(stops):
        stop()


@pytest.fixture(scope="session")
def _shared(build_stand: Callable[..., Stand]) -> Stand:
    return build_stand()


@pytest.fixture
def stand(_shared: Stand) -> Stand:
    """The gateway that most tests share, with its engine well-behaved again."""
    _shared.engine.mode, _shared.engine.tokens, _shared.engine.healthy = "ok", 8, True
    return _shared


@pytest.fixture
def tools() -> ModuleType:
    """png(), image_part() and error_of(), for tests (importlib mode has no sibling imports)."""
    return sys.modules[__name__]


__all__ = ["ALICE", "BOB", "Rates"]
