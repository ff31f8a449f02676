"""Checkpoints against kill -9, torn writes and a full disk."""

import errno
import shutil
import subprocess
from pathlib import Path

import pytest

from pretrain.training.checkpoint import MANIFEST, CheckpointStore, damage, is_no_space, write_checkpoint
from pretrain.training.errors import CheckpointError


def fill(text: str):
    def write(folder: Path) -> None:
        (folder / "model.bin").write_text(text)
        (folder / "state").mkdir()
        (folder / "state" / "rank0.bin").write_text(text * 2)

    return write


def test_newest_whole_checkpoint_is_found_and_old_ones_go(tmp_path):
    store = CheckpointStore(tmp_path / "checkpoints", keep=2)
    assert store.latest() is None
    for step in (10, 20, 30):
        write_checkpoint(store, step, fill(f"weights {step}"))
    assert sorted(p.name for p in store.folder.iterdir()) == ["step_00000020", "step_00000030"]
    step, folder = store.latest() or (0, Path())
    assert step == 30 and (folder / "model.bin").read_text() == "weights 30"
    write_checkpoint(store, 30, fill("again"))
    assert (store.path(30) / "model.bin").read_text() == "again"


@pytest.mark.parametrize("harm", ["truncate", "flip", "remove", "no manifest", "broken manifest"])
def test_a_damaged_checkpoint_is_passed_over_with_a_reason(tmp_path, caplog, harm):
    store = CheckpointStore(tmp_path, keep=3)
    write_checkpoint(store, 1, fill("first"))
    folder = write_checkpoint(store, 2, fill("second"))
    file = folder / "state" / "rank0.bin"
    if harm == "truncate":
        file.write_text("seco")
    elif harm == "flip":
        file.write_text("tecondsecond")
    elif harm == "remove":
        file.unlink()
    elif harm == "no manifest":
        (folder / MANIFEST).unlink()
    else:
        (folder / MANIFEST).write_text("{")
    assert damage(folder)
    assert (store.latest() or (0,))[0] == 1
    assert "is not used" in caplog.text


def test_a_killed_write_leaves_nothing_that_counts(tmp_path):
    store = CheckpointStore(tmp_path, keep=2)
    write_checkpoint(store, 5, fill("good"))
    half = store.begin(6)  # the process dies here
    (half / "model.bin").write_text("half")
    assert (CheckpointStore(tmp_path, keep=2).latest() or (0,))[0] == 5
    again = store.begin(7)
    assert not half.exists() and again.is_dir()


def test_a_full_disk_is_said_and_older_checkpoints_stay(tmp_path):
    store = CheckpointStore(tmp_path, keep=2)
    write_checkpoint(store, 5, fill("good"))

    def full(folder: Path) -> None:
        (folder / "model.bin").write_text("some")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(CheckpointError, match=r"no space left.*go on from step 5.*run the same command again"):
        write_checkpoint(store, 6, full)
    assert [p.name for p in tmp_path.iterdir()] == ["step_00000005"]
    hidden = RuntimeError("I/O error: No space left on device (os error 28)")
    assert is_no_space(hidden) and not is_no_space(RuntimeError("shape mismatch"))


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 6 MB, where the machine lets us mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if made.returncode != 0:
        pytest.skip("this machine does not let us mount a small disk")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_really_full_disk_leaves_the_run_resumable(small_disk, image_shards, tmp_path, caplog):
    from training_samples import tiny_recipe

    from pretrain.training.loop import train
    from pretrain.training.recipe import TrainRecipe

    run = small_disk / "run"
    recipe = TrainRecipe.model_validate(tiny_recipe(run, image_shards, steps=2))
    with pytest.raises(CheckpointError, match=r"no space left on the disk that holds .*run the same command again"):
        train(recipe)
    assert not list((run / "checkpoints").iterdir())  # the half-written one is gone
    target = tmp_path / "larger"
    shutil.copytree(run, target)
    finished = train(recipe.model_copy(update={"run": str(target)}))
    assert finished.finished
