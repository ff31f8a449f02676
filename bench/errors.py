"""What can go wrong while measuring, in sentences for the person who measures."""

from vlm.errors import MedVLMError


class BenchError(MedVLMError):
    """Base of every error of the benchmark."""


class DataError(BenchError):
    """The questions cannot be used: a missing file, a missing key, a question without its answer."""


class RunError(BenchError):
    """A run folder cannot be used: unfinished, damaged, or of another measurement."""


class MeasurementStopped(BenchError):
    """The server stopped answering. What was answered is kept; the same command goes on from there."""
