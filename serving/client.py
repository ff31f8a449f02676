"""A small client of the gateway (or of any OpenAI-compatible server): ask about files, DICOM included.

    from serving.client import Client
    with Client("http://127.0.0.1:8000") as client:
        print(client.ask("Is there an effusion?", images=["chest.dcm"]).text)

Files travel as they are; the gateway decodes and draws them. Against a server without that (bare vLLM), pass
`render_locally=True`: then DICOM is drawn here and sent as PNG. Thread-safe.
"""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from vlm.errors import MedVLMError

DEFAULT_URL = "http://127.0.0.1:8000"
ENV_URL, ENV_KEY = "MEDVLM_URL", "MEDVLM_API_KEY"
UPLOAD_BYTES = 16 * 1024 * 1024  # files larger than this are uploaded rather than put into the request
RETRY_STATUS = (429, 503)
LONGEST_WAIT = 30.0


class ClientError(MedVLMError):
    """The server refused, failed, or is not there.

    Attributes:
        status: HTTP status, 0 when nothing answered.
        code: the server's error code; "unreachable", "broken_off" or "timeout" from here.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, and what it took. `seconds` is the whole exchange as the client saw it."""

    text: str
    finish_reason: str | None
    model: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    request_id: str | None
    raw: dict[str, Any]


class Client:
    """Asks one server.

    Args:
        url: with or without /v1; MEDVLM_URL or this machine's port 8000 when not given.
        key: API key; MEDVLM_API_KEY when not given.
        model: name of the model; the server's first when not given.
        timeout: seconds for one answer.
        retries: times that a busy or missing server is asked again, waiting as long as it says.
        render_locally: decode and draw images here and send PNG.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        model: str | None = None,
        timeout: float = 600,
        retries: int = 2,
        render_locally: bool = False,
    ) -> None:
        base = (url or os.environ.get(ENV_URL) or DEFAULT_URL).rstrip("/").removesuffix("/v1")
        if "://" not in base:
            base = f"http://{base}"
        key = key or os.environ.get(ENV_KEY)
        self.url = base
        self._http = httpx.Client(
            base_url=base,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(timeout, connect=10),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=3),
            follow_redirects=False,
        )
        self._model = model
        self._retries = retries
        self._render_locally = render_locally

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    @property
    def model(self) -> str:
        """The model that is asked. Raises ClientError as `models` does."""
        if self._model is None:
            served = self.models()
            if not served:
                raise ClientError(0, "no_model", f"The server at {self.url} serves no model.")
            self._model = served[0]
        return self._model

    def models(self) -> list[str]:
        """Names of the served models. Raises ClientError."""
        return [model["id"] for model in self._request("GET", "/v1/models").json()["data"]]

    def upload(self, source: str | Path | bytes) -> str:
        """Send a file to the gateway. Returns the `medvlm-file:` URL by which requests of this key name it.

        Raises:
            ClientError: no image, too large, or not a gateway of medvlm.
        """
        data, kind = _bytes(source)
        response = self._request("POST", "/v1/images", content=data, headers={"Content-Type": kind})
        return response.json()["url"]

    def image(
        self,
        source: str | Path | bytes,
        *,
        window: str | tuple[float, float] | None = None,
        frame: int = 0,
        upload: bool | None = None,
    ) -> dict[str, Any]:
        """A content part that shows `source`.

        Args:
            source: a file or its bytes (DICOM, NIfTI, PNG, JPEG, TIFF), or a URL that `upload` gave.
            window: preset such as "lung", or (centre, width).
            frame: of a file with several.
            upload: send the file on its own; None = when it is large.

        Raises:
            ClientError: the file cannot be read, or the upload is refused.
            ImagingError: with `render_locally`, the file is no image.
        """
        if isinstance(source, str) and source.startswith("medvlm-file:"):
            return _part(source, window, frame)
        if self._render_locally:
            return _part(_rendered(source, window, frame), None, 0)
        data, kind = _bytes(source)
        if upload or (upload is None and len(data) > UPLOAD_BYTES):
            return _part(self.upload(data), window, frame)
        return _part(f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}", window, frame)

    def ask(
        self,
        question: str | Sequence[dict[str, Any]],
        images: Sequence[str | Path | bytes] = (),
        *,
        window: str | tuple[float, float] | None = None,
        frame: int = 0,
        **fields: Any,
    ) -> Answer:
        """Ask and wait for the whole answer.

        Args:
            question: a text, or messages in chat-completions form.
            images: shown before the text (with a text only); the same `window` and `frame` for all.
            fields: max_tokens, temperature, seed, structured_outputs, ... as the server takes them.

        Raises:
            ClientError: as the server says, after the retries.
        """
        body = self._body(question, images, window, frame, fields)
        started = time.monotonic()
        response = self._request("POST", "/v1/chat/completions", json=body)
        said = response.json()
        choice, usage = said["choices"][0], said.get("usage") or {}
        return Answer(
            text=choice["message"].get("content") or "",
            finish_reason=choice.get("finish_reason"),
            model=said.get("model", ""),
            prompt_tokens=usage.get("prompt_tokens", 0),
            completion_tokens=usage.get("completion_tokens", 0),
            seconds=time.monotonic() - started,
            request_id=response.headers.get("x-request-id"),
            raw=said,
        )

    def stream(
        self,
        question: str | Sequence[dict[str, Any]],
        images: Sequence[str | Path | bytes] = (),
        *,
        window: str | tuple[float, float] | None = None,
        frame: int = 0,
        **fields: Any,
    ) -> Iterator[str]:
        """Ask and yield the answer's text as it comes; arguments as `ask`. Leaving the loop stops the work.

        Raises:
            ClientError: refused, or broken off in the middle.
        """
        body = self._body(question, images, window, frame, fields) | {"stream": True}
        done = False
        try:
            with self._http.stream("POST", "/v1/chat/completions", json=body) as response:
                if response.status_code != 200:
                    response.read()
                    raise _refusal(response)
                for line in response.iter_lines():
                    if line == "data: [DONE]":
                        done = True
                    elif line.startswith("data:"):
                        yield from _delta(line[5:])
        except httpx.TimeoutException:
            raise _timeout() from None
        except httpx.TransportError:
            raise self._unreachable() from None
        if not done:
            raise ClientError(0, "broken_off", "The answer broke off in the middle: ask again.")

    def _body(
        self,
        question: str | Sequence[dict[str, Any]],
        images: Sequence[str | Path | bytes],
        window: str | tuple[float, float] | None,
        frame: int,
        fields: dict[str, Any],
    ) -> dict[str, Any]:
        if isinstance(question, str):
            content: Any = question
            if images:
                parts = [self.image(image, window=window, frame=frame) for image in images]
                content = [*parts, {"type": "text", "text": question}]  # images first: prefix caches stay warm
            messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
        else:
            if images:
                raise ClientError(
                    0, "images_with_messages", "Give images inside the messages (client.image), or a text."
                )
            messages = list(question)
        return {"model": self.model, "messages": messages, **fields}

    def _request(self, method: str, path: str, **how: Any) -> httpx.Response:
        for left in range(self._retries, -1, -1):
            wait = 1.0
            try:
                response = self._http.request(method, path, **how)
                if response.is_success:
                    return response
                error = _refusal(response)
                if response.status_code not in RETRY_STATUS:
                    raise error
                wait = _seconds(response.headers.get("retry-after"))
            except httpx.TimeoutException:
                raise _timeout() from None
            except httpx.TransportError:
                error = self._unreachable()
            if not left or wait > LONGEST_WAIT:
                raise error
            time.sleep(wait)
        raise AssertionError("unreachable")

    def _unreachable(self) -> ClientError:
        return ClientError(
            0, "unreachable", f"Nothing answers at {self.url}: start `medvlm serve MODEL`, or give another --url."
        )


def _part(url: str, window: str | tuple[float, float] | None, frame: int) -> dict[str, Any]:
    image: dict[str, Any] = {"url": url}
    if window is not None:
        image["window"] = window if isinstance(window, str) else {"center": window[0], "width": window[1]}
    if frame:
        image["frame"] = frame
    return {"type": "image_url", "image_url": image}


def media_type(data: bytes) -> str:
    """Type of an image file by its first bytes; octet-stream when they say nothing (the server looks closer)."""
    if data[128:132] == b"DICM":
        return "application/dicom"
    for magic, kind in (
        (b"\x89PNG", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"II*\0", "image/tiff"),
        (b"MM\0*", "image/tiff"),
        (b"\x1f\x8b", "application/x-nifti"),
        (b"%PDF", "application/pdf"),
    ):
        if data.startswith(magic):
            return kind
    return "application/x-nifti" if data[344:348] in (b"n+1\0", b"ni1\0") else "application/octet-stream"


def _bytes(source: str | Path | bytes) -> tuple[bytes, str]:
    if isinstance(source, bytes):
        return source, media_type(source)
    try:
        data = Path(source).read_bytes()
    except OSError as error:
        raise ClientError(0, "missing_image", f"The image {source} cannot be read: {error.strerror}.") from None
    if not data:
        raise ClientError(0, "empty_image", f"The image {source} is empty.")
    return data, media_type(data)


def _rendered(source: str | Path | bytes, window: str | tuple[float, float] | None, frame: int) -> str:
    from serving.pictures import as_png
    from vlm.imaging import Window, read_image

    chosen = Window(*window) if isinstance(window, tuple) else window
    png = as_png(read_image(source, frame=frame).render(chosen))
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _delta(data: str) -> Iterator[str]:
    event = json.loads(data)
    if "error" in event:
        error = event["error"] if isinstance(event["error"], dict) else {}
        raise ClientError(0, str(error.get("code")), str(error.get("message", "The answer broke off.")))
    for choice in event.get("choices", [])[:1]:
        if text := choice.get("delta", {}).get("content"):
            yield text


def _refusal(response: httpx.Response) -> ClientError:
    try:
        error = response.json()["error"]
        return ClientError(response.status_code, str(error.get("code")), str(error["message"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        return ClientError(
            response.status_code,
            "http_error",
            f"The server answered with status {response.status_code} and no reason: is it OpenAI-compatible?",
        )


def _timeout() -> ClientError:
    return ClientError(0, "timeout", "No answer in time: ask for fewer tokens, or wait longer (--timeout).")


def _seconds(retry_after: str | None) -> float:
    try:
        return max(0.1, float(retry_after or 1))
    except ValueError:
        return 1.0
