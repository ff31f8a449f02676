"""Schedules, parameter groups, recipes and FLOP counts: the rules of a run, by hand-computed numbers."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from training_samples import make_sample, tiny_recipe, write_shards

from pretrain.training.data import open_plan
from pretrain.training.errors import TrainingError
from pretrain.training.flops import FlopsModel, ModulePart, StepShape, flops_model, peak_flops
from pretrain.training.groups import assign_groups, describe_groups, make_optimizer
from pretrain.training.recipe import GroupSection, OptimizerSection, ScheduleSection, TrainRecipe
from pretrain.training.runfolder import RunFolder, recipe_differences
from pretrain.training.schedule import learning_rate_factor
from vlm.recipe import RecipeError, load_recipe

RECIPES = sorted(p for p in (Path(__file__).parents[3] / "recipes").glob("*.yaml") if p.stem != "data_engine")


def test_learning_rate_rises_to_one_and_falls_to_the_floor():
    for kind in ("cosine", "linear", "wsd"):
        section = ScheduleSection(kind=kind, warmup_steps=4, floor=0.1)
        factors = [learning_rate_factor(section, step, 20) for step in range(21)]
        assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
        assert max(factors) == 1.0
        assert factors[20] == pytest.approx(0.1)
        assert factors[4:] == sorted(factors[4:], reverse=True)
    assert learning_rate_factor(ScheduleSection(kind="cosine", warmup_steps=0), 5, 10) == pytest.approx(0.5)
    stable = ScheduleSection(kind="wsd", warmup_steps=0, decay_share=0.2)
    assert [learning_rate_factor(stable, s, 10) for s in (0, 7, 8, 9)] == pytest.approx([1, 1, 1, 0.5])


class Parts(nn.Module):
    def __init__(self):
        super().__init__()
        self.tower = nn.Linear(4, 3)
        self.connector = nn.Linear(3, 2)
        self.decoder = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))


def test_patterns_freeze_and_set_rates_and_counts_are_told():
    model = Parts()
    sections = [GroupSection(pattern="^tower", freeze=True), GroupSection(pattern="connector", lr=1e-3)]
    groups = assign_groups(model, sections, OptimizerSection(lr=1e-4, weight_decay=0.1))
    assert not any(p.requires_grad for p in model.tower.parameters())
    lines = describe_groups(groups)
    assert lines[0] == "^tower: 0 of 15 parameters learn (frozen)"
    assert lines[1].startswith("connector: 8 of 8 parameters learn (lr 0.001")
    optimizer = make_optimizer(groups, OptimizerSection())
    rates = {g["name"]: (g["base_lr"], g["weight_decay"]) for g in optimizer.param_groups}
    assert rates["connector (decay)"] == (1e-3, 0.1)
    assert rates["connector (no decay)"] == (1e-3, 0.0)
    assert rates["everything else (no decay)"] == (1e-4, 0.0)
    assert sum(p.numel() for g in optimizer.param_groups for p in g["params"]) == 8 + 10


def test_a_pattern_that_matches_nothing_is_an_error_that_shows_the_names():
    with pytest.raises(TrainingError, match=r"'vison_tower' matches no parameter.*tower"):
        assign_groups(Parts(), [GroupSection(pattern="vison_tower", freeze=True)], OptimizerSection())
    with pytest.raises(TrainingError, match="nothing to train"):
        assign_groups(Parts(), [GroupSection(pattern=".", freeze=True)], OptimizerSection())
    with pytest.raises(TrainingError, match="not a regular expression"):
        assign_groups(Parts(), [GroupSection(pattern="(")], OptimizerSection())


def test_unknown_recipe_key_names_the_nearest(recipe_file):
    file = recipe_file({"stage": "instruction_tuning", "run": "runs/x", "optimiser": {"lr": 1}})
    with pytest.raises(RecipeError, match="unknown key optimiser; did you mean optimizer"):
        load_recipe(TrainRecipe, file)
    file = recipe_file({"stage": "instruction_tuning", "run": "runs/x"})
    with pytest.raises(RecipeError, match=r"warmup_stps; did you mean schedule\.warmup_steps"):
        load_recipe(TrainRecipe, file, ["schedule.warmup_stps=5"])
    with pytest.raises(RecipeError, match="stage"):
        load_recipe(TrainRecipe, file, ["stage=pretraining"])
    with pytest.raises(RecipeError, match=r"needs batch\.pack"):
        load_recipe(TrainRecipe, file, ["data.conversation=questions", "batch.pack=false"])


@pytest.mark.parametrize("file", RECIPES, ids=lambda p: p.stem)
def test_every_recipe_of_the_repository_is_valid(file):
    assert load_recipe(TrainRecipe, file).steps > 0


def test_a_run_folder_refuses_another_recipe_and_names_the_keys(tmp_path):
    run = RunFolder(tmp_path / "run")
    recipe = TrainRecipe(stage="instruction_tuning", run=str(run.path))
    run.open(recipe)
    run.open(recipe.model_copy(update={"log_every": 3, "strategy": "ddp"}))  # does not change what is computed
    other = recipe.model_copy(update={"optimizer": OptimizerSection(lr=0.5), "steps": 7})
    with pytest.raises(TrainingError, match=r"optimizer\.lr: 0\.0001 -> 0\.5; steps: 100 -> 7"):
        run.open(other)
    assert recipe_differences(recipe.model_dump(mode="json"), recipe.model_dump(mode="json")) == []
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "photo.jpg").write_bytes(b"")
    with pytest.raises(TrainingError, match="not a training run"):
        RunFolder(tmp_path / "holiday").open(recipe)


def test_two_data_sets_of_one_name_need_names_of_their_own(image_shards, tmp_path):
    again = write_shards(tmp_path / "again", [make_sample(n) for n in range(4)])
    two = [{"path": str(image_shards)}, {"path": str(again), "weight": 2.0}]
    with pytest.raises(TrainingError, match=r"data\.train: two folders .*tiny, tiny.* name: first"):
        open_plan(TrainRecipe.model_validate(tiny_recipe(tmp_path / "run", image_shards, data={"train": two})))
    two[1]["name"] = "second"
    plan = open_plan(TrainRecipe.model_validate(tiny_recipe(tmp_path / "run", image_shards, data={"train": two})))
    assert [source.name for source in plan.sources] == ["tiny", "second"]
    assert plan.epoch_length() == len(plan.sources[0]) + 2 * 4


def test_flops_by_hand():
    """Tower 100 frozen parameters below nothing that learns: forward only. Connector 10 learning: no gradient passes
    below it, but it counts as passing (1 + 1 + 1). Decoder 1000 frozen above it: 1 + 1. Head 50 of which none learn."""
    model = FlopsModel(
        tower=ModulePart(100, 0, backward=False, layers=2, width=8),
        connector=ModulePart(10, 10, backward=True),
        decoder=ModulePart(1000, 0, backward=True, layers=3, width=4),
        head=ModulePart(50, 0, backward=True),
    )
    shape = StepShape(patches=6, patch_pairs=4**2 + 2**2, tokens=9, token_pairs=9**2 / 2, logits=4)
    tower = 2 * 6 * 100 + 4 * 2 * 8 * 20
    connector = 2 * 6 * 10 * 3
    decoder = 2 * 9 * 1000 * 2 + 3 * (4 * 3 * 4 * 40.5)
    head = 2 * 4 * 50 * 2
    assert model.step(shape) == tower + connector + decoder + head


def test_flops_of_the_tiny_model_count_its_matrices():
    from vlm.build import new_model

    built: tuple[Any, Any] = new_model(decoder="tiny", tower="test")
    model = built[0]
    for parameter in model.model.vision_tower.parameters():
        parameter.requires_grad_(False)
    parts = flops_model(
        model.model.vision_tower, model.model.connector, model.model.language_model, model.lm_head, model.config
    )
    assert parts.tower is not None and parts.decoder is not None and parts.head is not None
    assert not parts.tower.backward and parts.tower.learning_parameters == 0
    assert parts.decoder.backward and parts.decoder.learning_parameters == parts.decoder.matrix_parameters
    table = model.get_input_embeddings().weight.numel()
    matrices = sum(p.numel() for p in model.model.language_model.parameters() if p.ndim == 2)
    assert parts.decoder.matrix_parameters == matrices - table  # the table is looked up, not multiplied
    assert parts.head.matrix_parameters == table  # tied, but the head multiplies it


def test_peak_is_measured_and_says_so():
    peak, source = peak_flops(torch.device("cpu"), torch.float32)
    assert peak > 1e8
    assert source.startswith("measured: 1024 x 1024 product in float32")


def test_broken_metrics_line_is_left_out(tmp_path):
    from pretrain.training.metrics import cut_rows, read_rows

    file = tmp_path / "metrics.jsonl"
    rows = [{"kind": "train", "step": s, "loss": 1.0} for s in (1, 2, 3)]
    file.write_text("".join(json.dumps(r) + "\n" for r in rows) + '{"kind": "tra')
    assert [r["step"] for r in read_rows(file)] == [1, 2, 3]
    cut_rows(file, 2)
    assert [r["step"] for r in read_rows(file)] == [1, 2]
