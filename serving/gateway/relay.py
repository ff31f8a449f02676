"""Passing the engine's stream of events on to the client: checked, counted, ended by a typed error when it breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import aiohttp
from pydantic_core import from_json

from serving.gateway.engine import Engine, engine_event_error
from serving.gateway.errors import GatewayError
from serving.gateway.exchange import Exchange

EVENT_BYTES = 4 * 1024 * 1024
DONE = b"data: [DONE]\n\n"


class EventReader:
    """Cuts a byte stream into the `data` of server-sent events.

    Raises (from `feed`):
        GatewayError: 502 when one event is longer than any that a model writes.
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        data = (self._rest + chunk).replace(b"\r\n", b"\n")
        *blocks, self._rest = data.split(b"\n\n")
        if len(self._rest) > EVENT_BYTES:
            raise _garbage()
        found = (_data(block) for block in blocks)
        return [data for data in found if data]


def _data(block: bytes) -> bytes:
    lines = [line[5:].removeprefix(b" ") for line in block.split(b"\n") if line.startswith(b"data:")]
    return lines[0] if len(lines) == 1 else b"\n".join(lines)


async def relay_events(
    engine: Engine,
    response: aiohttp.ClientResponse,
    exchange: Exchange,
    *,
    wants_usage: bool,
    between_seconds: float,
) -> AsyncGenerator[bytes, None]:
    """The engine's events as bytes for the client, several at a time when they come together. Ends with `[DONE]`.

    Counts tokens into `exchange` as they pass, so that a broken stream is accounted for as well.

    Raises:
        GatewayError: the engine died, fell silent, reported an error or wrote garbage.
    """
    reader = EventReader()
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(None) as silence:
            async for chunk in response.content.iter_any():
                silence.reschedule(None)  # the client's pace is not the engine's silence
                out, done, error = _pass_on(reader.feed(chunk), exchange, wants_usage)
                if out:
                    yield out
                if error is not None:
                    raise error
                if done:
                    await _drain(response)
                    return
                silence.reschedule(loop.time() + between_seconds)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise engine.fault(error) from None
    raise engine.fault(ConnectionResetError())  # ended without [DONE]


def _pass_on(found: list[bytes], exchange: Exchange, wants_usage: bool) -> tuple[bytes, bool, GatewayError | None]:
    """(bytes for the client, whether the stream is done, the error that stands behind those bytes)."""
    out: list[bytes] = []
    for data in found:
        if data == b"[DONE]":
            return b"".join([*out, DONE]), True, None
        try:
            if count_event(data, exchange, wants_usage):
                out.append(b"data: " + data + b"\n\n")
        except GatewayError as error:
            return b"".join(out), False, error
    return b"".join(out), False, None


async def _drain(response: aiohttp.ClientResponse) -> None:
    """Read the end of a finished stream, so that its connection can be used again."""
    async with asyncio.timeout(1):
        async for _ in response.content.iter_any():
            pass


def count_event(data: bytes, exchange: Exchange, wants_usage: bool) -> bool:
    """Read one event into `exchange`. Returns whether the client gets to see it.

    Raises:
        GatewayError: it is an error, or no event of a completion.
    """
    try:
        event = from_json(data)
    except ValueError:
        raise _garbage() from None
    if not isinstance(event, dict):
        raise _garbage()
    if "error" in event:
        raise engine_event_error(event["error"])
    choices = event.get("choices")
    if not isinstance(choices, list):
        raise _garbage()
    if usage := event.get("usage"):
        read_usage(usage, exchange)
        return wants_usage or bool(choices)
    if any(_has_text(choice) for choice in choices):
        exchange.completion_tokens += 1  # until the engine's own count comes at the end
        if exchange.first_token is None:
            exchange.first_token = exchange.seconds
    return True


def read_usage(usage: Any, exchange: Exchange) -> None:
    if not isinstance(usage, dict):
        raise _garbage()
    prompt, completion = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
    if not isinstance(prompt, int) or not isinstance(completion, int | None):
        raise _garbage()
    exchange.prompt_tokens, exchange.completion_tokens = prompt, completion or 0


def _has_text(choice: Any) -> bool:
    delta = choice.get("delta") if isinstance(choice, dict) else None
    return isinstance(delta, dict) and bool(delta.get("content") or delta.get("tool_calls") or delta.get("reasoning"))


def _garbage() -> GatewayError:
    return GatewayError(502, "engine_bad_answer", "The model's server wrote something that is no answer: ask again.")
