"""The functions that everybody calls."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from vlm.imaging.errors import ImagingError
from vlm.imaging.image import ImageHeader, Limits, MedicalImage

PetUnits = Literal["suv", "file"]
Source = str | Path | bytes
_LIMITS = Limits()


def read_image(
    source: Source,
    *,
    frame: int = 0,
    limits: Limits = _LIMITS,
    sandbox: bool = True,
    pet_units: PetUnits = "suv",
) -> MedicalImage:
    """One frame of a DICOM, NIfTI, PNG, JPEG or TIFF file, in physical units.

    Args:
        source: path, or the file's bytes.
        frame: index from 0; of NIfTI the axial slice from the feet.
        limits: what the file may cost.
        sandbox: decode in a child process that may die; False only for files that you made yourself.
        pet_units: "suv" turns PET into SUVbw or refuses; "file" keeps what the file holds.

    Raises:
        ImagingError: one of its subclasses, with a code.
    """
    if not sandbox:
        from vlm.imaging.decode import decode_image

        return decode_image(source, frame, limits, pet_units)
    result = _in_child("image", source, limits, frame, pet_units)
    if not isinstance(result, list):
        raise _wrong(source)
    return result[0]


def read_header(source: Source, *, limits: Limits = _LIMITS, sandbox: bool = True) -> ImageHeader:
    """Everything but pixels.

    Raises:
        ImagingError: as :func:`read_image`; SOP class and declared sizes are checked, codestreams are not.
    """
    if not sandbox:
        from vlm.imaging.decode import decode_header

        return decode_header(source, limits)
    result = _in_child("header", source, limits, 0, "file")
    if not isinstance(result, ImageHeader):
        raise _wrong(source)
    return result


def read_images(
    paths: Iterable[str | Path],
    *,
    workers: int = 1,
    limits: Limits = _LIMITS,
    frame: int = 0,
    pet_units: PetUnits = "suv",
) -> Iterator[tuple[str | Path, MedicalImage | ImagingError]]:
    """Many files in their order: each an image, or the error it was refused with (given, not raised).

    The fast path for import: each worker is one long-lived child with two files in flight.

    Args:
        paths: files; may be a generator, which is read a few files ahead.
        workers: decoding children.
        limits, frame, pet_units: as :func:`read_image`.
    """
    from vlm.imaging.batch import Batch

    return Batch(max(1, workers), limits, frame, pet_units).run(paths)


def read_frames(
    source: Source, *, limits: Limits = _LIMITS, sandbox: bool = True, pet_units: PetUnits = "suv"
) -> list[MedicalImage]:
    """Every frame of a multi-frame DICOM or NIfTI file, parsed once; :func:`read_image` takes one lazily.

    Raises:
        ImagingError: as :func:`read_image`; LimitError where all together are too large.
    """
    if not sandbox:
        from vlm.imaging.decode import decode_frames

        return decode_frames(source, limits, pet_units)
    result = _in_child("frames", source, limits, 0, pet_units)
    if not isinstance(result, list):
        raise _wrong(source)
    return result


def _in_child(op: str, source: Source, limits: Limits, frame: int, pet_units: str) -> ImageHeader | list[MedicalImage]:
    from vlm.imaging.pool import default_pool, request_for

    is_bytes = isinstance(source, (bytes, bytearray, memoryview))
    if is_bytes and len(source) > limits.max_file_bytes:
        from vlm.imaging.decode import too_large

        raise too_large(limits)
    path = None if is_bytes else str(source)
    payload = bytes(source) if isinstance(source, (bytes, bytearray, memoryview)) else None
    result = default_pool().run(request_for(op, path, limits, frame, pet_units), payload, limits)
    if isinstance(result, ImagingError):
        raise result.at(path)
    return result


def _wrong(source: Source) -> ImagingError:
    from vlm.imaging.errors import DecoderDiedError

    path = None if isinstance(source, (bytes, bytearray, memoryview)) else str(source)
    return DecoderDiedError("decoder_protocol", "the decoder gave an answer that makes no sense", path)
