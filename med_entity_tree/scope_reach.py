"""Which trigger of a sentence reaches which entity: scopes, lists and clauses."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from med_entity_tree.scope_triggers import AXES, MASKED, TOKEN, Automaton, Match, Trigger, automaton, normal_token

Polarity = Literal["affirmed", "negated", "uncertain"]
Time = Literal["current", "historical", "hypothetical"]
Subject = Literal["patient", "family", "other"]

_NEAR = 4  # tokens that may stand between a trigger of reach "near" and its entity
_FARTHEST = 80  # tokens that a scope may span, and
_MOST = 16  # phrases before and after an entity that are looked at: both bound the cost of text without full stops


@dataclass(frozen=True, slots=True)
class _Reached:
    """A trigger whose scope holds a span; ``direct`` if no comma or "and" stands between."""

    action: str
    match: Match
    trigger: Trigger
    direct: bool


class Scopes:
    """The tokens and triggers of one sentence; answers for a span given by its first and last token."""

    def __init__(self, sentence: str, spans: Sequence[tuple[int, int]]) -> None:
        self.rules: Automaton = automaton()
        found = list(TOKEN.finditer(sentence))
        self.tokens = tokens = [normal_token(match.group()) for match in found]
        for at, token in enumerate(tokens):
            if token == "," and (_is_chinese(tokens, at - 1) or _is_chinese(tokens, at + 1)):
                tokens[at] = "，"
        ends = [match.end() for match in found]
        begins = [match.start() for match in found]
        # First and last token of each span; an empty span lies before its token.
        self.places = [(bisect_right(ends, start), bisect_right(begins, end - 1) - 1) for start, end in spans]
        self.matches = self._find()
        classes = self.rules.classes
        relative = [
            m for m in self.matches if tokens[m.start] in _RELATIVE
        ]  # "the effusion that was seen has resolved"
        hidden = {at for m in relative for at in range(m.start, m.end)}
        verbs = [at for at, token in enumerate(tokens) if token in classes["verb"] and at not in hidden]
        self.verbs = frozenset(verbs)
        self.first_verb = verbs[0] if verbs else len(tokens)
        self.stops = {m.start: m for m in self.matches if any(t.stops for t in m.triggers)}

    def _find(self) -> list[Match]:
        """Matches, but not of words inside a span: "history of malaria" may be the name of the entity."""
        matches = self.rules.find(self.tokens)
        covered = {at: match for match in matches for at in range(match.start, match.end)}
        inside: set[int] = set()
        for first, last in self.places:
            touching = {id(covered[at]): covered[at] for at in range(first, last + 1) if at in covered}
            if any(match.start > first or match.end <= last for match in touching.values()):
                inside.update(range(first, last + 1))
        if not inside:
            return matches
        return self.rules.find([MASKED if at in inside else token for at, token in enumerate(self.tokens)])

    def values(self, first: int, last: int) -> tuple[Polarity, Time, Subject]:
        """Polarity, time and subject of the span of tokens ``first`` to ``last``."""
        before = list(self._before(first))
        after = list(self._after(first, last))
        polarity = self._polarity(_of(before, "polarity"), _of(after, "polarity"))
        time = _of(before, "time") or _of(after, "time")
        subject = _of(before, "subject") or _of(after, "subject")
        values = polarity, time[0].action if time else "current", subject[0].action if subject else "patient"
        return cast("tuple[Polarity, Time, Subject]", values)

    def _polarity(self, before: list[_Reached], after: list[_Reached]) -> str:
        """What the nearest trigger on each side makes of the span; the one that no comma parts from it is heard."""
        ahead, behind = self._governed(before), after[0] if after else None
        if ahead is None or behind is None:
            one = ahead or behind
            return one.action if one else "affirmed"
        if ahead.direct != behind.direct:
            return ahead.action if ahead.direct else behind.action
        if behind.trigger.strong:
            return behind.action
        return "negated" if "negated" in (ahead.action, behind.action) else ahead.action

    def _governed(self, before: list[_Reached]) -> _Reached | None:
        """The nearest trigger before the span, unless a denial governs it: "no nodule suspicious for metastasis"."""
        if not before or before[0].action != "uncertain":
            return before[0] if before else None
        inner = before[0]
        outer = next((reached for reached in before if reached.action == "negated"), None)
        if outer is None or inner.trigger.strong:
            return inner
        start = inner.match.start
        tokens, classes = self.tokens, self.rules.classes
        if start and (tokens[start - 1] in _COMMAS or tokens[start - 1] in classes["and"]):
            return inner
        if (
            tokens[start] in classes["modal"]
            and tokens[start - 1] not in _RELATIVE
            and tokens[outer.match.start] != "no"
        ):
            return inner  # "opacity without air bronchograms may represent pneumonia"
        return outer

    def _before(self, first: int) -> Iterator[_Reached]:
        """Triggers before the span whose scope holds it, the nearest first."""
        ended: set[tuple[str, str]] = set()  # what ended the scope of a near trigger ends those of farther ones
        nearest = bisect_right(self.matches, first, key=_end)
        for number in range(nearest - 1, max(nearest - _MOST, 0) - 1, -1):
            match = self.matches[number]
            if first - match.end > _FARTHEST:
                return
            for trigger in match.triggers:
                if not trigger.actions or not self._acts(match, trigger, "forward"):
                    continue
                # "mother had" is family and historical at once: both end where one does.
                scopes = [(action, trigger.reach) for action in trigger.actions]
                if not ended.isdisjoint(scopes):
                    continue
                blocked = [scope for scope in scopes if self._blocked_ahead(match, trigger, scope[0], first)]
                ended.update(blocked)
                if not blocked:
                    direct = self._direct(match.end, first)
                    yield from (_Reached(action, match, trigger, direct) for action in trigger.actions)

    def _after(self, first: int, last: int) -> Iterator[_Reached]:
        """Triggers after the span whose scope holds it, the nearest first."""
        nearest = bisect_left(self.matches, max(first, last + 1), key=_start)
        for match in self.matches[nearest : nearest + _MOST]:
            if match.start - last > _FARTHEST:
                return
            for trigger in match.triggers:
                if (
                    trigger.actions
                    and self._acts(match, trigger, "backward")
                    and not any(self._blocked_behind(match, trigger, action, first, last) for action in trigger.actions)
                ):
                    direct = self._direct(last + 1, match.start)
                    yield from (_Reached(action, match, trigger, direct) for action in trigger.actions)

    def _acts(self, match: Match, trigger: Trigger, direction: str) -> bool:
        if trigger.direction == "auto":
            backward = match.start > 0 and self.rules.pauses(self.tokens, match.end)
            return backward == (direction == "backward")
        return trigger.direction in (direction, "both")

    def _direct(self, begin: int, end: int) -> bool:
        classes = self.rules.classes
        for at in range(end - 1, begin - 1, -1):
            token = self.tokens[at]
            if token in classes["or"]:
                return True
            if token in _COMMAS or token in classes["and"]:
                return False
        return True

    def _stopped(self, begin: int, end: int, action: str, direction: str) -> bool:
        """Whether a phrase between tokens ``begin`` and ``end`` ends scopes of this kind."""
        if not self.stops:
            return False
        return any(
            action in trigger.stops and trigger.direction in (direction, "both")
            for at in range(begin, end)
            if at in self.stops
            for trigger in self.stops[at].triggers
        )

    def _blocked_ahead(self, match: Match, trigger: Trigger, action: str, first: int) -> bool:
        begin = match.end
        if self._stopped(begin, first, action, "forward"):
            return True
        if trigger.reach == "sentence":
            return False
        if trigger.reach == "near":
            return self._far(begin, first)
        return any(self._breaks(at, begin, action, trigger.reach) for at in range(begin, first))

    def _blocked_behind(self, match: Match, trigger: Trigger, action: str, first: int, last: int) -> bool:
        begin, end = last + 1, match.start
        if self._stopped(begin, end, action, "backward"):
            return True
        if trigger.reach == "sentence":
            return False
        if trigger.reach == "near":
            return self._far(begin, end)
        if any(at in self.verbs for at in range(begin, end)):
            return True
        earlier_verb = self.first_verb < first
        for at in range(begin, end):
            token = self.tokens[at]
            if token == "，" or (token == "," and at < end - 1 and not self._list_goes_on(at, end)):
                return True
            if earlier_verb and (token == "," or token in self.rules.classes["and"]):
                return True  # "there is an effusion and pneumothorax is not seen"
        return False

    def _far(self, begin: int, end: int) -> bool:
        classes = self.rules.classes
        return end - begin > _NEAR or any(
            token in _COMMAS or token in classes["and"] or token in classes["place"] or token in classes["verb"]
            for token in self.tokens[begin:end]
        )

    def _breaks(self, at: int, begin: int, action: str, reach: str) -> bool:
        """Whether the comma, dash or "and" at token ``at`` begins a new clause rather than the next item of a list."""
        token, classes = self.tokens[at], self.rules.classes
        if token == "，":
            return True
        if token == "with":  # "no fracture with mild swelling"
            return self._token(at + 1) in classes["assertive"] and not self._or_follows(at + 1)
        is_comma = token == "," or token == "-"
        if not is_comma and token not in classes["and"]:
            return False
        following = at + 1
        if self._token(following) in classes["and"]:
            following += 1
        word = self._token(following)
        if word in classes["or"]:
            return False
        if is_comma and reach == "chain" and not self._list_goes_on(at, at + _FARTHEST):
            return True
        if any(verb in self.verbs for verb in range(begin, at)) or self.tokens[at - 1] in classes["closer"]:
            return True
        if any(token in classes["seal"] for token in self.tokens[begin:at]):
            return True  # "no effusion seen on the left, calcified granuloma"
        if word in classes["opener"]:
            return True
        if word in classes["assertive"] and not self._or_follows(following):
            return True
        return self._clause_at(following, closers=action == "negated")

    def _token(self, at: int) -> str:
        return self.tokens[at] if at < len(self.tokens) else ""

    def _list_goes_on(self, at: int, end: int) -> bool:
        """Whether an "and" or "or" closes the list that the comma at ``at`` is in."""
        classes = self.rules.classes
        for token in self.tokens[at + 1 : end]:
            if token in classes["or"] or token in classes["and"]:
                return True
            if token in classes["verb"]:
                return False
        return False

    def _or_follows(self, at: int) -> bool:
        classes = self.rules.classes
        for token in self.tokens[at : at + _FARTHEST]:
            if token in classes["or"]:
                return True
            if token in classes["verb"]:
                return False
        return False

    def _clause_at(self, begin: int, closers: bool) -> bool:
        """Whether the words from ``begin`` to the next comma have a verb of their own.

        With ``closers``, "is seen" is none: it closes a list of what is denied."""
        classes, tokens = self.rules.classes, self.tokens
        for at in range(begin, min(begin + _FARTHEST, len(tokens))):
            token = tokens[at]
            if token == "," or token in classes["and"]:
                return False
            if at in self.verbs:
                return not closers or not any(word in classes["closer"] for word in tokens[at : at + 4])
        return False


_COMMAS = frozenset({",", "，", "、", "-"})
_RELATIVE = frozenset({"which", "that"})


def _start(match: Match) -> int:
    return match.start


def _end(match: Match) -> int:
    return match.end


def _of(reached: list[_Reached], axis: str) -> list[_Reached]:
    return [one for one in reached if AXES[one.action] == axis]


def _is_chinese(tokens: Sequence[str], at: int) -> bool:
    return 0 <= at < len(tokens) and "一" <= tokens[at][0] <= "鿿"
