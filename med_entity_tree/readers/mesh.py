"""MeSH descriptors in XML (desc2026.xml or .gz), one record at a time.

Elements after the MeSH Record Types of the National Library of Medicine. The file names its DTD, which is not read; an
entity that the file declares is refused. Read twice: first for the tree numbers, which name the parents.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

from med_entity_tree.concept import Concept, Name, Relation, Scope
from med_entity_tree.errors import OntologyError
from med_entity_tree.names import natural_order
from med_entity_tree.readers import kinds
from med_entity_tree.readers.foundry import squeeze
from med_entity_tree.readers.languages import language_tag
from med_entity_tree.readers.xml_records import xml_records

_SCOPES: dict[str, Scope] = {"NRW": "narrow", "BRD": "broad", "REL": "related"}  # of another concept to the preferred
_RELATIONS = {
    "see_related": "SeeRelatedList/SeeRelatedDescriptor/DescriptorReferredTo/DescriptorUI",
    "pharmacological_action": "PharmacologicalActionList/PharmacologicalAction/DescriptorReferredTo/DescriptorUI",
}


def read_mesh(path: Path, *, dropped: Counter[str] | None = None) -> Iterator[Concept]:
    """The descriptors of a MeSH file, in its order.

    Inverted headings are put in natural order (``Effusion, Pleural``). Terms of the preferred concept are exact names,
    those of the others as narrow, broad or related as the record says. Parents are the descriptors one tree number up,
    that of the first tree number first; a place at the top of a branch has none.

    Args:
        dropped: counts by reason what was left out.

    Raises:
        OntologyError: no descriptor file, not well formed, hostile, or in a language that is not known.
    """
    dropped = Counter() if dropped is None else dropped
    places: dict[str, str] = {}
    for record in _records(path)[1]:
        identity = record.findtext("DescriptorUI", "").strip()
        places.update(dict.fromkeys(_tree_numbers(record), identity))
    language, records = _records(path)
    for record in records:
        identity, name = record.findtext("DescriptorUI", "").strip(), _heading(record, language)
        if not identity or not name:
            dropped["no identifier or no name"] += 1
            continue
        yield _descriptor(record, identity, name, language, places, dropped)


def _records(path: Path) -> tuple[str, Iterator[Element]]:
    """Language of the names and the records."""
    records = xml_records(path, {"DescriptorRecord"})
    root = next(records)
    if root.tag != "DescriptorRecordSet":
        todo = "Give the descriptor file (desc2026.xml); supplementary records and qualifiers are not read"
        raise OntologyError(f"the root is {root.tag[:60]}, not DescriptorRecordSet", todo, path)
    code = root.get("LanguageCode", "eng")
    language = language_tag(code)
    if language is None:
        raise OntologyError(f"the language {code[:20]!r} is not known", "Check LanguageCode in line 3", path)
    return language, records


def _tree_numbers(record: Element) -> list[str]:
    return [number.strip() for element in record.iterfind("TreeNumberList/TreeNumber") if (number := element.text)]


def _heading(record: Element, language: str) -> str:
    name = squeeze(record.findtext("DescriptorName/String", ""))
    if language == "en":
        return natural_order(name)
    return name.partition("[")[0].strip()  # translations put the English heading behind: Foie[Liver]


def _descriptor(
    record: Element, identity: str, name: str, language: str, places: dict[str, str], dropped: Counter[str]
) -> Concept:
    numbers = _tree_numbers(record)
    above = [number.rpartition(".")[0] for number in numbers]
    parents = dict.fromkeys(f"MESH:{places[number]}" for number in above if number in places)
    parents.pop(f"MESH:{identity}", None)
    dropped["tree number without a parent in the file"] += sum(bool(n) and n not in places for n in above)
    concepts = record.findall("ConceptList/Concept")
    preferred = next((c for c in concepts if c.get("PreferredConceptYN") == "Y"), None)
    relations = [
        Relation(kind, f"MESH:{target.text.strip()}")
        for kind, where in _RELATIONS.items()
        for target in record.iterfind(where)
        if target.text and target.text.strip() != identity
    ]
    return Concept(
        id=f"MESH:{identity}",
        name=name,
        source="MESH",
        kind=kinds.of_tree_numbers(numbers),
        names=_names(concepts, preferred, name, language),
        parents=list(parents),
        relations=list(dict.fromkeys(relations)),
        definition="" if preferred is None else squeeze(preferred.findtext("ScopeNote", "")),
    )


def _names(concepts: list[Element], preferred: Element | None, name: str, language: str) -> list[Name]:
    """The terms of all concepts of the record, those of the preferred concept first."""
    scopes = _scopes(preferred)
    names: dict[Name, None] = {}
    for concept in sorted(concepts, key=lambda concept: concept is not preferred):
        other = scopes.get(concept.findtext("ConceptUI", "").strip(), "related")
        scope: Scope = "exact" if concept is preferred else other
        for term in concept.iterfind("TermList/Term/String"):
            text = squeeze(term.text or "")
            names[Name(natural_order(text) if language == "en" else text, language, scope)] = None
    names.pop(Name(name, language), None)
    return [known for known in names if known.text]


def _scopes(preferred: Element | None) -> dict[str, Scope]:
    """The other concepts of a record -> how they stand to the preferred one."""
    scopes: dict[str, Scope] = {}
    if preferred is None:
        return scopes
    own = preferred.findtext("ConceptUI", "").strip()
    for relation in preferred.iterfind("ConceptRelationList/ConceptRelation"):
        first, second = (relation.findtext(tag, "").strip() for tag in ("Concept1UI", "Concept2UI"))
        scope = _SCOPES.get(relation.get("RelationName", ""), "related")
        if first == own:
            scopes[second] = scope
        elif second == own:  # said from the other side
            scopes[first] = {"narrow": "broad", "broad": "narrow"}.get(scope, scope)  # type: ignore[assignment]
    return scopes
