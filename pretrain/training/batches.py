"""From samples to the tensors of one forward pass: encode, pack or pad, and say how large the pass really is.

Shapes: B rows, T tokens, P patches of all images, C numbers in a patch, I images, F findings.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from pretrain.training.errors import TrainingError
from pretrain.training.flops import StepShape
from pretrain.training.recipe import BatchSection

IGNORE = -100  # no loss on this position, as in transformers


@dataclass
class Example:
    """One encoded sample.

    Attributes:
        key: of the sample.
        input_ids: (T,); labels: (T,) token ids where the model is asked to answer, else IGNORE.
        branches: (T,) 0 for what all questions share (the image), k for the tokens of question k, which does not see
            the other questions; None for an ordinary conversation.
        pixel_values: (P, C); image_grid_thw: (I, 3).
        patch_targets: (P, F) share of each patch that a finding covers; image_targets: (I, F) 1 where it shows.
    """

    key: str
    input_ids: torch.Tensor | None = None
    labels: torch.Tensor | None = None
    branches: torch.Tensor | None = None
    pixel_values: torch.Tensor | None = None
    image_grid_thw: torch.Tensor | None = None
    patch_targets: torch.Tensor | None = None
    image_targets: torch.Tensor | None = None

    @property
    def tokens(self) -> int:
        return 0 if self.input_ids is None else len(self.input_ids)

    @property
    def image_patches(self) -> tuple[int, ...]:
        return () if self.image_grid_thw is None else tuple(self.image_grid_thw.prod(-1).tolist())

    @property
    def patches(self) -> int:
        return sum(self.image_patches)


@dataclass
class Batch:
    """One forward pass: ``tensors`` are the model's inputs, ``targets`` counts what the loss sums over."""

    tensors: dict[str, torch.Tensor]
    targets: int
    shape: StepShape
    keys: list[str] = field(default_factory=list)

    def to(self, device: torch.device) -> "Batch":
        moved = {k: v.to(device, non_blocking=True) for k, v in self.tensors.items()}
        return Batch(moved, self.targets, self.shape, self.keys)


def first_fit(tokens: Sequence[int], patches: Sequence[int], max_tokens: int, max_patches: int) -> list[list[int]]:
    """Rows of sample indices, in order, each within both budgets (first-fit; Johnson 1973). Depends on nothing else.

    Raises:
        TrainingError: one sample alone is larger than a row.
    """
    rows: list[list[int]] = []
    space: list[list[int]] = []
    for i, (t, p) in enumerate(zip(tokens, patches, strict=True)):
        if t > max_tokens or p > max_patches:
            raise TrainingError(
                f"a sample of {t} tokens and {p} patches does not fit a row of {max_tokens} tokens and "
                f"{max_patches} patches: raise batch.row_tokens or batch.row_patches"
            )
        row = next((r for r, (st, sp) in enumerate(space) if t <= st and p <= sp), None)
        if row is None:
            rows.append([])
            space.append([max_tokens, max_patches])
            row = len(rows) - 1
        rows[row].append(i)
        space[row][0] -= t
        space[row][1] -= p
    return rows


def make_batches(
    examples: Sequence[Example], budget: BatchSection, pad_id: int, dummy: Example | None = None
) -> tuple[list[Batch], dict[str, list[str]]]:
    """Forward passes for the samples of one rank and step, and the keys of samples that were left out, by reason.

    A pass without an image gets ``dummy`` beside its samples (see :func:`dummy_image`).
    """
    dropped: dict[str, list[str]] = {}
    kept = []
    for example in examples:
        if example.input_ids is not None and not bool((example.labels != IGNORE).any()):
            dropped.setdefault("no answer to learn from", []).append(example.key)
        elif budget.pack and (example.tokens > budget.row_tokens or example.patches > budget.row_patches):
            dropped.setdefault("larger than a row", []).append(example.key)
        else:
            kept.append(example)
    if kept and kept[0].input_ids is None:
        return [patch_batch(kept[i : i + budget.row_samples]) for i in range(0, len(kept), budget.row_samples)], dropped
    if budget.pack:
        rows = first_fit([e.tokens for e in kept], [e.patches for e in kept], budget.row_tokens, budget.row_patches)
        return [packed_batch(_with_image([kept[i] for i in row], dummy)) for row in rows], dropped
    rows = [kept[i : i + budget.row_samples] for i in range(0, len(kept), budget.row_samples)]
    return [padded_batch(_with_image(row, dummy), pad_id) for row in rows], dropped


def packed_batch(examples: Sequence[Example]) -> Batch:
    """Samples end to end in one row (1, T); positions restart, so that attention stays inside a sample.

    Where questions share an image, the samples come with their own attention mask (B, 1, T, T), and in as many rows as
    hold them when T is the longest sample: a masked attention costs the square of its row, whatever the mask leaves.
    First-fit leaves at most one row half empty, so that B x T stays below about twice the samples' tokens.
    """
    longest = max(e.tokens for e in examples)
    if all(e.branches is None for e in examples):
        rows, longest = [list(range(len(examples)))], sum(e.tokens for e in examples)
    else:
        rows = first_fit([e.tokens for e in examples], [0] * len(examples), longest, 0)
    packed = [[examples[i] for i in row] for row in rows]
    tensors = {
        "input_ids": torch.stack([_end_to_end([e.input_ids for e in row], longest, 0) for row in packed]),
        "labels": torch.stack(
            [_end_to_end([_no_first_label(e.labels) for e in row], longest, IGNORE) for row in packed]
        ),
        "position_ids": torch.stack([_end_to_end([_positions(e) for e in row], longest, 0) for row in packed]),
    }
    if any(e.branches is not None for e in examples):
        tensors["attention_mask"] = torch.stack([branch_mask(row, longest) for row in packed])
    placed = [example for row in packed for example in row]
    return _token_batch({**tensors, **_pixels(placed)}, placed)


def _end_to_end(parts: Sequence[torch.Tensor | None], length: int, fill: int) -> torch.Tensor:
    """(length,) the parts one after another, then ``fill``."""
    row = torch.cat([part for part in parts if part is not None])
    return torch.nn.functional.pad(row, (0, length - len(row)), value=fill)


def _positions(example: Example) -> torch.Tensor:
    return torch.arange(example.tokens) if example.branches is None else branch_positions(example.branches)


def branch_positions(branches: torch.Tensor) -> torch.Tensor:
    """(T,) positions: every question goes on where the shared part ends."""
    shared = int((branches == 0).sum())
    positions = torch.arange(len(branches))
    for branch in range(1, int(branches.max()) + 1):
        where = branches == branch
        positions[where] = shared + torch.arange(int(where.sum()))
    return positions


def branch_mask(examples: Sequence[Example], length: int) -> torch.Tensor:
    """(1, T, T) True where a token of a row sees another: earlier, same sample, and shared or of the same question.

    What fills the row up to ``length`` sees itself, for a softmax over nothing is not a number.
    """
    sample = _end_to_end([torch.full((e.tokens,), i) for i, e in enumerate(examples)], length, -1)
    branch = _end_to_end(
        [torch.zeros(e.tokens, dtype=torch.long) if e.branches is None else e.branches for e in examples], length, 0
    )
    seen = (sample[:, None] == sample[None]) & ((branch[None] == 0) | (branch[:, None] == branch[None]))
    return seen.tril()[None]


def padded_batch(examples: Sequence[Example], pad_id: int) -> Batch:
    """Samples one a row (B, T), padded on the right."""
    longest = max(e.tokens for e in examples)
    ids = torch.full((len(examples), longest), pad_id)
    labels = torch.full((len(examples), longest), IGNORE)
    mask = torch.zeros(len(examples), longest, dtype=torch.long)
    for row, example in enumerate(examples):
        assert example.input_ids is not None
        ids[row, : example.tokens] = example.input_ids
        labels[row, : example.tokens] = _no_first_label(example.labels)
        mask[row, : example.tokens] = 1
    return _token_batch({"input_ids": ids, "labels": labels, "attention_mask": mask, **_pixels(examples)}, examples)


def patch_batch(examples: Sequence[Example]) -> Batch:
    """Images with their dense truth, for the warm-up; the loss counts images."""
    tensors = _pixels(examples)
    for name in ("patch_targets", "image_targets"):
        parts = [getattr(e, name) for e in examples if getattr(e, name) is not None]
        if parts:
            tensors[name] = torch.cat(parts)
    images = sum(len(e.image_patches) for e in examples)
    return Batch(tensors, images, StepShape(**_patch_sizes(examples)), [e.key for e in examples])


def dummy_image(image_token: int, tokens: int, merge_size: int, patch_dim: int) -> Example:
    """The smallest image there is, as a sample of its own without an answer: it adds nothing to the loss.

    Every pass of every rank then runs the same modules in the same order. Sharded training needs that: ranks gather
    layers as they come to them, and ZeRO-3 also fetches ahead in the order of the last step, so a rank which leaves
    the tower out, or runs it at another time, hangs the others (Qwen3-VL #126, LlamaFactory PR #6233).
    """
    ids = torch.full((tokens + 1,), image_token)
    ids[0] = 0
    return Example(
        key="",
        input_ids=ids,
        labels=torch.full_like(ids, IGNORE),
        pixel_values=torch.zeros(merge_size**2, patch_dim),
        image_grid_thw=torch.tensor([[1, merge_size, merge_size]]),
    )


def _with_image(examples: list[Example], dummy: Example | None) -> list[Example]:
    return examples if dummy is None or any(e.patches for e in examples) else [*examples, dummy]


def idle_batch(dummy: Example, findings: int) -> Batch:
    """A pass that adds nothing to the loss, for a rank that has fewer passes in a step than another one.

    ``findings`` above 0 makes it a warm-up pass.
    """
    if not findings:
        return packed_batch([dummy])
    tensors = _pixels([dummy])
    tensors["patch_targets"] = torch.zeros(dummy.patches, findings)
    tensors["image_targets"] = torch.zeros(1, findings)
    return Batch(tensors | {"idle": torch.ones(1)}, 0, StepShape())


def _token_batch(tensors: dict[str, torch.Tensor], examples: Sequence[Example]) -> Batch:
    targets = int((tensors["labels"] != IGNORE).sum())
    shape = StepShape(
        **_patch_sizes(examples),
        tokens=sum(e.tokens for e in examples),
        token_pairs=sum(_token_pairs(e) for e in examples),
        logits=targets,
    )
    return Batch(tensors, targets, shape, [e.key for e in examples])


def _token_pairs(example: Example) -> float:
    if example.branches is None:
        return example.tokens**2 / 2
    shared, *lengths = torch.bincount(example.branches).tolist()
    return shared**2 / 2 + sum(n * shared + n**2 / 2 for n in lengths)


def _patch_sizes(examples: Sequence[Example]) -> dict[str, int]:
    sizes = [n for e in examples for n in e.image_patches]
    return {"patches": sum(sizes), "patch_pairs": sum(n * n for n in sizes)}


def _no_first_label(labels: torch.Tensor | None) -> torch.Tensor:
    """Nothing in a sample predicts its first token; in a packed row the sample before would."""
    assert labels is not None
    if labels[0] == IGNORE:
        return labels
    labels = labels.clone()
    labels[0] = IGNORE
    return labels


def _pixels(examples: Sequence[Example]) -> dict[str, torch.Tensor]:
    values = [e.pixel_values.float() for e in examples if e.pixel_values is not None and len(e.pixel_values)]
    grids = [e.image_grid_thw for e in examples if e.image_grid_thw is not None and len(e.image_grid_thw)]
    return {"pixel_values": torch.cat(values), "image_grid_thw": torch.cat(grids)} if values else {}
