"""The tar format of shards: plain USTAR with fixed times and owners, so that equal samples give equal bytes.

A record is a run of members ``<key>.<suffix>`` (the WebDataset convention). Its span, headers and padding included, is
what the index stores: one positional read fetches it and the headers inside it are parsed in memory. Only members that
can be decoded without running code are written or read.
"""

import errno
import hashlib
import os
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pretrain.shards.errors import NoSpaceError, ShardError, UnsafeMemberError

BLOCK = 512
SAFE_SUFFIXES = frozenset({"json", "png", "npy", "txt"})
MAX_NAME = 100  # the name field of a USTAR header; longer names need extension headers, which we do not use
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_=+@-]*\Z")
_SUFFIX = re.compile(r"[a-z0-9]+(\.[a-z0-9]+)*\Z")
_END = bytes(2 * BLOCK)
_OUT_OF_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True)
class Span:
    """Where a record lies in its tar: ``size`` bytes from ``offset``, and the hash of these bytes."""

    offset: int
    size: int
    sha256: str


def check_member(key: str, suffix: str, where: str) -> None:
    """Refuse a member that cannot be stored or that could run code when decoded.

    Raises:
        UnsafeMemberError: the last part of the suffix is not one of json, png, npy, txt.
        ShardError: the key holds other characters than letters, digits and ``_=+@-``, or the name is too long.
    """
    if suffix.rsplit(".", 1)[-1] not in SAFE_SUFFIXES or not _SUFFIX.match(suffix):
        raise UnsafeMemberError(
            f"{where}: member {key}.{suffix} is refused: only {', '.join(sorted(SAFE_SUFFIXES))} are read, since "
            "formats such as .pkl, .pyd or .pth run code when they are decoded; import the data again without it"
        )
    if not _KEY.match(key):
        raise ShardError(f"{where}: key {key!r} must be letters, digits and _=+@-, and begin with a letter or a digit")
    if len(key) + 1 + len(suffix) > MAX_NAME:
        raise ShardError(f"{where}: the name {key}.{suffix} is longer than {MAX_NAME} characters: use a shorter key")


def padded(size: int) -> int:
    """Bytes that a member's data takes in a tar."""
    return -(-size // BLOCK) * BLOCK


def pack_record(key: str, files: Mapping[str, bytes]) -> bytes:
    """The bytes of one record, ``json`` first so that text can be read without the pixels."""
    parts = []
    for suffix in sorted(files, key=lambda s: (s != "json", s)):
        data = files[suffix]
        check_member(key, suffix, "writing")
        info = tarfile.TarInfo(f"{key}.{suffix}")
        info.size, info.mode = len(data), 0o644
        parts += [info.tobuf(tarfile.USTAR_FORMAT), data, bytes(padded(len(data)) - len(data))]
    return b"".join(parts)


def _header(block: bytes | memoryview, where: str) -> tuple[str, int]:
    """Name and data size from a USTAR header."""
    if bytes(block[257:262]) != b"ustar":
        raise ShardError(f"{where}: no tar header where one should be: the file is damaged or not from this index")
    name = bytes(block[:MAX_NAME]).rstrip(b"\0").decode("utf-8", "replace")
    if block[156] not in (0x30, 0):
        raise UnsafeMemberError(
            f"{where}: member {name!r} is not a plain file (links, folders and extended headers are refused); write "
            "the shard again with `medvlm data import`"
        )
    try:
        return name, int(bytes(block[124:136]).rstrip(b"\0 ") or b"0", 8)
    except ValueError:
        raise ShardError(f"{where}: the tar header of {name!r} holds no size: the file is damaged") from None


def unpack_record(key: str, data: bytes, where: str) -> dict[str, bytes]:
    """Files of a record by suffix, from the bytes of its span.

    Raises:
        ShardError: the bytes do not hold the record ``key`` from end to end.
        UnsafeMemberError: a member is of a kind that is never decoded.
    """
    files: dict[str, bytes] = {}
    view, at, prefix = memoryview(data), 0, key + "."
    while at < len(data):
        name, size = _header(view[at : at + BLOCK], f"{where}, key {key}") if at + BLOCK <= len(data) else ("", -1)
        start = at + BLOCK
        if size < 0 or start + size > len(data) or not name.startswith(prefix):
            raise ShardError(
                f"{where}, key {key}: the record breaks off or belongs to another key: the tar is damaged or its "
                "index is not its own; run `medvlm data verify` on the folder and import again"
            )
        suffix = name[len(prefix) :]
        if suffix.rsplit(".", 1)[-1] not in SAFE_SUFFIXES:
            check_member(key, suffix, where)
        files[suffix] = data[start : start + size]
        at = start + padded(size)
    return files


def walk(path: Path) -> Iterator[tuple[str, int, int]]:
    """(name, header offset, data size) of every member of a tar, strictly.

    Raises:
        ShardError: a header checksum is wrong, or the file ends before its end mark; names the last good member.
    """
    length, at, last = path.stat().st_size, 0, "nothing"
    with path.open("rb") as file:
        while True:
            file.seek(at)
            block = file.read(BLOCK)
            if block == bytes(BLOCK):
                return
            where = f"{path}, byte {at} (after {last})"
            if len(block) < BLOCK:
                raise ShardError(f"{where}: the tar is truncated: import again to rewrite this shard")
            name, size = _header(block, where)
            stored = int(block[148:156].rstrip(b"\0 ") or b"0", 8)
            if stored != 256 + sum(block[:148]) + sum(block[156:]):
                raise ShardError(f"{where}: the header checksum is wrong: the tar is damaged; import again")
            if at + BLOCK + size > length:
                raise ShardError(f"{where}: the tar is truncated inside {name}: import again to rewrite this shard")
            yield name, at, size
            last, at = name, at + BLOCK + padded(size)


class TarWriter:
    """Writes one tar under a temporary name; it gets its own name when it is complete and on the disk, or never.

    Args:
        path: final path; the work is done in ``path`` + ``.tmp``.
    """

    def __init__(self, path: Path):
        self.path = path
        self.temporary = path.with_name(path.name + ".tmp")
        self.size = 0
        self._hash = hashlib.sha256()
        with no_space_is_said(self.path):
            self._file = self.temporary.open("wb")

    def append(self, key: str, files: Mapping[str, bytes]) -> Span:
        """Add one record.

        Raises:
            NoSpaceError: the disk is full; the partial tar has been removed.
        """
        data = pack_record(key, files)
        span = Span(self.size, len(data), hashlib.sha256(data).hexdigest())
        self._write(data)
        return span

    def close(self) -> str:
        """Finish, flush to the disk, rename. Returns the sha256 of the whole tar."""
        self._write(_END)
        try:
            with no_space_is_said(self.path):
                self._file.flush()
                os.fsync(self._file.fileno())
                self._file.close()
                os.replace(self.temporary, self.path)
        except NoSpaceError:
            self.abort()
            raise
        return self._hash.hexdigest()

    def abort(self) -> None:
        """Drop the partial tar."""
        try:
            self._file.close()
        except OSError as error:  # the buffered rest does not fit either; the file goes away below
            if error.errno not in _OUT_OF_SPACE:
                raise
        self.temporary.unlink(missing_ok=True)

    def _write(self, data: bytes) -> None:
        try:
            with no_space_is_said(self.path):
                self._file.write(data)
        except NoSpaceError:
            self.abort()
            raise
        self._hash.update(data)
        self.size += len(data)


class no_space_is_said:
    """Turns "no space", "quota exceeded" and "file too large" into a NoSpaceError that names the file."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self):
        return self

    def __exit__(self, _type, error, _traceback):
        if isinstance(error, OSError) and error.errno in _OUT_OF_SPACE:
            raise NoSpaceError(
                f"no space to write {self.path} ({os.strerror(error.errno or 0)}): the partial file was removed and "
                "finished shards are kept; make room (or choose smaller shards), then run the same command to go on"
            ) from error


def write_atomically(path: Path, data: bytes) -> None:
    """Write a small file so that readers see the old one or the new one, also after a crash.

    Raises:
        NoSpaceError: the disk is full; the old file is untouched.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with no_space_is_said(path):
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            sync_folder(path.parent)
    except NoSpaceError:
        temporary.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
