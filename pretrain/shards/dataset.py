"""The plan behind torch's DataLoader: workers only decode, the order comes from the plan.

Either a sampler hands positions t to the dataset (training loop of this repository), or the dataset is read front to
back with a sequential sampler (TRL and transformers trainers, whose resume skips by counting batches).
"""

from collections.abc import Callable, Iterator
from typing import Any

from torch.utils.data import Dataset, Sampler

from pretrain.shards.plan import Plan
from pretrain.shards.reader import PlanReader


class PlanDataset(Dataset):
    """Map-style view of a plan: item i is the sample at position ``start + i``.

    Args:
        plan: the order.
        transform: applied to each Sample in the worker (render, process); None gives the Sample itself.
        start: first position, for trainers that count from 0.
        length: number of items; None: one epoch.
        verify: compare each record with its hash.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        transform: Callable[[Any], Any] | None = None,
        start: int = 0,
        length: int | None = None,
        verify: bool = True,
    ):
        self.plan, self.transform, self.start = plan, transform, start
        self.length = plan.epoch_length() if length is None else length
        self.reader = PlanReader(plan, verify=verify)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, i: int) -> Any:
        if not 0 <= i < self.length:
            raise IndexError(f"item {i} of {self.length}")
        sample = self.reader.sample(self.start + i)
        return sample if self.transform is None else self.transform(sample)


class PlanSampler(Sampler[list[int]]):
    """Batch sampler of one rank: micro-batches of positions, global batch after global batch.

    Use it as ``DataLoader(PlanDataset(plan, length=stop), batch_sampler=PlanSampler(...))`` with ``start=0`` in the
    dataset.

    Args:
        plan: the order.
        rank, world: of this process.
        micro_batch: samples of one forward pass; must divide the rank's share of the batch.
        start, stop: positions; multiples of the global batch.
    """

    def __init__(self, plan: Plan, *, rank: int = 0, world: int = 1, micro_batch: int = 1, start: int = 0, stop: int):
        share = len(plan.rank_slice(0, rank, world))
        if share % micro_batch:
            raise ValueError(f"{share} samples a rank and step cannot be cut into micro-batches of {micro_batch}")
        self.plan, self.rank, self.world, self.micro_batch = plan, rank, world, micro_batch
        self.batches = _global_batches(plan, start, stop)

    def __len__(self) -> int:
        return len(self.batches) * (self.plan.batch_size // self.world // self.micro_batch)

    def __iter__(self) -> Iterator[list[int]]:
        for b in self.batches:
            own = self.plan.rank_slice(b, self.rank, self.world)
            for first in range(own.start, own.stop, self.micro_batch):
                yield list(range(first, min(first + self.micro_batch, own.stop)))


def _global_batches(plan: Plan, start: int, stop: int) -> range:
    if start % plan.batch_size or stop % plan.batch_size:
        raise ValueError(f"positions {start}..{stop} must be multiples of the global batch of {plan.batch_size}")
    return range(start // plan.batch_size, stop // plan.batch_size)
