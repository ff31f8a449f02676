"""The folder of a run: its resolved recipe, the environment, the data, the metrics, the checkpoints and the model."""

import json
import logging
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from pretrain.training.errors import TrainingError
from pretrain.training.recipe import RESUMABLE_KEYS, TrainRecipe

log = logging.getLogger(__name__)

_PACKAGES = ("torch", "transformers", "accelerate", "timm", "peft", "deepspeed", "numpy", "safetensors")


class RunFolder:
    """Paths of a run and what is written into them once."""

    def __init__(self, path: Path):
        self.path = path
        self.recipe = path / "recipe.yaml"
        self.metrics = path / "metrics.jsonl"
        self.tensorboard = path / "tensorboard"
        self.checkpoints = path / "checkpoints"
        self.model = path / "model"
        self.summary = path / "summary.json"
        self.plot = path / "loss.png"

    @property
    def finished(self) -> bool:
        return self.summary.is_file() and (self.model / "config.json").is_file()

    def open(self, recipe: TrainRecipe) -> None:
        """Create the folder, or check that it belongs to this recipe.

        Raises:
            TrainingError: the folder holds a run with another recipe (the differing keys are named), or something else.
        """
        if self.recipe.is_file():
            stored = yaml.safe_load(self.recipe.read_text(encoding="utf-8")) or {}
            different = recipe_differences(stored, recipe.model_dump(mode="json"))
            if different:
                raise TrainingError(
                    f"{self.path} holds a run with another recipe ({'; '.join(different)}): "
                    "give those keys the stored values to resume it, or choose another folder with run=..."
                )
            return
        if self.path.exists() and any(self.path.iterdir()):
            raise TrainingError(f"{self.path} exists and is not a training run: choose another folder with run=...")
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomic(self.recipe, recipe.to_yaml())

    def record(self, name: str, content: dict[str, Any]) -> None:
        """Write ``<name>.json`` atomically."""
        write_atomic(self.path / f"{name}.json", json.dumps(content, indent=1, ensure_ascii=False))


def write_atomic(file: Path, text: str) -> None:
    """Write a small text file so that a reader sees the old or the new one, never half."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, file)


def recipe_differences(stored: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    """``key: stored -> asked`` for every key that changes what the run computes."""
    old, new = dict(_flat(stored)), dict(_flat(asked))
    lines = []
    for key in sorted(old.keys() | new.keys()):
        if key in RESUMABLE_KEYS or old.get(key) == new.get(key):
            continue
        lines.append(f"{key}: {old.get(key)!r} -> {new.get(key)!r}")
    return lines


def environment() -> dict[str, Any]:
    """Versions, machine and command, enough to repeat the run or to explain why it cannot be."""
    import torch

    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "versions": versions,
        "commit": _commit(),
    }


def _commit() -> str | None:
    """Commit of the source tree, with ``+`` when it has changes; None outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    try:
        head = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10)
        dirty = subprocess.run(
            ["git", "-C", str(root), "status", "--porcelain", "-uno"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if head.returncode != 0:
        return None
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")


def _flat(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict) and tree:
        for key, value in tree.items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, tree
