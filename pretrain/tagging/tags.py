"""One statement about one entity, where it came from, and what several of them make of a sample."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from med_entity_tree.scope import Assertion

State = Literal["present", "negated", "uncertain", "other"]
Origin = Literal["given", "header", "label", "text"]


@dataclass(frozen=True, slots=True, order=True)
class Tag:
    """``entity`` is in ``state`` by ``origin``; ``evidence`` says which words, column or attribute.

    "other" is what is historical, hypothetical, someone else's, or named only in the request of the study.
    """

    entity: str
    origin: Origin
    state: State
    evidence: str = ""


def state_of(assertion: Assertion) -> State:
    """What a mention in a text says of the study at hand."""
    if assertion.counts:
        return "present"
    if assertion.polarity in ("negated", "uncertain") and assertion.subject == "patient":
        return assertion.polarity
    return "other"


@dataclass(frozen=True)
class Tagging:
    """What a sample is about.

    Attributes:
        entities: those that count, sorted.
        record: everything that was found, for ``extra["tags"]`` of the sample.
    """

    entities: list[str]
    record: dict[str, Any]


def combine(tags: Iterable[Tag]) -> Tagging:
    """An entity counts where an origin says that it is present and no other origin denies it.

    Within one origin "present" wins: a report that denies an effusion on the right and describes one on the left speaks
    of an effusion. Between origins (text against label) a contradiction is kept as such and counts for neither.
    """
    states: dict[str, dict[Origin, set[State]]] = {}
    for tag in tags:
        states.setdefault(tag.entity, {}).setdefault(tag.origin, set()).add(tag.state)
    present: dict[str, list[str]] = {}
    rest: dict[str, list[str]] = {"conflict": [], "negated": [], "uncertain": [], "other": []}
    for entity, by_origin in sorted(states.items()):
        says: dict[Origin, State] = {origin: _strongest(found) for origin, found in by_origin.items()}
        affirming = sorted(origin for origin, state in says.items() if state == "present")
        denying = any(state == "negated" for state in says.values())
        if affirming and denying:
            rest["conflict"].append(entity)
        elif affirming:
            for origin in affirming:
                present.setdefault(origin, []).append(entity)
        else:
            rest[_strongest(set(says.values()))].append(entity)
    entities = sorted({entity for found in present.values() for entity in found})
    record = {"present": dict(sorted(present.items())), **{state: found for state, found in rest.items() if found}}
    return Tagging(entities, record)


_ORDER: Sequence[State] = ("present", "negated", "uncertain", "other")


def _strongest(states: set[State]) -> State:
    return next(state for state in _ORDER if state in states)
