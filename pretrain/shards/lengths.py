"""How long each sample is, in tokens and vision patches: estimated by the index, or counted with a processor.

Counting reads only the text of each record and the image sizes of the index, so it is fast; the result lies beside the
shards, in a file named after the hash of the processor that it holds for.
"""

import hashlib
import io
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pretrain.shards.errors import DataError
from pretrain.shards.index import ShardSet
from pretrain.shards.reader import ShardReader
from pretrain.shards.tar import write_atomically

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Lengths:
    """Lengths of the samples of a data set: (N,) tokens, image tokens included, and (N,) patches of all images."""

    tokens: np.ndarray
    patches: np.ndarray

    def digest(self) -> str:
        sha = hashlib.sha256(np.ascontiguousarray(self.tokens, np.int64).tobytes())
        sha.update(np.ascontiguousarray(self.patches, np.int64).tobytes())
        return sha.hexdigest()[:16]


def estimated_lengths(shards: ShardSet) -> Lengths:
    """What the importer guessed; good for planning, not for a budget that must hold."""
    return Lengths(shards.column("tokens").astype(np.int64), shards.column("patches").astype(np.int64))


def processor_hash(processor: Any, render_size: int | None = None) -> str:
    """Identity of everything that decides how many tokens a sample has."""
    tokenizer = getattr(processor, "tokenizer", processor)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    image_processor = getattr(processor, "image_processor", None)
    parts = {
        "tokenizer": backend.to_str() if backend is not None else sorted(tokenizer.get_vocab().items()),
        "template": getattr(processor, "chat_template", None) or getattr(tokenizer, "chat_template", None),
        "image_processor": image_processor.to_dict() if image_processor is not None else None,
        "render_size": render_size,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def lengths_path(shards: ShardSet, digest: str) -> Path:
    return shards.folder / f"lengths-{digest}.parquet"


def measure_lengths(
    shards: ShardSet,
    processor: Any,
    *,
    render_size: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Lengths:
    """Count tokens and patches of every sample as the processor will make them, once for each processor.

    Args:
        shards: the data set; the counts are kept in its folder when that can be written.
        processor: has ``apply_chat_template``, a ``tokenizer``, ``image_token`` and ``_get_num_multimodal_tokens`` (the
            interface that vLLM asks of transformers processors).
        render_size: longest side in pixels that images are rendered to before the processor; None: as stored.
        progress: called with the number of samples done.

    Raises:
        DataError: the template does not print one image token for each image.
    """
    digest = processor_hash(processor, render_size)
    path = lengths_path(shards, digest)
    if (kept := _read(path, shards)) is not None:
        return kept
    tokens, patches = np.zeros(len(shards), np.int64), np.zeros(len(shards), np.int64)
    reader = ShardReader(shards)
    for n, row in enumerate(shards.rows()):
        head = json.loads(reader.record(n)["json"])
        shapes = [rendered_shape(h, w, render_size) for h, w in zip(row.heights, row.widths)]
        tokens[n], patches[n] = count_lengths(processor, head["messages"], shapes, row.key)
        if progress:
            progress(n + 1)
    reader.close()
    _write(path, shards, tokens, patches)
    return Lengths(tokens, patches)


def count_lengths(
    processor: Any, messages: Sequence[dict], shapes: Sequence[tuple[int, int]], key: str
) -> tuple[int, int]:
    """(tokens, patches) of one conversation whose i-th stored image has ``shapes[i]`` = (H, W) pixels when rendered."""
    from vlm.messages import image_indices

    shown = [shapes[i] for i in image_indices(messages)]
    text = processor.apply_chat_template(list(messages), tokenize=False)
    image_token = processor.image_token
    if text.count(image_token) != len(shown):
        raise DataError(
            f"sample {key!r}: the chat template prints {text.count(image_token)} image tokens for {len(shown)} "
            f"images: the text holds {image_token!r}, or the template drops images of some role"
        )
    text_tokens = len(processor.tokenizer(text, add_special_tokens=False)["input_ids"]) - len(shown)
    if not shown:
        return text_tokens, 0
    counted = processor._get_num_multimodal_tokens(image_sizes=[list(shape) for shape in shown])
    return text_tokens + sum(counted["num_image_tokens"]), sum(counted["num_image_patches"])


def rendered_shape(height: int, width: int, size: int | None) -> tuple[int, int]:
    """(H, W) of ``MedicalImage.render(size=size)``: the longest side becomes ``size``, never larger than it was."""
    longest = max(height, width)
    if size is None or longest <= size:
        return height, width
    return max(1, round(height * size / longest)), max(1, round(width * size / longest))


def _read(path: Path, shards: ShardSet) -> Lengths | None:
    if not path.is_file():
        return None
    table = pq.read_table(path)
    if (table.schema.metadata or {}).get(b"data") != shards.digest.encode() or table.num_rows != len(shards):
        return None
    return Lengths(table.column("tokens").to_numpy(), table.column("patches").to_numpy())


def _write(path: Path, shards: ShardSet, tokens: np.ndarray, patches: np.ndarray) -> None:
    table = pa.table({"tokens": tokens, "patches": patches}).replace_schema_metadata({"data": shards.digest})
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    try:
        write_atomically(path, sink.getvalue())
    except OSError as error:
        log.warning("lengths are counted but not kept, %s cannot be written: %s", path, error.strerror)
