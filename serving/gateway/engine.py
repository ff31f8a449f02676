"""The way to the engine: kept-alive connections, health, the list of models, and its faults in the gateway's words."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from pydantic_core import from_json

from serving.gateway.errors import GatewayError, retry_later, scrub
from serving.gateway.logs import describe
from serving.gateway.metrics import Metrics
from serving.gateway.settings import GatewaySettings

log = logging.getLogger("medvlm.gateway.engine")

ANSWER_BYTES = 64 * 1024 * 1024
ERROR_BYTES = 64 * 1024
MODELS_SECONDS = 10.0
MODELS_RETRY_SECONDS = 1.0
HEALTH_SECONDS = 1.0


class Engine:
    """One vLLM server. Create and close it inside the event loop."""

    def __init__(self, settings: GatewaySettings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        key = settings.engine_key.get_secret_value()
        self._session = aiohttp.ClientSession(
            base_url=settings.engine_url.rstrip("/") + "/",
            headers={"Authorization": f"Bearer {key}"} if key else {},
            # vLLM closes idle connections after 5 s; ours go earlier, so that no request meets a closing one.
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=3),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )
        self._models: list[dict[str, Any]] = []
        self._models_time = float("-inf")
        self._models_lock = asyncio.Lock()
        self._renewal: asyncio.Task[None] | None = None
        self._ready = False
        self._ready_time = float("-inf")

    async def close(self) -> None:
        if self._renewal is not None:
            self._renewal.cancel()
        await self._session.close()

    async def ready(self) -> bool:
        """Whether the engine says that it is healthy; asked at most once a second."""
        if time.monotonic() - self._ready_time > HEALTH_SECONDS:
            self._ready_time = time.monotonic()
            try:
                timeout = aiohttp.ClientTimeout(total=self._settings.connect_seconds)
                async with self._session.get("health", timeout=timeout, allow_redirects=False) as response:
                    self._ready = response.status == 200
            except (aiohttp.ClientError, TimeoutError, OSError):
                self._ready = False
            self._metrics.engine_up.set(int(self._ready))
        return self._ready

    async def models(self, *, needed: str | None = None) -> list[dict[str, Any]]:
        """The models that the engine serves, `id` and `max_model_len` only: its list names folders of this machine.

        An old list is given at once and renewed behind the request's back, so that an engine too busy to list its
        models still gets requests. Without a list, or with `needed` not on it, the engine is waited for.

        Raises:
            GatewayError: 503 when the engine does not answer.
        """
        age = time.monotonic() - self._models_time
        missing = needed is not None and all(model["id"] != needed for model in self._models)
        if not self._models or (missing and age > MODELS_RETRY_SECONDS):
            await self._renew_models()
        elif age > MODELS_SECONDS and (self._renewal is None or self._renewal.done()):
            self._renewal = asyncio.create_task(self._try_renewal())
        return self._models

    async def _renew_models(self) -> None:
        before = self._models_time
        async with self._models_lock:
            if self._models_time == before:  # else somebody else has, while this one waited
                self._models = await self._fetch_models()
                self._models_time = time.monotonic()

    async def _try_renewal(self) -> None:
        try:
            await self._renew_models()
        except GatewayError as error:
            log.info("models_not_renewed", extra={"data": {"code": error.code}})

    async def _fetch_models(self) -> list[dict[str, Any]]:
        try:
            timeout = aiohttp.ClientTimeout(total=self._settings.connect_seconds)
            async with self._session.get("v1/models", timeout=timeout, allow_redirects=False) as response:
                body = await _read(response, ERROR_BYTES * 16)
                if response.status != 200:
                    raise _refused(response.status, body)
            listed = from_json(body)["data"]
            return [
                {
                    "id": str(model["id"]),
                    "object": "model",
                    "created": int(model.get("created", 0)),
                    "owned_by": "medvlm",
                    **({"max_model_len": int(model["max_model_len"])} if model.get("max_model_len") else {}),
                }
                for model in listed
            ]
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unreachable(error) from None
        except (ValueError, KeyError, TypeError):
            raise _garbage() from None

    async def model_name(self, wanted: str | None) -> str:
        """The served name for a request's `model`; without one, the first that is served.

        Raises:
            GatewayError: 404 for a model that is not served, 503 when the engine does not answer.
        """
        names = [model["id"] for model in await self.models(needed=wanted)]
        name = wanted or (names[0] if names else "")
        if name not in names:
            raise GatewayError(
                404,
                "model_not_found",
                f"There is no such model here. Served: {', '.join(names) or 'none'}.",
                param="model",
            )
        return name

    def context(self, name: str) -> int | None:
        """Tokens of prompt and answer together that a served model takes, if the engine says."""
        return next((model.get("max_model_len") for model in self._models if model["id"] == name), None)

    @asynccontextmanager
    async def chat(self, body: bytes, request_id: str, *, stream: bool) -> AsyncIterator[aiohttp.ClientResponse]:
        """POST /v1/chat/completions. Leaving the block early closes the connection: the engine then aborts the work.

        Args:
            body: JSON written by the gateway.
            request_id: ours, never the caller's: vLLM aborts by this id, and a caller could name another's.
            stream: with it, first and later bytes have timeouts of their own.

        Raises:
            GatewayError: the engine is not there, refuses, or is too slow. Faults while the answer is read are the
                reader's to translate, through `fault`.
        """
        s = self._settings
        timeout = aiohttp.ClientTimeout(
            total=s.request_seconds,
            sock_connect=s.connect_seconds,
            sock_read=s.first_byte_seconds if stream else None,
        )
        response: aiohttp.ClientResponse | None = None
        try:
            try:
                response = await self._session.post(
                    "v1/chat/completions",
                    data=body,
                    headers={"Content-Type": "application/json", "X-Request-Id": request_id},
                    timeout=timeout,
                    allow_redirects=False,
                )
                if response.status != 200:
                    raise _refused(response.status, await _read(response, ERROR_BYTES))
                if response.content_type != ("text/event-stream" if stream else "application/json"):
                    raise _garbage()
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise self.fault(error) from None
            yield response
        finally:
            if response is not None and not response.closed:
                response.close()  # an unread rest means an unfinished request: closing is what cancels it

    async def read_answer(self, response: aiohttp.ClientResponse) -> tuple[bytes, dict[str, Any]]:
        """A whole answer, as bytes to pass on and as what they say.

        Raises:
            GatewayError: 502 when it breaks off or is no completion, 504 when it takes too long.
        """
        try:
            body = await _read(response, ANSWER_BYTES)
            answer = from_json(body)
            if not isinstance(answer, dict) or not isinstance(answer.get("choices"), list):
                raise _garbage()
            return body, answer
        except ValueError:
            raise _garbage() from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self.fault(error) from None

    def fault(self, error: BaseException) -> GatewayError:
        """What a broken exchange with the engine is to the caller."""
        self._ready_time = float("-inf")  # look again at the next /health
        if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ConnectionTimeoutError):
            return GatewayError(
                504, "engine_timeout", "The model took too long: ask for fewer tokens, or try again later."
            )
        log.warning("engine_fault", extra={"data": describe(error)})
        if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
            return _unreachable(error)
        return GatewayError(
            502,
            "engine_died",
            "The model stopped in the middle of the answer: ask again.",
            headers={"Retry-After": "5"},
        )


def engine_event_error(error: Any) -> GatewayError:
    """An error that the engine wrote into a stream that had begun."""
    message = error.get("message") if isinstance(error, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    if code == 400 and isinstance(message, str):
        return GatewayError(400, "engine_refused", scrub(message))
    return GatewayError(502, "engine_error", "The model failed in the middle of the answer: ask again.")


async def _read(response: aiohttp.ClientResponse, cap: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > cap:
            raise _garbage()
        parts.append(chunk)
    return b"".join(parts)


def _refused(status: int, body: bytes) -> GatewayError:
    """The engine's own refusal. Its sentence passes for a fault of the request (context length), scrubbed."""
    log.warning("engine_refused", extra={"data": {"status": status}})
    if status in (400, 413, 422):
        try:
            error = from_json(body)["error"]
            message = scrub(str(error["message"]))
        except (ValueError, KeyError, TypeError):
            message = "The model refused this request without saying why."
        return GatewayError(400, "engine_refused", message)
    if status in (429, 503):
        return retry_later(503, "engine_busy", "The model is busy or still starting: try again.", 5)
    return GatewayError(502, "engine_error", f"The model failed (status {status}): try again later.")


def _unreachable(error: BaseException) -> GatewayError:
    log.warning("engine_unreachable", extra={"data": {"error": type(error).__name__}})
    return retry_later(503, "engine_unavailable", "The model is not running, or still starting: try again.", 5)


def _garbage() -> GatewayError:
    return GatewayError(502, "engine_bad_answer", "The model's server answered with something that is no answer.")
