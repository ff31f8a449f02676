"""Floating-point operations of a step, and the share of the machine's peak that they are (MFU).

Counted: matrix products of the tower (every patch), the connector (every patch that enters it), the decoder (every
real token, padding not), the head only on positions whose logits are computed, and attention with the real lengths of
the blocks. Not counted: norms, activations, soft-max, the recomputation of gradient checkpointing (this is MFU, not
hardware utilisation). A multiply-add is two operations, as in Kaplan et al. 2020 (section 2.1).
"""

import time
from dataclasses import astuple, dataclass, replace
from typing import Any

import torch

# Dense peak of the tensor cores in bf16, FLOP/s, from the vendors' data sheets (without sparsity).
KNOWN_PEAKS = {"H100 PCIe": 756e12, "H100": 989e12, "H200": 989e12, "A100": 312e12, "B200": 2250e12, "L40S": 362e12}


@dataclass(frozen=True)
class ModulePart:
    """What the count needs of one part of the model.

    Attributes:
        matrix_parameters: parameters in matrix products, each used once for one item (patch or token).
        learning_parameters: those of them that learn; each costs one more product, for its own gradient.
        backward: the gradient passes through (something in this part or before it learns); one more product for each.
        layers, width: of its attention (0 layers: none); width = heads x head size.
    """

    matrix_parameters: int
    learning_parameters: int
    backward: bool
    layers: int = 0
    width: int = 0

    def flops(self, items: int, pairs: float = 0.0) -> float:
        """Operations for ``items`` patches or tokens and ``pairs`` of them that attention joins, both directions."""
        linear = 2.0 * items * (self.matrix_parameters * (1 + self.backward) + self.learning_parameters)
        attention = 4.0 * self.layers * self.width * pairs
        return linear + attention * (3 if self.backward else 1)


@dataclass(frozen=True)
class StepShape:
    """Real sizes of what one step computed: no padding. Pairs are those that attention joins (query and key)."""

    patches: int = 0
    patch_pairs: float = 0.0  # the square of each image's patches
    tokens: int = 0
    token_pairs: float = 0.0  # about half the square of each sample's tokens; less where questions share an image
    logits: int = 0  # positions whose logits are computed

    def __add__(self, other: "StepShape") -> "StepShape":
        return StepShape(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class FlopsModel:
    """The parts of a vision-language model; a part that a stage does not run is None."""

    tower: ModulePart | None = None
    connector: ModulePart | None = None
    decoder: ModulePart | None = None
    head: ModulePart | None = None

    def step(self, shape: StepShape) -> float:
        """Operations of one step, forward and backward."""
        total = 0.0
        if self.tower is not None:
            total += self.tower.flops(shape.patches, shape.patch_pairs)
        if self.connector is not None:
            total += self.connector.flops(shape.patches)
        if self.decoder is not None:
            total += self.decoder.flops(shape.tokens, shape.token_pairs)
        if self.head is not None:
            total += self.head.flops(shape.logits)
        return total


def flops_model(tower: Any, connector: Any, decoder: Any, head: Any, config: Any) -> FlopsModel:
    """The count for a medvlm model as it is frozen now; ``decoder``, ``head`` None where a stage does not run them."""
    vision, text = config.vision_config, config.text_config
    below = False
    parts: dict[str, ModulePart | None] = {}
    for name, module in (("tower", tower), ("connector", connector), ("decoder", decoder), ("head", head)):
        if module is None:
            parts[name] = None
            continue
        matrices, learning = matrix_parameters(module)
        below = below or learning > 0
        parts[name] = ModulePart(matrices, learning, below)
    assert parts["tower"] is not None
    parts["tower"] = replace(
        parts["tower"],
        layers=vision.num_hidden_layers,
        width=vision.hidden_size,  # type: ignore[type-var]
    )
    if parts["decoder"] is not None:
        head_size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        width = text.num_attention_heads * head_size
        parts["decoder"] = replace(parts["decoder"], layers=text.num_hidden_layers, width=width)
    return FlopsModel(**parts)


def matrix_parameters(module: torch.nn.Module) -> tuple[int, int]:
    """(all, learning) parameters of dimension two or more; tables that are looked up are no products."""
    looked_up = {
        id(p) for child in module.modules() if isinstance(child, torch.nn.Embedding) for p in child.parameters()
    }
    matrices = [p for p in module.parameters() if p.ndim >= 2 and id(p) not in looked_up]
    return sum(p.numel() for p in matrices), sum(p.numel() for p in matrices if p.requires_grad)


def peak_flops(device: torch.device, dtype: torch.dtype) -> tuple[float, str]:
    """Peak FLOP/s and how it is known: the data sheet of a known GPU, else a short matrix product on this device."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        for known, peak in KNOWN_PEAKS.items():
            if known in name and dtype == torch.bfloat16:
                return peak, f"data sheet of {known}, bf16 dense"
    size = 4096 if device.type == "cuda" else 1024
    a = torch.ones(size, size, device=device, dtype=dtype)
    best = float("inf")
    deadline = time.perf_counter() + 0.5
    while time.perf_counter() < deadline:
        start = time.perf_counter()
        torch.mm(a, a)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
    threads = f", {torch.get_num_threads()} threads" if device.type == "cpu" else ""
    return 2 * size**3 / best, f"measured: {size} x {size} product in {str(dtype).removeprefix('torch.')}{threads}"
