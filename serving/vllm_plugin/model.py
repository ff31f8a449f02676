"""medvlm as vLLM runs it: the tower and the connector of the transformers model, and vLLM's own decoder.

Tower and connector are the very classes that training uses (`vlm.vision`, `connectors`), so the image embeddings of
both engines are equal by construction; only the decoder is vLLM's. Positions are the ordinary one-dimensional ones.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from vllm.config import VllmConfig
from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm
from vllm.model_executor.layers.vocab_parallel_embedding import UnquantizedEmbeddingMethod, VocabParallelEmbedding
from vllm.model_executor.models.interfaces import MultiModalEmbeddings, SupportsLoRA, SupportsMultiModal, SupportsPP
from vllm.model_executor.models.module_mapping import MultiModelKeys
from vllm.model_executor.models.utils import (
    AutoWeightsLoader,
    WeightsMapper,
    init_vllm_registered_model,
    maybe_prefix,
)
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.platforms import current_platform
from vllm.sequence import IntermediateTensors

from connectors import build_connector
from serving.vllm_plugin.processing import (
    MedVLMDummyInputsBuilder,
    MedVLMMultiModalProcessor,
    MedVLMProcessingInfo,
)
from vlm.configuration import MedVLMConfig
from vlm.vision import VisionTower, grids_of


class Float32Head(UnquantizedEmbeddingMethod):
    """A half-precision head with logits in float32, for CPUs.

    vLLM's own `head_dtype` casts the whole head at every step there (60 ms a step for SmolLM2 on one core); this keeps
    a copy, packed for oneDNN once (6 ms at 32 rows on two). On CUDA vLLM accumulates into float32 without a copy.
    """

    copy: Any

    def process_weights_after_loading(self, layer: nn.Module) -> None:
        super().process_weights_after_loading(layer)
        copy = nn.Module()
        copy.weight = nn.Parameter(layer.get_parameter("weight").detach().float(), requires_grad=False)
        dispatch_cpu_unquantized_gemm(copy, remove_weight=True)  # gives it `cpu_linear`
        self.copy = copy

    def apply(self, layer: nn.Module, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        return self.copy.cpu_linear(x.float(), self.copy.weight, None if bias is None else bias.float())


@MULTIMODAL_REGISTRY.register_processor(
    MedVLMMultiModalProcessor, info=MedVLMProcessingInfo, dummy_inputs=MedVLMDummyInputsBuilder
)
class MedVLMForConditionalGeneration(nn.Module, SupportsMultiModal, SupportsLoRA, SupportsPP):
    """vLLM's counterpart of `vlm.modeling.MedVLMForConditionalGeneration`; reads the same checkpoint."""

    hf_to_vllm_mapper = WeightsMapper(
        orig_to_new_prefix={
            "model.vision_tower.": "vision_tower.",
            "model.connector.": "connector.",
            "model.language_model.": "language_model.model.",
            "lm_head.": "language_model.lm_head.",
        }
    )

    @classmethod
    def get_placeholder_str(cls, modality: str, i: int) -> str | None:
        if modality != "image":
            raise ValueError(f"medvlm reads images, not {modality}")
        return "<|vision_start|><|image_pad|><|vision_end|>"

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = ""):
        super().__init__()
        config = vllm_config.model_config.hf_config
        assert isinstance(config, MedVLMConfig), type(config)
        self.config = config
        self.configure_mm_token_handling(config.get_text_config().vocab_size, [config.image_token_id])
        with self._mark_tower_model(vllm_config, "image"):
            vision: Any = config.vision_config
            self.vision_tower = VisionTower(vision.name, vision.model_args)
            self.connector = build_connector(
                config.connector_config, self.vision_tower.hidden_size, config.get_text_config().hidden_size
            )
        text: Any = config.get_text_config()
        if not current_platform.is_cpu():
            text.head_dtype = config.head_dtype  # where vLLM's LogitsProcessor looks for it
        with self._mark_language_model(vllm_config):
            self.language_model: Any = init_vllm_registered_model(
                vllm_config=vllm_config,
                hf_config=text,
                prefix=maybe_prefix(prefix, "language_model"),
            )
        if current_platform.is_cpu() and config.head_dtype == "float32":
            head: Any = getattr(self.language_model, "lm_head", None)  # none on the first ranks of a pipeline
            half = isinstance(head, VocabParallelEmbedding) and head.weight.dtype != torch.float32
            if half and type(head.quant_method) is UnquantizedEmbeddingMethod:
                head.quant_method = Float32Head()
        # What `generation_config.suppress_tokens` says to transformers; vLLM does not read that key.
        never = [config.vision_start_token_id, config.image_token_id, config.vision_end_token_id]
        self.register_buffer("never_sampled", torch.tensor(never), persistent=False)
        self.make_empty_intermediate_tensors = self.language_model.make_empty_intermediate_tensors

    def embed_multimodal(self, **kwargs: object) -> MultiModalEmbeddings:
        """Embeddings, one (n_i, D) tensor an image, from `pixel_values` (P, patch) and `image_grid_thw` (I, 3)."""
        pixel_values, image_grid_thw = kwargs.get("pixel_values"), kwargs.get("image_grid_thw")
        if pixel_values is None:
            return []
        assert isinstance(pixel_values, torch.Tensor) and isinstance(image_grid_thw, torch.Tensor)
        grids = grids_of(image_grid_thw)
        features = self.connector(self.vision_tower(pixel_values, grids), grids)
        return features.split([self.connector.num_tokens(height, width) for height, width in grids])

    def forward(
        self,
        input_ids: torch.Tensor | None,
        positions: torch.Tensor,
        intermediate_tensors: IntermediateTensors | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs: object,
    ) -> torch.Tensor | IntermediateTensors:
        if intermediate_tensors is not None:  # a later pipeline stage: the first one embedded already
            inputs_embeds = None
        return self.language_model.model(input_ids, positions, intermediate_tensors, inputs_embeds=inputs_embeds)

    def compute_logits(self, hidden_states: torch.Tensor) -> torch.Tensor | None:
        """Logits (N, V), -inf for image tokens: an answer cannot hold an image. None off the last rank."""
        logits = self.language_model.compute_logits(hidden_states)
        return None if logits is None else logits.index_fill_(-1, self.never_sampled, float("-inf"))

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
        return AutoWeightsLoader(self).load_weights(weights, mapper=self.hf_to_vllm_mapper)

    def get_mm_mapping(self) -> MultiModelKeys:
        return MultiModelKeys.from_string_field(
            language_model="language_model", connector="connector", tower_model="vision_tower"
        )
