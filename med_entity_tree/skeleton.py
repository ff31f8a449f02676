"""Five levels below four roots: the frozen first level, and a place below it for every entity.

Ontologies are deeper than five levels and are no trees. Each entity hangs below the nearest ancestor that has a place
under the same root; ontologies are asked in the order of trust, so that a code of ICD-10-CM keeps its ICD parent and a
MONDO term without a code hangs below its nearest coded ancestor. What would come below level five hangs below its
ancestor of level four. The full hierarchies stay in the knowledge graph.
"""

import heapq
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files

from med_entity_tree.concept import Concept
from med_entity_tree.entity import LEVELS, ROOT_OF_KIND, ROOTS, Entity
from med_entity_tree.merge import rank
from med_entity_tree.names import name_key

# Ontologies whose hierarchy decides, first to last; others follow by name.
_ORDER = ("MET", "ICD10CM", "MONDO", "HP", "UBERON", "MESH", "DICOM", "RADDICT")
_OTHERWISE = {
    ("disease", ""): "MET:other-disease",
    ("anatomy", ""): "MET:other-anatomy",
    ("finding", ""): "MET:other-finding",
    ("finding", "RADDICT"): "MET:imaging-finding",
    ("finding", "DICOM"): "MET:imaging-finding",
    ("procedure", ""): "MET:other-procedure",
    ("procedure", "DICOM"): "MET:imaging",
    ("procedure", "RADDICT"): "MET:imaging",
}


@dataclass(frozen=True)
class Anchor:
    """A node of the first level; ``same`` are concepts that are this node, ``under`` hang right below it."""

    root: str
    id: str
    name: str
    same: tuple[str, ...]
    under: tuple[str, ...]


def anchors() -> list[Anchor]:
    rows = (files("med_entity_tree") / "skeleton.tsv").read_text(encoding="utf-8").splitlines()
    made = []
    for row in rows:
        if row and not row.startswith("#"):
            root, identity, name, same, under = row.split("\t")
            made.append(Anchor(root, identity, name, tuple(same.split()), tuple(under.split())))
    return made


def skeleton_concepts() -> list[Concept]:
    """Roots and first level as concepts, so that merging gives them the names of the concepts that they stand for."""
    roots = [Concept(f"MET:{root}", name, "MET", "root") for root, name in ROOTS.items()]
    kinds = {"MET:external-cause": "external cause", "MET:health-factor": "health factor"}
    return roots + [Concept(a.id, a.name, "MET", kinds.get(a.id, a.root), xrefs=list(a.same)) for a in anchors()]


class Placer:
    """Gives every entity a parent, a level and a root. ``concepts`` are all concepts by id."""

    def __init__(self, entities: Mapping[str, Entity], concepts: Mapping[str, Concept]):
        self.entities = entities
        self.entity_of = {source: entity.id for entity in entities.values() for source in entity.sources}
        self.children: dict[str, dict[str, set[str]]] = defaultdict(
            lambda: defaultdict(set)
        )  # source, parent, children
        for concept in concepts.values():
            child = self.entity_of[concept.id]
            for parent in concept.parents:
                if parent in self.entity_of and self.entity_of[parent] != child:
                    self.children[concept.source][self.entity_of[parent]].add(child)
        self.descendants = {source: _descendants(children) for source, children in self.children.items()}
        self.order = sorted(self.children, key=lambda s: (_ORDER.index(s) if s in _ORDER else len(_ORDER), s))

    def place(self) -> None:
        for root in ROOTS:
            self.entities[f"MET:{root}"].root = root
        for anchor in anchors():
            self._attach(self.entities[anchor.id], self.entities[f"MET:{anchor.root}"], "skeleton")
        for entity in self.entities.values():
            if entity.kind == "modality":
                self._attach(entity, self.entities["MET:modality"], "skeleton")
        # What belongs to no system hangs below "Other ..." only when everything else has found its place.
        for last in (False, True):
            for anchor in anchors():
                if anchor.id.startswith("MET:other-") == last:
                    self._hang(anchor)
            self._spread()
        self._by_name()
        self._spread()
        while homeless := [e for e in self.entities.values() if not e.root]:
            for entity in self._tops(homeless):
                self._attach(entity, self.entities[self._otherwise(entity)], "no placed ancestor")
            self._spread()

    def _hang(self, anchor: Anchor) -> None:
        for concept in anchor.under:
            entity = self.entities.get(self.entity_of.get(concept, ""))
            if entity is not None and not entity.root:
                self._attach(entity, self.entities[anchor.id], "skeleton")

    def _spread(self) -> None:
        for source in self.order:
            for root in ROOTS:
                self._follow(source, root)

    def _follow(self, source: str, root: str) -> None:
        """Down one ontology from every placed entity of a root, nearest first (Dijkstra 1959); entities of other roots
        are passed through, not placed. A step below a parent with n descendants is log2(1 + n) long, so that a specific
        parent is nearer than a general one."""
        children, below = self.children[source], self.descendants[source]
        placed = sorted(e.id for e in self.entities.values() if e.root == root and e.id in children)
        heap = [(0.0, identity, identity) for identity in placed]
        starts, done = set(placed), set()
        while heap:
            cost, here, holder = heapq.heappop(heap)
            if here in done:
                continue
            done.add(here)
            entity = self.entities[here]
            if here not in starts:
                if not entity.root and ROOT_OF_KIND[entity.kind] == root:
                    self._attach(entity, self.entities[holder], source)
                holder = here if entity.root == root else holder
            step = math.log2(1 + below[here])
            for child in children.get(here, ()):
                if child not in done and child not in starts:
                    heapq.heappush(heap, (round(cost + step, 6), child, holder))

    def _by_name(self) -> None:
        """What no hierarchy places hangs below what its name ends with: "mild cardiomegaly" is a cardiomegaly."""
        named: dict[tuple[str, str], str] = {}
        for entity in sorted(self.entities.values(), key=lambda e: (e.level, e.id)):
            if entity.level > 1:
                for text in (entity.name, *(s.text for s in entity.synonyms if s.scope == "exact")):
                    named.setdefault((entity.root, name_key(text)), entity.id)
        for entity in sorted((e for e in self.entities.values() if not e.root), key=lambda e: e.id):
            root, key = ROOT_OF_KIND[entity.kind], name_key(entity.name).split()
            for start in range(1, len(key)):
                parent = named.get((root, " ".join(key[start:])))
                if parent is not None:
                    self._attach(entity, self.entities[parent], "name")
                    break

    def _attach(self, entity: Entity, parent: Entity, why: str) -> None:
        if parent.level == LEVELS:
            parent, why = self.entities[parent.parent], f"{why}, level"
        entity.parent, entity.root, entity.level, entity.placed_by = parent.id, parent.root, parent.level + 1, why

    def _tops(self, homeless: Iterable[Entity]) -> list[Entity]:
        """Those of the homeless that have no homeless ancestor of their root; all of them where they form a ring."""
        homeless = list(homeless)
        waiting = {e.id for e in homeless}
        below = {
            child
            for source in self.order
            for parent, children in self.children[source].items()
            if parent in waiting
            for child in children
            if ROOT_OF_KIND[self.entities[child].kind] == ROOT_OF_KIND[self.entities[parent].kind]
        }
        return [e for e in homeless if e.id not in below] or homeless[:1]

    def _otherwise(self, entity: Entity) -> str:
        root = ROOT_OF_KIND[entity.kind]
        leading = min((source.partition(":")[0] for source in entity.sources), key=rank)
        leading = {"SNOMEDCT": "DICOM", "DCM": "DICOM"}.get(leading, leading)
        return _OTHERWISE.get((root, leading), _OTHERWISE[root, ""])


def _descendants(children: Mapping[str, set[str]]) -> dict[str, int]:
    """How many entities lie below each, by any path."""
    parents: dict[str, list[str]] = defaultdict(list)
    for parent, below in children.items():
        for child in below:
            parents[child].append(parent)
    count: dict[str, int] = defaultdict(int)
    for entity in parents:
        above, todo = set(), [entity]
        while todo:
            for parent in parents.get(todo.pop(), ()):
                if parent not in above and parent != entity:
                    above.add(parent)
                    todo.append(parent)
        for parent in above:
            count[parent] += 1
    return count


def check(entities: Mapping[str, Entity]) -> list[str]:
    """What is wrong with a tree: orphans, cycles, levels that do not follow from the parent, nodes without a source."""
    faults = []
    for entity in entities.values():
        if entity.level == 0:
            if entity.id != f"MET:{entity.root}":
                faults.append(f"{entity.id}: no parent")
            continue
        parent = entities.get(entity.parent)
        if parent is None:
            faults.append(f"{entity.id}: parent {entity.parent} does not exist")
        elif entity.level != parent.level + 1 or entity.root != parent.root or entity.level > LEVELS:
            faults.append(f"{entity.id}: level {entity.level} below a parent of level {parent.level}")
        if not entity.sources:
            faults.append(f"{entity.id}: no source")
    return faults
