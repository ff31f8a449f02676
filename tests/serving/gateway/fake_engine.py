"""A small real server that talks like vLLM's OpenAI server, and that can be told to misbehave.

Used by the gateway's tests and by perf/gateway_overhead.py. What it answers names what it was sent: image sizes (it
decodes the PNGs itself), number of messages, so that a test sees what arrived and not what it hopes.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import socket
import threading
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

KEY = "the-engine's-own-key"


@dataclass
class FakeEngine:
    """State that tests read and set. `mode` is how the next chat requests are answered."""

    mode: str = "ok"  # ok | hang | die | silent | garbage | garbage_stream | event_error | refuse | crash | slow
    tokens: int = 8
    healthy: bool = True
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    running: int = 0
    aborts: int = 0
    port: int = 0
    decode_images: bool = True
    context: int = 2048
    think: float = 0.0  # seconds before each answer begins

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/health", self._health),
                Route("/v1/models", self._models),
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/v1/completions", self._forbidden, methods=["POST"]),
                Route("/tokenize", self._forbidden, methods=["POST"]),
            ]
        )

    async def _health(self, _: Request) -> Response:
        return Response(status_code=200 if self.healthy else 503)

    async def _forbidden(self, _: Request) -> Response:
        return JSONResponse({"leak": True})

    async def _models(self, request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return JSONResponse({"error": "Unauthorized"}, 401)
        model = {
            "id": "medvlm-test",
            "object": "model",
            "created": 1,
            "root": "/srv/secret/path",
            "max_model_len": self.context,
        }
        return JSONResponse({"object": "list", "data": [model]})

    async def _chat(self, request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return JSONResponse({"error": "Unauthorized"}, 401)
        body = await request.json()
        if self.think:
            await asyncio.sleep(self.think)
        self.bodies.append(body)
        del self.bodies[:-50]
        self.headers.append(dict(request.headers))
        del self.headers[:-50]
        if self.mode == "refuse":
            message = "This model's maximum context length is 2048 tokens, see /usr/lib/x/y.py at 0x7f00deadbeef"
            error = {"message": message, "type": "BadRequestError", "param": None, "code": 400}
            return JSONResponse({"error": error}, 400)
        if self.mode == "crash":
            return JSONResponse({"error": {"message": "CUDA error at 0x7f00deadbeef", "code": 500}}, 500)
        if self.mode == "garbage":
            return Response(b"<html>not json", media_type="application/json")
        if body.get("stream"):
            return StreamingResponse(self._stream(body), media_type="text/event-stream")
        return await self._whole(request, body)

    def _words(self, body: dict[str, Any]) -> list[str]:
        sizes = [] if not self.decode_images else _image_sizes(body)
        words = [f"{len(body['messages'])} messages", *(f"{w}x{h} {mode}" for w, h, mode in sizes)]
        return [*words, *(f"w{i}" for i in range(self.tokens))]

    async def _whole(self, request: Request, body: dict[str, Any]) -> Response:
        self.running += 1
        try:
            if self.mode == "hang":
                while not await request.is_disconnected():
                    await asyncio.sleep(0.02)
                self.aborts += 1
                return Response(status_code=499)
            words = self._words(body)
            if self.mode == "slow":
                await asyncio.sleep(0.1 * len(words))
            choices = [
                {"index": i, "message": {"role": "assistant", "content": " ".join(words)}, "finish_reason": "stop"}
                for i in range(body.get("n") or 1)
            ]
            usage = {"prompt_tokens": 10, "completion_tokens": len(words), "total_tokens": 10 + len(words)}
            answer = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": body["model"]}
            return JSONResponse({**answer, "choices": choices, "usage": usage})
        finally:
            self.running -= 1

    async def _stream(self, body: dict[str, Any]):
        self.running += 1
        finished = False
        try:
            words = self._words(body)
            yield _event(body, {"role": "assistant", "content": ""})
            for number, word in enumerate(words):
                if number == 3:
                    await self._misbehave()
                    if self.mode == "garbage_stream":
                        yield b"data: {this is not json\n\n"
                        return
                    if self.mode == "event_error":
                        error = {"message": "EngineCore died, see /var/lib/secret", "type": "x", "code": 500}
                        yield b"data: " + json.dumps({"error": error}).encode() + b"\n\ndata: [DONE]\n\n"
                        return
                if self.mode == "slow":
                    await asyncio.sleep(0.1)
                yield _event(body, {"content": word + " "})
                await asyncio.sleep(0)
            yield _event(body, {}, finish="stop")
            if (body.get("stream_options") or {}).get("include_usage"):
                usage = {"prompt_tokens": 10, "completion_tokens": len(words), "total_tokens": 10 + len(words)}
                yield _event(body, None, usage=usage)
            yield b"data: [DONE]\n\n"
            finished = True
        finally:
            self.running -= 1
            if not finished:
                self.aborts += 1

    async def _misbehave(self) -> None:
        if self.mode in ("hang", "silent"):
            await asyncio.sleep(3600)
        if self.mode == "die":
            raise RuntimeError("the engine died on purpose")


def _event(body: dict[str, Any], delta: dict[str, Any] | None, finish: str | None = None, usage: Any = None) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    event = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
    event |= {"choices": choices}
    if usage:
        event["usage"] = usage
    return b"data: " + json.dumps(event).encode() + b"\n\n"


def _image_sizes(body: dict[str, Any]) -> list[tuple[int, int, str]]:
    from PIL import Image

    sizes = []
    for message in body["messages"]:
        for part in message.get("content") or []:
            if isinstance(part, dict) and part["type"] == "image_url":
                prefix, _, data = part["image_url"]["url"].partition(",")
                assert prefix == "data:image/png;base64", prefix
                assert set(part["image_url"]) == {"url"}
                picture = Image.open(io.BytesIO(base64.b64decode(data)))
                picture.load()
                sizes.append((*picture.size, picture.mode))
    return sizes


class ServerThread:
    """Any uvicorn.Server in a thread of its own, on a free loopback port."""

    def __init__(self, server: uvicorn.Server) -> None:
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen(128)
        self.port = self.socket.getsockname()[1]
        self.server = server
        self._thread = threading.Thread(target=lambda: server.run(sockets=[self.socket]), daemon=True)

    def start(self) -> ServerThread:
        self._thread.start()
        for _ in range(400):
            if self.server.started:
                return self
            if not self._thread.is_alive():
                break
            threading.Event().wait(0.025)
        raise RuntimeError("the server did not start")

    def stop(self, *, force: bool = False) -> None:
        self.server.should_exit = True
        self.server.force_exit = force
        self._thread.join(20)
        self.socket.close()
        assert not self._thread.is_alive(), "the server did not stop"


def start_fake_engine(engine: FakeEngine) -> ServerThread:
    config = uvicorn.Config(engine.app(), log_level="critical", ws="none", lifespan="off", timeout_graceful_shutdown=1)
    thread = ServerThread(uvicorn.Server(config)).start()
    engine.port = thread.port
    return thread
