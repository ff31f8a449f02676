"""Refusals of the importer."""

from pretrain.shards.errors import DataError


class ImportSourceError(DataError):
    """The source is not what it was said to be, or it changed since the import was begun."""


class ColumnError(ImportSourceError):
    """A table has no such column; the sentence names the nearest one."""


class DropLimitError(DataError):
    """More records were dropped than ``--max-drop`` allows; the sentence gives the reasons."""
