"""The functions that everybody calls."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from vlm.imaging.errors import ImagingError
from vlm.imaging.image import ImageHeader, Limits, MedicalImage

PetUnits = Literal["suv", "file"]


def read_image(
    source: str | Path | bytes,
    *,
    frame: int = 0,
    limits: Limits = Limits(),
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
    from vlm.imaging.decode import decode_image

    return decode_image(source, frame, limits, pet_units)


def read_header(
    source: str | Path | bytes, *, limits: Limits = Limits(), sandbox: bool = True
) -> ImageHeader:
    """Everything but pixels.

    Raises:
        ImagingError: as :func:`read_image`; SOP class and declared sizes are checked, codestreams are not.
    """
    from vlm.imaging.decode import decode_header

    return decode_header(source, limits)


def read_images(
    paths: Iterable[str | Path], *, workers: int = 1, limits: Limits = Limits(), frame: int = 0
) -> Iterator[tuple[str | Path, MedicalImage | ImagingError]]:
    """Many files in their order: each an image, or the error it was refused with (returned, not raised)."""
    for path in paths:
        try:
            yield path, read_image(path, frame=frame, limits=limits)
        except ImagingError as error:
            yield path, error
