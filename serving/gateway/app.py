"""`create_app(settings)`: the routes of the gateway. What is not listed does not exist, whatever the engine has."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from fastapi import FastAPI
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving.gateway.audit import AuditLog
from serving.gateway.auth import Caller, Keys, require
from serving.gateway.chat import ChatService
from serving.gateway.edge import Edge, interrupt_all
from serving.gateway.engine import Engine
from serving.gateway.errors import GatewayError
from serving.gateway.exchange import Exchange, exchange_of, shutting_down
from serving.gateway.images import ImageService
from serving.gateway.limits import RateLimiter
from serving.gateway.metrics import Metrics
from serving.gateway.settings import GatewaySettings, Scope
from serving.gateway.upload_routes import UploadRoutes
from serving.gateway.uploads import UploadStore

log = logging.getLogger("medvlm.gateway")

SWEEP_SECONDS = 15.0


@dataclass
class Gateway:
    """The parts of one running gateway; `app.state.gateway`."""

    settings: GatewaySettings
    keys: Keys
    metrics: Metrics
    limiter: RateLimiter
    uploads: UploadStore
    audit: AuditLog | None
    active: set[Exchange] = field(default_factory=set)
    draining: bool = False
    _engine: Engine | None = None
    _images: ImageService | None = None

    @property
    def engine(self) -> Engine:
        assert self._engine is not None, "the app has not been started"
        return self._engine

    @property
    def images(self) -> ImageService:
        assert self._images is not None, "the app has not been started"
        return self._images

    def start(self) -> None:
        self._engine = Engine(self.settings, self.metrics)
        self._images = ImageService(self.settings, self.metrics)

    async def stop(self) -> None:
        await self.engine.close()
        await asyncio.to_thread(self.images.close)
        if self.audit is not None:
            self.audit.close()

    async def drain(self, seconds: float) -> None:
        """Take nothing new; after `seconds` end what still runs with a typed error."""
        self.draining = True
        deadline = asyncio.get_running_loop().time() + seconds
        while self.active and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.05)
        if count := interrupt_all(self.active):
            log.warning("drain_interrupted", extra={"data": {"requests": count}})

    def admit(self, request: Request, scope: Scope) -> Caller:
        """Who asks, if they may. Before a byte of the body is read.

        Raises:
            GatewayError: 401, 403, or 503 while draining.
        """
        exchange = exchange_of(request)
        caller = exchange.caller = self.keys.caller(request.headers.get("authorization"))
        require(caller, scope)
        if self.draining:
            raise shutting_down()
        return caller


def create_app(settings: GatewaySettings) -> FastAPI:
    """The gateway as an ASGI app.

    Args:
        settings: where the engine is, who may ask, and how much.

    Raises:
        KeyFileError: no key, or a key file that cannot be used.
        AuditError: the audit log cannot be opened.
    """
    audit = AuditLog(settings.audit_path) if settings.audit_path else None
    gateway = Gateway(
        settings=settings,
        keys=Keys(settings),
        metrics=Metrics(),
        limiter=RateLimiter(settings.limits),
        uploads=UploadStore(settings.upload_seconds, settings.upload_key_bytes, settings.upload_total_bytes),
        audit=audit,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        gateway.start()
        tasks = [asyncio.create_task(_sweep(gateway)), asyncio.create_task(gateway.images.warm())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await gateway.stop()

    middleware = [
        Middleware(Edge, settings=settings, metrics=gateway.metrics, audit=audit, active=gateway.active),  # type: ignore[arg-type]
    ]
    if settings.cors_origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=list(settings.cors_origins),
                allow_methods=["GET", "POST", "DELETE"],
                allow_headers=["Authorization", "Content-Type", "X-Request-Id"],
                expose_headers=["X-Request-Id", "Retry-After"],
            )
        )
    app = FastAPI(
        title="medvlm gateway",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=lifespan,
        middleware=middleware,
        redirect_slashes=False,
    )
    app.state.gateway = gateway
    app.add_exception_handler(HTTPException, _no_route)
    _add_routes(app, gateway)
    return app


async def _sweep(gateway: Gateway) -> None:
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        gateway.uploads.sweep()
        gateway.metrics.upload_bytes.set(gateway.uploads.bytes)


async def _no_route(request: Request, error: Exception) -> Response:
    """Routing's own 404 and 405, in OpenAI's shape, by way of the edge."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allowed = dict(error.headers or {}).get("Allow", "")
        raise GatewayError(405, "method_not_allowed", f"This path takes {allowed} only.", headers={"Allow": allowed})
    raise GatewayError(
        404,
        "route_not_found",
        "There is no such path here. There are POST /v1/chat/completions, GET /v1/models, POST /v1/images, /health.",
    )


def _add_routes(app: FastAPI, gateway: Gateway) -> None:
    chat = ChatService(gateway)
    uploads = UploadRoutes(gateway)

    async def models(request: Request) -> Response:
        exchange_of(request).route = "/v1/models"
        gateway.admit(request, "chat")
        return _json({"object": "list", "data": await gateway.engine.models()})

    async def model(request: Request) -> Response:
        exchange_of(request).route = "/v1/models/{model}"
        gateway.admit(request, "chat")
        name = await gateway.engine.model_name(request.path_params["name"])
        return _json(next(m for m in await gateway.engine.models() if m["id"] == name))

    async def health(request: Request) -> Response:
        exchange_of(request).route = "/health"
        ready = await gateway.engine.ready()
        audit_fine = gateway.audit is None or not gateway.audit.failed
        fit = ready and audit_fine and not gateway.draining
        body = {
            "live": True,
            "ready": fit,
            "engine": ready,
            "audit": audit_fine,
            "draining": gateway.draining,
        }
        return _json(body, 200 if fit else 503)

    async def live(request: Request) -> Response:
        exchange_of(request).route = "/health/live"
        return _json({"live": True})

    async def metrics(request: Request) -> Response:
        exchange_of(request).route = "/metrics"
        if not gateway.settings.metrics_public:
            require(gateway.keys.caller(request.headers.get("authorization")), "metrics")
        gateway.metrics.upload_bytes.set(gateway.uploads.bytes)
        return Response(gateway.metrics.text(), media_type=Metrics.CONTENT_TYPE)

    for path, method, handler in (
        ("/v1/chat/completions", "POST", chat),
        ("/v1/models", "GET", models),
        ("/v1/models/{name:path}", "GET", model),
        ("/v1/images", "POST", uploads.create),
        ("/v1/images/{file_id}", "GET", uploads.show),
        ("/v1/images/{file_id}", "DELETE", uploads.delete),
        ("/health", "GET", health),
        ("/health/live", "GET", live),
        ("/metrics", "GET", metrics),
    ):
        # Starlette routes: requests are read and checked by hand, FastAPI's own body parsing has no caps.
        app.router.routes.append(Route(path, handler, methods=[method]))


def _json(body: object, status: int = 200) -> Response:
    return Response(to_json(body), status_code=status, media_type="application/json")
