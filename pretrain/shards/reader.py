"""Reading records by number: one positional read each, from as many open tars as the system allows."""

import hashlib
import os
from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pretrain.shards.errors import ShardError
from pretrain.shards.index import ShardSet
from pretrain.shards.tar import unpack_record

if TYPE_CHECKING:
    from pretrain.shards.plan import Plan
    from vlm.sample import Sample

_OPEN_FILES = 128


class ShardReader:
    """Random access to the records of a data set.

    Reads are positional, so one reader serves threads and forked workers; a pickled reader opens its files anew.

    Args:
        shards: the opened data set.
        verify: compare each record with its hash when it is decoded to a sample.
    """

    def __init__(self, shards: ShardSet, *, verify: bool = True):
        self.shards, self.verify = shards, verify
        self._files: OrderedDict[int, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self.shards)

    def __getstate__(self):
        return {"shards": self.shards, "verify": self.verify, "_files": OrderedDict()}

    def __del__(self):
        self.close()

    def close(self) -> None:
        while self._files:
            os.close(self._files.popitem()[1])

    def raw(self, n: int) -> bytes:
        """The bytes of record ``n`` as they lie in the tar.

        Raises:
            ShardError: the tar ends before the record does.
        """
        shard, row = self.shards.locate(n)
        index = self.shards.indexes[shard]
        size = int(index.size[row])
        data = os.pread(self._file(shard), size, int(index.offset[row]))
        if len(data) != size:
            raise ShardError(
                f"{self._where(shard)}, key {self._key(n)}: the tar ends inside this record: it is truncated; run "
                "`medvlm data verify` on the folder and import again"
            )
        return data

    def record(self, n: int) -> dict[str, bytes]:
        """Files of record ``n`` by suffix, undecoded and unhashed (headers and key are checked).

        Raises:
            ShardError, UnsafeMemberError: see :func:`pretrain.shards.tar.unpack_record`.
        """
        shard, _ = self.shards.locate(n)
        return unpack_record(self._key(n), self.raw(n), self._where(shard))

    def sample(self, n: int) -> "Sample":
        """Record ``n`` as a sample, its images still encoded.

        Raises:
            ShardError: the bytes are not those that were written.
        """
        from vlm.sample import Sample

        shard, row = self.shards.locate(n)
        data = self.raw(n)
        if self.verify and hashlib.sha256(data).hexdigest() != self.shards.indexes[shard].sha256(row):
            raise ShardError(
                f"{self._where(shard)}, key {self._key(n)}: the record does not have the hash of its index: the tar is "
                "damaged; run `medvlm data verify` on the folder and import again"
            )
        key = self._key(n)
        return Sample.from_record(key, unpack_record(key, data, self._where(shard)))

    def __iter__(self) -> "Iterator[Sample]":
        return (self.sample(n) for n in range(len(self)))

    def prefetch(self, n: int) -> None:
        """Ask the system to fetch record ``n`` from the disk meanwhile; a hint, free where the record is in memory."""
        if hasattr(os, "posix_fadvise"):
            shard, row = self.shards.locate(n)
            index = self.shards.indexes[shard]
            place, size = int(index.offset[row]), int(index.size[row])
            os.posix_fadvise(self._file(shard), place, size, os.POSIX_FADV_WILLNEED)

    def _key(self, n: int) -> str:
        shard, row = self.shards.locate(n)
        return self.shards.indexes[shard].key(row)

    def _where(self, shard: int) -> str:
        return str(self.shards.folder / self.shards.shards[shard].name)

    def _file(self, shard: int) -> int:
        handle = self._files.get(shard)
        if handle is None:
            if len(self._files) >= _OPEN_FILES:
                os.close(self._files.popitem(last=False)[1])
            try:
                handle = os.open(self._where(shard), os.O_RDONLY)
            except FileNotFoundError:
                raise ShardError(f"{self._where(shard)} was removed while it was being read: restore it") from None
            self._files[shard] = handle
        return handle


class PlanReader:
    """Reads by position in a plan, and has the system fetch what comes next.

    Args:
        plan: the order.
        verify: see :class:`ShardReader`.
        read_ahead: positions; 0 for none, as where several ranks take turns and each needs only its own.
    """

    def __init__(self, plan: "Plan", *, verify: bool = True, read_ahead: int = 32):
        self.plan, self.read_ahead = plan, read_ahead
        self.readers = [ShardReader(source, verify=verify) for source in plan.sources]
        self._asked = 0

    def raw(self, t: int) -> bytes:
        """Bytes of the record at position ``t``."""
        reader, n = self._at(t)
        return reader.raw(n)

    def record(self, t: int) -> dict[str, bytes]:
        """Files of the record at position ``t``, by suffix."""
        reader, n = self._at(t)
        return reader.record(n)

    def sample(self, t: int) -> "Sample":
        """The sample at position ``t``, its images still encoded."""
        reader, n = self._at(t)
        return reader.sample(n)

    def _at(self, t: int) -> tuple[ShardReader, int]:
        if self.read_ahead:
            end = t + 1 + self.read_ahead
            first = self._asked if t < self._asked < end else t + 1
            for following in range(first, end):
                ref = self.plan.sample(following)
                self.readers[ref.source].prefetch(ref.record)
            self._asked = end
        ref = self.plan.sample(t)
        return self.readers[ref.source], ref.record
