"""What an import remembers on the disk, so that it can be killed at any moment and goes on exactly.

``import.jsonl`` begins with the settings and gains one line for each finished shard: how many records of the source
were used up, and what was dropped until then. A shard counts only when its line is there; anything later is made
again, and comes out the same.
"""

import fcntl
import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pretrain.importing.errors import ImportSourceError
from pretrain.shards.index import MANIFEST, ShardInfo, index_path
from pretrain.shards.tar import no_space_is_said, sync_folder

JOURNAL = "import.jsonl"
DROPPED = "dropped.jsonl"


@dataclass
class Progress:
    """How far an import has come."""

    next: int = 0
    shards: list[ShardInfo] = field(default_factory=list)
    dropped: Counter = field(default_factory=Counter)
    notes: Counter = field(default_factory=Counter)


class Journal:
    """The journal of one split's folder, locked against a second import.

    Args:
        folder: of the shards; made if needed.
        settings: everything that decides the content; an unfinished import with other settings is not continued.
        overwrite: remove what another import left.

    Raises:
        ImportSourceError: another import runs here, or left something made with other settings.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, overwrite: bool = False):
        self.folder, self.settings = folder, json.loads(json.dumps(settings))
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = (folder / ".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise ImportSourceError(
                f"another import is writing to {folder}: wait for it, or choose another --out"
            ) from None
        if overwrite:
            self._clear()
        self.progress = self._load()
        self._drop_file = self._reopen_dropped()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_error) -> None:
        self._drop_file.close()
        self._lock.close()

    @property
    def finished(self) -> bool:
        return (self.folder / MANIFEST).is_file()

    def dropped(self, number: int, where: str, reason: str) -> None:
        """Note a record that was dropped, for the person who wants to look at it."""
        line = {"record": number, "where": where, "reason": reason}
        with no_space_is_said(self.folder / DROPPED):
            self._drop_file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def shard_done(self, info: ShardInfo, used: int, dropped: Counter, notes: Counter) -> None:
        """Make a finished shard count: ``used`` records of the source are in it, in earlier ones, or dropped."""
        self._drop_file.flush()
        line = {"shard": asdict(info), "next": used, "dropped": dict(dropped), "notes": dict(notes)}
        self._append(line)

    def _append(self, line: Mapping[str, Any]) -> None:
        path = self.folder / JOURNAL
        with no_space_is_said(path), path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _load(self) -> Progress:
        path = self.folder / JOURNAL
        if not path.is_file():
            if any(self.folder.glob("*.tar")):
                raise ImportSourceError(
                    f"{self.folder} holds tars that this import did not write: choose another --out, or give "
                    "--overwrite"
                )
            self._append({"settings": self.settings})
            sync_folder(self.folder)
            return Progress()
        content = path.read_text(encoding="utf-8")
        whole = content[: content.rfind("\n") + 1]  # a line that was cut off by a crash does not count
        lines = [json.loads(line) for line in whole.splitlines()]
        if not lines or lines[0].get("settings") != self.settings:
            changed = _changed(lines[0].get("settings", {}) if lines else {}, self.settings)
            raise ImportSourceError(
                f"{self.folder} was begun from other data or with other settings ({changed}): go on with the old "
                "ones, choose another --out, or give --overwrite to begin anew"
            )
        if whole != content:
            path.write_text(whole, encoding="utf-8")
        progress = Progress(shards=[ShardInfo(**line["shard"]) for line in lines[1:]])
        if len(lines) > 1:
            progress.next = lines[-1]["next"]
            progress.dropped, progress.notes = Counter(lines[-1]["dropped"]), Counter(lines[-1]["notes"])
        self._remove_unfinished(progress)
        return progress

    def _remove_unfinished(self, progress: Progress) -> None:
        """Partial files, and shards that have no line yet."""
        known = {self.folder / s.name for s in progress.shards}
        for path in self.folder.glob("*.tmp"):
            path.unlink()
        for tar in self.folder.glob("shard-*.tar"):
            if tar not in known:
                index_path(tar).unlink(missing_ok=True)
                tar.unlink()

    def _reopen_dropped(self):
        """The list of dropped records, without those that will be met again."""
        path = self.folder / DROPPED
        if self.finished:
            return path.open("a", encoding="utf-8")
        kept = []
        if path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    if json.loads(line)["record"] < self.progress.next:
                        kept.append(line)
                except ValueError:  # the last line may have been cut off by a crash
                    break
        file = path.open("w", encoding="utf-8")
        file.writelines(line + "\n" for line in kept)
        return file

    def _clear(self) -> None:
        for pattern in ("shard-*.tar", "shard-*.parquet", "lengths-*.parquet", "*.tmp", JOURNAL, DROPPED, MANIFEST):
            for path in self.folder.glob(pattern):
                path.unlink()


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    names = [name for name in sorted(set(old) | set(new)) if old.get(name) != new.get(name)]
    return "changed: " + ", ".join(names) if names else "the journal is empty"
