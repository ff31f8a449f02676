"""Image sizes to grids and tokens, pictures to patches, messages to text and masks."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vlm.processing import ImageInputError, ImageTokenMismatch, MedVLMImageProcessor, fit_grid

sides = st.integers(1, 5000)


@given(height=sides, width=sides, unit=st.sampled_from([14, 16, 28, 32]), least=st.integers(1, 300), more=sides)
@settings(max_examples=300, deadline=None)
def test_fit_grid_keeps_the_budget_and_the_shape(height, width, unit, least, more):
    most = least + more
    rows, columns = fit_grid(height, width, unit, least * unit**2, most * unit**2)
    assert rows >= 1 and columns >= 1
    assert rows * columns <= most
    if least <= 4:
        return
    # below the budget only where whole cells leave no choice: one more row or column would break it or the shape
    aspect, made = height / width, rows / columns
    if rows > 1 and columns > 1:
        assert (rows - 1) / (columns + 1) <= aspect <= (rows + 1) / (columns - 1), (made, aspect)


@given(height=sides, width=sides)
@settings(max_examples=200, deadline=None)
def test_images_within_the_budget_keep_their_resolution(height, width):
    rows, columns = fit_grid(height, width, 16, 1, 10**9)
    assert (rows, columns) == (max(1, round(height / 16)), max(1, round(width / 16)))


@given(
    height=st.integers(1, 400),
    width=st.integers(1, 400),
    colour=st.booleans(),
    patch=st.sampled_from([8, 14, 16]),
    merge=st.sampled_from([1, 2]),
    channels=st.sampled_from([1, 3]),
)
@settings(max_examples=60, deadline=None)
def test_patches_are_as_many_as_the_grid_says(height, width, colour, patch, merge, channels):
    processor = MedVLMImageProcessor(
        patch_size=patch, merge_size=merge, min_pixels=1, max_pixels=200 * 200, num_channels=channels
    )
    out = processor(np.zeros((height, width, 3) if colour else (height, width), np.uint8))
    _, rows, columns = out["image_grid_thw"][0]
    assert rows % merge == 0 and columns % merge == 0
    assert out["pixel_values"].shape == (rows * columns, patch * patch * channels)
    assert out["pixel_values"].dtype == np.float32
    assert processor.get_number_of_image_patches(height, width) == rows * columns


def test_patches_hold_the_pixels_in_reading_order():
    """Put back together, the patches are the picture: (value / 255 - mean) / std, row-major, channel last."""
    picture = np.random.default_rng(0).integers(0, 256, (48, 80, 3), dtype=np.uint8)
    mean, std = (0.1, 0.5, 0.9), (0.2, 0.3, 0.4)
    processor = MedVLMImageProcessor(patch_size=16, merge_size=1, min_pixels=1, image_mean=mean, image_std=std)
    out = processor(picture)
    assert out["image_grid_thw"].tolist() == [[1, 3, 5]]
    whole = out["pixel_values"].reshape(3, 5, 16, 16, 3).swapaxes(1, 2).reshape(48, 80, 3)
    np.testing.assert_allclose(whole, (picture / 255 - mean) / std, atol=2e-6)


def test_every_form_of_a_picture_gives_the_same_patches():
    grey = np.random.default_rng(0).integers(0, 256, (70, 50), dtype=np.uint8)
    processor = MedVLMImageProcessor(min_pixels=1)
    expected = processor(grey)["pixel_values"]
    forms = [
        Image.fromarray(grey),
        Image.fromarray(grey).convert("RGB"),
        grey[..., None],
        np.stack([grey] * 3, -1),
        np.stack([grey] * 3, 0),
        torch.from_numpy(grey),
        Image.fromarray(grey).convert("RGBA"),
    ]
    for form in forms:
        np.testing.assert_array_equal(processor(form)["pixel_values"], expected)
    nested = processor([[grey], [], [Image.fromarray(grey), grey]])
    assert len(nested["image_grid_thw"]) == 3


def test_medical_images_are_rendered():
    from pydicom.data import get_testdata_file

    from vlm.imaging import read_image

    image = read_image(get_testdata_file("CT_small.dcm"))
    processor = MedVLMImageProcessor(min_pixels=1)
    out, rendered = processor(image), processor(image.render())
    np.testing.assert_array_equal(out["pixel_values"], rendered["pixel_values"])
    assert np.ptp(out["pixel_values"]) > 0.5


@pytest.mark.parametrize(
    ("thing", "sentence"),
    [
        (np.zeros((8, 8), np.uint16), "uint16 is no 8-bit picture: render it"),
        (np.zeros((8, 8), np.float32), "float32 is no 8-bit picture"),
        (Image.new("I;16", (8, 8)), "more than 8 bits"),
        ("https://example.org/a.png", "not paths, addresses"),
        (np.zeros((2, 3, 4, 5, 6), np.uint8), "is no picture"),
        (np.zeros((0, 8), np.uint8), "has no content"),
        (7, "cannot read a int as an image"),
        ([], "no image was given"),
    ],
)
def test_what_is_no_picture_is_refused_with_a_sentence(thing, sentence):
    with pytest.raises(ImageInputError, match=sentence):
        MedVLMImageProcessor()(thing)


def test_an_impossible_budget_is_refused():
    with pytest.raises(ImageInputError, match="below one token"):
        MedVLMImageProcessor(max_pixels=100, min_pixels=1)


@pytest.mark.parametrize("connector", ["merge", "linear", "perceiver"])
def test_processor_writes_as_many_tokens_as_the_model_makes(built, say, picture, connector):
    model, processor = built(connector)
    images = [picture(33, 190), picture(128, 128, 1, colour=True), picture(10, 10, 2)]
    text = processor.apply_chat_template([say("user", *images, "?")], tokenize=False)
    out = processor(images=images, text=text, return_tensors="pt")
    tokens = int((out["input_ids"] == processor.image_token_id).sum())
    with torch.no_grad():
        made = model.model.encode_images(out["pixel_values"], out["image_grid_thw"])[0]
    assert tokens == len(made)
    asked = processor._get_num_multimodal_tokens([image.shape[:2] for image in images])
    assert sum(asked.num_image_tokens) == tokens
    assert sum(asked.num_image_patches) == len(out["pixel_values"])


def test_images_of_a_batch_may_be_flat_or_nested(tiny, picture):
    _, processor = tiny
    image = "<|vision_start|><|image_pad|><|vision_end|>"
    texts = [f"{image} a", "b", f"{image}{image} c"]
    pictures = [picture(40, 40), picture(64, 64, 1), picture(32, 96, 2)]
    flat = processor(images=pictures, text=texts, padding=True, return_tensors="pt")
    nested = processor(images=[pictures[:1], [], pictures[1:]], text=texts, padding=True, return_tensors="pt")
    for key in flat:
        assert torch.equal(flat[key], nested[key]), key


def test_the_pixel_budget_may_be_set_for_one_call(tiny, picture):
    _, processor = tiny
    text = "<|vision_start|><|image_pad|><|vision_end|>"
    grids = [
        processor(images=picture(128, 128), text=text, images_kwargs={"max_pixels": side * side})["image_grid_thw"][0]
        for side in (32, 64)
    ]
    assert [list(grid) for grid in grids] == [[1, 2, 2], [1, 4, 4]]
    assert processor._get_num_multimodal_tokens([(128, 128)], max_pixels=64 * 64).num_image_tokens == [4]


def test_image_and_placeholder_counts_must_agree(tiny, picture):
    _, processor = tiny
    with pytest.raises(ImageTokenMismatch, match=r"1 image placeholder.*2 image\(s\)"):
        processor(images=[picture(40, 40)] * 2, text="<|vision_start|><|image_pad|><|vision_end|>")
    with pytest.raises(ImageTokenMismatch, match=r"0 image placeholder.*1 image\(s\)"):
        processor(images=picture(40, 40), text="no place")
    with pytest.raises(ImageInputError, match="text, images or both"):
        processor()
    with pytest.raises(ImageInputError, match="apply the chat template"):
        processor(text=[{"role": "user"}])
    with pytest.raises(ImageInputError, match="frames of a video"):
        processor(text="a", videos=[1])


def conversation(say, picture):
    call = {"type": "function", "function": {"name": "zoom", "arguments": {"left": 3, "name": "é"}}}
    return [
        say("system", "be exact"),
        say("user", picture(40, 90), "and", picture(70, 30, 1), "what?"),
        {"role": "assistant", "content": "<think>look closer</think>", "tool_calls": [call]},
        say("tool", picture(64, 64, 2), "the part"),
        say("assistant", "a nodule"),
        {"role": "user", "content": "sure?"},
        {"role": "assistant", "content": "yes"},
    ]


def test_template_shows_everything_in_order(tiny, say, picture):
    _, processor = tiny
    text = processor.apply_chat_template(conversation(say, picture), tokenize=False)
    image = "<|vision_start|><|image_pad|><|vision_end|>"
    assert text == (
        "<|im_start|>system\nbe exact<|im_end|>\n"
        f"<|im_start|>user\n{image}and{image}what?<|im_end|>\n"
        '<|im_start|>assistant\n<think>look closer</think>\n<tool_call>\n{"name": "zoom", "arguments": '
        '{"left": 3, "name": "é"}}\n</tool_call><|im_end|>\n'
        f"<|im_start|>user\n<tool_response>\n{image}the part\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\na nodule<|im_end|>\n"
        "<|im_start|>user\nsure?<|im_end|>\n"
        "<|im_start|>assistant\nyes<|im_end|>\n"
    )


def test_template_lists_tools_and_keeps_the_system_text(tiny, say):
    _, processor = tiny
    tool = {"type": "function", "function": {"name": "zoom", "description": "look closer", "parameters": {}}}
    messages = [say("system", "be exact"), say("user", "hi")]
    text = processor.apply_chat_template(messages, tools=[tool], tokenize=False, add_generation_prompt=True)
    assert text.startswith("<|im_start|>system\nbe exact\n\n")
    assert '"name": "zoom"' in text and "<tools>" in text
    assert text.endswith("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n")
    assert text.count("<|im_start|>system") == 1
    without = processor.apply_chat_template(messages[1:], tools=[tool], tokenize=False)
    assert without.startswith("<|im_start|>system\nYou may call")


def test_template_is_prefix_preserving(tiny, say, picture):
    """Every turn is written the same whatever follows, so that a conversation can go on from its own tokens."""
    _, processor = tiny
    messages = conversation(say, picture)
    whole = processor.apply_chat_template(messages, tokenize=True, return_dict=False)[0]
    for end in range(1, len(messages)):
        part = processor.apply_chat_template(
            messages[:end],
            tokenize=True,
            return_dict=False,
            add_generation_prompt=messages[end]["role"] == "assistant",
        )[0]
        assert whole[: len(part)] == part, end


def test_assistant_mask_covers_what_the_assistant_says_after_images(tiny, say, picture):
    """transformers 5.17 alone shifts this mask by the image tokens before it."""
    _, processor = tiny
    out = processor.apply_chat_template(
        [conversation(say, picture), [say("user", "x"), say("assistant", "short")]],
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=True,
        processor_kwargs={"padding": True},
    )
    spoken = [
        processor.tokenizer.decode([token for token, on in zip(ids, mask) if on])
        for ids, mask in zip(out["input_ids"], out["assistant_masks"])
    ]
    assert spoken[0] == (
        '<think>look closer</think>\n<tool_call>\n{"name": "zoom", "arguments": {"left": 3, "name": "é"}}\n'
        "</tool_call><|im_end|>a nodule<|im_end|>yes<|im_end|>"
    )
    assert spoken[1] == "short<|im_end|>"
    processor.tokenizer.padding_side = "right"
    right = processor.apply_chat_template(
        [conversation(say, picture), [say("user", "x"), say("assistant", "short")]],
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=True,
        processor_kwargs={"padding": True},
    )
    assert [sum(mask) for mask in right["assistant_masks"]] == [sum(mask) for mask in out["assistant_masks"]]


def test_template_refuses_unknown_roles_and_parts(tiny):
    _, processor = tiny
    with pytest.raises(Exception, match="roles are system, user, assistant and tool"):
        processor.apply_chat_template([{"role": "doctor", "content": "hi"}], tokenize=False)
    with pytest.raises(Exception, match="parts are text or image"):
        processor.apply_chat_template([{"role": "user", "content": [{"type": "video"}]}], tokenize=False)


def test_truncation_that_cuts_an_image_is_refused(tiny, say, picture):
    _, processor = tiny
    with pytest.raises(ValueError, match="truncation"):
        processor.apply_chat_template(
            [say("user", picture(128, 128), "?")],
            tokenize=True,
            return_dict=True,
            processor_kwargs={"truncation": True, "max_length": 8},
        )
