"""What may be said of a study: the entities that it states, denies or doubts, and names that the tagger reads back."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from med_entity_tree.merge import is_abbreviation
from med_entity_tree.tagger import Tagger
from med_entity_tree.tree import Tree
from pretrain.shards.errors import DataError
from vlm.sample import Sample


class SynthesisError(DataError):
    """The samples do not hold what synthesis needs."""


@dataclass(frozen=True)
class StudyFacts:
    """Entities of a study by what is said of them, each sorted.

    Attributes:
        key: of the sample.
        present, negated, uncertain: findings and diseases.
        anatomy, modality: what the headers and the text name.
        view: of the first image, "" where unknown.
        group: cluster for cross-fitting: patient, else study, else key.
    """

    key: str
    present: tuple[str, ...] = ()
    negated: tuple[str, ...] = ()
    uncertain: tuple[str, ...] = ()
    anatomy: tuple[str, ...] = ()
    modality: tuple[str, ...] = ()
    view: str = ""
    group: str = ""


def facts_of(sample: Sample, tree: Tree) -> StudyFacts:
    """
    Raises:
        SynthesisError: the sample was not tagged.
    """
    tags: Mapping[str, Any] | None = sample.extra.get("tags")
    if tags is None:
        raise SynthesisError(f"sample {sample.key} has no tags: run `medvlm data tag` on the shards first")
    present = {entity for found in tags["present"].values() for entity in found if entity in tree}
    by_header = {entity for entity in tags["present"].get("header", ()) if entity in tree}
    doubted = [*tags.get("uncertain", ()), *tags.get("conflict", ())]  # contradictory sources leave a doubt
    return StudyFacts(
        sample.key,
        _abnormal(present - by_header, tree),
        _abnormal(tags.get("negated", ()), tree),
        _abnormal(doubted, tree),
        tuple(sorted(e for e in present if tree[e].root == "anatomy")),
        tuple(sorted(e for e in by_header if tree[e].kind == "modality")),
        next(iter(tags.get("views", ())), ""),
        sample.provenance.patient or sample.provenance.study or sample.key,
    )


def _abnormal(entities: Iterable[str], tree: Tree) -> tuple[str, ...]:
    """Findings and diseases below the first level, whose nodes are chapters and not things to be seen."""
    known = (tree[entity] for entity in entities if entity in tree)
    return tuple(sorted({e.id for e in known if e.root in ("finding", "disease") and e.level >= 2}))


class Knowledge:
    """The tree as synthesis asks it: names, hierarchy and neighbours, with what it was asked before remembered."""

    def __init__(self, tree: Tree, tagger: Tagger):
        self.tree, self.tagger = tree, tagger
        self._spoken: dict[str, str] = {}
        self._above: dict[str, frozenset[str]] = {}

    def name(self, entity: str) -> str:
        """A name that the tagger reads back as this very entity, written as in a sentence; "" where there is none.

        The preferred name first, then English exact synonyms, so that what is written can be checked by reading it."""
        if entity not in self._spoken:
            node = self.tree[entity]
            names = [node.name, *(s.text for s in node.synonyms if s.language == "en" and s.scope == "exact")]
            readable = (n for n in names if n and not is_abbreviation(n) and len(n) <= 60 and self._reads(n, entity))
            self._spoken[entity] = self._in_sentence(next(readable, ""))
        return self._spoken[entity]

    def called(self, entity: str) -> str:
        """The preferred name as it is written in a sentence."""
        return self._in_sentence(self.tree[entity].name)

    def _in_sentence(self, name: str) -> str:
        """ "Rib Fractures" becomes "rib fractures", "Kerley B Lines" "Kerley B lines": how ontologies write capitals
        would tell which of them an option comes from."""
        return _WORD.sub(lambda word: word[0] if word[0] in self._proper else word[0].lower(), name)

    @cached_property
    def _proper(self) -> frozenset[str]:
        """Names of persons and places: capitals of MONDO, which writes hardly another word so, and capitals behind the
        first word of names that have small words."""
        words: Counter[str] = Counter()
        for entity in self.tree:
            named = _ANY_WORD.findall(entity.name)
            if entity.id.startswith("MONDO:"):
                words.update(named)
            elif any(word.islower() and len(word) > 3 for word in named):
                words.update(filter(_WORD.fullmatch, named[1:]))
        return frozenset(w for w, times in words.items() if _WORD.fullmatch(w) and times >= words[w.lower()])

    def _reads(self, name: str, entity: str) -> bool:
        return [found for _, _, found in self.tagger.find(f"There is {name}.")] == [entity]

    def above(self, entity: str) -> frozenset[str]:
        """All ancestors, in the tree and by ``is_a`` or ``is_a_or_part_of`` of any ontology."""
        if entity not in self._above:
            found: set[str] = set()
            todo = [entity]
            while todo:
                here = todo.pop()
                parents = [e.tail for e in self.tree.graph.out.get(here, ()) if e.kind in _UPWARD]
                if self.tree[here].parent:
                    parents.append(self.tree[here].parent)
                for parent in parents:
                    if parent not in found:
                        found.add(parent)
                        todo.append(parent)
            self._above[entity] = frozenset(found - {entity})
        return self._above[entity]

    def related(self, one: str, other: str) -> bool:
        """Whether two entities are the same, or one is a kind of the other."""
        return one == other or one in self.above(other) or other in self.above(one)

    @cached_property
    def places(self) -> dict[str, list[str]]:
        """``located_in`` by finding or disease, farthest from the root first."""
        found: dict[str, list[str]] = {}
        for head, edges in self.tree.graph.out.items():
            there = {edge.tail for edge in edges if edge.kind == "located_in"}
            if there:
                found[head] = sorted(there, key=lambda e: (-self.tree[e].level, e))
        return found


_UPWARD = ("is_a", "is_a_or_part_of")
_ANY_WORD = re.compile(r"[^\W\d_]+")
_WORD = re.compile(r"(?<![^\W_])[A-Z][a-z]+(?![^\W_])")  # one capital, then small letters: no abbreviation
