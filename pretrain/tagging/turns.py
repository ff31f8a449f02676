"""What the turns of a conversation say: statements of the assistant, and questions that a yes or no answers."""

import re
from collections.abc import Callable, Iterator, Sequence

from med_entity_tree.tagger import Mention
from pretrain.tagging.tags import State, Tag, state_of
from vlm.messages import Message

_EXISTS = re.compile(
    r"^\W*((is|are|was|were) there\b|(do|does|did|can) .{0,40}\b(show|have|see|contain|demonstrate)\b"
    r"|(is|are) (?!the\b).{0,80}\b(present|visible|seen|evident|identified|shown)\b)",
    re.I,
)
_PLACE = re.compile(r"\b(left|right|upper|lower|mid|middle|apical|basal|bilateral|lobe|side|zone)\b", re.I)
_CLOSED = re.compile(r"^\W*(yes|no)\b", re.I)

Mentions = Callable[[str], Sequence[Mention]]  # of a text, as ``Tagger.tag`` finds them


def text_of(message: Message) -> str:
    """The text parts of a message, joined."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part.get("type") == "text")


def tags_of_turns(messages: Sequence[Message], mentions: Mentions) -> Iterator[Tag]:
    """Tags of a conversation; ``mentions`` is asked for every text that may state something (:func:`texts_of_turns`).

    What the assistant says is tagged as a report is. A question states nothing, but one that asks whether something is
    there is answered by "yes" or "no"; "no" to a question about one place ("on the left?") denies it there only.
    """
    for question, text, answer in _exchanges(messages):
        yield from statements(text, mentions)
        if answer:
            placed = _PLACE.search(question) is not None
            for mention in mentions(question):
                state = _state(mention, answer == "yes", placed)
                yield Tag(mention.entity, "text", state, question[mention.start : mention.end])


def statements(text: str, mentions: Mentions) -> Iterator[Tag]:
    """Tags of a text that describes a study."""
    for mention in mentions(text):
        yield Tag(mention.entity, "text", state_of(mention.assertion), text[mention.start : mention.end])


def texts_of_turns(messages: Sequence[Message]) -> Iterator[str]:
    """The texts of a conversation that :func:`tags_of_turns` needs mentions of, so that many can be tagged at once."""
    for question, text, answer in _exchanges(messages):
        yield text
        if answer:
            yield question


def _exchanges(messages: Sequence[Message]) -> Iterator[tuple[str, str, str]]:
    """``(question, what the assistant says, "yes" or "no")``; the last is "" where nothing asks whether something is
    there."""
    asked = ""
    for message in messages:
        role, text = message.get("role"), text_of(message)
        if role == "user":
            asked = text.strip().splitlines()[0] if text.strip() else ""
        elif role == "assistant" and text:
            closed = _CLOSED.match(text) if _EXISTS.match(asked) else None
            yield asked, text, closed[1].lower() if closed else ""


def _state(mention: Mention, yes: bool, placed: bool) -> State:
    said = mention.assertion
    if said.polarity == "negated" or said.time == "historical" or said.subject != "patient":
        return "other"  # "is there no effusion?" has no safe reading
    if yes:
        return "present"
    return "other" if placed else "negated"
