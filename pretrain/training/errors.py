"""Errors of training that a person can act on."""

from vlm.errors import MedVLMError


class TrainingError(MedVLMError):
    """A run cannot start, go on or be saved; the sentence says why and what to do."""


class CheckpointError(TrainingError):
    """A checkpoint is missing, incomplete, damaged or belongs to another run."""
