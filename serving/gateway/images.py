"""Decoding and drawing of untrusted images: bounded workers, a cache for each key, refusals in sentences.

A picture reaches the engine only as a PNG that was encoded here from pixels that a sandboxed child decoded.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict, defaultdict
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pybase64

from serving.gateway.errors import GatewayError, retry_later
from serving.gateway.metrics import Metrics
from serving.gateway.settings import GatewaySettings
from serving.pictures import as_stored_png
from vlm.imaging import Limits as ImagingLimits
from vlm.imaging import MedicalImage, Window, read_image
from vlm.imaging.errors import (
    DamagedError,
    DecoderDiedError,
    ImagingError,
    LimitError,
    SuvError,
    WindowError,
)

LOW_DETAIL_SIDE = 512  # `detail: low`, as OpenAI draws it


@dataclass(frozen=True, slots=True)
class Picture:
    """An image as the engine gets it. `about` holds sizes and kind only."""

    url: bytes  # data:image/png;base64,...
    height: int
    width: int
    sha256: str  # of the file
    about: dict[str, Any]

    @property
    def pixels(self) -> int:
        return self.height * self.width


@dataclass(frozen=True, slots=True)
class Drawing:
    """How to draw: preset or (centre, width) or None, frame, longest side."""

    window: str | tuple[float, float] | None = None
    frame: int = 0
    side: int = 4096


class ImageService:
    """Draws images for all callers of one gateway. Use it from the event loop."""

    def __init__(self, settings: GatewaySettings, metrics: Metrics) -> None:
        self._metrics = metrics
        self._queue = settings.decode_queue
        self._worker_count = settings.decode_workers
        self._threads = ThreadPoolExecutor(settings.decode_workers, thread_name_prefix="gateway-image")
        self._limits = ImagingLimits(
            max_file_bytes=max(settings.limits.upload_bytes, settings.limits.body_bytes),
            timeout_s=settings.decode_seconds,
        )
        # One worker stays free of any single key while others wait, so that its slow files are its own trouble.
        share = max(1, settings.decode_workers - 1)
        self._shares: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(share))
        self._workers = asyncio.Semaphore(settings.decode_workers)
        self._cache = _Cache(settings.image_cache_bytes)
        self._running: dict[tuple[Any, ...], asyncio.Task[Picture]] = {}

    async def warm(self) -> None:
        """Start the decode children, so that the first caller does not wait for them."""
        loop = asyncio.get_running_loop()
        work = (self._work, as_stored_png(np.zeros((1, 1), np.uint8)), "", Drawing())
        await asyncio.gather(
            *(loop.run_in_executor(self._threads, *work) for _ in range(self._worker_count)), return_exceptions=True
        )

    async def picture(self, caller: str, data: bytes, drawing: Drawing, sha256: str | None = None) -> Picture:
        """Decode and draw `data`, or give the same caller's earlier picture of it.

        Args:
            sha256: of `data`, when it is known.

        Raises:
            GatewayError: 413, 415, 422 or 400 as the file deserves; 503 when too many wait.
        """
        sha256 = sha256 or await _digest(data)
        key = (caller, sha256, drawing)
        if found := self._cache.get(key):
            self._metrics.images.labels(cache="hit").inc()
            return found
        task = self._running.get(key)
        if task is None:
            if len(self._running) >= self._queue:
                raise retry_later(503, "overloaded", "Too many images wait to be decoded: try again.", 2)
            task = asyncio.create_task(self._draw(caller, key, data, sha256, drawing))
            self._running[key] = task
            task.add_done_callback(lambda done: self._done(key, done))
        self._metrics.images.labels(cache="miss").inc()
        # Others may wait for the same picture: a client that hangs up leaves it to them.
        return await asyncio.shield(task)

    def _done(self, key: tuple[Any, ...], task: asyncio.Task[Picture]) -> None:
        self._running.pop(key, None)
        if not task.cancelled():
            task.exception()  # seen, also when every waiter has gone

    async def _draw(self, caller: str, key: tuple[Any, ...], data: bytes, sha256: str, drawing: Drawing) -> Picture:
        async with self._turn(caller):
            started = time.monotonic()
            loop = asyncio.get_running_loop()
            try:
                picture = await loop.run_in_executor(self._threads, self._work, data, sha256, drawing)
            except ImagingError as error:
                raise refusal(error) from None
            self._metrics.decode.observe(time.monotonic() - started)
        self._cache.put(key, picture)
        return picture

    @asynccontextmanager
    async def _turn(self, caller: str) -> AsyncIterator[None]:
        started = time.monotonic()
        async with self._shares[caller], self._workers:
            self._metrics.decode_wait.observe(time.monotonic() - started)
            yield

    def _work(self, data: bytes, sha256: str, drawing: Drawing) -> Picture:
        """Runs in a worker thread; the bytes are decoded in its child process."""
        image = read_image(data, frame=drawing.frame, limits=self._limits)  # in a child of vlm.imaging's pool
        picture = image.render(_window(drawing.window), size=drawing.side)
        url = b"data:image/png;base64," + pybase64.b64encode(as_stored_png(picture))
        return Picture(url, picture.shape[0], picture.shape[1], sha256, _about(image))

    def close(self) -> None:
        """Stop the workers."""
        for task in self._running.values():
            task.cancel()
        self._threads.shutdown(wait=True, cancel_futures=True)


def _window(window: str | tuple[float, float] | None) -> Window | str | None:
    if not isinstance(window, tuple):
        return window
    center, width = window
    return Window(center, width, "LINEAR" if width >= 1 else "LINEAR_EXACT")


def _about(image: MedicalImage) -> dict[str, Any]:
    """What may be told of an image: technical, none of the patient, the study or its identifiers."""
    provenance = image.provenance
    return {
        "kind": provenance.kind,
        "modality": image.modality,
        "rows": int(image.pixels.shape[0]),
        "columns": int(image.pixels.shape[1]),
        "frames": provenance.frames,
        "units": image.units,
        "lossy": provenance.lossy,
    }


def refusal(error: ImagingError) -> GatewayError:
    """An imaging error as an answer: 413 too big, 422 damaged, 400 a wrong window, 415 no image that is read here."""
    status = 415
    if isinstance(error, LimitError):
        status = 413
    elif isinstance(error, DamagedError | DecoderDiedError | SuvError):
        status = 422
    elif isinstance(error, WindowError):
        status = 400
    reason = error.reason[:1].upper() + error.reason[1:]
    return GatewayError(status, error.code, reason if reason.endswith((".", "!", "?")) else f"{reason}.")


async def _digest(data: bytes) -> str:
    if len(data) < 4_000_000:
        return hashlib.sha256(data).hexdigest()
    return await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())


class _Cache:
    """Least recently used pictures, bounded in bytes. The caller's name is in the key: nobody meets another's."""

    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self._bytes = 0
        self._items: OrderedDict[tuple[Any, ...], Picture] = OrderedDict()

    def get(self, key: tuple[Any, ...]) -> Picture | None:
        if key in self._items:
            self._items.move_to_end(key)
        return self._items.get(key)

    def put(self, key: tuple[Any, ...], picture: Picture) -> None:
        if len(picture.url) > self._max or key in self._items:
            return
        self._items[key] = picture
        self._bytes += len(picture.url)
        while self._bytes > self._max:
            self._bytes -= len(self._items.popitem(last=False)[1].url)
