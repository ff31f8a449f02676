# pyright: reportOptionalMemberAccess=false
"""Packed rows attended sample by sample: the same numbers as transformers' mask, and none of its cost."""

import copy
import json

import pytest
import torch
from torch.nn import functional

from vlm import packing
from vlm.build import new_model

LENGTHS = [5, 1, 17, 9]


@pytest.fixture(scope="module")
def models():
    """(with transformers' mask, sample by sample) of the same weights."""
    model, _ = new_model(decoder="tiny", tower="small_cpu")
    cut = copy.deepcopy(model)
    assert packing.attend_by_sample(cut.model.language_model)
    return model, cut


def packed_row():
    torch.manual_seed(0)
    position_ids = torch.cat([torch.arange(n) for n in LENGTHS])[None]
    return {"input_ids": torch.randint(0, 1000, position_ids.shape), "position_ids": position_ids}


def test_lengths_are_read_from_positions_that_start_again():
    row = packed_row()["position_ids"]
    assert packing.sample_lengths(row).tolist() == [[[LENGTHS]]]
    assert packing.sample_lengths(torch.arange(7)[None]) is None
    assert packing.sample_lengths(torch.stack([row[0], row[0]])) is None


@pytest.mark.parametrize("checkpointing", [False, True])
def test_same_logits_and_gradients_as_with_a_mask(models, checkpointing):
    found = []
    for model in models:
        model.train()
        model.gradient_checkpointing_disable()
        if checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.zero_grad()
        logits = model(**packed_row(), use_cache=False).logits
        logits.square().mean().backward()
        found.append((logits.detach(), [p.grad for p in model.parameters() if p.grad is not None]))
    (logits, gradients), (cut_logits, cut_gradients) = found
    torch.testing.assert_close(cut_logits, logits, atol=1e-5, rtol=1e-5)
    assert len(gradients) == len(cut_gradients) > 0
    for one, other in zip(gradients, cut_gradients, strict=True):
        torch.testing.assert_close(other, one, atol=1e-6, rtol=1e-4)


def test_no_attention_is_larger_than_a_sample(models, monkeypatch):
    seen = []
    sdpa = functional.scaled_dot_product_attention

    def spy(query, *args, **kwargs):
        seen.append(query.shape[2])
        return sdpa(query, *args, **kwargs)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", spy)
    model = models[1]
    model(**packed_row(), use_cache=False)
    assert seen == LENGTHS * model.config.text_config.num_hidden_layers


def test_padded_batches_and_generation_are_as_before(models):
    ids = torch.randint(0, 1000, (2, 6), generator=torch.Generator().manual_seed(1))
    mask = torch.tensor([[1] * 6, [0, 0, 1, 1, 1, 1]])
    answers = [
        model.eval().generate(input_ids=ids, attention_mask=mask, max_new_tokens=6, do_sample=False) for model in models
    ]
    assert torch.equal(*answers)
    logits = [model(input_ids=ids, attention_mask=mask, use_cache=False).logits[mask.bool()] for model in models]
    torch.testing.assert_close(*logits)


def test_it_is_not_saved(models, tmp_path):
    models[1].save_pretrained(tmp_path)
    assert packing.NAME not in json.dumps(json.loads((tmp_path / "config.json").read_text()))


def test_decoders_that_attend_otherwise_are_left_alone(models):
    for change in ({"_attn_implementation": "eager"}, {"sliding_window": 8}, {"layer_types": ["sliding_attention"]}):
        decoder = copy.deepcopy(models[0].model.language_model)
        for name, value in change.items():
            setattr(decoder.config, name, value)
        before = decoder.config._attn_implementation
        assert not packing.attend_by_sample(decoder) and decoder.config._attn_implementation == before
