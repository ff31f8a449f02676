"""What the turns of a conversation say: statements of the assistant, and questions that a yes or no answers."""

import re
from collections.abc import Iterator, Sequence

from med_entity_tree.tagger import Mention, Tagger
from pretrain.tagging.tags import State, Tag, state_of
from vlm.messages import Message

_EXISTS = re.compile(
    r"^\W*((is|are|was|were) there\b|(do|does|did|can) .{0,40}\b(show|have|see|contain|demonstrate)\b"
    r"|(is|are) (?!the\b).{0,80}\b(present|visible|seen|evident|identified|shown)\b)",
    re.I,
)
_PLACE = re.compile(r"\b(left|right|upper|lower|mid|middle|apical|basal|bilateral|lobe|side|zone)\b", re.I)
_CLOSED = re.compile(r"^\W*(yes|no)\b", re.I)


def text_of(message: Message) -> str:
    """The text parts of a message, joined."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part.get("type") == "text")


def tags_of_turns(messages: Sequence[Message], tagger: Tagger) -> Iterator[Tag]:
    """Tags of a conversation.

    What the assistant says is tagged as a report is. A question states nothing, but one that asks whether something is
    there is answered by "yes" or "no"; "no" to a question about one place ("on the left?") denies it there only.
    """
    asked = ""
    for message in messages:
        role, text = message.get("role"), text_of(message)
        if role == "user":
            asked = text
        elif role == "assistant" and text:
            yield from statements(text, tagger)
            answer = _CLOSED.match(text)
            if answer and _EXISTS.match(asked.strip().splitlines()[0] if asked.strip() else ""):
                yield from _answered(asked.strip().splitlines()[0], answer[1].lower() == "yes", tagger)


def statements(text: str, tagger: Tagger) -> Iterator[Tag]:
    """Tags of a text that describes a study."""
    for mention in tagger.tag(text):
        yield Tag(mention.entity, "text", state_of(mention.assertion), text[mention.start : mention.end])


def _answered(question: str, yes: bool, tagger: Tagger) -> Iterator[Tag]:
    placed = _PLACE.search(question) is not None
    for mention in tagger.tag(question):
        yield Tag(mention.entity, "text", _state(mention, yes, placed), question[mention.start : mention.end])


def _state(mention: Mention, yes: bool, placed: bool) -> State:
    said = mention.assertion
    if said.polarity == "negated" or said.time == "historical" or said.subject != "patient":
        return "other"  # "is there no effusion?" has no safe reading
    if yes:
        return "present"
    return "other" if placed else "negated"
