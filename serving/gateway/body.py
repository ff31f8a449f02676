"""Reading a request body that may be too long, too slow, or a bomb: never more than the cap is held."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.requests import Request

from serving.gateway.errors import GatewayError

LINGER_BYTES = 512 * 1024 * 1024
LINGER_SECONDS = 15.0


class ClientGone(Exception):
    """The client hung up before its request was complete. Nobody is left to answer."""


def too_large(cap: int, what: str) -> GatewayError:
    return GatewayError(
        413,
        "body_too_large",
        f"{what} is larger than {cap / 1e6:.0f} MB, the limit here: send a smaller file, fewer images, or upload "
        "images one by one to /v1/images.",
    )


def check_length(request: Request, cap: int, what: str) -> None:
    """Refuse by Content-Length alone, before a byte is read. A header that lies is met by `pieces`.

    Raises:
        GatewayError: 413, or 400 for a length that is no number.
    """
    length = request.headers.get("content-length")
    if length is None:
        return
    if not length.isdecimal():
        raise GatewayError(400, "bad_content_length", "The Content-Length header is not a number.")
    if int(length) > cap:
        raise too_large(cap, what)


async def pieces(request: Request, cap: int, seconds: float, idle_seconds: float, what: str) -> AsyncIterator[bytes]:
    """The body as it arrives, unpacked if it is gzip, never more than `cap` bytes in all (packed or unpacked).

    Raises:
        GatewayError: 413 over the cap, 408 too slow, 415 another content encoding, 400 broken gzip.
        ClientGone: the client hung up.
    """
    check_length(request, cap, what)
    unpack = _unpacker(request)
    deadline = time.monotonic() + seconds
    received = out = 0
    while True:
        message = await _receive(request, min(idle_seconds, deadline - time.monotonic()))
        chunk = message.get("body", b"")
        received += len(chunk)
        if received > cap:
            raise too_large(cap, what)
        while chunk:
            data, chunk = unpack(chunk) if unpack else (chunk, b"")
            out += len(data)
            if out > cap:
                raise too_large(cap, what)
            if data:
                yield data
        if not message.get("more_body", False):
            break
    if unpack and not unpack.finished:
        raise GatewayError(400, "bad_encoding", "The gzip body ends in the middle: send it again.")


async def read_body(
    request: Request, cap: int, seconds: float, idle_seconds: float, what: str, hold: Callable[[int], None]
) -> bytes:
    """The whole body; raises as `pieces` does, and what `hold` raises when it is told of each piece's size."""
    parts: list[bytes] = []
    async for piece in pieces(request, cap, seconds, idle_seconds, what):
        hold(len(piece))
        parts.append(piece)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def linger(request: Request) -> None:
    """Read and drop what a refused client still sends, bounded, so that it gets to read the refusal.

    Most clients write their whole body before they look for an answer; closing at once resets them instead.
    """
    dropped, deadline = 0, time.monotonic() + LINGER_SECONDS
    while dropped < LINGER_BYTES and (left := deadline - time.monotonic()) > 0:
        try:
            message = await _receive(request, left)
        except (ClientGone, GatewayError):
            return
        dropped += len(message.get("body", b""))
        if not message.get("more_body", False):
            return


async def _receive(request: Request, seconds: float) -> dict[str, Any]:
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            message = await request.receive()
    except TimeoutError:
        raise GatewayError(408, "body_timeout", "The body came too slowly: send it again, faster.") from None
    if message["type"] == "http.disconnect":
        raise ClientGone
    return dict(message)


class _Gunzip:
    """Unpacks gzip in pieces of at most 1 MiB: a bomb is cut at the cap, not after it."""

    PIECE = 1024 * 1024

    def __init__(self) -> None:
        self._z = zlib.decompressobj(wbits=31)
        self.finished = False

    def __call__(self, chunk: bytes) -> tuple[bytes, bytes]:
        if self.finished:
            raise GatewayError(400, "bad_encoding", "There is something behind the end of the gzip body.")
        try:
            data = self._z.decompress(chunk, self.PIECE)
        except zlib.error:
            raise GatewayError(400, "bad_encoding", "The body says it is gzip and is not.") from None
        self.finished = self._z.eof
        return data, self._z.unused_data if self.finished else self._z.unconsumed_tail


def _unpacker(request: Request) -> _Gunzip | None:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        return None
    if encoding in ("gzip", "x-gzip"):
        return _Gunzip()
    raise GatewayError(415, "unsupported_encoding", "Content-Encoding may be gzip or identity, nothing else.")
