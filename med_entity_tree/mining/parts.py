"""Mentions on the disk, a chunk of passages at a time: what makes extraction resumable and bounded in memory.

A part is named after a hash of its passages, the extractor and the tree, so a chunk that was done is not done again,
and an appended corpus costs its new chunks only. A part with passages that got no answer is made again.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from med_entity_tree.mining.extraction import Extracted, Extractor, Mention
from med_entity_tree.mining.passages import Passage
from med_entity_tree.names import name_key

BUCKETS = 256
_PART = pa.schema(
    [
        ("bucket", pa.int16()),
        ("key", pa.string()),
        ("name", pa.string()),
        ("kind", pa.string()),
        ("whole", pa.bool_()),
        ("short", pa.string()),
        ("passage", pa.string()),
        ("document", pa.string()),
    ]
)
_FACTS = b"medvlm"


@dataclass
class Parts:
    """The parts of one run in their order, and what was counted on the way."""

    paths: list[Path] = field(default_factory=list)
    passages: int = 0
    reused: int = 0
    mentions: int = 0
    unanswered: int = 0
    refused: Counter[str] = field(default_factory=Counter)


def extract_to_parts(
    passages: Iterable[Passage],
    extractor: Extractor,
    folder: Path,
    tree_stamp: str,
    chunk: int | None = None,
    progress: Callable[[int], object] = lambda passages: None,
) -> Parts:
    """Run an extractor over a corpus into ``folder/part-<hash>.parquet``, one chunk in memory at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    stamp = json.dumps([tree_stamp, extractor.name, extractor.settings], sort_keys=True)
    total, source = Parts(), iter(passages)
    while block := list(islice(source, chunk or extractor.chunk)):
        path = folder / f"part-{_hash(stamp, block)}.parquet"
        facts = _facts(path)
        if facts is None or facts["unanswered"]:
            facts = _write(path, extractor(block))
        else:
            total.reused += len(block)
        total.paths.append(path)
        total.passages += len(block)
        total.mentions += facts["mentions"]
        total.unanswered += facts["unanswered"]
        total.refused.update(facts["refused"])
        progress(len(block))
    return total


def _facts(path: Path) -> dict | None:
    """What a part says of itself; None where there is none, or a torn one."""
    try:
        return json.loads(pq.read_schema(path).metadata[_FACTS])
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        return None


def _write(path: Path, extracted: Extracted) -> dict:
    rows = [(bucket_of(name_key(m.name)), name_key(m.name), m) for m in extracted.mentions]
    facts = {
        "mentions": len(rows),
        "unanswered": extracted.unanswered,
        "refused": dict(sorted(extracted.refused.items())),
    }
    columns = [[bucket for bucket, _, _ in rows], [key for _, key, _ in rows]]
    columns += [[getattr(m, name) for _, _, m in rows] for name in _PART.names[2:]]
    table = pa.table(columns, schema=_PART.with_metadata({_FACTS: json.dumps(facts).encode()}))
    part = path.with_name(path.name + ".part")
    pq.write_table(table.sort_by("bucket"), part, compression="zstd")
    part.replace(path)
    return facts


def bucket_of(key: str) -> int:
    return xxhash.xxh3_64_intdigest(key.encode()) % BUCKETS


def _hash(stamp: str, block: list[Passage]) -> str:
    digest = hashlib.sha256(stamp.encode())
    for passage in block:
        for piece in (passage.id, passage.text):
            data = piece.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:24]


def mentions_of(paths: list[Path], buckets: range) -> Iterator[tuple[str, Mention]]:
    """The mentions of some buckets with their keys, part by part in order."""
    chosen = [("bucket", ">=", buckets.start), ("bucket", "<", buckets.stop)]
    for path in paths:
        table = pq.read_table(path, filters=chosen, columns=_PART.names[1:])
        for row in zip(*(column.to_pylist() for column in table.columns), strict=True):
            key, name, kind, whole, short, passage, document = row
            yield key, Mention(passage, document, name, kind, whole, short)
