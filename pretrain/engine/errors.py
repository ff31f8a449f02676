"""What can go wrong in the data engine, in sentences for the person who runs it."""

from vlm.errors import MedVLMError


class EngineError(MedVLMError):
    """The engine cannot go on: a recipe that asks for what is not there, or a stage that failed."""
