"""OWL of the OBO foundry in RDF/XML (hp.owl, mondo.owl, uberon.owl), one class at a time.

As the OWL API and ROBOT write it: classes as children of ``rdf:RDF``, and behind each class the ``owl:Axiom`` elements
that annotate its statements (the type of a synonym, the source of a cross-reference). Parsed by
``readers.xml_records``, that is Python's own expat; see there for what is refused. Imports are not followed.
"""

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

from med_entity_tree.concept import Concept, Name, Scope
from med_entity_tree.errors import OntologyError
from med_entity_tree.readers.curies import parse_curie
from med_entity_tree.readers.foundry import Choice, Draft, squeeze
from med_entity_tree.readers.languages import language_tag
from med_entity_tree.readers.lines import head
from med_entity_tree.readers.xml_records import xml_records

logger = logging.getLogger(__name__)

_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_RDFS = "{http://www.w3.org/2000/01/rdf-schema#}"
_OWL = "{http://www.w3.org/2002/07/owl#}"
_OIO = "{http://www.geneontology.org/formats/oboInOwl#}"
_SKOS = "{http://www.w3.org/2004/02/skos/core#}"
_XML = "{http://www.w3.org/XML/1998/namespace}"
_OBO = "http://purl.obolibrary.org/obo/"

_LABELS = {f"{_RDFS}label", f"{_SKOS}prefLabel"}
_DEFINITIONS = {f"{{{_OBO}}}IAO_0000115", f"{_SKOS}definition"}
_SYNONYMS: dict[str, Scope] = {
    f"{_OIO}hasExactSynonym": "exact",
    f"{_OIO}hasNarrowSynonym": "narrow",
    f"{_OIO}hasBroadSynonym": "broad",
    f"{_OIO}hasRelatedSynonym": "related",
    f"{_SKOS}altLabel": "exact",
}
_XREFS = {f"{_OIO}hasDbXref", f"{_OIO}hasAlternativeId", f"{_SKOS}exactMatch"}
# Used where a file does not name the property itself.
_PROPERTIES = {f"{_OBO}BFO_0000050": "part_of", f"{_OBO}BFO_0000051": "has_part"}

_CONVERT = "Convert it: `robot convert --input {0} --format owl --output {1}.owl`"
_OTHER_FORMS = (
    (r"(?:#[^\n]*\n|\s)*(?:Prefix|Ontology)\(", "OWL in functional syntax", _CONVERT),
    (r"(?:#[^\n]*\n|\s)*(?:Prefix|Ontology):", "OWL in Manchester syntax", _CONVERT),
    (r"(?i)(?:#[^\n]*\n|\s)*(?:@?prefix|@?base)\s|\s*<https?:|\s*_:", "Turtle or N-Triples", _CONVERT),
    (r"\s*[{\[]\s*[\"{]", "JSON", _CONVERT),
    (r"(?:!.*\n|\s)*(?:format-version:|\[Term\])", "OBO", "Read it with read_obo"),
)


def read_owl(
    path: Path,
    *,
    kind: str | None = None,
    prefixes: Collection[str] | None = None,
    dropped: Counter[str] | None = None,
) -> Iterator[Concept]:
    """The classes of an OWL file that are not deprecated, in the order of the file.

    What becomes what is as in :func:`med_entity_tree.readers.obo.read_obo`; a restriction ``property some class`` is a
    relation under the property's short name (``part_of``). Names keep the language that ``xml:lang`` gives them.

    Args:
        kind: of all concepts; by default what the prefix of the id says (HP: finding, MONDO: disease, ...).
        prefixes: read only classes whose id has one of these, such as ``{"UBERON"}`` in a file with imported classes.
        dropped: counts by reason what was left out.

    Raises:
        OntologyError: another syntax than RDF/XML (the sentence says how to convert), not well formed, or hostile.
    """
    _check_form(path)
    choice = Choice(Counter() if dropped is None else dropped, kind, prefixes)
    wanted = {f"{_OWL}{name}" for name in ("Class", "Axiom", "ObjectProperty", "Ontology")} | {f"{_RDF}Description"}
    records = xml_records(path, wanted, namespaces=True)
    root = next(records)
    if root.tag != f"{_RDF}RDF":
        form = "OWL/XML" if root.tag == f"{_OWL}Ontology" else f"XML of another kind ({root.tag[:80]})"
        raise OntologyError(f"this is {form}, not RDF/XML", _CONVERT.format(path.name, path.stem), path)
    reader = _Classes(root.get(f"{_XML}base", ""), choice.dropped)
    for draft in reader.drafts(records):
        if concept := draft.concept(choice):
            yield concept


def _check_form(path: Path) -> None:
    start = head(path)
    for pattern, form, todo in _OTHER_FORMS:
        if re.match(pattern, start):
            raise OntologyError(f"this is {form}, not RDF/XML", todo.format(path.name, path.stem), path)


class _Classes:
    def __init__(self, base: str, dropped: Counter[str]):
        self._base = base
        self._dropped = dropped
        self._properties: dict[str, str] = {}

    def drafts(self, records: Iterator[Element]) -> Iterator[Draft]:
        """Each class with the axioms behind it; they are held back until the next class begins."""
        held: Element | None = None
        axioms: list[Element] = []
        for record in records:
            if record.tag == f"{_OWL}Axiom":
                axioms.append(record)
            elif record.tag == f"{_OWL}ObjectProperty":
                self._name_property(record)
            elif record.tag == f"{_OWL}Ontology":
                self._count_imports(record)
            elif record.tag == f"{_OWL}Class" or self._is_class(record):
                if held is not None:
                    yield self._draft(held, axioms)
                held, axioms = record, []
        if held is not None:
            yield self._draft(held, axioms)

    def _is_class(self, record: Element) -> bool:
        return any(self._iri(kind) == _OWL[1:-1] + "Class" for kind in record.iterfind(f"{_RDF}type"))

    def _iri(self, element: Element) -> str:
        """What an element is about or refers to; relative references are resolved as far as these files use them."""
        if local := element.get(f"{_RDF}ID"):
            return f"{self._base}#{local}"
        iri = element.get(f"{_RDF}about") or element.get(f"{_RDF}resource") or ""
        return self._base + iri if iri.startswith("#") else iri

    def _name_property(self, record: Element) -> None:
        for tag in (f"{_OIO}shorthand", f"{_RDFS}label"):
            if name := re.sub(r"\W+", "_", squeeze(record.findtext(tag, ""))).lower():
                self._properties[self._iri(record)] = name
                return

    def _count_imports(self, record: Element) -> None:
        for statement in record.iterfind(f"{_OWL}imports"):
            self._dropped["import that was not followed"] += 1
            logger.warning("the ontology imports %s, which is not read", self._iri(statement))

    def _annotations(self, axioms: list[Element], about: str) -> dict[tuple[str, str], list[tuple[str, str]]]:
        """(property, value) of an annotated statement -> what is said of it, as (tag, value)."""
        annotations: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
        for axiom in axioms:
            parts = {child.tag: child for child in axiom}
            source, target = parts.get(f"{_OWL}annotatedSource"), parts.get(f"{_OWL}annotatedTarget")
            on = parts.get(f"{_OWL}annotatedProperty")
            if source is None or target is None or on is None or self._iri(source) != about:
                self._dropped["axiom apart from its class"] += 1
                continue
            key = self._iri(on), self._value(target)
            annotations[key] += [
                (child.tag, self._value(child)) for child in axiom if child not in (source, target, on)
            ]
        return annotations

    def _value(self, element: Element) -> str:
        return self._iri(element) or squeeze(element.text or "")

    def _draft(self, record: Element, axioms: list[Element]) -> Draft:
        about = self._iri(record)
        draft = Draft(id=parse_curie(about) or "")
        annotations = self._annotations(axioms, about) if axioms else {}
        for child in record:
            value = self._value(child)
            said = annotations.get((child.tag.translate({123: None, 125: None}), value), [])
            if child.tag in _LABELS or child.tag in _SYNONYMS:
                self._add_name(draft, child, said)
            elif child.tag in _XREFS:
                sources = [text for tag, text in said if tag == f"{_OIO}source"]
                draft.add_xref(value, sources, self._dropped)
            elif child.tag in _DEFINITIONS:
                if not draft.definition or child.get(f"{_XML}lang", "en")[:2] == "en":
                    draft.definition = value
            elif child.tag == f"{_OWL}deprecated":
                draft.obsolete = value in ("true", "1")
            elif child.tag == f"{_RDFS}subClassOf":
                self._add_link(draft, child, genus=False)
            elif child.tag == f"{_OWL}equivalentClass":
                self._add_link(draft, child, genus=True)
        return draft

    def _add_name(self, draft: Draft, child: Element, said: list[tuple[str, str]]) -> None:
        language = language_tag(child.get(f"{_XML}lang") or "en")
        if language is None:
            self._dropped["name in an unknown language"] += 1
        elif child.tag in _LABELS:
            draft.add_label(child.text or "", language)
        else:
            kinds = [parse_curie(text) or text for tag, text in said if tag == f"{_OIO}hasSynonymType"]
            name = Name(squeeze(child.text or ""), language, _SYNONYMS[child.tag])
            draft.add_synonym(name, kinds[0] if kinds else "", self._dropped)

    def _add_link(self, draft: Draft, statement: Element, genus: bool) -> None:
        if iri := self._iri(statement):
            if genus:
                draft.add_xref(iri, (), self._dropped)  # the same class under another name
            else:
                draft.add_parent(iri, self._dropped)
        for expression in statement:
            self._add_expression(draft, expression, genus)

    def _add_expression(self, draft: Draft, expression: Element, genus: bool) -> None:
        """A class expression that each instance fulfils: a named class, a restriction, or several of them at once."""
        if iri := self._iri(expression):
            draft.add_parent(iri, self._dropped, genus=genus)
        elif expression.tag == f"{_OWL}Restriction":
            self._add_restriction(draft, expression)
        elif (parts := expression.find(f"{_OWL}intersectionOf")) is not None:
            for part in parts:
                self._add_expression(draft, part, genus)
        else:
            self._dropped["class expression that is neither a restriction nor an intersection"] += 1

    def _add_restriction(self, draft: Draft, restriction: Element) -> None:
        on, some = restriction.find(f"{_OWL}onProperty"), restriction.find(f"{_OWL}someValuesFrom")
        if on is None or some is None:
            self._dropped["restriction other than 'some'"] += 1
            return
        iri = self._iri(on)
        kind = self._properties.get(iri) or _PROPERTIES.get(iri) or re.split(r"[#/]", iri)[-1].lower()
        target = self._iri(some) or next((self._iri(child) for child in some), "")
        draft.add_relation(kind, target, self._dropped)
