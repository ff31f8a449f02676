"""The training data of a run: which samples make step s, the same for every number of ranks and workers.

Step s takes positions [s*B, (s+1)*B) of the stateless plan; rank r takes its slice. One item of the data set is a whole
step of one rank, decoded, encoded and packed, so the loader's workers change nothing but the speed.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from pretrain.decontamination.exclude import excluded_masks
from pretrain.decontamination.gate import check_mix
from pretrain.shards.index import ShardSet
from pretrain.shards.plan import Plan
from pretrain.shards.reader import ShardReader
from pretrain.training.batches import Batch, Example, make_batches
from pretrain.training.errors import TrainingError
from pretrain.training.recipe import BatchSection, DecontaminationSection, SourceSection, TrainRecipe
from pretrain.weighting.stored import read_weights
from vlm.sample import Sample

log = logging.getLogger(__name__)

Encode = Callable[[Sample, int], Example]


@dataclass
class StepWork:
    """What one rank does in one step: its forward passes, the samples' keys in plan order, and what was left out."""

    step: int
    batches: list[Batch]
    keys: list[str]
    dropped: dict[str, list[str]] = field(default_factory=dict)

    @property
    def targets(self) -> int:
        return sum(b.targets for b in self.batches)


class StepDataset(Dataset):
    """Map from step to :class:`StepWork` of one rank."""

    def __init__(
        self, plan: Plan, encode: Encode, budget: BatchSection, pad_id: int, dummy: Example, rank: int, world: int
    ):
        self.plan, self.encode, self.budget, self.pad_id, self.dummy = plan, encode, budget, pad_id, dummy
        self.rank, self.world = rank, world
        self.readers = [ShardReader(source) for source in plan.sources]
        plan.rank_slice(0, rank, world)  # says now if the batch cannot be divided

    def __getitem__(self, step: int) -> StepWork:
        examples = []
        for t in self.plan.rank_slice(step, self.rank, self.world):
            ref = self.plan.sample(t)
            examples.append(self.encode(self.readers[ref.source].sample(ref.record), t))
        batches, dropped = make_batches(examples, self.budget, self.pad_id, self.dummy)
        return StepWork(step, batches, [e.key for e in examples], dropped)


class _Steps(torch.utils.data.Sampler):
    def __init__(self, start: int, stop: int):
        self.steps = range(start, stop)

    def __iter__(self):
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)


def step_loader(dataset: StepDataset, start: int, stop: int, workers: int) -> DataLoader:
    """Steps ``start`` to ``stop`` in order; ``workers`` processes prepare them ahead."""
    return DataLoader(
        dataset,
        sampler=_Steps(start, stop),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=2 if workers else None,
        multiprocessing_context="fork" if workers else None,
        worker_init_fn=_one_thread if workers else None,
    )


def _one_thread(_worker: int) -> None:
    torch.set_num_threads(1)


def open_plan(recipe: TrainRecipe) -> Plan:
    """The plan over the recipe's shard folders.

    Raises:
        TrainingError: no folder is given, or two have the same name.
        DataError: a folder holds no shards, they are damaged, or a list of excluded samples is not of them.
        SamplingError: a weights file is missing, or was made for another index.
    """
    if not recipe.data.train:
        raise TrainingError("data.train names no shard folder: give one, for example data.train=work/shards/train")
    sources = [ShardSet.open(section.path, name=section.name) for section in _sections(recipe)]
    names = [source.name for source in sources]
    if len(set(names)) < len(names):
        raise TrainingError(
            f"data.train: two folders hold data sets of the same name ({', '.join(names)}): give each its own, "
            "for example {path: work/shards/train, name: first}"
        )
    weights = _mix_weights(recipe, sources)
    return Plan(sources, seed=recipe.seed, batch=recipe.batch.samples, weights=weights, block=recipe.data.block)


def _sections(recipe: TrainRecipe) -> list[SourceSection]:
    train = recipe.data.train or []
    return [SourceSection(path=train)] if isinstance(train, str) else train


def _mix_weights(recipe: TrainRecipe, sources: Sequence[ShardSet]) -> dict[str, np.ndarray]:
    """(N,) times that an epoch shows each sample, by name of the source; 0 for those that the recipe excludes."""
    excluded = excluded_masks(_decontamination(recipe).exclude or (), sources)
    return {
        s.name: np.where(excluded[s.name], 0.0, _sample_weights(s, section))
        for s, section in zip(sources, _sections(recipe), strict=True)
    }


def _sample_weights(source: ShardSet, section: SourceSection) -> np.ndarray:
    """(N,) times that an epoch shows each sample."""
    if section.weights is None:
        return np.full(len(source), section.weight)
    return read_weights(section.weights, source).weights * section.weight


def check_contamination(plan: Plan, recipe: TrainRecipe) -> dict[str, Any]:
    """Compare the mix with the recipe's benchmark manifests and its validation data; what was checked, for the run.

    Raises:
        DataError: the mix holds what it must not (``ContaminationError``), or it cannot be checked.
    """
    section = _decontamination(recipe)
    return check_mix(
        plan.sources,
        {name: weights == 0 for name, weights in _mix_weights(recipe, plan.sources).items()},
        manifests=section.manifests or (),
        val=ShardSet.open(recipe.data.val) if recipe.data.val else None,
        allow_val_overlap=section.allow_val_overlap,
        workers=recipe.data.workers,
    )


def _decontamination(recipe: TrainRecipe) -> DecontaminationSection:
    return recipe.data.decontamination or DecontaminationSection()


def data_manifest(plan: Plan, recipe: TrainRecipe) -> dict[str, Any]:
    """What the run was trained on, for its folder."""
    return {
        "plan": plan.parts,
        "plan_hash": plan.hash,
        "epoch_samples": plan.epoch_length(),
        "epochs": round(recipe.steps * recipe.batch.samples / plan.epoch_length(), 3),
        "sources": [
            {"folder": str(s.folder), "samples": len(s), **{k: v for k, v in s.manifest.items() if k != "shards"}}
            for s in plan.sources
        ],
    }


def simulated_only(plan: Plan) -> bool:
    return all(bool(source.manifest.get("simulated")) for source in plan.sources)


def validation_examples(folder: str | Path, encode: Encode, limit: int) -> list[Example]:
    """The first ``limit`` samples of a shard folder, encoded (position = record number, so they never change)."""
    reader = ShardReader(ShardSet.open(folder))
    return [encode(reader.sample(n), n) for n in range(min(limit, len(reader)))]
