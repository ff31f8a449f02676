"""The access log: one JSON line for each request, appended, chained by hash. Who, what, when, outcome; no content.

Each line ends in `"hash"`: SHA-256 of the previous line's hash and of this line without it, so that a line changed,
taken out or put in later breaks the chain from there on (`verify_audit`). The newest lines can be cut off unseen;
ship the file to another machine against that.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from datetime import UTC, datetime
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

from vlm.errors import MedVLMError

GENESIS = "0" * 64
RECOVERED = "recovered_after_torn_line"
TAIL_BYTES = 65_536


class AuditError(MedVLMError):
    """The audit log cannot be opened, written or believed."""


class AuditLog:
    """Appends to one file; one writer at a time.

    Raises:
        AuditError: no such folder, not writable, another process writes it, or its last line is no audit line.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise AuditError(f"The audit log {path} cannot be opened: {error.strerror}.") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._fd)
            raise AuditError(f"Another process writes the audit log {path}: give this gateway its own.") from None
        self._closed = False
        self.failed = False
        try:
            self._hash, torn = _last_hash(self._fd, path)
        except AuditError:
            self.close()
            raise
        if torn:  # killed while writing: what is there stays, on a line of its own
            os.write(self._fd, b"\n")
            self.append({"event": RECOVERED})

    def append(self, record: dict[str, Any]) -> None:
        """Write one line.

        Raises:
            AuditError: it could not be written. From then on `failed` is True until a line goes through again.
        """
        record = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **record}
        digest = _chain(self._hash, record)
        line = json.dumps({**record, "hash": digest}, separators=(",", ":")).encode() + b"\n"
        start = os.fstat(self._fd).st_size
        try:
            if os.write(self._fd, line) != len(line):
                raise OSError(28, "no space left on device")
        except OSError as error:
            self.failed = True
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, start)  # no half line
            raise AuditError(f"The audit log {self._path} cannot be written: {error.strerror}.") from error
        self._hash, self.failed = digest, False

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            os.close(self._fd)


def verify_audit(path: Path) -> int:
    """Check the chain of `path`. Returns the number of lines.

    A line torn by a kill counts for nothing and is excused where the writer noted it on the next line.

    Raises:
        AuditError: names the first line that does not follow from the one before.
    """
    previous, count = GENESIS, 0
    with path.open("rb") as lines:
        for number, (line, following) in enumerate(pairwise(chain(lines, [b""])), 1):
            record = _parse(line)
            if record is None and (_parse(following) or {}).get("event") == RECOVERED:
                continue
            if record is None:
                raise AuditError(f"{path}, line {number}: this is no audit line.")
            digest = record.pop("hash")
            if _chain(previous, record) != digest:
                raise AuditError(f"{path}, line {number}: changed, or a line before it is missing.")
            previous, count = digest, count + 1
    return count


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("hash"), str) else None


def _chain(previous: str, record: dict[str, Any]) -> str:
    return hashlib.sha256(previous.encode() + json.dumps(record, sort_keys=True).encode()).hexdigest()


def _last_hash(fd: int, path: Path) -> tuple[str, bool]:
    """(hash of the last whole line, whether the file ends in a torn one)."""
    size = os.fstat(fd).st_size
    tail = os.pread(fd, min(size, TAIL_BYTES), max(0, size - TAIL_BYTES))
    for line in reversed(tail.split(b"\n")):
        if record := _parse(line):
            return record["hash"], not tail.endswith(b"\n")
    if size and (size > TAIL_BYTES or b"\n" in tail):
        raise AuditError(f"{path} does not end in audit lines: move it away and start a new one.")
    return GENESIS, bool(tail)
