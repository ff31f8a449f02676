"""Typed refusals of the imaging package: each has a code that a program can act on and a sentence for a person.

No message holds the value of a DICOM attribute, nor the text of a library's exception, which may quote one.
"""

from vlm.errors import MedVLMError


class ImagingError(MedVLMError):
    """An image was refused.

    Attributes:
        code: stable machine-readable reason, e.g. ``"too_large"``.
        reason: the sentence without the file it speaks of; safe to send to a stranger.
        source: the path as the caller gave it, or None where the caller passed bytes.
    """

    def __init__(self, code: str, reason: str, source: str | None = None):
        self.code = code
        self.reason = reason
        self.source = source
        super().__init__(f"{source}: {reason}" if source else reason)

    def __reduce__(self):
        return type(self), (self.code, self.reason, self.source)

    def at(self, source: str | None) -> "ImagingError":
        """The same refusal, naming the file."""
        return type(self)(self.code, self.reason, source)


class UnreadableError(ImagingError):
    """The file is missing, empty, not a regular file, or of no kind that is read here."""


class LimitError(ImagingError):
    """A declared or real size is over the caller's :class:`~vlm.imaging.Limits`; nothing was allocated for it."""


class NotAnImageError(ImagingError):
    """A sound DICOM object that holds no picture of a patient: report, plan, waveform, encapsulated document, ..."""


class UnsupportedError(ImagingError):
    """The format is known and has no decoder here (JPEG XL, video, odd bit depths, ...)."""


class DamagedError(ImagingError):
    """The bytes contradict themselves or end early."""


class DecoderDiedError(ImagingError):
    """The decoding child crashed, ran out of memory or hung on this file; the parent and the next file are unharmed."""


class SuvError(ImagingError):
    """A PET image lacks what SUVbw needs (weight, dose, times, corrections)."""


class WindowError(ImagingError):
    """The window asked for does not exist, or is in units that the image is not in."""


class SeriesError(ImagingError):
    """A set of files is not one evenly spaced stack of slices; the code says why."""


class RecordError(ImagingError):
    """A stored record does not hold an image."""


ERRORS: dict[str, type[ImagingError]] = {
    cls.__name__: cls
    for cls in (
        ImagingError,
        UnreadableError,
        LimitError,
        NotAnImageError,
        UnsupportedError,
        DamagedError,
        DecoderDiedError,
        SuvError,
        WindowError,
        SeriesError,
        RecordError,
    )
}
