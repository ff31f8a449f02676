"""An entity of the Medical Entity Tree: one node, made of one concept or of several that mean the same."""

from dataclasses import dataclass, field

ROOTS = {
    "disease": "Disease",
    "anatomy": "Anatomy",
    "finding": "Finding or symptom",
    "procedure": "Modality or procedure",
}
LEVELS = 5  # below a root, which is level 0

# Under which root an entity hangs, by its kind.
ROOT_OF_KIND = {
    "disease": "disease",
    "external cause": "disease",
    "health factor": "disease",
    "anatomy": "anatomy",
    "finding": "finding",
    "procedure": "procedure",
    "modality": "procedure",
}


@dataclass(frozen=True, slots=True)
class Synonym:
    """A name other than the preferred one, and the ontology that says so; ``scope`` as in OBO."""

    text: str
    language: str
    scope: str
    source: str


@dataclass(slots=True)
class Entity:
    """``id`` is the CURIE of the leading concept (or ``MET:...`` for the skeleton), so it survives a rebuild.

    ``sources`` are the CURIEs of the concepts that it is made of; ``placed_by`` says what put it below ``parent``: an
    ontology's hierarchy, the skeleton, or ``level`` where a deeper place was folded into the fifth level."""

    id: str
    name: str
    kind: str
    sources: list[str]
    synonyms: list[Synonym] = field(default_factory=list)
    xrefs: list[str] = field(default_factory=list)
    definition: str = ""
    root: str = ""
    parent: str = ""
    level: int = 0
    placed_by: str = ""
