"""NIfTI volumes: slices and voxels turned to radiological axial view, in DICOM's patient system (LPS)."""

import io
import struct
import zlib
from typing import Any

import numpy as np

from vlm.imaging.dicom_gate import check_size
from vlm.imaging.dicom_read import inflate
from vlm.imaging.errors import DamagedError, UnreadableError, UnsupportedError
from vlm.imaging.image import ImageHeader, Limits, MedicalImage, Provenance

_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def sniff(head: bytes) -> bool:
    """True for NIfTI-1 and -2, plain or gzipped."""
    if head[:2] == b"\x1f\x8b":
        try:
            head = zlib.decompressobj(31).decompress(head, 352)
        except zlib.error:
            return False
    if len(head) < 8:
        return False
    sizes = {struct.unpack(order + "i", head[:4])[0] for order in "<>"}
    return bool(sizes & {348, 540}) and (b"n+1" in head[340:352] or b"n+2" in head[:12])


def load(data: bytes, limits: Limits) -> Any:
    """The volume with its axes permuted and flipped (never resampled) so that i, j, k run to left, back, head.

    Returns:
        a nibabel image of three or four dimensions; voxels are read when they are asked for.

    Raises:
        DamagedError: the header or the voxels do not parse.
        UnsupportedError: complex or RGB voxels, or more than four dimensions.
    """
    import nibabel
    from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

    if data[:2] == b"\x1f\x8b":
        data = inflate(data, 0, 31, limits)
    reason = None
    try:
        wide = 540 in struct.unpack("<i", data[:4]) + struct.unpack(">i", data[:4])
        kind: Any = nibabel.Nifti2Image if wide else nibabel.Nifti1Image
        image = kind.from_stream(io.BytesIO(data))
        shape = image.shape
        dtype = image.get_data_dtype()
    except Exception as error:  # nibabel raises its own classes, which share no base
        reason = type(error).__name__
    if reason:
        raise DamagedError("damaged", f"the NIfTI header is damaged ({reason})")
    if dtype.kind not in "iuf" or len(shape) not in (2, 3, 4) or min(shape) < 1 or dtype.itemsize > 8:
        raise UnsupportedError("nifti_form", "complex, RGB or more than four-dimensional NIfTI is not decoded here")
    slices = int(np.prod(shape[2:], dtype=object)) if len(shape) > 2 else 1
    check_size(shape[0], shape[1], slices, shape[0] * shape[1] * dtype.itemsize * 8, limits)
    # A slice along another axis may be larger than along the last.
    if np.prod(shape, dtype=object) * dtype.itemsize > len(data):
        raise DamagedError("truncated", "the NIfTI file is shorter than its dimensions say")
    if len(shape) == 2:
        image = kind(np.asanyarray(image.dataobj)[..., None], image.affine, image.header)
    turn = ornt_transform(io_orientation(image.affine), axcodes2ornt("LPS"))
    return image.as_reoriented(turn)


def nifti_header(data: bytes, limits: Limits) -> ImageHeader:
    """Size, spacing and orientation of a NIfTI volume as axial slices."""
    image = load(data, limits)
    i, j, k = image.shape[:3]
    frames = k * (image.shape[3] if len(image.shape) > 3 else 1)
    spacing, source = _spacing(image)
    return ImageHeader(
        "nifti",
        j,
        i,
        frames,
        spacing_mm=spacing,
        spacing_source=source,
        orientation=_orientation(image.affine),
        position_mm=_position(image.affine, 0),
    )


def nifti_image(data: bytes, frame: int, limits: Limits, sha256: str) -> MedicalImage:
    """Axial slice ``frame``, counted from the feet (then through time): right edge is the patient's left."""
    image = load(data, limits)
    depth = image.shape[2]
    frames = depth * (image.shape[3] if len(image.shape) > 3 else 1)
    if not 0 <= frame < frames:
        raise UnreadableError("frame_index", f"there is no frame {frame}: the file has {frames}, counted from 0")
    return slice_image(image, frame, sha256)


def slice_image(image: Any, frame: int, sha256: str) -> MedicalImage:
    """Slice ``frame`` of what :func:`load` gave."""
    import nibabel

    depth = image.shape[2]
    frames = depth * (image.shape[3] if len(image.shape) > 3 else 1)
    k, t = frame % depth, frame // depth
    part = image.dataobj[:, :, k] if len(image.shape) == 3 else image.dataobj[:, :, k, t]
    pixels = np.ascontiguousarray(np.asarray(part).T)
    if pixels.dtype.kind == "f":
        pixels = pixels.astype(np.float32)
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    if pixels.dtype.itemsize == 8:
        pixels = pixels.astype(np.float64)
    spacing, source = _spacing(image)
    slope = image.header.get("scl_slope", 1.0)
    scaled = bool(np.isfinite(slope)) and float(slope) not in (0.0, 1.0)
    return MedicalImage(
        pixels=pixels,
        units="unspecified" if scaled else "stored",
        spacing_mm=spacing,
        spacing_source=source,
        modality=None,
        inverted=False,
        windows=(),
        valid=None,
        provenance=Provenance(
            sha256=sha256,
            kind="nifti",
            frame=frame,
            frames=frames,
            photometric="MONOCHROME2",
            decoder=f"nibabel {nibabel.__version__}",
            bits_stored=8 * pixels.dtype.itemsize,
        ),
        orientation=_orientation(image.affine),
        position_mm=_position(image.affine, k),
    )


def lps_affine(image: Any) -> np.ndarray:
    """(4, 4) from voxel index (i, j, k) to LPS millimetres."""
    return _TO_LPS @ image.affine


def _spacing(image: Any) -> tuple[tuple[float, float] | None, str]:
    lengths = np.linalg.norm(image.affine[:3, :3], axis=0)
    pair = float(lengths[1]), float(lengths[0])
    ok = all(np.isfinite(v) and 1e-5 <= v <= 100.0 for v in pair)
    return (pair, "affine") if ok else (None, "unknown")


def _orientation(affine: np.ndarray) -> tuple[float, ...] | None:
    axes = (_TO_LPS @ affine)[:3, :2]
    lengths = np.linalg.norm(axes, axis=0)
    if not np.isfinite(lengths).all() or (lengths == 0).any():
        return None
    return tuple(float(v) for v in (axes / lengths).T.ravel())


def _position(affine: np.ndarray, k: int) -> tuple[float, ...]:
    return tuple(float(v) for v in (_TO_LPS @ affine @ [0, 0, k, 1])[:3])
