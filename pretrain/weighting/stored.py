"""The weights file: one weight a record, and in the same file the settings and the index that it was made for.

The manifest is in the metadata of the Parquet file, so that the two cannot be parted; ``medvlm data weights`` writes it
beside the file too, for people.
"""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from med_entity_tree.weights import SamplingError
from pretrain.shards.index import ShardSet
from pretrain.shards.tar import write_atomically

FORMAT = "medvlm-weights/1"
_MANIFEST = b"medvlm"
_SCHEMA = pa.schema([("key", pa.string()), ("weight", pa.float64())])


@dataclass(frozen=True)
class StoredWeights:
    """(N,) times that an epoch shows each record, in the order of the index, and what they were made from."""

    weights: np.ndarray
    manifest: dict[str, Any]


def write_weights(path: Path, source: ShardSet, weights: np.ndarray, settings: dict[str, Any]) -> dict[str, Any]:
    """Write the file, whole or not at all; returns its manifest. The same input gives the same bytes."""
    manifest = {"format": FORMAT, "name": source.name, "index": source.digest, "samples": len(source)} | settings
    keys = _keys(source)
    table = pa.table({"key": keys, "weight": weights}, schema=_SCHEMA)
    table = table.replace_schema_metadata({_MANIFEST: json.dumps(manifest, sort_keys=True).encode()})
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    write_atomically(path, sink.getvalue())
    return manifest


def read_weights(path: Path | str, source: ShardSet) -> StoredWeights:
    """The weights of ``source``.

    Raises:
        SamplingError: no such file, not a weights file, or made for other data.
    """
    path = Path(path)
    try:
        table = pq.read_table(path)
        manifest = json.loads((table.schema.metadata or {})[_MANIFEST])
        table = table.cast(_SCHEMA)
    except FileNotFoundError:
        raise SamplingError(
            f"there is no weights file {path}: make it with `medvlm data weights {source.folder} --out {path}`"
        ) from None
    except (pa.ArrowInvalid, OSError, KeyError, ValueError) as error:
        raise SamplingError(f"{path} is not a file of `medvlm data weights` ({error}): make it again") from error
    if manifest.get("format") != FORMAT:
        raise SamplingError(f"{path} has format {manifest.get('format')!r} and {FORMAT!r} is read here: make it again")
    if manifest["index"] != source.digest or table.column("key").to_pylist() != _keys(source):
        raise SamplingError(
            f"{path} holds the weights of {manifest['samples']} samples of {manifest['name']!r} (index "
            f"{manifest['index'][:12]}), and {source.folder} is {len(source)} samples of {source.name!r} (index "
            f"{source.digest[:12]}): make weights for it with `medvlm data weights {source.folder} --out ...`"
        )
    return StoredWeights(table.column("weight").to_numpy(), manifest)


def _keys(source: ShardSet) -> list[str]:
    return [key for index in source.indexes for key in index.table.column("key").to_pylist()]
