"""Decoding children from the parent's side: started once, fed many files, killed and replaced when one goes wrong."""

import atexit
import contextlib
import fcntl
import math
import mmap
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from vlm.imaging.errors import ERRORS, DecoderDiedError, ImagingError
from vlm.imaging.image import ImageHeader, Limits, MedicalImage
from vlm.imaging.record import DTYPES, rebuild
from vlm.imaging.wire import receive, receive_exactly, send

_SLOT_BYTES = 32 << 20  # larger pictures go through the socket
_SLOTS = 2  # one being decoded while the other is taken out
_RECYCLE_AFTER = 5_000  # a child that a hostile file has quietly corrupted does not live for ever
_START_TIMEOUT_S = 60.0
_TUPLES = ("spacing_mm", "image_type", "orientation", "position_mm", "notes")


class ChildFailure(Exception):
    """The child has gone, hangs, or talks nonsense. It must be killed."""

    def __init__(self, code: str, reason: str):
        self.code, self.reason = code, reason
        super().__init__(code)


class Child:
    """One decoding process and its socket."""

    def __init__(self):
        ours, theirs = socket.socketpair()
        self.channel = ours
        self.served = 0
        descriptor, self._memory = _shared_memory()
        inherited = [theirs.fileno()] + ([descriptor] if descriptor >= 0 else [])
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "vlm.imaging.worker", str(theirs.fileno()), str(descriptor)],
                pass_fds=inherited,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=_environment(),
                start_new_session=True,  # Ctrl-C is the parent's to handle
            )
        finally:
            theirs.close()
            if descriptor >= 0:
                os.close(descriptor)
        self._ready = False

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def ask(self, request: dict[str, Any], payload: bytes | None, timeout_s: float) -> None:
        """Send one request.

        Raises:
            ChildFailure: it does not start or does not listen.
        """
        if not self._ready:
            self._answer(time.monotonic() + _START_TIMEOUT_S, "did not start")
            self._ready = True
        slot = self.served % _SLOTS
        self.served += 1
        request["slot"] = (slot * _SLOT_BYTES, _SLOT_BYTES)
        if payload is not None:
            request["bytes"] = len(payload)
        failed = False
        try:
            self.channel.settimeout(timeout_s)
            send(self.channel, request, payload or b"")
        except OSError:
            failed = True
        if failed:
            raise ChildFailure("decoder_crashed", f"the decoder {self._ending()}")

    def answer(self, limits: Limits, deadline: float, slot: int) -> ImageHeader | MedicalImage | ImagingError:
        """The reply to the oldest request.

        Args:
            slot: the request's number in this child's life; says where its pixels lie.

        Raises:
            ChildFailure: none came in time, or nonsense did.
        """
        message = self._answer(deadline, "hangs")
        reason = None
        try:
            if "error" in message:
                kind = ERRORS[message["error"]]
                return kind(str(message["code"]), str(message["reason"]))
            if "header" in message:
                return _header(message["header"])
            arrays = self._arrays(message, limits, deadline, slot % _SLOTS)
            return rebuild(arrays[0], arrays[1] if len(arrays) > 1 else None, message["image"])
        except (KeyError, TypeError, ValueError, IndexError, ImagingError) as error:
            reason = type(error).__name__
        except TimeoutError:
            raise ChildFailure("decoder_timeout", "the decoder stopped in the middle of its answer") from None
        raise ChildFailure("decoder_protocol", f"the decoder gave an answer that makes no sense ({reason})")

    def _answer(self, deadline: float, what: str) -> dict[str, Any]:
        failure = None
        try:
            message = receive(self.channel, deadline)
            if message is not None:
                return message
            failure = ChildFailure("decoder_crashed", f"the decoder {self._ending()}")
        except TimeoutError:
            failure = ChildFailure("decoder_timeout", f"the decoder {what}: it was stopped after its time limit")
        except OSError:
            failure = ChildFailure("decoder_crashed", f"the decoder {self._ending()}")
        except ValueError:
            failure = ChildFailure("decoder_protocol", "the decoder gave an answer that makes no sense")
        raise failure

    def _arrays(self, message: dict[str, Any], limits: Limits, deadline: float, slot: int) -> list[np.ndarray]:
        """Pixels and mask, copied out; the child's word on sizes is checked, not trusted."""
        specs = [(np.dtype(spec["dtype"]), tuple(int(n) for n in spec["shape"])) for spec in message["arrays"]]
        if not 1 <= len(specs) <= 2 or len(specs[0][1]) not in (2, 3):
            raise ValueError("arrays")
        for dtype, shape in specs:
            if dtype.str not in DTYPES or min(shape) < 1 or shape[:2] != specs[0][1][:2]:
                raise ValueError("arrays")
        sizes = [dtype.itemsize * math.prod(shape) for dtype, shape in specs]
        cap = (
            _SLOT_BYTES if message["shared"] else 10 * limits.max_frame_bytes
        )  # a byte may become a double, and a mask
        if sum(sizes) > cap:
            raise ValueError("arrays")
        found, at = [], slot * _SLOT_BYTES
        for (dtype, shape), size in zip(specs, sizes, strict=True):
            if message["shared"] and self._memory is not None:
                flat = np.frombuffer(self._memory, dtype, math.prod(shape), at).copy()
            else:
                data = receive_exactly(self.channel, size, deadline)
                flat = np.frombuffer(data, dtype)
            found.append(flat.reshape(shape))
            at += size
        return found

    def _ending(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(1.0)
        status = self.process.returncode
        if status is not None and status < 0:
            return f"crashed ({signal.Signals(-status).name})"
        return "ended unexpectedly"

    def abandon(self) -> None:
        """Forget a child that belongs to the process this one was forked from."""
        self.channel.close()

    def close(self) -> None:
        """Kill and reap it."""
        self.channel.close()
        if self.alive:
            self.process.kill()
        self.process.wait()
        if self._memory is not None:
            with contextlib.suppress(BufferError):
                self._memory.close()


def _shared_memory() -> tuple[int, mmap.mmap | None]:
    """Anonymous memory that the child can fill but not shrink (a shrunk mapping would kill the parent with SIGBUS)."""
    if not hasattr(os, "memfd_create"):
        return -1, None
    size = _SLOTS * _SLOT_BYTES
    descriptor = os.memfd_create("medvlm-pixels", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return descriptor, mmap.mmap(descriptor, size)


def _environment() -> dict[str, str]:
    root = str(Path(__file__).resolve().parents[2])
    keep = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV") if name in os.environ}
    return {
        **keep,
        "PYTHONPATH": root,
        "PYTHONSAFEPATH": "1",  # a folder called "dl" in the working directory would break gdcm
        "PYTHONDONTWRITEBYTECODE": "1",
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        # Pictures come and go: keep their memory instead of faulting it in again for every file.
        "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
        "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
    }


def _header(values: dict[str, Any]) -> ImageHeader:
    fixed: dict[str, Any] = {
        key: tuple(value) if key in _TUPLES and value is not None else value for key, value in values.items()
    }
    return ImageHeader(**fixed)


class Pool:
    """Idle children for single requests from any thread; at most ``size`` run at once."""

    def __init__(self, size: int | None = None):
        self._size = size or max(1, os.cpu_count() or 1)
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._free = threading.BoundedSemaphore(self._size)
        self._idle: list[Child] = []

    def run(
        self, request: dict[str, Any], payload: bytes | None, limits: Limits
    ) -> ImageHeader | MedicalImage | ImagingError:
        """One request on an idle or a new child; a child that fails is replaced by the next call.

        Returns:
            the result, or the refusal (DecoderDiedError where the child died of it).
        """
        if self._pid != os.getpid():  # forked (a data loader): the children are the other process's
            for child in self._idle:
                child.abandon()
            self._reset()
        with self._free:
            child = self._take()
            failure = None
            try:
                number = child.served
                child.ask(request, payload, limits.timeout_s)
                result = child.answer(limits, time.monotonic() + limits.timeout_s, number)
                self._give_back(child, result)
                return result
            except ChildFailure as error:
                failure = DecoderDiedError(error.code, error.reason)
                child.close()
            except BaseException:  # Ctrl-C in mid-answer: the stream is out of step
                child.close()
                raise
            return failure

    def _take(self) -> Child:
        with self._lock:
            while self._idle:
                child = self._idle.pop()
                if child.alive:
                    return child
                child.close()
        return Child()

    def _give_back(self, child: Child, result: object) -> None:
        if is_spent(child, result):
            child.close()
            return
        with self._lock:
            self._idle.append(child)

    def close(self) -> None:
        """End all idle children."""
        if self._pid != os.getpid():
            return
        with self._lock:
            idle, self._idle = self._idle, []
        for child in idle:
            child.close()


def is_spent(child: Child, result: object) -> bool:
    """True for a child that ends after this answer, or should."""
    fatal = isinstance(result, ImagingError) and result.code in ("out_of_memory", "decoder_panic")
    return fatal or child.served >= _RECYCLE_AFTER


_default: Pool | None = None
_default_lock = threading.Lock()


def default_pool() -> Pool:
    """The pool of :func:`read_image`, made at first use."""
    global _default
    with _default_lock:
        if _default is None:
            _default = Pool()
            atexit.register(_default.close)
        return _default


def request_for(op: str, path: str | None, limits: Limits, frame: int, pet_units: str) -> dict[str, Any]:
    """A request as the worker reads it. The child's working directory is /, so the path is made absolute."""
    request: dict[str, Any] = {"op": op, "limits": asdict(limits), "frame": frame, "pet_units": pet_units}
    if path is not None:
        request["path"] = os.path.abspath(path)
    return request


class _Lane:
    """One child of a batch, with the files it was given and has not answered for."""

    def __init__(self):
        self.child = Child()
        self.waiting: deque[tuple[int, str, int]] = deque()  # place in the batch, path, request number
        self.since = 0.0

    def give(self, place: int, path: str, limits: Limits, frame: int, pet_units: str) -> None:
        self.waiting.append((place, path, self.child.served))
        self.child.ask(request_for("image", path, limits, frame, pet_units), None, limits.timeout_s)
        if len(self.waiting) == 1:
            self.since = time.monotonic()


def run_batch(
    paths: Iterable[str | Path], workers: int, limits: Limits, frame: int, pet_units: str
) -> Iterator[tuple[str | Path, MedicalImage | ImagingError]]:
    """Decode many files on ``workers`` children, two in flight on each, answers in the order of the paths.

    A child that dies is blamed on the file it was at; the other one in flight is given to its successor.
    """
    source = enumerate(paths)
    given: dict[int, str | Path] = {}
    done: dict[int, MedicalImage | ImagingError] = {}
    lanes: list[_Lane] = []
    place, exhausted = 0, False
    try:
        while True:
            while not exhausted and len(given) < 4 * workers + len(lanes):
                lane = _roomiest(lanes, workers)
                if lane is None:
                    break
                item = next(source, None)
                if item is None:
                    exhausted = True
                    break
                given[item[0]] = item[1]
                _give(lane, [(item[0], str(item[1]))], done, limits, frame, pet_units)
            while place in done:
                yield given.pop(place), done.pop(place)
                place += 1
            if exhausted and not given:
                return
            if place not in done:
                _collect(lanes, done, limits, frame, pet_units)
    finally:
        for lane in lanes:
            lane.child.close()


def _roomiest(lanes: list[_Lane], workers: int) -> _Lane | None:
    if len(lanes) < workers:
        lanes.append(_Lane())
        return lanes[-1]
    lane = min(lanes, key=lambda one: len(one.waiting))
    return lane if len(lane.waiting) < _SLOTS else None


def _give(
    lane: _Lane,
    items: list[tuple[int, str]],
    done: dict[int, MedicalImage | ImagingError],
    limits: Limits,
    frame: int,
    pet_units: str,
) -> None:
    for place, path in items:
        failure = None
        try:
            lane.give(place, path, limits, frame, pet_units)
        except ChildFailure as error:
            failure = error
        if failure is not None:
            _bury(lane, failure, done, limits, frame, pet_units)


def _collect(
    lanes: list[_Lane], done: dict[int, MedicalImage | ImagingError], limits: Limits, frame: int, pet_units: str
) -> None:
    """Wait for an answer, or for the first lane whose time is up."""
    busy = [lane for lane in lanes if lane.waiting]
    wait = min(lane.since for lane in busy) + limits.timeout_s - time.monotonic()
    ready, _, _ = select.select([lane.child.channel for lane in busy], [], [], max(0.0, wait))
    for lane in busy:
        failure = None
        if lane.child.channel in ready:
            place, path, number = lane.waiting[0]
            try:
                result = lane.child.answer(limits, time.monotonic() + limits.timeout_s, number)
                lane.waiting.popleft()
                lane.since = time.monotonic()
                done[place] = result.at(path) if isinstance(result, ImagingError) else result  # type: ignore[assignment]
                if is_spent(lane.child, result):
                    failure = ChildFailure("recycled", "")
            except ChildFailure as error:
                failure = error
        elif time.monotonic() - lane.since > limits.timeout_s:
            failure = ChildFailure("decoder_timeout", "the decoder hangs: it was stopped after its time limit")
        if failure is not None:
            _bury(lane, failure, done, limits, frame, pet_units)


def _bury(
    lane: _Lane,
    failure: ChildFailure,
    done: dict[int, MedicalImage | ImagingError],
    limits: Limits,
    frame: int,
    pet_units: str,
) -> None:
    """Replace the lane's child; blame the file it was at, and give what waited behind to the new one."""
    lane.child.close()
    if failure.code != "recycled" and lane.waiting:
        place, path, _ = lane.waiting.popleft()
        done[place] = DecoderDiedError(failure.code, failure.reason, path)
    rest = [(place, path) for place, path, _ in lane.waiting]
    lane.waiting.clear()
    lane.child = Child()
    _give(lane, rest, done, limits, frame, pet_units)
