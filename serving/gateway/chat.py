"""POST /v1/chat/completions: check, draw the images, ask the engine, pass the answer on, give everything back."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from serving.gateway.auth import Caller
from serving.gateway.body import ClientGone, read_body
from serving.gateway.dataurl import InlineImage
from serving.gateway.errors import GatewayError, bad_request
from serving.gateway.exchange import Exchange, exchange_of
from serving.gateway.images import LOW_DETAIL_SIDE, Drawing, Picture
from serving.gateway.messages import ImageRequest
from serving.gateway.relay import read_usage, relay_events
from serving.gateway.schema import ChatRequest, read_chat

if TYPE_CHECKING:
    from serving.gateway.app import Gateway

CHARS_PER_TOKEN = 4  # for the reservation only; the engine's count settles it
Headers = list[tuple[bytes, bytes]]


class ChatService:
    """An ASGI endpoint, so that a request's slot is held until its last byte is out."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        secret = gateway.settings.salt_secret
        self._salt_key = (
            hashlib.sha256(secret.get_secret_value().encode()).digest() if secret else secrets.token_bytes(32)
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        exchange = exchange_of(request)
        exchange.route = "/v1/chat/completions"
        caller = self._gateway.admit(request, "chat")
        limits = self._gateway.settings.limits
        if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
            raise GatewayError(415, "not_json", "Send JSON, with the header 'Content-Type: application/json'.")
        with self._gateway.limiter.slot(caller) as slot:
            body = await read_body(
                request,
                limits.body_bytes,
                limits.body_seconds,
                limits.body_idle_seconds,
                "The request",
                slot.hold,
            )
            chat = read_chat(body, limits, self._gateway.settings.reserved_tokens)
            del body
            exchange.stream = chat.fields.stream
            async with exchange.watched(request):
                await self._answer(chat, caller, exchange, send)

    async def _answer(self, chat: ChatRequest, caller: Caller, exchange: Exchange, send: Send) -> None:
        gateway = self._gateway
        exchange.model = await gateway.engine.model_name(chat.fields.model)
        await self._draw_images(chat, caller, exchange)
        longest = chat.fill_max_tokens(
            gateway.engine.context(exchange.model), gateway.settings.limits.default_max_tokens
        )
        reserved = gateway.limiter.take_tokens(caller, chat.talk.text_chars / CHARS_PER_TOKEN + chat.n * longest)
        body = chat.engine_body(exchange.model, self.cache_salt(caller))
        chat.talk.images.clear()  # what came is no longer needed
        chat.talk.pictures.clear()
        try:
            async with gateway.engine.chat(body, exchange.engine_id, stream=chat.fields.stream) as response:
                del body
                headers = gateway.limiter.headers(caller)
                if chat.fields.stream:
                    await self._send_stream(response, chat, exchange, headers, send)
                else:
                    answer, said = await gateway.engine.read_answer(response)
                    read_usage(said.get("usage") or {}, exchange)
                    headers.append((b"content-type", b"application/json"))
                    headers.append((b"content-length", str(len(answer)).encode()))
                    await send({"type": "http.response.start", "status": 200, "headers": headers})
                    await self._send(send, answer, more=False)
        finally:
            used = exchange.prompt_tokens + exchange.completion_tokens
            gateway.limiter.settle_tokens(caller, reserved, used)

    async def _send_stream(
        self, response: Any, chat: ChatRequest, exchange: Exchange, headers: Headers, send: Send
    ) -> None:
        headers += [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        events: AsyncGenerator[bytes, None] = relay_events(
            self._gateway.engine,
            response,
            exchange,
            wants_usage=chat.wants_usage,
            between_seconds=self._gateway.settings.between_bytes_seconds,
        )
        async with aclosing(events):
            async for data in events:
                await self._send(send, data, more=True)
        await self._send(send, b"", more=False)

    async def _send(self, send: Send, data: bytes, *, more: bool) -> None:
        """Send, unless the client reads so slowly that it would hold its slot of the engine for nothing."""
        try:
            async with asyncio.timeout(self._gateway.settings.client_write_seconds):
                await send({"type": "http.response.body", "body": data, "more_body": more})
        except TimeoutError:
            raise ClientGone from None

    async def _draw_images(self, chat: ChatRequest, caller: Caller, exchange: Exchange) -> None:
        wanted = chat.talk.images
        if not wanted:
            return
        pictures = await asyncio.gather(*(self._draw(image, caller) for image in wanted))
        exchange.image_sha256 = [picture.sha256 for picture in pictures]
        total = sum(picture.pixels for picture in pictures)
        cap = self._gateway.settings.limits.request_pixels
        if total > cap:
            raise bad_request(
                "too_many_pixels",
                f"The images of this request have {total / 1e6:.0f} million pixels, {cap / 1e6:.0f} are taken at once: "
                "send fewer or smaller ones.",
                "messages",
            )
        self._gateway.limiter.take_pixels(caller, total)
        chat.talk.pictures = [picture.url for picture in pictures]

    async def _draw(self, image: ImageRequest, caller: Caller) -> Picture:
        side = self._gateway.settings.limits.image_side
        if image.detail == "low":
            side = min(side, LOW_DETAIL_SIDE)
        sha256 = None
        if isinstance(image.source, InlineImage):
            data = image.source.data
        else:
            upload = self._gateway.uploads.get(caller.name, image.source.file_id, f"{image.param}.url")
            data, sha256 = upload.data, upload.sha256
        drawing = Drawing(image.window, image.frame, side)
        try:
            return await self._gateway.images.picture(caller.name, data, drawing, sha256)
        except GatewayError as error:
            # The same refusal may be raised to several waiters: each gets its own, with its own place.
            raise GatewayError(
                error.status, error.code, error.message, param=image.param, headers=error.headers
            ) from None

    def cache_salt(self, caller: Caller) -> str:
        """The salt of one key's prefix cache in vLLM: nobody finds out by timing what another key has asked."""
        return hashlib.blake2b(caller.name.encode(), key=self._salt_key, digest_size=32).hexdigest()
