"""Lists of training samples that must not be drawn: written by a scan, carried into the plan as weights of 0."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pretrain.decontamination.errors import DecontaminationError
from pretrain.shards.index import ShardSet
from pretrain.shards.tar import write_atomically

FORMAT = "medvlm-excluded-samples/1"


@dataclass(frozen=True)
class Excluded:
    """Keys to leave out of one data set, told by the digest of its shards and not by its name or place.

    Attributes:
        name: of the data set when the list was made, for messages.
        digest: of its shards.
        keys: of the samples.
    """

    name: str
    digest: str
    keys: frozenset[str]


def write_excluded(path: Path, keys: Mapping[str, Sequence[str]], sources: Sequence[ShardSet]) -> int:
    """Write the list of samples to leave out; returns how many.

    Args:
        path: of the JSON file.
        keys: by name of the data set.
        sources: the data sets that were scanned; those without a key to leave out are listed too.
    """
    listed = [
        {"name": source.name, "digest": source.digest, "keys": sorted(keys.get(source.name, ()))} for source in sources
    ]
    listed.sort(key=lambda one: (str(one["name"]), str(one["digest"])))
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"format": FORMAT, "data": listed}, indent=1, ensure_ascii=False)
    write_atomically(path, (text + "\n").encode())
    return sum(len(one["keys"]) for one in listed)


def read_excluded(path: str | Path) -> list[Excluded]:
    """
    Raises:
        DecontaminationError: no such file, or it is not such a list.
    """
    path = Path(path)
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored["format"] != FORMAT:
            raise ValueError(f"format {stored['format']!r}")
        return [Excluded(str(d["name"]), str(d["digest"]), frozenset(d["keys"])) for d in stored["data"]]
    except FileNotFoundError:
        raise DecontaminationError(
            f"there is no list of excluded samples {path}: make it with `medvlm data decontaminate scan SHARDS "
            f"--manifest M --remove {path}`"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DecontaminationError(f"{path} is not a list of excluded samples ({error}): make it again") from error


def excluded_masks(paths: Sequence[str | Path], sources: Sequence[ShardSet]) -> dict[str, np.ndarray]:
    """(N,) bool by name of the data set: records that the lists leave out.

    Raises:
        DecontaminationError: a list is for none of the data sets, for other shards of the same name, or names a key
            that the shards do not hold. Each would leave in what should be out.
    """
    masks = {source.name: np.zeros(len(source), bool) for source in sources}
    by_digest = {source.digest: source for source in sources}
    names = {source.name for source in sources}
    for path in paths:
        lists = read_excluded(path)
        stale = [e.name for e in lists if e.digest not in by_digest and e.name in names]
        if stale:
            raise DecontaminationError(
                f"{path} was made for other shards of {stale[0]} than those of the mix (they were imported again): "
                "scan the new ones with `medvlm data decontaminate scan ... --remove`"
            )
        ours = [e for e in lists if e.digest in by_digest]
        if not ours:
            raise DecontaminationError(
                f"{path} is about {', '.join(e.name for e in lists) or 'no data set'}, which is not in the training "
                f"mix ({', '.join(sorted(names))}): take it out of data.decontamination.exclude, or scan this mix"
            )
        for one in ours:
            source = by_digest[one.digest]
            keys = (key for index in source.indexes for key in index.keys())  # noqa: SIM118 - not a dictionary
            found = np.fromiter((key in one.keys for key in keys), bool, len(source))
            if int(found.sum()) < len(one.keys):
                raise DecontaminationError(
                    f"{path} names {len(one.keys)} samples of {one.name} and only {int(found.sum())} are in its "
                    "shards: the list was changed; scan again"
                )
            masks[source.name] |= found
    return masks
