"""One request on its way through the gateway: what the log, the audit line and the metrics are written from."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request

from serving.gateway.auth import Caller
from serving.gateway.body import ClientGone
from serving.gateway.errors import GatewayError, retry_later

_REQUEST_ID = re.compile(r"^[A-Za-z0-9_.-]{1,64}$")


@dataclass(slots=True, eq=False)
class Exchange:
    """State of one request. No content: names, counts, times and hashes only."""

    request_id: str
    engine_id: str = field(default_factory=lambda: secrets.token_hex(16))
    started: float = field(default_factory=time.monotonic)
    route: str = "unmatched"
    caller: Caller | None = None
    status: int = 0
    code: str | None = None
    model: str | None = None
    stream: bool = False
    image_sha256: list[str] = field(default_factory=list)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    first_token: float | None = None
    client_gone: bool = False
    shutting_down: bool = False
    body_read: bool = True
    interrupt: Callable[[], None] | None = None

    @classmethod
    def begin(cls, sent_id: str | None) -> Exchange:
        """With the caller's x-request-id when it is a plain short id, else with one of ours."""
        usable = sent_id is not None and _REQUEST_ID.match(sent_id) is not None
        return cls(sent_id if usable and sent_id else secrets.token_hex(16))

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def record(self) -> dict[str, Any]:
        """The line for log and audit."""
        outcome = "client_gone" if self.client_gone else self.code or "ok"
        line: dict[str, Any] = {
            "event": "request",
            "request_id": self.request_id,
            "who": self.caller.name if self.caller else None,
            "what": self.route,
            "status": self.status,
            "outcome": outcome,
            "ms": round(self.seconds * 1000, 1),
        }
        if self.model:
            line |= {"model": self.model, "engine_id": self.engine_id, "stream": self.stream}
            line |= {"prompt_tokens": self.prompt_tokens, "completion_tokens": self.completion_tokens}
        if self.first_token is not None:
            line["ttft_ms"] = round(self.first_token * 1000, 1)
        if self.image_sha256:
            line["image_sha256"] = self.image_sha256
        return line

    @asynccontextmanager
    async def watched(self, request: Request) -> AsyncIterator[None]:
        """Cancel what runs in the block when the client hangs up, or when the gateway's time to drain is over.

        The request's body must have been read: what is received from here on can only be the disconnect.

        Raises:
            ClientGone: nobody is left to answer.
            GatewayError: 503, the gateway is shutting down.
        """
        main = asyncio.current_task()
        assert main is not None

        async def watch() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass
            self.client_gone = True
            main.cancel()

        def interrupt() -> None:
            self.shutting_down = True
            main.cancel()

        watcher = asyncio.create_task(watch())
        self.interrupt = interrupt
        try:
            yield
        except asyncio.CancelledError:
            if not (self.client_gone or self.shutting_down):
                raise
            main.uncancel()
            raise ClientGone if self.client_gone else shutting_down() from None
        finally:
            self.interrupt = None
            watcher.cancel()


def shutting_down() -> GatewayError:
    return retry_later(503, "shutting_down", "The gateway is shutting down: ask again in a moment.", 5)


def exchange_of(request: Request) -> Exchange:
    return request.scope["medvlm.exchange"]
