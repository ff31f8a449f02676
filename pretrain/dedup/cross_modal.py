"""Duplicates of samples, which are images with a text: what the two relations together mean.

The same report over many normal films is a fact of radiology, not a duplicate; the same film with two reports is two
samples that no split may part; the same film under two patients is an error that somebody has to look at.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pretrain.dedup.errors import DedupError


class Images(StrEnum):
    """How the images of two samples relate."""

    none = "none"  # neither sample has any
    one_sided = "one-sided"  # one of them has none
    same = "same"  # the same exposures
    shared = "shared"  # some, not all; or mirror images
    different = "different"


class Texts(StrEnum):
    """How the texts of two samples relate; two samples without a text have the same."""

    same = "same"
    near = "near"
    different = "different"


class Reason(StrEnum):
    """Why a sample is kept or dropped."""

    unique = "unique"
    same_both = "same images, same text"
    near_text = "same images, near text"
    other_text = "same images, other text"
    shared_images = "shares images with another sample"
    conflict = "same image under two patients"
    text_exact = "no images, same text"
    text_near = "no images, near text"


@dataclass(frozen=True)
class Verdict:
    """What becomes of the less preferred one of two samples.

    Attributes:
        drop: it is a duplicate.
        together: no split may part the two.
        reason: None where the pair says nothing about either.
    """

    drop: bool
    together: bool
    reason: Reason | None


def verdict(images: Images, texts: Texts, other_patient: bool = False) -> Verdict:
    """The decision table.

    Args:
        other_patient: both samples name a patient, and not the same one.
    """
    if images in (Images.same, Images.shared) and other_patient:
        return Verdict(False, True, Reason.conflict)
    if images is Images.same:
        if texts is Texts.different:
            return Verdict(False, True, Reason.other_text)
        return Verdict(True, True, Reason.same_both if texts is Texts.same else Reason.near_text)
    if images is Images.shared:
        return Verdict(False, True, Reason.shared_images)
    if images is Images.none and texts is not Texts.different:
        return Verdict(True, True, Reason.text_exact if texts is Texts.same else Reason.text_near)
    return Verdict(False, False, None)  # other images: the text may be the same, and the sample is not


@dataclass(frozen=True)
class SampleRow:
    """What the decision needs of a sample; its text is asked for only where images are shared.

    Attributes:
        key: unique.
        images: keys of its images in the image decisions, () for a sample of text.
        patient: "" where unknown.
        length: characters of its text; the longest is kept.
        provenance: how much is known of where it comes from (number of filled fields); more is kept.
    """

    key: str
    images: tuple[str, ...] = ()
    patient: str = ""
    length: int = 0
    provenance: int = 0

    @property
    def preference(self) -> tuple:
        return (-self.length, -self.provenance, self.key)


@dataclass(frozen=True)
class Decision:
    """Attributes: ``keeper`` is the sample's own key where it is kept; ``cluster`` must stay in one split."""

    key: str
    kept: bool
    reason: Reason
    keeper: str
    cluster: str


@dataclass(frozen=True)
class Conflict:
    """One image under several patients."""

    image: str
    patients: tuple[str, ...]
    samples: tuple[str, ...]


@dataclass(frozen=True)
class Resolution:
    """Decisions sorted by key, and conflicts sorted by image."""

    decisions: list[Decision]
    conflicts: list[Conflict]

    def counts(self) -> dict[str, int]:
        found: Counter[str] = Counter()
        for d in self.decisions:
            found[f"{'kept' if d.kept else 'dropped'}: {d.reason}"] += 1
        if self.conflicts:
            found["images under two patients"] = len(self.conflicts)
        return dict(sorted(found.items()))


@dataclass(frozen=True)
class ImageRow:
    """Of the image decisions: the exposure, and the group that also holds its mirror images."""

    cluster: str
    group: str


Relate = Callable[[str, str], Texts]


def resolve(
    samples: Sequence[SampleRow],
    images: Mapping[str, ImageRow],
    relate: Relate,
    text_keepers: Mapping[str, tuple[str, Texts]] | None = None,
) -> Resolution:
    """Decide for all samples.

    Samples with the same exposures are walked from the most preferred on (longest text, most provenance, smallest key)
    and dropped where the table says so against one that was kept.

    Args:
        samples: any order.
        images: image key -> exposure and group (``image_decisions.parquet``); an image that is missing here (it could
            not be read) is its own.
        relate: keys of two samples -> how their texts relate; called only for samples with the same images.
        text_keepers: sample -> (keeper, relation) of the samples without images, from the text decisions made over
            exactly these.

    Raises:
        DedupError: a key occurs twice, or a keeper is not a sample without images.
    """
    rows = {row.key: row for row in samples}
    if len(rows) != len(samples):
        raise DedupError("the samples' keys are not unique")
    reasons: dict[str, tuple[Reason, str]] = {}
    alike: defaultdict[frozenset[str], list[SampleRow]] = defaultdict(list)
    holders: defaultdict[str, list[SampleRow]] = defaultdict(list)
    for row in sorted(samples, key=lambda row: row.preference):
        exposures = frozenset(images[i].cluster if i in images else f"?{i}" for i in row.images)
        if exposures:
            alike[exposures].append(row)
        for group in sorted({images[i].group if i in images else f"?{i}" for i in row.images}):
            holders[group].append(row)
    parent = _together(rows, [[row.key for row in group] for group in holders.values()])
    for group in holders.values():
        _note(reasons, group, Reason.shared_images)
    for group in alike.values():
        _decide_alike(group, relate, reasons)
    conflicts = _conflicts(holders, reasons)
    for key, (keeper, relation) in (text_keepers or {}).items():
        if key not in rows or keeper not in rows or rows[key].images or rows[keeper].images:
            raise DedupError(f"the text decisions name {key!r} and {keeper!r}: make them of the samples without images")
        if key != keeper:
            said = verdict(Images.none, relation)
            reasons[key] = (said.reason or Reason.unique, keeper)
            parent[key] = keeper
    decisions = []
    for key in sorted(rows):
        reason, keeper = reasons.get(key, (Reason.unique, key))
        decisions.append(Decision(key, keeper == key, reason, keeper, _root(parent, key)))
    return Resolution(decisions, conflicts)


def _decide_alike(group: list[SampleRow], relate: Relate, reasons: dict[str, tuple[Reason, str]]) -> None:
    """Samples with the same exposures, most preferred first."""
    kept: list[SampleRow] = []
    for row in group:
        for other in kept:
            said = verdict(Images.same, relate(row.key, other.key), _other_patient(row, other))
            if said.drop and said.reason:
                reasons[row.key] = (said.reason, other.key)
                break
            for key in (row.key, other.key):
                if said.reason and reasons.get(key, (None,))[0] is not Reason.conflict:
                    reasons[key] = (said.reason, key)
        else:
            kept.append(row)


def _conflicts(holders: Mapping[str, list[SampleRow]], reasons: dict[str, tuple[Reason, str]]) -> list[Conflict]:
    found = []
    for image, group in sorted(holders.items()):
        patients = sorted({row.patient for row in group if row.patient})
        if len(patients) > 1:
            found.append(Conflict(image, tuple(patients), tuple(sorted(row.key for row in group))))
            for row in group:
                if reasons[row.key][1] == row.key:  # one that is dropped for its own patient's sample stays dropped
                    reasons[row.key] = (Reason.conflict, row.key)
    return found


def _other_patient(a: SampleRow, b: SampleRow) -> bool:
    return bool(a.patient and b.patient and a.patient != b.patient)


def _note(reasons: dict[str, tuple[Reason, str]], group: list[SampleRow], reason: Reason) -> None:
    if len(group) > 1:
        for row in group:
            reasons.setdefault(row.key, (reason, row.key))


def _together(rows: Mapping[str, SampleRow], groups: Iterable[list[str]]) -> dict[str, str]:
    """Union-find forest whose roots are the smallest keys."""
    parent = {key: key for key in rows}
    for group in groups:
        for key in group[1:]:
            a, b = _root(parent, group[0]), _root(parent, key)
            parent[max(a, b)] = min(a, b)
    return parent


def _root(parent: dict[str, str], key: str) -> str:
    while parent[key] != key:
        parent[key] = parent[parent[key]]
        key = parent[key]
    return key
