"""What can go wrong between a benchmark, its manifest and the training data."""

from pretrain.shards.errors import DataError


class DecontaminationError(DataError):
    """A benchmark, a manifest or a list of excluded samples cannot be used."""


class ContaminationError(DataError):
    """Benchmark items lie in the training mix; the sentence says how many, which, and what to do."""
