"""Encoders of pictures for candidates: the vision tower of a checkpoint folder of ours."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pretrain.dedup.image import Encode


def checkpoint_encoder(folder: Path, batch: int = 8) -> Encode:
    """Mean of the patch features of the tower of a medvlm checkpoint.

    Args:
        folder: a checkpoint (``vlm.build.load``).
        batch: pictures a forward pass.
    """
    import torch

    from vlm.build import load
    from vlm.vision import grids_of

    model, processor = load(folder)
    tower = model.model.vision_tower.eval()

    @torch.no_grad()
    def encode(pictures: Sequence[np.ndarray]) -> np.ndarray:
        rows = []
        for start in range(0, len(pictures), batch):
            made = processor.image_processor(list(pictures[start : start + batch]), return_tensors="pt")
            grids = grids_of(made["image_grid_thw"])
            features = tower(made["pixel_values"], grids).float()
            rows += [
                f[: height * width].mean(dim=0).numpy() for f, (height, width) in zip(features, grids, strict=True)
            ]
        return np.stack(rows) if rows else np.zeros((0, tower.hidden_size), np.float32)

    return encode
