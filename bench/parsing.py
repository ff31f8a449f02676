"""Reading an answer out of free text, without guessing.

A closed question has a fixed set of options. A reply to it becomes exactly one of four outcomes:

- `answer`: it commits to one option;
- `abstain`: it declines, or says that it cannot tell;
- `invalid`: it names several options, or something that was not asked for;
- `unparsed`: none of the above can be read from it.

Only `answer` carries a value. Harnesses that fall back on the most similar option, or on "A", turn refusals into
answers; here what cannot be read stays unread and is shown as such. `PARSER_VERSION` is stored with every score: a
change of rules is a change of version, and saved replies can be scored again.
"""

import json
import re
import unicodedata
from collections.abc import Sequence
from typing import Literal, NamedTuple

PARSER_VERSION = "1.0"

Outcome = Literal["answer", "abstain", "invalid", "unparsed"]


class Parsed(NamedTuple):
    """What a reply says: its outcome, the option (only for `answer`), and the name of the rule that decided."""

    outcome: Outcome
    value: str | None
    rule: str


_LONGEST_READ = 20_000  # characters; an answer to a closed question that is longer has run away

_DECLINES = re.compile(
    r"\b(?:i (?:do not|don't|dont) know|i have no idea|no idea|no comment|no answer|i am sorry|i'm sorry|sorry|as an ai"
    r"|(?:can ?not|can't|cant|could not|couldn't|not able to|unable to|impossible to|not possible to|hard to"
    r"|difficult to) (?:be )?(?:determine|tell|say|assess|answer|judge|decide|evaluate|exclude|confirm|know|help|assist"
    r"|provide|comment|interpret|diagnose|rule out|ruled out|view|process|be sure)\w*"
    r"|(?:insufficient|not enough|inadequate) (?:information|evidence|data|detail|image)|please consult|consult a"
    r"|(?:indeterminate|inconclusive|equivocal|undetermined|undecided))\b"
)
_UNSURE = re.compile(
    r"\b(?:not (?:sure|certain|clear)|unsure|uncertain|unclear|unknown|maybe|perhaps|it depends|possibly|might|may)\b"
)
_HEDGE = re.compile(
    r"\b(?:possibl[ey]|probabl[ey]|suspected|suspicious|suspicion|likely|unlikely|questionable|suggest\w*|consider"
    r"|rule out)\b"
)
_NEGATION = re.compile(
    r"\b(?:no|not|without|absent|absence of|never|none|nothing|neither|nor|negative for|free of|lacks?|denies|"
    r"\w+n't|cannot)\b"
)
_YES = frozenset({"yes", "y", "yeah", "yep", "yup", "true", "affirmative", "correct"})
_NO = frozenset({"no", "n", "nope", "nah", "false", "incorrect"})
_BOTH = re.compile(r"\b(?:yes\s*(?:/|or|and|&|,)?\s*no|no\s*(?:/|or|and|&|,)?\s*yes)(?=\s*(?:$|[^\w\s]))|\bboth yes\b")
_EXISTS = {"present": "yes", "positive": "yes", "absent": "no", "negative": "no", "none": "no"}

# "No doubt there is an effusion" is not a no.
_NO_IDIOM = re.compile(
    r"^no\s+(?:doubt|question|wonder|change|problem|longer|matter|less|more|sooner|surprise|mistake)\b"
)
_HEAD = re.compile(r"^(yes|yeah|yep|no|nope)(?=$|\s*[.,;:!\n]|\s+[-\u2013\u2014]|\s*[\u2013\u2014])")
_HEAD_CLAUSE = re.compile(
    r"^(yes|no)\s+(?=(?:there|it|this|that|the|i|we|these|those|you|he|she|a|an|because|since)\b)"
)
_MARKED = re.compile(
    r"(?:\bfinal answer|\banswer|\bi(?:'d| would| will)? (?:say|answer)|\bmy answer|\bconclusion|\btherefore|\bthus"
    r"|\bhence|\bso)\s*(?:is|:|=|would be|,)?\s*[:,]?\s*[\"'(*]*(yes|no)\b[\"')*.!]*\s*$"
)
_EXISTENCE_QUESTION = re.compile(
    r"^(?:is there|are there|is an?|are|is|do you see|can you see|does|do|has|have|any|can|was|were)\b"
)

_STOPWORDS = frozenset(
    re.findall(
        r"\w+",
        "a an any the this that these those is are was were be been being there here do does did has have had can could"
        " you we i it its see seen show shows shown showing demonstrate demonstrates demonstrated visible visualised"
        " visualized present identified detected noted found apparent evident evidence sign signs suggestion suspicion"
        " of on in at to for with and or as by from image images film films radiograph radiographs x ray xray picture"
        " chest study examination view patient patients convincing obvious definite clear clearly please answer sided"
        " side",
    )
)
_MODIFIERS = frozenset(
    re.findall(
        r"\w+",
        "left right upper middle lower pleural small large mild moderate severe bilateral lung lungs zone lobe heart"
        " acute focal displaced pulmonary cardiac",
    )
)
_SIDES = frozenset({"left", "right"})
_OPPOSITES = _SIDES | {"bilateral", "both"}


def normalise(text: str) -> str:
    """Lower-cased text with plain quotes and single spaces, without markdown emphasis."""
    text = unicodedata.normalize("NFKC", text).replace("\u2019", "'").replace("\u2018", "'")
    text = re.sub(r"[*_`#]+", "", text).replace("\u201c", '"').replace("\u201d", '"')
    return re.sub(r"[^\S\n]+", " ", text).strip().lower()


def strip_reasoning(text: str) -> str | None:
    """Text after the reasoning tags; None when the reasoning never ended, so that no answer was given."""
    if re.search(r"</think(?:ing)?>", text, re.I):
        return re.split(r"</think(?:ing)?>", text, flags=re.I)[-1]
    return None if re.match(r"\s*<think(?:ing)?>", text, re.I) else text


def _wrapped(text: str) -> str | None:
    """Answer inside <answer>, \\boxed{} or a JSON object with the key "answer"; None when there is no such wrapping."""
    for pattern in (r"<answer>(.*?)</answer>", r"\\boxed\{(?:\\text\{)?([^{}]*)\}"):
        found = re.findall(pattern, text, re.I | re.S)
        if found:
            return found[-1]
    start, end = text.find("{"), text.rfind("}")
    if 0 <= start < end:
        try:
            loaded = json.loads(text[start : end + 1])
        except (ValueError, RecursionError):
            return None
        if isinstance(loaded, dict):
            value = loaded.get("answer", loaded.get("Answer"))
            return value if isinstance(value, str) else None
    return None


def _bare(text: str) -> str:
    return re.sub(r"\s+", " ", text.strip(" \t\n.,;:!?\"'()[]{}-\u2013\u2014"))


def parse_closed(text: str | None, options: Sequence[str], question: str = "", *, lettered: bool = False) -> Parsed:
    """Read the reply to a closed question.

    Args:
        text: the reply, of any form.
        options: what may be answered, as shown to the model.
        question: the question; with it, sentences such as "There is no effusion" can be read as yes or no.
        lettered: the prompt offered the options as A, B, C, ...; single letters then count.
    """
    if not text or not text.strip():
        return Parsed("unparsed", None, "empty")
    if len(text) > _LONGEST_READ:
        return Parsed("unparsed", None, "too long")
    spoken = strip_reasoning(text)
    if spoken is None:
        return Parsed("unparsed", None, "reasoning did not end")
    inner = _wrapped(spoken)
    reply = normalise(inner if inner is not None else spoken)
    by_name = {_bare(normalise(option)): option for option in options}
    bare = _bare(reply)
    if not bare:
        return Parsed("unparsed", None, "empty")
    if bare in by_name:
        return Parsed("answer", by_name[bare], "is an option")
    if lettered:
        letter = re.fullmatch(r"(?:(?:the )?(?:answer|option)(?: is)?:? ?)?\(?([a-z])\)?\.?", bare)
        if letter:
            place = ord(letter[1]) - ord("a")
            known = place < len(options)
            return Parsed("answer", options[place], "letter") if known else Parsed("invalid", None, "no such letter")
    if set(by_name) == {"yes", "no"}:
        outcome, value, rule = _yes_no(reply, bare, normalise(question))
        return Parsed(outcome, by_name[value] if value else None, rule)
    return _named_option(reply, by_name)


def _yes_no(reply: str, bare: str, question: str) -> Parsed:
    """Yes, no, or neither, from a normalised reply. The order of the rules is the order of their certainty."""
    if bare in _YES:
        return Parsed("answer", "yes", "synonym")
    if bare in _NO:
        return Parsed("answer", "no", "synonym")
    if _BOTH.search(reply):
        return Parsed("invalid", None, "both options")
    reply = re.sub(r"^(?:(?:the |my )?(?:final )?answer(?: is)?)\s*[:=]\s*(?=\w)", "", reply)
    head = _HEAD.match(reply) or _HEAD_CLAUSE.match(reply)
    if head:
        return _after_head("yes" if head[1].startswith("ye") else "no", reply[head.end() :], question)
    marked = _MARKED.search(reply)
    if marked:
        other = "no" if marked[1] == "yes" else "yes"
        if re.search(rf"\banswer\W*(?:is\W*)?{other}\b", reply):
            return Parsed("invalid", None, "both options")
        if re.search(r"\b(?:not|never|n't)\s*\W*(?:say|answer)?\s*\W*(?:yes|no)\W*$", reply):
            return Parsed("unparsed", None, "denied answer")
        return Parsed("answer", marked[1], "marked answer")
    if _DECLINES.search(reply):
        return Parsed("abstain", None, "declines")
    if _UNSURE.search(reply):
        return Parsed("abstain", None, "unsure")
    if _NO_IDIOM.match(reply):
        return Parsed("unparsed", None, "idiom")
    if bare in _EXISTS and _EXISTENCE_QUESTION.match(question):
        return Parsed("answer", _EXISTS[bare], "presence")
    return _statement(reply, question)


def _after_head(value: str, rest: str, question: str) -> Parsed:
    """A reply that opens with yes or no, unless something after it takes it back."""
    other = "no" if value == "yes" else "yes"
    if re.search(rf"(?:^|[.;!\n]|\bbut|\bactually|\bwait|\bhowever)[\s,]*{other}\s*(?:$|[.,;!\n])", rest):
        return Parsed("invalid", None, "both options")
    if _DECLINES.search(rest):
        return Parsed("abstain", None, "declines after yes or no")
    opening = re.split(r"[.;\n]|\bbut\b|\bwith\b|\bwithout\b|\balthough\b|\band\b|\bhowever\b", rest, maxsplit=1)[0]
    if value == "yes" and _NEGATION.search(opening):
        return Parsed("unparsed", None, "yes, then negated")
    affirms = re.match(r"[\s,:\u2013\u2014-]*(?:there (?:is|are)|i (?:can |do )?see|it is|they are)\s+(.*)", opening)
    if value == "no" and affirms and not _NEGATION.search(opening) and not _softened(affirms[1]):
        return Parsed("unparsed", None, "no, then affirmed")
    asked_side, said_side = _content(question) & _SIDES, _content(rest) & _SIDES
    if value == "yes" and len(asked_side) == 1 and said_side and not said_side & asked_side:
        return Parsed("unparsed", None, "yes, of the other side")
    for sentence in re.split(r"[.;\n]|\bbut\b|\bhowever\b", rest):
        if _statement(sentence, question).value == other:
            return Parsed("unparsed", None, "contradicts itself")
    return Parsed("answer", value, "opens with yes or no")


def _softened(words: str) -> bool:
    """Whether an affirmed clause speaks of normality, which goes together with a no."""
    return bool(re.search(r"\b(?:normal|clear|unremarkable|within|only|intact|healthy)\b", words))


def _statement(reply: str, question: str) -> Parsed:
    """Yes or no from a sentence that repeats the question's words, affirmed or negated once."""
    if not question or not _EXISTENCE_QUESTION.match(question) or _NEGATION.search(question):
        return Parsed("unparsed", None, "no rule")
    if "?" in reply or _EXISTENCE_QUESTION.match(reply):
        return Parsed("unparsed", None, "repeats the question")
    asked = _content(question)
    sentence = re.split(r"[.;\n]", reply, maxsplit=1)[0]
    negations = len(_NEGATION.findall(sentence))
    said = _content(_NEGATION.sub(" ", sentence))
    if not asked or not said or re.search(r"\b(?:normal|abnormal|clear)\b", question + " " + sentence):
        return Parsed("unparsed", None, "no rule")
    if _HEDGE.search(sentence):
        return Parsed("abstain", None, "hedged")
    sides_agree = (said & _OPPOSITES) <= (asked & _OPPOSITES)
    if negations == 0 and asked <= said and said - asked <= _MODIFIERS and sides_agree:
        return Parsed("answer", "yes", "affirms the question")
    if negations == 1 and said <= asked and asked - said <= _MODIFIERS and sides_agree:
        return Parsed("answer", "no", "negates the question")
    return Parsed("unparsed", None, "no rule")


def _content(text: str) -> set[str]:
    return {word for word in re.findall(r"[a-z]+", text) if word not in _STOPWORDS and len(word) > 1}


def _named_option(reply: str, by_name: dict[str, str]) -> Parsed:
    """The single option that a reply names, for questions other than yes or no."""
    named: list[tuple[str, int]] = []
    hidden = re.sub(r"\b(?:all|that's|that is|you're|you are|quite) right\b", "", reply)
    for name in sorted(by_name, key=lambda name: (-len(name), name)):
        for found in re.finditer(rf"(?<!\w){re.escape(name)}(?!\w)", hidden) if name else ():
            named.append((name, found.start()))
        hidden = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", lambda m: " " * len(m[0]), hidden) if name else hidden
    different = {name for name, _ in named}
    if len(different) > 1:
        return Parsed("invalid", None, "several options")
    if _DECLINES.search(reply):
        return Parsed("abstain", None, "declines")
    if not different:
        unsure = _UNSURE.search(reply)
        return Parsed("abstain", None, "unsure") if unsure else Parsed("unparsed", None, "no rule")
    name = different.pop()
    if _NEGATION.search(hidden):
        return Parsed("unparsed", None, "negated option")
    if _UNSURE.search(hidden):
        return Parsed("abstain", None, "unsure")
    return Parsed("answer", by_name[name], "names one option")
