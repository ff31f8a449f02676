"""The outermost layer: request ids, security headers, the one place where errors become answers, and the books.

A plain ASGI class. Starlette's BaseHTTPMiddleware hides disconnects and costs more than all of this.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.gateway import logs
from serving.gateway.audit import AuditError, AuditLog
from serving.gateway.body import ClientGone, linger
from serving.gateway.errors import GatewayError
from serving.gateway.exchange import Exchange
from serving.gateway.metrics import Metrics
from serving.gateway.settings import GatewaySettings

SECURITY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]
UNTRACKED = (
    "/health",
    "/health/live",
    "/metrics",
)  # machines ask these every few seconds: counted, not audited


class Edge:
    """Wraps the whole app. `drain` ends what still runs when the gateway has to go."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: GatewaySettings,
        metrics: Metrics,
        audit: AuditLog | None,
        active: set[Exchange],
    ) -> None:
        self._app = app
        self._hosts = frozenset(settings.hosts())
        self._origins = frozenset(settings.cors_origins)
        self._metrics = metrics
        self._audit = audit
        self._active = active

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)
        # websockets: returning without an accept makes the server answer 403 or 500 and close

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        exchange = scope["medvlm.exchange"] = Exchange.begin(headers.get("x-request-id"))
        exchange.body_read = "content-length" not in headers and "transfer-encoding" not in headers
        wire = _Wire(exchange, receive, send)
        self._active.add(exchange)
        self._metrics.in_flight.inc()
        try:
            try:
                self._check_origin(headers)
                self._check_audit(scope["path"])
                await self._app(scope, wire.receive, wire.send)
            except GatewayError as error:
                await self._answer(error, exchange, wire, scope)
            except (ClientGone, ConnectionError):
                exchange.client_gone = True
            except Exception as error:
                logs.events.error("internal_error", extra={"data": logs.describe(error)})
                await self._answer(
                    GatewayError(500, "internal_error", "The gateway failed; its log knows more by this request's id."),
                    exchange,
                    wire,
                    scope,
                )
        except asyncio.CancelledError:
            exchange.code = exchange.code or "cancelled"
            raise
        finally:
            self._active.discard(exchange)
            self._metrics.in_flight.dec()
            self._book(exchange, scope["path"])

    async def _answer(self, error: GatewayError, exchange: Exchange, wire: _Wire, scope: Scope) -> None:
        exchange.code = error.code
        self._metrics.refusals.labels(code=error.code).inc()
        if wire.started:
            if not wire.finished:  # a stream has begun: the error is its last event
                await wire.send({"type": "http.response.body", "body": error.event(), "more_body": False})
            return
        body = error.json()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        headers += [(name.lower().encode(), value.encode()) for name, value in error.headers.items()]
        unread = not exchange.body_read
        if unread:
            headers.append((b"connection", b"close"))
        await wire.send({"type": "http.response.start", "status": error.status, "headers": headers})
        await wire.send({"type": "http.response.body", "body": body, "more_body": unread})
        if unread:
            # Who waits for "100 Continue" has sent nothing; a slow sender has had its time.
            if Headers(scope=scope).get("expect") is None and error.status != 408:
                await linger(Request(scope, wire.receive))
            await wire.send({"type": "http.response.body", "body": b"", "more_body": False})

    def _check_origin(self, headers: Headers) -> None:
        """Against browsers used by others: DNS rebinding by Host, forged requests by Origin."""
        host = headers.get("host", "")
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if self._hosts and name not in self._hosts:
            raise GatewayError(421, "wrong_host", "This gateway does not answer to the Host of this request.")
        origin = headers.get("origin")
        if origin is None or origin in self._origins or origin in (f"http://{host}", f"https://{host}"):
            return
        raise GatewayError(403, "cross_origin_refused", "Pages of other sites may not use this gateway.")

    def _check_audit(self, path: str) -> None:
        """No audit, no service: when a line was lost, try one; only if it goes through does the request."""
        if self._audit is None or not self._audit.failed or path in UNTRACKED:
            return
        try:
            self._audit.append({"event": "audit_resumed"})
        except AuditError:
            raise GatewayError(
                503,
                "audit_unavailable",
                "The access log cannot be written, so nothing is served.",
                headers={"Retry-After": "30"},
            ) from None

    def _book(self, exchange: Exchange, path: str) -> None:
        if exchange.client_gone:
            exchange.status = exchange.status or 499
            self._metrics.cancelled.inc()
        self._metrics.requests.labels(route=exchange.route, status=str(exchange.status)).inc()
        self._metrics.seconds.labels(route=exchange.route).observe(exchange.seconds)
        if exchange.first_token is not None:
            self._metrics.first_token.observe(exchange.first_token)
        self._metrics.tokens.labels(kind="prompt").inc(exchange.prompt_tokens)
        self._metrics.tokens.labels(kind="completion").inc(exchange.completion_tokens)
        if path in UNTRACKED:
            return
        record = exchange.record()
        logs.access.info("request", extra={"data": record})
        if self._audit is not None:
            try:
                self._audit.append(record)
            except AuditError as error:
                logs.events.log(logging.CRITICAL, "audit_unavailable", extra={"data": logs.describe(error)})


class _Wire:
    """The connection as the app sees it: adds headers, notes what has been read and sent."""

    def __init__(self, exchange: Exchange, receive: Receive, send: Send) -> None:
        self._exchange = exchange
        self._receive = receive
        self._send = send
        self.started = False
        self.finished = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            self._exchange.body_read = True
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            self._exchange.status = message["status"]
            headers: list[Any] = [*message.get("headers", []), *SECURITY_HEADERS]
            headers.append((b"x-request-id", self._exchange.request_id.encode()))
            message = {**message, "headers": headers}
        elif not message.get("more_body", False):
            self.finished = True
        await self._send(message)


def interrupt_all(active: set[Exchange]) -> int:
    """End every request in flight with a typed error; returns how many."""
    count = 0
    for exchange in list(active):
        if exchange.interrupt is not None:
            exchange.interrupt()
            count += 1
    return count
