"""`run_gateway(settings)`: the gateway under uvicorn, until a signal; then drained, then returned from."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.gateway import logs
from serving.gateway.app import Gateway, create_app
from serving.gateway.settings import GatewaySettings
from vlm.errors import MedVLMError

if TYPE_CHECKING:
    from fastapi import FastAPI

log = logging.getLogger("medvlm.gateway")


class ListenError(MedVLMError):
    """The address cannot be listened on."""


def run_gateway(settings: GatewaySettings, *, ready: Any = None) -> None:
    """Serve until SIGTERM or SIGINT, let requests in flight finish for `settings.drain_seconds`, return.

    Args:
        settings: see `GatewaySettings`; port 0 takes a free one.
        ready: called with the bound port when the gateway listens.

    Raises:
        ListenError: the port is in use, or the address is not this machine's.
        KeyFileError, AuditError: from `create_app`.
    """
    logs.configure()
    app = create_app(settings)
    listener = listen(settings.host, settings.port)
    try:
        GatewayServer(app, settings, ready).run(sockets=[listener])
    finally:
        listener.close()


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        ListenError: with what to do about it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host.strip("[]"), port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ListenError(
                f"Port {port} on {host} is in use: stop what runs there, or choose another --port."
            ) from None
        raise ListenError(f"Cannot listen on {host}, port {port}: {os.strerror(error.errno or 0)}.") from None
    listener.setblocking(False)
    return listener


class GatewayServer(uvicorn.Server):
    """uvicorn, with a drain that ends in typed errors, and signals that end serving and not the process."""

    def __init__(self, app: FastAPI, settings: GatewaySettings, ready: Any = None) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                loop="uvloop",
                http=_protocol(settings.limits.header_seconds),
                ws="none",
                lifespan="on",
                access_log=False,
                log_config=None,
                server_header=False,
                timeout_keep_alive=30,
                timeout_graceful_shutdown=int(settings.drain_seconds) + 5,
            )
        )
        self._gateway = cast(Gateway, app.state.gateway)
        self._drain_seconds = settings.drain_seconds
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            port = sockets[0].getsockname()[1]
            log.info("listening", extra={"data": {"port": port}})
            if self._ready is not None:
                self._ready(port)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Not super(): it would raise the signal again afterwards, and the caller still has an engine to stop.
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        log.info("draining", extra={"data": {"in_flight": len(self._gateway.active)}})
        drain = asyncio.create_task(self._gateway.drain(self._drain_seconds))
        try:
            await super().shutdown(sockets)
        finally:
            drain.cancel()


def _protocol(header_seconds: float) -> type[HttpToolsProtocol]:
    class HeaderTimeout(HttpToolsProtocol):
        """Closes a connection that has not sent a whole request head in time; uvicorn 0.54 would wait for ever."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._head_timer = self.loop.call_later(header_seconds, self._head_late)

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._head_timer.cancel()
            self._head_timer = self.loop.call_later(header_seconds, self._head_late)

        def on_headers_complete(self) -> None:
            self._head_timer.cancel()
            super().on_headers_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            self._head_timer.cancel()
            super().connection_lost(exc)

        def _head_late(self) -> None:
            if self.cycle is None or self.cycle.response_complete:
                self.transport.close()

    return HeaderTimeout
