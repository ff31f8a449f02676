"""Names that mean the same become one candidate: clusters by embedding within a kind, and the floors of the paper.

Compared are names of agreeing kinds that have the same words in any order, or differ in one word that begins alike
("osseous", "osseus"); a word more makes a narrower name, not another form. Names are one where the cosine of their
embeddings is at least ``cosine``, no telling word (a side, a number, a degree, hypo- and hyper-) is between them, and
that holds for every pair of the cluster (complete linkage), so that a chain of near names does not run from one meaning
to another.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from med_entity_tree.merge import Encoder, tells_apart
from med_entity_tree.mining.counting import Candidate
from med_entity_tree.mining.extraction import kinds_agree

LARGEST = 500  # names compared with one another at once
FILLER = frozenset("of the in to a an and or by for on at from".split())


@dataclass(slots=True)
class Cluster:
    """One would-be entity: its leading name's key, all that was counted, and the keys of its other names."""

    candidate: Candidate
    others: dict[str, str] = field(default_factory=dict)  # key -> the form that text uses most
    cosine: float = 1.0  # the least within the cluster

    @property
    def key(self) -> str:
        return self.candidate.key


def bag(key: str) -> frozenset[str]:
    """The words of a key that carry its meaning."""
    return frozenset(key.split()) - FILLER or frozenset(key.split())


def cluster(
    candidates: Sequence[Candidate],
    encode: Encoder | None,
    cosine: float,
    same: Callable[[str], str] = lambda key: "",
    dropped: Counter[str] | None = None,
) -> list[Cluster]:
    """Clusters in the order of their keys; without ``encode`` only names of the same words are one.

    ``same`` gives the entity of the tree that a key is a name of, or "": names of two entities never meet."""
    dropped = Counter() if dropped is None else dropped
    pairs = sorted(_pairs(candidates, dropped))
    keys = sorted({i for pair in pairs for i in pair})
    vectors: dict[int, np.ndarray] = {}
    if encode is not None and keys:
        vectors = dict(zip(keys, encode([candidates[i].name for i in keys]), strict=True))
    score: dict[tuple[int, int], float] = {}
    for i, j in pairs:
        one, two = same(candidates[i].key), same(candidates[j].key)
        if one and two and one != two:
            continue
        if bag(candidates[i].key) == bag(candidates[j].key):
            score[i, j] = 1.0
        elif encode is not None:
            score[i, j] = round(float(vectors[i] @ vectors[j]), 4)
    near = {pair: s for pair, s in score.items() if s >= cosine}
    made = [_of(candidates, group, near) for group in _groups(len(candidates), near)]
    return sorted(made, key=lambda c: c.key)


def _pairs(candidates: Sequence[Candidate], dropped: Counter[str]) -> Iterator[tuple[int, int]]:
    """Indices of names to compare, each pair once, the smaller first."""
    blocks: dict[tuple[frozenset[str], str], list[int]] = defaultdict(list)
    bags = [bag(candidate.key) for candidate in candidates]
    for i, words in enumerate(bags):
        blocks[words, ""].append(i)
        for word in words if len(words) > 1 else ():
            blocks[words - {word}, word[:3]].append(i)
    seen: set[tuple[int, int]] = set()
    for block in blocks.values():
        if len(block) > LARGEST:
            dropped["names not compared: too many share their other words"] += len(block) - LARGEST
        for pair in combinations(block[:LARGEST], 2):
            i, j = pair
            agree = pair not in seen and kinds_agree(candidates[i].kind, candidates[j].kind)
            if agree and not tells_apart(bags[i], bags[j]) and not _opposed(bags[i] ^ bags[j]):
                seen.add(pair)
                yield pair


def _opposed(differing: frozenset[str]) -> bool:
    """Whether the words in which two names differ begin with prefixes that say the opposite."""
    return any(
        any(word.startswith(one) for word in differing) and any(word.startswith(other) for word in differing)
        for one, other in (("hypo", "hyper"), ("intra", "inter"), ("intra", "extra"), ("macro", "micro"))
    )


def _groups(size: int, near: dict[tuple[int, int], float]) -> list[list[int]]:
    """Complete linkage, greedily from the nearest pair on: two groups join when all their pairs are near."""
    group = {i: [i] for i in range(size)}
    of = list(range(size))
    for i, j in sorted(near, key=lambda pair: (-near[pair], pair)):
        a, b = of[i], of[j]
        if a != b and all((min(x, y), max(x, y)) in near for x in group[a] for y in group[b]):
            for member in group[b]:
                of[member] = a
            group[a] += group.pop(b)
    return list(group.values())


def _of(candidates: Sequence[Candidate], group: list[int], near: dict[tuple[int, int], float]) -> Cluster:
    """The name seen most often leads; the rest are its other names."""
    order = sorted((candidates[i] for i in group), key=lambda c: (-c.mentions, c.key))
    lead = Candidate(order[0].key)
    for candidate in order:
        lead.add(candidate)
    lead.forms = order[0].forms
    scores = [near[min(i, j), max(i, j)] for i, j in combinations(group, 2)]
    return Cluster(lead, {c.key: c.name for c in order[1:]}, min(scores, default=1.0))


def apply_floors(
    clusters: Sequence[Cluster], mentions: int, of_type: int, whole: float, dropped: Counter[str]
) -> list[Cluster]:
    """The floors of MedXIAOHE (3.2): entities seen ``mentions`` times, in types of ``of_type`` entities.

    ``whole`` is the share of mentions in which a name must stand by itself: what is only seen inside longer names
    ("space opacity" in "air space opacity") is no name (Frantzi et al. 2000)."""
    kept = []
    for one in clusters:
        if one.candidate.mentions < mentions:
            dropped[f"seen fewer than {mentions} times"] += 1
        elif one.candidate.whole < whole * one.candidate.mentions:
            dropped["seen mostly inside longer names"] += 1
        else:
            kept.append(one)
    types = Counter(one.candidate.kind for one in kept)
    small = {kind for kind, number in types.items() if number < of_type}
    for one in kept:
        if one.candidate.kind in small:
            dropped[f"type of fewer than {of_type} entities ({one.candidate.kind})"] += 1
    return [one for one in kept if one.candidate.kind not in small]
