"""Writing a data set: samples into tars of bounded size, an index beside each, one manifest at the end.

The bytes depend only on the samples and their order, so that an import that was killed and resumed leaves the same
files as one that was not.
"""

import hashlib
import io
import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pretrain.shards.errors import ShardError
from pretrain.shards.index import FORMAT, MANIFEST, Index, IndexRow, ShardInfo, ShardSet, combined_digest, index_path
from pretrain.shards.tar import TarWriter, write_atomically

if TYPE_CHECKING:
    from vlm.sample import Sample

_PATCH = 16  # pixels; the usual ViT patch, for estimates only
_MAX_PATCHES = 4096  # a 1024 x 1024 picture; larger ones are scaled down by every image processor we know
_MERGE = 4  # patches to a token after a 2 x 2 merge
_BYTES_PER_TOKEN = 4
_TOKENS_PER_TURN = 6


def image_shape(data: bytes) -> tuple[int, int]:
    """(H, W) in pixels of a stored image (PNG or npy) from its header alone.

    Raises:
        ShardError: neither a PNG nor an npy array.
    """
    if data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) >= 24:
        width, height = struct.unpack(">II", data[16:24])
        return height, width
    if data[:6] == b"\x93NUMPY":
        stream = io.BytesIO(data)
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, _ = read(stream)
        if len(shape) >= 2:
            return int(shape[0]), int(shape[1])
    raise ShardError(
        "an image of a record is neither PNG nor a two-dimensional npy array: write it with MedicalImage.to_record"
    )


def estimate_patches(height: int, width: int) -> int:
    """Vision patches of a picture of (height, width) pixels, before a processor is known."""
    return min(math.ceil(height / _PATCH) * math.ceil(width / _PATCH), _MAX_PATCHES)


def estimate_tokens(messages: Sequence[Mapping[str, Any]], shapes: Sequence[tuple[int, int]]) -> int:
    """Tokens of a conversation with images of (H, W) pixels, about."""
    tokens = 0
    for message in messages:
        content = message.get("content") or ""
        texts = [content] if isinstance(content, str) else [p["text"] for p in content if p["type"] == "text"]
        tokens += _TOKENS_PER_TURN + sum(math.ceil(len(t.encode()) / _BYTES_PER_TOKEN) for t in texts)
        tokens += math.ceil(len(json.dumps(message.get("tool_calls") or "")) / _BYTES_PER_TOKEN) - 1
    return tokens + sum(math.ceil(estimate_patches(h, w) / _MERGE) + 2 for h, w in shapes)


@dataclass(frozen=True)
class DatasetInfo:
    """What the manifest says about a data set as a whole."""

    name: str
    source: str = ""
    licence: str = "unknown"
    simulated: bool = False


def key_hash(key: str) -> int:
    """64-bit stand-in for a key in sets of keys: 10 million keys take 0.6 GB less."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")


def sample_columns(sample: "Sample") -> dict[str, Any]:
    """What the index says of a sample beside its place."""
    shapes = [image_shape(image.data) for image in sample.images]
    return {
        "tokens": estimate_tokens(sample.messages, shapes),
        "patches": sum(estimate_patches(h, w) for h, w in shapes),
        "images": len(shapes),
        "heights": [h for h, _ in shapes],
        "widths": [w for _, w in shapes],
        "entities": list(sample.entities),
        "patient": sample.provenance.patient,
        "study": sample.provenance.study,
    }


class ShardWriter:
    """Writes samples to ``folder/shard-NNNNNN.tar`` with indexes; ``close`` writes the manifest.

    Args:
        folder: made if it does not exist.
        info: name, source, licence, simulated flag.
        max_bytes, max_samples: a shard is finished when it reaches either.
        done: shards that an earlier, interrupted run finished; writing goes on after them.
        on_shard: called with each ShardInfo when its tar and index are on the disk.

    As a context manager it closes on success and removes the partial tar on an error.
    """

    def __init__(
        self,
        folder: str | Path,
        info: DatasetInfo,
        *,
        max_bytes: int = 256 << 20,
        max_samples: int = 1000,
        done: Sequence[ShardInfo] = (),
        on_shard: Callable[[ShardInfo], None] | None = None,
    ):
        self.folder, self.info = Path(folder), info
        self.folder.mkdir(parents=True, exist_ok=True)
        self.max_bytes, self.max_samples, self.on_shard = max_bytes, max_samples, on_shard
        self.shards: list[ShardInfo] = list(done)
        self._rows: list[IndexRow] = []
        self._tar: TarWriter | None = None
        self._keys: set[int] = set()
        for shard in done:
            self._keys.update(map(key_hash, Index.read(index_path(self.folder / shard.name)).keys()))

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, kind, _error, _traceback) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def __contains__(self, key: str) -> bool:
        return key_hash(key) in self._keys

    def __len__(self) -> int:
        """Samples written, open shard included."""
        return len(self._keys)

    def write(self, sample: "Sample") -> None:
        """Add a sample.

        Raises:
            ShardError: the key was written before, or cannot be stored.
            NoSpaceError: the disk is full; the partial shard has been removed.
        """
        self.write_record(sample.key, sample.to_record(), **sample_columns(sample))

    def write_record(self, key: str, files: Mapping[str, bytes], **columns: Any) -> None:
        """Add raw files under a key; ``columns`` are the fields of IndexRow that the bytes do not tell."""
        if key in self:
            raise ShardError(f"key {key!r} was already written to {self.folder}: keys must be unique in a data set")
        if self._tar is None:
            self._tar = TarWriter(self.folder / f"shard-{len(self.shards):06d}.tar")
        span = self._tar.append(key, files)
        self._rows.append(IndexRow(key, span.offset, span.size, span.sha256, **columns))
        self._keys.add(key_hash(key))
        if self._tar.size >= self.max_bytes or len(self._rows) >= self.max_samples:
            self.finish_shard()

    def finish_shard(self) -> None:
        """Put the open tar and its index on the disk; nothing happens if none is open."""
        if self._tar is None:
            return
        tar, index = self._tar, Index.from_rows(self._rows)
        sha256 = tar.close()
        index.write(index_path(tar.path))
        info = ShardInfo(tar.path.name, len(index), tar.size, sha256, index.digest())
        self.shards.append(info)
        self._tar, self._rows = None, []
        if self.on_shard:
            self.on_shard(info)

    def abort(self) -> None:
        """Remove the partial tar; finished shards stay."""
        if self._tar is not None:
            self._tar.abort()
            self._tar = None

    def close(self, dropped: Mapping[str, int] | None = None, **more: Any) -> ShardSet:
        """Finish the last shard and write ``dataset.json``.

        Args:
            dropped: records that did not become samples, by reason.
            more: further entries of the manifest.
        """
        self.finish_shard()
        write_manifest(self.folder, self.info, self.shards, dropped or {}, **more)
        return ShardSet.open(self.folder)


def write_manifest(
    folder: Path, info: DatasetInfo, shards: Sequence[ShardInfo], dropped: Mapping[str, int], **more: Any
) -> dict[str, Any]:
    """Count what the indexes say and write ``dataset.json``."""
    counts = dict.fromkeys(("samples", "images", "tokens_estimated", "text_only"), 0)
    patients, studies, entities = set(), set(), {}
    for shard in shards:
        for row in Index.read(index_path(folder / shard.name)).rows():
            counts["samples"] += 1
            counts["images"] += row.images
            counts["text_only"] += row.images == 0
            counts["tokens_estimated"] += row.tokens
            patients.add(key_hash(row.patient)) if row.patient else None
            studies.add(key_hash(row.study)) if row.study else None
            for entity in row.entities:
                entities[entity] = entities.get(entity, 0) + 1
    manifest = {
        "format": FORMAT,
        **asdict(info),
        "counts": {**counts, "patients": len(patients), "studies": len(studies), "bytes": sum(s.bytes for s in shards)},
        "dropped": dict(sorted(dropped.items())),
        "entities": dict(sorted(entities.items(), key=lambda item: (-item[1], item[0]))),
        "digest": combined_digest(shards),
        **more,
        "shards": [asdict(shard) for shard in shards],
    }
    write_atomically(folder / MANIFEST, (json.dumps(manifest, indent=1, ensure_ascii=False) + "\n").encode())
    return manifest
