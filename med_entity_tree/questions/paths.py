"""Paths of 1 to 6 hops from given starts: seeded, even over the families of hops, bounded in time."""

import math
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from med_entity_tree.entity import Entity
from med_entity_tree.errors import OntologyError
from med_entity_tree.questions.askable import askable, display_name, known, stems
from med_entity_tree.questions.hops import FAMILIES, HIERARCHY, Chain, Facts, Hop, TooWide

MOST_HOPS = 6
# Branches of MeSH that are no human anatomy.
_NOT_HUMAN = {"Plant Structures", "Animal Structures", "Bacterial Structures", "Fungal Structures", "Viral Structures"}
# The long arm of a chromosome is no arm, so what these names are "located in" is left alone.
_NO_PLACE = re.compile(r"chromosom|delet|duplicat|monosom|trisom|\b\d+[pq]", re.I)


@dataclass(frozen=True, slots=True)
class Limits:
    """What keeps a path away from hubs and a question narrow: the most entities at each place of a chain."""

    fan: int = 40  # of one hop from one entity
    middle: int = 30  # that fit a masked place
    right: int = 40  # that fit the last place
    possible: int = 200  # that may fit a masked place, when unstated frequencies count
    loose: int = 20_000  # that a wrong answer must keep clear of
    same_hop: int = 2  # times that one hop may come in a chain
    hierarchy: int = 2  # hops of the hierarchy in a row
    last_share: float = 0.15  # of the chains of one length that end in the same hop
    last_hierarchy: float = 0.3  # of the chains of one length that end in the hierarchy


def start_weights(entities: Sequence[str], counts: Mapping[str, int] | None, exponent: float = 0.5) -> list[float]:
    """Weight of each start: ``(1 + documents that mention it)^-exponent``, so that thin entities come first.

    Without counts all weigh the same. Exponent 0 ignores the counts; 0.5 is the default of the sampling plan's range.
    """
    if counts is None:
        return [1.0] * len(entities)
    return [(1 + counts.get(entity, 0)) ** -exponent for entity in entities]


class PathSampler:
    """Draws chains. A walk takes a family of hops, then a hop of it, then a neighbour, each with equal chances."""

    def __init__(self, entities: Mapping[str, Entity], facts: Facts, limits: Limits | None = None):
        self.entities, self.facts, self.limits = entities, facts, limits or Limits()
        strange = {identity for identity, entity in entities.items() if entity.name in _NOT_HUMAN}
        strange |= {below for identity in strange for below in facts.below(identity)}
        self._known = {i for i, entity in entities.items() if i not in strange and known(entity)}
        self._no_place = {i for i, entity in entities.items() if _NO_PLACE.search(entity.name)}
        self.askable = {i for i in self._known if askable(entities[i])}
        self._stems: dict[str, frozenset[str]] = {}
        self.failed: Counter[str] = Counter()
        self.spare: list[tuple[Hop, str]] = []  # last hops and ends that walks could have taken, for distractors

    def starts(self) -> list[str]:
        """Entities from which a question may start, sorted: a name that can be asked for, and edges beside the tree."""
        wanted = [hop for family, hops in FAMILIES.items() if family != "hierarchy" for hop in hops]
        return sorted(e for e in self.askable if any(self.facts.has(e, hop.kind, hop.forward) for hop in wanted))

    def sample(
        self, start: str, length: int, rng: random.Random, wanted: Callable[[Hop], bool] = lambda hop: True
    ) -> Chain | None:
        """One simple path of ``length`` hops that needs all of them, or None, with the reason counted in ``failed``.

        A path whose last hop is not ``wanted`` leaves its end in ``spare``."""
        nodes, hops, widths = [start], [], []
        sure = maybe = frozenset({start})
        earlier = {start}  # what shorter chains reach
        for place in range(length):
            last = place == length - 1
            earlier |= maybe
            taken = self._take(nodes, hops, sure, maybe, earlier if last else frozenset(nodes), last, rng)
            if taken is None:
                self.failed["no hop goes on without a hub or a short cut"] += 1
                return None
            penultimate = maybe
            hop, node, sure, maybe = taken
            hops.append(hop)
            nodes.append(node)
            widths.append(len(sure))
        if not wanted(hops[-1]):
            self.spare.append((hops[-1], nodes[-1]))
            self.failed["enough questions end in this hop"] += 1
            return None
        try:
            loose = self.facts.loose(penultimate, hops[-1], self.limits.loose)
        except TooWide:
            self.failed["what a wrong answer must keep clear of is too wide"] += 1
            return None
        return Chain(tuple(nodes), tuple(hops), sure - {start}, loose - {start}, tuple(widths))

    def _take(
        self,
        nodes: list[str],
        hops: list[Hop],
        sure: frozenset[str],
        maybe: frozenset[str],
        barred: frozenset[str] | set[str],
        last: bool,
        rng: random.Random,
    ) -> tuple[Hop, str, frozenset[str], frozenset[str]] | None:
        """The first hop, in random order, that leads on within the limits, and where it leads.

        At the last place the other hops that would have done leave one end each in ``spare``."""
        limits = self.limits
        taken: tuple[Hop, str, frozenset[str], frozenset[str]] | None = None
        for hop in self._order(hops, last, rng):
            ends = self.facts.certain(nodes[-1], hop)
            if not 0 < len(ends) <= limits.fan:
                continue
            ends = [e for e in ends if e not in barred and e in (self.askable if last else self._known)]
            if hop.kind == "located_in":
                ends = [e for e in ends if self._no_place.isdisjoint((nodes[-1], e))]
            if last:
                ends = self._answers(nodes, hops, hop, ends)
            ends = [e for e in ends if self._name(e) != self._name(nodes[0])]
            if not ends:
                continue
            try:
                wide = self.facts.image(sure, hop, limits.right if last else limits.middle)
                widest = self.facts.image(maybe, hop, limits.possible, possible=True)
            except TooWide:
                continue
            if taken is not None:
                self.spare.append((hop, rng.choice(ends)))
                continue
            taken = hop, rng.choice(ends), wide, widest
            if not last:
                break
        return taken

    def _order(self, hops: list[Hop], last: bool, rng: random.Random) -> Iterator[Hop]:
        taken = Counter(hops)
        row = [hop.kind in HIERARCHY for hop in hops[-self.limits.hierarchy :]]
        climbs = len(row) == self.limits.hierarchy and all(row)
        climbs |= last and bool(hops) and all(hop.kind in HIERARCHY for hop in hops)  # a chain holds a fact
        families = [family for family in FAMILIES if not (climbs and family == "hierarchy")]
        for family in rng.sample(families, len(families)):
            for hop in rng.sample(FAMILIES[family], len(FAMILIES[family])):
                if taken[hop] < self.limits.same_hop and not self._returns(hops, hop):
                    yield hop

    def _returns(self, hops: list[Hop], hop: Hop) -> bool:
        """Up and down again between the same two hierarchies says less than it seems: parent and is_a mostly agree."""
        return bool(hops) and hops[-1].kind in HIERARCHY and hop.kind in HIERARCHY and hops[-1].kind != hop.kind

    def _answers(self, nodes: list[str], hops: list[Hop], hop: Hop, ends: list[str]) -> list[str]:
        """Ends that the start neither touches nor spells out: what the whole chain is needed for."""
        start = nodes[0]
        spelled = self._stems_of(start)
        ends = [e for e in ends if spelled.isdisjoint(self._stems_of(e))]
        if hops:
            near = self.facts.adjacent(start)
            if any(h.kind not in HIERARCHY for h in [*hops, hop]):
                near |= self.facts.above(start) | self.facts.below(start)
            ends = [e for e in ends if e not in near]
        return ends

    def _stems_of(self, entity: str) -> frozenset[str]:
        if entity not in self._stems:
            self._stems[entity] = stems([display_name(self.entities[entity])])
        return self._stems[entity]

    def _name(self, entity: str) -> str:
        return display_name(self.entities[entity]).casefold()

    def many(
        self,
        count: int,
        length: int,
        seed: int,
        weights: Sequence[float] | None = None,
        per_start: int = 4,
        progress: Callable[[int], None] | None = None,
    ) -> list[Chain]:
        """``count`` different chains of one length. The root of each start is drawn first, then the start by weight.

        Raises:
            OntologyError: the graph does not hold so many within the limits (bounded tries: 60 a chain).
        """
        rng = random.Random(f"paths {seed} {length}")
        draw = self._draw(weights)
        made: dict[tuple, Chain] = {}
        used: Counter[str] = Counter()
        ends: Counter[Hop | str] = Counter()
        for _ in range(60 * count):
            if len(made) == count:
                break
            start = draw(rng)
            if used[start] >= per_start:
                continue
            chain = self.sample(start, length, rng, lambda hop: self._wanted(hop, ends, count))
            if chain is None or (key := (chain.start, chain.hops, chain.answer)) in made:
                continue
            made[key] = chain
            used[start] += 1
            ends[chain.hops[-1]] += 1
            ends[_family(chain.hops[-1])] += 1
            if progress is not None:
                progress(1)
        if len(made) < count:
            raise OntologyError(
                f"the graph gave {len(made):,} of {count:,} chains of {length} hop(s): {dict(self.failed)}",
                "Ask for fewer questions, or build a tree with more sources",
            )
        return list(made.values())

    def stock(self, walks: int, lengths: Sequence[int], seed: int, weights: Sequence[float] | None = None) -> None:
        """More ends in ``spare``: walks of these lengths that become no question."""
        rng = random.Random(f"stock {seed}")
        draw = self._draw(weights)
        before = self.failed.copy()
        for _ in range(walks):
            self.sample(draw(rng), rng.choice(lengths), rng, lambda hop: False)
        self.failed = before

    def _draw(self, weights: Sequence[float] | None) -> "_Draw":
        starts = self.starts()
        weights = weights or [1.0] * len(starts)
        return _Draw([(self.entities[s].root, s, w) for s, w in zip(starts, weights, strict=True)])

    def _wanted(self, last: Hop, ends: Mapping[Hop | str, int], count: int) -> bool:
        """Keeps the last hops of ``count`` chains mixed: easy walks (up the tree) would be half of them otherwise."""
        share = self.limits.last_hierarchy if _family(last) == "hierarchy" else 1.0
        return ends[last] < self.limits.last_share * count and ends[_family(last)] < share * count


def _family(hop: Hop) -> str:
    return "hierarchy" if hop.kind in HIERARCHY else "facts"


class _Draw:
    """Draws a root with equal chances, then an entity of it by weight."""

    def __init__(self, rows: Sequence[tuple[str, str, float]]):
        if not rows:
            raise OntologyError(
                "no entity of the tree can start a question", "It needs names and edges beside the hierarchy"
            )
        self._by_root: dict[str, tuple[list[str], list[float]]] = {}
        for root, entity, weight in rows:
            if not weight > 0 or math.isinf(weight):
                raise OntologyError(f"the weight of {entity} is {weight}", "A weight is a finite number above 0")
            names, sums = self._by_root.setdefault(root, ([], []))
            names.append(entity)
            sums.append(weight + (sums[-1] if sums else 0.0))
        self._roots = sorted(self._by_root)

    def __call__(self, rng: random.Random) -> str:
        names, sums = self._by_root[rng.choice(self._roots)]
        return rng.choices(names, cum_weights=sums)[0]
