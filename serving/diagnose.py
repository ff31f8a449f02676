"""From the log of an engine that died to the sentence that its owner needs."""

import re
from collections.abc import Sequence

# (pattern in the log, what it means and what to do). The first that matches wins: causes before consequences.
CAUSES: tuple[tuple[str, str], ...] = (
    (
        r"Available memory on node .* (less than|is less)|std::bad_alloc|can't allocate memory|Cannot allocate memory",
        "there is not enough free memory for weights and cache: stop other programs, or lower --kv-cache-gib and "
        "--max-model-len",
    ),
    (
        r"CUDA out of memory|No available memory for the cache blocks|less than desired GPU memory utilization",
        "the GPU has not enough free memory: stop other programs on it, lower --gpu-memory-utilization or "
        "--max-model-len, or share the model over several GPUs with --tensor-parallel",
    ),
    (
        r"No space left on device|Errno 28",
        "the disk (or /dev/shm) is full: free some space, or point TMPDIR and VLLM_CACHE_ROOT elsewhere",
    ),
    (
        r"max_model_len \([0-9]+\) is greater than|larger than the maximum number of tokens that can be stored"
        r"|is larger than the available KV cache memory|KV cache is needed",
        "the cache is too small for the longest request: lower --max-model-len or raise --kv-cache-gib",
    ),
    (
        r"[Aa]ddress already in use|Errno 98",
        "the engine's private port was taken in between by another program: start again",
    ),
    (
        r"Failed to load plugin medvlm|Model architectures \['MedVLMForConditionalGeneration'\] (are|failed)",
        "vLLM did not get the medvlm plugin: install this package into the environment that runs the engine "
        "(uv pip install --no-deps -e .) and do not leave medvlm out of VLLM_PLUGINS",
    ),
    (
        r"SafetensorError|HeaderTooLarge|InvalidHeader|MetadataIncompleteBuffer|incomplete metadata",
        "a weight file of the checkpoint is damaged or cut off: save or copy the checkpoint again",
    ),
    (
        r"weights were not initialized from checkpoint|no module or parameter named|size mismatch|shape mismatch"
        r"|Attempted to load (nested )?weight|[Tt]ried to load weights of size",
        "the weights do not fit config.json of the checkpoint: one of the two was changed or belongs to another model",
    ),
    (
        r"LoRA rank [0-9]+ is greater than max_lora_rank",
        "an adapter has a larger rank than the engine was told: raise --max-lora-rank",
    ),
    (
        r"error: (unrecognized arguments|argument|the following arguments)",
        "vLLM does not know one of the arguments handed on to it: see the last lines",
    ),
)
_ERROR_LINE = re.compile(r"\b(ERROR|Error|error|Exception|CRITICAL|Traceback|Killed)\b")
# vLLM repeats an error in each process: "(Worker pid=7) ERROR 11-21 08:22:34 [file.py:948] ValueError: what happened".
_LOG_PREFIX = re.compile(r"^\(.*? pid=\d+\) (?:ERROR|CRITICAL) [\d-]+ [\d:]+ \[[^]]*\] ?")
_EXCEPTION = re.compile(r"^(?:\[rank\d+\]: )?[\w.]*(?:Error|Exception|Interrupt|Exit)\b: \S")


def explain(log_lines: Sequence[str], return_code: int | None) -> str:
    """Sentence for the death of an engine.

    Args:
        log_lines: what the engine wrote, oldest first.
        return_code: its exit status, negative for a signal; None when it still runs but never became healthy.
    """
    text = "\n".join(log_lines)
    for pattern, meaning in CAUSES:
        if re.search(pattern, text):
            return meaning
    if return_code == -9:
        return "it was killed (SIGKILL), most often for want of memory: lower --kv-cache-gib, or use a smaller model"
    if return_code is None:
        return "it did not become ready in time: raise --startup-timeout, or look at what it waits for"
    return f"it ended with status {return_code}"


def last_words(log_lines: Sequence[str], count: int = 8) -> str:
    """The distinct exceptions of the log, the cause on top; else its last error lines; else its last lines."""
    lines = [_LOG_PREFIX.sub("", line.rstrip())[:400] for line in log_lines if line.strip()]
    exceptions = list(dict.fromkeys(line for line in lines if _EXCEPTION.match(line)))[:count]
    errors = [line for line in lines if _ERROR_LINE.search(line)][-count:]
    return "\n".join("    " + line for line in exceptions or errors or lines[-count:])
