"""The trigger phrases of assertion scope, compiled into one automaton over tokens.

The tables in ``scope_rules`` state phrases with options and alternatives. Written out they would be millions, so each
row becomes a path in a nondeterministic automaton and the states that texts really reach are made deterministic as they
are met: after a few hundred sentences a token costs one dictionary look-up.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from med_entity_tree.scope_text import table_rows
from vlm.errors import MedVLMError

# A Chinese character; a word with what hyphens, slashes and apostrophes join to it; or one other character.
TOKEN = re.compile(r"[㐀-䶿一-鿿豈-﫿]|[^\W_㐀-䶿一-鿿豈-﫿]+(?:[-/'’][^\W_㐀-䶿一-鿿豈-﫿]+)*|[^\s]")

ANY_WORD, YEAR, NUMBER, MASKED, OTHER = "#word", "#year", "#", "#masked", "#other"
AXES = {
    "negated": "polarity",
    "uncertain": "polarity",
    "historical": "time",
    "hypothetical": "time",
    "family": "subject",
    "other": "subject",
}
_DIRECTIONS = ("forward", "backward", "both", "auto", "-")
_REACHES = ("list", "chain", "near", "sentence", "-")
_CONDITIONS = ("#end", "#pause")
_SAME = str.maketrans("（）：？’－—–−［］", "():?'----[]")


class ScopeRuleError(MedVLMError):
    """A row of a trigger table that cannot be read."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """One row. ``actions`` are values of ``AXES``; ``stops`` are the actions whose scope the phrase ends.

    ``condition`` is what must follow: ``#end`` nothing but closing marks, ``#pause`` the end of a clause."""

    actions: tuple[str, ...]
    stops: frozenset[str]
    direction: str
    reach: str
    strong: bool
    condition: str
    row: int


@dataclass(slots=True)
class _State:
    """A deterministic state: ``accepts`` are triggers that end here, ``marks`` rows that reach their ``>>`` here."""

    members: frozenset[int]
    accepts: tuple[Trigger, ...]
    marks: tuple[int, ...]
    following: dict[str, "_State | None"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Match:
    """Tokens ``start`` to ``end`` are a phrase of each of ``triggers``."""

    start: int
    end: int
    triggers: tuple[Trigger, ...]


def normal_token(token: str) -> str:
    """A token as the tables write it: lower case, ASCII brackets and dashes."""
    return token.translate(_SAME).lower()


class Automaton:
    """Finds the longest phrases, from left to right and without overlap."""

    def __init__(self, rows: Sequence[Sequence[str]], classes: dict[str, frozenset[str]]) -> None:
        self.classes = classes
        self._edges: list[dict[str, list[int]]] = [{}]  # of state 0, the start, and of each further state
        self._silent: dict[int, list[int]] = {}
        self._accepts: dict[int, Trigger] = {}
        self._marks: dict[int, int] = {}  # state to row
        self._states: dict[frozenset[int], _State] = {}
        for number, row in enumerate(rows):
            self._add(number, row)
        self._known = {token for edges in self._edges for token in edges}
        self._start = self._state(self._closure([0]))

    def find(self, tokens: Sequence[str]) -> list[Match]:
        """Matches in normal tokens. A match's length is its longest phrase's, without the context after ``>>``."""
        matches = []
        at, count = 0, len(tokens)
        known = self._known
        keys = [token if token in known else _kind(token) for token in tokens]
        first = self._start.following
        while at < count:
            key = keys[at]
            state = first[key] if key in first else self._step(self._start, key)
            if state is None:
                at += 1
                continue
            match = self._longest(tokens, keys, at, state)
            if match is None:
                at += 1
            else:
                matches.append(match)
                at = match.end
        return matches

    def _longest(self, tokens: Sequence[str], keys: Sequence[str], at: int, state: "_State | None") -> Match | None:
        best: Match | None = None
        marks: dict[int, int] = {}
        here = at + 1
        while state is not None:
            for row in state.marks:
                marks[row] = here
            if state.accepts:
                triggers = tuple(t for t in state.accepts if self._holds(t.condition, tokens, here))
                if triggers:
                    # A condition is context too: of two phrases of one length the one that asks for more is meant.
                    asking = tuple(t for t in triggers if t.condition)
                    triggers = asking or triggers
                    best = Match(at, marks.get(triggers[0].row, here), triggers)
            if here == len(tokens):
                break
            key = keys[here]
            state = state.following[key] if key in state.following else self._step(state, key)
            here += 1
        return best

    def _holds(self, condition: str, tokens: Sequence[str], at: int) -> bool:
        if not condition:
            return True
        if condition == "#pause":
            return self.pauses(tokens, at)
        return all(tokens[later] in _CLOSING for later in range(at, len(tokens)))

    def pauses(self, tokens: Sequence[str], at: int) -> bool:
        """Whether a clause may end before token ``at``: the text ends, or a mark, a conjunction or a place follows."""
        if at >= len(tokens):
            return True
        token = tokens[at]
        return token in _PAUSES or token in self.classes["place"] or token in self.classes["conjunction"]

    def _add(self, number: int, row: Sequence[str]) -> None:
        if len(row) != 4:
            raise ScopeRuleError(
                f"scope_rules: a row has {len(row)} columns instead of 4: {row!r}. Part them with tabs."
            )
        actions, direction, reach, phrase = row
        where = f"scope_rules: {phrase!r}"
        phrase, _, context = (part.strip() for part in phrase.partition(">>"))
        condition = context if context in _CONDITIONS else ""
        end = self._path(0, phrase, where)
        if context and not condition:
            self._marks[end] = number
            end = self._path(end, context, where)
        self._accepts[end] = _trigger(actions, direction, reach, condition, number, where)

    def _path(self, start: int, phrase: str, where: str) -> int:
        """Adds states for a phrase from ``start``; returns the last, new one."""
        for element in phrase.split():
            optional = element.startswith("[") and element.endswith("]")
            element = element[1:-1] if optional else element
            end = self._new()
            for choice in self._choices(element, where):
                state = start
                for token in choice[:-1]:
                    state = self._edge(state, token, self._new())
                self._edge(state, choice[-1], end)
            if optional:
                self._silent.setdefault(start, []).append(end)
            start = end
        return start

    def _choices(self, element: str, where: str) -> list[list[str]]:
        element = element[1:-1] if len(element) > 2 and element[0] == "(" and element[-1] == ")" else element
        choices = []
        for choice in element.split("|"):
            if len(choice) > 2 and choice[0] == "<" and choice[-1] == ">":
                if choice[1:-1] not in self.classes:
                    raise ScopeRuleError(f"{where} names the class {choice}, which words.tsv does not have.")
                choices += [_phrase_tokens(word) for word in sorted(self.classes[choice[1:-1]])]
            else:
                choices.append(_phrase_tokens(choice))
        if not all(choices):
            raise ScopeRuleError(f"{where} has an empty alternative. Write an optional part in square brackets.")
        return choices

    def _new(self) -> int:
        self._edges.append({})
        return len(self._edges) - 1

    def _edge(self, state: int, token: str, target: int) -> int:
        self._edges[state].setdefault(token, []).append(target)
        return target

    def _closure(self, states: Sequence[int]) -> frozenset[int]:
        reached, waiting = set(states), list(states)
        while waiting:
            for target in self._silent.get(waiting.pop(), ()):
                if target not in reached:
                    reached.add(target)
                    waiting.append(target)
        return frozenset(reached)

    def _state(self, members: frozenset[int]) -> _State:
        state = self._states.get(members)
        if state is None:
            accepts = sorted((self._accepts[m] for m in members if m in self._accepts), key=lambda t: t.row)
            marks = tuple(self._marks[m] for m in members if m in self._marks)
            state = self._states[members] = _State(members, tuple(accepts), marks)
        return state

    def _step(self, state: _State, key: str) -> _State | None:
        """The state after a word of the tables or a kind of other tokens; remembered, and bounded since keys are."""
        targets = []
        wordlike = key[0].isalnum() or key in (YEAR, NUMBER)
        for member in state.members:
            edges = self._edges[member]
            targets += edges.get(key, ())
            if wordlike:
                targets += edges.get(ANY_WORD, ())
        following = self._state(self._closure(targets)) if targets else None
        state.following[key] = following
        return following


_CLOSING = frozenset(".!?)]\"'。！")
_PAUSES = frozenset(".,;:!?)(]，。、；：！-")


def _kind(token: str) -> str:
    if token.isdigit():
        return YEAR if len(token) == 4 and token[:2] in ("19", "20") else NUMBER
    return ANY_WORD if token[0].isalnum() or token == MASKED else OTHER


def _phrase_tokens(phrase: str) -> list[str]:
    if phrase.startswith("#"):
        return [phrase]
    return [normal_token(token) for token in TOKEN.findall(phrase.replace("_", " "))]


def _trigger(actions: str, direction: str, reach: str, condition: str, number: int, where: str) -> Trigger:
    strong, actions = actions.endswith("!"), actions.rstrip("!")
    name, _, stopped = actions.partition(":")
    stops: frozenset[str] = frozenset()
    if name == "stop":
        stops = frozenset(stopped.split(",") if stopped else AXES)
        chosen: tuple[str, ...] = ()
    else:
        chosen = () if name == "neutral" else tuple(actions.split(","))
    unknown = {*stops, *chosen} - set(AXES)
    if unknown or direction not in _DIRECTIONS or reach not in _REACHES:
        raise ScopeRuleError(
            f"{where} has an unknown action, direction or reach: {actions!r}, {direction!r}, {reach!r}. Use actions of "
            f"{sorted(AXES)}, directions of {_DIRECTIONS} and reaches of {_REACHES}."
        )
    return Trigger(chosen, stops, direction, reach, strong, condition, number)


def word_classes() -> dict[str, frozenset[str]]:
    """Name to words of ``scope_rules/words.tsv``, and ``conjunction``: its ``or``, its ``and``, "but" and the like."""
    classes = {name: frozenset(words.split()) for name, words in table_rows("words.tsv")}
    classes["conjunction"] = classes["or"] | classes["and"] | {"but", "however", "although", "though", "while"}
    return classes


@lru_cache(maxsize=1)
def automaton() -> Automaton:
    """The automaton of the package's own tables, built at the first call."""
    rows: Iterator[list[str]] = (row for name in ("english.tsv", "chinese.tsv") for row in table_rows(name))
    return Automaton(list(rows), word_classes())
