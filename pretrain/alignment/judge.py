"""Stage two: a model that sees image and text says whether one shows what the other says.

The judge is itself measured: on pairs whose truth is planted (a study with its own report, and with the report of a
study that shows nothing of the same), which also gives the score from which it is believed.
"""

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from pydantic import BaseModel, Field

from pretrain.alignment.checks import Fault, said
from pretrain.shards.ordering import derive
from vlm.messages import Message
from vlm.sample import Sample

if TYPE_CHECKING:
    from vlm.asking import JsonAsker, Unanswered

LONGEST = 768  # pixels of a picture that is sent
_ASKED = """You check training data for a medical vision-language model: the picture(s) of a study and a text about it.
Judge only what the picture shows; a fluent text may belong to another study.
- shows_node: does the picture show {nodes}?
- text_supported: from 0 (the text contradicts the picture or is of another study) to 10 (all that the text says of the
  picture can be seen in it, or is fitting where it cannot be seen).
- problems: what is wrong, in a few words each; an empty list if nothing is.

Text:
{text}"""


class Verdict(BaseModel):
    """What the judge says of one sample."""

    shows_node: bool
    text_supported: int = Field(ge=0, le=10)
    problems: list[str]


@dataclass(frozen=True)
class Pair:
    """Pictures of one sample with a text; ``matched`` is the planted truth."""

    sample: Sample
    text: str
    nodes: tuple[str, ...]
    matched: bool = True


def request(pair: Pair) -> list[Message]:
    """The conversation that is sent: the pictures as PNG data URLs, then the question."""
    pictures = [
        {"type": "image_url", "image_url": {"url": data_url(image.decode().render(size=LONGEST))}}
        for image in pair.sample.images
    ]
    nodes = ", ".join(pair.nodes) if pair.nodes else "what the text says"
    asked = _ASKED.format(nodes=nodes, text=pair.text)
    return [{"role": "user", "content": [*pictures, {"type": "text", "text": asked}]}]


def data_url(picture: np.ndarray) -> str:
    """A picture (H, W) or (H, W, 3) uint8 as a PNG data URL; equal pictures give equal URLs."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def judge(
    pairs: Sequence[Pair],
    asker: "JsonAsker[Verdict]",
    *,
    batch: int = 64,
    progress: Callable[[int], None] | None = None,
) -> "list[Verdict | Unanswered]":
    """Verdicts in the order of the pairs; only ``batch`` requests with their pictures are in memory at a time."""
    verdicts = []
    for start in range(0, len(pairs), batch):
        verdicts += asker.ask([request(pair) for pair in pairs[start : start + batch]], progress=progress)
    return verdicts


@dataclass(frozen=True)
class Referee:
    """Stage two: a judge with the score that it must give.

    Attributes:
        asker: asks the model.
        names: name of an entity.
        threshold: support (0 to 10) from which a sample passes.
    """

    asker: "JsonAsker[Verdict]"
    names: Callable[[str], str]
    threshold: int = 6

    def faults(self, samples: Sequence[Sample]) -> list[list[Fault]]:
        """Of each sample, none where it passes; an unanswered one does not pass."""
        verdicts = judge([self._pair(sample) for sample in samples], self.asker)
        return [self._fault(verdict) for verdict in verdicts]

    def _pair(self, sample: Sample) -> Pair:
        present = (sample.extra.get("tags") or {}).get("present") or {}
        nodes = {e for origin, found in present.items() if origin != "header" for e in found}
        return Pair(sample, said(sample), tuple(sorted(map(self.names, nodes))))

    def _fault(self, verdict: "Verdict | Unanswered") -> list[Fault]:
        if not isinstance(verdict, Verdict):
            return [Fault("judge: no answer", verdict.reason, "")]
        if score(verdict) >= self.threshold:
            return []
        reason = "judge: text not supported" if verdict.shows_node else "judge: picture does not show the node"
        return [Fault(reason, "; ".join(verdict.problems) or verdict.text_supported, self.threshold)]


def planted_pairs(samples: Sequence[Sample], names: Callable[[str], str], seed: int = 0) -> list[Pair]:
    """Each sample with its own text and, where there is one, with the text of a sample that has none of its entities.

    Entities of modality or region that all samples share do not count as shared.
    """
    everywhere = set.intersection(*(set(s.entities) for s in samples)) if samples else set()
    own = [frozenset(s.entities) - everywhere for s in samples]
    pairs = []
    for n, sample in enumerate(samples):
        nodes = tuple(sorted(map(names, own[n])))
        pairs.append(Pair(sample, said(sample), nodes))
        others = [m for m in range(len(samples)) if own[m] and not own[m] & own[n]]
        if others:
            other = others[derive("planted", str(seed), sample.key) % len(others)]
            pairs.append(Pair(sample, said(samples[other]), tuple(sorted(map(names, own[other]))), matched=False))
    return pairs


@dataclass(frozen=True)
class Agreement:
    """How well the judge tells matched pairs from shuffled ones, when it believes a score of ``threshold`` and more."""

    threshold: int
    precision: float
    recall: float
    matched: int
    shuffled: int
    unanswered: int


def agreement(
    pairs: Sequence[Pair], verdicts: "Sequence[Verdict | Unanswered]", threshold: int | None = None
) -> Agreement:
    """Precision and recall of "matched"; without a threshold, at the one with the best F1 (the highest of equals).

    An unanswered pair counts as not believed."""
    answered = [(p.matched, score(v)) for p, v in zip(pairs, verdicts, strict=True)]
    choices = [threshold] if threshold is not None else list(range(10, -1, -1))
    best = max((_at(answered, choice) for choice in choices), key=lambda found: _f1(found[1], found[2]))
    return Agreement(
        *best,
        matched=sum(p.matched for p in pairs),
        shuffled=sum(not p.matched for p in pairs),
        unanswered=sum(value < 0 for _, value in answered),
    )


def score(verdict: "Verdict | Unanswered") -> int:
    """0 to 10; 0 where the picture does not show the node, -1 where there is no answer."""
    if not isinstance(verdict, Verdict):
        return -1
    return verdict.text_supported if verdict.shows_node else 0


def _at(answered: Sequence[tuple[bool, int]], threshold: int) -> tuple[int, float, float]:
    believed = [matched for matched, value in answered if value >= threshold]
    right, matched = sum(believed), sum(m for m, _ in answered)
    return threshold, right / len(believed) if believed else 0.0, right / matched if matched else 0.0


def _f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
