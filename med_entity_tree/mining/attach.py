"""New entities onto the frozen tree: what is known stays as it is, a clear winner becomes a parent, the rest waits.

Nothing that the tree holds changes its id or place. A candidate is in turn: known by name; another name of a known
entity, with the same words in another order; a child of the parent that wins clearly; or a conflict, which an arbiter
decides or nobody. New entities are attached from the
shortest name to the longest, so that one may hang below another.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from med_entity_tree.entity import LEVELS, ROOT_OF_KIND, Entity, Synonym
from med_entity_tree.errors import OntologyError
from med_entity_tree.graph import Edge
from med_entity_tree.merge import is_abbreviation
from med_entity_tree.mining.clusters import Cluster
from med_entity_tree.mining.extraction import kinds_agree
from med_entity_tree.mining.parents import Names, Neighbours, Proposal, bag_of, by_neighbours
from med_entity_tree.names import name_key

SOURCE = "MINED"


@dataclass
class Outcome:
    """What became of one cluster: ``entity`` is the known or the new one, ``why`` what decided or what is missing."""

    cluster: Cluster
    result: str  # known, attached, conflict, undecided, dropped
    why: str
    entity: str = ""
    parent: str = ""  # what it is a kind of; its place in the tree is above that where the fifth level is full
    score: float = 0.0
    proposals: list[Proposal] = field(default_factory=list)
    synonyms: list[str] = field(default_factory=list)  # given to ``entity``
    decided_by: str = ""


@dataclass(frozen=True)
class Rules:
    """When a parent wins: ``clear`` is the least score, ``gap`` the least lead over a parent on another branch,
    ``kind_share`` the least agreement on the kind, ``level`` the least level of a parent that only neighbours propose
    (one of the first level is true of nearly everything)."""

    clear: float = 0.6
    gap: float = 0.1
    kind_share: float = 0.8
    level: int = 2


class Attacher:
    """Holds the tree while it grows. ``origin`` is written into the sources of new entities: corpus and extractor."""

    def __init__(self, entities: Mapping[str, Entity], origin: str, rules: Rules, neighbours: Neighbours | None = None):
        self.entities = dict(entities)
        self.origin, self.rules, self.neighbours = origin, rules, neighbours
        self.names = Names(self.entities.values())
        self.looser = {name_key(s.text) for e in entities.values() for s in e.synonyms if s.scope != "exact"}
        self.edges: list[Edge] = []

    def entity_of(self, key: str) -> str:
        """The entity that a name is a name of; "" where none is, or several are."""
        found = self.names.get(key)
        return found[0] if len(found) == 1 else ""

    def attach(self, clusters: Sequence[Cluster]) -> list[Outcome]:
        """Outcomes in the order of the clusters' keys; conflicts are left to ``settle``."""
        unknown = [c for c in clusters if not self._is_known(c)]
        near: dict[str, list[tuple[float, str]]] = {}
        cosine: dict[tuple[str, str], float] = {}
        if self.neighbours is not None and unknown:
            vectors = self.neighbours.encode([c.candidate.name for c in unknown])
            found = self.neighbours.nearest(vectors, [c.candidate.kind for c in unknown])
            near = {c.key: n for c, n in zip(unknown, found, strict=True)}
            cosine = self._cosines_to_heads(unknown, vectors)
        made = []
        for one in sorted(clusters, key=lambda c: (len(c.key.split()), c.key)):
            made.append(self._one(one, near.get(one.key, []), cosine))
        return sorted(made, key=lambda outcome: outcome.cluster.key)

    def _cosines_to_heads(self, clusters: Sequence[Cluster], vectors: np.ndarray) -> dict[tuple[str, str], float]:
        """Cosine of each name with the preferred names of what may be its head: (name's key, preferred name) -> cosine.
        Names that are new themselves may be heads too."""
        assert self.neighbours is not None
        new = {c.key: c.candidate.name for c in clusters}
        pairs: list[tuple[int, str]] = []
        for row, one in enumerate(clusters):
            words = one.key.split()
            spans = {" ".join(words[a:b]) for a in range(len(words)) for b in range(a + 1, len(words) + 1)} - {one.key}
            names = {self.entities[i].name for span in spans for i in self.names.get(span)}
            pairs += [(row, name) for name in sorted(names | {new[span] for span in spans if span in new})]
        texts = sorted({name for _, name in pairs})
        if not texts:
            return {}
        encoded = dict(zip(texts, self.neighbours.encode(texts), strict=True))
        return {(clusters[row].key, name): round(float(vectors[row] @ encoded[name]), 4) for row, name in pairs}

    def _is_known(self, one: Cluster) -> bool:
        return any(self.names.by_key.get(key) or key in self.looser for key in (one.key, *one.others))

    def _one(self, one: Cluster, near: list[tuple[float, str]], cosine: Mapping[tuple[str, str], float]) -> Outcome:
        known = self._known(one)
        if known is not None:
            return known
        proposals, refused = self._proposals(one, near, cosine)
        if one.candidate.kind_share < self.rules.kind_share:
            votes = ", ".join(f"{kind} {n}" for kind, n in sorted(one.candidate.kinds.items()))
            return Outcome(one, "conflict", f"kinds disagree ({votes})", proposals=proposals)
        if not proposals:
            return Outcome(one, "conflict", refused or "no parent proposed")
        best = proposals[0]
        rivals = [p for p in proposals[1:] if not self._on_one_branch(p.parent, best.parent)]
        if refused:
            return Outcome(one, "conflict", refused, proposals=proposals)
        if best.score < self.rules.clear:
            return Outcome(one, "conflict", f"no parent scores {self.rules.clear}", proposals=proposals)
        if best.how != "head" and self.entities[best.parent].level < self.rules.level:
            return Outcome(one, "conflict", "neighbours share a vague parent only", proposals=proposals)
        if rivals and best.score - rivals[0].score < self.rules.gap:
            return Outcome(one, "conflict", "two parents are close in score", proposals=proposals)
        return self.hang(one, best.parent, best.how, best.score, proposals)

    def _known(self, one: Cluster) -> Outcome | None:
        """The outcome of a cluster one of whose names the tree holds, or whose words are those of one entity."""
        kind = one.candidate.kind
        found = [ids for key in (one.key, *one.others) if (ids := self.names.get(key))]
        if found:
            ids = found[0]
            agree = [i for i in ids if kinds_agree(self.entities[i].kind, kind)]
            entity = (agree or ids)[0]
            why = "name in the tree" if agree else "name in the tree, of another kind"
            outcome = Outcome(one, "known", why, entity, score=1.0)
            if len(ids) == 1 and agree:
                self._name(outcome, [one.candidate.name, *one.others.values()])
            return outcome
        if any(key in self.looser for key in (one.key, *one.others)):
            return Outcome(one, "known", "looser name in the tree", score=1.0)
        same = {i for i in self.names.by_bag.get(bag_of(one.key), ()) if kinds_agree(self.entities[i].kind, kind)}
        if len(same) == 1 and len(bag_of(one.key)) > 1:
            outcome = Outcome(one, "known", "the same words in the tree", same.pop(), score=1.0)
            self._name(outcome, [one.candidate.name, *one.others.values()])
            return outcome
        return None

    def _proposals(
        self, one: Cluster, near: list[tuple[float, str]], cosine: Mapping[tuple[str, str], float]
    ) -> tuple[list[Proposal], str]:
        """Parents, the best first, and what speaks against taking any of them."""
        made: dict[str, Proposal] = {p.parent: p for p in by_neighbours(near, self.entities)}
        refused = ""
        head, preferred, ids = self.names.heads(one.key)
        agree = [i for i in ids if kinds_agree(self.entities[i].kind, one.candidate.kind)]
        if ids and not agree:
            kinds = sorted({self.entities[i].kind for i in ids})
            refused = f"kinds disagree ({one.candidate.kind}, but its head is {' or '.join(kinds)})"
        exact = [i for i in agree if self.entities[i].kind == one.candidate.kind]
        for identity in exact or agree:
            likeness = max(0.0, cosine.get((one.key, self.entities[identity].name), 0.0))
            score = round((0.7 if preferred else 0.4) + 0.3 * likeness, 4)
            if identity not in made or made[identity].score < score:
                made[identity] = Proposal(identity, score, "head", head)
        return sorted(made.values(), key=lambda p: (-p.score, p.parent)), refused

    def _on_one_branch(self, one: str, other: str) -> bool:
        return other in self._up(one) or one in self._up(other)

    def _up(self, identity: str) -> list[str]:
        """An entity and what is above it."""
        found = [identity]
        while parent := self.entities[found[-1]].parent:
            found.append(parent)
        return found

    def hang(
        self,
        one: Cluster,
        parent: str,
        how: str,
        score: float,
        proposals: Sequence[Proposal] = (),
        by: str = "scores",
        fits: bool = True,
    ) -> Outcome:
        """Make the new entity. Below level five there is no place: it hangs beside its parent, and the edge says whose
        kind it is."""
        above = self.entities[parent]
        place = self.entities[above.parent] if above.level == LEVELS else above
        identity = mined_id(one.key)
        if identity in self.entities:
            other = self.entities[identity].name
            raise OntologyError(f"{identity} is the id of {other!r} and would be that of {one.candidate.name!r}")
        kind = one.candidate.kind
        new = Entity(
            id=identity,
            name=one.candidate.name,
            kind=kind if ROOT_OF_KIND[kind] == above.root else above.kind,
            sources=[f"CORPUS:{self.origin}/{identity.partition(':')[2]}"],
            root=place.root,
            parent=place.id,
            level=place.level + 1,
            placed_by=f"{SOURCE} {how}{', level' if place is not above else ''}",
        )
        outcome = Outcome(one, "attached", how, identity, parent, score, list(proposals), decided_by=by)
        self.entities[identity] = new
        self._name(outcome, list(one.others.values()))
        self.names.add(self.entities[identity])
        if fits:
            relation = "is_a_or_part_of" if new.root == "anatomy" else "is_a"  # the upper lung is part of the lung
            self.edges.append(Edge(identity, relation, parent, SOURCE, reference=self.origin))
        return outcome

    def _name(self, outcome: Outcome, names: Iterable[str]) -> None:
        """Give an entity the names that it lacks, and the abbreviation that text gives for it every time."""
        entity = self.entities[outcome.entity]
        known = {name_key(entity.name), *(name_key(s.text) for s in entity.synonyms)}
        shorts = outcome.cluster.candidate.shorts
        clear = [next(iter(shorts))] if len(shorts) == 1 and shorts.total() > 1 else []
        for name in [*names, *(s for s in clear if is_abbreviation(s))]:
            if name_key(name) not in known:
                known.add(name_key(name))
                outcome.synonyms.append(name)
        added = [Synonym(name, "en", "exact", SOURCE) for name in outcome.synonyms]
        self.entities[entity.id] = replace(entity, synonyms=[*entity.synonyms, *added])  # the given tree stays as it is

    def settle(self, outcome: Outcome, decision: str, parent: str, reason: str, by: str) -> Outcome:
        """What an arbiter decided of a conflict: ``parent``, ``new`` (no parent fits), ``drop`` or nothing."""
        one = outcome.cluster
        if decision == "parent":
            return self.hang(one, parent, "arbiter", 0.0, outcome.proposals, by)
        if decision == "new":
            other = f"MET:other-{ROOT_OF_KIND[one.candidate.kind]}"
            return self.hang(one, other, "arbiter, no parent", 0.0, outcome.proposals, by, fits=False)
        if decision == "drop":
            return Outcome(one, "dropped", "by the arbiter", proposals=outcome.proposals, decided_by=by)
        return Outcome(one, "undecided", reason or outcome.why, proposals=outcome.proposals, decided_by=by)


def mined_id(key: str) -> str:
    """Stable: it follows from the name alone. 48 bits, and a clash is an error."""
    return f"{SOURCE}:{hashlib.sha256(key.encode()).hexdigest()[:12]}"
