"""Rows of several files brought together under a key, by sorting on disk: memory is bounded, whatever their size.

Releases such as UMLS and SNOMED CT keep names, types and relations in files of their own, in an order of their own.
Rows are collected up to a budget, sorted, written to a temporary file, and the files merged.
"""

import errno
import heapq
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import IO

from med_entity_tree.errors import ScratchSpaceError

_OVERHEAD = 60  # bytes of a string and its place in a list, beside its characters


class Join:
    """``add`` rows in any order, then take ``groups`` once; close it (or use ``with``) to free the disk.

    Args:
        scratch: folder of the temporary files; by default the system's (``TMPDIR``). It needs about as much space as
            the rows that were added.
        budget: bytes of rows held in memory, that is their characters and what Python adds to each string.
    """

    def __init__(self, scratch: Path | None = None, budget: int = 64 << 20):
        self._scratch, self._budget = scratch, budget
        self._rows: list[str] = []
        self._size = 0
        self._runs: list[IO[str]] = []

    def __enter__(self) -> "Join":
        return self

    def __exit__(self, *_: object) -> None:
        for run in self._runs:
            with suppress(OSError):  # what could not be written is not wanted any more
                run.close()

    def add(self, key: str, *fields: str) -> None:
        """One row; no part may hold a tab or a line feed."""
        row = "\t".join((key, *fields)) + "\n"
        self._rows.append(row)
        self._size += len(row) + _OVERHEAD
        if self._size > self._budget:
            self._spill()

    def groups(self) -> Iterator[tuple[str, list[list[str]]]]:
        """Each key once, in order, with its rows' fields (without the key), also in order: by the first field first."""
        self._rows.sort()
        for run in self._runs:
            run.seek(0)
        merged = heapq.merge(*self._runs, self._rows)
        for key, rows in groupby(merged, key=lambda row: row[: row.index("\t")]):
            skip = len(key) + 1
            yield key, [row[skip:-1].split("\t") for row in rows]

    def _spill(self) -> None:
        self._rows.sort()
        try:
            run = tempfile.TemporaryFile(  # noqa: SIM115 - closed with the join
                "w+", encoding="utf-8", newline="\n", buffering=1 << 17, prefix="medvlm-join-", dir=self._scratch
            )
            self._runs.append(run)
            run.writelines(self._rows)
            run.flush()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            folder = self._scratch or tempfile.gettempdir()
            raise ScratchSpaceError(
                f"{folder} is full after {len(self._runs)} sorted parts of an ontology. Free space there, or name "
                "another folder with TMPDIR; about the size of the unpacked files is needed."
            ) from error
        self._rows, self._size = [], 0
