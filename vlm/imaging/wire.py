"""Messages between the parent and its decoding child: 4 bytes of length (little endian), JSON, then announced bytes."""

import json
import socket
import struct
import time
from typing import Any

_MAX_JSON = 64 << 20


def send(channel: socket.socket, message: dict[str, Any], payload: bytes = b"") -> None:
    """One message."""
    body = json.dumps(message).encode()
    channel.sendall(struct.pack("<I", len(body)) + body)
    if payload:
        channel.sendall(payload)


def receive(channel: socket.socket, deadline: float | None = None) -> dict[str, Any] | None:
    """One message without its payload; None when the other side has gone.

    Raises:
        TimeoutError: the deadline (``time.monotonic``) has passed.
        ValueError: what came is not a message.
    """
    head = receive_exactly(channel, 4, deadline)
    if len(head) < 4:
        return None
    (length,) = struct.unpack("<I", head)
    if length > _MAX_JSON:
        raise ValueError("message too long")
    body = receive_exactly(channel, length, deadline)
    if len(body) < length:
        return None
    message = json.loads(body)
    if not isinstance(message, dict):
        raise ValueError("not a message")
    return message


def receive_exactly(channel: socket.socket, count: int, deadline: float | None = None) -> bytearray:
    """``count`` bytes, fewer only at the end of the stream.

    Raises:
        TimeoutError: the deadline has passed.
    """
    buffer = bytearray(count)
    view, have = memoryview(buffer), 0
    while have < count:
        if deadline is not None:
            channel.settimeout(max(0.001, deadline - time.monotonic()))
        got = channel.recv_into(view[have:])
        if not got:
            break
        have += got
    view.release()
    del buffer[have:]
    return buffer
