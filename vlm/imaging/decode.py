"""Bytes to an image inside this process. For untrusted files :mod:`vlm.imaging.pool` runs this in a child."""

import contextlib
import hashlib
import logging
import os
import stat
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from vlm.imaging.errors import DamagedError, ImagingError, LimitError, UnreadableError, UnsupportedError
from vlm.imaging.image import ImageHeader, Limits, MedicalImage

Source = str | Path | bytes
_LOUD = ("pydicom", "PIL", "nibabel", "jpeg_ls", "pylibjpeg", "openjpeg")
_T = TypeVar("_T")
_lock = threading.RLock()
_is_quiet = False


def label(source: Source) -> str | None:
    """How an error names the source: a path as the caller gave it, nothing for bytes."""
    return None if isinstance(source, (bytes, bytearray, memoryview)) else str(source)


def load_bytes(source: Source, limits: Limits) -> bytes:
    """The file's bytes, never more than ``limits.max_file_bytes``.

    Raises:
        UnreadableError: missing, not readable, or not a regular file.
        LimitError: too large.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        if len(source) > limits.max_file_bytes:
            raise too_large(limits)
        return bytes(source)
    reason = None
    try:
        # O_NONBLOCK: opening a pipe by mistake must not wait for a writer.
        descriptor = os.open(source, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        with open(descriptor, "rb", buffering=0) as file:
            info = os.fstat(descriptor)
            if not stat.S_ISREG(info.st_mode):
                raise UnreadableError("not_a_file", "this is not a regular file")
            if info.st_size > limits.max_file_bytes:
                raise too_large(limits)
            return file.read(info.st_size)
    except FileNotFoundError:
        reason = "there is no such file"
    except IsADirectoryError:
        reason = "this is a folder: use read_series, or give the files in it"
    except PermissionError:
        reason = "reading is not permitted"
    except (OSError, ValueError):
        reason = "the file cannot be read"
    raise UnreadableError("cannot_open", reason)


def too_large(limits: Limits) -> LimitError:
    """The refusal of a file over the limit."""
    return LimitError("file_too_large", f"the file is larger than {limits.max_file_bytes >> 20} MiB")


def decode_header(source: Source, limits: Limits) -> ImageHeader:
    """See :func:`vlm.imaging.read_header`."""

    def work(data: bytes) -> ImageHeader:
        kind = kind_of(data)
        if kind == "dicom":
            from vlm.imaging import dicom_pixels, dicom_read

            return dicom_pixels.header(dicom_read.parse(data, limits), limits)
        if kind == "nifti":
            from vlm.imaging.nifti import nifti_header

            return nifti_header(data, limits)
        from vlm.imaging.raster import raster_header

        return raster_header(data, kind, limits)

    return _guarded(source, limits, work)


def decode_image(source: Source, frame: int, limits: Limits, pet_units: str = "suv") -> MedicalImage:
    """See :func:`vlm.imaging.read_image`."""

    def work(data: bytes) -> MedicalImage:
        kind = kind_of(data)
        sha256 = hashlib.sha256(data).hexdigest()
        if kind == "dicom":
            from vlm.imaging import dicom_pixels, dicom_read

            return dicom_pixels.image(dicom_read.parse(data, limits), frame, limits, sha256, pet_units)
        if kind == "nifti":
            from vlm.imaging.nifti import nifti_image

            return nifti_image(data, frame, limits, sha256)
        from vlm.imaging.raster import raster_image

        return raster_image(data, kind, frame, limits, sha256)

    return _guarded(source, limits, work)


def decode_frames(source: Source, limits: Limits, pet_units: str = "suv") -> list[MedicalImage]:
    """Every frame of a DICOM or NIfTI file, parsed once.

    Raises:
        LimitError: all frames together would take more than half of ``limits.memory_bytes``.
    """

    def work(data: bytes) -> list[MedicalImage]:
        kind = kind_of(data)
        sha256 = hashlib.sha256(data).hexdigest()
        if kind == "nifti":
            from vlm.imaging import nifti

            volume = nifti.load(data, limits)
            if len(volume.shape) != 3:
                raise UnsupportedError("four_dimensional", "a NIfTI over time is not one volume: read its frames")
            return [nifti.slice_image(volume, k, sha256) for k in range(volume.shape[2])]
        if kind != "dicom":
            raise UnsupportedError("not_a_volume", f"a {kind.upper()} file is not a volume")
        from vlm.imaging import dicom_gate, dicom_pixels, dicom_read

        parsed = dicom_read.parse(data, limits)
        shape = dicom_gate.admit(parsed, limits)
        if shape.frame_bits // 8 * shape.frames * 4 > limits.memory_bytes // 2:
            raise LimitError("volume_too_large", "all frames together are too large: read them one by one")
        return [dicom_pixels.image(parsed, k, limits, sha256, pet_units) for k in range(shape.frames)]

    return _guarded(source, limits, work)


def kind_of(data: bytes) -> str:
    """ "dicom", "nifti", "png", "jpeg" or "tiff" by content; names and extensions are not believed.

    Raises:
        UnreadableError: none of them; says what it is where that is plain.
    """
    from vlm.imaging import dicom_read, nifti, raster

    head = data[:4096]
    if head[128:132] == b"DICM":
        return "dicom"
    kind = raster.sniff(head)
    if kind:
        return kind
    if nifti.sniff(head):
        return "nifti"
    dicom_read.check_file(data)
    if dicom_read.looks_like_dicom(head):
        return "dicom"
    raise UnreadableError("unknown_format", "this is not a DICOM, NIfTI, PNG, JPEG or TIFF file")


def _guarded(source: Source, limits: Limits, work: Callable[[bytes], _T]) -> _T:
    """Run ``work`` on the bytes; every exception that is not ours becomes a DamagedError without its text."""
    name = label(source)
    failure: ImagingError
    with quiet():
        try:
            return work(load_bytes(source, limits))
        except ImagingError as error:
            failure = error.at(name)
        except MemoryError:
            failure = LimitError("out_of_memory", "decoding needs more memory than is allowed", name)
        except Exception as error:  # codecs and parsers raise anything on hostile bytes
            failure = DamagedError("damaged", f"the file is damaged or not conformant ({type(error).__name__})", name)
    # Raised outside the handler, so that no traceback carries a library's message, which may quote the file.
    raise failure


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Libraries neither warn nor log: pydicom puts attribute values into both. Nests; one thread at a time."""
    global _is_quiet
    from pydicom import config

    with _lock, contextlib.ExitStack() as stack:
        if _is_quiet:  # this thread, further up: the lock is re-entrant
            yield
            return
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        levels = {name: logging.getLogger(name).level for name in _LOUD}
        mode = config.settings.reading_validation_mode
        config.settings.reading_validation_mode = config.IGNORE
        for name in _LOUD:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        _is_quiet = True
        try:
            yield
        finally:
            _is_quiet = False
            config.settings.reading_validation_mode = mode
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
