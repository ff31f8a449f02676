"""Names of entities in passages, as a language model writes them down: many passages a call, strict JSON.

A name that does not stand in its passage is refused and counted: what a model makes up never reaches the tree.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, get_args

from pydantic import BaseModel

from med_entity_tree.entity import ROOT_OF_KIND
from med_entity_tree.mining.passages import Passage
from med_entity_tree.names import name_key
from vlm.asking import JsonAsker, Unanswered
from vlm.chat_client import Patience
from vlm.messages import Message

Kind = Literal["disease", "finding", "anatomy", "procedure", "modality"]
KINDS: tuple[str, ...] = get_args(Kind)
assert set(KINDS) < set(ROOT_OF_KIND), "the other kinds of the tree are codes of ICD-10-CM, which no passage names"

# Diseases and findings go over into one another, and so do ways of imaging and procedures.
_GROUP = {"finding": "disease", "external cause": "disease", "health factor": "disease", "modality": "procedure"}


def kinds_agree(one: str, other: str) -> bool:
    """Whether two kinds may be of one thing, so that a difference is no contradiction."""
    return _GROUP.get(one, one) == _GROUP.get(other, other)


@dataclass(frozen=True, slots=True)
class Mention:
    """A name that a passage holds. ``whole`` is false where it was only seen inside a longer name; ``short`` is the
    abbreviation that the passage gives for it."""

    passage: str
    document: str
    name: str
    kind: str
    whole: bool = True
    short: str = ""


@dataclass
class Extracted:
    """What came out of some passages; ``refused`` counts by reason, ``unanswered`` passages may be asked again."""

    mentions: list[Mention] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0


class Extractor(Protocol):
    """``name`` is written into everything that it finds; ``settings`` are what its results depend on; ``chunk`` is how
    many passages it likes at once."""

    name: str
    settings: dict
    chunk: int

    def __call__(self, passages: Sequence[Passage]) -> Extracted: ...


class Named(BaseModel):
    passage: int
    name: str
    kind: Kind


class Answer(BaseModel):
    mentions: list[Named]


INSTRUCTIONS = """\
You list the medical entities that passages of text name.

Kinds: disease (diseases, injuries, syndromes), finding (signs, symptoms, what an image shows, abnormal results),
anatomy (organs, structures, regions, tissues), procedure (examinations, operations, treatments, devices and lines),
modality (ways of imaging).

Rules
- Copy each name exactly as the passage writes it; do not correct, translate, expand or shorten it.
- A name is a noun phrase without article, side, size, degree or number: "calcified granuloma", not "a 5 mm left
  calcified granuloma".
- List what is denied, suspected or past too: only the name counts.
- No people, places, dates, drugs, measurements, section headings or blanked-out words.
- One entry for each name and passage; an empty list where a passage names nothing."""


class ModelExtractor:
    """Asks a language model, ``batch`` passages a call; a call that gets no valid answer is halved and asked again.

    Args:
        cache: folder of the answers, so that nothing is asked twice.
        batch: passages a call.
    """

    def __init__(
        self,
        url: str,
        cache: Path,
        model: str | None = None,
        api_key: str | None = None,
        batch: int = 8,
        concurrency: int = 8,
        patience: Patience = Patience(),  # noqa: B008  frozen
    ) -> None:
        self.batch, self.chunk = batch, 4 * batch * concurrency
        self._asker = JsonAsker(
            url, Answer, model=model, api_key=api_key, cache=cache, patience=patience, concurrency=concurrency,
            max_tokens=4096,
        )  # fmt: skip
        self.name = f"model {self._asker.chosen_model()}"
        self.settings = {"model": self._asker.model, "batch": batch, "instructions": INSTRUCTIONS}

    def __call__(self, passages: Sequence[Passage]) -> Extracted:
        found = Extracted()
        todo = [passages[n : n + self.batch] for n in range(0, len(passages), self.batch)]
        while todo:
            again: list[Sequence[Passage]] = []
            for block, answer in zip(todo, self._asker.ask([request(block) for block in todo]), strict=True):
                if not isinstance(answer, Unanswered):
                    accept(block, answer, found)
                elif len(block) > 1:
                    again += [block[: len(block) // 2], block[len(block) // 2 :]]
                else:
                    found.unanswered += 1
                    found.refused[f"passage without an answer ({_class_of(answer)})"] += 1
            todo = again
        return found


def _class_of(answer: Unanswered) -> str:
    """The reason without what differs from passage to passage, so that it can be counted."""
    return re.split(r"[;(]|(?<=\d{3}):", answer.reason)[0].strip()[:80]


def request(block: Sequence[Passage]) -> list[Message]:
    numbered = "\n\n".join(f"[{n}]\n{passage.text}" for n, passage in enumerate(block, 1))
    return [{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": numbered}]


def accept(block: Sequence[Passage], answer: Answer, found: Extracted) -> None:
    """Take what an answer says of its passages, but for names that are not there."""
    said: dict[tuple[int, str], set[str]] = {}
    for item in answer.mentions:
        key = name_key(item.name)
        if not 1 <= item.passage <= len(block):
            found.refused["a passage number that was not asked"] += 1
        elif not key:
            found.refused["a name without words"] += 1
        elif not occurs(item.name, block[item.passage - 1].text):
            found.refused["a name that does not occur in its passage"] += 1
        elif item.kind in said.setdefault((item.passage, key), set()):
            found.refused["a name twice for one passage"] += 1
        elif said[item.passage, key]:
            found.refused["a second kind for one name and passage"] += 1
        else:
            said[item.passage, key].add(item.kind)
            passage = block[item.passage - 1]
            found.mentions.append(Mention(passage.id, passage.document, item.name.strip(), item.kind))


_LETTER = "[0-9A-Za-zÀ-ɏͰ-Ͽ]"


def occurs(name: str, text: str) -> bool:
    """Whether a text holds a name, word for word, whatever the case and the white space.

    >>> occurs("Pleural  Effusion", "small pleural\\neffusion."), occurs("effusion", "effusions")
    (True, False)
    """
    words = name.split()
    if not words:
        return False
    pattern = r"\s+".join(map(re.escape, words))
    return re.search(_edge(words[0][0], "(?<!") + pattern + _edge(words[-1][-1], "(?!"), text, re.I) is not None


def _edge(letter: str, look: str) -> str:
    """Beside a Latin letter or digit stands no other one; Chinese has no edges of words."""
    return f"{look}{_LETTER})" if re.match(_LETTER, letter) else ""
