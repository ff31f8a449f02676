"""Text to entities: every name of the tree, found in any spelling that ``names`` evens out, the longest first.

Words are looked up once and become one number each, so that a trie over those numbers (``trie.py``; leftmost-longest)
sees word boundaries for free and never a name inside a word. Abbreviations
are looked for as they are written and must be explained by the text they stand in; see ``Abbreviations``.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import numpy as np

from med_entity_tree.coding import ENDS, FIRST, SEPARATOR, TOKEN, WordCoder
from med_entity_tree.entity import Entity
from med_entity_tree.merge import is_abbreviation, rank
from med_entity_tree.names import normal_word
from med_entity_tree.scope import Assertion, assert_spans
from med_entity_tree.tagger_store import STORED, Compiled, load, stamp_of, store
from med_entity_tree.tree import ENTITIES, Tree
from med_entity_tree.trie import PhraseTrie

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Mention:
    """``entity`` is named at ``text[start:end]``; ``assertion`` says whether the text says that it is there."""

    entity: str
    start: int
    end: int
    assertion: Assertion


@dataclass(slots=True)
class Patterns:
    """What is looked for: names in normal words with their entity ("" for a phrase that is read over), abbreviations
    with their candidates."""

    names: dict[tuple[str, ...], str] = field(default_factory=dict)
    abbreviations: dict[str, list[str]] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)


_SCOPE = {"exact": 1, "narrow": 2}


def patterns_of(entities: Iterable[Entity]) -> Patterns:
    """The names of a tree. A name of several entities goes to the one that prefers it, else to the most trusted."""
    stop = _phrases("too_common.tsv")
    best: dict[tuple[str, ...], tuple[int, tuple[int, str], str]] = {}
    short: dict[str, dict[str, None]] = defaultdict(dict)
    made = Patterns()
    for entity in entities:
        if entity.level == 0:
            continue
        names = [(entity.name, 0), *((s.text, _SCOPE[s.scope]) for s in entity.synonyms if s.scope in _SCOPE)]
        for text, order in names:
            forms = TOKEN.findall(text)
            key = tuple(normal_word(form) for form in forms if form[0] not in ENDS)
            if len(forms) == 1 and order and is_abbreviation(text):
                short[text][entity.id] = None
                continue
            if (
                not key
                or len("".join(key)) < 2
                or key in stop
                or (len(key) == 1 and len(key[0]) < 3 and key[0].isascii())
            ):
                made.dropped["name too short or too common to look for"] += 1
                continue
            offer = order, rank(entity.id.partition(":")[0]), entity.id
            if key in best:
                made.dropped["name of several entities: left to one of them"] += 1
            best[key] = min(best.get(key, offer), offer)
    named = {key: offer[2] for key, offer in best.items()} | dict.fromkeys(_phrases("read_over.tsv"), "")
    made.names = dict(sorted(named.items()))
    made.abbreviations = {text: list(candidates) for text, candidates in sorted(short.items())}
    return made


def _phrases(file: str) -> set[tuple[str, ...]]:
    rows = (files("med_entity_tree") / file).read_text("utf-8").splitlines()
    return {tuple(normal_word(w) for w in row.split()) for row in rows if row and not row.startswith("#")}


def compile_patterns(patterns: Patterns) -> Compiled:
    """Patterns in the form that is searched with. The same patterns give the same."""
    words = sorted({word for key in patterns.names for word in key})
    plain = {word: FIRST + number for number, word in enumerate(words)}
    short = {text: FIRST + len(words) + n for n, text in enumerate(patterns.abbreviations)}
    phrases: list[tuple[int, ...]] = []
    entity_of: list[int] = []
    ids: dict[str, int] = {}
    for key, entity in patterns.names.items():
        spellings = _spellings(key, plain, short)
        phrases += spellings
        entity_of += [ids.setdefault(entity, len(ids)) if entity else -1] * len(spellings)
    phrases += [(number,) for number in short.values()]
    trie = PhraseTrie(phrases, FIRST + len(plain) + len(short))
    return Compiled(words, list(patterns.abbreviations.items()), list(ids), np.array(entity_of, np.int32), trie)


def _spellings(key: tuple[str, ...], plain: Mapping[str, int], short: Mapping[str, int]) -> list[tuple[int, ...]]:
    """A name in numbers: its words, and again with those that may be written as an abbreviation (CT scan)."""
    words = tuple(plain[word] for word in key)
    shortened = tuple(short.get(word.upper(), plain[word]) for word in key)
    return list(dict.fromkeys([words, shortened])) if len(key) > 1 else [words]


class Tagger:
    """Finds entities in text. Building it takes seconds; finding needs less than 0.1 microseconds a word in batches."""

    def __init__(self, patterns: Patterns | Compiled):
        made = patterns if isinstance(patterns, Compiled) else compile_patterns(patterns)
        behind = FIRST + len(made.words)
        self._words = {word: number for number, word in enumerate(made.words, FIRST)}
        self._coder = WordCoder(self._words, {text: number for number, (text, _) in enumerate(made.short, behind)})
        self._ids, self._entity_of, self._abbreviations, self._trie = made.ids, made.entity_of, made.short, made.trie
        self._plain = len(made.entity_of)

    @classmethod
    def of(cls, entities: Iterable[Entity]) -> "Tagger":
        return cls(patterns_of(entities))

    @classmethod
    def of_folder(cls, folder: Path) -> "Tagger":
        """``Tagger.of(Tree(folder))`` without reading the tree, where an earlier call has left its outcome in the
        folder (``tagger_store.py``).

        Raises OntologyError: the folder holds no tree."""
        entities, stored = folder / ENTITIES, folder / STORED
        stamp = stamp_of(entities) if entities.is_file() else b""
        made = load(stored, stamp)
        if made is None:
            made = compile_patterns(patterns_of(Tree(folder)))
            if stamp_of(entities) == stamp:  # else the tree was replaced while it was read
                store(made, stored, stamp)
        return cls(made)

    def find(self, text: str) -> list[tuple[int, int, str]]:
        """Entities as ``(start, end, entity)`` in characters of the text, in order and without overlap."""
        return self.find_many([text])[0]

    def find_many(self, texts: Sequence[str]) -> list[list[tuple[int, int, str]]]:
        """The same for several texts at once: some hundred at a time are fastest."""
        texts = [text.replace(SEPARATOR, " ") if SEPARATOR in text else text for text in texts]
        codes, starts, ends = self._coder(SEPARATOR.join(texts))
        first, behind, number = self._trie.find(codes)
        if not len(first):
            return [[] for _ in texts]
        begin = np.cumsum([0, *(len(text) + 1 for text in texts[:-1])])
        start, end = starts[first], ends[behind - 1]
        text_of = np.searchsorted(begin, start, "right") - 1
        start, end = start - begin[text_of], end - begin[text_of]
        plain = number < self._plain
        entity = self._entity_of[number[plain]]
        named = np.flatnonzero(plain)[entity >= 0]
        names = [self._ids[n] for n in entity[entity >= 0].tolist()]
        rows = list(zip(start[named].tolist(), end[named].tolist(), names, strict=True))
        edges = np.searchsorted(text_of[named], np.arange(len(texts) + 1)).tolist()
        found = [rows[a:b] for a, b in pairwise(edges)]
        unclear: dict[int, list[tuple[int, int, str, list[str]]]] = defaultdict(list)
        for n in np.flatnonzero(~plain).tolist():
            short = self._abbreviations[int(number[n]) - self._plain]
            unclear[int(text_of[n])].append((int(start[n]), int(end[n]), *short))
        for text, short in unclear.items():
            found[text] += self._resolve(texts[text], short, {entity for *_, entity in found[text]})
            found[text].sort()
        return found

    def _resolve(
        self, text: str, unclear: Sequence[tuple[int, int, str, list[str]]], named: set[str]
    ) -> Iterator[tuple[int, int, str]]:
        """An abbreviation stands for the candidate that the text names in full, or for its only candidate when it is of
        three letters and more, is no English word and the text is not all in capitals."""
        shouting = sum(map(str.isupper, text)) > 0.6 * sum(map(str.isalpha, text))
        for start, end, short, candidates in unclear:
            explained = [candidate for candidate in candidates if candidate in named]
            if len(explained) == 1:
                yield start, end, explained[0]
            elif len(candidates) == 1 and len(short) >= 3 and not (shouting and short.lower() in self._words):
                yield start, end, candidates[0]

    def tag(self, text: str) -> list[Mention]:
        """Mentions with their assertions: "no pneumothorax" is a mention that does not count."""
        return self.tag_many([text])[0]

    def tag_many(self, texts: Sequence[str]) -> list[list[Mention]]:
        """The same for several texts at once."""
        made = []
        for text, found in zip(texts, self.find_many(texts), strict=True):
            assertions = assert_spans(text, [(start, end) for start, end, _ in found]) if found else []
            made.append([Mention(e, a, b, said) for (a, b, e), said in zip(found, assertions, strict=True)])
        return made

    def present(self, text: str) -> list[str]:
        """Ids of the entities that a text says are there, each once, in order of first mention."""
        return list(dict.fromkeys(mention.entity for mention in self.tag(text) if mention.assertion.present))
