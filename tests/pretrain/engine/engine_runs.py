"""Runs of the engine: in this process, as the command, killed; and what they left."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from pretrain.engine.recipe import EngineRecipe
from pretrain.engine.run import Where, run_engine
from pretrain.shards import ShardSet
from pretrain.shards.reader import ShardReader
from vlm.recipe import load_recipe

COMMAND = [sys.executable, "-c", "import medvlm; medvlm.main()", "data", "build"]


def run(path: Path, out: Path, **where):
    return run_engine(load_recipe(EngineRecipe, path), out, Where(**where))


def samples(folder: Path):
    return list(ShardReader(ShardSet.open(folder)))


def content(out: Path) -> dict[str, str]:
    """Hash of every file that is meant for others: shards, indexes, manifests, card."""
    files = [*(out / "shards").rglob("*"), *out.glob("card.*")]
    wanted = (f for f in files if f.is_file() and f.name not in (".lock", "import.jsonl"))
    return {str(f.relative_to(out)): hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(wanted)}


def killed_when(path: Path, out: Path, reached) -> bool:
    """Run the command and kill it, with its workers, as soon as ``reached()``; False if it ended before."""
    process = subprocess.Popen([*COMMAND, str(path), "--out", str(out)], start_new_session=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    end = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < end:
        if reached():
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.002)
    assert process.poll() is not None, "the run hangs"
    return False
