"""Tiny samples, shards and recipes of the training tests: noise with a square, and questions about its side."""

from pathlib import Path

import numpy as np

from pretrain.sources.chest import FINDINGS
from vlm.sample import EncodedImage, Sample, SampleProvenance


def bright_square(rng: np.random.Generator, height: int, width: int, left: bool) -> np.ndarray:
    """Noise with a bright square on one side."""
    picture = rng.integers(0, 60, (height, width)).astype(np.uint8)
    column = 2 if left else width - 22
    picture[10:30, column : column + 20] = 250
    return picture


def make_sample(n: int, *, text_only: bool = False) -> Sample:
    """Sample number ``n``: a picture (32 x 32 to 64 x 64) with a square left or right, a mask, and its questions."""
    rng = np.random.default_rng(n)
    left = bool(n % 2)
    answer = "yes" if left else "no"
    qa = [
        {"id": "q0", "question": "Is the square on the left?", "answer": answer},
        {"id": "q1", "question": "Which side?", "answer": "left" if left else "right"},
        {"id": "q2", "question": "Say the number.", "answer": f"number {n}"},
    ]
    for row in qa:
        closed = row["id"] != "q2"
        options = {"q0": ["yes", "no"], "q1": ["left", "right"]}.get(row["id"])
        row |= {"kind": "closed" if closed else "open", "finding": "square", "options": options, "view": 0}
    provenance = SampleProvenance(source="tests", simulated=True, patient=f"p{n}", study="s0")
    if text_only:
        messages = [
            {"role": "user", "content": f"What comes after {n}?"},
            {"role": "assistant", "content": f"{n + 1} comes next."},
        ]
        return Sample(f"text{n:04d}", messages, [], provenance)
    height, width = 32 * int(rng.integers(1, 3)), 32 * int(rng.integers(1, 3))
    pixels = bright_square(rng, height, width, left)
    mask = np.zeros((64, 64), np.uint16)
    mask[10:40, slice(0, 24) if left else slice(40, 64)] = 1 << (0 if left else 1)
    image = _plain_image(pixels)
    messages = [
        {"role": "user", "content": [{"type": "image", "image": 0}, {"type": "text", "text": "Describe the picture."}]},
        {"role": "assistant", "content": f"A square on the {'left' if left else 'right'}."},
        {"role": "user", "content": "How many squares?"},
        {"role": "assistant", "content": "One."},
    ]
    return Sample(
        f"image{n:04d}",
        messages,
        [EncodedImage.encode(image)],
        provenance,
        masks={0: _png(mask)},
        extra={"qa": qa, "truth": {"mask_bits": list(FINDINGS)}},
    )


def _plain_image(pixels: np.ndarray):
    import io

    from PIL import Image

    from vlm.imaging import read_image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    return read_image(stream.getvalue(), sandbox=False)


def _png(mask: np.ndarray) -> bytes:
    import io

    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(mask).save(stream, format="PNG")
    return stream.getvalue()


def write_shards(folder: Path, samples: list[Sample], name: str = "tiny", simulated: bool = True) -> Path:
    from pretrain.shards.writer import DatasetInfo, ShardWriter

    with ShardWriter(folder, DatasetInfo(name=name, simulated=simulated), max_samples=8) as writer:
        for sample in samples:
            writer.write(sample)
    return folder


TINY_MODEL = {"decoder": "tiny", "tower": "test", "options": {"min_pixels": 1024, "max_pixels": 4096}}


def tiny_recipe(run: Path, shards: Path, **changes) -> dict:
    """A recipe dictionary for the tiny model; ``changes`` replace whole keys."""
    recipe = {
        "stage": "instruction_tuning",
        "run": str(run),
        "steps": 6,
        "precision": "fp32",
        "threads": 1,
        "log_every": 1,
        "tensorboard": False,
        "model": TINY_MODEL,
        "data": {"train": str(shards)},
        "batch": {"samples": 4, "row_tokens": 256, "row_patches": 128},
        "optimizer": {"lr": 1e-3},
        "schedule": {"warmup_steps": 2},
        "checkpoint": {"every": 2, "keep": 2},
    }
    return recipe | changes
