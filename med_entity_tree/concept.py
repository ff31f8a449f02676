"""A concept as one source states it: what every reader of an ontology yields, before equal ones become an entity."""

from dataclasses import dataclass, field
from typing import Literal

Scope = Literal["exact", "narrow", "broad", "related"]  # of a synonym against its concept, as OBO names it


@dataclass(frozen=True, slots=True)
class Name:
    """One name; ``language`` is a BCP 47 tag. Only ``exact`` names merge; text is searched for ``narrow`` ones too."""

    text: str
    language: str = "en"
    scope: Scope = "exact"


@dataclass(frozen=True, slots=True)
class Relation:
    """``concept --kind--> target`` other than ``is_a``; ``target`` is a concept id such as ``HP:0002107``.

    ``frequency`` is the share of cases in [0, 1], None where the source does not say; ``reference`` is the source's own
    evidence (a PMID, a rule of an ontology)."""

    kind: str
    target: str
    frequency: float | None = None
    reference: str = ""


@dataclass(slots=True)
class Concept:
    """``id`` is a CURIE (``MONDO:0002076``, ``ICD10CM:J93``); ``source`` the ontology that it was read from.

    ``kind`` says what it is about (disease, anatomy, finding, procedure, ...); ``parents`` are ``is_a`` or ``part_of``
    ids, the leading one first; ``xrefs`` are CURIEs of the same thing elsewhere."""

    id: str
    name: str
    source: str
    kind: str = ""
    names: list[Name] = field(default_factory=list)
    parents: list[str] = field(default_factory=list)
    xrefs: list[str] = field(default_factory=list)
    relations: list[Relation] = field(default_factory=list)
    definition: str = ""
