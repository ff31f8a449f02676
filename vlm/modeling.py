"""The model as transformers sees it: tower -> connector -> decoder, and a language modelling head.

Names of modules are those that vLLM's weight mappers expect: `model.vision_tower`, `model.connector`,
`model.language_model`, `lm_head`.
Shapes: B batch, T tokens, I images, P patches of all images, M image tokens, D width, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoModel, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast, BaseModelOutputWithPooling
from transformers.utils.generic import ModelOutput, can_return_tuple

from connectors import Connector, build_connector
from vlm import packing
from vlm.configuration import MedVLMConfig
from vlm.errors import MedVLMError
from vlm.vision import VisionTower, grids_of


class ImageTokenMismatch(MedVLMError, ValueError):
    """The text and the images do not agree on how many image tokens there are."""


@dataclass
class MedVLMModelOutput(BaseModelOutputWithPast):
    """Decoder output, and `image_hidden_states` (M, D), the embeddings that stood for the images."""

    image_hidden_states: torch.FloatTensor | None = None


@dataclass
class MedVLMCausalOutput(ModelOutput):
    """Loss (scalar), `logits` (B, T, V) or None where only the loss was asked for, cache, image embeddings (M, D)."""

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    past_key_values: Any | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None
    image_hidden_states: torch.FloatTensor | None = None


class MedVLMPreTrainedModel(PreTrainedModel):
    config: MedVLMConfig
    config_class = MedVLMConfig
    base_model_prefix = "model"
    input_modalities: ClassVar[list[str]] = ["image", "text"]
    supports_gradient_checkpointing = True
    _skip_keys_device_placement: ClassVar[list[str]] = ["past_key_values"]
    # not the timm model as a whole: its `forward` is not what runs, so a sharding hook there would never fire
    _no_split_modules: ClassVar[list[str]] = ["Block", "EvaBlock", "ResamplerBlock"]
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        # timm and the connectors keep parameters and buffers that the generic rule does not know
        for method in ("init_non_persistent_buffers", "reset_queries"):
            if hasattr(module, method):
                getattr(module, method)()
        if type(module).__name__ == "NaFlexEmbeds":
            module.reset_parameters()  # type: ignore[operator]


class MedVLMModel(MedVLMPreTrainedModel):
    """Everything but the head: `forward` gives the decoder's hidden states."""

    def __init__(self, config: MedVLMConfig):
        super().__init__(config)
        vision, text = config.vision_config, config.text_config
        self.vision_tower = VisionTower(vision.name, vision.model_args)  # type: ignore[union-attr]
        self.connector: Connector = build_connector(
            config.connector_config,
            self.vision_tower.hidden_size,
            text.hidden_size,  # type: ignore[union-attr]
        )
        self.language_model = AutoModel.from_config(text)
        self.post_init()

    def encode_images(
        self, pixel_values: torch.Tensor, image_grid_thw: torch.Tensor
    ) -> tuple[torch.Tensor, list[int], torch.Tensor]:
        """Patches (P, S*S*C), grids (I, 3) to embeddings (M, D), tokens of each image, tower features (I, N, D)."""
        grids = grids_of(image_grid_thw)
        features = self.vision_tower(pixel_values, grids)
        counts = [self.connector.num_tokens(height, width) for height, width in grids]
        return self.connector(features, grids), counts, features

    @can_return_tuple
    def get_image_features(
        self, pixel_values: torch.Tensor, image_grid_thw: torch.Tensor, **kwargs: Any
    ) -> BaseModelOutputWithPooling:
        """Embeddings: `.pooler_output` is one (n_i, D) an image, `.last_hidden_state` the tower's (I, N, D)."""
        embeddings, counts, features = self.encode_images(pixel_values, image_grid_thw)
        return BaseModelOutputWithPooling(
            last_hidden_state=features,  # type: ignore[arg-type]
            pooler_output=torch.split(embeddings, counts),  # type: ignore[arg-type]
        )

    def dummy_vision_loss(self) -> torch.Tensor:
        """Zero that depends on every tower and connector parameter.

        Add it to the loss of a batch without images, so that ranks which shard the tower run it in step.
        """
        merge = self.config.merge_size
        device = self.language_model.get_input_embeddings().weight.device
        pixels = torch.zeros(merge**2, self.vision_tower.patch_dim, device=device)
        grid = torch.tensor([[1, merge, merge]])
        return self.encode_images(pixels, grid)[0].float().sum() * 0.0

    def get_placeholder_mask(
        self, input_ids: torch.Tensor | None, inputs_embeds: torch.Tensor, image_features: torch.Tensor
    ) -> torch.Tensor:
        """Mask (B, T, 1), True at image tokens.

        Raises ImageTokenMismatch if they are not as many as the rows of `image_features` (M, D).
        """
        token_id = self.config.image_token_id
        if input_ids is not None:
            mask = input_ids == token_id
        else:
            token = torch.tensor(token_id, device=inputs_embeds.device)
            mask = (inputs_embeds == self.get_input_embeddings()(token)).all(-1)
        tokens, features = int(mask.sum()), image_features.shape[0]
        if tokens != features:
            raise ImageTokenMismatch(
                f"the text holds {tokens} image tokens, but the images give {features} embeddings. Build both with one "
                "call of the processor, and do not truncate: a cut sequence loses image tokens"
            )
        return mask.unsqueeze(-1)

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        past_key_values: Any | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        pixel_values: torch.FloatTensor | None = None,
        image_grid_thw: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        token_type_ids: torch.Tensor | None = None,
        mm_token_type_ids: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> MedVLMModelOutput:
        """Run the decoder on text with images in place of their tokens.

        Packing: one row, no `attention_mask`, `position_ids` that start again at 0 for each sample; attention then
        stays within samples. `token_type_ids` and `mm_token_type_ids` are taken because TRL passes them, and ignored.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("pass exactly one of input_ids and inputs_embeds")
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)
        assert inputs_embeds is not None
        image_features = None
        if pixel_values is not None and pixel_values.shape[0]:
            if image_grid_thw is None:
                raise ImageTokenMismatch(
                    "pixel_values came without image_grid_thw: pass both as the processor gave them"
                )
            image_features = self.encode_images(pixel_values, image_grid_thw)[0].to(inputs_embeds)
            mask = self.get_placeholder_mask(input_ids, inputs_embeds, image_features)
            inputs_embeds = inputs_embeds.masked_scatter(mask, image_features)  # type: ignore[arg-type]
        elif input_ids is not None and _is_start(past_key_values):
            missing = int((input_ids == self.config.image_token_id).sum())
            if missing:
                raise ImageTokenMismatch(
                    f"the text holds {missing} image tokens, but no pixel_values came with it. Pass the processor's "
                    "whole output; a trainer that drops images whose count does not match (TRL's GRPO) ends here too"
                )
        if attention_mask is None and position_ids is not None and past_key_values is None:
            # transformers recognises packing only where no cache is made (masking_utils of 5.17)
            use_cache = _no_cache_for_packing(position_ids, use_cache)
            if self.language_model.config._attn_implementation == packing.NAME:
                attention_mask = packing.sample_lengths(position_ids)
        kwargs.pop("return_dict", None)
        outputs = self.language_model(
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **kwargs,
        )
        return MedVLMModelOutput(
            last_hidden_state=outputs.last_hidden_state,
            past_key_values=outputs.get("past_key_values"),
            hidden_states=outputs.get("hidden_states"),
            attentions=outputs.get("attentions"),
            image_hidden_states=image_features,  # type: ignore[arg-type]
        )

    def get_input_embeddings(self) -> nn.Module:
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.language_model.set_input_embeddings(value)


def _is_start(past_key_values: Any) -> bool:
    return past_key_values is None or past_key_values.get_seq_length() == 0


def _no_cache_for_packing(position_ids: torch.Tensor, use_cache: bool | None) -> bool:
    if not use_cache:
        return False
    if bool((position_ids[..., 1:] <= position_ids[..., :-1]).any()):
        raise ValueError("packed samples (position_ids that start again) cannot fill a cache: pass use_cache=False")
    return use_cache


def _float32_logits(hidden: torch.Tensor, head: nn.Module) -> torch.Tensor:
    """Half-precision (..., D) to (..., V) in float32; the products of half-precision operands are exact there.

    A head that is not a plain matrix at hand (wrapped by PEFT, quantised, partitioned by ZeRO-3, offloaded) is called
    as it is, and its logits are turned to float32 only then.
    """
    if type(head) is not nn.Linear:
        return head(hidden).float()
    weight = head.weight
    shape = head.out_features, head.in_features
    if weight.dtype != hidden.dtype or weight.shape != shape or weight.device != hidden.device:
        return head(hidden).float()
    bias = None if head.bias is None else head.bias.float()
    if weight.is_cuda and not torch.is_grad_enabled():  # without a float32 copy of the head, as vLLM does it
        logits = torch.mm(hidden.reshape(-1, hidden.shape[-1]), weight.t(), out_dtype=torch.float32)
        logits = logits.view(*hidden.shape[:-1], -1)
        return logits if bias is None else logits + bias
    return F.linear(hidden.float(), weight.float(), bias)


class MedVLMForConditionalGeneration(MedVLMPreTrainedModel, GenerationMixin):
    """The model with its language modelling head: losses, logits and generation."""

    def __init__(self, config: MedVLMConfig):
        super().__init__(config)
        self.model = MedVLMModel(config)
        text: Any = config.text_config
        self.lm_head = nn.Linear(text.hidden_size, text.vocab_size, bias=config.lm_head_bias)
        # decoders differ in what they call their embedding (embed_tokens, embed_in, wte, ...)
        embedding = self.model.get_input_embeddings()
        name = next(name for name, module in self.model.named_modules() if module is embedding)
        self._tied_weights_keys = {"lm_head.weight": f"model.{name}.weight"}
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def get_image_features(self, pixel_values: torch.Tensor, image_grid_thw: torch.Tensor, **kwargs: Any) -> Any:
        return self.model.get_image_features(pixel_values, image_grid_thw, **kwargs)

    def dummy_vision_loss(self) -> torch.Tensor:
        return self.model.dummy_vision_loss()

    def compute_logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Hidden states (..., D) to logits (..., V), with the scale and the soft cap that some decoders have."""
        text: Any = self.config.text_config
        half = hidden.dtype in (torch.bfloat16, torch.float16) and not torch.is_autocast_enabled(hidden.device.type)
        float32 = half and self.config.head_dtype == "float32"
        logits = _float32_logits(hidden, self.lm_head) if float32 else self.lm_head(hidden)
        scale = getattr(text, "logit_scale", None)
        if scale is None and getattr(text, "logits_scaling", None) is not None:
            scale = 1 / text.logits_scaling
        if scale is not None:
            logits = logits * scale
        cap = getattr(text, "final_logit_softcapping", None)
        return torch.tanh(logits / cap) * cap if cap is not None else logits

    def label_loss(
        self,
        hidden: torch.Tensor,
        labels: torch.Tensor | None,
        shift_labels: torch.Tensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Next-token cross-entropy of hidden states (B, T, D), with logits at label positions only.

        `labels` (B, T), -100 = no label; `shift_labels` the same already shifted. The mean over labels, or the sum
        divided by `num_items_in_batch` where that is given. Zero (with a gradient path) if there is no label.
        """
        if shift_labels is None:
            assert labels is not None
            shift_labels = F.pad(labels, (0, 1), value=-100)[:, 1:]
        shift_labels = shift_labels.to(hidden.device)
        wanted = shift_labels != -100
        logits = self.compute_logits(hidden[wanted]).float()
        total = F.cross_entropy(logits, shift_labels[wanted], reduction="sum")
        count = wanted.sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch
        return total / count

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        past_key_values: Any | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        pixel_values: torch.FloatTensor | None = None,
        image_grid_thw: torch.LongTensor | None = None,
        labels: torch.LongTensor | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        use_cache: bool | None = None,
        token_type_ids: torch.Tensor | None = None,
        mm_token_type_ids: torch.Tensor | None = None,
        loss_on_labels_only: bool | None = None,
        **kwargs: Any,
    ) -> MedVLMCausalOutput:
        """Text (B, T) and images (P patches, grids (I, 3)) to logits (B, T, V), and a loss where `labels` are given.

        `loss_on_labels_only` (default: the config's) computes logits at label positions only and returns `logits=None`;
        the rest is most of the cost of a small model with a large vocabulary. For packing see `MedVLMModel.forward`.
        Raises ImageTokenMismatch if image tokens and images disagree.
        """
        shift_labels = kwargs.pop("shift_labels", None)
        num_items = kwargs.pop("num_items_in_batch", None)
        has_labels = labels is not None or shift_labels is not None
        if has_labels and use_cache is None and past_key_values is None:
            use_cache = False
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            pixel_values=pixel_values,
            image_grid_thw=image_grid_thw,
            use_cache=use_cache,
            **kwargs,
        )
        hidden = outputs.last_hidden_state
        if loss_on_labels_only is None:
            loss_on_labels_only = self.config.loss_on_labels_only
        loss = logits = None
        if has_labels and loss_on_labels_only:
            loss = self.label_loss(hidden, labels, shift_labels, num_items)
        else:
            kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
            logits = self.compute_logits(hidden[:, kept, :])
            if has_labels:
                loss = self.loss_function(
                    logits=logits,
                    labels=labels,
                    vocab_size=logits.shape[-1],
                    shift_labels=shift_labels,
                    num_items_in_batch=num_items,
                )
        return MedVLMCausalOutput(
            loss=loss,  # type: ignore[arg-type]
            logits=logits,  # type: ignore[arg-type]
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            image_hidden_states=outputs.image_hidden_states,
        )

    def prepare_inputs_for_generation(
        self,
        input_ids: torch.LongTensor,
        pixel_values: torch.FloatTensor | None = None,
        image_grid_thw: torch.LongTensor | None = None,
        is_first_iteration: bool = False,
        use_cache: bool = True,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Images go in once, with the prompt; later steps read them from the cache."""
        inputs = super().prepare_inputs_for_generation(  # type: ignore[misc]  (transformers types self as a protocol)
            input_ids, is_first_iteration=is_first_iteration, use_cache=use_cache, **kwargs
        )
        if is_first_iteration or not use_cache:
            inputs["pixel_values"] = pixel_values
            inputs["image_grid_thw"] = image_grid_thw
        return inputs

    def images_per_row(self, input_ids: torch.Tensor, image_grid_thw: torch.Tensor) -> list[int]:
        """How many of the images (I, 3) belong to each row of `input_ids` (B, T).

        Raises ImageTokenMismatch if a row's image tokens end inside an image.
        """
        counts = [self.model.connector.num_tokens(h, w) for h, w in grids_of(image_grid_thw)]
        images, taken = [], 0
        for row, tokens in enumerate((input_ids == self.config.image_token_id).sum(-1).tolist()):
            first = taken
            while tokens > 0 and taken < len(counts):
                tokens -= counts[taken]
                taken += 1
            if tokens != 0:
                raise ImageTokenMismatch(f"the image tokens of row {row} do not make whole images")
            images.append(taken - first)
        if taken != len(counts):
            raise ImageTokenMismatch(f"{len(counts)} images were given, but the rows have tokens for {taken}")
        return images

    def _expand_inputs_for_generation(
        self,
        expand_size: int = 1,
        is_encoder_decoder: bool = False,
        input_ids: torch.LongTensor | None = None,
        **model_kwargs: Any,
    ) -> tuple[torch.LongTensor, dict[str, Any]]:
        """Several samples or beams of a prompt: pixel rows are not batch rows, so each prompt's images are repeated."""
        pixels, grids = model_kwargs.pop("pixel_values", None), model_kwargs.pop("image_grid_thw", None)
        if pixels is not None and expand_size > 1:
            assert input_ids is not None and grids is not None
            images = self.images_per_row(input_ids, grids)
            patches = [int(n.sum()) for n in grids.prod(-1).split(images)]
            pixels = torch.cat([part.repeat(expand_size, 1) for part in pixels.split(patches)])
            grids = torch.cat([part.repeat(expand_size, 1) for part in grids.split(images)])
        input_ids, model_kwargs = super()._expand_inputs_for_generation(
            expand_size=expand_size, is_encoder_decoder=is_encoder_decoder, input_ids=input_ids, **model_kwargs
        )
        if pixels is not None:
            model_kwargs |= {"pixel_values": pixels, "image_grid_thw": grids}
        return input_ids, model_kwargs
