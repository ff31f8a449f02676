"""Files for the imaging tests: the real ones of the installed packages, and small ones made here."""

import importlib.util
import io
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid

_NO_DICOM = {".py", ".pyc", ".json", ".md", ".txt", ".toml", ".icc", ".dump", ".gz"}
_PREFIX = "1.2.826.0.1.3680043.8.498."


def corpus_folders() -> dict[str, Path]:
    """Folders of the real DICOM files, by package."""
    found = {}
    for package, inside in (("pydicom", "data"), ("data_store", "data")):
        spec = importlib.util.find_spec(package)
        assert spec is not None and spec.origin is not None
        found[package] = Path(spec.origin).parent / inside
    return found


def all_corpus_files() -> list[tuple[str, Path]]:
    """Every DICOM file of pydicom and pydicom-data: label, path."""
    rows = []
    for package, folder in corpus_folders().items():
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix not in _NO_DICOM and path.name not in ("README", "LICENSE"):
                rows.append((f"{package}/{path.relative_to(folder).as_posix()}", path))
    return rows


@pytest.fixture(scope="session")
def corpus() -> dict[str, Path]:
    """Real files by name."""
    return {path.name: path for _, path in all_corpus_files()}


def build(
    pixels: np.ndarray, syntax: str = ExplicitVRLittleEndian, frames: list[bytes] | None = None, **attributes
) -> bytes:
    """A DICOM file around pixels.

    Args:
        pixels: (H, W), (H, W, 3) or, with NumberOfFrames among the attributes, (F, H, W).
        syntax: transfer syntax UID.
        frames: compressed frames; without them the pixels are stored as they are.
        attributes: by keyword; None removes one.
    """
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(syntax)
    meta.MediaStorageSOPClassUID = attributes.get("SOPClassUID") or CTImageStorage
    meta.MediaStorageSOPInstanceUID = attributes.get("SOPInstanceUID") or generate_uid(_PREFIX)
    ds = FileDataset(io.BytesIO(), Dataset(), preamble=b"\0" * 128, file_meta=meta)
    multi = "NumberOfFrames" in attributes and pixels.ndim >= 3
    shape = pixels.shape[1:] if multi else pixels.shape
    ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID, ds.SeriesInstanceUID = f"{_PREFIX}1", f"{_PREFIX}2"
    ds.Modality = "CT"
    ds.Rows, ds.Columns = shape[0], shape[1]
    ds.SamplesPerPixel = shape[2] if len(shape) == 3 else 1
    ds.PhotometricInterpretation = "RGB" if len(shape) == 3 else "MONOCHROME2"
    if len(shape) == 3:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated = ds.BitsStored = pixels.dtype.itemsize * 8
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    for keyword, value in attributes.items():
        if value is None:
            if keyword in ds:
                delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    if frames is None:
        data = pixels.tobytes()
        ds.add_new(0x7FE00010, "OW" if pixels.dtype.itemsize > 1 else "OB", data + b"\0" * (len(data) % 2))
    else:
        ds.PixelData = encapsulate(frames)
        ds["PixelData"].VR = "OB"
        ds["PixelData"].is_undefined_length = True
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def make_dicom() -> Callable[..., bytes]:
    """See :func:`build`."""
    return build


def picture(rows: int = 40, columns: int = 56, bits: int = 12) -> np.ndarray:
    """A smooth grey picture with an edge and noise, so that codecs have work to do."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:rows, :columns]
    values = (
        (x + 2 * y) / (columns + 2 * rows) * 0.8 + 0.1 * ((x // 8 + y // 8) % 2) + rng.normal(0, 0.02, (rows, columns))
    )
    return (np.clip(values, 0, 1) * (2**bits - 1)).astype(np.uint8 if bits <= 8 else np.uint16)


def _seeds() -> dict[str, bytes]:
    grey12, grey8 = picture(bits=12), picture(bits=8)
    colour = np.stack([grey8, grey8[::-1], grey8[:, ::-1]], -1).copy()
    twelve = {"BitsStored": 12, "HighBit": 11}
    jpeg = io.BytesIO()
    Image.fromarray(colour).save(jpeg, "JPEG", quality=90)
    rle = pydicom.dcmread(io.BytesIO(build(grey12, **twelve)))
    rle.compress("1.2.840.10008.1.2.5")
    packed = io.BytesIO()
    rle.save_as(packed)
    thin = pydicom.dcmread(io.BytesIO(build(grey12, **twelve)))
    thin.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    deflated = io.BytesIO()
    thin.save_as(deflated)
    one = "1.2.840.10008.1.2.4."
    deep = imagecodecs.jpeg8_encode(grey12, bitspersample=12, level=95)
    return {
        "uncompressed": build(grey12, **twelve),
        "RLE": packed.getvalue(),
        "JPEG baseline": build(colour, f"{one}50", [jpeg.getvalue()], PhotometricInterpretation="YBR_FULL_422"),
        "JPEG lossless": build(grey12, f"{one}70", [imagecodecs.ljpeg_encode(grey12, bitspersample=12)], **twelve),
        "JPEG 12 bit": build(grey12, f"{one}51", [deep], **twelve),
        "deflated": deflated.getvalue(),
        "JPEG-LS": build(grey12, f"{one}80", [imagecodecs.jpegls_encode(grey12)]),
        "J2K": build(grey12, f"{one}90", [imagecodecs.jpeg2k_encode(grey12, codecformat="j2k", reversible=True)]),
        "HTJ2K": build(grey12, f"{one}201", [imagecodecs.htj2k_encode(grey12, reversible=True)]),
    }


@pytest.fixture(scope="session")
def codec_seeds() -> dict[str, bytes]:
    """One small sound file of each codec."""
    return _seeds()
