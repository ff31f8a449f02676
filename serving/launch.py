"""Start vLLM's OpenAI server as a child process and stop it without leaving anything behind.

    with start_engine("runs/quickstart/model") as engine:
        client = openai.OpenAI(base_url=engine.base_url, api_key=engine.api_key)

The engine listens on 127.0.0.1 only, on a private port and with a key that exists nowhere else; people and programs
reach it through the gateway (``serving.gateway``). It runs in a process group of its own: Ctrl-C in the terminal does
not hit it, and ``stop`` ends the whole group (SIGTERM to the server alone can leave a vLLM worker spinning, seen with
0.31 and 0.32). If this process is killed, a guard process ends the group.
"""

import contextlib
import json
import logging
import os
import secrets
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import psutil

from serving.diagnose import explain, last_words
from serving.engine_settings import EngineError, EngineOptions, engine_command, engine_environment

logger = logging.getLogger(__name__)

Progress = Callable[[str], None]
# What the log shows on the way, and what a person is told.
STAGES = (
    ("Application startup complete", "ready"),
    ("Starting vLLM server", "opening the API"),
    ("KV cache size", "cache allocated"),
    ("Loading weights took", "weights loaded"),
    ("Starting to load model", "loading weights"),
    ("Resolved architecture", "checkpoint recognised"),
    ("non-default args", "vLLM imported"),
)
# On end of file (this process is gone, however it ended) the guard ends the engine's process group.
GUARD = 'read -r _; kill -s TERM -- "-$0"; sleep 5; kill -s KILL -- "-$0"'


class CheckpointError(EngineError):
    """The folder does not hold a checkpoint that can be served; the sentence names the file."""


class Engine:
    """One running engine. Made by `start_engine`; a context manager that stops it.

    Attributes:
        base_url: of the OpenAI routes, ``http://127.0.0.1:PORT/v1``.
        api_key: the private key that the engine asks for.
        model_name: the model's name in requests.
        log_path: where the engine's output goes.
    """

    def __init__(
        self,
        process: subprocess.Popen,
        guard: subprocess.Popen,
        port: int,
        api_key: str,
        model_name: str,
        log_path: Path,
    ):
        self.process = process
        self._guard = guard
        self.port = port
        self.api_key = api_key
        self.model_name = model_name
        self.log_path = log_path
        self.stopped = False

    @property
    def url(self) -> str:
        """Root of the server, without ``/v1``."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    def alive(self) -> bool:
        """Whether the server process runs."""
        return self.process.poll() is None

    def healthy(self, timeout: float = 2.0) -> bool:
        """Whether the server answers ``/health`` with 200."""
        try:
            return httpx.get(f"{self.url}/health", timeout=timeout, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def log_lines(self) -> list[str]:
        """Everything that the engine wrote so far; nothing when somebody removed the file."""
        if not self.log_path.exists():
            return []
        return self.log_path.read_text(errors="replace").splitlines()

    def stop(self, timeout: float = 15.0) -> None:
        """End the server and every process of its group; safe to call twice.

        The server gets SIGTERM and up to ``timeout`` seconds to end its workers itself; then the group is killed.
        """
        if self.stopped:
            return
        self.stopped = True
        group = self.process.pid
        if self.alive():
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                logger.warning("the engine did not end within %g s of SIGTERM: killing it", timeout)
        _end_group(group)
        self.process.wait()
        self._guard.kill()  # after the group: until here it still protects against our own death
        self._guard.wait()
        if self._guard.stdin is not None:
            self._guard.stdin.close()

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


def start_engine(
    model: str | Path,
    options: EngineOptions | None = None,
    *,
    log_path: Path | None = None,
    on_progress: Progress | None = None,
    **overrides: Any,
) -> Engine:
    """Start an engine for a checkpoint folder and wait until it answers.

    Args:
        model: checkpoint folder (``config.json``, ``*.safetensors``, tokenizer, processor).
        options: how to run it; ``overrides`` replace single fields.
        log_path: file for the engine's output; a temporary one when None.
        on_progress: called with a few words at each stage of the start.

    Raises:
        CheckpointError: the folder is not a complete checkpoint of this model.
        EngineError: the port is taken, vLLM is missing, or the engine died or stayed silent while it started; the
            message holds its last log lines.
    """
    folder = check_checkpoint(model)
    return start_unchecked(folder, replace(options or EngineOptions(), **overrides), log_path, on_progress)


def start_unchecked(
    folder: Path, options: EngineOptions, log_path: Path | None = None, on_progress: Progress | None = None
) -> Engine:
    """`start_engine` for any checkpoint folder that vLLM itself can read (comparisons in ``perf/``).

    Raises:
        EngineError: as `start_engine`.
    """
    for adapter, path in options.lora.items():
        if not Path(path, "adapter_config.json").is_file():
            raise CheckpointError(f"LoRA adapter {adapter!r}: {path} holds no adapter_config.json")
    port = options.port or free_port()
    if not port_is_free(port):
        raise EngineError(f"port {port} on 127.0.0.1 is in use by another program: choose another one")
    if log_path is None:
        handle, name = tempfile.mkstemp(prefix="medvlm-engine-", suffix=".log")
        os.close(handle)
        log_path = Path(name)
    log_path.parent.mkdir(parents=True, exist_ok=True)
    engine = _spawn(folder, port, options, log_path)
    try:
        _wait_until_ready(engine, options.startup_timeout, on_progress)
    except BaseException:
        engine.stop(timeout=2.0)  # while it starts, vLLM does not listen to SIGTERM
        raise
    return engine


def check_checkpoint(model: str | Path) -> Path:
    """The resolved folder of a servable checkpoint.

    Raises:
        CheckpointError: with the file that is missing or wrong.
    """
    folder = Path(model).expanduser().resolve()
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder} is no folder: name a checkpoint folder (medvlm model new, or a run's export); "
            "hub names are not downloaded here"
        )
    try:
        config = json.loads((folder / "config.json").read_text())
    except FileNotFoundError:
        raise CheckpointError(f"{folder} holds no config.json: it is not a checkpoint folder") from None
    except ValueError as error:
        raise CheckpointError(
            f"{folder / 'config.json'} is not valid JSON ({error}): save the checkpoint again"
        ) from None
    if config.get("model_type") != "medvlm":
        raise CheckpointError(
            f"{folder / 'config.json'} is of model type {config.get('model_type')!r}, not 'medvlm': "
            "this command serves checkpoints made by medvlm; serve others with vLLM itself"
        )
    if not any(folder.glob("*.safetensors")):
        raise CheckpointError(f"{folder} holds no *.safetensors file: weights in other formats are not loaded")
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        wanted = set(json.loads(index.read_text())["weight_map"].values())
        missing = sorted(name for name in wanted if not (folder / name).is_file())
        if missing:
            raise CheckpointError(f"{folder} lacks {len(missing)} weight file(s) of its index, first {missing[0]}")
    for name in ("tokenizer.json", "processor_config.json"):
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder} holds no {name}: save the processor into the same folder as the model")
    return folder


def free_port() -> int:
    """A port on 127.0.0.1 that nothing listens on at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def port_is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could bind the port now."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError:
            return False
    return True


def _spawn(folder: Path, port: int, options: EngineOptions, log_path: Path) -> Engine:
    api_key = secrets.token_urlsafe(32)
    name = options.served_name or folder.name
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            engine_command(folder, name, port, options),
            env=engine_environment(options, api_key),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # its own group: stop() and the guard end all of it, Ctrl-C does not hit it
        )
    guard = subprocess.Popen(
        ["/bin/sh", "-c", GUARD, str(process.pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    return Engine(process, guard, port, api_key, name, log_path)


def _wait_until_ready(engine: Engine, timeout: float, on_progress: Progress | None) -> None:
    started = time.monotonic()
    reported = None
    while True:
        code = engine.process.poll()
        waited = time.monotonic() - started
        if code is not None or waited > timeout:
            raise EngineError(_obituary(engine, code))
        if engine.healthy():
            if on_progress:
                on_progress(f"ready after {waited:.0f} s")
            return
        stage = _stage(engine.log_lines())
        if on_progress and stage and stage != reported:
            on_progress(stage)
            reported = stage
        time.sleep(0.25)


def _stage(lines: list[str]) -> str | None:
    text = "\n".join(lines)
    return next((words for mark, words in STAGES if mark in text), None)


def _obituary(engine: Engine, code: int | None) -> str:
    lines = engine.log_lines()
    return (
        f"the engine for {engine.model_name!r} did not start: {explain(lines, code)}.\n"
        f"Its last words (all of them in {engine.log_path}):\n{last_words(lines)}"
    )


def _end_group(group: int, patience: float = 3.0) -> None:
    """SIGTERM, then SIGKILL, to whatever is left of a process group; returns when nothing of it runs."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not _running(group):
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, number)
        deadline = time.monotonic() + patience
        while _running(group) and time.monotonic() < deadline:
            time.sleep(0.05)


def _running(group: int) -> list[int]:
    """Process ids of a group, zombies (that only init can take away) left out."""
    found = []
    for process in psutil.process_iter(["status"]):
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(process.pid) == group and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found
