# pyright: reportOptionalSubscript=false, reportOptionalMemberAccess=false, reportArgumentType=false
"""Encoding, packing and shared images: what the model is trained on is what it is asked at the end."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from training_samples import TINY_MODEL, make_sample

from pretrain.training.batches import IGNORE, dummy_image, first_fit, make_batches, packed_batch, padded_batch
from pretrain.training.encode import ConversationEncoder, MaskEncoder, pool_mask, share_prefix, with_images
from pretrain.training.errors import TrainingError
from pretrain.training.objectives import TokenObjective
from pretrain.training.recipe import BatchSection, DataSection
from vlm.packing import attend_by_sample


@pytest.fixture(scope="module")
def tiny():
    from vlm.build import new_model

    options = {k: v for k, v in TINY_MODEL.items() if k != "options"} | TINY_MODEL["options"]
    model, processor = new_model(**options)
    return model, processor


def encoder(processor, **section) -> ConversationEncoder:
    return ConversationEncoder(processor, DataSection(**section), seed=0)


def test_token_ids_are_those_of_the_processor(tiny):
    _, processor = tiny
    for n in range(6):
        sample = make_sample(n, text_only=n == 3)
        example = encoder(processor)(sample, 0)
        images = [part["image"] for m in with_images(sample.messages, sample) for part in m["content"]
                  if isinstance(part, dict) and part["type"] == "image"]  # fmt: skip
        text = processor.apply_chat_template(sample.messages, tokenize=False)
        expected = processor(text=[text], images=images or None, return_tensors="pt")
        assert torch.equal(example.input_ids, expected["input_ids"][0])
        if images:
            assert torch.equal(example.pixel_values, expected["pixel_values"])
            assert torch.equal(example.image_grid_thw, expected["image_grid_thw"])


def test_loss_is_on_what_the_assistant_says_and_nowhere_else(tiny):
    _, processor = tiny
    example = encoder(processor)(make_sample(1), 0)
    said = processor.tokenizer.decode(example.input_ids[example.labels != IGNORE])
    assert said == "A square on the left.<|im_end|>One.<|im_end|>"
    assert torch.equal(example.labels[example.labels != IGNORE], example.input_ids[example.labels != IGNORE])


def loss_and_gradients(model, batches) -> tuple[float, dict[str, torch.Tensor]]:
    objective = TokenObjective(model)
    objective.train()
    model.zero_grad()
    targets = sum(b.targets for b in batches)
    loss = torch.stack([objective(b.tensors)["loss"] for b in batches]).sum() / targets
    loss.backward()
    return float(loss.detach()), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def assert_same(model, one, other):
    loss, gradients = loss_and_gradients(model, one)
    other_loss, other_gradients = loss_and_gradients(model, other)
    assert abs(loss - other_loss) < 1e-5
    assert gradients.keys() == other_gradients.keys()
    for name in gradients:
        assert torch.allclose(gradients[name], other_gradients[name], atol=1e-5), name


@pytest.mark.parametrize("by_sample", [False, True])
def test_packed_equals_unpacked_in_loss_and_gradient(tiny, by_sample):
    model, processor = tiny
    if by_sample:
        model = copy.deepcopy(model)
        assert attend_by_sample(model.model.language_model)
    encode = encoder(processor)
    examples = [encode(make_sample(n, text_only=n % 3 == 2), n) for n in range(6)]
    dummy = dummy_image(processor.image_token_id, 1, 2, examples[0].pixel_values.shape[1])
    packed, _ = make_batches(examples, BatchSection(row_tokens=256, row_patches=1024), 0, dummy)
    assert len(packed) < len(examples)
    assert_same(model, packed, [padded_batch([e], 0) for e in examples])
    # text-only passes run the tower on a dummy: same loss, same gradient, and a gradient of zero for the tower alone
    text = [e for e in examples if not e.patches]
    alone, _ = make_batches(text, BatchSection(row_tokens=64), 0, dummy)
    loss, gradients = loss_and_gradients(model, alone)
    plain_loss, plain = loss_and_gradients(model, [padded_batch([e], 0) for e in text])
    assert abs(loss - plain_loss) < 1e-5
    tower = {n: g for n, g in gradients.items() if "vision_tower" in n or "connector" in n}
    assert tower and all(not g.any() for g in tower.values())
    assert all(torch.allclose(gradients[n], plain[n], atol=1e-5) for n in plain)
    assert_same(model, packed, [padded_batch(examples[:3], 0), padded_batch(examples[3:], 0)])


def test_questions_that_share_an_image_equal_questions_asked_alone(tiny):
    model, processor = tiny
    encode = encoder(processor, conversation="questions", views="asked")
    samples = [make_sample(n) for n in range(3)]
    together = [encode.ask(s, s.extra["qa"], [0]) for s in samples]
    alone = [encode.ask(s, [q], [0]) for s in samples for q in s.extra["qa"]]
    assert all(e.branches is not None for e in together) and all(e.branches is None for e in alone)
    assert sum(e.tokens for e in together) < 0.8 * sum(e.tokens for e in alone)
    assert_same(model, [packed_batch(together)], [padded_batch([e], 0) for e in alone])
    # attention costs the square of a row: no row is longer than the longest sample, and short samples share one
    uneven = [alone[0], encode.ask(samples[0], samples[0].extra["qa"] * 4, [0]), alone[1], alone[2]]
    longest = max(e.tokens for e in uneven)
    rows = packed_batch(uneven).tensors["input_ids"]
    assert rows.shape[1] == longest and len(rows) < len(uneven)
    assert_same(model, [packed_batch(uneven)], [packed_batch([e]) for e in uneven])
    mixed = [*together[:2], encode(make_sample(9, text_only=True), 0)]
    assert_same(model, [packed_batch(mixed)], [packed_batch([e]) for e in mixed])


def test_drawn_questions_depend_on_seed_and_position_only(tiny):
    _, processor = tiny
    section = {"conversation": "questions", "questions": 2, "views": "asked"}
    sample = make_sample(4)
    first = [encoder(processor, **section)(sample, t).input_ids.tolist() for t in range(6)]
    again = [encoder(processor, **section, cache=True)(sample, t).input_ids.tolist() for t in range(6)]
    assert first == again
    assert len({tuple(ids) for ids in first}) > 1


def test_chat_asks_one_after_another(tiny):
    _, processor = tiny
    example = encoder(processor, conversation="chat", questions=3)(make_sample(4), 0)
    text = processor.tokenizer.decode(example.input_ids)
    assert example.branches is None
    assert text.count("<|im_start|>user") == 3 and text.count("<|vision_start|>") == 1


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 30)), max_size=40))
@settings(max_examples=60, deadline=None)
def test_first_fit_loses_nothing_and_keeps_both_budgets(sizes):
    tokens, patches = [t for t, _ in sizes], [p for _, p in sizes]
    rows = first_fit(tokens, patches, 64, 32)
    assert sorted(i for row in rows for i in row) == list(range(len(sizes)))
    for row in rows:
        assert sum(tokens[i] for i in row) <= 64 and sum(patches[i] for i in row) <= 32
        assert row == sorted(row)
    assert len(rows) <= max(1, len(sizes))


def test_samples_that_cannot_be_used_are_counted_by_reason(tiny):
    _, processor = tiny
    encode = encoder(processor)
    examples = [encode(make_sample(n), n) for n in range(3)]
    examples[1].labels[:] = IGNORE
    batches, dropped = make_batches(examples, BatchSection(row_tokens=examples[0].tokens, row_patches=4), 0)
    assert dropped["no answer to learn from"] == ["image0001"]
    assert sum(len(b.keys) for b in batches) + sum(map(len, dropped.values())) == 3
    with pytest.raises(TrainingError, match="does not fit a row"):
        first_fit([10], [0], 5, 5)


def test_shared_prefix_never_holds_an_answer():
    rows = [torch.tensor([1, 5, 2, 1, 7, 2]), torch.tensor([1, 5, 2, 1, 8, 2])]
    ids, branches = share_prefix(rows, turn_start=1)
    assert branches.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert ids.tolist() == [1, 5, 2, 1, 7, 2, 1, 8, 2]


def test_mask_is_pooled_to_the_patch_grid(tiny):
    mask = np.zeros((64, 64), np.uint16)
    mask[:32, :16] |= 1 << 3
    shares = pool_mask(mask, 2, 2, 5).view(2, 2, 5)
    assert shares[0, 0, 3] == pytest.approx(0.5)
    assert shares.sum() == pytest.approx(0.5)
    _, processor = tiny
    from pretrain.sources.chest import FINDINGS

    example = MaskEncoder(processor.image_processor, FINDINGS, cached=False)(make_sample(1), 0)
    assert example.patch_targets.shape == (example.patches, len(FINDINGS))
    assert example.image_targets[0].tolist() == [1.0] + [0.0] * (len(FINDINGS) - 1)
    with pytest.raises(TrainingError, match="has no truth mask"):
        MaskEncoder(processor.image_processor, FINDINGS, cached=False)(make_sample(1, text_only=True), 0)
