"""Several processes: same order of samples, losses of one process, text-only and image batches mixed."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from training_samples import tiny_recipe

from pretrain.training.loop import train
from pretrain.training.metrics import read_rows
from pretrain.training.recipe import TrainRecipe

ROOT = Path(__file__).parents[3]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def launch(recipe: dict, folder: Path, launcher: list[str], *overrides: str) -> None:
    """Run a recipe in two processes; fails with their output."""
    file = folder / "launched.json"
    file.write_text(json.dumps(recipe))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ACCELERATE_")}
    run_group([sys.executable, "-m", *launcher, str(file), *overrides], environment)


def run_group(command: list[str], environment: dict[str, str]) -> None:
    """Run to the end; a launcher that hangs is killed with its workers."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        text=True,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        out, err = process.communicate(timeout=280)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    assert process.returncode == 0, out[-1500:] + err[-12000:]


def torchrun(port: int) -> list[str]:
    return ["torch.distributed.run", "--nproc_per_node=2", f"--master_port={port}", "-m", "pretrain.training"]


def accelerate_launch(port: int) -> list[str]:
    # --cpu would start one process (accelerate 1.15 wants mpirun for more); --multi_gpu only means torchrun here
    options = ["--multi_gpu", "--num_processes=2", "--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no"]
    return ["accelerate.commands.launch", *options, f"--main_process_port={port}", "-m", "pretrain.training"]


def losses(run: Path) -> list[float]:
    return [row["loss"] for row in read_rows(run / "metrics.jsonl", "train")]


def assert_as_one_process(tmp_path: Path, shards: Path, strategy: str, launcher: list[str]) -> None:
    one = train(TrainRecipe.model_validate(tiny_recipe(tmp_path / "one", shards, steps=4)))
    launch(tiny_recipe(tmp_path / "two", shards, steps=4, strategy=strategy), tmp_path, launcher)
    assert losses(tmp_path / "two") == pytest.approx(losses(one.path), abs=1e-3)
    from vlm.build import load

    model, _ = load(tmp_path / "two" / "model")
    whole, _ = load(one.model)
    for (name, a), (_, b) in zip(model.named_parameters(), whole.named_parameters(), strict=True):
        assert (a - b).abs().max() < 2e-3, name


def test_fsdp2_on_two_processes_gives_the_loss_of_one(mixed_shards, tmp_path):
    assert_as_one_process(tmp_path, mixed_shards, "fsdp2", torchrun(free_port()))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("strategy", ["ddp", "fsdp2", "zero1", "zero2", "zero3"])
def test_accelerate_launch_gives_the_loss_of_one_process(mixed_shards, tmp_path, strategy):
    assert_as_one_process(tmp_path, mixed_shards, strategy, accelerate_launch(free_port()))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_one_two_one_ranks_keep_the_order_and_the_losses(mixed_shards, tmp_path):
    whole = tiny_recipe(tmp_path / "whole", mixed_shards, steps=6, trace_samples=True)
    train(TrainRecipe.model_validate(whole))
    parts = tiny_recipe(
        tmp_path / "parts", mixed_shards, steps=6, trace_samples=True, checkpoint={"every": 2, "keep": 2}
    )
    stop_at(parts, tmp_path, 2, ranks=1)
    stop_at(parts, tmp_path, 4, ranks=2)
    stop_at(parts, tmp_path, 6, ranks=1)
    assert order(tmp_path / "parts") == order(tmp_path / "whole")
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "whole"), abs=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_fsdp2_checkpoints_resume_in_one_process(mixed_shards, tmp_path):
    train(TrainRecipe.model_validate(tiny_recipe(tmp_path / "whole", mixed_shards, steps=4)))
    recipe = tiny_recipe(tmp_path / "parts", mixed_shards, steps=4)
    stop_at(recipe, tmp_path, 2, ranks=2, strategy="fsdp2")
    stop_at(recipe, tmp_path, 4, ranks=1)
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "whole"), abs=1e-5)


def stop_at(recipe: dict, folder: Path, step: int, ranks: int, strategy: str = "ddp") -> None:
    """Go on to ``step`` and be gone: checkpoints after it and the rows of lost steps are as a kill leaves them."""
    environment_stop = f"--stop={step}" if step < recipe["steps"] else None
    script = folder / "stopping.py"
    script.write_text(
        "import sys, os\nfrom pretrain.training import loop\nfrom pretrain.training.__main__ main\n".replace(
            "__main__ main", "__main__ import main"
        )
        + "stop = next((int(a[7:]) for a in sys.argv if a.startswith('--stop=')), None)\n"
        "sys.argv = [a for a in sys.argv if not a.startswith('--stop=')]\n"
        "save = loop.Trainer._checkpoint\n"
        "def save_and_die(self, done):\n"
        "    save(self, done)\n"
        "    if done == stop:\n"
        "        self.accelerator.wait_for_everyone()\n"
        "        os._exit(0)\n"
        "loop.Trainer._checkpoint = save_and_die\n"
        "main()\n"
    )
    file = folder / "launched.json"
    file.write_text(json.dumps(recipe))
    arguments = [str(script), str(file), *([environment_stop] if environment_stop else [])]
    if ranks == 1:
        command = [sys.executable, *arguments]
    else:
        port = free_port()
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={port}"]
        command += [*arguments, f"strategy={strategy}"]
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    run_group(command, environment)


def order(run: Path) -> dict[int, list[str]]:
    """Keys of each step in plan order: the slices of the ranks one after another."""
    steps: dict[int, list[str]] = {}
    for file in sorted(run.glob("samples_rank*.txt")):
        for line in file.read_text().splitlines():
            step, *keys = line.split()
            steps.setdefault(int(step), []).extend(keys)
    return steps
