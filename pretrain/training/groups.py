"""Which parameters learn, and how fast: patterns to named optimizer groups, with counts that a person can check."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from pretrain.training.errors import TrainingError
from pretrain.training.recipe import GroupSection, OptimizerSection

REST = "everything else"


@dataclass
class ParameterGroup:
    """Parameters under one pattern: name, learning rate, decay, and whether they learn at all."""

    name: str
    lr: float
    weight_decay: float
    frozen: bool
    parameters: list[tuple[str, nn.Parameter]] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(p.numel() for _, p in self.parameters)


def assign_groups(
    model: nn.Module, sections: Sequence[GroupSection], optimizer: OptimizerSection
) -> list[ParameterGroup]:
    """Put every parameter of ``model`` into the first group whose pattern matches its name, and freeze what is asked.

    Parameters that no pattern matches form the last group with the optimizer's own settings. ``requires_grad`` of a
    parameter that was already frozen (LoRA's base weights) stays off.

    Raises:
        TrainingError: a pattern matches nothing or is no regular expression; nothing is left to train.
    """
    groups = [
        ParameterGroup(
            s.pattern,
            optimizer.lr if s.lr is None else s.lr,
            optimizer.weight_decay if s.weight_decay is None else s.weight_decay,
            s.freeze,
        )
        for s in sections
    ]
    rest = ParameterGroup(REST, optimizer.lr, optimizer.weight_decay, False)
    patterns = [_compile(s.pattern) for s in sections]
    for name, parameter in model.named_parameters():
        found = next((g for g, p in zip(groups, patterns, strict=True) if p.search(name)), rest)
        found.parameters.append((name, parameter))
        if found.frozen:
            parameter.requires_grad_(False)
    for group in groups:
        if not group.parameters:
            known = sorted({".".join(n.split(".")[:3]) for n, _ in model.named_parameters()})
            raise TrainingError(
                f"groups: the pattern {group.name!r} matches no parameter that an earlier pattern left over; "
                f"names begin with: {', '.join(known[:12])}"
            )
    if not any(p.requires_grad for p in model.parameters()):
        raise TrainingError("groups: every parameter is frozen, so there is nothing to train")
    return [*groups, rest] if rest.parameters else groups


def optimizer_groups(groups: Sequence[ParameterGroup]) -> list[dict]:
    """Groups for ``torch.optim.AdamW``: matrices decay, vectors (norms, biases) do not; ``base_lr`` is kept beside."""
    result = []
    for group in groups:
        trained = [p for _, p in group.parameters if p.requires_grad]
        for label, decay, members in (
            ("decay", group.weight_decay, [p for p in trained if p.ndim >= 2]),
            ("no decay", 0.0, [p for p in trained if p.ndim < 2]),
        ):
            if members:
                name = f"{group.name} ({label})"
                result.append(
                    {"params": members, "lr": group.lr, "base_lr": group.lr, "weight_decay": decay, "name": name}
                )
    return result


def describe_groups(groups: Sequence[ParameterGroup]) -> list[str]:
    """One line a group: how many parameters, how many of them learn, and at which rate."""
    lines = []
    for group in groups:
        trained = sum(p.numel() for _, p in group.parameters if p.requires_grad)
        state = "frozen" if trained == 0 else f"lr {group.lr:g}, weight decay {group.weight_decay:g}"
        lines.append(f"{group.name}: {trained:,} of {group.count:,} parameters learn ({state})")
    return lines


def make_optimizer(groups: Sequence[ParameterGroup], section: OptimizerSection) -> torch.optim.AdamW:
    """AdamW over the groups, in its fused form (bitwise repeatable, and 5 to 10 times faster on a CPU)."""
    return torch.optim.AdamW(optimizer_groups(groups), betas=section.betas, eps=section.eps, fused=True)


def _compile(pattern: str) -> re.Pattern:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise TrainingError(f"groups: {pattern!r} is not a regular expression: {error}") from error
