"""How vLLM turns a prompt with images into token ids, patches and placeholder ranges for medvlm.

Pixels go through the model's own transformers processor, so both engines see the same patches. The output of one image
(patch rows and grid) never depends on the other images of a request: vLLM caches it by the image's hash.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import BatchFeature
from vllm.config.multimodal import MultiModalDummyOptions
from vllm.exceptions import VLLMValidationError
from vllm.inputs import MultiModalDataDict
from vllm.multimodal.inputs import MultiModalFieldConfig, MultiModalKwargsItems
from vllm.multimodal.parse import ImageSize, MultiModalDataItems
from vllm.multimodal.processing import (
    BaseDummyInputsBuilder,
    BaseMultiModalProcessor,
    BaseProcessingInfo,
    PromptReplacement,
    PromptUpdate,
)

from vlm.configuration import MedVLMConfig
from vlm.processing import MedVLMProcessor


class MedVLMProcessingInfo(BaseProcessingInfo):
    """What vLLM asks about the model before it sees a request."""

    def get_hf_config(self) -> MedVLMConfig:
        return self.ctx.get_hf_config(MedVLMConfig)

    def get_hf_processor(self, **kwargs: object) -> MedVLMProcessor:
        return self.ctx.get_hf_processor(MedVLMProcessor, **kwargs)

    def get_supported_mm_limits(self) -> Mapping[str, int | None]:
        return {"image": None}

    def num_image_tokens(self, height: int, width: int) -> int:
        """Tokens of an image of `height` x `width` patches."""
        return self.get_hf_processor().tokens_of_grid(height, width)

    def get_mm_max_tokens_per_item(self, seq_len: int, mm_counts: Mapping[str, int]) -> Mapping[str, int]:
        size = self.image_size_with_most_tokens()
        patch = self.get_hf_processor().image_processor.patch_size
        return {"image": self.num_image_tokens(size.height // patch, size.width // patch)}

    def image_size_with_most_tokens(self) -> ImageSize:
        """Size in pixels of the image that fills the pixel budget best.

        A square of the budget's size may round down to fewer tokens than the budget allows, so the budget in cells
        (merged patches) is factorised into the most square rectangle.
        """
        processor = self.get_hf_processor().image_processor
        unit = processor.patch_size * processor.merge_size
        rows, columns = _squarest(processor.max_pixels // unit**2)
        return ImageSize(width=columns * unit, height=rows * unit)


def _squarest(cells: int, max_aspect: float = 4.0) -> tuple[int, int]:
    """Largest rows x columns <= `cells` whose aspect ratio is at most `max_aspect`, as square as possible."""
    for count in range(max(1, cells), 0, -1):
        rows = next(rows for rows in range(math.isqrt(count), 0, -1) if count % rows == 0)
        if count // rows <= max_aspect * rows:
            return rows, count // rows
    return 1, 1


class MedVLMDummyInputsBuilder(BaseDummyInputsBuilder[MedVLMProcessingInfo]):
    """The heaviest request that can come, by which vLLM measures memory when it starts."""

    def get_dummy_text(self, mm_counts: Mapping[str, int]) -> str:
        return self.info.get_hf_processor().image_token * mm_counts.get("image", 0)

    def get_dummy_mm_data(
        self, seq_len: int, mm_counts: Mapping[str, int], mm_options: MultiModalDummyOptions
    ) -> MultiModalDataDict:
        size = self.info.image_size_with_most_tokens()
        return {
            "image": self._get_dummy_images(
                width=size.width,
                height=size.height,
                num_images=mm_counts.get("image", 0),
                overrides=mm_options.get("image"),
            )
        }


class MedVLMMultiModalProcessor(BaseMultiModalProcessor[MedVLMProcessingInfo]):
    """Images to patches, and each `<|image_pad|>` of the prompt to as many as its image has tokens."""

    def _call_hf_processor(self, hf_data: Mapping[str, object], hf_kwargs: Mapping[str, object]) -> BatchFeature:
        # Only pixels are prepared here: vLLM tokenizes the prompt and expands the placeholders itself.
        image_processor = self.info.get_hf_processor(**hf_kwargs).image_processor
        return self.info.ctx.call_hf_processor(image_processor, {"images": hf_data["images"]}, hf_kwargs)

    def _get_mm_fields_config(
        self, hf_inputs: BatchFeature, hf_processor_mm_kwargs: Mapping[str, object]
    ) -> Mapping[str, MultiModalFieldConfig]:
        grid = hf_inputs.get("image_grid_thw", torch.empty((0, 3), dtype=torch.long))
        return {
            "pixel_values": MultiModalFieldConfig.flat_from_sizes("image", grid.prod(-1)),
            "image_grid_thw": MultiModalFieldConfig.batched("image", keep_on_cpu=True),
        }

    def _get_prompt_updates(
        self,
        mm_items: MultiModalDataItems,
        hf_processor_mm_kwargs: Mapping[str, Any],
        out_mm_kwargs: MultiModalKwargsItems,
    ) -> Sequence[PromptUpdate]:
        pad = self.info.get_hf_processor().image_token_id

        def replacement(item: int) -> list[int]:
            grid = out_mm_kwargs["image"][item]["image_grid_thw"].data
            assert isinstance(grid, torch.Tensor)
            _, height, width = grid.tolist()
            return [pad] * self.info.num_image_tokens(height, width)

        return [PromptReplacement(modality="image", target=[pad], replacement=replacement)]

    def _apply_prompt_updates(self, token_ids: list[int], mm_prompt_updates: Any) -> Any:
        """As in the base class, but a prompt with more placeholders than images is refused.

        vLLM fills placeholders from the left and would leave the rest as ordinary tokens: text that spells out
        `<|image_pad|>` could then take an image's place without anybody noticing.
        """
        pad = self.info.get_hf_processor().image_token_id
        asked, given = token_ids.count(pad), len(mm_prompt_updates.get("image", []))
        if asked != given:
            raise VLLMValidationError(
                f"The prompt has {asked} image placeholder(s) but {given} image(s) came with it: "
                "send one image for each placeholder, and no placeholder token as text.",
                parameter="messages",
            )
        return super()._apply_prompt_updates(token_ids, mm_prompt_updates)
