"""Small data sets of raw records."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pretrain.shards import DatasetInfo, ShardSet, ShardWriter


def write_set(folder: Path, name: str, samples: int, per_shard: int = 7, seed: int = 0) -> ShardSet:
    """``samples`` text records with random lengths and one or two entities."""
    rng = np.random.default_rng(seed)
    with ShardWriter(folder, DatasetInfo(name, "test", "CC0-1.0", True), max_samples=per_shard) as writer:
        for i in range(samples):
            messages = [
                {"role": "user", "content": f"{name} {i}"},
                {"role": "assistant", "content": "x" * int(rng.integers(400))},
            ]
            head = {"messages": messages, "images": [], "entities": [], "masks": [], "extra": {"i": i}}
            head["provenance"] = {"source": name, "licence": "CC0-1.0", "simulated": True, "image_sha256": []}
            writer.write_record(
                f"{name}-{i:05d}",
                {"json": json.dumps(head).encode(), "0.png": rng.bytes(int(rng.integers(1, 3000)))},
                tokens=int(rng.integers(5, 200)),
                patches=int(rng.integers(0, 64)),
                images=1,
                heights=[32],
                widths=[32],
                entities=[f"e{i % 5}"] + (["rare"] if i % 11 == 0 else []),
                patient=f"p{i // 3}",
                study=f"s{i}",
            )
    return ShardSet.open(folder)


@pytest.fixture
def make_set(tmp_path) -> Callable[..., ShardSet]:
    def make(name: str = "a", samples: int = 50, folder: str = "", **options) -> ShardSet:
        return write_set(tmp_path / (folder or name), name, samples, **options)

    return make
