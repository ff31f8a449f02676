"""Several samples in one sequence, as part of the plan.

The samples of global batch b are packed first-fit into rows under a token and a patch budget. Nothing is carried from
batch to batch, so the packing of any batch can be computed alone, no sample is lost or comes twice, and the number of
ranks changes who takes a row but never which samples a batch holds.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from pretrain.shards.errors import PackError
from pretrain.shards.lengths import Lengths
from pretrain.shards.plan import Plan, check_resume

Row = list[int]
Features = TypeVar("Features", contravariant=True)


class PackCollate(Protocol[Features]):
    """What makes one model input from the processed samples of one row.

    Token ids, labels, patches and grids are concatenated in the order given, and ``position_ids`` restart at 0 with
    each sample, so that attention stays inside it. The training package implements it.
    """

    def __call__(self, samples: Sequence[Features]) -> Mapping[str, Any]: ...


class PackPlan:
    """Packs each global batch of a plan into rows.

    Args:
        plan: gives the samples; its batch is the window of the packing.
        lengths: one for each source of the plan, in its order.
        max_tokens: budget of a row.
        max_patches: budget of vision patches of a row; None: no limit.
        oversize: "refuse" a data set with a sample that fits no row, or "skip" such samples (``skipped`` counts them).

    Raises:
        PackError: a sample is larger than a row, and oversize is "refuse".
    """

    def __init__(
        self,
        plan: Plan,
        lengths: Lengths | Sequence[Lengths],
        *,
        max_tokens: int,
        max_patches: int | None = None,
        oversize: str = "refuse",
    ):
        self.plan = plan
        self.lengths = [lengths] if isinstance(lengths, Lengths) else list(lengths)
        self.max_tokens, self.max_patches = int(max_tokens), max_patches
        if oversize not in ("refuse", "skip"):
            raise PackError(f"oversize is {oversize!r}: use 'refuse' or 'skip'")
        for source, length in zip(plan.sources, self.lengths, strict=True):
            if len(length.tokens) != len(source) or len(length.patches) != len(source):
                raise PackError(
                    f"{len(length.tokens)} lengths for the {len(source)} samples of {source.name}: measure them again"
                )
        self.skipped: dict[str, int] = {}
        self._find_oversize(oversize)
        self.parts = {
            **plan.parts,
            "packing": {
                "max_tokens": self.max_tokens,
                "max_patches": max_patches,
                "oversize": oversize,
                "lengths": [length.digest() for length in self.lengths],
            },
        }
        self.hash = hashlib.sha256(json.dumps(self.parts, sort_keys=True).encode()).hexdigest()

    def state(self, t: int) -> dict[str, Any]:
        """What a checkpoint keeps; ``t`` is the first position of the next global batch."""
        return {"plan_hash": self.hash, "t": int(t), "plan": self.parts}

    def resume(self, state: Mapping[str, Any], *, new_phase: bool = False) -> int:
        """The position to go on from; see :meth:`Plan.resume`."""
        return check_resume(state, self.hash, self.parts, new_phase)

    def length(self, t: int) -> tuple[int, int]:
        """(tokens, patches) of the sample at position ``t``."""
        ref = self.plan.sample(t)
        lengths = self.lengths[ref.source]
        return int(lengths.tokens[ref.record]), int(lengths.patches[ref.record])

    def pack(self, b: int, multiple_of: int = 1) -> list[Row]:
        """Rows of positions t that make up global batch ``b``, longest row first.

        Args:
            b: number of the global batch.
            multiple_of: rows are split until their number is a multiple of this (the number of ranks).

        Raises:
            PackError: the batch holds fewer samples than ``multiple_of``.
        """
        sized = [(t, *self.length(t)) for t in self.plan.batch(b)]
        sized = [(t, n, p) for t, n, p in sized if self._fits(n, p)]
        rows = first_fit(sized, self.max_tokens, self.max_patches)
        tokens = {t: n for t, n, _ in sized}
        while len(rows) % multiple_of:
            longest = max(rows, key=lambda row: (len(row) > 1, sum(tokens[t] for t in row)))
            if len(longest) < 2:
                raise PackError(
                    f"global batch {b} holds {len(sized)} samples, too few for {multiple_of} ranks: raise the batch "
                    "or use fewer ranks"
                )
            rows.remove(longest)
            rows += _halves(longest, tokens)
        return sorted(rows, key=lambda row: (-sum(tokens[t] for t in row), row))

    def rank_rows(self, b: int, rank: int, world: int) -> list[Row]:
        """Rows of global batch ``b`` for one rank: the same number on every rank, of like length at each step."""
        self.plan.rank_slice(b, rank, world)  # refuses a batch that the ranks cannot share
        return self.pack(b, multiple_of=world)[rank::world]

    def _fits(self, tokens: int, patches: int) -> bool:
        return tokens <= self.max_tokens and (self.max_patches is None or patches <= self.max_patches)

    def _find_oversize(self, oversize: str) -> None:
        for source, length in zip(self.plan.sources, self.lengths):
            large = np.asarray(length.tokens) > self.max_tokens
            if self.max_patches is not None:
                large |= np.asarray(length.patches) > self.max_patches
            if not large.any():
                continue
            if oversize == "skip":
                self.skipped[source.name] = int(large.sum())
                continue
            n = int(np.argmax(large))
            raise PackError(
                f"{int(large.sum())} of {len(source)} samples of {source.name} fit no row of {self.max_tokens} "
                f"tokens and {self.max_patches or 'any number of'} patches; the first is {source.row(n).key!r} with "
                f"{int(length.tokens[n])} tokens and {int(length.patches[n])} patches. Raise the budgets (the "
                f"largest sample has {int(np.max(length.tokens))} tokens and {int(np.max(length.patches))} patches), "
                "lower the pixel budget of the processor, or set oversize to 'skip'"
            )


def first_fit(sized: Sequence[tuple[int, int, int]], max_tokens: int, max_patches: int | None) -> list[Row]:
    """First-fit decreasing in two dimensions (Johnson 1973: at most 11/9 of the best, in one).

    Args:
        sized: (t, tokens, patches) of each sample, each within the budgets.

    Returns:
        rows of t, in plan order inside a row.
    """
    rows: list[Row] = []
    room: list[list[float]] = []
    budget = float("inf") if max_patches is None else max_patches
    for t, tokens, patches in sorted(sized, key=lambda item: (-item[1], item[0])):
        fit = next((r for r, left in enumerate(room) if tokens <= left[0] and patches <= left[1]), len(rows))
        if fit == len(rows):
            rows.append([])
            room.append([max_tokens, budget])
        rows[fit].append(t)
        room[fit][0] -= tokens
        room[fit][1] -= patches
    return [sorted(row) for row in rows]


def _halves(row: Row, tokens: Mapping[int, int]) -> list[Row]:
    """Two rows of about the same number of tokens."""
    halves: list[Row] = [[], []]
    filled = [0, 0]
    for t in sorted(row, key=lambda t: (-tokens[t], t)):
        i = 0 if not halves[0] else 1 if not halves[1] else int(filled[1] < filled[0])
        halves[i].append(t)
        filled[i] += tokens[t]
    return [sorted(half) for half in halves]
