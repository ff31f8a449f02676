"""A stack of slices as one volume: sorted along its normal, checked for gaps, duplicates, tilt and strangers."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vlm.imaging.api import PetUnits, read_frames, read_header
from vlm.imaging.batch import Batch
from vlm.imaging.errors import ImagingError, LimitError, SeriesError
from vlm.imaging.image import ImageHeader, Limits, MedicalImage
from vlm.imaging.orientation import normal_of

_LIMITS = Limits()
_LOCALIZERS = {"LOCALIZER", "SCOUT", "TOPOGRAM", "SCANOGRAM"}
_ANGLE = math.cos(math.radians(1.0))  # slices within a degree share an orientation
_TILT_DEGREES = 0.5
_SAME_PLACE_MM = 1e-3
_UNEVEN = 0.10  # of the median step
_GAP = 1.5


@dataclass(frozen=True, eq=False)
class Volume:
    """Slices of one series, evenly spaced.

    Attributes:
        voxels: (S, H, W) in ``units``; slice index grows along ``normal``.
        units: as of :class:`MedicalImage`.
        spacing_mm: between slices (along the normal), rows, columns.
        affine_lps: (4, 4) from (slice, row, column) index to DICOM patient millimetres (x left, y back, z head); holds
            the shear of a tilted gantry.
        normal: unit vector (LPS) out of the slices.
        images: the slices themselves, in order, with windows, masks and provenance.
        notes: what was odd and how it was met: "localizer_removed:1", "duplicate_removed:2",
            "other_orientation_removed:1", "gantry_tilt", "skipped:unknown_format:3", ...
    """

    voxels: np.ndarray
    units: str
    spacing_mm: tuple[float, float, float]
    affine_lps: np.ndarray
    normal: tuple[float, float, float]
    images: tuple[MedicalImage, ...]
    notes: tuple[str, ...]

    def slice(self, index: int) -> MedicalImage:
        """Slice ``index``, counted along the normal."""
        return self.images[index]


def read_series(
    source: str | Path | Iterable[str | Path],
    *,
    series_uid: str | None = None,
    workers: int = 1,
    limits: Limits = _LIMITS,
    pet_units: PetUnits = "suv",
) -> Volume:
    """The volume in a folder (searched deeply), a list of files, or one multi-frame DICOM or NIfTI file.

    Files of a folder that are no images are left out and counted in the notes; a file given by name must be one.

    Args:
        source: folder, file, or files.
        series_uid: which series, where the folder holds several.
        workers: decoding children.
        limits, pet_units: as :func:`vlm.imaging.read_image`.

    Raises:
        SeriesError: not one evenly spaced stack; codes "empty", "mixed_series", "mixed_orientation", "mixed_size",
            "mixed_units", "no_geometry", "duplicate_position", "gap", "uneven_spacing" or "too_few_slices".
        ImagingError: a slice that cannot be read.
    """
    notes: Counter[str] = Counter()
    paths, is_search = _paths(source)
    headers = _headers(paths, is_search, limits, notes)
    chosen = _one_series(headers, series_uid)
    if len(chosen) == 1:
        images = read_frames(chosen[0][0], limits=limits, pet_units=pet_units)
    else:
        _check_total([header for _, header in chosen], limits)
        images = []
        for path, result in Batch(max(1, workers), limits, 0, pet_units).run([path for path, _ in chosen]):
            del path
            if isinstance(result, ImagingError):
                raise result
            images.append(result)
    return stack(images, tuple(f"{name}:{count}" for name, count in sorted(notes.items())))


def stack(images: Sequence[MedicalImage], notes: tuple[str, ...] = ()) -> Volume:
    """Sort slices by position and make them a volume; see :func:`read_series`."""
    found = list(notes)
    placed = [image for image in images if image.orientation is not None and image.position_mm is not None]
    if len(placed) < len(images) or not placed:
        missing = len(images) - len(placed)
        raise SeriesError("no_geometry", f"{missing} of {len(images)} slices have no position or orientation")
    placed = _majority(placed, found)
    _same(placed)
    normal = np.array(normal_of(placed[0].orientation or ()))
    normal /= np.linalg.norm(normal)
    placed.sort(key=lambda image: float(np.dot(image.position_mm or (), normal)))
    placed = _unique(placed, normal, found)
    if len(placed) < 2:
        raise SeriesError("too_few_slices", "a volume needs at least two slices at different positions")
    step = _step(placed, normal, found)
    spacing = placed[0].spacing_mm
    if spacing is None:
        raise SeriesError("no_geometry", "the pixel spacing of the slices is unknown")
    row, column = np.array(placed[0].orientation[:3]), np.array(placed[0].orientation[3:])  # type: ignore[index]
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = step, column * spacing[0], row * spacing[1]
    affine[:3, 3] = placed[0].position_mm
    return Volume(
        voxels=np.stack([image.pixels for image in placed]),
        units=placed[0].units,
        spacing_mm=(float(np.dot(step, normal)), *spacing),
        affine_lps=affine,
        normal=(float(normal[0]), float(normal[1]), float(normal[2])),
        images=tuple(placed),
        notes=tuple(found),
    )


def _paths(source: str | Path | Iterable[str | Path]) -> tuple[list[Path], bool]:
    if not isinstance(source, (str, Path)):
        return [Path(path) for path in source], False
    folder = Path(source)
    if not folder.is_dir():
        return [folder], False
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")), True


def _headers(paths: list[Path], is_search: bool, limits: Limits, notes: Counter[str]) -> list[tuple[Path, ImageHeader]]:
    found = []
    for path in paths:
        try:
            header = read_header(path, limits=limits)
        except ImagingError as error:
            if not is_search:
                raise
            notes[f"skipped:{error.code}"] += 1
            continue
        if _LOCALIZERS & {part.upper() for part in header.image_type}:
            notes["localizer_removed"] += 1
            continue
        found.append((path, header))
    if not found:
        raise SeriesError("empty", "there is no image in it")
    return found


def _one_series(headers: list[tuple[Path, ImageHeader]], wanted: str | None) -> list[tuple[Path, ImageHeader]]:
    if wanted is not None:
        headers = [item for item in headers if item[1].series_uid == wanted]
        if not headers:
            raise SeriesError("empty", "no image belongs to the series asked for")
    count = len({header.series_uid for _, header in headers})
    if count > 1:
        raise SeriesError("mixed_series", f"the files belong to {count} series: give series_uid, or one series' files")
    return headers


def _check_total(headers: list[ImageHeader], limits: Limits) -> None:
    total = sum(header.rows * header.columns * header.samples * 4 for header in headers)
    if total > limits.max_total_bytes:
        raise LimitError("volume_too_large", f"the volume would take more than {limits.max_total_bytes >> 20} MiB")


def _majority(images: list[MedicalImage], notes: list[str]) -> list[MedicalImage]:
    """Slices of the commonest orientation; a few strangers (an unmarked scout) go, a real mixture is refused."""
    groups: list[list[MedicalImage]] = []
    for image in images:
        for group in groups:
            if _parallel(group[0].orientation or (), image.orientation or ()):
                group.append(image)
                break
        else:
            groups.append([image])
    groups.sort(key=len, reverse=True)
    strangers = len(images) - len(groups[0])
    if strangers > min(3, 0.2 * len(images)):
        raise SeriesError("mixed_orientation", f"the slices have {len(groups)} orientations: they are not one stack")
    if strangers:
        notes.append(f"other_orientation_removed:{strangers}")
    return groups[0]


def _parallel(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return all(sum(x * y for x, y in zip(a[i : i + 3], b[i : i + 3], strict=True)) >= _ANGLE for i in (0, 3))


def _same(images: list[MedicalImage]) -> None:
    if len({image.pixels.shape for image in images}) > 1:
        raise SeriesError("mixed_size", "the slices differ in rows or columns")
    if len({image.spacing_mm and tuple(round(v, 4) for v in image.spacing_mm) for image in images}) > 1:
        raise SeriesError("mixed_size", "the slices differ in pixel spacing")
    if len({image.units for image in images}) > 1:
        raise SeriesError("mixed_units", "the slices differ in units")


def _unique(images: list[MedicalImage], normal: np.ndarray, notes: list[str]) -> list[MedicalImage]:
    """One slice a position; the same pixels twice are dropped, different pixels at one place are refused."""
    kept: list[MedicalImage] = []
    for image in images:
        if kept and abs(np.dot(np.subtract(image.position_mm, kept[-1].position_mm), normal)) < _SAME_PLACE_MM:  # type: ignore[arg-type]
            if not np.array_equal(image.pixels, kept[-1].pixels):
                raise SeriesError(
                    "duplicate_position", "different slices lie at one position (over time, or of two reconstructions)"
                )
            continue
        kept.append(image)
    if len(kept) < len(images):
        notes.append(f"duplicate_removed:{len(images) - len(kept)}")
    return kept


def _step(images: list[MedicalImage], normal: np.ndarray, notes: list[str]) -> np.ndarray:
    """Vector from one slice to the next; refused where the steps differ."""
    positions = np.array([image.position_mm for image in images])
    steps = np.diff(positions @ normal)
    median = float(np.median(steps))
    gaps = int((steps > _GAP * median).sum())
    if gaps:
        raise SeriesError("gap", f"slices are missing in {gaps} place(s)")
    if np.abs(steps - median).max() > max(_UNEVEN * median, _SAME_PLACE_MM):
        raise SeriesError("uneven_spacing", "the distances between slices differ by more than a tenth")
    step = (positions[-1] - positions[0]) / (len(images) - 1)
    if math.degrees(math.acos(min(1.0, float(np.dot(step, normal) / np.linalg.norm(step))))) > _TILT_DEGREES:
        notes.append("gantry_tilt")
    return step
