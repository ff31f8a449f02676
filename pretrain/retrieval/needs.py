"""Which entities are thin, what each still wants, and what is asked for it."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from med_entity_tree.errors import OntologyError
from med_entity_tree.merge import is_abbreviation
from med_entity_tree.names import words
from med_entity_tree.tree import Tree


@dataclass(frozen=True)
class Need:
    """An entity that ``have`` documents speak of as present, and that should have ``want`` more."""

    entity: str
    have: int
    want: int


def load_counts(folder: Path) -> dict[str, int]:
    """Documents by entity, of `medvlm met count` or `medvlm data tag`.

    Raises:
        OntologyError: the folder holds no counts.
    """
    path = folder / "counts.json"
    if not path.is_file():
        raise OntologyError(
            f"{folder} has no counts.json: make it with `medvlm met count SOURCE --out {folder}` or `medvlm data tag`"
        )
    return json.loads(path.read_text("utf-8"))["present"]


def thin_nodes(
    tree: Tree,
    counts: Mapping[str, int],
    *,
    below: int,
    least: int = 1,
    roots: Iterable[str] = ("disease", "finding"),
    under: Iterable[str] = (),
    only: Iterable[str] = (),
    most: int | None = None,
) -> list[Need]:
    """Entities with fewer than ``below`` documents, rarest first; each wants as many more as it takes to reach it.

    Args:
        least: documents that an entity must have; 0 takes in the 100,000 that no report ever spells out.
        roots: of the tree; empty for all.
        under: entities whose subtree is meant (the entity itself included); empty for all.
        only: exactly these, whatever their root and count; entities with ``below`` documents or more want none.
        most: at most so many needs.
    """
    chosen = {tree[identity].id for identity in only}
    tops, wanted_roots = {tree[identity].id for identity in under}, set(roots)
    needs = []
    for entity in tree:
        have = counts.get(entity.id, 0)
        if have >= below or not entity.level:
            continue
        if chosen:
            if entity.id not in chosen:
                continue
        elif have < least or (wanted_roots and entity.root not in wanted_roots):
            continue
        if tops and entity.id not in tops and not tops & {above.id for above in tree.ancestors(entity.id)}:
            continue
        needs.append(Need(entity.id, have, below - have))
    needs.sort(key=lambda need: (need.have, need.entity))
    return needs[:most]


@dataclass(frozen=True)
class Query:
    """What is asked for a node: ``words`` with a weight each for full text, ``text`` for an encoder."""

    words: dict[str, float]
    text: str


PATH_WEIGHT = 0.3  # of a word that only the path to the node holds
_EMPTY = frozenset(
    "a an and around at by due for from in into is no not of on or other than the to with without".split()
)


def query_of(tree: Tree, identity: str) -> Query:
    """Name, synonyms (English, exact or narrow, no abbreviations) and the path of parents down from the first level."""
    entity = tree[identity]
    synonyms = [
        s.text
        for s in entity.synonyms
        if s.language == "en" and s.scope in ("exact", "narrow") and not is_abbreviation(s.text)
    ]
    names = list(dict.fromkeys([entity.name, *synonyms]))
    path = [above.name for above in tree.ancestors(identity) if above.level >= 1]
    weights = {word: PATH_WEIGHT for name in path for word in words(name)}
    weights |= {word: 1.0 for name in names for word in words(name)}
    weights = {word: weight for word, weight in sorted(weights.items()) if word not in _EMPTY}
    return Query(weights, f"{'; '.join(names[:6])}. {'; '.join(path)}".strip())


def kinds_of(tree: Tree, identity: str) -> set[str]:
    """Everything that is a kind of a node, itself left out: below it in the tree, or by ``is_a`` of an ontology."""
    found: set[str] = set()
    todo = [tree[identity].id]
    while todo:
        here = todo.pop()
        by_edge = [edge.head for edge in tree.graph.into.get(here, ()) if edge.kind == "is_a"]
        for child in [*by_edge, *(c.id for c in tree.children(here))]:
            if child not in found:
                found.add(child)
                todo.append(child)
    return found - {tree[identity].id}
