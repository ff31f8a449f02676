"""Folders of shards that are made from other shards: what may be written to, and what is finished already."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pretrain.shards.errors import DataError
from pretrain.shards.index import MANIFEST
from pretrain.shards.tar import write_atomically


def begin_derived(
    source: Path, out: Path, begun: str, settings: Mapping[str, Any], error: type[DataError], kept: Sequence[str] = ()
) -> bool:
    """Make ``out`` ready; True where a run with the same settings has finished there.

    Args:
        source: shards that it is made from.
        out: must be empty, or begun by an earlier run.
        begun: name of the file that says with which settings; a folder without it was not begun.
        settings: everything that decides the content, JSON only.
        error: raised where ``out`` is the source or holds something else.
        kept: files that a run with the same settings goes on with; under other settings they are removed.
    """
    out.mkdir(parents=True, exist_ok=True)
    if out.resolve() == source.resolve():
        raise error(f"{out} is the source itself: choose a new folder")
    stamp, said = out / begun, json.dumps(settings, sort_keys=True) + "\n"
    if not stamp.is_file() and any(out.glob("*.tar")):
        raise error(f"{out} holds tars that this command did not write: choose another --out")
    same = stamp.is_file() and stamp.read_text("utf-8") == said
    if same and (out / MANIFEST).is_file():
        return True
    old = ("shard-*.tar", "shard-*.parquet", "*.tmp", MANIFEST, *(() if same else kept))
    for path in [path for pattern in old for path in out.glob(pattern)]:
        path.unlink()
    write_atomically(stamp, said.encode())
    return False
