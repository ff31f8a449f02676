"""Signature parts of image files, read through vlm.imaging, in several processes."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pretrain.dedup.image import Encode, ImageSettings, image_signatures
from pretrain.dedup.store import parts_of, write_parts

_CHUNK = 64
_REFUSED = b"refused"


def sign_images(
    files: Sequence[tuple[str, Path]],
    out: Path,
    settings: ImageSettings,
    *,
    encode: Encode | None = None,
    encoder: str = "",
    workers: int = 1,
    progress: Callable[[int], None] = lambda rows: None,
) -> dict[str, str]:
    """Write signature parts for (key, file) pairs; a file that did not change is not read again.

    Args:
        encode: only with one worker, since a model is not sent to other processes; ``encoder`` is its name, so that
            parts of another one are made anew.

    Returns:
        key -> code, of the files that could not be read.
    """

    def chunks():
        for start in range(0, len(files), _CHUNK):
            some = files[start : start + _CHUNK]
            stats = [path.stat() if path.is_file() else None for _, path in some]
            yield pa.table(
                {
                    "key": [key for key, _ in some],
                    "path": [str(path) for _, path in some],
                    "size": pa.array([s.st_size if s else -1 for s in stats], pa.int64()),
                    "changed": pa.array([s.st_mtime_ns if s else 0 for s in stats], pa.int64()),
                    "encoder": [encoder] * len(some),
                }
            )

    def make(chunk: pa.Table, _settings: ImageSettings) -> pa.Table:
        return _sign(chunk, encode)

    write_parts(
        chunks(), out, make if encode else _make, settings, workers=1 if encode else workers, progress=progress
    )  # fmt: skip
    refused: dict[str, str] = {}
    for part in parts_of(out) if files else ():
        refused.update(json.loads((pq.read_schema(part).metadata or {}).get(_REFUSED, b"{}")))
    return dict(sorted(refused.items()))


def _make(chunk: pa.Table, settings: ImageSettings) -> pa.Table:
    return _sign(chunk, None)


def _sign(chunk: pa.Table, encode: Encode | None) -> pa.Table:
    from vlm.imaging import ImagingError, read_image

    keys, pictures, refused = [], [], {}
    for key, path in zip(chunk["key"].to_pylist(), chunk["path"].to_pylist(), strict=True):
        if not Path(path).is_file():
            refused[key] = "missing"
            continue
        try:
            picture = read_image(path).render()
        except ImagingError as error:
            refused[key] = error.code
            continue
        keys.append(key)
        pictures.append(picture)
    table = image_signatures(pictures, encode).add_column(0, "key", pa.array(keys, pa.string()))
    return table.replace_schema_metadata({_REFUSED: json.dumps(refused, sort_keys=True).encode()})
