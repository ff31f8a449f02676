"""Fixtures of the training tests; what they are made of is in training_samples.py."""

import json
import sys
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))  # importmode=importlib: helpers of this folder are found by path

from training_samples import make_sample, write_shards


@pytest.fixture(scope="session")
def image_shards(tmp_path_factory) -> Path:
    """24 samples with a picture."""
    return write_shards(tmp_path_factory.mktemp("shards") / "images", [make_sample(n) for n in range(24)])


@pytest.fixture(scope="session")
def mixed_shards(tmp_path_factory) -> Path:
    """24 samples, text only and with a picture, so that some passes have no image."""
    samples = [make_sample(n, text_only=n % 3 != 0) for n in range(24)]
    return write_shards(tmp_path_factory.mktemp("shards") / "mixed", samples, name="mixed")


@pytest.fixture
def recipe_file(tmp_path):
    """Writes a recipe dictionary and returns its path."""

    def write(recipe: dict, name: str = "recipe.yaml") -> Path:
        file = tmp_path / name
        file.write_text(yaml.safe_dump(json.loads(json.dumps(recipe))))
        return file

    return write
