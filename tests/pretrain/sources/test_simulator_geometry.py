"""Line integrals against ray marching, masses against volumes, millimetres against pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain.sources.chest.case import AXES
from pretrain.sources.chest.projection import Ellipsoid, View, add_ellipsoid, interval, rotation_matrix, shadow
from pretrain.sources.chest.tubes import Tube, add_tubes, round_tube, smooth_curve


def view_of(name="PA", turn=(0.0, 0.0, 0.0), spacing=2.0, side=120, source=1620.0):
    return View(name, side, side, spacing, (0.0, 0.0), AXES[name] @ rotation_matrix(turn), source)


def march(body: Ellipsoid, view: View, row: int, col: int, step=0.02) -> float:
    """Chord of one ray by brute force, mm."""
    t = np.arange(-260, 260, step)
    d = view.source_mm
    beam = np.stack([view.u[col] * (1 + t / d), view.v[row] * (1 + t / d), t], axis=1)
    inside = body.contains(beam @ view.rotation)
    return float(inside.sum() * step * view.slant[row, col])


lengths = st.floats(4, 60)
angles = st.floats(-90, 90)


@settings(max_examples=25, deadline=None)
@given(
    centre=st.tuples(*[st.floats(-50, 50)] * 3),
    semi=st.tuples(lengths, lengths, lengths),
    euler=st.tuples(angles, angles, angles),
    turn=st.tuples(*[st.floats(-8, 8)] * 3),
    name=st.sampled_from(["PA", "AP", "LL"]),
)
def test_ellipsoid_chord_equals_ray_marching(centre, semi, euler, turn, name):
    view, body = view_of(name, turn), Ellipsoid.of(centre, semi, euler)
    image = np.zeros((view.rows, view.cols), np.float32)
    add_ellipsoid(image, body, view, 1.0)
    both = interval(body, view=view).length()
    np.testing.assert_allclose(both, image, atol=2e-2)
    col, row = np.round(view.to_pixels(np.array(centre))).astype(int)
    for r, c in ((row, col), (row + 3, col - 2), (row - 5, col + 1)):
        assert image[r, c] * view.slant[r, c] == pytest.approx(march(body, view, r, c), abs=0.1)


@settings(max_examples=20, deadline=None)
@given(turn=st.tuples(*[st.floats(-20, 20)] * 3), radius=st.floats(3, 9), core=st.floats(0.2, 0.9))
def test_tube_carries_the_mass_of_its_volume(turn, radius, core):
    """Sum over the film x pixel area, with magnification undone, is the volume of wall and core."""
    view = view_of(turn=turn, spacing=1.0, side=240, source=1e6)
    line = smooth_curve(np.array([[-60, 0, -40], [-20, 10, 10], [30, 0, 20], [70, -10, 60]]), 40)
    image = np.zeros((view.rows, view.cols), np.float32)
    add_tubes(image, [round_tube(line, radius, 1.0, core=core, core_weight=-1.0)], view)
    length = np.linalg.norm(np.diff(line, axis=0), axis=1).sum()
    assert image.sum() == pytest.approx(np.pi * radius**2 * (1 - core**2) * length, rel=0.04)


def test_flat_tube_is_wide_face_on_and_thick_edge_on():
    line = np.array([[0.0, 0, -60], [0, 0, 0], [0, 0, 60]])
    flat = Tube(line, np.full((3, 2), (2.0, 8.0)), 1.0, np.broadcast_to([0.0, 1.0, 0.0], (3, 3)))
    seen = {}
    for name in ("PA", "LL"):
        view = view_of(name, spacing=0.5, side=200, source=1e6)
        image = np.zeros((200, 200), np.float32)
        add_tubes(image, [flat], view)
        seen[name] = image[100].max(), (image[100] > 0).sum() * 0.5
    assert seen["PA"] == pytest.approx((4.0, 16.0), abs=0.8)
    assert seen["LL"] == pytest.approx((16.0, 4.0), abs=0.8)


def test_pieces_of_a_bent_tube_join_without_seams():
    line = smooth_curve(np.array([[-60, 0, 0], [0, 0, 30], [60, 0, 0]]), 30)
    view = view_of(spacing=1.0, side=200, source=1e6)
    image = np.zeros((200, 200), np.float32)
    add_tubes(image, [round_tube(line, 6.0, 1.0)], view)
    px = np.round(view.to_pixels(line[3:-3])).astype(int)
    assert image[px[:, 1], px[:, 0]] == pytest.approx(12.0, rel=0.06)


@pytest.mark.parametrize("spacing", [0.4, 0.8, 1.5])
@pytest.mark.parametrize("name", ["PA", "AP", "LL"])
def test_diameter_on_film_is_diameter_in_mm_times_magnification(name, spacing):
    view = view_of(name, (2, 3, 1), spacing, side=int(200 / spacing))
    for centre in ([0, 0, 0], [20, 80, 10], [-40, -80, 20]):
        body = Ellipsoid.of(centre, [15.0] * 3)
        mask = shadow(body, view)
        width = mask.any(axis=0).sum() * spacing / view.magnification(body.centre)
        assert width == pytest.approx(30.0, abs=spacing + 0.3)


def test_the_plane_through_the_patient_has_magnification_one_and_nearer_bodies_grow():
    view = view_of("PA")
    assert view.magnification(np.zeros(3)) == 1.0
    assert view.magnification(np.array([0, 100.0, 0])) > 1.05  # the back is nearer to the source in PA
    assert view_of("AP").magnification(np.array([0, 100.0, 0])) < 0.95
