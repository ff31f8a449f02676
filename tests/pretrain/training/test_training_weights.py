"""Recipes with a weights file: the run draws what the file says, and refuses one of other data."""

from collections import Counter
from dataclasses import replace

import pytest
from training_samples import make_sample, tiny_recipe, write_shards

from med_entity_tree.weights import SamplingError
from pretrain.shards.errors import PlanMismatchError
from pretrain.shards.index import ShardSet
from pretrain.training.data import open_plan
from pretrain.training.loop import train
from pretrain.training.recipe import TrainRecipe
from pretrain.weighting.make import WeightSettings, make_weights
from pretrain.weighting.stored import read_weights


@pytest.fixture(scope="module")
def tagged_shards(tmp_path_factory):
    """24 samples, of which two hold a rare entity."""
    folder = tmp_path_factory.mktemp("tagged") / "shards"
    samples = [make_sample(n, text_only=True) for n in range(24)]
    return write_shards(folder, [replace(s, entities=["rare"] if n < 2 else ["common"]) for n, s in enumerate(samples)])


@pytest.fixture
def weights_file(tagged_shards, tmp_path):
    path = tmp_path / "w.parquet"
    make_weights(tagged_shards, path, WeightSettings(exponent=1.0, cap=4.0, least_count=1))
    return path


def weighted(tagged_shards, weights_file, **section):
    return {"train": [{"path": str(tagged_shards), "weights": str(weights_file), **section}]}


def test_a_whole_epoch_of_a_run_draws_what_the_table_says(tagged_shards, weights_file, tmp_path):
    data = weighted(tagged_shards, weights_file)
    recipe = tiny_recipe(tmp_path / "run", tagged_shards, data=data, steps=6, trace_samples=True)
    run = train(TrainRecipe.model_validate(recipe))
    lines = (run.path / "samples_rank0.txt").read_text().splitlines()
    drawn = Counter(key for line in lines for key in line.split()[1:])
    assert sum(drawn.values()) == 24
    weights = read_weights(weights_file, ShardSet.open(tagged_shards)).weights
    assert weights[0] == 4  # held by the cap; the others share the remaining 16 of 24
    assert [drawn[f"text{n:04d}"] for n in range(2)] == [4, 4]
    assert {drawn[f"text{n:04d}"] for n in range(2, 24)} == {0, 1}


def test_weights_of_samples_and_of_the_folder_multiply(tagged_shards, weights_file, tmp_path):
    data = weighted(tagged_shards, weights_file, weight=2.0)
    plan = open_plan(TrainRecipe.model_validate(tiny_recipe(tmp_path, tagged_shards, data=data)))
    assert plan.epoch_length() == 48
    drawn = Counter(plan.sample(t).record for t in range(48))
    assert drawn[0] == drawn[1] == 8


def test_a_file_made_for_other_data_stops_the_run_before_it_starts(weights_file, mixed_shards, tmp_path):
    data = {"train": [{"path": str(mixed_shards), "weights": str(weights_file)}]}
    with pytest.raises(SamplingError, match="make weights for it"):
        train(TrainRecipe.model_validate(tiny_recipe(tmp_path / "run", mixed_shards, data=data)))
    assert not (tmp_path / "run").exists()


def test_changed_weights_are_another_plan(tagged_shards, weights_file, tmp_path):
    recipe = TrainRecipe.model_validate(
        tiny_recipe(tmp_path, tagged_shards, data=weighted(tagged_shards, weights_file))
    )
    state = open_plan(recipe).state(8)
    make_weights(tagged_shards, weights_file, WeightSettings(exponent=0.5, least_count=1))
    with pytest.raises(PlanMismatchError, match="weights"):
        open_plan(recipe).resume(state)
