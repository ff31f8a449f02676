"""The knowledge graph beside the tree: typed edges between entities, each with its source, and paths over them."""

import csv
import re
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from med_entity_tree.concept import Concept
from med_entity_tree.entity import Entity
from med_entity_tree.names import words

# Relation of an ontology -> (kind of edge, does it run the other way round).
KINDS = {
    "disease_has_feature": ("has_finding", False),
    "disease_has_major_feature": ("has_finding", False),
    "disease_causes_feature": ("has_finding", False),
    "disease_arises_from_feature": ("arises_from", False),
    "disease_shares_features_of": ("resembles", False),
    "predisposes_towards": ("predisposes_to", False),
    "part_of_progression_of_disease": ("progresses_to", False),
    "has_finding": ("has_finding", False),
    "suggests": ("has_finding", True),  # a finding that suggests a disease: the disease has the finding
    "seen_on": ("seen_on", False),
    "differential_of": ("differential_of", False),
    "part_of": ("part_of", False),
}

# HPO's terms of frequency (HP:0040279 and below), as the middle of the range that each stands for.
_FREQUENCY = {
    "HP:0040280": 1.0,  # obligate
    "HP:0040281": 0.895,  # very frequent, 80 to 99 %
    "HP:0040282": 0.545,  # frequent, 30 to 79 %
    "HP:0040283": 0.17,  # occasional, 5 to 29 %
    "HP:0040284": 0.025,  # very rare, 1 to 4 %
    "HP:0040285": 0.0,  # excluded
}


@dataclass(frozen=True, slots=True, order=True)
class Edge:
    """``head --kind--> tail``. ``frequency`` is the share of patients in [0, 1], -1 where the source gives none."""

    head: str
    kind: str
    tail: str
    source: str
    frequency: float = -1.0
    reference: str = ""


def concept_edges(
    concepts: Mapping[str, Concept], entity_of: Mapping[str, str], dropped: Counter[str]
) -> Iterator[Edge]:
    """``is_a`` and the other relations that the ontologies state, between the entities that their concepts became."""
    for concept in concepts.values():
        head = entity_of[concept.id]
        parts = {relation.target for relation in concept.relations if relation.kind == "part_of"}
        for parent in concept.parents:
            if parent in entity_of and entity_of[parent] != head and parent not in parts:
                kind = "is_a_or_part_of" if concept.source == "UBERON" else "is_a"
                yield Edge(head, kind, entity_of[parent], concept.source)
        for relation in concept.relations:
            if relation.target not in entity_of:
                dropped["relation to a concept that is not in the tree"] += 1
                continue
            kind, turned = KINDS.get(relation.kind, (relation.kind, False))
            tail = entity_of[relation.target]
            if head != tail:
                ends = (tail, head) if turned else (head, tail)
                frequency = -1.0 if relation.frequency is None else relation.frequency
                yield Edge(ends[0], kind, ends[1], concept.source, frequency, relation.reference)


def hpo_annotations(
    path: Path,
    concepts: Mapping[str, Concept],
    entity_of: Mapping[str, str],
    dropped: Counter[str],
) -> Iterator[Edge]:
    """Disease has finding, with its frequency, from ``phenotype.hpoa`` (a header, twelve columns, ``#`` comments)."""
    by_code: dict[str, set[str]] = defaultdict(set)
    for concept in concepts.values():
        if concept.kind == "disease":
            for xref in concept.xrefs:
                by_code[xref].add(entity_of[concept.id])
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(
            (line for line in file if not line.startswith("#")), delimiter="\t", quoting=csv.QUOTE_NONE
        )
        for row in rows:
            disease = by_code.get(row["database_id"].replace("Orphanet:", "ORPHA:"), set())
            frequency = _frequency(row["frequency"])
            if row["aspect"] != "P":
                dropped["HPO annotation that is no phenotype"] += 1
            elif row["qualifier"] == "NOT" or frequency == 0.0:
                dropped["HPO annotation that excludes a phenotype"] += 1
            elif len(disease) != 1:
                dropped["HPO annotation of a disease that is not one entity here"] += 1
            elif row["hpo_id"] not in entity_of:
                dropped["HPO annotation with a term that is not in the tree"] += 1
            else:
                (head,) = disease
                tail = entity_of[row["hpo_id"]]
                if head != tail:
                    yield Edge(
                        head, "has_finding", tail, "HPOA", -1.0 if frequency is None else frequency, row["reference"]
                    )


def _frequency(text: str) -> float | None:
    """A term of HPO, a fraction such as ``3/7`` or a percentage; None for an empty column."""
    text = text.strip()
    if text in _FREQUENCY:
        return _FREQUENCY[text]
    if fraction := re.fullmatch(r"(\d+)/(\d+)", text):
        return round(int(fraction[1]) / int(fraction[2]), 4) if int(fraction[2]) else None
    if percent := re.fullmatch(r"([\d.]+)\s*%", text):
        return round(float(percent[1]) / 100, 4)
    return None


def located_by_name(entities: Mapping[str, Entity], adjectives: Mapping[str, str]) -> Iterator[Edge]:
    """``located_in`` from names: the anatomy that a disease or finding names. Derived, and its source says so
    (``NAME``).

    ``adjectives`` maps words such as *pleural* to the noun that anatomy uses. The longest anatomical name counts; a
    second one further on counts too ("fistula between bladder and colon")."""
    places: dict[tuple[str, ...], str] = {}
    for entity in sorted(entities.values(), key=lambda e: (e.level, e.id)):
        if entity.root == "anatomy" and entity.level >= 1:
            for text in [entity.name, *(s.text for s in entity.synonyms if s.scope == "exact" and s.language == "en")]:
                key = tuple(words(text))
                if key and len("".join(key)) >= 3:
                    places.setdefault(key, entity.id)
    longest = max(map(len, places), default=0)
    for entity in entities.values():
        if entity.root in ("disease", "finding") and entity.level >= 2:
            tokens = [noun for word in words(entity.name) for noun in adjectives.get(word, word).split()]
            at = 0
            while at < len(tokens):
                for length in range(min(longest, len(tokens) - at), 0, -1):
                    place = places.get(tuple(tokens[at : at + length]))
                    if place is not None:
                        yield Edge(entity.id, "located_in", place, "NAME", -1.0, " ".join(tokens[at : at + length]))
                        at += length
                        break
                else:
                    at += 1


def distinct(edges: Iterable[Edge]) -> list[Edge]:
    """Sorted, one edge for each head, kind, tail and source: the highest frequency, and all references of it."""
    best: dict[tuple[str, str, str, str], Edge] = {}
    for edge in edges:
        key = edge.head, edge.kind, edge.tail, edge.source
        if key not in best or (edge.frequency, edge.reference) > (best[key].frequency, best[key].reference):
            best[key] = edge
    return sorted(best.values())


@dataclass(frozen=True, slots=True)
class Step:
    """One edge of a path, walked from ``start`` to ``end``; ``forward`` tells whether along the edge or against it."""

    edge: Edge
    forward: bool

    @property
    def start(self) -> str:
        return self.edge.head if self.forward else self.edge.tail

    @property
    def end(self) -> str:
        return self.edge.tail if self.forward else self.edge.head


class KnowledgeGraph:
    """Edges by their ends. A path may walk an edge either way; every step says which."""

    def __init__(self, edges: Iterable[Edge]):
        self.out: dict[str, list[Edge]] = defaultdict(list)
        self.into: dict[str, list[Edge]] = defaultdict(list)
        self.count = 0
        for edge in edges:
            self.out[edge.head].append(edge)
            self.into[edge.tail].append(edge)
            self.count += 1

    def steps(self, entity: str, kinds: frozenset[str] | None = None) -> Iterator[Step]:
        for edge in self.out.get(entity, ()):
            if kinds is None or edge.kind in kinds:
                yield Step(edge, True)
        for edge in self.into.get(entity, ()):
            if kinds is None or edge.kind in kinds:
                yield Step(edge, False)

    def shortest_path(
        self, start: str, end: str, kinds: frozenset[str] | None = None, most: int = 12
    ) -> list[Step] | None:
        """The fewest steps between two entities, None where there is no path of at most ``most`` steps."""
        if start == end:
            return []
        came: dict[str, Step] = {}
        queue, depth = deque([start]), {start: 0}
        while queue:
            here = queue.popleft()
            if depth[here] >= most:
                continue
            for step in self.steps(here, kinds):
                if step.end not in depth:
                    depth[step.end], came[step.end] = depth[here] + 1, step
                    if step.end == end:
                        path = []
                        while end != start:
                            path.append(came[end])
                            end = came[end].start
                        return path[::-1]
                    queue.append(step.end)
        return None

    def paths(self, start: str, length: int, kinds: frozenset[str] | None = None) -> Iterator[list[Step]]:
        """Every simple path of ``length`` steps from an entity, in the order of the edges (may be very many)."""

        def walk(path: list[Step], seen: set[str]) -> Iterator[list[Step]]:
            if len(path) == length:
                yield list(path)
                return
            for step in self.steps(path[-1].end if path else start, kinds):
                if step.end not in seen:
                    path.append(step)
                    yield from walk(path, seen | {step.end})
                    path.pop()

        yield from walk([], {start})
