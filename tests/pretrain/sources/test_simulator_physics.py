"""Beer-Lambert, exposure and noise."""

from dataclasses import replace

import numpy as np
import pytest

from pretrain.sources.chest import findings as findings_module
from pretrain.sources.chest.anatomy import build_chest
from pretrain.sources.chest.body import MU_LUNG, MU_SOFT, draw_build
from pretrain.sources.chest.case import AXES
from pretrain.sources.chest.detector import collimate, detect, draw_exposure, present, transmitted
from pretrain.sources.chest.findings import FINDINGS, Nodule, Pathology
from pretrain.sources.chest.projection import Ellipsoid, View
from pretrain.sources.chest.scene import attenuation, lung_vessels


@pytest.fixture(scope="module")
def scene():
    rng = np.random.default_rng(5)
    chest = build_chest(draw_build(rng), 1.0, rng)
    view = View("PA", 200, 180, 2.0, (0.0, -10.0), AXES["PA"], 1620.0)
    empty = Pathology(dict.fromkeys(FINDINGS, False))
    tree = lung_vessels(chest, empty, rng)

    def render(pathology):
        return attenuation(chest, pathology, view, tree, np.random.default_rng(1)).line

    return chest, view, empty, render


@pytest.fixture
def clean(scene):
    exposure = draw_exposure(scene[1], [0, 0, 180, 200], np.random.default_rng(0))
    return replace(exposure, scatter=0.0, blur_mm=0.0, photons_mm2=1e9)


@pytest.mark.parametrize("diameter", [4.0, 12.0, 30.0])
def test_a_nodule_adds_its_chord_times_the_difference_of_attenuation(scene, clean, diameter):
    """In -log of detected photons, so through projection and detector together."""
    chest, view, empty, render = scene
    point = chest.lung["right"].centre + np.array([-15.0, 20.0, 60.0])
    beam = view.to_beam(point)
    col, row = np.round(view.to_pixels(point)).astype(int)
    scale = 1 + beam[2] / view.source_mm
    point = view.rotation.T @ [view.u[col] * scale, view.v[row] * scale, beam[2]]  # centre it on a pixel
    nodule = Nodule(Ellipsoid.of(point, [diameter / 2] * 3), diameter, "right", "mid", 1.0, False)
    healthy, sick = render(empty), render(replace(empty, nodules=[nodule]))
    expected = (MU_SOFT - MU_LUNG) * diameter
    rng = np.random.default_rng
    seen = detect(sick, view, clean, rng(2)) - detect(healthy, view, clean, rng(2))
    assert seen[row, col] == pytest.approx(expected, abs=2e-3)
    away = np.hypot(*(np.indices(seen.shape) - np.array([row, col])[:, None, None])) * view.spacing_mm > diameter
    assert np.abs(seen[away]).max() < 2e-3


def test_signal_scales_with_exposure_and_noise_with_its_root(scene, clean):
    _, view, empty, render = scene
    line = render(empty)
    low, high = replace(clean, photons_mm2=1e4), replace(clean, photons_mm2=4e4)
    np.testing.assert_allclose(transmitted(line, view, high), 4 * transmitted(line, view, low), rtol=1e-5)
    region = (slice(90, 120), slice(40, 60))

    def noise(e):
        a, b = (detect(line, view, e, np.random.default_rng(k))[region] for k in (1, 2))
        return (a - b).std() / np.sqrt(2)

    assert noise(low) / noise(high) == pytest.approx(2.0, rel=0.15)
    relative = 1 / np.sqrt(transmitted(line, view, low)[region].mean())
    assert noise(low) == pytest.approx(relative, rel=0.2)


def test_scatter_only_adds_and_lowers_contrast(scene, clean):
    _, view, empty, render = scene
    line = render(empty)
    bare, veiled = transmitted(line, view, clean), transmitted(line, view, replace(clean, scatter=0.5))
    assert (veiled >= bare - 1e-3 * bare.max()).all()
    heart, lung = line[130, 100], line[110, 45]
    assert heart > lung
    contrast = lambda flux: np.log(flux[110, 45] / flux[130, 100])  # noqa: E731
    assert contrast(veiled) < contrast(bare)


def test_attenuation_is_finite_and_zero_beside_the_patient(scene):
    _, _, empty, render = scene
    line = render(empty)
    assert np.isfinite(line).all() and line.min() == 0.0 and 3 < line.max() < 12
    assert line[2, 2] == 0.0


def test_collimated_border_is_black_and_the_picture_twelve_bit(scene, clean):
    _, view, empty, render = scene
    e = replace(clean, collimation_mm=(20.0, 10.0, 16.0, 0.0), collimation_deg=0.0)
    picture = collimate(present(detect(render(empty), view, e, np.random.default_rng(0)), view, e), view, e)
    assert picture.dtype == np.uint16 and picture.max() <= 4095
    assert not picture[:, :9].any() and not picture[:7].any() and not picture[:, -4:].any()
    assert picture[60, 12:-8].any()


def test_stated_prevalences_hold():
    rng = np.random.default_rng(0)
    drawn = [findings_module.draw_presence(rng).present for _ in range(4000)]
    from pretrain.sources.chest.questions import share_present

    for name in FINDINGS:
        assert np.mean([d[name] for d in drawn]) == pytest.approx(share_present(name), abs=0.025), name
    for side in ("left", "right"):
        assert not any(d[f"effusion_{side}"] and d[f"pneumothorax_{side}"] for d in drawn)
    both = np.array([[d["endotracheal_tube"], d["central_line"]] for d in drawn], float)
    assert 0.15 < np.corrcoef(both.T)[0, 1] < 0.6  # intensive care brings both, but not always
