"""Signatures of pictures: hashes that propose pairs, and the small picture on which pairs are verified."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from pretrain.dedup import align
from pretrain.dedup.errors import DedupError

HASH_SIDE = 16
WORDS = HASH_SIDE * HASH_SIDE // 64
_MIDDLE = (0.5,)
_CROPS = ((1.0, _MIDDLE), (0.95, _MIDDLE), (0.90, (0.0, 0.5, 1.0)), (0.82, _MIDDLE))  # share of a side, places
VIEWS = sum(len(places) ** 2 for _, places in _CROPS)

Encode = Callable[[Sequence[np.ndarray]], np.ndarray]
"""Pictures, (H, W) or (H, W, 3) uint8, to (N, D) floats."""


@dataclass(frozen=True)
class ImageSettings:
    """Which pairs of pictures are verified, and from when they are the same exposure.

    Attributes:
        radius: largest Hamming distance of two 256-bit perceptual hashes (the nearest of a few crops) that is looked
            at. Other patients begin at about 60, crops of 5 % of a side reach 65.
        neighbours: nearest pictures that are looked at for each one.
        cosine: least cosine of two embeddings that is looked at, where there are embeddings.
        agreement: see :data:`pretrain.dedup.align.AGREEMENT`.
    """

    radius: int = 66
    neighbours: int = 12
    cosine: float = 0.9
    agreement: float = align.AGREEMENT

    def __post_init__(self):
        if not 0 <= self.radius <= 128 or self.neighbours < 1:
            raise DedupError("a radius of the hash lies between 0 and 128 bits, and one neighbour is the least")
        if not 0.5 <= self.agreement <= 1:
            raise DedupError(f"an agreement of {self.agreement} proves nothing: it lies between 0.5 and 1")

    def record(self) -> dict[str, Any]:
        return {**asdict(self), "version": 1}


def image_signatures(pictures: Sequence[np.ndarray], encode: Encode | None = None) -> pa.Table:
    """What :func:`pretrain.dedup.image_run.image_duplicates` has to know of each picture.

    Args:
        pictures: (H, W) or (H, W, 3) uint8, as :meth:`vlm.imaging.MedicalImage.render` draws them.
        encode: an embedding besides, for more candidates (heavier crops).

    Returns:
        N rows: ``pixels`` (16 bytes, hash of the picture), ``blank``, ``hashes`` (uint64, VIEWS + 1 hashes of WORDS
        words; the last is of the mirrored picture), ``square`` (the grey content, SIDE x SIDE bytes) and, with encode,
        ``embedding``. The caller adds ``key`` and, if it likes, ``order``.
    """
    squares = [square_of(picture) for picture in pictures]
    table = pa.table(
        {
            "pixels": pa.array([pixel_hash(picture) for picture in pictures], pa.binary(16)),
            "blank": pa.array([bool(picture.min() == picture.max()) for picture in pictures], pa.bool_()),
            "hashes": _lists(
                np.array([hashes_of(s) for s in squares], np.uint64).reshape(len(squares), (VIEWS + 1) * WORDS),
                pa.uint64(),
            ),
            "square": pa.array([s.tobytes() for s in squares], pa.binary()),
        }
    )
    if encode is not None:
        vectors = np.asarray(encode(pictures), np.float32)
        if vectors.shape[:1] != (len(pictures),) or vectors.ndim != 2 or not np.isfinite(vectors).all():
            raise DedupError(f"the encoder gave {vectors.shape} for {len(pictures)} pictures, or numbers that are none")
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        table = table.append_column("embedding", _lists(vectors, pa.float32()))
    return table


def pixel_hash(picture: np.ndarray) -> bytes:
    """16 bytes, equal for equal pictures; a grey picture in three channels is grey."""
    if picture.ndim == 3 and (picture == picture[:, :, :1]).all():
        picture = picture[:, :, 0]
    digest = blake2b(repr(picture.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(picture).data)
    return digest.digest()


def square_of(picture: np.ndarray) -> np.ndarray:
    """(SIDE, SIDE) uint8: the grey content of a picture without frame, whatever its aspect ratio.

    Raises:
        DedupError: not a picture of 8 bits.
    """
    if picture.dtype != np.uint8 or picture.ndim not in (2, 3) or min(picture.shape) < 1:
        raise DedupError(f"a picture is (H, W) or (H, W, 3) uint8, not {picture.shape} {picture.dtype}")
    grey = np.asarray(Image.fromarray(picture).convert("L")) if picture.ndim == 3 else picture
    content = Image.fromarray(np.ascontiguousarray(align.content_box(grey)))
    return np.asarray(content.resize((align.SIDE, align.SIDE), Image.Resampling.BILINEAR))


def hashes_of(square: np.ndarray) -> np.ndarray:
    """(VIEWS + 1, WORDS) uint64: perceptual hashes of the whole, of crops of it, and of the mirrored whole."""
    return np.stack([*(_phash(view) for view in _views(square)), _phash(square[:, ::-1])])


def _views(square: np.ndarray):
    side = len(square)
    for share, places in _CROPS:
        size = round(side * share)
        for down in places:
            for right in places:
                top, left = round((side - size) * down), round((side - size) * right)
                yield square[top : top + size, left : left + size]


def _phash(picture: np.ndarray) -> np.ndarray:
    import imagehash

    bits = imagehash.phash(Image.fromarray(np.ascontiguousarray(picture)), hash_size=HASH_SIDE).hash
    return np.packbits(bits.ravel(), bitorder="little").view("<u8")


def _lists(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1), kind), values.shape[1])
