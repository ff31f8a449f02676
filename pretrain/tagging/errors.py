"""Refusals of tagging."""

from pretrain.shards.errors import DataError


class LabelError(DataError):
    """A table of labels cannot be understood: a column, a value or a label that nothing says how to read."""


class TaggingError(DataError):
    """The shards, the tree or the folder of the result do not fit together."""
