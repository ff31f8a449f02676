"""Configuration of the model: a timm tower, a connector, any causal language model of transformers."""

from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.models.auto import CONFIG_MAPPING

from connectors import connector_merge_size, resolve_connector_config


@strict
class MedVLMVisionConfig(PreTrainedConfig):
    """The vision tower.

    `name` is a timm model (NaFlex ViT, or a classic ViT or EVA that timm runs as one), `model_args` what
    `timm.create_model` gets besides. `hidden_size`, `patch_size`, `num_hidden_layers` and `in_channels` are read from
    the built tower by `vlm.build.new_model` and kept here for readers that do not build it. `image_mean` and
    `image_std` are those of pixels in [0, 1].
    """

    model_type = "medvlm_vision"
    base_config_key = "vision_config"

    name: str = "vit_tiny_patch16_224"
    model_args: dict[str, Any] | None = None
    hidden_size: int = 192
    num_hidden_layers: int = 12
    num_attention_heads: int = 3
    patch_size: int = 16
    in_channels: int = 3
    image_mean: list[float] | tuple[float, ...] = (0.5, 0.5, 0.5)
    image_std: list[float] | tuple[float, ...] = (0.5, 0.5, 0.5)


@strict
class MedVLMConfig(PreTrainedConfig):
    """Tower, connector and decoder of a medvlm model.

    `connector_config` is `type` (a name in `connectors.CONNECTORS`) and that connector's options.
    `loss_on_labels_only` makes `forward(labels=...)` compute logits at label positions only and return none.
    `simulated_only` marks weights that have seen nothing but simulated images; the model card says so.
    `head_dtype` "float32" computes logits in float32 from half-precision weights, in transformers and in vLLM (whose
    name this is): logits of 16 to 32 lie 0.125 apart in bfloat16, too coarse for the probability of a yes. "model"
    leaves them in the type of the weights.
    """

    model_type = "medvlm"
    sub_configs: ClassVar[dict[str, type[PreTrainedConfig]]] = {
        "vision_config": MedVLMVisionConfig,
        "text_config": AutoConfig,  # type: ignore[dict-item]
    }
    attribute_map: ClassVar[dict[str, str]] = {"image_token_index": "image_token_id"}
    # read by TRL 1.16 (create_model_from_path) in every checkpoint whose class is not in transformers itself
    auto_map: ClassVar[dict[str, str]] = {}

    vision_config: dict | PreTrainedConfig | None = None
    text_config: dict | PreTrainedConfig | None = None
    connector_config: dict[str, Any] | None = None
    image_token_id: int = 0
    vision_start_token_id: int = 1
    vision_end_token_id: int = 2
    tie_word_embeddings: bool = False
    lm_head_bias: bool = False
    loss_on_labels_only: bool = False
    simulated_only: bool = False
    head_dtype: Literal["float32", "model"] = "float32"

    def __post_init__(self, **kwargs: Any) -> None:
        if self.vision_config is None:
            self.vision_config = MedVLMVisionConfig()
        elif isinstance(self.vision_config, dict):
            self.vision_config = MedVLMVisionConfig(**_without_type(self.vision_config))
        if self.text_config is None:
            self.text_config = CONFIG_MAPPING["llama"]()
        elif isinstance(self.text_config, dict):
            text_type = self.text_config.get("model_type", "llama")
            self.text_config = CONFIG_MAPPING[text_type](**_without_type(self.text_config))
        self.connector_config = resolve_connector_config(self.connector_config)
        if getattr(self.text_config, "tie_word_embeddings", False):
            self.tie_word_embeddings = True
        super().__post_init__(**kwargs)

    @property
    def merge_size(self) -> int:
        """Side of the square of patches that becomes one token; image grids are multiples of it."""
        return connector_merge_size(self.connector_config)


def _without_type(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != "model_type"}
