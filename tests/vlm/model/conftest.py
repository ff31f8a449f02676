import copy

import numpy as np
import pytest
import torch

from vlm.build import new_model

PERCEIVER = {"type": "perceiver", "num_queries": 8, "heads": 2}
CONNECTORS = {"merge": "patch_merge_mlp", "linear": "linear", "perceiver": PERCEIVER}


@pytest.fixture(scope="session")
def built():
    """One tiny model and processor for each connector, built once; tests get copies."""
    torch.set_num_threads(1)
    cache = {}

    def build(connector="merge"):
        if connector not in cache:
            cache[connector] = new_model(
                decoder="tiny", tower="test", connector=CONNECTORS[connector], max_pixels=128 * 128
            )
        return copy.deepcopy(cache[connector])

    return build


@pytest.fixture
def tiny(built):
    return built()


@pytest.fixture
def picture():
    """Noise pictures of a given shape, the same for the same seed."""

    def make(height, width, seed=0, colour=False):
        shape = (height, width, 3) if colour else (height, width)
        return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)

    return make


@pytest.fixture
def inputs_of():
    """Model inputs of a conversation; labels on what the assistant says."""

    def make(processor, messages, prompt=False, **kwargs):
        out = processor.apply_chat_template(
            messages,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            add_generation_prompt=prompt,
            return_assistant_tokens_mask=not prompt,
            **kwargs,
        )
        if not prompt:
            spoken = torch.as_tensor(out.pop("assistant_masks")).bool()
            out["labels"] = out["input_ids"].masked_fill(~spoken, -100)
        return out

    return make


def say(role, *parts):
    """A message; strings become text parts, everything else an image part."""
    content = [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": "image", "image": part} for part in parts
    ]
    return {"role": role, "content": content}


@pytest.fixture(name="say")
def say_fixture():
    return say
