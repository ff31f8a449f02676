"""The hops that a question may take, the chain that a question follows, and how the graph is read for them.

A hop is a kind of edge, a direction, and for findings the least frequency. The graph answers it in two ways:

- **certain**: what a right answer may rest on. Edges of that kind; with ``at_least``, those whose stated frequency
  reaches it. A finding in under 5 % of patients does not count as a finding of the disease, and an edge that any source
  excludes (frequency 0) never counts.
- **possible**: what a wrong answer must not rest on. All edges that are not excluded by every source that has them;
  with ``at_least``, the certain ones and those whose frequency is not stated.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from med_entity_tree.entity import Entity
from med_entity_tree.graph import Edge

PARENT = "parent"  # the place in the tree, as an edge: child --parent--> parent
HIERARCHY = (PARENT, "is_a", "is_a_or_part_of")
VERY_RARE = 0.05  # HPO's "very rare" is 1 to 4 %


@dataclass(frozen=True, slots=True, order=True)
class Hop:
    """One step of a question: along an edge of ``kind`` or against it; ``at_least`` 0 asks for no frequency."""

    kind: str
    forward: bool
    at_least: float = 0.0

    @property
    def key(self) -> str:
        """Short name for tables: ``has_finding>`` along, ``<has_finding`` against, with the frequency in per cent."""
        often = f"{self.at_least * 100:.0f}%" if self.at_least else ""
        return f"{self.kind}{often}>" if self.forward else f"<{self.kind}{often}"


# Kinds that are left out, and why, are in docs/questions.md.
FAMILIES: Mapping[str, tuple[Hop, ...]] = {
    "finding": tuple(Hop("has_finding", f, t) for f in (True, False) for t in (0.0, 0.3, 0.8)),
    "place": (Hop("located_in", True), Hop("located_in", False)),
    "hierarchy": tuple(Hop(kind, f) for kind in HIERARCHY for f in (True, False)),
    "disease": tuple(
        Hop(kind, f)
        for kind in ("predisposes_to", "arises_from", "resembles", "progresses_to", "differential_of")
        for f in (True, False)
    ),
}


@dataclass(frozen=True, slots=True)
class Chain:
    """A path of the graph: ``nodes`` is the start, the masked entities and the answer; ``hops`` lie between them.

    ``right`` are all entities that the same hops reach from the start, over any entities; ``loose`` are those that a
    wrong answer must not be, nor stand above or below (for a last hop of the hierarchy: must not be)."""

    nodes: tuple[str, ...]
    hops: tuple[Hop, ...]
    right: frozenset[str]
    loose: frozenset[str]
    widths: tuple[int, ...]  # entities that fit each hop

    @property
    def start(self) -> str:
        return self.nodes[0]

    @property
    def answer(self) -> str:
        return self.nodes[-1]

    @property
    def type(self) -> str:
        return " ".join(hop.key for hop in self.hops)


class TooWide(Exception):
    """More entities fit than the limit allows: the path runs through a hub."""


@dataclass(frozen=True, slots=True)
class _Link:
    """All edges of one kind between two entities: the highest frequency, and what the sources leave open or exclude."""

    best: float
    unknown: bool
    excluded: bool

    def certain(self, at_least: float) -> bool:
        if self.excluded:
            return False
        return self.best >= at_least if at_least else self.unknown or self.best >= VERY_RARE

    def possible(self, at_least: float) -> bool:
        return self.certain(at_least) or self.unknown or (self.best > 0 and (not at_least or self.best >= at_least))


class Facts:
    """The edges of a tree and its parents, read hop by hop."""

    def __init__(self, entities: Iterable[Entity], edges: Iterable[Edge]):
        found: dict[tuple[str, str, str], list[float]] = defaultdict(list)
        for edge in edges:
            found[edge.kind, edge.head, edge.tail].append(edge.frequency)
        for entity in entities:
            if entity.parent:
                found[PARENT, entity.id, entity.parent].append(-1.0)
        self._links: dict[tuple[str, bool], dict[str, list[tuple[str, _Link]]]] = defaultdict(lambda: defaultdict(list))
        self.degree: dict[str, int] = defaultdict(int)
        for (kind, head, tail), frequencies in sorted(found.items()):
            link = _Link(max(frequencies), min(frequencies) < 0, 0.0 in frequencies)
            self._links[kind, True][head].append((tail, link))
            self._links[kind, False][tail].append((head, link))
            self.degree[head] += 1
            self.degree[tail] += 1
        self._above: dict[str, frozenset[str]] = {}
        self._below: dict[str, frozenset[str]] = {}
        self._ends: dict[tuple[Hop, bool], dict[str, tuple[str, ...]]] = defaultdict(dict)
        self._next: dict[bool, dict[str, list[str]]] = {True: defaultdict(list), False: defaultdict(list)}
        for (kind, forward), links in self._links.items():
            if kind in HIERARCHY:
                for entity, ends in links.items():
                    self._next[forward][entity] += [other for other, _ in ends]

    def has(self, entity: str, kind: str, forward: bool) -> bool:
        return entity in self._links[kind, forward]

    def certain(self, entity: str, hop: Hop) -> tuple[str, ...]:
        known = self._ends[hop, False]
        if entity not in known:
            links = self._links[hop.kind, hop.forward].get(entity, ())
            known[entity] = tuple(other for other, link in links if link.certain(hop.at_least))
        return known[entity]

    def possible(self, entity: str, hop: Hop) -> tuple[str, ...]:
        known = self._ends[hop, True]
        if entity not in known:
            links = self._links[hop.kind, hop.forward].get(entity, ())
            known[entity] = tuple(other for other, link in links if link.possible(hop.at_least))
        return known[entity]

    def image(self, entities: Collection[str], hop: Hop, most: int, possible: bool = False) -> frozenset[str]:
        """All entities that one hop reaches from any of ``entities``.

        Raises:
            TooWide: more than ``most``.
        """
        step = self.possible if possible else self.certain
        found: set[str] = set()
        for entity in entities:
            found.update(step(entity, hop))
            if len(found) > most:
                raise TooWide
        return frozenset(found)

    def adjacent(self, entity: str) -> set[str]:
        """Every entity at the other end of an edge of any kind."""
        return {other for links in self._links.values() for other, _ in links.get(entity, ())}

    def above(self, entity: str) -> frozenset[str]:
        """All that the entity is a kind or a part of, in every hierarchy; itself only where these make a circle."""
        return self._closed(entity, True, self._above)

    def below(self, entity: str) -> frozenset[str]:
        """All kinds and parts of the entity, in every hierarchy; itself only where these make a circle."""
        return self._closed(entity, False, self._below)

    def _closed(self, entity: str, forward: bool, known: dict[str, frozenset[str]]) -> frozenset[str]:
        if entity not in known:
            found: set[str] = set()
            todo = [entity]
            while todo:
                new = [other for other in self._next[forward].get(todo.pop(), ()) if other not in found]
                found.update(new)
                todo += new
            known[entity] = frozenset(found)
        return known[entity]

    def loose(self, penultimate: Collection[str], hop: Hop, most: int) -> frozenset[str]:
        """What the last hop reaches when it is read as loosely as truth may be.

        A last hop of the hierarchy reaches all ancestors or descendants. Any other starts from the penultimate entities
        and all that stands above or below them, at any frequency that is not excluded.

        Raises:
            TooWide: more than ``most``.
        """
        found: set[str] = set()
        if hop.kind in HIERARCHY:
            for entity in penultimate:
                found |= self.above(entity) if hop.forward else self.below(entity)
                if len(found) > most:
                    raise TooWide
            return frozenset(found)
        wide: set[str] = set(penultimate)
        for entity in penultimate:
            wide |= self.above(entity) | self.below(entity)
            if len(wide) > most:
                raise TooWide
        return self.image(wide, Hop(hop.kind, hop.forward), most, possible=True)

    def judge(self, chain: Chain) -> Callable[[str], bool]:
        """Tells of an option whether it is wrong by the graph: not reached, however loosely, and not above or below
        what is right (for hops that are not of the hierarchy: nor above or below what is reached loosely)."""
        reached = chain.loose | chain.right
        taboo = chain.right if chain.hops[-1].kind in HIERARCHY else reached

        def wrong(option: str) -> bool:
            if option == chain.start or option in reached:
                return False
            return taboo.isdisjoint(self.above(option)) and taboo.isdisjoint(self.below(option))

        return wrong
