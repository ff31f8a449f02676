"""Refusals of cleaning."""

from pretrain.shards.errors import DataError


class QualityModelError(DataError):
    """A quality classifier cannot be trained, read or calibrated."""


class CleaningError(DataError):
    """A table cannot be cleaned or scored."""
