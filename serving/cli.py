"""``medvlm serve``: the engine and the gateway in the foreground, until Ctrl-C."""

import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from serving.engine_settings import EngineOptions
    from serving.gateway.settings import GatewaySettings
    from serving.launch import Engine

app = typer.Typer(help="Serve a model.", no_args_is_help=True)

EPILOG = """Examples:

    medvlm serve runs/quickstart/model

    medvlm serve MODEL --port 9000 --dtype float32 --device cpu

    MEDVLM_API_KEYS=ward3:a-long-secret medvlm serve MODEL --host 0.0.0.0

    medvlm serve MODEL --lora chest=runs/lora/adapter --max-model-len 4096

Then, with any OpenAI client, base URL http://127.0.0.1:8000/v1; or: medvlm chat --image FILM.dcm
"""


@app.command("serve", epilog=EPILOG)
def serve(
    model: Path = typer.Argument(..., help="Checkpoint folder.", show_default=False),
    host: str = typer.Option("127.0.0.1", help="Address of the gateway. Others than this machine's need API keys."),
    port: int = typer.Option(8000, min=0, max=65535, help="Port of the gateway; 0 takes a free one."),
    device: str = typer.Option("auto", help="auto, cpu or gpu."),
    dtype: str = typer.Option("auto", help="auto (bfloat16 for most checkpoints), bfloat16, float16 or float32."),
    api_key: list[str] = typer.Option(
        [], help="A key that callers must send; repeat for more. Better: MEDVLM_API_KEYS."
    ),
    keys_file: Path | None = typer.Option(None, help="JSON list of keys: name, sha256, scopes, rates."),
    name: str | None = typer.Option(None, help="The model's name in the API; the folder's name if not given."),
    max_model_len: int | None = typer.Option(None, min=16, help="Longest prompt plus answer, in tokens."),
    max_images: int = typer.Option(8, min=1, help="Images in one request."),
    max_num_seqs: int = typer.Option(32, min=1, help="Requests that run at the same time."),
    kv_cache_gib: int = typer.Option(1, min=1, help="Memory for the cache on a CPU, GiB."),
    gpu_memory_utilization: float = typer.Option(0.85, min=0.05, max=1.0, help="Share of a GPU's memory to take."),
    tensor_parallel: int = typer.Option(1, min=1, help="GPUs that share the model."),
    lora: list[str] = typer.Option([], help="LoRA adapter of the decoder, NAME=FOLDER; repeat for more."),
    max_lora_rank: int = typer.Option(16, min=1, help="Largest rank among the adapters."),
    audit_log: Path | None = typer.Option(None, help="Append-only audit log of the gateway."),
    engine_log: Path | None = typer.Option(None, help="Where the engine's output goes; a temporary file if not given."),
    startup_timeout: float = typer.Option(600.0, min=1, help="Seconds until a start counts as failed."),
) -> None:
    """Answer questions about images over HTTP, as OpenAI's API does.

    Starts vLLM on a private port and the gateway in front of it, and serves until Ctrl-C. Without keys it serves this
    machine alone.
    """
    from serving.engine_settings import EngineOptions

    options = EngineOptions(
        device=device,  # type: ignore[arg-type]  checked by EngineOptions
        dtype=dtype,
        served_name=name,
        max_model_len=max_model_len,
        max_images=max_images,
        max_num_seqs=max_num_seqs,
        kv_cache_gib=kv_cache_gib,
        gpu_memory_utilization=gpu_memory_utilization,
        tensor_parallel=tensor_parallel,
        lora=parse_adapters(lora),
        max_lora_rank=max_lora_rank,
        startup_timeout=startup_timeout,
    )
    run_server(model, options, engine_log, host=host, port=port, api_keys=api_key, keys_file=keys_file, audit=audit_log)


def run_server(model: Path, options: "EngineOptions", engine_log: Path | None = None, **gateway: Any) -> None:
    """Start the engine, run the gateway until a signal, stop both.

    Args:
        gateway: host, port, api_keys, keys_file and audit of `gateway_settings`.

    Raises:
        MedVLMError: the checkpoint, the port, the keys or the engine are not as they should be; or the engine died.
    """
    from rich.console import Console

    from serving.gateway.server import run_gateway
    from serving.launch import start_engine

    console = Console(stderr=True)
    # Before minutes of loading: everything about the gateway that can be wrong.
    gateway_settings("http://127.0.0.1:1", "", options.max_images, **gateway)
    require_free_port(gateway["host"], gateway["port"])
    signal.signal(signal.SIGTERM, _terminate)
    console.print(f"starting the engine for [bold]{model}[/bold]", highlight=False)
    with start_engine(
        model, options, log_path=engine_log, on_progress=lambda words: console.print(f"  {words}")
    ) as engine:
        settings = gateway_settings(engine.url, engine.api_key, options.max_images, **gateway)
        watch = threading.Thread(target=_end_with_engine, args=(engine,), daemon=True)
        watch.start()
        run_gateway(settings, ready=lambda port: console.print(_welcome(settings, port, engine)))
        _raise_if_dead(engine)
        console.print("stopping the engine")


def gateway_settings(
    engine_url: str,
    engine_key: str,
    max_images: int,
    *,
    host: str,
    port: int,
    api_keys: list[str],
    keys_file: Path | None = None,
    audit: Path | None = None,
) -> "GatewaySettings":
    """Settings of the gateway; anonymous on loopback when no key is given anywhere.

    Raises:
        EngineError: a setting is out of range, or others could reach a gateway without keys.
    """
    from pydantic import SecretStr, ValidationError

    from serving.engine_settings import EngineError
    from serving.gateway.auth import ENV_KEYS, Keys, hash_key
    from serving.gateway.settings import ApiKey, GatewaySettings, Limits, is_loopback

    has_keys = bool(api_keys or keys_file or os.environ.get(ENV_KEYS))
    if not has_keys and not is_loopback(host):
        raise EngineError(
            f"{host} can be reached by others: give API keys (--keys-file, {ENV_KEYS} or --api-key), or serve 127.0.0.1"
        )
    try:
        settings = GatewaySettings(
            engine_url=engine_url,
            engine_key=SecretStr(engine_key),
            host=host,
            port=port,
            keys=tuple(ApiKey(name=f"key{n}", sha256=hash_key(key)) for n, key in enumerate(api_keys, 1)),
            keys_file=keys_file,
            anonymous=not has_keys,
            audit_path=audit,
            limits=Limits(images=max_images),
        )
    except ValidationError as error:
        raise EngineError(f"the gateway's settings are wrong: {error.errors(include_input=False)[0]['msg']}") from None
    Keys(settings)  # reads and checks the keys now, not after the model is loaded
    return settings


def parse_adapters(pairs: list[str]) -> dict[str, Path]:
    """NAME=FOLDER pairs to a dictionary.

    Raises:
        EngineError: a pair has no name or no folder.
    """
    from serving.engine_settings import EngineError

    adapters = {}
    for pair in pairs:
        name, equals, folder = pair.partition("=")
        if not (name and equals and folder):
            raise EngineError(f"--lora {pair!r}: write NAME=FOLDER, e.g. --lora chest=runs/lora/adapter")
        adapters[name] = Path(folder).expanduser().resolve()
    return adapters


def require_free_port(host: str, port: int) -> None:
    """Raises EngineError when another program listens on the gateway's port."""
    from serving.engine_settings import EngineError
    from serving.launch import port_is_free

    if port and not port_is_free(port, host.strip("[]")):
        raise EngineError(f"port {port} on {host} is in use: stop what runs there, or choose another --port")


def _terminate(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def _end_with_engine(engine: "Engine") -> None:
    """Ends the gateway (as Ctrl-C does) when the engine dies, so that nobody waits on a door without a house."""
    engine.process.wait()
    if not engine.stopped:
        os.kill(os.getpid(), signal.SIGTERM)


def _raise_if_dead(engine: "Engine") -> None:
    from serving.diagnose import explain, last_words
    from serving.engine_settings import EngineError

    if not engine.alive():
        lines = engine.log_lines()
        raise EngineError(
            f"the engine died while it served: {explain(lines, engine.process.returncode)}.\n"
            f"Its last words (all of them in {engine.log_path}):\n{last_words(lines)}"
        )


def _welcome(settings: "GatewaySettings", port: int, engine: "Engine") -> str:
    keys = "no key needed, this machine only" if settings.anonymous else "API key needed"
    return (
        f"[bold green]serving[/bold green] {engine.model_name} at http://{settings.host}:{port}/v1 ({keys})\n"
        f"  engine log: {engine.log_path}\n"
        f"  ask it: medvlm chat --url http://{settings.host}:{port} --image FILE\n"
        "  stop with Ctrl-C. An answer of this model is not a diagnosis."
    )
