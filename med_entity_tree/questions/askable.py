"""Which entities a question may name, and under which name."""

import re
from collections.abc import Iterable

from med_entity_tree.entity import Entity
from med_entity_tree.names import name_key, words

# Names that only a code book uses, that leave open what is meant, or that number the genes of one disease.
_UNASKABLE = re.compile(
    r"\b(?:other|others|unspecified|not elsewhere|encounter|sequelae?|nos|certain|classified|susceptibility|"
    r"abnormal|abnormality|abnormalities|morphology|physiology|obsolete|conditions?|disorders? of|diseases? of|"
    r"personal history|family history|due to|status|stage|grade|type|group|unspec|associated with|with or without|"
    r"specified|related|multiple sites|any|as a finding|phenotype|structure|structures|region|element|elements|"
    r"system|systems|subdivision|organ|segment|surface|component|entity|zone|material|cluster|compound|"
    r"part|set|layer|primordium|anlage|embryonic|embryo|larval?|fin|autopod|forelimb|hindlimb|organism)\b|"
    r"[:/\[\];%<>=]|\d+[a-z]?$|\b\d{2,}\b|^\d",
    re.I,
)
_ABBREVIATION = re.compile(r"[A-Z0-9-]+")
_CODE_BOOK = re.compile(r"\b(?:other|unspecified|encounter|sequelae?|not elsewhere|person(?:al)?)\b", re.I)
_HUMAN = {"MESH", "SNOMEDCT", "FMA", "DCM"}  # UBERON also holds the anatomy of fish and insects
_OPEN_SOURCES = {"MONDO", "HP", "MESH", "ICD10CM", "UBERON", "SNOMEDCT", "FMA", "DCM"}
_KINDS = {"disease", "finding", "anatomy"}
_LETTERS, _WORDS = (4, 60), 7
_LATIN = {"manus": "hand", "pes": "foot", "manual digit": "finger", "pedal digit": "toe", "pedal digit 1": "big toe"}


def display_name(entity: Entity) -> str:
    """The name that a question shows: the preferred one, in the everyday word where anatomy's is Latin."""
    return _LATIN.get(entity.name, entity.name)


def name_keys(entity: Entity) -> frozenset[str]:
    """Normal forms of every name of an entity: two entities that share one are not told apart by their names."""
    names = [entity.name, display_name(entity), *(s.text for s in entity.synonyms)]
    return frozenset(filter(None, map(name_key, names)))


def known(entity: Entity) -> bool:
    """May a masked entity be this one: a disease, finding or human anatomy of a source whose authors are known."""
    sources = {source.partition(":")[0] for source in entity.sources}
    if entity.kind not in _KINDS or entity.level < 2 or not sources & _OPEN_SOURCES:
        return False
    if _CODE_BOOK.search(entity.name):
        return False
    return bool(sources & _HUMAN) if entity.root == "anatomy" else True


def askable(entity: Entity) -> bool:
    """May a question name this entity: known, and with a short name that says what is meant."""
    name = display_name(entity)
    if not known(entity) or _UNASKABLE.search(name) or _ABBREVIATION.fullmatch(name):
        return False
    short = _LETTERS[0] <= len(name) <= _LETTERS[1] and 1 <= len(words(name)) <= _WORDS
    return short and name.count(",") <= 1


def stems(texts: Iterable[str]) -> frozenset[str]:
    """First five letters of the words of four letters and more: *pleural* and *pleura* share one."""
    return frozenset(word[:5] for text in texts for word in words(text) if len(word) >= 4)
