"""The decoding child: ``python -m vlm.imaging.worker SOCKET_FD MEMORY_FD``.

It reads requests from a socket, decodes one file at a time under its own memory limit, and answers with JSON and raw
pixels. It may crash, hang or be killed at any moment; :mod:`vlm.imaging.pool` copes. It holds no secrets (an empty
environment), writes no files and keeps nothing between requests.
"""

import logging
import mmap
import os
import resource
import signal
import socket
import sys
import warnings
from dataclasses import asdict
from typing import Any

import numpy as np

from vlm.imaging.decode import decode_frames, decode_header, decode_image, quiet
from vlm.imaging.errors import ImagingError
from vlm.imaging.image import Limits, MedicalImage
from vlm.imaging.record import describe
from vlm.imaging.wire import receive, receive_exactly, send

_GRACE_S = 10  # beyond the parent's own timeout: only an orphan lives that long


def main(argv: list[str]) -> int:
    """Serve requests until the parent closes the socket."""
    channel = socket.socket(fileno=int(argv[1]))
    memory = _map(int(argv[2]))
    _lock_down()
    with quiet():
        _load_decoders()
        send(channel, {"ready": os.getpid()})
        return _loop(channel, memory)


def _load_decoders() -> None:
    """Import what most files need now, so that no file's time and memory limit pays for it."""
    from vlm.imaging import codecs, dicom_pixels, nifti, raster

    del codecs, dicom_pixels, nifti, raster


def _loop(channel: socket.socket, memory: mmap.mmap | None) -> int:
    while True:
        request = receive(channel)
        if request is None:
            return 0
        data = bytes(receive_exactly(channel, request["bytes"])) if "bytes" in request else None
        limits = Limits(**request["limits"])
        _limit_memory(limits.memory_bytes)
        signal.alarm(int(limits.timeout_s) + _GRACE_S)  # ends even a loop in C if the parent is no more
        answer, arrays, fatal = _serve(request, data, limits)
        signal.alarm(0)
        _reply(channel, memory, request.get("slot", (0, 0)), answer, arrays)
        if fatal:
            return 1  # after a memory error or a panic nothing in this process is to be relied on


def _serve(
    request: dict[str, Any], data: bytes | None, limits: Limits
) -> tuple[dict[str, Any], list[np.ndarray], bool]:
    source = request["path"] if data is None else data
    try:
        if request["op"] == "header":
            return {"header": asdict(decode_header(source, limits))}, [], False
        if request["op"] == "frames":
            images = decode_frames(source, limits, request["pet_units"])
            return {"images": [describe(image) for image in images]}, [a for i in images for a in _arrays(i)], False
        image = decode_image(source, request["frame"], limits, request["pet_units"])
        return {"images": [describe(image)]}, _arrays(image), False
    except ImagingError as error:
        return _refusal(type(error).__name__, error.code, error.reason), [], error.code == "out_of_memory"
    except BaseException as error:  # PanicException of Rust codecs derives from BaseException
        code = f"the decoder failed badly ({type(error).__name__})"
        return _refusal("DecoderDiedError", "decoder_panic", code), [], True


def _refusal(kind: str, code: str, reason: str) -> dict[str, Any]:
    return {"error": kind, "code": code, "reason": reason}


def _arrays(image: MedicalImage) -> list[np.ndarray]:
    return [image.pixels] if image.valid is None else [image.pixels, image.valid]


def _reply(
    channel: socket.socket,
    memory: mmap.mmap | None,
    slot: tuple[int, int],
    answer: dict[str, Any],
    arrays: list[np.ndarray],
) -> None:
    """Pixels go through shared memory where the slot holds them, else through the socket."""
    start, size = slot
    total = sum(array.nbytes for array in arrays)
    shared = memory is not None and 0 < total <= size
    answer["arrays"] = [{"dtype": array.dtype.str, "shape": list(array.shape)} for array in arrays]
    answer["shared"] = shared
    if shared and memory is not None:
        at = start
        for array in arrays:
            target = np.frombuffer(memory, array.dtype, array.size, at).reshape(array.shape)
            np.copyto(target, array)
            at += array.nbytes
    send(channel, answer)
    if not shared:
        for array in arrays:
            channel.sendall(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def _map(descriptor: int) -> mmap.mmap | None:
    return mmap.mmap(descriptor, os.fstat(descriptor).st_size) if descriptor >= 0 else None


def _lock_down() -> None:
    """No core files (they would hold pixels), no growing file, no word on any stream."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


_base_bytes = 0


def _limit_memory(extra: int) -> None:
    """Address space: what this process has at its first request, plus ``extra``."""
    global _base_bytes
    if not _base_bytes:
        _base_bytes = _address_space()
    if _base_bytes:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        want = _base_bytes + extra
        resource.setrlimit(resource.RLIMIT_AS, (want if hard < 0 else min(want, hard), hard))


def _address_space() -> int:
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:  # not Linux: no limit of this kind
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
