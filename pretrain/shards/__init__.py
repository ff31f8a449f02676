"""Training data at rest and in order: WebDataset tars with an index, and a stateless plan over them."""

from typing import TYPE_CHECKING

from pretrain.shards.errors import (
    DataError,
    IndexMissingError,
    NoSpaceError,
    PlanMismatchError,
    ShardError,
    UnsafeMemberError,
)
from pretrain.shards.index import Index, IndexRow, ShardSet
from pretrain.shards.plan import Plan, SampleRef, order_digest
from pretrain.shards.reader import PlanReader, ShardReader
from pretrain.shards.writer import DatasetInfo, ShardWriter

if TYPE_CHECKING:
    from pretrain.shards.dataset import PlanDataset, PlanSampler

__all__ = [
    "DataError",
    "DatasetInfo",
    "Index",
    "IndexMissingError",
    "IndexRow",
    "NoSpaceError",
    "Plan",
    "PlanDataset",
    "PlanMismatchError",
    "PlanReader",
    "PlanSampler",
    "SampleRef",
    "ShardError",
    "ShardReader",
    "ShardSet",
    "ShardWriter",
    "UnsafeMemberError",
    "order_digest",
]


def __getattr__(name: str):
    if name in ("PlanDataset", "PlanSampler"):  # torch is imported only by those who train
        from pretrain.shards import dataset

        return getattr(dataset, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
