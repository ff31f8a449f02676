"""Is this picture that one: exact digests, and a signature that sees through encoding, scale, crop and window.

The signature is the picture at 48 x 48 in ranks of grey (so brightness, contrast, gamma and inversion do not count).
Candidates come from a 16 x 16 band-passed copy, compared whole against whole and against crops of 5 and 10 % at nine
places in both directions. A candidate is then registered (scale and shift of each axis, by coordinate descent) and
must agree in the fine band, where chest radiographs of two people differ though their outlines do not.
"""

import hashlib
from dataclasses import dataclass

import numba
import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from vlm.imaging import MedicalImage

SIDE = 48
COARSE_SIDE = 16
COARSE_BAND = 1.5  # pixels of 16; sigma of the Gaussian that is subtracted
FINE_BAND = 2.5  # pixels of 48
COARSE_LEAST = 0.90
FINE_LEAST = 0.92
_CROPS = (0.95, 0.90)
_LEAST_RANGE = 8  # of 255 grey levels between the 1st and 99th percentile; flatter pictures say nothing
_BLOCK = 4096
_EDGE_SIDE = 96
_EDGE_RANGE = 12


@dataclass(frozen=True)
class Fingerprint:
    """What is compared of a picture: digest of its pixels, and (48, 48) uint8 signature."""

    pixels: str
    signature: np.ndarray


def fingerprint(image: MedicalImage) -> Fingerprint | None:
    """The fingerprint of an image, None where it is flat (blank or nearly) and would match every other flat one."""
    picture = image.render()
    low, high = np.percentile(picture, (1, 99))
    if high - low < _LEAST_RANGE:
        return None
    return Fingerprint(pixel_digest(image), signature(picture))


def pixel_digest(image: MedicalImage) -> str:
    """SHA-256 of shape and values: equal for equal pixels, whatever file format or number type held them."""
    values = np.ascontiguousarray(image.pixels, np.float32)
    return hashlib.sha256(repr(values.shape).encode() + values.tobytes()).hexdigest()


def signature(picture: np.ndarray) -> np.ndarray:
    """(48, 48) uint8 of an 8-bit picture, (H, W) or (H, W, 3): ranks of grey, empty borders cut off."""
    grey = Image.fromarray(picture).convert("L")
    box = _content(grey)
    small = np.asarray(grey.resize((2 * SIDE, 2 * SIDE), Image.Resampling.BILINEAR, box=box))
    counts = np.bincount(small.ravel(), minlength=256)
    ranks = (np.cumsum(counts) - counts / 2) / small.size  # mid-ranks: ties share one
    return np.rint(255 * ranks[small].reshape(SIDE, 2, SIDE, 2).mean((1, 3))).astype(np.uint8)


def _content(grey: Image.Image) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) without empty rows and columns at the edges, as letterboxing adds them.

    Looked at in 96 x 96, where the noise of a JPEG has been averaged away.
    """
    small = np.asarray(grey.resize((_EDGE_SIDE, _EDGE_SIDE), Image.Resampling.BILINEAR))
    rows, columns = (np.flatnonzero(np.ptp(small, axis=axis) > _EDGE_RANGE) for axis in (1, 0))
    if len(rows) < _EDGE_SIDE // 4 or len(columns) < _EDGE_SIDE // 4:
        return 0.0, 0.0, float(grey.width), float(grey.height)
    x, y = grey.width / _EDGE_SIDE, grey.height / _EDGE_SIDE
    return float(columns[0] * x), float(rows[0] * y), float((columns[-1] + 1) * x), float((rows[-1] + 1) * y)


def _boxes() -> list[tuple[float, float, float, float]]:
    """The whole signature, then crops of it at nine places each."""
    boxes = [(0.0, 0.0, float(SIDE), float(SIDE))]
    for share in _CROPS:
        free = SIDE * (1 - share)
        places = (0.0, free / 2, free)
        boxes += [(x, y, x + SIDE * share, y + SIDE * share) for y in places for x in places]
    return boxes


_BOXES = _boxes()


def _band(picture: np.ndarray, sigma: float) -> np.ndarray:
    return picture - gaussian_filter(picture, sigma)


def _coarse(signature: np.ndarray) -> np.ndarray:
    """(19, 256) float32 unit vectors: the whole signature and its crops at 16 x 16."""
    picture = Image.fromarray(signature.astype(np.float32))
    size = (COARSE_SIDE, COARSE_SIDE)
    small = [np.asarray(picture.resize(size, Image.Resampling.BILINEAR, box=box)) for box in _BOXES]
    vectors = np.stack([_band(s, COARSE_BAND).ravel() for s in small])
    vectors -= vectors.mean(1, keepdims=True)
    return (vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)).astype(np.float32)


@dataclass(frozen=True)
class Near:
    """Image ``image`` of the index agrees with the query by ``value`` (0 to 1)."""

    image: int
    value: float


class NearIndex:
    """Signatures of a benchmark, searched by brute force over matrix products; 28 kB an image.

    Args:
        signatures: (B, 48, 48) uint8.
    """

    def __init__(self, signatures: np.ndarray):
        self.size = len(signatures)
        coarse = [_coarse(s) for s in signatures]
        self._whole = np.array([c[0] for c in coarse], np.float32).reshape(-1, COARSE_SIDE**2)
        self._crops = np.array([c[1:] for c in coarse], np.float32).reshape(-1, len(_BOXES) - 1, COARSE_SIDE**2)
        self._fine = np.array([_band(s.astype(np.float32), FINE_BAND) for s in signatures], np.float32)

    def search(self, query: np.ndarray) -> list[Near]:
        """Images of the index that show what ``query`` (48, 48) shows, by number."""
        vectors = _coarse(query)
        fine = _band(query.astype(np.float32), FINE_BAND)
        found = []
        for first in range(0, self.size, _BLOCK):
            whole, crops = self._whole[first : first + _BLOCK], self._crops[first : first + _BLOCK]
            ours = np.abs(whole @ vectors.T)  # (B, 19): crops of the query against the whole
            theirs = np.abs(crops @ vectors[0])  # (B, 18): the whole query against crops of theirs
            for n in np.flatnonzero(np.maximum(ours.max(1), theirs.max(1)) >= COARSE_LEAST).tolist():
                value = self._register(first + n, fine, ours[n], theirs[n])
                if value >= FINE_LEAST:
                    found.append(Near(first + n, round(float(value), 3)))
        return found

    def _register(self, n: int, fine: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> float:
        """Agreement in the fine band after registration, begun at the crop that agreed best."""
        if ours.max() >= theirs.max():
            return _climb(self._fine[n], fine, _start(int(ours.argmax())))
        return _climb(fine, self._fine[n], _start(1 + int(theirs.argmax())))


def agreement(one: np.ndarray, other: np.ndarray) -> float:
    """Fine agreement of two signatures after registration, 0 where the coarse step would not compare them."""
    near = NearIndex(one[None])
    vectors, fine = _coarse(other), _band(other.astype(np.float32), FINE_BAND)
    ours, theirs = np.abs(near._whole @ vectors.T)[0], np.abs(near._crops[0] @ vectors[0])
    if max(ours.max(), theirs.max()) < COARSE_LEAST:
        return 0.0
    return near._register(0, fine, ours, theirs)


def _start(box: int) -> np.ndarray:
    """(4,) scale and shift of x and y that lay the whole grid onto a box of the other picture."""
    left, top, right, bottom = _BOXES[box]
    scale = (right - left) / SIDE
    return np.array([scale, scale, (left + right - SIDE) / 2, (top + bottom - SIDE) / 2])


@numba.njit(cache=True)
def _agree(a, b, at):
    """|Correlation| of (N, N) ``a`` with ``b`` seen through scale and shift ``at``, over where both are."""
    side = a.shape[0]
    half = (side - 1) / 2
    count = 0
    sa = sb = saa = sbb = sab = 0.0
    for i in range(side):
        y = (i - half) * at[1] + half + at[3]
        if y < 0 or y > side - 1:
            continue
        top = min(int(y), side - 2)
        fy = y - top
        for j in range(side):
            x = (j - half) * at[0] + half + at[2]
            if x < 0 or x > side - 1:
                continue
            left = min(int(x), side - 2)
            fx = x - left
            upper = b[top, left] * (1 - fx) + b[top, left + 1] * fx
            lower = b[top + 1, left] * (1 - fx) + b[top + 1, left + 1] * fx
            v = upper * (1 - fy) + lower * fy
            u = a[i, j]
            count += 1
            sa += u
            sb += v
            saa += u * u
            sbb += v * v
            sab += u * v
    if count < 0.6 * side * side:
        return 0.0
    spread = (saa - sa * sa / count) * (sbb - sb * sb / count)
    return abs(sab - sa * sb / count) / np.sqrt(spread) if spread > 1e-9 else 0.0


@numba.njit(cache=True)
def _climb(a, b, at):
    """Best agreement by coordinate descent over (scale x, scale y, shift x, shift y) with halving steps."""
    best = _agree(a, b, at)
    step = np.array([0.03, 0.03, 1.0, 1.0])
    for _ in range(6):
        for _ in range(6):
            moved = False
            for k in range(4):
                for sign in (-1.0, 1.0):
                    tried = at.copy()
                    tried[k] += sign * step[k]
                    value = _agree(a, b, tried)
                    if value > best + 1e-6:
                        best, at, moved = value, tried, True
            if not moved:
                break
        step = step / 2
    return best
