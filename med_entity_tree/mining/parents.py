"""Where a new name could hang: below what its head word names, or where its neighbours hang. Proposals with scores.

    head       0.7 + 0.3 * cos(name, preferred name of the entity that is its head); 0.4 instead of 0.7 where the head
               is only another name of that entity, which says less ("deformity" of "Congenital Abnormalities")
    neighbours sum of cos(name, neighbour) over those of the k nearest that hang there, divided by k

A head is the longest end of the name's head phrase (what stands before the first preposition) that is a name in the
tree: "calcified granuloma" is a granuloma, "opacity of the lung base" an opacity. Only entities above the fifth level
are neighbours.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

from med_entity_tree.entity import LEVELS, Entity
from med_entity_tree.merge import Encoder
from med_entity_tree.mining.extraction import kinds_agree
from med_entity_tree.names import name_key, normal_word

K = 5
SLICE = 4096  # names embedded and kept at once
_PREPOSITIONS = frozenset("of in on at with without due to from for by after during within near secondary".split())


@dataclass(frozen=True, slots=True)
class Proposal:
    """A parent with its score in [0, 1]; ``how`` is "head" or "neighbours", ``evidence`` the name or names."""

    parent: str
    score: float
    how: str
    evidence: str


class Names:
    """Entities by their preferred and exact names; new ones are added as they find a place."""

    def __init__(self, entities: Iterable[Entity]):
        self._too_common = _too_common()
        self.by_key: dict[str, list[tuple[int, str]]] = defaultdict(list)
        self.by_bag: dict[frozenset[str], set[str]] = defaultdict(set)
        for entity in entities:
            if entity.level:
                self.add(entity)

    def add(self, entity: Entity) -> None:
        for rank, text in [(0, entity.name), *((1, s.text) for s in entity.synonyms if s.scope == "exact")]:
            key = name_key(text)
            if key and (rank, entity.id) not in self.by_key[key]:
                self.by_key[key].append((rank, entity.id))
                self.by_bag[bag_of(key)].add(entity.id)

    def get(self, key: str) -> list[str]:
        """Entities of a name, those that prefer it first."""
        return list(dict.fromkeys(identity for _, identity in sorted(self.by_key.get(key, ()))))

    def heads(self, key: str) -> tuple[str, bool, list[str]]:
        """The longest head of a name, whether it is a preferred name, and the entities that it names; "" and none where
        there is no head."""
        words = key.split()
        cut = next((n for n, word in enumerate(words) if n and word in _PREPOSITIONS), len(words))
        for start in range(0 if cut < len(words) else 1, cut):
            head = " ".join(words[start:cut])
            found = self.by_key.get(head)
            if found and head not in self._too_common and not head.isdigit():
                best = min(found)[0]
                return head, best == 0, sorted(identity for rank, identity in found if rank == best)
        return "", False, []


def bag_of(key: str) -> frozenset[str]:
    """The words of a name without regard to their order; two or more, or the name itself."""
    words = frozenset(key.split()) - _PREPOSITIONS - {"the", "a", "an"}
    return words if len(words) > 1 else frozenset([key])


def _too_common() -> frozenset[str]:
    rows = (files("med_entity_tree") / "too_common.tsv").read_text("utf-8").splitlines()
    return frozenset(" ".join(normal_word(w) for w in row.split()) for row in rows if row and not row.startswith("#"))


class Neighbours:
    """Nearest names among the entities that may be parents, by embedding; their vectors are kept in ``cache``."""

    def __init__(self, entities: Mapping[str, Entity], encode: Encoder, cache: Path, tree_stamp: str):
        self.entities, self.encode = entities, encode
        places = sorted(e.id for e in entities.values() if 0 < e.level < LEVELS)
        self.ids = np.array(places)
        names = [entities[identity].name for identity in places]
        encoder = getattr(encode, "model_name", type(encode).__name__)
        digest = hashlib.sha256(f"{tree_stamp}\0{encoder}".encode()).hexdigest()[:24]
        slices = range(0, len(names), SLICE)
        blocks = [_kept(cache / f"names-{digest}-{n}.npy", encode, names[n : n + SLICE]) for n in slices]
        self.vectors = np.concatenate(blocks)
        groups: dict[str, list[int]] = defaultdict(list)
        for row, identity in enumerate(places):
            groups[_group(entities[identity].kind)].append(row)
        self.rows = {group: np.array(rows) for group, rows in groups.items()}

    def nearest(self, vectors: np.ndarray, kinds: Sequence[str], k: int = K) -> list[list[tuple[float, str]]]:
        """For each name (N x D) the ``k`` nearest entities of an agreeing kind, with their cosines."""
        made: list[list[tuple[float, str]]] = [[] for _ in kinds]
        for group, rows in self.rows.items():
            mine = [n for n, kind in enumerate(kinds) if _group(kind) == group]
            candidates = self.vectors[rows]
            for start in range(0, len(mine), 256):
                block = mine[start : start + 256]
                cosines = np.round(vectors[block] @ candidates.T, 4)
                for n, row in zip(block, cosines, strict=True):
                    top = np.argpartition(-row, min(2 * k, len(row) - 1))[: 2 * k]
                    near = sorted((-float(row[t]), str(self.ids[rows[t]])) for t in top)[:k]
                    made[n] = [(-minus, identity) for minus, identity in near]
        return made


def _kept(path: Path, encode: Encoder, names: Sequence[str]) -> np.ndarray:
    """Vectors of some names, from the disk where they are there: minutes of work for a large tree."""
    if path.is_file():
        vectors = np.load(path)
    else:
        vectors = encode(names)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npy")
        np.save(part, vectors)
        part.replace(path)
    return vectors


def _group(kind: str) -> str:
    return next((group for group in ("disease", "procedure") if kinds_agree(kind, group)), kind)


def by_neighbours(near: Sequence[tuple[float, str]], entities: Mapping[str, Entity]) -> Iterator[Proposal]:
    """A proposal for each place where neighbours hang; a neighbour of the first level is a place itself."""
    votes: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for cosine, identity in near:
        entity = entities[identity]
        votes[entity.parent if entity.level > 1 else entity.id].append((cosine, entity.name))
    for parent, found in sorted(votes.items()):
        score = round(sum(cosine for cosine, _ in found) / max(len(near), 1), 4)
        yield Proposal(parent, score, "neighbours", " | ".join(name for _, name in found))
