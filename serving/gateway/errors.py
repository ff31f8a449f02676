"""Refusals and failures in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`.

A message says what happened and what to do. It never repeats the value that was sent: values may be a patient's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic_core import to_json

from vlm.errors import MedVLMError

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "service_unavailable_error",
}


class GatewayError(MedVLMError):
    """One refusal: HTTP status, stable `code` for programs, sentence for people, `param` = where in the request."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.headers = dict(headers or {})

    @property
    def type(self) -> str:
        fallback = "server_error" if self.status >= 500 else "invalid_request_error"
        return _TYPES.get(self.status, fallback)

    def body(self) -> dict[str, dict[str, str | None]]:
        return {
            "error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code},
        }

    def json(self) -> bytes:
        return to_json(self.body())

    def event(self) -> bytes:
        """The error as one server-sent event, for streams that have begun. No `[DONE]` follows it."""
        return b"data: " + self.json() + b"\n\n"


def bad_request(code: str, message: str, param: str | None = None) -> GatewayError:
    return GatewayError(400, code, message, param=param)


def retry_later(status: int, code: str, message: str, seconds: float) -> GatewayError:
    """A refusal that passes: carries Retry-After, in whole seconds and at least one."""
    return GatewayError(status, code, message, headers={"Retry-After": str(max(1, round(seconds + 0.499)))})


_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b")
_PATH = re.compile(r"(?<![\w.])(?:/[\w.@+-]+){2,}/?")
_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)


def scrub(text: str, limit: int = 400) -> str:
    """`text` of the engine without memory addresses, URLs and file paths, on one line, at most `limit` characters.

    vLLM has leaked heap addresses through error texts (CVE-2026-22778); the caller needs the sentence only.
    """
    text = _PATH.sub("[path]", _ADDRESS.sub("[address]", _URL.sub("[url]", text)))
    text = " ".join(text.split())
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return text if text.endswith((".", "!", "?")) else f"{text}."
