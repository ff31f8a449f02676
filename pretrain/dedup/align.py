"""Are two pictures the same exposure? Registration by scale and shift of each axis, then agreement of fine detail.

All chest radiographs look alike when they are blurred; what two exposures never share is the fine detail everywhere.
So both pictures are band-passed and normalised locally (which removes brightness, contrast, windows and slow
gradients), registered, and compared region by region where they overlap. The statistic is the correlation that nine
tenths of the regions reach: a film of the same patient on another day can be registered to agree in some regions, by
parallax never in all. docs/dedup.md has the measured distributions.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter

SIDE = 256
"""Pixels of the square on which detail is compared."""
COARSE = 64
AGREEMENT = 0.85
"""Correlation that nine tenths of the regions must reach."""
LEAST_COMMON = 0.20
"""Share of the square that must be common, hold detail and not be saturated; a blank picture proves nothing."""
_PLAUSIBLE = 0.60  # correlation at 64 pixels below which no registration is tried
_SCALES = np.exp(np.linspace(-0.24, 0.24, 17))  # of one axis: a crop of a fifth
_SQUASH = 0.14  # largest difference of the two axes' scales (in logarithms)
_EDGE_LEVELS = 12
_LEAST_DEVIATION = 0.8  # grey levels; less is rounding
_REGION = 31  # pixels of the window in which regions are correlated

Warp = tuple[float, float, float, float]  # row scale, row shift, column scale, column shift


@dataclass(frozen=True)
class Match:
    """How well two pictures agree.

    Attributes:
        agreement: local correlation that 90 % of the common regions reach, -1 to 1.
        common: share of the square that was compared.
        negative: one is the other's negative (agreement is that of the negative).
    """

    agreement: float = 0.0
    common: float = 0.0
    negative: bool = False

    @property
    def same(self) -> bool:
        return self.agreement >= AGREEMENT and self.common >= LEAST_COMMON


@dataclass(frozen=True, eq=False)
class Detail:
    """A picture prepared for comparison: local detail on three grids, and where there is any."""

    fine: np.ndarray
    half: np.ndarray
    coarse: np.ndarray
    mask: np.ndarray


def content_box(picture: np.ndarray) -> np.ndarray:
    """The picture without rows and columns of one level at its edges (padding, frames).

    What would leave less than a quarter of a side is not cut.
    """
    rows = np.ptp(np.percentile(picture, (2, 98), axis=1), axis=0) > _EDGE_LEVELS
    columns = np.ptp(np.percentile(picture, (2, 98), axis=0), axis=0) > _EDGE_LEVELS
    if rows.sum() < picture.shape[0] / 4 or columns.sum() < picture.shape[1] / 4:
        return picture
    top, bottom = np.flatnonzero(rows)[[0, -1]]
    left, right = np.flatnonzero(columns)[[0, -1]]
    return picture[top : bottom + 1, left : right + 1]


def detail_of(square: np.ndarray) -> Detail:
    """Prepare a picture.

    Args:
        square: (SIDE, SIDE) uint8 grey, the content box resized without regard to its aspect ratio.
    """
    image = square.astype(np.float32)
    fine, has_detail = _local(image, 1.0, 8.0)
    saturated = gaussian_filter(((square <= 1) | (square >= 254)).astype(np.float32), 4.0)
    half, _ = _local(_blocks(image, 2), 0.8, 5.0)
    coarse, _ = _local(_blocks(image, SIDE // COARSE), 0.7, 4.0)
    return Detail(fine, half, coarse, has_detail & (saturated < 0.15))


def compare(a: Detail, b: Detail) -> Match:
    """Register b to a, and say how far their detail agrees."""
    if min(a.mask.mean(), b.mask.mean()) < LEAST_COMMON:
        return Match()
    start, peak = _start(a.coarse, b.coarse)
    if abs(peak) < _PLAUSIBLE:
        return Match()
    sign = 1.0 if peak > 0 else -1.0
    warp = _grown(start, COARSE, SIDE // 2)
    warp = _refine(a.half, sign * b.half, warp, ((1.5, 6), (0.7, 4)))
    warp = _grown(warp, SIDE // 2, SIDE)
    warp = _refine(a.fine, sign * b.fine, warp, ((0.7, 5),))
    return _agreement(a, b, warp, sign)


def _local(image: np.ndarray, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Band-pass and divide by the local deviation; the mask is False where that is rounding only."""
    band = gaussian_filter(image, low) - gaussian_filter(image, high)
    deviation = np.sqrt(gaussian_filter(band * band, high))
    mask = deviation > _LEAST_DEVIATION
    local = np.clip(band / np.maximum(deviation, _LEAST_DEVIATION), -3, 3)
    return np.where(mask, local, 0).astype(np.float32), mask


def _blocks(image: np.ndarray, step: int) -> np.ndarray:
    side = len(image) // step
    return image.reshape(side, step, side, step).mean(axis=(1, 3))


@cache
def _scalings() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(S, COARSE, COARSE) matrices that scale one axis about its middle, and the pairs of scales that are tried."""
    middle = (COARSE - 1) / 2
    matrices = np.zeros((len(_SCALES), COARSE, COARSE), np.float32)
    for matrix, scale in zip(matrices, _SCALES, strict=True):
        low, part, inside = _places(COARSE, scale, middle - scale * middle)
        matrix[np.arange(COARSE), low] = (1 - part) * inside
        matrix[np.arange(COARSE), low + 1] += part * inside
    logs = np.log(_SCALES)
    rows, columns = np.nonzero(abs(logs[:, None] - logs[None, :]) <= _SQUASH)
    return matrices, rows, columns


def _start(a: np.ndarray, b: np.ndarray) -> tuple[Warp, float]:
    """The warp of highest absolute correlation on the coarse grid, over all scales and shifts, and that correlation."""
    matrices, rows, columns = _scalings()
    scaled = (matrices @ b)[rows] @ matrices[columns].transpose(0, 2, 1)
    surface = np.fft.irfft2(np.fft.rfft2(a)[None] * np.fft.rfft2(scaled).conj(), s=(COARSE, COARSE))
    reach = COARSE // 5
    shifts = np.r_[0 : reach + 1, -reach:0]
    surface = surface[:, shifts][:, :, shifts] / (
        np.sqrt((scaled**2).sum(axis=(1, 2)) * (a**2).sum())[:, None, None] + 1e-9
    )
    at = np.unravel_index(np.argmax(abs(surface)), surface.shape)
    row, column = float(_SCALES[rows[at[0]]]), float(_SCALES[columns[at[0]]])
    middle = (COARSE - 1) / 2
    # scaled(i) = b(s i + m - s m), and a(i) is like scaled(i - shift)
    down = middle - row * middle - row * float(shifts[at[1]])
    right = middle - column * middle - column * float(shifts[at[2]])
    return (row, down, column, right), float(surface[at])


def _grown(warp: Warp, old: int, new: int) -> Warp:
    """The same warp on a finer grid, whose pixel i lies at (i + 1/2) old / new - 1/2 of the coarser one."""
    row, down, column, right = warp
    ratio = new / old

    def shift(scale: float, before: float) -> float:
        return ratio * (scale * (0.5 / ratio - 0.5) + before + 0.5) - 0.5

    return row, shift(row, down), column, shift(column, right)


def _refine(target: np.ndarray, moving: np.ndarray, warp: Warp, steps: tuple[tuple[float, int], ...]) -> Warp:
    """Gauss-Newton steps, from smooth to sharp (Lucas, Kanade 1981, for a warp of four numbers)."""
    side = len(target)
    place = np.arange(side, dtype=np.float32)
    now = np.array(warp)
    for blur, count in steps:
        fixed, free = gaussian_filter(target, blur), gaussian_filter(moving, blur)
        for _ in range(count):
            there, inside = _sample(free, now)
            slope_row, slope_column = np.gradient(there)
            error = np.where(inside, fixed - there, 0).ravel()
            down, right = slope_row * inside / now[0], slope_column * inside / now[2]
            jacobian = np.stack([down * place[:, None], down, right * place[None, :], right]).reshape(4, -1)
            normal = jacobian @ jacobian.T
            damped = normal + np.diag(1e-4 * np.diag(normal) + 1e-6)
            change = np.linalg.solve(damped, jacobian @ error)
            now = now + change
            now[[0, 2]] = np.clip(now[[0, 2]], 0.7, 1.4)
            if max(abs(change[1] + change[0] * side / 2), abs(change[3] + change[2] * side / 2)) < 0.01:
                break
    return float(now[0]), float(now[1]), float(now[2]), float(now[3])


def _agreement(a: Detail, b: Detail, warp: Warp, sign: float) -> Match:
    """The 10 % quantile of the local correlation over the common regions."""
    there, inside = _sample(b.fine, warp)
    valid, _ = _sample(b.mask.astype(np.float32), warp)
    common = inside & a.mask & (valid > 0.5)
    if common.mean() < LEAST_COMMON:
        return Match(0.0, float(common.mean()), sign < 0)
    x, y = np.where(common, a.fine, 0), np.where(common, sign * there, 0)
    weight = uniform_filter(common.astype(np.float32), _REGION) + 1e-6

    def mean(values: np.ndarray) -> np.ndarray:
        return uniform_filter(values, _REGION) / weight

    mean_x, mean_y = mean(x), mean(y)
    spread = np.maximum(mean(x * x) - mean_x**2, 1e-4) * np.maximum(mean(y * y) - mean_y**2, 1e-4)
    local = (mean(x * y) - mean_x * mean_y) / np.sqrt(spread)
    return Match(float(np.quantile(local[common], 0.1)), float(common.mean()), sign < 0)


def _places(side: int, scale: float, shift: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For linear interpolation at ``scale * i + shift``: the place below, the part above it, and is it inside."""
    at = scale * np.arange(side) + shift
    low = np.clip(np.floor(at), 0, side - 2).astype(np.int64)
    return low, np.clip(at - low, 0, 1).astype(np.float32), (at >= 0) & (at <= side - 1)


def _sample(image: np.ndarray, warp: Warp | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The image at the warped places, and which of them lie inside."""
    side = len(image)
    low, part, in_rows = _places(side, warp[0], warp[1])
    rows = image[low] * (1 - part)[:, None] + image[low + 1] * part[:, None]
    low, part, in_columns = _places(side, warp[2], warp[3])
    return rows[:, low] * (1 - part) + rows[:, low + 1] * part, in_rows[:, None] & in_columns
