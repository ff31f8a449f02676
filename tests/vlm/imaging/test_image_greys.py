"""A picture that is 8-bit already is shown as it is, by everybody."""

import io

import numpy as np
import pytest
from PIL import Image

from vlm.imaging import MedicalImage, read_image


@pytest.mark.parametrize("low, high", [(0, 255), (90, 160), (128, 128)])
def test_eight_bit_greys_are_not_windowed_again(low, high):
    grey = np.linspace(low, high, 64 * 48).reshape(48, 64).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "PNG")
    image = read_image(file.getvalue())
    assert np.array_equal(image.render(), grey)
    assert np.array_equal(MedicalImage.from_record(*image.to_record()).render(), grey)


def test_sixteen_bit_greys_still_need_a_window():
    deep = np.linspace(30_000, 31_000, 64 * 48).reshape(48, 64).astype(np.uint16)
    file = io.BytesIO()
    Image.fromarray(deep).save(file, "PNG")
    seen = read_image(file.getvalue()).render()
    assert seen.min() < 20 and seen.max() > 235
