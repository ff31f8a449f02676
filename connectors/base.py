"""What a connector is: patch features in, decoder embeddings out.

Shapes: I images, N longest patch sequence of the batch, P patches of all images, M tokens of all images, D width.
"""

from abc import ABC, abstractmethod

import torch
from torch import nn

from vlm.errors import MedVLMError

Grid = tuple[int, int]
"""Height and width of one image, in patches."""


class ConnectorError(MedVLMError, ValueError):
    """A connector was configured or called with values that it cannot work with."""


class Connector(nn.Module, ABC):
    """Joins the vision tower and the decoder. Plain torch: the transformers model and the vLLM model share it.

    `merge_size` is the side of the square of patches that becomes one token; an image's height and width in patches
    are multiples of it.
    """

    merge_size: int = 1

    @abstractmethod
    def num_tokens(self, height: int, width: int) -> int:
        """Tokens that an image of `height` x `width` patches becomes."""

    @abstractmethod
    def forward(self, features: torch.Tensor, grids: list[Grid]) -> torch.Tensor:
        """Map `features` (I, N, D_vision), row-major and padded at the end, to (M, D_text), image after image."""

    @property
    @abstractmethod
    def output_layer(self) -> nn.Linear:
        """The last linear layer; its scale decides how loud the image speaks to the decoder."""


def validity(grids: list[Grid], longest: int, device: torch.device) -> torch.Tensor:
    """Mask (I, N) that is True where a padded sequence holds a patch."""
    lengths = torch.tensor([height * width for height, width in grids], device=device)
    return torch.arange(longest, device=device)[None, :] < lengths[:, None]


def merged_order(grids: list[Grid], longest: int, merge_size: int) -> torch.Tensor:
    """Positions (P,) in the flattened padded batch (I * N) that put the patches of each square next to each other.

    Squares are row-major in the image, patches row-major in the square.
    """
    order = []
    for image, (height, width) in enumerate(grids):
        if height % merge_size or width % merge_size:
            raise ConnectorError(
                f"image {image} has a grid of {height} x {width} patches, which squares of {merge_size} x {merge_size} "
                "do not tile: let the model's own image processor resize it"
            )
        square = torch.arange(height * width).view(height // merge_size, merge_size, width // merge_size, merge_size)
        order.append(square.transpose(1, 2).reshape(-1) + image * longest)
    return torch.cat(order) if order else torch.zeros(0, dtype=torch.long)
