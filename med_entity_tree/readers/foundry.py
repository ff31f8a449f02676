"""What OBO and OWL files of the OBO foundry have in common: how the statements about one term become a concept."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from med_entity_tree.concept import Concept, Name, Relation, Scope
from med_entity_tree.readers import kinds
from med_entity_tree.readers.curies import CITATIONS, parse_curie

SCOPES: dict[str, Scope] = {"EXACT": "exact", "NARROW": "narrow", "BROAD": "broad", "RELATED": "related"}

# MONDO writes into the source of a cross-reference how the two relate; without one of the first, these are not equal.
_EQUIVALENT = {"MONDO:equivalentTo", "MONDO:equivalentObsolete", "MONDO:obsoleteEquivalent"}
_NOT_EQUIVALENT = {
    "MONDO:relatedTo",
    "MONDO:directSiblingOf",
    "MONDO:mondoIsBroaderThanSource",
    "MONDO:mondoIsNarrowerThanSource",
    "MONDO:subClassOf",
    "MONDO:superClassOf",
    "MONDO:includedEntryInOMIM",
    "MONDO:excludeEquivalentTo",
}
# HPO and MONDO: names that the ontology keeps to say that they are no longer, or never were, right.
_RETIRED_NAMES = {"obsolete_synonym", "deprecated", "dubious", "exclude", "misspelling"}
_RETIRED_IRIS = {"OMO:0003005", "OMO:0003007"}  # dubious synonym, misspelling


@dataclass(slots=True)
class Choice:
    """What the caller wants of a file, and where it is counted what was left out."""

    dropped: Counter[str]
    kind: str | None = None
    prefixes: Collection[str] | None = None


@dataclass(slots=True)
class Draft:
    """The statements about one term, in the order of the file."""

    id: str = ""
    name: str = ""
    obsolete: bool = False
    definition: str = ""
    names: list[Name] = field(default_factory=list)
    is_a: list[str] = field(default_factory=list)
    part_of: list[str] = field(default_factory=list)
    genus: list[str] = field(default_factory=list)
    relations: list[Relation] = field(default_factory=list)
    xrefs: list[str] = field(default_factory=list)

    def add_label(self, text: str, language: str = "en") -> None:
        """The preferred name; a second one, or one in another language, is one more name."""
        text = squeeze(text)
        if text and not self.name and language.split("-")[0] == "en":
            self.name = text
        elif text:
            self.names.append(Name(text, language))

    def add_synonym(self, name: Name, synonym_type: str, dropped: Counter[str]) -> None:
        if synonym_type.rpartition("#")[2].lower() in _RETIRED_NAMES or synonym_type in _RETIRED_IRIS:
            dropped["retired synonym"] += 1
        elif name.text and name not in self.names:
            self.names.append(name)
        else:
            dropped["empty or repeated synonym"] += 1

    def add_xref(self, text: str, sources: Collection[str], dropped: Counter[str]) -> None:
        """``sources`` are the values of the cross-reference's own ``source`` modifiers."""
        identity = parse_curie(text)
        if identity is None:
            dropped["cross-reference that is no CURIE"] += 1
        elif identity.partition(":")[0] in CITATIONS:
            dropped["cross-reference to a publication"] += 1
        elif _NOT_EQUIVALENT.intersection(sources) and not _EQUIVALENT.intersection(sources):
            dropped["cross-reference to something not equal"] += 1
        elif identity not in self.xrefs and identity != self.id:
            self.xrefs.append(identity)

    def add_parent(self, text: str, dropped: Counter[str], genus: bool = False) -> None:
        if identity := _target(text, dropped):
            (self.genus if genus else self.is_a).append(identity)

    def add_relation(self, kind: str, text: str, dropped: Counter[str]) -> None:
        if identity := _target(text, dropped):
            self.relations.append(Relation(kind, identity))
            if kind == "part_of":
                self.part_of.append(identity)

    def concept(self, choice: Choice) -> Concept | None:
        """The finished concept; None, and counted, where it is obsolete, nameless or of another ontology.

        The genus of a definition (``intersection_of``) is a parent only where the file states no ``is_a``.
        """
        source = self.id.partition(":")[0]
        reason = (
            "no id that is a CURIE" if not self.id
            else "other ontology" if choice.prefixes is not None and source not in choice.prefixes
            else "obsolete" if self.obsolete
            else "no name" if not self.name
            else ""
        )  # fmt: skip
        if reason:
            choice.dropped[reason] += 1
            return None
        parents = dict.fromkeys([*(self.is_a or self.genus), *self.part_of])
        parents.pop(self.id, None)
        return Concept(
            id=self.id,
            name=self.name,
            source=source,
            kind=kinds.OF_PREFIX.get(source, "") if choice.kind is None else choice.kind,
            names=self.names,
            parents=list(parents),
            xrefs=self.xrefs,
            relations=list(dict.fromkeys(r for r in self.relations if r.target != self.id)),
            definition=self.definition,
        )


def squeeze(text: str) -> str:
    """Runs of white space as one blank, none at the ends."""
    return " ".join(text.split())


def _target(text: str, dropped: Counter[str]) -> str | None:
    identity = parse_curie(text)
    if identity is None:
        dropped["relation to something that is no CURIE"] += 1
    return identity
