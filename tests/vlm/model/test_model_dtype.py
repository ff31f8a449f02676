"""A model made in bfloat16 is the model that its checkpoint loads as."""

import torch

from vlm.build import load, new_model, save


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
