"""What can go wrong between a folder of shards and a training step."""

from vlm.errors import MedVLMError


class DataError(MedVLMError):
    """Base of every error about stored training data."""


class ShardError(DataError):
    """A tar is truncated or damaged; the sentence names the tar and the key or byte where it breaks."""


class IndexMissingError(DataError):
    """A tar has no index beside it, a folder has no ``dataset.json``, or the two do not belong together."""


class UnsafeMemberError(DataError):
    """A tar holds a member that only an unpickler or a loader of code could read; it is refused unread."""


class NoSpaceError(DataError):
    """The disk, the quota or the file-size limit is used up; finished shards are kept, the partial one is removed."""


class PlanMismatchError(DataError):
    """A checkpoint was written under another plan than the one it should go on with."""
