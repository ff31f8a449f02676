"""Decoding children from the parent's side: started once, fed many files, killed and replaced when one goes wrong."""

import atexit
import contextlib
import fcntl
import math
import mmap
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from vlm.imaging.errors import ERRORS, DecoderDiedError, ImagingError
from vlm.imaging.image import ImageHeader, Limits, MedicalImage
from vlm.imaging.record import DTYPES, rebuild
from vlm.imaging.wire import receive, receive_exactly, send

_SLOT_BYTES = 32 << 20  # larger pictures go through the socket
SLOTS = 2  # one being decoded while the other is taken out
_RECYCLE_AFTER = 5_000  # a child that a hostile file has quietly corrupted does not live for ever
_START_TIMEOUT_S = 60.0
_TUPLES = ("spacing_mm", "image_type", "orientation", "position_mm", "notes")


Answer = ImageHeader | list[MedicalImage] | ImagingError


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
        slot = self.served % SLOTS
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

    def answer(self, limits: Limits, deadline: float, slot: int) -> Answer:
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
            return self._images(message, limits, deadline, slot % SLOTS)
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

    def _images(self, message: dict[str, Any], limits: Limits, deadline: float, slot: int) -> list[MedicalImage]:
        arrays = self._arrays(message, limits, deadline, slot)
        images: list[MedicalImage] = []
        for meta in message["images"]:
            pixels = arrays.pop(0)
            is_masked = bool(arrays) and arrays[0].dtype == np.bool_
            images.append(rebuild(pixels, arrays.pop(0) if is_masked else None, meta))
        if arrays or not images:
            raise ValueError("arrays")
        return images

    def _arrays(self, message: dict[str, Any], limits: Limits, deadline: float, slot: int) -> list[np.ndarray]:
        """Pixels, each followed by its mask if it has one, copied out; sizes that the child names are checked."""
        specs = [(np.dtype(spec["dtype"]), tuple(int(n) for n in spec["shape"])) for spec in message["arrays"]]
        if any(dtype.str not in DTYPES or len(shape) not in (2, 3) or min(shape) < 1 for dtype, shape in specs):
            raise ValueError("arrays")
        sizes = [dtype.itemsize * math.prod(shape) for dtype, shape in specs]
        cap = _SLOT_BYTES if message["shared"] else limits.memory_bytes
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
    size = SLOTS * _SLOT_BYTES
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

    def run(self, request: dict[str, Any], payload: bytes | None, limits: Limits) -> Answer:
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
