"""Wrong options that are wrong by the graph and that nothing but the chain tells from the right one.

Distractors are ends of other walks over the same last hop, ends that became no answer; each is used once. So an entity
is a distractor as often as its chance to be an answer says, and being an option says nothing about being right.
They come from the smallest branch of the tree around the answer that holds enough of them (siblings, then cousins, then
further), and any two options part at that same branch: none is closer to the others. How many are longer than the
answer, and how many have more edges, is drawn evenly: the right option is the longest, or the best known, as often as
it is second, third or last.
"""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from med_entity_tree.entity import Entity
from med_entity_tree.questions.askable import display_name, name_keys, stems
from med_entity_tree.questions.hops import Chain, Facts, Hop
from med_entity_tree.questions.pose import option_name

_ENOUGH = 6  # candidates that a branch must hold
_LOOKED_AT = 150  # candidates of a wide branch that are looked at
_DRAWS = 3  # draws of how many are longer, and how many have more edges
_LENGTH = 1.8  # longest and shortest option, as ratios to the answer
_WORDS = 3  # most words more or less than the answer
_DEGREE = 2.0  # most doublings of the number of edges between the answer and a distractor


@dataclass(frozen=True, slots=True)
class Distractors:
    """Entities of the wrong options, and how far the branch that they come from reaches: 1 is the answer's siblings."""

    entities: tuple[str, ...]
    distance: int


@dataclass(frozen=True, slots=True)
class _Look:
    """What a name looks like, and how well the entity is known."""

    shown: str
    letters: int
    words: int
    doublings: float  # log2 of its edges
    stems: frozenset[str]
    keys: frozenset[str]


class DistractorPicker:
    """``pool`` are last hops with their ends, from walks that made no question (``PathSampler.spare``)."""

    def __init__(self, entities: Mapping[str, Entity], facts: Facts, pool: Iterable[tuple[Hop, str]], wrong: int = 3):
        self.entities, self.facts, self.count = entities, facts, wrong
        self.refused: Counter[str] = Counter()
        self._ends: list[str] = []
        self._looks: dict[str, _Look] = {}
        self._free: list[bool] = []
        self._branches: dict[tuple, list[int]] = defaultdict(list)  # (role, branch): numbers of ends
        for number, (hop, entity) in enumerate(pool):
            self._ends.append(entity)
            self._free.append(True)
            for place in self._places(entity):
                self._branches[self._role(hop, entity), place].append(number)

    def _role(self, hop: Hop, entity: str) -> tuple[str, bool, str]:
        return hop.kind, hop.forward, self.entities[entity].root

    def _places(self, entity: str) -> list[str]:
        """Parent first, root last."""
        found = []
        while entity := self.entities[entity].parent:
            found.append(entity)
        return found

    def pick(self, chain: Chain, rng: random.Random) -> Distractors | None:
        """Distractors of one chain; None, with the reason counted in ``refused``, where the pool has too few."""
        allowed, seen = self._allowed(chain), {}
        for _ in range(_DRAWS):
            longer = _marks(rng.randint(0, self.count), self.count, rng)
            better_known = _marks(rng.randint(0, self.count), self.count, rng)
            found = self._search(chain, list(zip(longer, better_known)), allowed, seen, rng)
            if found is not None:
                return found
        self.refused["no distractors of the wanted lengths and degrees"] += 1
        return None

    def _search(
        self,
        chain: Chain,
        cells: Sequence[tuple[bool, bool]],
        allowed: Callable[[str], bool],
        seen: dict[str, bool],
        rng: random.Random,
    ) -> Distractors | None:
        """From the smallest branch around the answer to the whole root; ``seen`` keeps what was judged."""
        role = self._role(chain.hops[-1], chain.answer)
        line = [chain.answer, *self._places(chain.answer)]
        for distance, place in enumerate(line[1:], start=1):
            numbers = self._branches[role, place]
            if len(numbers) > _LOOKED_AT:
                numbers = rng.sample(numbers, _LOOKED_AT)
            numbers = [number for number in numbers if self._free[number]]
            for number in numbers:
                if (entity := self._ends[number]) not in seen:
                    seen[entity] = allowed(entity)
            fit = [number for number in numbers if seen[self._ends[number]]]
            if len(fit) >= _ENOUGH and (chosen := self._fill(chain, fit, place, cells, rng)) is not None:
                for number in chosen:
                    self._free[number] = False
                return Distractors(tuple(self._ends[number] for number in chosen), distance)
        return None

    def _twig(self, entity: str, place: str) -> str:
        """The child of ``place`` that the entity is or stands below."""
        while self.entities[entity].parent != place:
            entity = self.entities[entity].parent
        return entity

    def _allowed(self, chain: Chain) -> Callable[[str], bool]:
        wrong = self.facts.judge(chain)
        answer, spelled = self._look(chain.answer), self._look(chain.start).stems
        right_names = frozenset().union(*(self._look(e).keys for e in chain.right))

        def allowed(entity: str) -> bool:
            look = self._look(entity)
            return (
                answer.letters / _LENGTH <= look.letters <= answer.letters * _LENGTH
                and abs(look.words - answer.words) <= _WORDS
                and abs(look.doublings - answer.doublings) <= _DEGREE
                and look.stems.isdisjoint(spelled)
                and right_names.isdisjoint(look.keys)
                and wrong(entity)
            )

        return allowed

    def _look(self, identity: str) -> _Look:
        if identity not in self._looks:
            entity = self.entities[identity]
            name = display_name(entity)
            self._looks[identity] = _Look(
                option_name(entity).casefold(),
                len(name),
                len(name.split()),
                math.log2(1 + self.facts.degree[identity]),
                stems([name]),
                name_keys(entity),
            )
        return self._looks[identity]

    def _fill(
        self, chain: Chain, fit: Sequence[int], place: str, cells: Sequence[tuple[bool, bool]], rng: random.Random
    ) -> list[int] | None:
        """One end a cell (longer or not, better known or not), each from another twig of the branch."""
        answer = self._look(chain.answer)
        names, shown, twigs = answer.keys, {answer.shown}, {self._twig(chain.answer, place)}
        chosen: list[int] = []
        for cell in cells:
            numbers = []
            for number in fit:
                look = self._look(self._ends[number])
                letters, doublings = look.letters - answer.letters, look.doublings - answer.doublings
                if not letters or not doublings or (letters > 0, doublings > 0) != cell:
                    continue
                if names.isdisjoint(look.keys) and self._twig(self._ends[number], place) not in twigs:
                    numbers.append(number)
            if not numbers:
                return None
            number = rng.choice(numbers)
            chosen.append(number)
            look = self._look(self._ends[number])
            names |= look.keys
            shown.add(look.shown)
            twigs.add(self._twig(self._ends[number], place))
        return chosen if len(shown) == self.count + 1 else None


def _marks(true: int, count: int, rng: random.Random) -> list[bool]:
    marks = [place < true for place in range(count)]
    rng.shuffle(marks)
    return marks
