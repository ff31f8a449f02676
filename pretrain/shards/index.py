"""The index beside each tar, and a folder of indexed shards as one numbered list of records.

``shard-000012.tar`` has ``shard-000012.parquet``: one row a record with its place, size, hash, entities, cluster
keys and estimates of its length. ``dataset.json`` lists the shards with their hashes and carries licence, source and
counts.
"""

import hashlib
import io
import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pretrain.shards.errors import IndexMissingError, ShardError
from pretrain.shards.tar import write_atomically

MANIFEST = "dataset.json"
FORMAT = "medvlm-shards/1"

_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("offset", pa.int64()),
        ("size", pa.int64()),
        ("sha256", pa.string()),
        ("tokens", pa.int32()),
        ("patches", pa.int32()),
        ("images", pa.int32()),
        ("heights", pa.list_(pa.int32())),
        ("widths", pa.list_(pa.int32())),
        ("entities", pa.list_(pa.string())),
        ("patient", pa.string()),
        ("study", pa.string()),
    ]
)


@dataclass(frozen=True)
class IndexRow:
    """One record of a shard.

    Attributes:
        key: WebDataset key.
        offset, size: span in the tar in bytes, headers and padding included.
        sha256: of the span.
        tokens: estimate of the text and image tokens, for planning before a processor is known.
        patches: estimate of the vision patches of all images together.
        images: number of images; heights, widths: of each in pixels as stored.
        entities: entity ids; patient, study: cluster keys, "" where unknown.
    """

    key: str
    offset: int
    size: int
    sha256: str
    tokens: int = 0
    patches: int = 0
    images: int = 0
    heights: list[int] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)
    entities: list[str] = field(default_factory=list)
    patient: str = ""
    study: str = ""

    def digest_line(self) -> bytes:
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False).encode() + b"\n"


def index_path(tar: Path) -> Path:
    return tar.with_suffix(".parquet")


class Index:
    """The rows of one shard; columns stay in Arrow, and only what reading needs becomes numpy."""

    def __init__(self, table: pa.Table):
        self.table = table
        self.offset: np.ndarray = table.column("offset").to_numpy()  # (N,) bytes
        self.size: np.ndarray = table.column("size").to_numpy()  # (N,) bytes
        self._key = table.column("key").combine_chunks()
        self._sha256 = table.column("sha256").combine_chunks()

    def __len__(self) -> int:
        return len(self.offset)

    def key(self, i: int) -> str:
        return self._key[i].as_py()

    def sha256(self, i: int) -> str:
        return self._sha256[i].as_py()

    @classmethod
    def from_rows(cls, rows: Sequence[IndexRow]) -> "Index":
        return cls(pa.Table.from_pylist([asdict(row) for row in rows], schema=_SCHEMA))

    @classmethod
    def read(cls, path: Path) -> "Index":
        """
        Raises:
            IndexMissingError: no such file, or it is not an index.
        """
        try:
            table = pq.read_table(path, memory_map=True)
            return cls(table.cast(_SCHEMA).combine_chunks())
        except FileNotFoundError:
            raise IndexMissingError(
                f"{path} is missing: a tar is read through the index beside it; import again, or build the index "
                "with `medvlm data verify --reindex` on the folder"
            ) from None
        except (pa.ArrowInvalid, ValueError, KeyError) as error:
            raise IndexMissingError(f"{path} is not an index of this version ({error}): import again") from error

    def write(self, path: Path) -> None:
        """Write the index atomically."""
        sink = io.BytesIO()
        pq.write_table(self.table, sink, compression="zstd")
        write_atomically(path, sink.getvalue())

    def row(self, i: int) -> IndexRow:
        return IndexRow(**{name: self.table.column(name)[i].as_py() for name in _SCHEMA.names})

    def rows(self) -> Iterator[IndexRow]:
        for batch in self.table.to_batches(max_chunksize=1024):
            for row in batch.to_pylist():
                yield IndexRow(**row)

    def keys(self) -> list[str]:
        return self._key.to_pylist()

    def digest(self) -> str:
        """Hash of the content, whatever the Parquet library did with it."""
        sha = hashlib.sha256()
        for row in self.rows():
            sha.update(row.digest_line())
        return sha.hexdigest()


@dataclass(frozen=True)
class ShardInfo:
    """What the manifest says of one shard."""

    name: str
    samples: int
    bytes: int
    sha256: str
    index: str  # Index.digest()


def combined_digest(shards: Sequence[ShardInfo]) -> str:
    """The hash that a plan depends on: which records lie where, in which order of shards."""
    return hashlib.sha256("\n".join(f"{s.name} {s.index}" for s in shards).encode()).hexdigest()


class ShardSet:
    """A folder of shards, its records numbered 0..N-1 through the shards in order.

    Attributes:
        folder: where the tars lie; name: of the data set; manifest: content of dataset.json.
        starts: (S + 1,) number of the first record of each shard.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any], shards: list[ShardInfo], indexes: list[Index]):
        self.folder, self.manifest, self.shards, self.indexes = folder, manifest, shards, indexes
        self.name: str = manifest["name"]
        self.digest = combined_digest(shards)
        self.starts = [0]
        for index in indexes:
            self.starts.append(self.starts[-1] + len(index))

    def __len__(self) -> int:
        return self.starts[-1]

    def __repr__(self) -> str:
        return f"ShardSet({self.name!r}, {len(self)} samples in {len(self.shards)} shards, {self.digest[:12]})"

    @classmethod
    def open(cls, folder: str | Path, name: str | None = None) -> "ShardSet":
        """Read the manifest and every index of a folder.

        Args:
            folder: with ``dataset.json``.
            name: instead of the manifest's, where two data sets of one plan have the same.

        Raises:
            IndexMissingError: no manifest, a tar or an index is missing, or an index is not the manifest's.
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        shards = [ShardInfo(**info) for info in manifest["shards"]]
        indexes = []
        for info in shards:
            tar = folder / info.name
            if not tar.is_file():
                raise IndexMissingError(
                    f"{tar} is missing though {folder / MANIFEST} lists it: restore it or import again"
                )
            if tar.stat().st_size != info.bytes:
                raise ShardError(
                    f"{tar} has {tar.stat().st_size:,} bytes and should have {info.bytes:,}: it is truncated or from "
                    "another import; run `medvlm data verify`, then import again"
                )
            index = Index.read(index_path(tar))
            if len(index) != info.samples:
                raise IndexMissingError(
                    f"{index_path(tar)} has {len(index)} rows and the manifest says {info.samples}: import again"
                )
            indexes.append(index)
        return cls(folder, manifest | {"name": name or manifest["name"]}, shards, indexes)

    def locate(self, n: int) -> tuple[int, int]:
        """Shard and row of record ``n``."""
        if not 0 <= n < len(self):
            raise IndexError(f"record {n} of {len(self)} in {self.folder}")
        shard = bisect_right(self.starts, n) - 1
        return shard, n - self.starts[shard]

    def row(self, n: int) -> IndexRow:
        shard, row = self.locate(n)
        return self.indexes[shard].row(row)

    def rows(self) -> Iterator[IndexRow]:
        for index in self.indexes:
            yield from index.rows()

    def column(self, name: str) -> np.ndarray:
        """(N,) numbers of one index column, such as ``tokens``, ``patches`` or ``images``."""
        if not self.indexes:
            return np.zeros(0, np.int64)
        return np.concatenate([index.table.column(name).to_numpy() for index in self.indexes])

    def entities(self) -> list[list[str]]:
        """Entity ids of every record."""
        return [entities for index in self.indexes for entities in index.table.column("entities").to_pylist()]


def read_manifest(folder: Path) -> dict[str, Any]:
    """
    Raises:
        IndexMissingError: there is no finished data set in the folder.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        nested = sorted(p.parent.name for p in folder.glob(f"*/{MANIFEST}"))
        if nested:
            hint = f"; it holds the data sets {', '.join(nested)}: name one of them"
        elif next(folder.glob("*.tar"), None):
            hint = (
                ": the import was not finished (run it again), or the tars come from elsewhere and need an index "
                "(`medvlm data verify --reindex`)"
            )
        else:
            hint = ": this is not a folder of shards; make one with `medvlm data import`"
        raise IndexMissingError(f"there is no {path}{hint}") from None
    except (OSError, ValueError) as error:
        raise IndexMissingError(f"{path} cannot be read ({error}): import again") from error
    if manifest.get("format") != FORMAT:
        raise IndexMissingError(
            f"{path} has format {manifest.get('format')!r} and {FORMAT!r} is read here: import again"
        )
    return manifest
