"""The conversation format that shards, trainers, benchmarks and the server share.

A message is the chat-completions dictionary that transformers, TRL and vLLM read: ``role`` (system, user, assistant,
tool), ``content`` (a string, or a list of text and image parts), and for assistants ``tool_calls``. Inside a stored
sample an image part is ``{"type": "image", "image": i}`` with the index of the image in the sample; in front of a
processor the same part carries the picture itself. A tool result may hold images like any user turn.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from vlm.errors import MedVLMError

ROLES = ("system", "user", "assistant", "tool")

Message = dict[str, Any]


class MessageError(MedVLMError):
    """A conversation is malformed; the sentence names the message and the part."""


def _image_parts(messages: Sequence[Message]) -> Iterator[tuple[int, int, dict]]:
    for m, message in enumerate(messages):
        content = message.get("content")
        if isinstance(content, list):
            for p, part in enumerate(content):
                if part.get("type") == "image":
                    yield m, p, part


def count_images(messages: Sequence[Message]) -> int:
    """Number of image parts in reading order, tool results included."""
    return sum(1 for _ in _image_parts(messages))


def image_indices(messages: Sequence[Message]) -> list[int]:
    """Indices into the sample's images, in the order in which the conversation shows them."""
    return [part["image"] for _, _, part in _image_parts(messages)]


def attach_images(messages: Sequence[Message], images: Sequence[Any]) -> list[Message]:
    """Replace image indices by the images themselves; the input is left as it is.

    Raises:
        MessageError: an index has no image.
    """
    attached = []
    for m, message in enumerate(messages):
        content = message.get("content")
        if isinstance(content, list):
            parts = []
            for part in content:
                if part.get("type") == "image":
                    index = part.get("image")
                    if not isinstance(index, int) or not 0 <= index < len(images):
                        raise MessageError(
                            f"message {m} asks for image {index!r}, but the sample has {len(images)} image(s): "
                            "number images from 0 in the order of the sample's list"
                        )
                    part = {**part, "image": images[index]}
                parts.append(part)
            message = {**message, "content": parts}
        attached.append(message)
    return attached


def validate_messages(messages: Sequence[Message], n_images: int) -> None:
    """Check roles, parts and image indices of a stored conversation.

    Raises:
        MessageError: naming the first message that is wrong and how.
    """
    if not messages:
        raise MessageError("the conversation is empty: it needs at least one user message")
    for m, message in enumerate(messages):
        role = message.get("role")
        if role not in ROLES:
            raise MessageError(f"message {m} has role {role!r}: use one of {', '.join(ROLES)}")
        content = message.get("content")
        if content is None and role == "assistant" and message.get("tool_calls"):
            continue
        if isinstance(content, str):
            continue
        if not isinstance(content, list):
            raise MessageError(f"message {m} ({role}) has no text: content must be a string or a list of parts")
        for p, part in enumerate(content):
            _validate_part(m, p, part, n_images)


def _validate_part(m: int, p: int, part: Any, n_images: int) -> None:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text":
        if not isinstance(part.get("text"), str):
            raise MessageError(f"message {m}, part {p}: a text part needs a string under 'text'")
    elif kind == "image":
        index = part.get("image")
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < n_images:
            raise MessageError(f"message {m}, part {p} shows image {index!r}, but there are {n_images} image(s)")
    else:
        raise MessageError(f"message {m}, part {p} has type {kind!r}: only 'text' and 'image' are known")
