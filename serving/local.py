"""A model served inside this process's lifetime: engine and gateway up, then down again, on private ports.

    with serve_locally("runs/quickstart/model") as served:
        client = openai.OpenAI(base_url=served.base_url, api_key="none")

What ``medvlm serve`` keeps in the foreground for people, the quickstart, measurements and tests use for a while.
"""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from serving.engine_settings import EngineError, EngineOptions
from serving.launch import Engine, Progress, start_engine

_GATEWAY_SECONDS = 30.0


@dataclass(frozen=True)
class Served:
    """Where a served model is reached: ``url`` without and ``base_url`` with ``/v1``; ``model`` is its name."""

    url: str
    model: str
    engine: Engine

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"


@contextlib.contextmanager
def serve_locally(
    model: str | Path,
    options: EngineOptions | None = None,
    *,
    log_path: Path | None = None,
    on_progress: Progress | None = None,
) -> Iterator[Served]:
    """Serve a checkpoint on this machine only, without keys, until the block ends.

    Raises:
        EngineError: the engine or the gateway did not start; see `serving.launch.start_engine`.
    """
    from serving.cli import gateway_settings
    from serving.gateway.app import create_app
    from serving.gateway.server import GatewayServer, listen

    options = options or EngineOptions()
    with start_engine(model, options, log_path=log_path, on_progress=on_progress) as engine:
        settings = gateway_settings(
            engine.url, engine.api_key, options.max_images, host="127.0.0.1", port=0, api_keys=[]
        )
        listener = listen(settings.host, settings.port)
        listening = threading.Event()
        server = GatewayServer(create_app(settings), settings, ready=lambda port: listening.set())
        # uvicorn leaves signals alone outside the main thread, so Ctrl-C stays with the caller.
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="gateway", daemon=True)
        thread.start()
        try:
            if not listening.wait(_GATEWAY_SECONDS):
                raise EngineError("the gateway did not start within 30 s; the log above says why")
            yield Served(f"http://127.0.0.1:{listener.getsockname()[1]}", engine.model_name, engine)
        finally:
            server.should_exit = True
            thread.join(_GATEWAY_SECONDS)
            listener.close()
