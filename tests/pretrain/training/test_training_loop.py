"""Whole runs of the tiny model: exact resume, a golden trajectory, every stage, and what they leave behind."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_samples import tiny_recipe, write_shards

from pretrain.training.errors import TrainingError
from pretrain.training.loop import Trainer, train
from pretrain.training.metrics import read_rows
from pretrain.training.recipe import TrainRecipe
from pretrain.training.runfolder import RunFolder
from vlm import packing

ROOT = Path(__file__).parents[3]
GOLDEN = Path(__file__).with_name("golden_losses.json")


def run_recipe(recipe: dict):
    return train(TrainRecipe.model_validate(recipe))


def weights(run) -> dict[str, torch.Tensor]:
    return load_file(run.model / "model.safetensors")


def assert_bitwise_equal(one, other):
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_losses_follow_the_golden_trajectory(mixed_shards, tmp_path):
    """A change of these numbers is a change of what training computes: explain it in the commit that updates them."""
    losses = {}
    for stage in ("instruction_tuning", "instruction_tuning_lora", "connector_alignment"):
        run = run_recipe(tiny_recipe(tmp_path / stage, mixed_shards, stage=stage, steps=4))
        losses[stage] = [row["loss"] for row in read_rows(run.metrics, "train")]
    if os.environ.get("MEDVLM_UPDATE_GOLDEN"):
        GOLDEN.write_text(json.dumps(losses, indent=1) + "\n")
    golden = json.loads(GOLDEN.read_text())
    assert losses.keys() == golden.keys()
    for stage in losses:
        assert losses[stage] == pytest.approx(golden[stage], rel=2e-4)


def test_warm_up_learns_the_side_and_leaves_a_checkpoint(image_shards, tmp_path):
    recipe = tiny_recipe(
        tmp_path / "run",
        image_shards,
        stage="vision_warmup",
        steps=30,
        log_every=10,
        data={
            "train": str(image_shards),
            "val": str(image_shards),
            "cache": True,
            "decontamination": {"allow_val_overlap": True},
        },
        batch={"samples": 12, "row_samples": 6},
        optimizer={"lr": 3e-3},
        warmup={"word_weight": 0.5},
        tensorboard=True,
    )
    run = run_recipe(recipe)
    result = read_rows(run.metrics, "eval")[-1]
    assert result["auc"]["cardiomegaly"] > 0.95 and result["auc"]["effusion_left"] > 0.95
    rows = read_rows(run.metrics, "train")
    assert rows[-1]["word_loss"] < rows[0]["word_loss"]
    assert 0 < rows[-1]["mfu"] < 2 and rows[-1]["patches_per_second"] > 0
    assert {"recipe.yaml", "environment.json", "data.json", "summary.json", "loss.png", "tensorboard"} <= {
        p.name for p in run.path.iterdir()
    }
    summary = json.loads(run.summary.read_text())
    assert summary["simulated_only"] and "peak_source" in summary
    assert "simulated" in (run.model / "README.md").read_text()
    from vlm.build import load

    model, _ = load(run.model)
    assert model.config.simulated_only


def test_frozen_parts_do_not_move(image_shards, tmp_path):
    start = run_recipe(tiny_recipe(tmp_path / "start", image_shards, steps=1))
    recipe = tiny_recipe(
        tmp_path / "run", image_shards, stage="connector_alignment", steps=2, model={"init": str(start.model)}
    )
    recipe["groups"] = [{"pattern": "vision_tower", "freeze": True}]
    before, after = weights(start), weights(run_recipe(recipe))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and all(".connector." in name for name in moved)


def test_lora_moves_the_decoder_and_is_merged(image_shards, tmp_path):
    start = run_recipe(tiny_recipe(tmp_path / "start", image_shards, steps=1))
    recipe = tiny_recipe(
        tmp_path / "run", image_shards, stage="instruction_tuning_lora", steps=3, model={"init": str(start.model)}
    )
    before, after = weights(start), weights(run_recipe(recipe))
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert any("q_proj" in name for name in moved)
    assert not any("embed_tokens" in name or "layernorm" in name for name in moved)


def test_run_again_finds_it_finished_and_a_changed_recipe_is_refused(image_shards, tmp_path):
    recipe = tiny_recipe(tmp_path / "run", image_shards, steps=1)
    run = run_recipe(recipe)
    stamp = (run.model / "model.safetensors").stat().st_mtime_ns
    run_recipe(recipe)
    assert (run.model / "model.safetensors").stat().st_mtime_ns == stamp
    with pytest.raises(TrainingError, match=r"optimizer\.lr: 0\.001 -> 0\.5"):
        run_recipe(recipe | {"optimizer": {"lr": 0.5}})


def test_changed_data_are_refused_with_both_hashes(image_shards, tmp_path):
    from training_samples import make_sample

    from pretrain.shards.errors import PlanMismatchError

    shards = tmp_path / "shards"
    write_shards(shards, [make_sample(n) for n in range(8)])
    recipe = tiny_recipe(tmp_path / "run", shards, steps=2)
    run = run_recipe(recipe)
    shutil.rmtree(run.model)
    shutil.rmtree(shards)
    write_shards(shards, [make_sample(n) for n in range(9)])
    with pytest.raises(PlanMismatchError, match=r"data plan .* and this run has plan"):
        run_recipe(recipe)


def test_killed_runs_resume_bitwise_with_other_workers(mixed_shards, tmp_path):
    whole = run_recipe(tiny_recipe(tmp_path / "whole", mixed_shards, steps=8, checkpoint={"every": 3, "keep": 2}))
    recipe = tiny_recipe(tmp_path / "killed", mixed_shards, steps=8, checkpoint={"every": 3, "keep": 2})
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps(recipe))
    process = subprocess.Popen(
        [sys.executable, "-m", "pretrain.training", str(file)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    kill_at = random.SystemRandom().randint(3, 7)
    metrics = tmp_path / "killed" / "metrics.jsonl"
    deadline = time.monotonic() + 240
    while len(read_rows(metrics)) < kill_at and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert read_rows(metrics), process.stderr.read().decode()[-2000:] if process.stderr else ""
    resumed = run_recipe(recipe | {"data": {"train": str(mixed_shards), "workers": 1}})
    assert_bitwise_equal(whole, resumed)
    steps = [row["step"] for row in read_rows(metrics, "train")]
    assert steps == list(range(1, 9)), f"killed at row {kill_at}"
    assert [r["loss"] for r in read_rows(metrics, "train")] == [r["loss"] for r in read_rows(whole.metrics, "train")]


def test_nothing_to_learn_from_is_said(image_shards, tmp_path):
    recipe = tiny_recipe(tmp_path / "run", image_shards, batch={"samples": 4, "row_tokens": 16, "row_patches": 128})
    with pytest.raises(TrainingError, match=r"step 0: none of its samples.*larger than a row.*batch\.row_tokens"):
        run_recipe(recipe)


def test_unpacked_batches_and_accumulation_give_the_packed_losses(mixed_shards, tmp_path):
    losses = []
    for name, batch in {
        "packed": {"samples": 4, "row_tokens": 256, "row_patches": 128},
        "small rows": {"samples": 4, "row_tokens": 64, "row_patches": 32},
        "padded": {"samples": 4, "pack": False, "row_samples": 2},
    }.items():
        run = run_recipe(tiny_recipe(tmp_path / name, mixed_shards, steps=3, batch=batch))
        losses.append([row["loss"] for row in read_rows(run.metrics, "train")])
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)
    assert losses[2] == pytest.approx(losses[0], abs=1e-5)


@pytest.mark.parametrize("pack", [True, False])
def test_packed_rows_are_attended_by_sample(image_shards, tmp_path, pack):
    recipe = tiny_recipe(tmp_path / "run", image_shards)
    recipe["batch"]["pack"] = pack
    trainer = Trainer(TrainRecipe.model_validate(recipe), RunFolder(tmp_path / "run"))
    attends = trainer.stage.model.model.language_model.config._attn_implementation
    assert attends == ("sdpa" if torch.cuda.is_available() or not pack else packing.NAME)
