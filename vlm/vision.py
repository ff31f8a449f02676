"""The vision tower: a timm ViT that takes images of any shape as padded sequences of patches (NaFlex).

Plain torch and timm, so that the transformers model and the vLLM model run the same code.
Shapes: I images, N longest patch sequence of the batch, P patches of all images, C channels, D width.
Source of the input form: NaFlex of SigLIP 2 (Tschannen et al. 2025) and NaViT (Dehghani et al. 2023), as timm does it.
"""

import logging
from pathlib import Path
from typing import Any

import torch
from torch import nn

from connectors.base import Grid, validity
from vlm.errors import MedVLMError

logger = logging.getLogger(__name__)

PRESETS: dict[str, dict[str, Any]] = {
    "test": {"name": "vit_tiny_patch16_224", "embed_dim": 32, "depth": 2, "num_heads": 2},
    "small_cpu": {"name": "vit_tiny_patch16_224", "class_token": False, "depth": 8},
}
"""Towers by short name: `test` for tests, `small_cpu` for training on a CPU."""


class VisionTowerError(MedVLMError, ValueError):
    """The tower's name or options do not make a tower that takes images of any shape."""


def grids_of(image_grid_thw: torch.Tensor) -> list[Grid]:
    """(I, 3) of (t, h, w) in patches to a list of (h, w); t must be 1, as this model reads single frames."""
    grids = []
    for image, (frames, height, width) in enumerate(image_grid_thw.tolist()):
        if frames != 1:
            raise VisionTowerError(f"image {image} has {frames} frames in image_grid_thw: pass each frame as an image")
        grids.append((int(height), int(width)))
    return grids


def pad_patches(pixel_values: torch.Tensor, grids: list[Grid]) -> dict[str, torch.Tensor]:
    """Patches of all images (P, C*S*S) to timm's NaFlex form.

    Returns `patches` (I, N, ...) padded with zeros at the end, `patch_coord` (I, N, 2) of (y, x), `patch_valid` (I, N).
    Raises VisionTowerError if the rows are not as many as the grids say.
    """
    lengths = [height * width for height, width in grids]
    if sum(lengths) != pixel_values.shape[0]:
        raise VisionTowerError(
            f"pixel_values has {pixel_values.shape[0]} patches, but image_grid_thw describes {sum(lengths)} "
            f"({len(grids)} images): pass both from one call of the processor"
        )
    longest = max(lengths)
    device = pixel_values.device
    valid = validity(grids, longest, device)
    patches = pixel_values.new_zeros(len(grids), longest, pixel_values.shape[1])
    patches[valid] = pixel_values
    index = torch.arange(longest, device=device)[None, :]
    widths = torch.tensor([width for _, width in grids], device=device)[:, None]
    coord = torch.stack([index // widths, index % widths], dim=-1) * valid[..., None]
    return {"patches": patches, "patch_coord": coord, "patch_valid": valid}


def create_encoder(
    name: str, model_args: dict[str, Any] | None = None, pretrained: bool = False, pooled: bool = False
) -> nn.Module:
    """Build a timm NaFlexVit by name: a NaFlex model, or a classic ViT or EVA through timm's `use_naflex=True`.

    Raises VisionTowerError for names that timm does not know, for other families (a CNN, Swin, ...) and for options
    that the model does not take. Pooling is left out, and the last norm stands on every patch, unless `pooled`.
    """
    import timm
    from timm.models import is_model_in_modules
    from timm.models.naflexvit import NaFlexVit

    if not timm.is_model(name):
        near = timm.list_models(f"*{name.split('_')[0]}*")[:5]
        hint = f" (near: {', '.join(near)})" if near else ""
        raise VisionTowerError(f"timm has no model named {name!r}{hint}; `timm.list_models('*vit*')` lists them")
    if not is_model_in_modules(name, ("naflexvit", "vision_transformer", "eva")):
        raise VisionTowerError(_not_a_vit(name))
    arguments = {**(model_args or {}), "num_classes": 0}
    if not pooled:
        arguments |= {"global_pool": "", "fc_norm": False}
    if arguments.get("patch_drop_rate"):
        raise VisionTowerError("patch_drop_rate drops patches that the decoder's image tokens stand for: leave it 0")
    if not is_model_in_modules(name, ("naflexvit",)):
        arguments["use_naflex"] = True
    try:
        encoder = timm.create_model(name, pretrained=pretrained, **arguments)
    except (TypeError, AssertionError) as error:
        raise VisionTowerError(f"timm model {name!r} does not take these options: {error}") from error
    if not isinstance(encoder, NaFlexVit):
        raise VisionTowerError(_not_a_vit(name))
    return encoder


def _not_a_vit(name: str) -> str:
    return (
        f"{name!r} is not a vision transformer that timm can run on images of any shape: choose a `naflexvit_*`, a "
        "plain `vit_*` or an `eva*` model"
    )


class VisionTower(nn.Module):
    """timm NaFlexVit whose output is the features of the patches; class and register tokens are dropped.

    Attributes: `hidden_size` D, `patch_size` S, `in_channels` C. Padding never enters attention, so an image's features
    do not depend on the other images of the batch. The tower runs once a call: ranks that shard it stay in step.
    """

    def __init__(self, name: str, model_args: dict[str, Any] | None = None):
        super().__init__()
        self.created_as = (name, model_args)
        self.encoder: Any = create_encoder(name, model_args)
        self.hidden_size: int = self.encoder.embed_dim
        self.patch_size: int = self.encoder.embeds.patch_size[0]
        self.in_channels: int = self.encoder.in_chans
        self.gradient_checkpointing = False  # the name that transformers' gradient_checkpointing_enable looks for
        if not self.encoder.embeds.is_linear:
            raise VisionTowerError(f"{name!r} embeds patches by convolution: pass embed_proj_type='linear'")

    @property
    def patch_dim(self) -> int:
        """Numbers in a patch: S * S * C, laid out (y, x, channel)."""
        return self.patch_size**2 * self.in_channels

    @property
    def dtype(self) -> torch.dtype:
        return self.encoder.embeds.proj.weight.dtype

    def forward(self, pixel_values: torch.Tensor, grids: list[Grid]) -> torch.Tensor:
        """Patches (P, S*S*C) of all images to features (I, N, D), padded at the end with undefined values."""
        if pixel_values.shape[-1] != self.patch_dim:
            raise VisionTowerError(
                f"patches hold {pixel_values.shape[-1]} numbers, but the tower reads {self.patch_dim} "
                f"({self.patch_size} x {self.patch_size} x {self.in_channels}): use this model's own processor"
            )
        batch = pad_patches(pixel_values.to(self.dtype), grids)
        patches, valid = batch["patches"], batch["patch_valid"]
        if not self.encoder.embeds.channels_last:
            side = self.patch_size
            patches = patches.unflatten(-1, (side, side, self.in_channels)).movedim(-1, 2).flatten(2)
        self.encoder.set_grad_checkpointing(self.gradient_checkpointing and self.training)
        features = self.encoder.forward_features(
            patches, patch_coord=batch["patch_coord"], attn_mask=self._key_mask(valid, grids)
        )["patches"]
        return features[:, self.encoder.num_prefix_tokens :]

    def _key_mask(self, valid: torch.Tensor, grids: list[Grid]) -> torch.Tensor | None:
        """Additive mask (I, 1, 1, prefix + N) that hides padding; None when there is none, for the fast kernel."""
        lengths = {height * width for height, width in grids}
        if len(lengths) == 1:
            return None
        prefix = valid.new_ones(valid.shape[0], self.encoder.num_prefix_tokens)
        keys = torch.cat([prefix, valid], dim=1)[:, None, None, :]
        dtype = (
            torch.get_autocast_dtype(valid.device.type) if torch.is_autocast_enabled(valid.device.type) else self.dtype
        )
        mask = torch.zeros(keys.shape, dtype=dtype, device=valid.device)
        return mask.masked_fill_(~keys, torch.finfo(dtype).min)

    def load_weights_file(self, path: str | Path) -> None:
        """Load timm weights (.safetensors, or a torch file of tensors), with timm's own conversion of classic ViTs.

        Heads and pooling layers are left aside. Raises VisionTowerError if a parameter of the tower is missing.
        """
        from timm.models import load_state_dict
        from timm.models.naflexvit import checkpoint_filter_fn

        path = Path(path)
        if not path.is_file():
            raise VisionTowerError(f"no vision weights at {path}")
        self._load(checkpoint_filter_fn(load_state_dict(str(path), weights_only=True), self.encoder), str(path))

    def load_pretrained(self) -> None:
        """Load timm's own weights for this name, from the hub or its cache.

        Raises VisionTowerError if timm has none, or if they cannot be had.
        """
        name, model_args = self.created_as
        try:
            donor = create_encoder(name, model_args, pretrained=True, pooled=True)
        except VisionTowerError:
            raise
        except (OSError, RuntimeError, ValueError) as error:
            raise VisionTowerError(
                f"timm's weights of {name!r} cannot be had ({error}): without the hub, pass a file as vision_weights"
            ) from error
        self._load(donor.state_dict(), f"timm's weights of {name}")

    def _load(self, state: dict[str, torch.Tensor], source: str) -> None:
        if "norm.weight" not in state and "fc_norm.weight" in state:
            # models that average before their last norm: what follows here reads patches, normed one by one
            state = {key.replace("fc_norm.", "norm."): value for key, value in state.items()}
        try:
            missing, unexpected = self.encoder.load_state_dict(state, strict=False)
        except RuntimeError as error:
            raise VisionTowerError(
                f"{source}: tensors of other shapes than this tower's. Is it another architecture, or were its "
                f"positions learnt at another img_size (a tower option)? {str(error).splitlines()[-1].strip()}"
            ) from error
        if missing:
            raise VisionTowerError(
                f"{source} lacks {len(missing)} tensors of this tower, such as {missing[0]}: another architecture?"
            )
        if unexpected:
            logger.info("left aside %d tensors of %s, such as %s", len(unexpected), source, unexpected[0])
