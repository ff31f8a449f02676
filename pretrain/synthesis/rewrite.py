"""Captions by a language model, held to the study's facts: what does not pass the check is not used."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import BaseModel

from pretrain.synthesis.captions import Caption, _background, faults_of
from pretrain.synthesis.facts import Knowledge, StudyFacts
from vlm.messages import Message

if TYPE_CHECKING:
    from vlm.asking import JsonAsker

_ASKED = """Write the caption of a medical image for training a model. Say in fluent English, in your own words:
- the image: {image}
- it shows: {present}
- it does not show (say so for each): {negated}
- it may show (say that it is uncertain): {uncertain}
Use the names as they are given. Add no other finding, disease, measurement or cause, and no general knowledge.
{report}"""


class Written(BaseModel):
    """A caption."""

    caption: str


@dataclass
class Rewritten:
    """Captions in the order of the studies, None where none passed, and why others did not, by kind of fault."""

    captions: list[Caption | None]
    refused: Counter[str] = field(default_factory=Counter)


def request(facts: StudyFacts, known: Knowledge, report: str = "") -> list[Message]:
    """The conversation that is sent; ``report`` is the study's own text, "" to keep it back."""

    def named(entities: Sequence[str]) -> str:
        return "; ".join(filter(None, map(known.name, entities))) or "nothing"

    image = ", ".join(known.tree[e].name for e in (*facts.modality, *facts.anatomy)) or "unknown"
    return [
        {
            "role": "user",
            "content": _ASKED.format(
                image=f"{image}{f', {facts.view} view' if facts.view else ''}",
                present=named(facts.present),
                negated=named(facts.negated),
                uncertain=named(facts.uncertain),
                report=f"Its report, for wording only:\n{report}" if report else "",
            ),
        }
    ]


def rewrite_captions(
    studies: Sequence[StudyFacts],
    reports: Sequence[str],
    known: Knowledge,
    asker: "JsonAsker[Written]",
    *,
    background: bool = True,
    progress: Callable[[int], None] | None = None,
) -> Rewritten:
    """Ask for a caption of every study and keep those that say what the study says, and nothing else."""
    answers = asker.ask([request(f, known, r) for f, r in zip(studies, reports, strict=True)], progress=progress)
    made = Rewritten([])
    for facts, answer in zip(studies, answers, strict=True):
        if not isinstance(answer, Written):
            made.refused["no answer"] += 1
            made.captions.append(None)
            continue
        text = answer.caption.strip()
        faults = faults_of(text, facts, known) or ([] if text else ["empty: caption"])
        made.refused.update(fault.partition(":")[0] for fault in faults)
        if faults:
            made.captions.append(None)
            continue
        told = [_background(e, known) for e in facts.present if known.name(e)] if background else []
        made.captions.append(Caption(text, " ".join(filter(None, told)), writer=f"model {asker.model}"))
    return made
