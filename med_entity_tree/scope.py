"""What a report says about each entity in it: there or not, now or then, of the patient or of someone else.

The method is NegEx (Chapman et al., J Biomed Inform 2001, 34:301) and ConText (Harkema et al., J Biomed Inform 2009,
42:839): a trigger phrase has a direction and a scope, which runs to the end of its sentence or to a phrase that ends
it, and some phrases only look like triggers ("no change in"). Added to it are lists and clauses, so that "no effusion,
edema or pneumothorax" denies three things and "no effusion, the heart is enlarged" one, and Chinese.

On sentences that the rules had not seen, macro F1 of polarity was 0.94 (``tests/med_entity_tree/test_scope.py``).

What is decided where opinions differ:

- The three values are independent: "no history of asthma" is negated and historical.
- "unlikely", "rather than", "low suspicion" are uncertain; "no definite", "no convincing" are negated.
- "consistent with", "compatible with", "in keeping with", "represents", 提示 and 符合 affirm; "suggests", "likely",
  "versus", 考虑 and 可能 are uncertain.
- What resolved or was removed is negated now. What is old, chronic or healed is still seen: current.
- What a request asks for ("rule out", "evaluate for", 除外) is uncertain; what might come ("return if", "risk of",
  "prophylaxis", "screening") is hypothetical, and affirmed unless something else is said.
- "family" is a relative by blood or marriage, "other" anyone else (a donor, a contact, a fetus).
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from med_entity_tree.scope_reach import Polarity, Scopes, Subject, Time
from med_entity_tree.scope_text import find_headings, section_at, sentence_starts
from vlm.errors import MedVLMError

# Sections that say what was asked or done, not what was found.
REQUEST_SECTIONS = frozenset({"indication", "technique", "comparison", "exam"})
_HISTORICAL_SECTIONS = frozenset({"history", "family history", "comparison"})
_CACHED_SENTENCES = 1 << 14
_CACHED_CHARACTERS = 400  # a longer sentence is unlikely to come again


class SpanError(MedVLMError):
    """A span that does not lie in its text."""


@dataclass(frozen=True, slots=True)
class Assertion:
    """What the text says about one mention. ``section`` is the heading that it stands under, ``""`` before any."""

    polarity: Polarity
    time: Time
    subject: Subject
    section: str

    @property
    def present(self) -> bool:
        """Whether the sentence says that this patient has it now."""
        return self.polarity == "affirmed" and self.time == "current" and self.subject == "patient"

    @property
    def counts(self) -> bool:
        """Whether the mention is evidence that this patient has it now: ``present``, and not only in the request.

        An indication ("cough, fever") names why the study was made and a technique what it looks for. "No
        pneumothorax", "possible pneumothorax" and "history of pneumothorax" never count."""
        return self.present and self.section not in REQUEST_SECTIONS


def assert_spans(text: str, spans: Sequence[tuple[int, int]]) -> list[Assertion]:
    """The assertion of each span ``[start, end)`` of ``text``, in the order given; characters, not bytes.

    Spans may overlap and stand in any order. Words inside a span never act on that span: "no-reflow phenomenon" is
    affirmed. Raises SpanError for a span that is reversed or leaves the text."""
    if not spans:
        return []
    headings = find_headings(text)
    starts = sentence_starts(text, headings)
    groups: dict[tuple[int, int], list[int]] = {}
    for number, (start, end) in enumerate(spans):
        if not 0 <= start <= end <= len(text):
            raise SpanError(
                f"Span {number} is [{start}, {end}) in a text of {len(text)} characters. Give spans inside."
            )
        first = bisect_right(starts, start) - 1
        last = max(first, bisect_right(starts, end - 1) - 1)
        groups.setdefault((first, last), []).append(number)
    starts.append(len(text))
    answers: list[Assertion | None] = [None] * len(spans)
    for (first, last), numbers in groups.items():
        begin = starts[first]
        inside = tuple((spans[number][0] - begin, spans[number][1] - begin) for number in numbers)
        section = section_at(begin, headings)
        sentence = text[begin : starts[last + 1]]
        read = _remembered if len(sentence) <= _CACHED_CHARACTERS else _read
        for number, values in zip(numbers, read(sentence, inside)):
            answers[number] = _in_section(*values, section)
    return [answer for answer in answers if answer is not None]


@lru_cache(maxsize=1 << 12)
def _in_section(polarity: Polarity, time: Time, subject: Subject, section: str) -> Assertion:
    if section in _HISTORICAL_SECTIONS and time == "current":
        time = "historical"
    if section == "family history" and subject == "patient":
        subject = "family"
    return Assertion(polarity, time, subject, section)


def _read(sentence: str, spans: tuple[tuple[int, int], ...]) -> tuple[tuple[Polarity, Time, Subject], ...]:
    scopes = Scopes(sentence, spans)
    return tuple(scopes.values(first, last) for first, last in scopes.places)


_remembered = lru_cache(maxsize=_CACHED_SENTENCES)(_read)  # reports repeat their sentences
