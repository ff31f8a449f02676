"""Conversations keep their images in order and say what is wrong with them."""

import pytest

from vlm.messages import MessageError, attach_images, count_images, image_indices, validate_messages

TALK = [
    {"role": "system", "content": "You read radiographs."},
    {"role": "user", "content": [{"type": "image", "image": 1}, {"type": "text", "text": "And before?"}]},
    {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": {"name": "zoom"}}]},
    {"role": "tool", "content": [{"type": "image", "image": 0}, {"type": "image", "image": 1}]},
    {"role": "assistant", "content": "Unchanged."},
]


def test_images_of_tool_results_count_in_reading_order():
    validate_messages(TALK, 2)
    assert count_images(TALK) == 3
    assert image_indices(TALK) == [1, 0, 1]


def test_attaching_leaves_the_stored_conversation_alone():
    attached = attach_images(TALK, ["zero", "one"])
    assert attached[1]["content"][0]["image"] == "one"
    assert [p["image"] for p in attached[3]["content"]] == ["zero", "one"]
    assert TALK[1]["content"][0]["image"] == 1


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([], "empty"),
        ([{"role": "doctor", "content": "x"}], "message 0 has role 'doctor'"),
        ([{"role": "user", "content": None}], "message 0"),
        ([{"role": "user", "content": [{"type": "text"}]}], "part 0"),
        ([{"role": "user", "content": [{"type": "image", "image": 2}]}], "2 image"),
        ([{"role": "user", "content": [{"type": "image", "image": True}]}], "part 0"),
        ([{"role": "user", "content": [{"type": "video", "video": 0}]}], "'video'"),
        ([{"role": "user", "content": ["plain"]}], "part 0"),
    ],
)
def test_a_malformed_conversation_is_refused_by_place(messages, said):
    with pytest.raises(MessageError, match=said):
        validate_messages(messages, 2)


def test_a_missing_image_is_named():
    with pytest.raises(MessageError, match="image 1, but the sample has 1"):
        attach_images(TALK, ["zero"])
