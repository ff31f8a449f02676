"""Splits that share neither a start nor a fact that answers."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

from med_entity_tree.errors import OntologyError
from med_entity_tree.questions.hops import Chain


def groups(chains: Sequence[Chain]) -> list[int]:
    """Group of each chain: those that share a start, or the last fact (last masked entity, kind, answer), are one."""
    leader = list(range(len(chains)))

    def find(n: int) -> int:
        while leader[n] != n:
            leader[n] = leader[leader[n]]
            n = leader[n]
        return n

    first: dict[tuple, int] = {}
    for n, chain in enumerate(chains):
        last = (frozenset(chain.nodes[-2:]), chain.hops[-1].kind)
        for key in (("start", chain.start), ("fact", last)):
            one, other = find(first.setdefault(key, n)), find(n)
            leader[max(one, other)] = min(one, other)
    return [find(n) for n in range(len(chains))]


def split_names(chains: Sequence[Chain], shares: Mapping[str, float], seed: int) -> list[str]:
    """Split of each chain: whole groups, in an order drawn by the seed, each to the split that lacks most of its share.

    Raises:
        OntologyError: the shares do not add up to 1, or the largest group is larger than the smallest split.
    """
    if abs(sum(shares.values()) - 1) > 1e-6 or min(shares.values(), default=0) <= 0:
        raise OntologyError(f"the splits {dict(shares)} do not add up to 1", "Give shares such as train=0.9,test=0.1")
    members: dict[int, list[int]] = defaultdict(list)
    for n, group in enumerate(groups(chains)):
        members[group].append(n)
    largest = max(map(len, members.values()), default=0)
    if largest > max(2, min(shares.values()) * len(chains)) and len(shares) > 1:
        raise OntologyError(
            f"{largest:,} of {len(chains):,} questions hang together by starts or facts, more than a split holds",
            "Ask for larger splits, or for fewer questions",
        )

    def order(group: int) -> tuple[int, bytes]:
        first = chains[group]
        text = f"{seed} {first.start} {first.type} {first.answer}"
        return -len(members[group]), hashlib.sha256(text.encode()).digest()

    held: dict[str, int] = dict.fromkeys(shares, 0)
    names = [""] * len(chains)
    for group in sorted(members, key=order):
        name = max(shares, key=lambda s: (shares[s] * len(chains) - held[s], s))
        held[name] += len(members[group])
        for n in members[group]:
            names[n] = name
    return names
