"""Conflicts decided by a model that may look things up: think, act, observe, at most ``turns`` times (ReAct).

The model sees the name, what is known of it and the proposed parents; it may search the tree, show an entity, read the
passages, and must decide. All conflicts go through their turns together, so that many requests are under way at once.
Every turn is logged; passages appear in the log by their ids only. What gets no decision stays undecided.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from med_entity_tree.entity import Entity
from med_entity_tree.mining.attach import Attacher, Outcome, mined_id
from med_entity_tree.tree import Tree
from vlm.asking import JsonAsker, Unanswered
from vlm.chat_client import Patience
from vlm.messages import Message


class Turn(BaseModel):
    thought: str
    action: Literal["search_tree", "show", "evidence", "decide"]
    argument: str
    """Words for search_tree, an id for show and for the decision "parent", else empty."""
    decision: Literal["parent", "new", "drop", ""]
    reason: str


INSTRUCTIONS = """\
You keep a tree of medical entities (disease, finding, anatomy, procedure; five levels). Text was mined for names; one
name has no clear place. Decide what becomes of it. In each turn you think, and take one action:

- search_tree: entities whose names hold the words in "argument". Try fewer or more general words.
- show: the entity whose id is in "argument": names, place, children.
- evidence: passages of the text that hold the name.
- decide: "decision" is "parent" when the name is a kind of the entity whose id is in "argument" (the most specific such
  entity; one that a search, "show" or the proposals gave), "new" when it is an entity but nothing in the tree is its
  parent, "drop" when it is no entity (a fragment, a phrase, something that is not medical). Give the reason.

Leave what an action does not need empty."""


@dataclass
class _Case:
    outcome: Outcome
    messages: list[Message]
    shown: set[str] = field(default_factory=set)  # ids that the model was given
    turns: list[dict] = field(default_factory=list)
    decided: Turn | None = None
    failed: str = ""


class Arbiter:
    """Decides conflicts with a model.

    Args:
        cache: folder of the answers; a repeated run asks nothing again.
        turns: actions for a conflict, the decision included.
    """

    def __init__(
        self,
        url: str,
        cache: Path,
        model: str | None = None,
        api_key: str | None = None,
        turns: int = 8,
        concurrency: int = 8,
        patience: Patience = Patience(),  # noqa: B008  frozen
    ) -> None:
        self.turns = turns
        self._asker = JsonAsker(
            url, Turn, model=model, api_key=api_key, cache=cache, patience=patience, concurrency=concurrency,
            max_tokens=512,
        )  # fmt: skip
        self.name = f"model {self._asker.chosen_model()}"

    def decide(
        self, conflicts: Sequence[Outcome], tree: Tree, attacher: Attacher, passages: Mapping[str, str], log: Path
    ) -> list[Outcome]:
        """Outcomes of conflicts in their order; ``log`` gets one line for each turn.

        Args:
            tree: the frozen tree, which is searched; what was attached in this run can be shown.
            passages: text of the passages that the conflicts have as examples, by id.
        """
        cases = [self._case(outcome, attacher) for outcome in conflicts]
        for turn in range(1, self.turns + 1):
            open_cases = [case for case in cases if case.decided is None and not case.failed]
            for case, answer in zip(open_cases, self._asker.ask([c.messages for c in open_cases]), strict=True):
                if isinstance(answer, Unanswered):
                    case.failed = f"the arbiter did not answer: {answer.reason}"
                    case.turns.append({"turn": turn, "failed": answer.reason})
                else:
                    self._step(case, turn, answer, tree, attacher, passages)
        _write_log(cases, log)
        return [self._settled(case, attacher) for case in cases]

    def _case(self, outcome: Outcome, attacher: Attacher) -> _Case:
        one = outcome.cluster.candidate
        lines = [
            f"Name: {one.name}",
            f"Other forms: {', '.join(outcome.cluster.others.values()) or 'none'}",
            f"Kind by the extractor: {', '.join(f'{k} ({n})' for k, n in sorted(one.kinds.items()))}",
            f"Seen in {one.mentions} passages of {one.documents} documents.",
            f"Conflict: {outcome.why}.",
            "Proposed parents:",
        ]
        for proposal in outcome.proposals:
            lines.append(f"- {_line(attacher.entities, proposal.parent)} (score {proposal.score}, {proposal.how})")
        if not outcome.proposals:
            lines.append("none")
        messages = [{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": "\n".join(lines)}]
        return _Case(outcome, messages, {p.parent for p in outcome.proposals})

    def _step(
        self, case: _Case, turn: int, answer: Turn, tree: Tree, attacher: Attacher, passages: Mapping[str, str]
    ) -> None:
        observed, logged = self._act(case, answer, tree, attacher, passages)
        case.turns.append({"turn": turn, **answer.model_dump(), "observation": logged})
        case.messages = [
            *case.messages,
            {"role": "assistant", "content": answer.model_dump_json()},
            {"role": "user", "content": f"{observed}\n\n{self.turns - turn} turns are left."},
        ]

    def _act(
        self, case: _Case, answer: Turn, tree: Tree, attacher: Attacher, passages: Mapping[str, str]
    ) -> tuple[str, str | list[str]]:
        """What the model gets to see of its action, and what the log holds of that."""
        if answer.action == "search_tree":
            found = [entity.id for entity in tree.search(answer.argument, 10)]
            case.shown.update(found)
            return "\n".join(_line(attacher.entities, i) for i in found) or "nothing has these words", found
        if answer.action == "show":
            return self._show(case, answer.argument.strip(), tree, attacher)
        if answer.action == "evidence":
            ids = [i for i in case.outcome.cluster.candidate.examples if i in passages]
            return "\n\n".join(f"[{i}]\n{passages[i]}" for i in ids) or "no passage is at hand", ids
        refused = self._refuse(case, answer, attacher)
        if refused:
            return refused, refused
        case.decided = answer
        return "decided", "decided"

    def _show(self, case: _Case, identity: str, tree: Tree, attacher: Attacher) -> tuple[str, str | list[str]]:
        if identity not in attacher.entities:
            return f"there is no entity {identity}", "no such entity"
        entity = attacher.entities[identity]
        children = tree.children(entity.id) if entity.id in tree else []
        case.shown |= {entity.id, *(child.id for child in children[:20])}
        names = ", ".join(dict.fromkeys(s.text for s in entity.synonyms)) or "none"
        below = "\n".join(f"  {child.id} {child.name}" for child in children[:20]) or "  none"
        text = f"{_line(attacher.entities, entity.id)}\nother names: {names}\n{entity.definition}\nchildren:\n{below}"
        return text, [entity.id, *(child.id for child in children[:20])]

    def _refuse(self, case: _Case, answer: Turn, attacher: Attacher) -> str:
        """Why a decision does not count, or ""."""
        if answer.decision == "":
            return 'no decision: "decision" must be parent, new or drop'
        if not answer.reason.strip():
            return "a decision needs a reason"
        if answer.decision != "parent":
            return ""
        identity = answer.argument.strip()
        if identity not in attacher.entities or identity not in case.shown:
            return f"{identity or 'an empty id'} was in no search, show or proposal: look it up first"
        if attacher.entities[identity].level == 0:
            return f"{identity} is a root: choose something below it, or decide new"
        return ""

    def _settled(self, case: _Case, attacher: Attacher) -> Outcome:
        turn = case.decided
        if turn is None:
            why = case.failed or f"no decision in {self.turns} turns"
            return attacher.settle(case.outcome, "", "", why, self.name)
        return attacher.settle(case.outcome, turn.decision, turn.argument.strip(), turn.reason, self.name)


def _line(entities: Mapping[str, Entity], identity: str) -> str:
    entity = entities[identity]
    above = entities[entity.parent].name if entity.parent else "root"
    return f"{entity.id} {entity.name} ({entity.kind}, level {entity.level}, below {above})"


def _write_log(cases: Sequence[_Case], log: Path) -> None:
    part = log.with_name(log.name + ".part")
    with part.open("w", encoding="utf-8") as file:
        for case in cases:
            one = case.outcome.cluster
            head = {"entity": mined_id(one.key), "name": one.candidate.name, "conflict": case.outcome.why}
            for turn in case.turns:
                file.write(json.dumps(head | turn, ensure_ascii=False) + "\n")
    part.replace(log)
