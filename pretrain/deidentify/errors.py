"""Refusals of the de-identifier. No message holds a value of the input, nor the text of a library's exception."""

from collections.abc import Mapping

from vlm.errors import MedVLMError


class DeidentifyError(MedVLMError):
    """The run as a whole cannot be done as asked."""


class KeyFileError(DeidentifyError):
    """The key or mapping file is missing, damaged, readable by others, or inside the output."""


class SettingsError(DeidentifyError):
    """Options that contradict each other, or a folder begun with other ones."""


class StorageError(DeidentifyError):
    """The output cannot be written: no space, no permission, a broken disk."""


class RefusedError(DeidentifyError):
    """One file is not written. The run goes on and counts the code.

    Attributes:
        code: stable machine-readable reason, for example ``"digital_signature"``.
        reason: the sentence; safe to show to anybody.
    """

    def __init__(self, code: str, reason: str):
        self.code, self.reason = code, reason
        super().__init__(reason)

    def __reduce__(self):
        return type(self), (self.code, self.reason)


class NotCoveredError(RefusedError):
    """A kind of object that no rule here makes safe: signed, encapsulated, encrypted, of an unknown SOP class."""


class UnreadableError(RefusedError):
    """The file does not parse or does not decode."""


class TextRemainsError(RefusedError):
    """Text is still seen in the pixels after removal."""


class LeakError(RefusedError):
    """An identifier of the input was found in what was about to be written.

    Attributes:
        found: how often, by (kind, place); never the value.
    """

    def __init__(self, found: Mapping[tuple[str, str], int]):
        self.found = dict(found)
        parts = ", ".join(f"{kind} in {place} ({n})" for (kind, place), n in sorted(self.found.items()))
        super().__init__("identifier_survives", f"identifiers of the input are still in the output: {parts}")

    def __reduce__(self):
        return type(self), (self.found,)
