"""What an 8-bit picture says about itself: pure measures on arrays, each with its source."""

import numpy as np


def entropy_bits(grey: np.ndarray) -> float:
    """Shannon entropy of the grey levels of a picture (H, W) uint8, in bits (0 to 8); a blank one has 0."""
    share = np.bincount(grey.ravel(), minlength=256) / grey.size
    share = share[share > 0]
    return float(-(share * np.log2(share)).sum())


def sharpness(grey: np.ndarray) -> float:
    """Variance of the Laplacian over the variance of the picture (H, W) uint8; 0 where there is none.

    The variance of the Laplacian is a measure of focus (Pech-Pacheco et al., ICPR 2000); divided by that of the picture
    it does not depend on contrast. Neighbours are the four beside a pixel; the rim is left out.
    """
    picture = grey.astype(np.float64)
    spread = picture.var()
    if spread == 0 or min(picture.shape) < 3:
        return 0.0
    inner = picture[1:-1, 1:-1]
    laplacian = picture[:-2, 1:-1] + picture[2:, 1:-1] + picture[1:-1, :-2] + picture[1:-1, 2:] - 4 * inner
    return float(laplacian.var() / spread)


def aspect(shape: tuple[int, int]) -> float:
    """Longer over shorter side of (H, W)."""
    return max(shape) / max(min(shape), 1)


def luma(picture: np.ndarray) -> np.ndarray:
    """(H, W) or (H, W, 3) uint8 to (H, W) uint8, by the weights of ITU-R BT.601."""
    if picture.ndim == 2:
        return picture
    return np.round(picture.astype(np.float64) @ [0.299, 0.587, 0.114]).astype(np.uint8)
