"""A compiled tagger in one file beside its tree, so that a process need not read the tree and compile it again.

The arrays are mapped, not read: processes share their pages. The file is 32 bytes of stamp (what it was made of), 32
bytes of sha256 of the rest, the lengths of the parts as uint64, and the parts, those with the widest numbers first so
that all lie aligned; the last part is JSON. A file of another stamp or sum counts as none. No part of it is code, and
none can lead the search out of its arrays.
"""

import hashlib
import json
import logging
import mmap
import unicodedata
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from uuid import uuid4

import numpy as np

from med_entity_tree.coding import FIRST
from med_entity_tree.trie import PhraseTrie, TrieArrays

log = logging.getLogger(__name__)

STORED = ".tagger"
# What decides how a tree is compiled, this file among it: a change makes what is stored stale.
RULES = (
    "coding.py",
    "entity.py",
    "merge.py",
    "names.py",
    "read_over.tsv",
    "tagger.py",
    "tagger_store.py",
    "too_common.tsv",
    "tree.py",
    "trie.py",
)

_PARTS = {
    "keys": np.uint64,
    "targets": np.int32,
    "accepts": np.int32,
    "entity_of": np.int32,
    "begins": np.bool_,
    "text": np.uint8,
}
_HEAD = 64  # bytes of stamp and sum


@dataclass(frozen=True)
class Compiled:
    """What a tagger searches with. P phrases are names; those of the trie behind them are the abbreviations.

    Attributes:
        words: normal words of all names; the number of the first is FIRST.
        short: abbreviations with the ids of their candidates; their numbers follow those of the words.
        ids: of the entities that are named.
        entity_of: (P,) int32, place in ``ids`` of the entity that a phrase names; -1 for one that is read over.
        trie: of all phrases.
    """

    words: list[str]
    short: list[tuple[str, list[str]]]
    ids: list[str]
    entity_of: np.ndarray
    trie: PhraseTrie


def stamp_of(entities: Path) -> bytes:
    """32 bytes that differ when the file of entities, a rule or the Unicode data of this Python does."""
    stamp = hashlib.sha256(unicodedata.unidata_version.encode())
    with entities.open("rb") as file:
        stamp.update(hashlib.file_digest(file, "sha256").digest())
    for name in RULES:
        stamp.update(hashlib.sha256((files("med_entity_tree") / name).read_bytes()).digest())
    return stamp.digest()


def store(made: Compiled, path: Path, stamp: bytes) -> None:
    """Write ``made`` to ``path``, whole or not at all; a folder that cannot be written to is left as it is."""
    text = json.dumps({"words": made.words, "short": made.short, "ids": made.ids}).encode()
    arrays = made.trie.arrays._asdict() | {"entity_of": made.entity_of, "text": np.frombuffer(text, np.uint8)}
    parts = [np.array([len(arrays[name]) for name in _PARTS], np.uint64), *(arrays[name] for name in _PARTS)]
    total = hashlib.sha256()
    for part in parts:
        total.update(part)
    half = path.with_name(f"{path.name}.{uuid4().hex}.part")
    try:
        with half.open("xb") as file:
            file.write(stamp + total.digest())
            for part in parts:
                file.write(part.data)
        half.replace(path)
    except OSError as error:
        log.debug("the compiled tagger is not kept: %s", error)
    finally:
        with suppress(OSError):  # it is there only where writing failed
            half.unlink()


def load(path: Path, stamp: bytes) -> Compiled | None:
    """What was stored under ``stamp``; None where there is nothing, something else or something damaged."""
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        whole = mapped[:_HEAD] == stamp + hashlib.sha256(memoryview(mapped)[_HEAD:]).digest()
        made = _read(mapped) if whole else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        log.debug("the compiled tagger %s is not used: %s", path, error)
        return None
    if made is None:
        log.debug("the compiled tagger %s is stale or damaged", path)
    return made


def _read(mapped: mmap.mmap) -> Compiled | None:
    sizes = np.frombuffer(mapped, np.uint64, len(_PARTS), _HEAD)
    found, at = {}, _HEAD + sizes.nbytes
    for (name, dtype), size in zip(_PARTS.items(), sizes.tolist(), strict=True):
        found[name] = np.frombuffer(mapped, dtype, size, at)
        at += found[name].nbytes
    text = json.loads(found.pop("text").tobytes())
    entity_of, arrays = found.pop("entity_of"), TrieArrays(**found)
    short = [(form, candidates) for form, candidates in text["short"]]
    if not _is_closed(arrays, FIRST + len(text["words"]) + len(short)):
        return None
    return Compiled(text["words"], short, text["ids"], entity_of, PhraseTrie.of_arrays(arrays))


def _is_closed(trie: TrieArrays, words: int) -> bool:
    """Does a walk end within the arrays? The compiled walk does not look at bounds."""
    slots, targets = len(trie.keys), trie.targets
    sizes = len(targets) == slots and slots & (slots - 1) == 0 and len(trie.begins) == words
    return sizes and bool(targets.min() >= 0 and targets.max() < len(trie.accepts) and not targets.all())
