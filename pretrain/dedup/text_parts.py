"""Signature parts of a table of texts, in several processes."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa

from pretrain.dedup.errors import DedupError
from pretrain.dedup.store import write_parts
from pretrain.dedup.text import TextSettings, text_signatures


def sign_texts(
    chunks: Iterable[pa.Table],
    out: Path,
    settings: TextSettings,
    *,
    workers: int = 1,
    progress: Callable[[int], None] = lambda rows: None,
) -> int:
    """Write signature parts for chunks of rows ``key``, ``text`` and, optionally, ``order`` and ``terms`` (lists).

    See :func:`pretrain.dedup.store.write_parts` for resuming; returns the number of parts made now.
    """
    return write_parts(chunks, out, _make, settings, workers=workers, progress=progress)


def _make(chunk: pa.Table, settings: TextSettings) -> pa.Table:
    if missing := {"key", "text"} - set(chunk.column_names):
        raise DedupError(f"texts need the columns key and text; {', '.join(sorted(missing))} is not there")
    terms = [t or () for t in chunk["terms"].to_pylist()] if "terms" in chunk.column_names else None
    made = text_signatures(chunk["text"].to_pylist(), settings, terms)
    for name in ("order", "key"):
        if name in chunk.column_names:
            made = made.add_column(0, name, chunk[name])
    return made
