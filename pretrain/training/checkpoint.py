"""Checkpoint folders that survive ``kill -9``, a full disk and a torn write.

A checkpoint is written into ``.writing-step_N``, every file is flushed to the disk, a manifest with sizes and SHA-256
sums is written last, and one rename makes it ``step_N``. A folder without a manifest, or whose files do not match it,
is never resumed from: the one before it is.
"""

import errno
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from pretrain.training.errors import CheckpointError

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
_PREFIX, _TEMPORARY = "step_", ".writing-"


class CheckpointStore:
    """The ``checkpoints`` folder of a run; the newest ``keep`` checkpoints stay."""

    def __init__(self, folder: Path, keep: int):
        self.folder, self.keep = folder, keep

    def path(self, step: int) -> Path:
        return self.folder / f"{_PREFIX}{step:08d}"

    def begin(self, step: int) -> Path:
        """An empty folder to write the checkpoint of ``step`` into (left-overs of a killed write are removed)."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for leftover in self.folder.glob(f"{_TEMPORARY}*"):
            shutil.rmtree(leftover)
        temporary = self.folder / f"{_TEMPORARY}{_PREFIX}{step:08d}"
        temporary.mkdir()
        return temporary

    def commit(self, step: int, temporary: Path) -> Path:
        """Make the written folder the checkpoint of ``step``, durable, and drop the oldest beyond ``keep``."""
        files = sorted(p for p in temporary.rglob("*") if p.is_file())
        entries = {}
        for file in files:
            _sync(file)
            name = str(file.relative_to(temporary))
            entries[name] = {"bytes": file.stat().st_size, "sha256": _sha256(file)}
        manifest = temporary / MANIFEST
        manifest.write_text(json.dumps({"step": step, "files": entries}, indent=1), encoding="utf-8")
        _sync(manifest)
        for folder in {temporary, *(p.parent for p in files)}:
            _sync(folder)
        final = self.path(step)
        if final.exists():  # same step, written again after a resume from an older checkpoint
            shutil.rmtree(final)
        os.rename(temporary, final)
        _sync(self.folder)
        for old in self._steps()[: -self.keep]:
            shutil.rmtree(self.path(old))
        return final

    def abort(self, temporary: Path) -> None:
        """Give the space of an unfinished checkpoint back."""
        shutil.rmtree(temporary, ignore_errors=True)

    def latest(self) -> tuple[int, Path] | None:
        """Step and folder of the newest whole checkpoint, or None; damaged ones are logged and passed over."""
        for step in reversed(self._steps()):
            problem = damage(self.path(step))
            if problem is None:
                return step, self.path(step)
            log.warning("checkpoint %s is not used: %s", self.path(step), problem)
        return None

    def _steps(self) -> list[int]:
        names = [p.name for p in self.folder.glob(f"{_PREFIX}*") if p.is_dir()] if self.folder.is_dir() else []
        return sorted(int(n.removeprefix(_PREFIX)) for n in names if n.removeprefix(_PREFIX).isdigit())


def damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint folder, in words; None if every file is there with its size and checksum."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = manifest["files"]
    except FileNotFoundError:
        return "it has no manifest, so writing it was cut off"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"its manifest cannot be read ({error})"
    for name, entry in files.items():
        file = folder / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != entry["bytes"]:
            return f"{name} has {file.stat().st_size} bytes in place of {entry['bytes']}"
        if _sha256(file) != entry["sha256"]:
            return f"the checksum of {name} does not match"
    return None


def write_checkpoint(store: CheckpointStore, step: int, write: Callable[[Path], None]) -> Path:
    """Write and commit a checkpoint from one process (``write`` fills the folder).

    Raises:
        CheckpointError: no space is left; the unfinished folder is removed and older checkpoints stay.
    """
    temporary = None
    try:
        temporary = store.begin(step)
        write(temporary)
        return store.commit(step, temporary)
    except Exception as error:
        if temporary is not None:
            store.abort(temporary)
        if is_no_space(error):
            raise no_space(store, step) from error
        raise


def no_space(store: CheckpointStore, step: int) -> CheckpointError:
    """The sentence for a full disk while the checkpoint of ``step`` was written."""
    steps = store._steps()
    kept = f"the run can go on from step {steps[-1]}" if steps else "no checkpoint was written before"
    return CheckpointError(
        f"no space left on the disk that holds {store.folder} while the checkpoint of step {step} was written; "
        f"{kept}: free some space and run the same command again"
    )


def is_no_space(error: BaseException) -> bool:
    """True for a full disk, also where a library hides the errno in its text (safetensors, torch)."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "No space left" in str(seen) or "os error 28" in str(seen):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
