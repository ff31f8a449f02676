"""Small contents, shards and pictures with known overlaps."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))  # importmode=importlib: helpers of this folder are found by path

from decontamination_samples import picture


@pytest.fixture(scope="session")
def films() -> list[np.ndarray]:
    """Forty 8-bit pictures (192, 176) with a common layout and details of their own, as radiographs have."""
    return [picture(seed) for seed in range(40)]


@pytest.fixture(scope="session")
def jpeg():
    def encode(pixels: np.ndarray, quality: int = 60) -> np.ndarray:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
        return np.array(Image.open(buffer))

    return encode
