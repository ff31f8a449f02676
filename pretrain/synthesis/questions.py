"""Questions about a study under the tree's constraints: siblings as distractors, parents as coarser questions,
neighbours of the graph as one hop more.

A distractor is never what the study states, doubts, or could mean: not an ancestor or descendant of any such entity,
and on a hop not a neighbour of any. Which distractors a question gets is drawn so that over the set every option is the
answer as often as chance would have it, and the answer is neither the longest nor the shortest more often: what is left
to a guesser is then measured, not hoped for (``blind.py``).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

from pretrain.shards.ordering import derive
from pretrain.synthesis.facts import Knowledge, StudyFacts

Kind = Literal["parent", "sibling", "disease hop", "anatomy hop"]
KINDS: tuple[Kind, ...] = ("parent", "sibling", "disease hop", "anatomy hop")
LETTERS = "ABCDEFGH"

_ASKED: dict[Kind, str] = {
    "parent": "To which of these groups does an abnormality of this study belong?",
    "sibling": "Which of these does this study show?",
    "disease hop": "An abnormality of this study is a known finding of which of these diseases?",
    "anatomy hop": "In which of these structures does an abnormality of this study lie?",
}


@dataclass(frozen=True)
class Question:
    """One question with options; ``answer`` is the index of the right one.

    Attributes:
        id: unique; key: of the study; group: for cross-fitting.
        entity: the finding that it is about; options, names: entities and their names, in the order of the options.
        evidence: what makes the answer right, as (head, kind, tail, source).
        denied: distractors that the report denies; the others it does not mention.
        siblings: distractors that are siblings of the answer; the others are answers of other questions.
    """

    id: str
    key: str
    group: str
    kind: Kind
    entity: str
    options: tuple[str, ...]
    names: tuple[str, ...]
    answer: int
    evidence: tuple[str, str, str, str]
    denied: int = 0
    siblings: int = 0

    @property
    def asked(self) -> str:
        return _ASKED[self.kind]

    def text(self, order: Sequence[int] | None = None) -> str:
        """The question with lettered options, in another ``order`` if given."""
        order = range(len(self.names)) if order is None else order
        return "\n".join([self.asked, *(f"{LETTERS[i]}. {self.names[n]}" for i, n in enumerate(order))])


@dataclass(frozen=True)
class Draft:
    """A question whose distractors are still to be drawn: ``siblings`` of the answer, else answers of other questions.

    A distractor must be no kind of any of ``possible``, nor the other way round; ``innocent`` is what else it must be.
    """

    facts: StudyFacts
    kind: Kind
    entity: str
    answer: str
    siblings: tuple[str, ...]
    evidence: tuple[str, str, str, str]
    possible: tuple[str, ...]
    innocent: Callable[[str], bool] = lambda entity: True

    def allows(self, entity: str, known: Knowledge) -> bool:
        return not any(known.related(entity, other) for other in self.possible) and self.innocent(entity)


@dataclass
class Made:
    """Questions, and drafts that could not become one, by reason."""

    questions: list[Question] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)


def make_questions(
    studies: Iterable[StudyFacts],
    known: Knowledge,
    *,
    kinds: Sequence[Kind] = KINDS,
    options: int = 4,
    most: int = 4,
    seed: int = 0,
) -> Made:
    """Questions about all studies, at most ``most`` a study, spread over the kinds.

    Args:
        options: of a question, the right one included.
        seed: of every draw.
    """
    made = Made()
    drafts: list[Draft] = []
    for facts in studies:
        found = list(_drafts(facts, known, kinds, made.dropped))
        found.sort(key=lambda d: derive("draft", seed, facts.key, d.kind, d.entity, d.answer))
        drafts += islice(_one_kind_after_another(found, kinds), most)
    drafts.sort(key=lambda d: derive("order", seed, d.facts.key, d.kind, d.entity, d.answer))
    answers: dict[Kind, Counter[str]] = {kind: Counter(d.answer for d in drafts if d.kind == kind) for kind in kinds}
    balance = {kind: _Balance(options, answers[kind]) for kind in kinds}
    for draft in drafts:
        question = _finish(draft, known, options, balance[draft.kind], seed)
        if question is None:
            made.dropped[f"{draft.kind}: fewer than {options - 1} distractors that can be told apart"] += 1
        else:
            made.questions.append(question)
    made.questions.sort(key=lambda q: (q.key, KINDS.index(q.kind), q.id))
    return made


def _one_kind_after_another(drafts: Sequence[Draft], kinds: Sequence[Kind]) -> Iterator[Draft]:
    by_kind = {kind: [d for d in drafts if d.kind == kind] for kind in kinds}
    for turn in range(max((len(found) for found in by_kind.values()), default=0)):
        for kind in kinds:
            if turn < len(by_kind[kind]):
                yield by_kind[kind][turn]


def _drafts(facts: StudyFacts, known: Knowledge, kinds: Sequence[Kind], dropped: Counter[str]) -> Iterator[Draft]:
    """What can be asked of a study."""
    tree, possible = known.tree, (*facts.present, *facts.uncertain)
    for entity in facts.present:
        if not known.name(entity):
            dropped["finding without a name that can be read back"] += 1
            continue
        if "sibling" in kinds:
            said = (entity, "stated by", facts.key, "study")
            yield Draft(facts, "sibling", entity, entity, _siblings(entity, known), said, possible)
        parent = tree[entity].parent
        if "parent" in kinds and parent and tree[parent].level >= 2:
            below = (entity, "below", parent, "tree")
            yield Draft(facts, "parent", entity, parent, _siblings(parent, known), below, possible)
        if "disease hop" in kinds:
            yield from _disease_hops(facts, entity, known)
        if "anatomy hop" in kinds:
            yield from _anatomy_hops(facts, entity, known)


def _siblings(entity: str, known: Knowledge) -> tuple[str, ...]:
    return tuple(sorted(e.id for e in known.tree.siblings(entity))[:80])


OFTEN = 0.3  # share of a disease's patients who have a finding, from which it is asked for


def _disease_hops(facts: StudyFacts, entity: str, known: Knowledge) -> Iterator[Draft]:
    """Disease has finding: the answer is a disease of the finding, distractors have none of the study's findings."""
    tree, possible = known.tree, (*facts.present, *facts.uncertain)
    stated = {*possible, *facts.negated}
    edges = [e for e in tree.graph.into.get(entity, ()) if e.kind == "has_finding" and e.head not in stated]
    edges = [e for e in edges if tree[e.head].root == "disease" and _option_name(e.head, known)]
    edges = [e for e in edges if e.frequency >= OFTEN] or edges
    if not edges:
        return
    edge = min(edges, key=lambda e: (derive("disease", facts.key, entity, e.head), e.source))

    def innocent(disease: str) -> bool:
        has = {e.tail for e in tree.graph.out.get(disease, ()) if e.kind == "has_finding"}
        return bool(has) and not any(known.related(finding, own) for finding in has for own in possible)

    said = (edge.head, edge.kind, edge.tail, edge.source)
    near = _siblings(edge.head, known)
    yield Draft(facts, "disease hop", entity, edge.head, near, said, (*possible, edge.head), innocent)


def _anatomy_hops(facts: StudyFacts, entity: str, known: Knowledge) -> Iterator[Draft]:
    """Located in: the answer is the place, distractors are places of none of the study's findings."""
    for place in known.places.get(entity, ())[:1]:
        stated = (*facts.present, *facts.uncertain)
        occupied = {there for own in stated for there in known.places.get(own, ())} | {place}
        said = (entity, "located_in", place, "graph")
        yield Draft(facts, "anatomy hop", entity, place, _siblings(place, known), said, tuple(sorted(occupied)))


class _Balance:
    """What the questions of one kind have used so far: positions, lengths, and each entity as answer or distractor."""

    def __init__(self, options: int, answers: Counter[str]):
        self.options, self.answers = options, answers
        self.positions = [0] * options
        self.as_distractor: Counter[str] = Counter()
        self.longest = self.shortest = self.questions = 0

    def due(self, entity: str) -> int:
        """How often an entity should still be a distractor: n answers want n (options - 1) of them."""
        return self.answers[entity] * (self.options - 1) - self.as_distractor[entity]

    def cost(self, distractors: Sequence[str], names: Sequence[str]) -> float:
        """Lower is better: distractors that are due, and lengths (the answer's first) that give nothing away."""
        due = sum(max(-4.0, min(4.0, self.due(entity))) for entity in distractors)
        lengths = [len(name) for name in names]
        longest, shortest = lengths[0] >= max(lengths[1:]), lengths[0] <= min(lengths[1:])
        expected = self.questions / self.options
        return (self.longest - expected) * longest + (self.shortest - expected) * shortest - due

    def use(self, distractors: Sequence[str], names: Sequence[str]) -> int:
        """Count a question in and give the position of its answer: the one that was used least."""
        lengths = [len(name) for name in names]
        self.as_distractor.update(distractors)
        self.questions += 1
        self.longest += lengths[0] >= max(lengths[1:])
        self.shortest += lengths[0] <= min(lengths[1:])
        position = min(range(self.options), key=lambda i: (self.positions[i], i))
        self.positions[position] += 1
        return position


_TRIES = 24  # sets of distractors that are drawn, of which the best balanced is taken
_POOL = 60  # candidates that are looked at


def _finish(draft: Draft, known: Knowledge, options: int, balance: _Balance, seed: int) -> Question | None:
    """Candidates are siblings that are answers of other questions, then other answers that are due, then any sibling:
    an option that is never right anywhere gives itself away."""
    due = sorted(balance.answers, key=lambda e: (-balance.due(e), derive("pool", seed, draft.facts.key, e)))
    asked = [e for e in draft.siblings if e in balance.answers]
    named = {draft.answer: _option_name(draft.answer, known)}
    for entity in dict.fromkeys([*asked, *due, *draft.siblings]):
        name = _option_name(entity, known)
        if len(named) > _POOL:
            break
        if name and name.lower() not in {n.lower() for n in named.values()} and draft.allows(entity, known):
            named[entity] = name
    pool = [entity for entity in named if entity != draft.answer]
    if len(pool) < options - 1 or not named[draft.answer]:
        return None
    best: tuple[float, list[str]] | None = None
    for attempt in range(_TRIES):
        chosen = _draw(draft, known, pool, options - 1, attempt, balance, seed)
        if len(chosen) < options - 1:
            continue
        cost = balance.cost(chosen, [named[e] for e in (draft.answer, *chosen)])
        if best is None or cost < best[0]:
            best = cost, chosen
    if best is None:
        return None
    distractors = best[1]
    position = balance.use(distractors, [named[e] for e in (draft.answer, *distractors)])
    order = [*distractors[:position], draft.answer, *distractors[position:]]
    denied = sum(any(known.related(d, entity) for entity in draft.facts.negated) for d in distractors)
    identity = f"{draft.facts.key}:{draft.kind}:{draft.entity}:{draft.answer}"
    return Question(
        identity, draft.facts.key, draft.facts.group, draft.kind, draft.entity, tuple(order),
        tuple(named[e] for e in order), position, draft.evidence, denied, len({*distractors} & {*draft.siblings}),
    )  # fmt: skip


def _draw(
    draft: Draft, known: Knowledge, pool: Sequence[str], count: int, attempt: int, balance: _Balance, seed: int
) -> list[str]:
    """Unrelated distractors: those that are still due as one, in the first attempt; then more and more by chance."""

    siblings = set(draft.siblings)

    def rank(entity: str) -> tuple[float, int]:
        chance = derive("distractor", seed, attempt, draft.facts.key, draft.kind, draft.entity, entity)
        due = balance.due(entity)
        wanted = due if attempt % 3 == 0 else min(due, 1)
        return -(wanted + (entity in siblings and due > 0)), chance

    chosen: list[str] = []
    for entity in sorted(pool, key=rank):
        if len(chosen) < count and not any(known.related(entity, other) for other in chosen):
            chosen.append(entity)
    return chosen


def _option_name(entity: str, known: Knowledge) -> str:
    called = known.called(entity)
    return known.name(entity) or (called if len(called) <= 60 else "")
