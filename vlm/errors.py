"""The one base of every error that a person is meant to read."""


class MedVLMError(Exception):
    """Something the user can act on.

    The message says what happened, in which file, key or sample, and what to do. It never holds the value of a DICOM
    attribute. The command prints it without a traceback and exits with status 2.
    """


class EndpointError(MedVLMError):
    """A chat-completions server cannot be asked: not reachable, refused the key, has no such model."""
