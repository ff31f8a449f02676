"""Perceiver resampler: a fixed number of learned queries reads an image of any size.

Source: Flamingo (Alayrac et al. 2022, section 3.1 and appendix A.1.1).
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from connectors.base import Connector, ConnectorError, Grid, validity


def position_2d(grids: list[Grid], longest: int, width: int, device: torch.device) -> torch.Tensor:
    """Sine and cosine of each patch's place, (I, N, width), width a multiple of 4.

    Places are centre coordinates divided by the image's longer side, so that they mean the same at every resolution
    and keep the aspect ratio. The frequencies are pi * 2^k, k spread over [0, 6]. Padding holds zeros.
    """
    bands = width // 4
    frequencies = math.pi * 2.0 ** torch.linspace(0, 6, bands, device=device)
    out = torch.zeros(len(grids), longest, width, device=device)
    for image, (rows, columns) in enumerate(grids):
        side = max(rows, columns)
        y = (torch.arange(rows, device=device) + 0.5) / side
        x = (torch.arange(columns, device=device) + 0.5) / side
        angle_y = (y[:, None] * frequencies)[:, None, :].expand(rows, columns, bands)
        angle_x = (x[:, None] * frequencies)[None, :, :].expand(rows, columns, bands)
        place = torch.cat([angle_y.sin(), angle_y.cos(), angle_x.sin(), angle_x.cos()], dim=-1)
        out[image, : rows * columns] = place.reshape(rows * columns, width)
    return out


class ResamplerBlock(nn.Module):
    """Queries read the patches and each other, then pass an MLP. Shapes: queries (I, Q, D), patches (I, N, D)."""

    def __init__(self, width: int, heads: int, mlp_ratio: float = 4.0):
        super().__init__()
        self.heads = heads
        self.norm_queries = nn.LayerNorm(width, eps=1e-6)
        self.norm_patches = nn.LayerNorm(width, eps=1e-6)
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(width, width, bias=False)
        self.to_v = nn.Linear(width, width, bias=False)
        self.to_out = nn.Linear(width, width, bias=False)
        self.norm_mlp = nn.LayerNorm(width, eps=1e-6)
        hidden = int(width * mlp_ratio)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(
        self, queries: torch.Tensor, patches: torch.Tensor, position: torch.Tensor | None, mask: torch.Tensor
    ) -> torch.Tensor:
        """`mask` (I, 1, 1, N + Q): True where a key may be read; `position` (I, N, D) is added to patches in keys."""
        normed = self.norm_queries(queries)
        patches = self.norm_patches(patches)
        key_patches = patches if position is None else patches + position.to(patches.dtype)
        keys = self.to_k(torch.cat([key_patches, normed], dim=1))
        values = self.to_v(torch.cat([patches, normed], dim=1))
        read = F.scaled_dot_product_attention(
            self._split(self.to_q(normed)), self._split(keys), self._split(values), attn_mask=mask
        )
        queries = queries + self.to_out(read.transpose(1, 2).flatten(2))
        return queries + self.mlp(self.norm_mlp(queries))


class PerceiverResampler(Connector):
    """`num_queries` tokens for every image, whatever its size.

    Without position information the queries see a bag of patches, and can tell place only through what the tower
    itself left in the features; `position="2d"` adds it to the keys.
    """

    merge_size = 1

    def __init__(
        self,
        vision_width: int,
        text_width: int,
        num_queries: int = 64,
        depth: int = 2,
        width: int | None = None,
        heads: int | None = None,
        position: str = "2d",
    ):
        super().__init__()
        width = width or vision_width
        heads = heads or max(1, width // 64)
        if num_queries < 1 or depth < 1:
            raise ConnectorError(f"perceiver needs num_queries and depth of 1 or more, got {num_queries} and {depth}")
        if width % heads or width % 4:
            raise ConnectorError(f"perceiver width {width} must divide by its {heads} heads and by 4")
        if position not in ("2d", "none"):
            raise ConnectorError(f"perceiver position must be '2d' or 'none', got {position!r}")
        self.num_queries, self.width, self.position = num_queries, width, position
        self.proj_in = nn.Linear(vision_width, width)
        self.queries = nn.Parameter(torch.empty(num_queries, width))
        self.blocks = nn.ModuleList(ResamplerBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.proj_out = nn.Linear(width, text_width)
        self.reset_queries()

    def reset_queries(self) -> None:
        nn.init.normal_(self.queries, std=0.02)

    @property
    def output_layer(self) -> nn.Linear:
        return self.proj_out

    def num_tokens(self, height: int, width: int) -> int:
        return self.num_queries

    def forward(self, features: torch.Tensor, grids: list[Grid]) -> torch.Tensor:
        images, longest = features.shape[:2]
        patches = self.proj_in(features)
        readable = validity(grids, longest, features.device)
        mask = F.pad(readable, (0, self.num_queries), value=True)[:, None, None, :]
        position = None
        if self.position == "2d":
            position = position_2d(grids, longest, self.width, features.device)
        queries = self.queries.to(patches.dtype).expand(images, -1, -1)
        for block in self.blocks:
            queries = block(queries, patches, position, mask)
        return self.proj_out(self.norm(queries)).flatten(0, 1)
