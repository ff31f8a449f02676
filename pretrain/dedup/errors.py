"""Refusals of deduplication."""

from vlm.errors import MedVLMError


class DedupError(MedVLMError):
    """The input cannot be deduplicated as asked; the sentence names the file, column or key."""
