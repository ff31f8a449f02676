"""Windows against numbers worked out by hand from PS3.3 C.11.2, and properties that any window must have."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm.imaging import PRESETS, MedicalImage, Provenance, Window, WindowError

FINITE = st.floats(-5000, 5000, allow_nan=False)


def image(pixels: np.ndarray, **changes) -> MedicalImage:
    values = {
        "pixels": pixels, "units": "HU", "spacing_mm": None, "spacing_source": "unknown", "modality": "CT",
        "inverted": False,
        "windows": (), "valid": None, "provenance": Provenance("0" * 64, "array"),
    }  # fmt: skip
    return MedicalImage(**{**values, **changes})


def test_linear_follows_the_standard():
    # C.11.2.1.2.1 with c = 2048, w = 4096 over 12 bits: 0 is black, 4095 white, x maps to x / 4095.
    window = Window(2048, 4096)
    assert window.apply(np.array([-5, 0, 4095, 9000])).tolist() == [0, 0, 1, 1]
    assert window.apply(np.array([819])) == pytest.approx(819 / 4095)


def test_linear_of_width_one_is_a_threshold():
    assert Window(100, 1).apply(np.array([99, 99.5, 100, 101])).tolist() == [0, 0, 1, 1]


def test_linear_exact_and_sigmoid():
    assert Window(50, 100, "LINEAR_EXACT").apply(np.array([0, 25, 50, 100])).tolist() == [0, 0.25, 0.5, 1]
    grey = Window(50, 100, "SIGMOID").apply(np.array([50, 75]))
    assert grey[0] == pytest.approx(0.5)
    assert grey[1] == pytest.approx(1 / (1 + np.exp(-1)))


def test_table_maps_its_first_value_and_extends_its_ends():
    window = Window(function="TABLE", table=(0, 128, 255), first=-1, bits=8)
    assert window.apply(np.array([-9, -1, 0, 1, 9])).tolist() == pytest.approx([0, 0, 128 / 255, 1, 1])


@given(FINITE, st.floats(1, 4000), st.sampled_from(("LINEAR", "LINEAR_EXACT", "SIGMOID")), st.lists(FINITE, min_size=2))
def test_windows_are_monotone_and_bounded(center, width, function, values):
    grey = Window(center, width, function).apply(np.sort(np.array(values)))
    assert grey.min() >= 0 and grey.max() <= 1
    assert (np.diff(grey) >= 0).all()


@given(FINITE, st.floats(2, 4000), st.sampled_from(("LINEAR_EXACT", "SIGMOID")), st.sampled_from((np.int16, np.uint16)))
def test_inversion_is_the_complement(center, width, function, dtype):
    pixels = np.arange(256, dtype=dtype).reshape(16, 16)
    window = Window(center, width, function)
    plain, inverse = (image(pixels, inverted=flag).render(window).astype(int) for flag in (False, True))
    assert np.abs(plain + inverse - 255).max() <= 1


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.uint16])
def test_the_table_short_cut_gives_what_the_formula_gives(dtype):
    info = np.iinfo(dtype)
    pixels = np.resize(np.arange(info.min, info.max + 1, dtype=dtype), (300, 300))
    window = Window(20, 90)
    small = np.concatenate([image(pixels[i : i + 10]).render(window) for i in range(0, 300, 10)])
    assert (image(pixels).render(window) == small).all()


def test_a_picture_that_no_window_changes_is_a_copy_of_its_pixels():
    grey = np.resize(np.arange(256, dtype=np.uint8), (300, 300))
    whole = Window(127.5, 255.0, "LINEAR_EXACT")
    for pixels, window in ((grey, whole), (np.stack([grey] * 3, axis=-1), None)):
        shown = image(pixels, units="stored").render(window)
        assert (shown == pixels).all() and not np.shares_memory(shown, pixels)
    assert (image(grey, inverted=True).render(whole) == 255 - grey).all()


def test_bad_windows_are_refused():
    for make in (
        lambda: Window(0, 0),
        lambda: Window(float("nan"), 1),
        lambda: Window(0, 0, "SIGMOID"),
        lambda: Window(0, 1, "CUBIC"),
    ):
        with pytest.raises(WindowError):
            make()


def test_presets_know_their_units():
    ct = image(np.array([[-1000, 40, 3000]], np.int16))
    assert ct.render("brain").tolist() == [[0, 129, 255]]
    with pytest.raises(WindowError) as caught:
        image(np.zeros((2, 2), np.uint16), units="stored").render("lung")
    assert caught.value.code == "window_units" and "auto" in str(caught.value)
    with pytest.raises(WindowError, match="lung"):
        ct.render("lunge")
    assert {"lung", "bone", "brain", "mediastinum", "abdomen"} <= set(PRESETS)


def test_file_windows_by_number():
    ct = image(np.zeros((2, 2), np.int16), windows=(Window(1, 2), Window(3, 4)))
    assert ct.window() == ct.window("file") == Window(1, 2)
    assert ct.window("file:1") == Window(3, 4)
    with pytest.raises(WindowError, match="has 2"):
        ct.window("file:2")


def test_auto_ignores_padding_and_outliers():
    pixels = np.random.default_rng(0).integers(100, 200, (64, 64)).astype(np.int16)
    pixels[:8] = -2000
    pixels[60, 60] = 30_000
    window = image(pixels, valid=pixels != -2000).window("auto")
    assert window.center - window.width / 2 >= 95 and window.center + window.width / 2 <= 205


def test_padding_is_black_in_both_polarities():
    pixels = np.array([[-2000, 0, 100]], np.int16)
    for inverted in (False, True):
        assert image(pixels, valid=pixels != -2000, inverted=inverted).render(Window(50, 100)).ravel()[0] == 0


def test_constant_nan_and_tiny_pictures_render():
    assert image(np.full((3, 3), 7, np.int16)).render().shape == (3, 3)
    assert image(np.full((3, 3), np.nan, np.float32)).render().tolist() == [[0] * 3] * 3


def test_size_bounds_the_longest_side_and_never_enlarges():
    wide = image(np.zeros((100, 300), np.int16))
    assert wide.render(size=150).shape == (50, 150)
    assert wide.render(size=1000).shape == (100, 300)
    assert wide.render(size=(64, 32)).shape == (64, 32)
    with pytest.raises(WindowError):
        wide.render(size=0)


def test_shrinking_averages_instead_of_skipping():
    stripes = np.tile(np.array([0, 100], np.int16), (64, 32))
    grey = image(stripes).render(Window(50, 100, "LINEAR_EXACT"), size=16)
    assert abs(float(grey[4:-4, 4:-4].mean()) - 127.5) < 3 and grey[4:-4, 4:-4].std() < 3


def test_colour_takes_no_grey_window():
    rgb = image(np.zeros((4, 4, 3), np.uint8), units="rgb")
    assert rgb.render().shape == (4, 4, 3)
    with pytest.raises(WindowError):
        rgb.render("lung")
