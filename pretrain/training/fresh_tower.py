"""A tower that starts from nothing starts better: positions that can be told apart, layers that are not asleep.

timm draws all weights of a ViT with deviation 0.02, which suits a width of 768 and long schedules. At width 192
attention and MLP then begin a fraction as strong as they should, and the learnt positions are a tenth as strong as the
patches, so a short warm-up spends its time on finding out where left is. Measured figures are in docs/training.md.
"""

import math
from typing import Any

import torch
from torch import nn

_FINEST = 4  # octaves between one half-wave over the picture and the finest


@torch.no_grad()
def wake(tower: Any, seed: int, strength: float = 0.5) -> None:
    """Draw the linear layers of a new tower anew (Glorot and Bengio 2010) and set its positions to sines and cosines.

    Args:
        tower: ``vlm.vision.VisionTower`` with random weights; changed in place.
        seed: of the draw; the caller's random stream is left as it was.
        strength: amplitude of the position waves; patches have a deviation of about 1 after the embedding.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in tower.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
    table = getattr(tower.encoder.embeds, "pos_embed", None)
    if table is not None and table.ndim == 4:
        _, height, width, dim = table.shape
        table.copy_(strength * sine_positions(height, width, dim)[None])


def sine_positions(height: int, width: int, dim: int) -> torch.Tensor:
    """(height, width, dim) sines and cosines of both coordinates at wavelengths from two pictures to an eighth of one.

    The first quarters hold y, the last x; widths that four does not divide end in zeros.
    """
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    waves = math.pi * 2 ** torch.linspace(0, _FINEST, dim // 4)
    parts = [f(axis[..., None] * waves) for axis in (y, x) for f in (torch.sin, torch.cos)]
    table = torch.cat(parts, dim=-1)
    return torch.nn.functional.pad(table, (0, dim - table.shape[-1]))
