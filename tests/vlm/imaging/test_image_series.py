"""A folder of slices becomes a volume in the right order, or is refused for a stated reason."""

import random
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from vlm.imaging import MedicalImage, Provenance, SeriesError, read_frames, read_header, read_image, read_series
from vlm.imaging.orientation import name_orientation
from vlm.imaging.series import stack

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def slice_at(position, value=0, orientation=AXIAL, shape=(3, 4), spacing=(0.5, 0.25)) -> MedicalImage:
    return MedicalImage(
        np.full(shape, value, np.int16), "HU", spacing, "PixelSpacing", "CT", False, (), None,
        Provenance("0" * 64, "dicom"), tuple(orientation), tuple(position),
    )  # fmt: skip


def write_series(folder: Path, make_dicom, zs, **changes) -> None:
    """Slices whose pixels are their height; names and instance numbers run against the positions."""
    for i, z in enumerate(zs):
        attributes = {
            "ImagePositionPatient": [0, 0, z], "ImageOrientationPatient": list(AXIAL), "PixelSpacing": [0.5, 0.25],
            "InstanceNumber": len(zs) - i, **changes,
        }  # fmt: skip
        (folder / f"{random.Random(z).random()}.dcm").write_bytes(
            make_dicom(np.full((3, 4), int(z), np.int16), **attributes)
        )


def test_folder_is_sorted_by_position(tmp_path, make_dicom):
    write_series(tmp_path, make_dicom, [10, 4, 6, 8, 2])
    write_series(tmp_path, make_dicom, [50], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    (tmp_path / "notes.txt").write_text("not an image at all, but long enough to be looked at")
    volume = read_series(tmp_path)
    assert volume.voxels[:, 0, 0].tolist() == [2, 4, 6, 8, 10]
    assert volume.spacing_mm == (2.0, 0.5, 0.25)
    assert (volume.affine_lps @ [4, 2, 3, 1]).tolist() == [0.75, 1.0, 10.0, 1.0]
    assert volume.notes == ("localizer_removed:1", "skipped:unknown_format:1")
    assert volume.slice(1).position_mm == (0, 0, 4)


def test_files_given_by_name_must_be_images(tmp_path, make_dicom):
    write_series(tmp_path, make_dicom, [1, 2])
    (tmp_path / "notes.txt").write_text("not an image at all, but long enough to be looked at")
    with pytest.raises(Exception, match=r"notes\.txt"):
        read_series(sorted(tmp_path.iterdir()))


def test_mixed_series_are_refused_or_chosen(tmp_path, make_dicom):
    write_series(tmp_path, make_dicom, [1, 2])
    write_series(tmp_path, make_dicom, [11, 12, 13], SeriesInstanceUID="1.2.3")
    with pytest.raises(SeriesError) as caught:
        read_series(tmp_path)
    assert caught.value.code == "mixed_series"
    assert len(read_series(tmp_path, series_uid="1.2.3").voxels) == 3


def test_empty_folder(tmp_path):
    with pytest.raises(SeriesError) as caught:
        read_series(tmp_path)
    assert caught.value.code == "empty"


@pytest.mark.parametrize(
    ("slices", "code"),
    [
        ([slice_at((0, 0, z)) for z in (0, 1, 2, 4, 5)], "gap"),
        ([slice_at((0, 0, z)) for z in (0, 1, 2.3, 3.3)], "uneven_spacing"),
        ([slice_at((0, 0, z), v) for v, z in enumerate((0, 1, 1, 2))], "duplicate_position"),
        ([slice_at((0, 0, 0)), slice_at((0, 0, 1), shape=(4, 4))], "mixed_size"),
        ([slice_at((0, 0, 0)), slice_at((0, 0, 1), spacing=(0.5, 0.5))], "mixed_size"),
        ([slice_at((0, 0, 0))], "too_few_slices"),
        (
            [slice_at((0, 0, z), orientation=o) for z in range(4) for o in (AXIAL, (0, 1, 0, 0, 0, -1))],
            "mixed_orientation",
        ),
    ],
)
def test_what_is_no_stack_is_refused(slices, code):
    with pytest.raises(SeriesError) as caught:
        stack(slices)
    assert caught.value.code == code


def test_slices_without_geometry_are_refused(make_dicom, tmp_path):
    for i in range(2):
        (tmp_path / f"{i}.dcm").write_bytes(make_dicom(np.zeros((2, 2), np.int16)))
    with pytest.raises(SeriesError) as caught:
        read_series(tmp_path)
    assert caught.value.code == "no_geometry"


def test_same_slice_twice_and_a_scout_are_dropped_and_noted():
    slices = [slice_at((0, 0, z), z) for z in range(10)]
    scout = slice_at((0, 0, 0), orientation=(0, 1, 0, 0, 0, -1))
    volume = stack([*slices, slices[3], scout])
    assert volume.voxels[:, 0, 0].tolist() == list(range(10))
    assert set(volume.notes) == {"duplicate_removed:1", "other_orientation_removed:1"}


def test_gantry_tilt_is_noted_and_kept_in_the_affine():
    volume = stack([slice_at((0, 0.3 * z, z), z) for z in range(4)])
    assert volume.notes == ("gantry_tilt",)
    assert volume.spacing_mm[0] == pytest.approx(1.0)
    assert (volume.affine_lps @ [3, 0, 0, 1])[:3] == pytest.approx([0, 0.9, 3])


@settings(deadline=None, max_examples=50)
@given(
    st.tuples(*[st.floats(-3, 3)] * 3), st.floats(0.5, 5), st.integers(2, 8), st.randoms(use_true_random=False),
    st.tuples(*[st.floats(-200, 200)] * 3),
)  # fmt: skip
def test_any_orientation_sorts_and_maps_back(angles, step, count, shuffle, origin):
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        c, s = np.cos(angle), np.sin(angle)
        one = np.eye(3)
        i, j = [(1, 2), (0, 2), (0, 1)][axis]
        one[i, i], one[i, j], one[j, i], one[j, j] = c, -s, s, c
        turn = turn @ one
    row, column, normal = turn.T
    places = [np.array(origin) + normal * step * k for k in range(count)]
    slices = [slice_at(place, k, orientation=(*row, *column)) for k, place in enumerate(places)]
    shuffle.shuffle(slices)
    volume = stack(slices)
    assert volume.voxels[:, 0, 0].tolist() == list(range(count))
    assert volume.spacing_mm[0] == pytest.approx(step, rel=1e-6)
    assert (volume.affine_lps @ [count - 1, 2, 1, 1])[:3] == pytest.approx(
        places[-1] + column * 1.0 + row * 0.25, abs=1e-6
    )


def test_multiframe_file_is_a_volume(tmp_path, make_dicom):
    def item(**attributes) -> Dataset:
        ds = Dataset()
        for keyword, value in attributes.items():
            setattr(ds, keyword, value)
        return ds

    shared = item(
        PixelMeasuresSequence=Sequence([item(PixelSpacing=[0.5, 0.5])]),
        PlaneOrientationSequence=Sequence([item(ImageOrientationPatient=list(AXIAL))]),
    )
    frames = [item(PlanePositionSequence=Sequence([item(ImagePositionPatient=[0, 0, z])])) for z in (4, 0, 2)]
    pixels = np.stack([np.full((3, 4), z, np.int16) for z in (4, 0, 2)])
    path = tmp_path / "multi.dcm"
    path.write_bytes(make_dicom(pixels, NumberOfFrames=3, SharedFunctionalGroupsSequence=Sequence([shared]),
                                PerFrameFunctionalGroupsSequence=Sequence(frames)))  # fmt: skip
    assert read_series(path).voxels[:, 0, 0].tolist() == [0, 2, 4]


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR", "LAS"])
@pytest.mark.parametrize("name", ["brain.nii", "brain.nii.gz"])
def test_nifti_comes_out_in_lps_whatever_way_it_is_stored(tmp_path, axes, name):
    # Voxel values name their place in RAS millimetres, so that any turn that is wrong is seen.
    size, spacing = (4, 5, 6), np.array([1.0, 2.0, 3.0])
    index = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), -1)
    values = (index * [1, 10, 100]).sum(-1).astype(np.int16)
    image = nibabel.Nifti1Image(values, np.diag([*spacing, 1.0]))
    turn = nibabel.orientations.ornt_transform(
        nibabel.orientations.axcodes2ornt("RAS"), nibabel.orientations.axcodes2ornt(axes)
    )
    path = tmp_path / name
    nibabel.save(image.as_reoriented(turn), path)
    volume = read_series(path)
    assert volume.voxels.shape == (6, 5, 4) and volume.spacing_mm == pytest.approx((3.0, 2.0, 1.0))
    for s, r, c in ((0, 0, 0), (5, 4, 3), (2, 1, 3)):
        left, back, head = (volume.affine_lps @ [s, r, c, 1])[:3]
        place = np.array([-left, -back, head]) / spacing
        assert volume.voxels[s, r, c] == pytest.approx((place * [1, 10, 100]).sum())
    first = read_image(path, frame=0)
    assert name_orientation(first.orientation or ()) == "axial (right edge: L, bottom edge: P)"
    assert first.provenance.kind == "nifti" and read_header(path).frames == 6
    assert len(read_frames(path)) == 6


def test_orientation_names():
    assert name_orientation((0, 1, 0, 0, 0, -1)) == "sagittal (right edge: P, bottom edge: F)"
    assert name_orientation((1, 0, 0, 0, 0, -1)) == "coronal (right edge: L, bottom edge: F)"
    half = 2**-0.5
    assert name_orientation((half, half, 0, 0, 0, -1)).startswith("oblique")
