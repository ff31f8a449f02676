"""Connectors that turn each square of neighbouring patches into one token: linear, and two-layer MLP (the default).

Source of the merge: Qwen2-VL (Wang et al. 2024, section 2.1), pixel shuffle of InternVL 1.5 (Chen et al. 2024).
"""

import torch
from torch import nn

from connectors.base import Connector, ConnectorError, Grid, merged_order


class PatchMerge(Connector):
    """Normalises patches and lays those of a square side by side: (P, D) to (M, D * merge_size^2)."""

    def __init__(self, vision_width: int, merge_size: int):
        super().__init__()
        if merge_size < 1:
            raise ConnectorError(f"connector merge_size must be 1 or more, got {merge_size}")
        self.merge_size = merge_size
        self.merged_width = vision_width * merge_size**2
        self.norm = nn.LayerNorm(vision_width, eps=1e-6)

    def num_tokens(self, height: int, width: int) -> int:
        return (height // self.merge_size) * (width // self.merge_size)

    def merge(self, features: torch.Tensor, grids: list[Grid]) -> torch.Tensor:
        """(I, N, D) padded to (M, D * merge_size^2)."""
        order = merged_order(grids, features.shape[1], self.merge_size).to(features.device)
        patches = features.flatten(0, 1)[order]
        return self.norm(patches).view(-1, self.merged_width)


class LinearConnector(PatchMerge):
    """One linear layer from each patch (or square of patches) to the decoder's width."""

    def __init__(self, vision_width: int, text_width: int, merge_size: int = 1, bias: bool = True):
        super().__init__(vision_width, merge_size)
        self.proj = nn.Linear(self.merged_width, text_width, bias=bias)

    @property
    def output_layer(self) -> nn.Linear:
        return self.proj

    def forward(self, features: torch.Tensor, grids: list[Grid]) -> torch.Tensor:
        return self.proj(self.merge(features, grids))


class PatchMergeMLP(PatchMerge):
    """Squares of patches through a two-layer MLP. `hidden_width` None = the width of a merged square."""

    def __init__(
        self,
        vision_width: int,
        text_width: int,
        merge_size: int = 2,
        hidden_width: int | None = None,
        bias: bool = True,
    ):
        super().__init__(vision_width, merge_size)
        hidden_width = hidden_width or self.merged_width
        self.fc1 = nn.Linear(self.merged_width, hidden_width, bias=bias)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden_width, text_width, bias=bias)

    @property
    def output_layer(self) -> nn.Linear:
        return self.fc2

    def forward(self, features: torch.Tensor, grids: list[Grid]) -> torch.Tensor:
        return self.fc2(self.act(self.fc1(self.merge(features, grids))))
