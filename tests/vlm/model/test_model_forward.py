"""Losses, packing, independence of neighbours, freezing, checkpointing."""

import pytest
import torch


def conversations(say, picture):
    return [
        [say("user", picture(70, 200), "what is it?"), say("assistant", "a film")],
        [
            say("system", "be brief"),
            say("user", picture(128, 64, 1), "before", picture(40, 50, 2, colour=True), "after"),
            say("assistant", "two pictures"),
            say("user", "sure?", picture(90, 90, 3)),
            say("assistant", "three now"),
        ],
        [say("user", "no picture here"), say("assistant", "none at all")],
    ]


def pack(samples):
    """Samples in one row, with positions that start again; a sample's first token is never a target."""
    labels = [sample["labels"].clone() for sample in samples]
    for row in labels:
        row[:, 0] = -100
    return {
        "input_ids": torch.cat([s["input_ids"] for s in samples], 1),
        "labels": torch.cat(labels, 1),
        "position_ids": torch.cat([torch.arange(s["input_ids"].shape[1]) for s in samples])[None],
        "pixel_values": torch.cat([s["pixel_values"] for s in samples if "pixel_values" in s]),
        "image_grid_thw": torch.cat([s["image_grid_thw"] for s in samples if "image_grid_thw" in s]),
    }


def gradients(model):
    taken = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return taken


@pytest.mark.parametrize("connector", ["merge", "linear", "perceiver"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_loss_and_gradient_equal_unpacked(built, say, picture, inputs_of, connector, attention):
    model, processor = built(connector)
    model.set_attn_implementation(attention)
    model.train()
    samples = [inputs_of(processor, messages) for messages in conversations(say, picture)]
    count = sum(int((s["labels"] != -100).sum()) for s in samples)
    alone = sum(model(**s, num_items_in_batch=count).loss for s in samples)
    alone.backward()
    expected = gradients(model)
    assert expected.keys() == dict(model.named_parameters()).keys()
    for labels_only in (False, True):
        together = model(**pack(samples), num_items_in_batch=count, loss_on_labels_only=labels_only).loss
        together.backward()
        assert abs(together.item() - alone.item()) < 1e-5
        for name, gradient in gradients(model).items():
            assert (gradient - expected[name]).abs().max() < 1e-5, name


def test_packing_without_a_block_mask_would_be_seen(tiny, say, picture, inputs_of):
    """The equality above is not vacuous: positions that run on give another loss."""
    model, processor = tiny
    packed = pack([inputs_of(processor, messages) for messages in conversations(say, picture)])
    leaking = {**packed, "position_ids": torch.arange(packed["input_ids"].shape[1])[None]}
    with torch.no_grad():
        assert abs(model(**packed).loss - model(**leaking).loss) > 1e-4


def test_packing_refuses_a_cache(tiny, say, picture, inputs_of):
    model, processor = tiny
    packed = pack([inputs_of(processor, messages) for messages in conversations(say, picture)])
    with pytest.raises(ValueError, match="use_cache=False"):
        model(**packed, use_cache=True)


def test_loss_on_labels_only_is_the_loss_without_the_logits(tiny, say, picture, inputs_of):
    model, processor = tiny
    batch = inputs_of(processor, conversations(say, picture)[1])
    with torch.no_grad():
        full, short = model(**batch), model(**batch, loss_on_labels_only=True)
    assert full.logits.shape == (*batch["input_ids"].shape, model.config.text_config.vocab_size)
    assert short.logits is None
    torch.testing.assert_close(full.loss, short.loss, rtol=0, atol=1e-5)
    labels = batch.pop("labels")
    batch["labels"] = torch.full_like(labels, -100)
    nothing = model(**batch, loss_on_labels_only=True).loss
    nothing.backward()
    assert nothing.item() == 0


@pytest.mark.parametrize("connector", ["merge", "linear", "perceiver"])
def test_features_of_an_image_do_not_depend_on_its_neighbours(built, picture, connector):
    model, processor = built(connector)
    images = [picture(64, 64), picture(200, 40, 1), picture(33, 300, 2, colour=True), picture(500, 500, 3)]
    with torch.no_grad():
        batch = processor.image_processor(images, return_tensors="pt")
        together = model.model.get_image_features(**batch).pooler_output
        for image, features in zip(images, together):
            alone = model.model.get_image_features(**processor.image_processor(image, return_tensors="pt"))
            torch.testing.assert_close(alone.pooler_output[0], features, rtol=0, atol=2e-6)
    grids = batch["image_grid_thw"].tolist()
    assert [len(f) for f in together] == [processor.tokens_of_grid(h, w) for _, h, w in grids]


def test_images_are_told_apart_by_place_and_content(tiny, picture):
    """A token follows its own patches: changing one corner of an image changes mostly that corner's token."""
    model, processor = tiny
    image = picture(128, 128)
    changed = image.copy()
    changed[96:, :32] = 255 - changed[96:, :32]
    with torch.no_grad():
        before, after = (
            model.model.get_image_features(**processor.image_processor(x, return_tensors="pt")).pooler_output[0]
            for x in (image, changed)
        )
    moved = (before - after).norm(dim=-1)
    assert moved.argmax().item() == 12  # row 3, column 0 of 4 x 4 tokens


def test_gradient_checkpointing_reaches_the_tower_and_changes_nothing(tiny, say, picture, inputs_of):
    model, processor = tiny
    model.train()
    batch = inputs_of(processor, conversations(say, picture)[1])
    model(**batch).loss.backward()
    expected = gradients(model)
    model.gradient_checkpointing_enable()
    calls = []
    block = model.model.vision_tower.encoder.blocks[0]
    block.register_forward_pre_hook(lambda *_: calls.append(1))
    model(**batch).loss.backward()
    assert len(calls) == 2  # once forward, once again in the backward pass
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, expected[name])
    model.gradient_checkpointing_disable()
    calls.clear()
    model(**batch).loss.backward()
    assert len(calls) == 1


def test_parts_freeze_by_name_and_pixels_get_gradients(tiny, say, picture, inputs_of):
    model, processor = tiny
    for part in (model.model.vision_tower, model.model.language_model):
        part.requires_grad_(False)
    batch = inputs_of(processor, conversations(say, picture)[0])
    batch["pixel_values"].requires_grad_(True)
    model(**batch).loss.backward()
    assert batch["pixel_values"].grad.abs().max() > 0
    trained = {name.split(".")[1] for name, p in model.named_parameters() if p.grad is not None}
    assert trained == {"connector"}


@pytest.mark.parametrize("connector", ["merge", "perceiver"])
def test_dummy_vision_loss_is_zero_and_touches_every_parameter(built, connector):
    model, _ = built(connector)
    loss = model.dummy_vision_loss()
    loss.backward()
    assert loss.item() == 0
    for part in (model.model.vision_tower, model.model.connector):
        for name, parameter in part.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() == 0


def test_errors_of_forward_say_what_to_do(tiny, say, picture, inputs_of):
    model, processor = tiny
    batch = inputs_of(processor, conversations(say, picture)[0])
    tokens = int((batch["input_ids"] == processor.image_token_id).sum())
    first = int((batch["input_ids"] == processor.image_token_id)[0].int().argmax())
    cut = dict(batch, input_ids=batch["input_ids"][:, first + 4 :], attention_mask=None, labels=None)
    kept = int((cut["input_ids"] == processor.image_token_id).sum())
    assert kept < tokens
    with pytest.raises(ValueError, match=rf"{kept} image tokens.*{tokens} embeddings.*truncate"):
        model(**cut)
    with pytest.raises(ValueError, match=r"no pixel_values"):
        model(input_ids=batch["input_ids"])
    with pytest.raises(ValueError, match=r"image_grid_thw"):
        model(input_ids=batch["input_ids"], pixel_values=batch["pixel_values"])
    with pytest.raises(ValueError, match=r"patches, but image_grid_thw describes"):
        model(**dict(batch, pixel_values=batch["pixel_values"][:-1]))
    with pytest.raises(ValueError, match=r"this model's own processor"):
        model(**dict(batch, pixel_values=batch["pixel_values"][:, :588]))


def test_bfloat16_weights_run(tiny, say, picture, inputs_of):
    model, processor = tiny
    model.to(torch.bfloat16)
    batch = inputs_of(processor, conversations(say, picture)[1])
    assert torch.isfinite(model(**batch).loss)
    model.float()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(**batch, loss_on_labels_only=True).loss
    loss.backward()
    assert torch.isfinite(loss)
