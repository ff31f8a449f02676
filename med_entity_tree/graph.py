"""The knowledge graph beside the tree: typed edges between entities, each with its source, and paths over them."""

import csv
import re
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from med_entity_tree.concept import Concept
from med_entity_tree.entity import Entity
from med_entity_tree.merge import is_abbreviation, rank
from med_entity_tree.names import WORD, normal_word, words

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


# Anatomy of fish, amphibians and insects in UBERON, whose names are everyday words ("scale radius", "extension").
_ANIMAL = re.compile(r"UBERON:[236]\d{6}$")
# Where diseases and findings have names that can be relied on: the findings dictionary has places among them.
_KNOWN = re.compile("(MONDO|HP|MESH|ICD10CM):")
# Kinds of cells and what they hold: what a disease is made of, not where it is.
_CELL = re.compile(
    r"\b(cells?|\w*(cyte|phil|phage|blast|clast|glia|some|mere|chromatid|neuron|platelet|filament|inclusion)s?)$"
    r"|chromosome|inclusion bodies|mitochondria|spermatozoa",
    re.I,
)
# What comes after these words is not where the disease is, or is the place of its cause only.
_ELSEWHERE = frozenset("except excepting excluding without sparing following".split())
_ELSEWHERE_PAIRS = frozenset(
    [
        ("due", "to"),
        ("secondary", "to"),
        ("caused", "by"),
        ("greater", "than"),
        ("not", "involving"),
        ("not", "including"),
    ]
)
# Regions that are also parts of bones and organs: the neck of the femur, a tibial spine, the head of a muscle.
_PARTS = frozenset("arm back face head neck shoulder spine".split())
_SPINES = frozenset("cervical thoracic lumbar lumbosacral thoracolumbar sacral".split())
_LIKENESS = frozenset("like shaped sign appearance".split())
# Poisonings name what a drug is for ("skeletal muscle relaxants"), signs what they look like ("finger in glove sign").
_NO_PLACE = re.compile(r"(poisoning by|underdosing of|adverse effect|toxic effect)|.* sign$", re.I)


def located_by_name(entities: Mapping[str, Entity], adjectives: Mapping[str, str]) -> Iterator[Edge]:
    """``located_in`` from names: the anatomy that a disease or finding names. Derived, and its source says so
    (``NAME``).

    The longest anatomical name counts, as it is written ("radial artery") or with ``adjectives``, which maps words such
    as *pleural* to the noun that anatomy uses; a second one further on counts too ("fistula between bladder and
    colon"). Phrases of ``not_places.tsv`` are read over, what follows "except" or "due to" is not read, and a region
    that is the part of something ("neck of a rib", "tibial spine") does not count."""
    places = _places(entities)
    longest = max(map(len, places), default=0)
    for entity in entities.values():
        if entity.root not in ("disease", "finding") or entity.level < 2:
            continue
        if entity.kind in ("external cause", "health factor") or _NO_PLACE.match(entity.name):
            continue
        written = WORD.findall(entity.name)
        if entity.id.startswith("MONDO:"):  # it writes only proper nouns in capitals: Temple syndrome, Hand's disease
            written = ["" if word[0].isupper() and word[1:].islower() else word for word in written]
        for place, phrase in _named_places([normal_word(word) for word in written], places, longest, adjectives):
            yield Edge(entity.id, "located_in", place, "NAME", -1.0, phrase)


def _places(entities: Mapping[str, Entity]) -> dict[tuple[str, ...], str]:
    """Names of anatomy -> entity, ``""`` for phrases that are no place; kinds of cells are none either, and what is a
    disease or finding elsewhere (UBERON has a pleural effusion) is not looked for. A name of several goes to the most
    trusted ontology, there to the one that prefers it."""
    best: dict[tuple[str, ...], tuple[tuple[int, str], int, int, str]] = {}
    ill = {tuple(words(e.name)) for e in entities.values() if e.root in ("disease", "finding") and _KNOWN.match(e.id)}
    for entity in entities.values():
        if entity.root != "anatomy" or entity.level < 1 or _ANIMAL.match(entity.id):
            continue
        for order, text in [
            (0, entity.name),
            *((1, s.text) for s in entity.synonyms if s.scope == "exact" and s.language == "en"),
        ]:
            key = tuple(words(text))
            if len("".join(key)) >= 3 and key not in ill and not is_abbreviation(text):
                offer = (
                    rank(entity.id.partition(":")[0]),
                    order,
                    entity.level,
                    "" if _CELL.search(entity.name) else entity.id,
                )
                best[key] = min(best.get(key, offer), offer)
    rows = (files("med_entity_tree") / "not_places.tsv").read_text("utf-8").splitlines()
    no_places = {tuple(words(row.split("\t")[0])): "" for row in rows if row and not row.startswith("#")}
    return {key: offer[-1] for key, offer in best.items()} | no_places


def _named_places(
    tokens: Sequence[str], places: Mapping[tuple[str, ...], str], longest: int, adjectives: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Places and how they are named in a name, given as normal words; no name of a place has more than ``longest``."""
    pairs = zip(tokens, [*tokens[1:], ""], strict=True)
    stops = (n for n, pair in enumerate(pairs) if pair[0] in _ELSEWHERE or pair in _ELSEWHERE_PAIRS)
    end = next(stops, len(tokens))
    at, behind = 0, -1  # behind: where the place before ended
    while at < end:
        for length in range(min(longest, end - at), 0, -1):
            key = tuple(tokens[at : at + length])
            noun = tuple(part for word in key for part in adjectives.get(word, word).split())
            key = key if key in places else noun
            if key in places:
                break
        else:
            at += 1
            continue
        after = tokens[at + length : at + length + 2]
        of_something = after[:1] == ["of"] and len(after) == 2
        after_something = at > 0 and (at == behind or tokens[at - 1] in adjectives) and tokens[at - 1] not in _SPINES
        part = len(key) == 1 and key[0] in _PARTS and (of_something or after_something)
        if places[key] and not part and not _LIKENESS & set(after[:1]):
            yield places[key], " ".join(key)
        at += length
        behind = at


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
