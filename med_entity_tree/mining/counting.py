"""Names counted over a corpus: by normal form, exactly, in bounded memory.

Parts are read in passes over ranges of hash buckets, as many as keep a pass below ``ROWS`` mentions, so that what is in
memory does not grow with the corpus but for the names that are kept.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from med_entity_tree.mining.extraction import kinds_agree
from med_entity_tree.mining.parts import BUCKETS, Parts, mentions_of

ROWS = 4_000_000
EXAMPLES = 5  # passages that evidence names


@dataclass(slots=True)
class Candidate:
    """All mentions of one normal form. ``mentions`` counts passages, ``whole`` those that name it by itself."""

    key: str
    mentions: int = 0
    whole: int = 0
    documents: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    forms: Counter[str] = field(default_factory=Counter)
    shorts: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The form that text uses most, as it stands within a sentence."""
        return min(self.forms, key=lambda form: (-self.forms[form], form))

    @property
    def kind(self) -> str:
        return min(self.kinds, key=lambda kind: (-self.kinds[kind], kind))

    @property
    def kind_share(self) -> float:
        """Share of the mentions that agree with the leading kind; diseases and findings do not contradict."""
        return sum(n for kind, n in self.kinds.items() if kinds_agree(kind, self.kind)) / self.kinds.total()

    def add(self, other: "Candidate") -> None:
        """Take over another candidate of the same meaning. A document that names both counts twice."""
        self.mentions += other.mentions
        self.whole += other.whole
        self.documents += other.documents
        self.kinds.update(other.kinds)
        self.forms.update(other.forms)
        self.shorts.update(other.shorts)
        self.examples = (self.examples + other.examples)[:EXAMPLES]


def count(parts: Parts, least: int, dropped: Counter[str]) -> list[Candidate]:
    """Candidates seen in at least ``least`` passages, in the order of their keys; the others are counted."""
    passes = max(1, -(-parts.mentions // ROWS))
    size = -(-BUCKETS // min(passes, BUCKETS))
    kept: list[Candidate] = []
    for start in range(0, BUCKETS, size):
        for candidate in _gather(parts, range(start, min(start + size, BUCKETS))):
            if candidate.mentions >= least:
                kept.append(candidate)
            else:
                dropped[f"name seen fewer than {least} times, before merging"] += 1
    return sorted(kept, key=lambda candidate: candidate.key)


def _gather(parts: Parts, buckets: range) -> Iterator[Candidate]:
    made: dict[str, Candidate] = {}
    last: dict[str, str] = {}
    for key, mention in mentions_of(parts.paths, buckets):
        candidate = made.setdefault(key, Candidate(key))
        candidate.kinds[mention.kind] += 1
        candidate.forms[in_sentence(mention.name)] += 1
        if mention.short:
            candidate.shorts[mention.short] += 1
        if last.get(key) != mention.passage:
            if last.get(key, "").rpartition("#")[0] != mention.document:
                candidate.documents += 1
            last[key] = mention.passage
            candidate.mentions += 1
            candidate.whole += mention.whole
            if len(candidate.examples) < EXAMPLES:
                candidate.examples.append(mention.passage)
    yield from made.values()


def in_sentence(name: str) -> str:
    """A name without the capital that begins a sentence, in one line; "CT chest" keeps its own.

    >>> in_sentence("Calcified  granuloma"), in_sentence("PICC line")
    ('calcified granuloma', 'PICC line')
    """
    name = " ".join(name.split())
    first, _, _ = name.partition(" ")
    return name[0].lower() + name[1:] if first[1:].islower() else name
