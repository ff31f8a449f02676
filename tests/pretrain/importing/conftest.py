"""Small sources made of real files: 16-bit PNG pictures, and DICOM from pydicom's test data."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def write_picture(path: Path, seed: int, shape: tuple[int, int] = (24, 20)) -> Path:
    """A 16-bit grey PNG that differs by seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 4096, shape).astype(np.uint16)
    Image.fromarray(pixels).save(path)
    return path


def write_simulated(root: Path, studies: int, split: str = "train", first: int = 0) -> Path:
    """The simulator's layout, with PNG pictures in place of DICOM."""
    rows = []
    for i in range(first, first + studies):
        patient = f"p{i:04d}"
        images = [f"{split}/{patient}/s1/{n}.png" for n in range(1 + i % 2)]
        for n, image in enumerate(images):
            write_picture(root / image, 10 * i + n)
            Image.fromarray(np.full((8, 8), i, np.uint16)).save(root / image.replace(".png", ".mask.png"))
        question = {
            "id": "q0",
            "question": "Is there an effusion?",
            "answer": "no",
            "kind": "closed",
            "finding": "effusion",
        }
        rows.append(
            {
                "patient": patient,
                "study": f"{patient}-s1",
                "images": images,
                "report": {"findings": f"The lungs are clear, case {i}.", "impression": "No acute finding."},
                "qa": [question, {**question, "id": "q1", "question": "Is the heart large?", "answer": "yes"}],
                "truth": {"findings": {"cardiomegaly": True, "effusion": False}},
                "masks": [image.replace(".png", ".mask.png") for image in images],
                "simulated": True,
                "licence": "CC0-1.0",
            }
        )
    root.mkdir(parents=True, exist_ok=True)
    (root / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


@pytest.fixture
def simulated(tmp_path) -> Path:
    root = write_simulated(tmp_path / "sim", 12)
    return write_simulated(root, 5, "test", first=100)


@pytest.fixture
def picture():
    return write_picture
