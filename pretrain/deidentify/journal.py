"""What a run remembers in its output, so that it can be killed at any moment and goes on.

``deidentify.jsonl`` begins with the settings and gains a line for each file that was written or refused. A file is
named by a keyed hash of its path, size and time of change, so the journal says nothing to one without the key.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pretrain.deidentify.errors import SettingsError, StorageError

JOURNAL = "deidentify.jsonl"
PART = ".part"


class Journal:
    """The journal of an output folder, locked against a second run.

    Args:
        folder: the output; made if needed.
        settings: everything that decides the content.
        overwrite: forget what an earlier run did and do it again. Files that it left are removed by the run.

    Raises:
        SettingsError: another run writes here, left files made with other settings, or the folder holds other files.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, overwrite: bool = False):
        self.folder, self.settings = folder, json.loads(json.dumps(settings))
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = (folder / ".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise SettingsError(f"another run is writing to {folder}: wait for it, or choose another --out") from None
        self.done: dict[str, dict[str, Any]] = {}
        try:
            self._load(overwrite)
        except SettingsError:
            self._lock.close()
            raise
        self._file = (folder / JOURNAL).open("ab", buffering=0)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_error) -> None:
        self._file.close()
        self._lock.close()

    def add(self, job: str, line: Mapping[str, Any]) -> None:
        """Make a finished file count."""
        self.done[job] = dict(line)
        self._append({"job": job, **line})

    def is_done(self, job: str) -> bool:
        """True where the file was refused, or was written and still lies there in its size."""
        line = self.done.get(job)
        if line is None:
            return False
        if line["out"] is None:
            return True
        path = self.folder / line["out"]
        return path.is_file() and path.stat().st_size == line["bytes"]

    def _append(self, line: Mapping[str, Any]) -> None:
        """One write of a whole line: what a full disk or a crash cuts off has no line end, and is not read."""
        raw = (json.dumps(line) + "\n").encode()
        failure = None
        try:
            if self._file.write(raw) != len(raw):
                failure = "No space left on device"
            os.fsync(self._file.fileno())
        except OSError as error:
            failure = error.strerror
        if failure:
            raise StorageError(_cannot_write(self.folder, failure))

    def _load(self, overwrite: bool) -> None:
        path = self.folder / JOURNAL
        if path.is_file() or (self.folder / (JOURNAL + PART)).is_file():  # else the folder is somebody else's
            for part in self.folder.rglob(f"*{PART}"):
                part.unlink()
        if overwrite and path.is_file():
            self._forget(path)
        if not path.is_file():
            others = [p for p in self.folder.iterdir() if p.name != ".lock"]
            if others:
                raise SettingsError(
                    f"{self.folder} holds files that no run of this command left: choose an empty folder for --out"
                )
            write_file(path, (json.dumps({"settings": self.settings}) + "\n").encode())
            return
        lines, whole = _lines(path)
        if not lines or lines[0].get("settings") != self.settings:
            raise SettingsError(
                f"{self.folder} was begun with another key or other options ({_changed(lines, self.settings)}): "
                "go on with those, choose another --out, or give --overwrite"
            )
        os.truncate(path, whole)  # without a last line that a crash cut off
        for line in lines[1:]:
            self.done[line.pop("job")] = line

    def _forget(self, path: Path) -> None:
        """Remove the files that the journal lists, and the journal."""
        for line in _lines(path)[0][1:]:
            if line.get("out"):
                (self.folder / line["out"]).unlink(missing_ok=True)
        (self.folder / "manifest.json").unlink(missing_ok=True)
        path.unlink()
        for folder in sorted((p for p in self.folder.rglob("*") if p.is_dir()), reverse=True):
            if not any(folder.iterdir()):
                folder.rmdir()


def _lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The whole lines, and how many bytes they are."""
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    return [json.loads(line) for line in whole.splitlines()], len(whole)


def _cannot_write(folder: Path, reason: str | None) -> str:
    return f"{folder} cannot be written to ({reason}): what is there is whole; make room and run the same command again"


def _changed(lines: list[dict[str, Any]], settings: Mapping[str, Any]) -> str:
    old = lines[0].get("settings", {}) if lines else {}
    names = [name for name in sorted({*old, *settings}) if old.get(name) != settings.get(name)]
    return "changed: " + ", ".join(names) if names else "the journal is empty"


def write_file(path: Path, data: bytes) -> None:
    """Write a whole file or none: what lies under the name is complete and on the disk.

    Raises:
        StorageError: it cannot be written; nothing of it is left.
    """
    part = path.with_name(path.name + PART)
    failure = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        failure = error.strerror
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    if failure:
        raise StorageError(_cannot_write(path.parent, failure))
