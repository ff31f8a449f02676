"""How much of one set of entities another covers: AMCS both ways, with exact and synonym matches beside it.

AMCS is the bidirectional nearest-neighbour similarity of MedXIAOHE (arXiv 2602.12705, section 3.2), read as average
maximum cosine similarity: forward = mean over r in R of max over t in T of cos(e(r), e(t)), backward the same with R
and T exchanged. A high similarity proves no knowledge: the encoder finds "hypoxia" and "hyperoxia" alike. So the share
of equal names stands beside every value, and the nearest misses are listed.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from med_entity_tree.entity import Entity
from med_entity_tree.merge import Encoder
from med_entity_tree.names import name_key


@dataclass(frozen=True, slots=True)
class Item:
    """A member of a set: its preferred name, all names, and where known its root, level and count in a corpus."""

    id: str
    name: str
    names: tuple[str, ...] = ()
    root: str = ""
    level: int = 0
    count: int = 0


@dataclass(frozen=True)
class EntitySet:
    name: str
    items: list[Item]

    @classmethod
    def of_entities(cls, name: str, entities: Iterable[Entity], counts: dict[str, int] | None = None) -> "EntitySet":
        """Entities of a tree; with ``counts`` only those that a corpus speaks of."""
        items = [
            Item(e.id, e.name, tuple(s.text for s in e.synonyms), e.root, e.level, (counts or {}).get(e.id, 0))
            for e in entities
            if e.level and (counts is None or counts.get(e.id))
        ]
        return cls(name, items)

    @classmethod
    def of_names(cls, name: str, names: Iterable[str]) -> "EntitySet":
        return cls(name, [Item(text, text) for text in dict.fromkeys(n.strip() for n in names) if name_key(text)])


@dataclass(frozen=True)
class Direction:
    """Coverage of ``items`` by the other set: ``similarity`` N and ``nearest`` N (index into the other set)."""

    items: list[Item]
    others: list[Item]
    similarity: np.ndarray
    nearest: np.ndarray
    exact: np.ndarray  # N bool: the preferred names are equal in normal form
    synonym: np.ndarray  # N bool: some names are

    def summary(self, seed: int = 0) -> dict[str, float]:
        low, high = bootstrap_mean(self.similarity, seed)
        return {
            "n": len(self.items),
            "amcs": round(float(self.similarity.mean()), 4) if self.items else float("nan"),
            "amcs low": round(low, 4),
            "amcs high": round(high, 4),
            "exact": round(float(self.exact.mean()), 4) if self.items else float("nan"),
            "synonym": round(float(self.synonym.mean()), 4) if self.items else float("nan"),
        }

    def by(self, key: str) -> dict[str, dict[str, float]]:
        """The same by ``root``, ``level`` or ``frequency`` (thirds of the items that have a count, rarest first)."""
        groups: dict[str, list[int]] = defaultdict(list)
        if key == "frequency":
            counted = sorted((i for i, item in enumerate(self.items) if item.count), key=lambda i: self.items[i].count)
            for label, part in zip(
                ("rarest third", "middle third", "commonest third"), np.array_split(counted, 3), strict=True
            ):
                groups[label] = [int(i) for i in part]
        else:
            for index, item in enumerate(self.items):
                groups[str(getattr(item, key))].append(index)
        made = {}
        for label, rows in sorted(groups.items()):
            if rows:
                part = Direction(
                    [self.items[i] for i in rows],
                    self.others,
                    self.similarity[rows],
                    self.nearest[rows],
                    self.exact[rows],
                    self.synonym[rows],
                )
                made[label] = part.summary()
        return made

    def misses(self, most: int = 20) -> list[tuple[Item, Item, float]]:
        """The items that the other set covers least, each with its nearest neighbour there."""
        order = np.lexsort((np.arange(len(self.items)), self.similarity))[:most]
        return [(self.items[i], self.others[self.nearest[i]], round(float(self.similarity[i]), 3)) for i in order]


@dataclass(frozen=True)
class Coverage:
    """AMCS between a reference R and a set T. ``forward`` is how T covers R, ``backward`` how R covers T."""

    reference: str
    covering: str
    encoder: str
    forward: Direction
    backward: Direction
    notes: list[str] = field(default_factory=list)

    def summary(self) -> dict:
        return {
            "reference": self.reference,
            "set": self.covering,
            "encoder": self.encoder,
            "forward": self.forward.summary(),
            "backward": self.backward.summary(),
        }


def coverage(reference: EntitySet, covering: EntitySet, encode: Encoder, rows: int = 2048) -> Coverage:
    """Both directions between two sets. ``rows`` of similarities are held at a time: rows x max(|R|, |T|) floats."""
    for entities in (reference, covering):
        if not entities.items:
            raise ValueError(f"{entities.name} is empty: nothing to compare")
    r = encode([item.name for item in reference.items])
    t = encode([item.name for item in covering.items])
    forward, to = nearest_neighbours(r, t, rows)
    backward, back = nearest_neighbours(t, r, rows)
    return Coverage(
        reference.name,
        covering.name,
        getattr(encode, "model_name", "unnamed encoder"),
        Direction(reference.items, covering.items, forward, to, *_matches(reference, covering)),
        Direction(covering.items, reference.items, backward, back, *_matches(covering, reference)),
    )


def nearest_neighbours(a: np.ndarray, b: np.ndarray, rows: int = 2048) -> tuple[np.ndarray, np.ndarray]:
    """For each of N unit vectors the greatest cosine to M others and its index (the first, where several are equal)."""
    best = np.empty(len(a), np.float32)
    where = np.empty(len(a), np.int64)
    for start in range(0, len(a), rows):
        cosines = a[start : start + rows] @ b.T
        where[start : start + rows] = cosines.argmax(1)
        best[start : start + rows] = np.take_along_axis(cosines, where[start : start + rows, None], 1)[:, 0]
    return best.clip(-1, 1), where


def _matches(items: EntitySet, others: EntitySet) -> tuple[np.ndarray, np.ndarray]:
    labels = {name_key(other.name) for other in others.items}
    every = labels | {name_key(text) for other in others.items for text in other.names}
    exact = np.array([name_key(item.name) in labels for item in items.items], bool)
    synonym = np.array(
        [any(name_key(text) in every for text in (item.name, *item.names)) for item in items.items], bool
    )
    return exact, synonym


def bootstrap_mean(values: Sequence[float] | np.ndarray, seed: int = 0, draws: int = 1000) -> tuple[float, float]:
    """95 % percentile interval of a mean over items drawn with replacement (Efron 1979)."""
    values = np.asarray(values, np.float64)
    if len(values) < 2:
        return (float(values.mean()), float(values.mean())) if len(values) else (float("nan"), float("nan"))
    random = np.random.default_rng(seed)
    means = np.array([values[random.integers(0, len(values), len(values))].mean() for _ in range(draws)])
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
