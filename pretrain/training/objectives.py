"""What a stage learns from: one small module a stage, called with a batch, giving a sum to be divided once.

An objective returns the sum of its losses over the targets of the batch. The loop divides by the number of targets of
the whole step over all ranks, so a rank with three answers does not count as much as one with three hundred. What it
returns is a dictionary of tensors (``loss``, and sums to log), because FSDP2 and DDP look for gradients only there.
Shapes: I images, N longest patch sequence, P patches, D width, F findings, M image tokens.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from connectors.base import merged_order, validity
from pretrain.training.recipe import WarmupSection
from vlm.vision import grids_of


class TokenObjective(nn.Module):
    """Next-token cross-entropy on the answers: connector alignment and both kinds of instruction tuning.

    A batch always holds an image, if only a dummy that counts for nothing (``batches.dummy_image``).
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    @property
    def causal_lm(self) -> Any:
        """The vision-language model itself, below a PEFT wrapper if there is one."""
        model: Any = self.model
        return model.get_base_model() if hasattr(model, "get_base_model") else model

    def get_input_embeddings(self) -> nn.Module:
        return self.causal_lm.get_input_embeddings()

    def get_output_embeddings(self) -> nn.Module:
        return self.causal_lm.get_output_embeddings()

    def forward(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        model = self.causal_lm
        inputs = {k: v for k, v in tensors.items() if k != "labels"}
        hidden = model.model(**inputs, use_cache=False).last_hidden_state
        loss = model.label_loss(hidden, tensors["labels"], num_items_in_batch=1)
        return {"loss": loss}

    def model_weights(self, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Weights of this objective under the names that the wrapped model gives them."""
        return {name.removeprefix("model."): value for name, value in weights.items()}


class WarmupHeads(nn.Module):
    """Linear read-outs of the tower, thrown away after the warm-up: of each patch, and of the whole picture."""

    def __init__(self, width: int, findings: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.patch = nn.Linear(width, findings)
        self.image = nn.Linear(2 * width, findings)
        self.peak = nn.Parameter(torch.ones(findings))

    def forward(self, features: torch.Tensor, valid: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features (I, N, D) and validity (I, N) to patch logits (I, N, F) and image logits (I, F)."""
        features = self.norm(features)
        mean = (features * valid[..., None]).sum(1) / valid.sum(1, keepdim=True).clamp(min=1)
        peak = features.masked_fill(~valid[..., None], torch.finfo(features.dtype).min).amax(1)
        patches = self.patch(features)
        strongest = patches.masked_fill(~valid[..., None], torch.finfo(patches.dtype).min).amax(1)
        return patches, self.image(torch.cat([mean, peak], dim=-1)) + self.peak * strongest


class WarmupObjective(nn.Module):
    """Teaches the tower from image labels and truth masks, and the connector to speak in words the decoder knows.

    Args:
        tower, connector: of the model; the decoder takes no part.
        findings: names, in the order of the mask bits.
        words: (F + 1, D_text) embedding of each finding's name, and of the background; None without the word loss.
        pos_weight: dictionary of (F,) weights of positives for ``patch`` and ``image``.
    """

    def __init__(
        self,
        tower: Any,
        connector: Any,
        findings: Sequence[str],
        section: WarmupSection,
        words: torch.Tensor | None,
        pos_weight: dict[str, torch.Tensor],
    ):
        super().__init__()
        self.vision_tower: Any = tower
        self.connector: Any = connector
        self.heads = WarmupHeads(tower.hidden_size, len(findings))
        self.findings, self.section = tuple(findings), section
        self.words: Any
        self.register_buffer("words", words, persistent=False)
        for name in ("patch", "image"):
            self.register_buffer(f"{name}_pos_weight", pos_weight[name], persistent=False)

    def forward(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        grids = grids_of(tensors["image_grid_thw"])
        pixels = tensors["pixel_values"]
        if self.training and self.section.augment:
            pixels = jitter(pixels, [h * w for h, w in grids], self.section.augment)
        features = self.vision_tower(pixels, grids)
        valid = validity(grids, features.shape[1], features.device)
        patch_logits, image_logits = self.heads(features, valid)
        metrics = {}
        loss = features.new_zeros((), dtype=torch.float32)
        targets = tensors["patch_targets"]
        if self.section.image_weight:
            image = _bce(image_logits, tensors["image_targets"], self.image_pos_weight).mean(-1).sum()
            loss, metrics["image_loss"] = loss + self.section.image_weight * image, image.detach()
        if self.section.patch_weight:
            each = _bce(patch_logits[valid], targets, self.patch_pos_weight).mean(-1)
            patch = _mean_of_images(each, grids)
            loss, metrics["patch_loss"] = loss + self.section.patch_weight * patch, patch.detach()
        if self.words is not None:
            word = self._word_loss(features, targets, grids)
            loss, metrics["word_loss"] = loss + self.section.word_weight * word, word.detach()
        else:  # keeps the connector in the graph when its gradients are shared between ranks
            loss = loss + self.connector(features[:1], grids[:1]).float().sum() * 0.0
        if "idle" in tensors:
            return {name: value * 0.0 for name, value in {"loss": loss, **metrics}.items()}
        return {"loss": loss, **metrics}

    def model_weights(self, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Weights of tower and connector under the model's names; the heads stay behind."""
        return {f"model.{name}": value for name, value in weights.items() if not name.startswith("heads.")}

    @torch.no_grad()
    def predict(self, tensors: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Image logits (I, F) and patch logits (P, F)."""
        grids = grids_of(tensors["image_grid_thw"])
        features = self.vision_tower(tensors["pixel_values"], grids)
        valid = validity(grids, features.shape[1], features.device)
        patch_logits, image_logits = self.heads(features, valid)
        return image_logits.float(), patch_logits[valid].float()

    def _word_loss(self, features: torch.Tensor, targets: torch.Tensor, grids: list) -> torch.Tensor:
        """Squared distance of image tokens to the names of what their square of patches shows, summed over images.

        A token's aim is the sum of the names, each as loud as the finding covers the square's fullest patch, and the
        background's embedding for the rest; distances are in units of the embeddings' mean square. Each token counts
        ``1 + word_focus * (findings in it)``: plain squared distance would answer a faint finding with the background.
        """
        tokens = self.connector(features, grids).float()  # (M, D)
        merge = self.connector.merge_size
        order = merged_order(grids, max(h * w for h, w in grids), merge).to(targets.device)
        flat = targets.new_zeros(features.shape[0] * features.shape[1], targets.shape[1])
        flat[validity(grids, features.shape[1], targets.device).flatten()] = targets
        shares = flat[order].view(-1, merge**2, targets.shape[1]).amax(1)  # (M, F)
        rest = (1 - shares.sum(-1, keepdim=True)).clamp(min=0)
        wanted = torch.cat([shares, rest], dim=-1) @ self.words  # (M, D)
        each = (tokens - wanted).square().mean(-1) / self.words.square().mean()
        each = each * (1 + self.section.word_focus * shares.sum(-1))
        return _mean_of_images(each, [(h // merge, w // merge) for h, w in grids])


def jitter(pixels: torch.Tensor, lengths: Sequence[int], amount: float) -> torch.Tensor:
    """Brightness and contrast of each image moved by up to ``amount``; pixels (P, C) have unit deviation."""
    images = len(lengths)
    change = (torch.rand(2, images, 1, device=pixels.device) * 2 - 1) * amount
    index = torch.repeat_interleave(
        torch.arange(images, device=pixels.device), torch.tensor(lengths, device=pixels.device)
    )
    return pixels * (1 + change[0])[index] + change[1][index]


def _bce(logits: torch.Tensor, targets: torch.Tensor, pos_weight: Any) -> torch.Tensor:
    return F.binary_cross_entropy_with_logits(logits.float(), targets, pos_weight=pos_weight, reduction="none")


def _mean_of_images(each: torch.Tensor, grids: list) -> torch.Tensor:
    """Sum over images of the mean over an image's rows of ``each``."""
    return torch.stack([part.mean() for part in each.split([h * w for h, w in grids])]).sum()
