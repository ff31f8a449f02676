"""The append-only file of answers, which is all that a killed measurement needs to go on."""

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.errors import RunError


def read_lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Whole records of a JSONL file, and the number of bytes that they take.

    A last line that was cut short by a kill or a full disk is not counted; a damaged line before it is an error.
    """
    records: list[dict[str, Any]] = []
    good = 0
    data = path.read_bytes() if path.exists() else b""
    for number, line in enumerate(data.split(b"\n")[:-1], 1):
        try:
            records.append(json.loads(line))
        except ValueError:
            if good + len(line) + 1 == len(data):
                break
            raise RunError(
                f"{path}, line {number} is damaged, and it is not the last one. Measure into another folder."
            ) from None
        good += len(line) + 1
    return records, good


class Journal:
    """Answers by content key; every one is on its way to the disk before it counts as given.

    Use as a context manager; a second process that opens the same journal gets a RunError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answers: dict[str, dict[str, Any]] = {}
        self._file = -1

    def __enter__(self) -> "Journal":
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            records, good = read_lines(self.path)
            os.ftruncate(self._file, good)
        except BlockingIOError:
            os.close(self._file)
            raise RunError(f"{self.path.parent}: another process is measuring into this folder") from None
        except BaseException:
            os.close(self._file)
            raise
        self.answers = {record["key"]: record for record in records}
        return self

    def __exit__(self, *_: object) -> None:
        os.fsync(self._file)
        os.close(self._file)

    def add(self, record: Mapping[str, Any]) -> None:
        """Append one answer; its `key` names it.

        Raises:
            RunError: when the disk takes no more.
        """
        line = (json.dumps(record, ensure_ascii=False, sort_keys=True) + "\n").encode()
        try:
            written = os.write(self._file, line)
        except OSError as error:
            raise RunError(f"{self.path}: cannot write ({error.strerror}). What is in it is kept.") from error
        if written != len(line):
            raise RunError(f"{self.path}: the disk is full. Make room and give the same command again.")
        self.answers[record["key"]] = dict(record)


def write_whole(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
