"""What every source yields: a study with its images, its text and where it came from, before anything is decoded."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from vlm.messages import Message

MAX_KEY = 72  # a tar name has 100 characters, and suffixes such as ".mask12.png" need room
_UNSAFE = re.compile(r"[^A-Za-z0-9_=+@-]+")


@dataclass(frozen=True)
class Question:
    """A question about the images, with its answer; ``details`` is the source's own row (kind, finding, options)."""

    question: str
    answer: str
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """A radiology report; a source without sections puts all of it into ``findings``."""

    findings: str = ""
    impression: str = ""

    def text(self) -> str:
        """Both sections under their headings, or the one that there is, bare."""
        findings, impression = self.findings.strip(), self.impression.strip()
        if findings and impression:
            return f"Findings: {findings}\n\nImpression: {impression}"
        return findings or impression


@dataclass(frozen=True)
class Study:
    """One study on its way to a sample.

    Attributes:
        key: unique in the source; made safe for tars by :func:`safe_key`.
        where: file or row, for the list of dropped records.
        images: files, or the bytes of files, in the order in which they are shown.
        report, questions: the text; messages: a finished conversation instead of both.
        patient, study: cluster keys without identity.
        masks: truth masks by index of image.
        split: of the source's own making, "" for none.
        entities: ids of what the text is about.
        extra: kept with the sample, JSON only.
        source: name of the data set that it comes from, where a source joins several; "" for the source's own.
        simulated: made by a simulator, where a source joins what is with what is not.
    """

    key: str
    where: str
    images: tuple[Path | bytes, ...] = ()
    report: Report | None = None
    questions: tuple[Question, ...] = ()
    messages: tuple[Message, ...] = ()
    patient: str = ""
    study: str = ""
    masks: dict[int, Path] = field(default_factory=dict)
    split: str = ""
    entities: tuple[str, ...] = ()
    licence: str = ""
    extra: dict[str, Any] = field(default_factory=dict)
    source: str = ""
    simulated: bool = False


@dataclass(frozen=True)
class Drop:
    """A record that cannot become a sample, and why, in a few words that are counted."""

    where: str
    reason: str


class Source(Protocol):
    """Where studies come from. Iterating a split twice gives the same studies in the same order."""

    name: str
    licence: str
    simulated: bool

    def splits(self) -> list[str]:
        """Names of the splits that the source has; one at least."""
        ...

    def total(self, split: str) -> int | None:
        """Number of records of a split, None where counting means reading everything."""
        ...

    def fingerprint(self) -> str:
        """Changes when the source does; kept so that an import is not resumed from changed data."""
        ...

    def studies(self, split: str) -> Iterator[Study | Drop]:
        """Records of a split in a fixed order."""
        ...


def safe_key(key: str) -> str:
    """A key that a tar can carry: other characters become "_", and a hash tells apart what would collide.

    >>> safe_key("p0001-s1")
    'p0001-s1'
    """
    safe = _UNSAFE.sub("_", key).strip("_-=+@")
    if key and safe == key and len(key) <= MAX_KEY:
        return key
    return f"{safe[: MAX_KEY - 13] or 'x'}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"


def cluster_key(kind: str, value: str, salt: str) -> str:
    """A patient or study key that does not show the value it was made from (16 hex digits); "" for "".

    Without a salt that is kept secret, ids that can be guessed can also be confirmed.
    """
    return hashlib.sha256(f"{kind}\0{salt}\0{value}".encode()).hexdigest()[:16] if value else ""


def thinned(study: Study, most: int) -> Study:
    """The study with at most that many images, evenly spaced, and how many there were in ``extra["images_in_study"]``.

    A finished conversation names its images, so they all stay.
    """
    count = len(study.images)
    if count <= most or study.messages:
        return study
    chosen = [i * (count - 1) // max(most - 1, 1) for i in range(most)]
    extra = {**study.extra, "images_in_study": count}
    if "headers" in extra:
        extra["headers"] = [extra["headers"][i] for i in chosen]
    masks = {k: study.masks[i] for k, i in enumerate(chosen) if i in study.masks}
    return replace(study, images=tuple(study.images[i] for i in chosen), masks=masks, extra=extra)
