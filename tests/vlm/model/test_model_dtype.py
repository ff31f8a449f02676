"""A model made in bfloat16 is the model that its checkpoint loads as."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassFieldValidationError

from vlm.build import load, new_model, save
from vlm.configuration import MedVLMConfig


def test_bfloat16_rounds_weights_and_nothing_else(tmp_path):
    torch.manual_seed(0)
    model, processor = new_model(decoder="tiny", tower="test", dtype=torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    frequencies = [b for name, b in model.named_buffers() if "inv_freq" in name]
    assert frequencies and all(b.dtype == torch.float32 for b in frequencies)
    save(model, processor, tmp_path)
    loaded, _ = load(tmp_path, dtype=torch.bfloat16)
    ids = torch.arange(20, 60)[None]
    with torch.no_grad():
        assert torch.equal(model(input_ids=ids).logits, loaded(input_ids=ids).logits)


def test_logits_of_half_precision_weights_are_float32():
    """Two neighbours in bfloat16 would tie: at 16 they lie 0.125 apart."""
    torch.manual_seed(0)
    model, _ = new_model(decoder="tiny", tower="test", dtype=torch.bfloat16)
    hidden = (torch.randn(1, 7, model.lm_head.in_features) * 20).bfloat16()
    exact = hidden.double() @ model.lm_head.weight.double().t()
    with torch.no_grad():
        logits = model.compute_logits(hidden)
        assert logits.dtype == torch.float32
        torch.testing.assert_close(logits.double(), exact, rtol=1e-5, atol=1e-4)
        model.config.head_dtype = "model"
        rounded = model.compute_logits(hidden)
    assert rounded.dtype == torch.bfloat16
    assert (rounded.double() - exact).abs().max() > 0.01


def test_float32_logits_let_the_gradient_through():
    model, _ = new_model(decoder="tiny", tower="test", dtype=torch.bfloat16)
    ids = torch.arange(20, 40)[None]
    model(input_ids=ids, labels=ids).loss.backward()
    gradient = model.lm_head.weight.grad
    assert gradient is not None and gradient.dtype == torch.bfloat16 and gradient.abs().sum() > 0


def test_head_dtype_is_saved_and_a_wrong_one_is_refused(tmp_path):
    model, processor = new_model(decoder="tiny", tower="test")
    assert model.config.head_dtype == "float32"
    model.config.head_dtype = "model"
    save(model, processor, tmp_path)
    assert load(tmp_path)[0].config.head_dtype == "model"
    with pytest.raises(StrictDataclassFieldValidationError, match="head_dtype"):
        MedVLMConfig(head_dtype="float8")
