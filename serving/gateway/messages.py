"""The messages of a chat request: checked part by part, images taken out as references to be drawn.

Written by hand rather than as pydantic unions, because the sentence that a wrong part gets is the point of it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import to_json

from serving.gateway.dataurl import InlineImage, UploadedImage, parse_image_url
from serving.gateway.errors import bad_request
from serving.gateway.settings import Limits

_ROLES = {
    "system": {"role", "content", "name"},
    "developer": {"role", "content", "name"},
    "user": {"role", "content", "name"},
    "assistant": {"role", "content", "name", "tool_calls"},
    "tool": {"role", "content", "tool_call_id", "name"},
}
_WITH_IMAGES = ("user", "tool")
_NAME = re.compile(r"^[A-Za-z0-9_-]{1,64}$")
_CALL_ID = re.compile(r"^[A-Za-z0-9_.:-]{1,128}$")


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """One image of a request: where its bytes are and how it is to be drawn."""

    source: InlineImage | UploadedImage
    window: str | tuple[float, float] | None  # preset name, or (centre, width) in the image's units
    frame: int
    detail: str  # "auto", "low" or "high"
    param: str
    mark: str  # stands in the outgoing message where the picture belongs; no caller can guess it


@dataclass(slots=True)
class Conversation:
    """Messages for the engine, with a mark where each picture belongs (`ChatRequest.engine_body`)."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    images: list[ImageRequest] = field(default_factory=list)  # in the order of their marks in `messages`
    pictures: list[bytes] = field(default_factory=list)  # what `images` became: data URLs, in the same order
    text_chars: int = 0


def read_messages(raw: Any, limits: Limits, reserved: Sequence[str]) -> Conversation:
    """Check `messages` of a chat request.

    Args:
        raw: the value of "messages" as parsed from JSON.
        limits: caps on messages, text and images.
        reserved: strings by which the prompt is built; text that holds one is refused.

    Raises:
        GatewayError: 400 or 415, with the place (`messages[1].content[0]...`) in `param`.
    """
    if not isinstance(raw, list) or not raw:
        raise bad_request("bad_messages", "`messages` must be a list with at least one message.", "messages")
    if len(raw) > limits.messages:
        raise bad_request("too_many_messages", f"More than {limits.messages} messages: shorten the talk.", "messages")
    talk = Conversation()
    for index, message in enumerate(raw):
        where = f"messages[{index}]"
        talk.messages.append(_read_message(message, where, talk, limits, reserved))
        if talk.text_chars > limits.text_chars:
            raise bad_request("text_too_long", f"More than {limits.text_chars} characters of text in all.", where)
    return talk


def _read_message(
    message: Any, where: str, talk: Conversation, limits: Limits, reserved: Sequence[str]
) -> dict[str, Any]:
    if not isinstance(message, dict):
        raise bad_request("bad_message", "A message is an object with `role` and `content`.", where)
    role = message.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise bad_request("bad_role", f"`role` is one of {', '.join(_ROLES)}.", f"{where}.role")
    # Clients send an answer back with its empty fields (refusal: null, ...): a null says nothing and may go.
    given = {name for name, value in message.items() if value is not None}
    if extra := sorted(given - _ROLES[role]):
        raise bad_request(
            "unknown_field",
            f"Messages of role {role} have no field {_shown(extra[0])}: remove it.",
            f"{where}",
        )
    out: dict[str, Any] = {"role": role}
    if "name" in given:
        if not isinstance(message["name"], str) or not _NAME.match(message["name"]):
            raise bad_request("bad_name", "`name` has 1 to 64 letters, digits, dashes or underscores.", f"{where}.name")
        out["name"] = message["name"]
    if role == "tool":
        call_id = message.get("tool_call_id")
        if not isinstance(call_id, str) or not _CALL_ID.match(call_id):
            raise bad_request("bad_tool_call_id", "A tool message names its call: `tool_call_id`.", f"{where}")
        out["tool_call_id"] = call_id
    texts: list[str] = []
    if "tool_calls" in given:
        out["tool_calls"] = _read_tool_calls(message["tool_calls"], f"{where}.tool_calls", texts)
    if "content" in given:
        out["content"] = _read_content(message["content"], f"{where}.content", role, talk, limits, texts)
    elif "tool_calls" not in given:
        raise bad_request("missing_content", "This message has no content.", f"{where}.content")
    _check_text("".join(texts), where, talk, reserved)
    return out


def _check_text(text: str, where: str, talk: Conversation, reserved: Sequence[str]) -> None:
    """`text` is all of one message, joined: a reserved token in two halves is one when the template joins them."""
    talk.text_chars += len(text)
    for token in reserved:
        if token in text:
            raise bad_request(
                "reserved_token",
                f"The text holds {token}, by which the prompt itself is built (a turn or a place for an image): "
                "remove it. Images are sent as image_url parts only.",
                where,
            )


def _read_content(
    content: Any, where: str, role: str, talk: Conversation, limits: Limits, texts: list[str]
) -> str | list[dict[str, Any]]:
    if isinstance(content, str):
        texts.append(content)
        return content
    if not isinstance(content, list) or not content:
        raise bad_request("bad_content", "`content` is a string, or a list of text and image_url parts.", where)
    if len(content) > 4 * limits.messages:
        raise bad_request("too_many_parts", f"More than {4 * limits.messages} parts in one message.", where)
    parts: list[dict[str, Any]] = []
    for index, part in enumerate(content):
        here = f"{where}[{index}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text":
            _only(part, {"type", "text"}, here)
            if not isinstance(part.get("text"), str):
                raise bad_request("bad_text", "A text part has its text in `text`, a string.", here)
            texts.append(part["text"])
            parts.append({"type": "text", "text": part["text"]})
        elif kind == "image_url":
            if role not in _WITH_IMAGES:
                raise bad_request("image_in_wrong_role", f"Images stand in user or tool messages, not {role}.", here)
            if len(talk.images) >= limits.images:
                raise bad_request(
                    "too_many_images",
                    f"More images than the {limits.images} of one request that are taken here: send fewer.",
                    here,
                )
            image = _read_image(part, here)
            talk.images.append(image)
            parts.append({"type": "image_url", "image_url": {"url": image.mark}})
        else:
            raise bad_request("bad_part", "A content part is an object of type 'text' or 'image_url'.", here)
    return parts


def _read_image(part: dict[str, Any], where: str) -> ImageRequest:
    if "uuid" in part:
        raise bad_request(
            "field_refused", "`uuid` would name an image in a cache shared with others: remove it.", where
        )
    _only(part, {"type", "image_url"}, where)
    image = part.get("image_url")
    where = f"{where}.image_url"
    if not isinstance(image, dict) or not isinstance(image.get("url"), str) or not image["url"]:
        raise bad_request(
            "missing_image",
            'There is no image here: {"image_url": {"url": "data:application/dicom;base64,..."}}.',
            where,
        )
    _only(image, {"url", "detail", "window", "frame"}, where)
    detail = image.get("detail") or "auto"
    if detail not in ("auto", "low", "high"):
        raise bad_request("bad_detail", "`detail` is auto, low or high.", f"{where}.detail")
    frame = image.get("frame", 0)
    if isinstance(frame, bool) or not isinstance(frame, int) or not 0 <= frame < 2**31:
        raise bad_request("bad_frame", "`frame` is a whole number from 0 on.", f"{where}.frame")
    window = _read_window(image.get("window"), f"{where}.window")
    source = parse_image_url(image["url"], f"{where}.url")
    return ImageRequest(source, window, frame, detail, where, secrets.token_hex(16))


def _read_window(window: Any, where: str) -> str | tuple[float, float] | None:
    if window is None:
        return None
    if isinstance(window, str) and re.fullmatch(r"[a-z0-9:-]{1,32}", window):
        return window
    if isinstance(window, dict) and set(window) == {"center", "width"}:
        window = [window["center"], window["width"]]
    if isinstance(window, list) and len(window) == 2 and all(_finite(value) for value in window):
        center, width = float(window[0]), float(window[1])
        if 0 < width < 1e9 and abs(center) < 1e9:
            return center, width
    raise bad_request(
        "bad_window",
        '`window` is a preset name such as "lung", or {"center": -600, "width": 1500} (width > 0).',
        where,
    )


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _read_tool_calls(calls: Any, where: str, texts: list[str]) -> list[dict[str, Any]]:
    if not isinstance(calls, list) or not 0 < len(calls) <= 128:
        raise bad_request("bad_tool_calls", "`tool_calls` is a list of 1 to 128 calls.", where)
    out: list[dict[str, Any]] = []
    for index, call in enumerate(calls):
        here = f"{where}[{index}]"
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or call.get("type", "function") != "function":
            raise bad_request(
                "bad_tool_call", "A tool call is {id, type: function, function: {name, arguments}}.", here
            )
        _only(call, {"id", "type", "function", "index"}, here)
        _only(function, {"name", "arguments"}, f"{here}.function")
        name, arguments, call_id = function.get("name"), function.get("arguments", "{}"), call.get("id")
        if not isinstance(name, str) or not _NAME.match(name):
            raise bad_request("bad_name", "A function name has 1 to 64 letters, digits, dashes or _.", here)
        if not isinstance(arguments, str):
            raise bad_request("bad_tool_call", "`arguments` is a string of JSON.", here)
        if not isinstance(call_id, str) or not _CALL_ID.match(call_id):
            raise bad_request("bad_tool_call_id", "A tool call has an `id`.", here)
        texts.append(arguments)
        out.append({"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}})
    return out


def _only(value: dict[str, Any], allowed: set[str], where: str) -> None:
    extra = sorted(name for name in value if name not in allowed and value[name] is not None)
    if extra:
        raise bad_request("unknown_field", f"There is no field {_shown(extra[0])} here: remove it.", where)


def _shown(name: str) -> str:
    """A field's name for a message: cut, and only if it looks like a name (a value could have slipped into it)."""
    return f"`{name}`" if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]{0,47}", name) else "of that name"


def json_size(value: Any) -> int:
    """Bytes of `value` as JSON."""
    return len(to_json(value))
