"""Captions from a study's own facts, and the check that every caption must pass, whoever wrote it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pretrain.synthesis.facts import Knowledge, StudyFacts
from pretrain.tagging.tags import combine
from pretrain.tagging.turns import statements

BACKGROUND = "Background, not seen in this study:"


@dataclass(frozen=True)
class Caption:
    """``study`` says what the study shows; ``background`` what the tree knows in general, "" for nothing.

    ``left_out`` are entities of the study that have no name which can be read back."""

    study: str
    background: str = ""
    writer: str = "template"
    left_out: tuple[str, ...] = ()
    used: tuple[str, ...] = field(default=())

    @property
    def text(self) -> str:
        return f"{self.study}\n\n{BACKGROUND} {self.background}" if self.background else self.study


def template_caption(facts: StudyFacts, known: Knowledge, *, background: bool = True) -> Caption:
    """A caption of fixed sentences: what the study is, what it shows, what it denies, what it leaves open.

    Nothing but the study's own facts enters the first part; facts of the tree stand apart, under their heading."""
    spoken = {entity: known.name(entity) for entity in (*facts.present, *facts.negated, *facts.uncertain)}
    present, negated, uncertain = (
        [spoken[entity] for entity in part if spoken[entity]]
        for part in (_narrowest(facts.present, known), facts.negated, facts.uncertain)
    )
    sentences = [_opening(facts, known)]
    if present:
        sentences.append(f"The study shows {_listed(present)}.")
    if negated:
        sentences.append(" ".join(f"No {name}." for name in negated))
    if uncertain:
        sentences.append(" ".join(f"Possible {name}." for name in uncertain))
    if not present and not uncertain:
        sentences.append("Nothing abnormal is stated.")
    told = [_background(entity, known) for entity in facts.present if spoken[entity]] if background else []
    return Caption(
        " ".join(filter(None, sentences)),
        " ".join(filter(None, told)),
        left_out=tuple(entity for entity, name in spoken.items() if not name),
        used=tuple(entity for entity, name in spoken.items() if name),
    )


def _narrowest(entities: Sequence[str], known: Knowledge) -> list[str]:
    """Without those of which a narrower one is there too."""
    return [e for e in entities if not any(e in known.above(other) and known.name(other) for other in entities)]


def _opening(facts: StudyFacts, known: Knowledge) -> str:
    modality = " and ".join(known.tree[e].name for e in facts.modality)
    places = [known.called(e) for e in facts.anatomy if e in known.tree and known.name(e)]
    view = f", {facts.view} view" if facts.view else ""
    if not modality:
        return ""
    return f"{modality}{view}." if not places else f"{modality}{view}. Region: {_listed(places[:3])}."


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _background(entity: str, known: Knowledge) -> str:
    """One sentence of the tree about an entity: its kind, and where it lies."""
    node = known.tree[entity]
    parent = known.tree[node.parent] if node.parent else None
    kind = f"a kind of {known.called(parent.id)}" if parent is not None and parent.level >= 2 else ""
    place = next((known.called(e) for e in known.places.get(entity, ())), "")
    where = f"lies in the {place}" if place else ""
    said = " and ".join(filter(None, [kind and f"is {kind}", where]))
    name = known.called(entity)
    return f"{name[0].upper()}{name[1:]} {said}." if said else ""


def faults_of(text: str, facts: StudyFacts, known: Knowledge, *, complete: bool = True) -> list[str]:
    """Why a caption must not be believed; empty where it may. Reasons name the kind of fault, then the entity.

    A finding of the caption must be one of the study, or a broader name of one. What the study denies must be denied,
    and what it doubts must not be affirmed. With ``complete`` nothing of the study may be left out. Findings with no
    name that can be read back are not asked for. Background is not part of ``text``.
    """
    read = combine(statements(text, known.tagger.tag))
    said = {entity for found in read.record["present"].values() for entity in found}
    denied, open_to = set(read.record.get("negated", ())), set(read.record.get("uncertain", ()))
    faults = []
    for entity in sorted(_abnormal(said, known)):
        if not any(entity == own or entity in known.above(own) for own in facts.present):
            doubted = any(entity == own or entity in known.above(own) for own in facts.uncertain)
            faults.append(f"{'doubt became certain' if doubted else 'new finding'}: {known.tree[entity].name}")
    for entity in sorted(_abnormal(open_to, known)):
        if not any(entity == own or entity in known.above(own) for own in (*facts.present, *facts.uncertain)):
            faults.append(f"new doubt: {known.tree[entity].name}")
    for entity in sorted(_abnormal(denied, known)):
        if any(entity == own or entity in known.above(own) for own in facts.present):
            faults.append(f"finding denied: {known.tree[entity].name}")
        elif not any(entity == own or own in known.above(entity) for own in facts.negated):
            faults.append(f"new denial: {known.tree[entity].name}")
    if complete:
        faults += _omissions(said, denied, open_to, facts, known)
    return faults


def _omissions(
    said: set[str], denied: set[str], open_to: set[str], facts: StudyFacts, known: Knowledge
) -> Iterable[str]:
    for part, found, what in (
        (facts.present, said, "finding"),
        (facts.negated, denied, "denial"),
        (facts.uncertain, open_to | said, "doubt"),
    ):
        for entity in part:
            if known.name(entity) and entity not in found and not any(entity in known.above(e) for e in found):
                yield f"{what} left out: {known.tree[entity].name}"


def _abnormal(entities: Iterable[str], known: Knowledge) -> list[str]:
    return [e for e in entities if known.tree[e].root in ("finding", "disease")]
