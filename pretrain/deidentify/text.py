"""Free text of reports: what identifies is found by rules and replaced; what is clinical stays as it is.

The rules know the patient and the staff of the source by name, and contexts in which names, numbers, addresses and
dates stand, in English and Chinese. They are rules: a name that no header gives and no context announces is not found.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from pretrain.deidentify import patterns
from pretrain.deidentify.dates import find_dates, move
from pretrain.deidentify.identity import fold, has_han, name_forms, name_parts
from pretrain.deidentify.keys import Keys
from pretrain.deidentify.known import Known, Patient, own_words
from pretrain.deidentify.options import Dates, Options
from pretrain.deidentify.vocabulary import common_words

KINDS = ("uid", "email", "url", "contact", "place", "birth", "id", "date", "phone", "name", "age")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_WORD_OR_DIGIT = re.compile(r"[^\W_]{2}|\d|[\u4e00-\u9fff]|\b[A-Z]\b")
_TITLE_BEFORE = re.compile(r"(?:\b(?:mr|mrs|ms|miss|dr|prof|patient|pt|name)\b[.:,]?\s*)\Z", re.IGNORECASE)


@dataclass(frozen=True)
class Span:
    """A place in a text that identifies.

    Attributes:
        start, end: in the text.
        kind: one of :data:`KINDS`.
        new: what stands there afterwards.
    """

    start: int
    end: int
    kind: str
    new: str


@dataclass
class Cleaned:
    """A text without what identifies, and how much of each kind was replaced."""

    text: str
    counts: Counter = field(default_factory=Counter)


class TextCleaner:
    """Finds and replaces what identifies.

    Args:
        keys: for UIDs and for the days that dates move.
        options: dates, UIDs, institution, date order.
        known: people and places of the source.
        kinds: of :data:`KINDS`; fewer are for tests only.
    """

    def __init__(self, keys: Keys, options: Options, known: Known, kinds: Iterable[str] = KINDS):
        self.keys, self.options, self.known = keys, options, known
        self.kinds = frozenset(kinds)
        self._patterns: dict[str, _Own] = {}
        self._places = _Places(0, None, frozenset(), None)

    def clean(self, text: str, patient: Patient | None) -> Cleaned:
        """The text with everything found replaced.

        Args:
            patient: whose text it is; None where unknown: dates are then removed, since there is no shift for them.
        """
        spans = _joined(text, [s for s in self.find(text, patient) if s.kind in self.kinds])
        out, at = [], 0
        for span in spans:
            out += [text[at : span.start], span.new]
            at = span.end
        return Cleaned("".join([*out, text[at:]]), Counter(s.kind for s in spans))

    def names_known(self, text: str, patient: Patient) -> bool:
        """True where a short text names the patient, one of their numbers, staff or a known place."""
        rules = [
            self._own(patient).contacts,
            self._own(patient).ids,
            *([] if self.options.keep_institution else [self._known().names]),
        ]
        if any(rule.search(text) for rule in rules if rule):
            return True
        return any(True for _ in self._known_names(text, patient))

    def find(self, text: str, patient: Patient | None) -> list[Span]:
        """All spans, in order and apart from each other; of two that overlap the one of the earlier rule counts."""
        taken = _Taken(text)
        for kind, rule in self._rules(patient):
            for start, end, new in rule(text):
                taken.add(Span(start, end, kind, new))
        self._repeated_names(text, taken)
        return taken.in_order()

    def _rules(self, patient: Patient | None) -> Iterator[tuple[str, Callable[[str], Iterable[tuple[int, int, str]]]]]:
        if not self.options.keep_uids:
            yield "uid", self._uids
        yield "email", lambda text: _all(patterns.EMAIL, text, "[EMAIL]")
        yield "url", lambda text: _all(patterns.URL, text, "[URL]")
        if patient is not None:
            yield "contact", lambda text: _all(self._own(patient).contacts, text, "[ADDRESS]")
        yield "contact", lambda text: _all(patterns.ADDRESS, text, "[ADDRESS]")
        if not self.options.keep_institution:
            yield "place", self._known_places
            yield "place", lambda text: ((a, b, "[HOSPITAL]") for a, b in patterns.places_in_context(text))
        if not self.options.shift_birth_date and self.options.dates is not Dates.keep:
            yield "birth", self._births
        if patient is not None:
            yield "id", lambda text: _all(self._own(patient).ids, text, "[ID]")
        if not self.options.keep_device:
            yield "id", lambda text: _all(self._known().devices, text, "[ID]")
        yield "id", lambda text: _all(patterns.LABELLED_ID, text, "[ID]")
        if self.options.dates is not Dates.keep:
            yield "date", lambda text: self._dates(text, patient)
        yield "phone", lambda text: _all(patterns.PHONE, text, "[PHONE]")
        yield "id", lambda text: _all(patterns.BARE_ID, text, "[ID]")
        yield "name", lambda text: self._known_names(text, patient)
        yield "name", lambda text: ((a, b, "[NAME]") for a, b in patterns.names_in_context(text))
        yield "age", lambda text: _all(patterns.OLD_AGE, text, "90+")

    def _known(self) -> "_Places":
        """Patterns of the known places, made again when more have become known."""
        size = len(self.known.places) + len(self.known.devices)
        if self._places.size != size:
            words = frozenset(own_words(self.known.places))
            self._places = _Places(size, _any_of(self.known.places, 4), words, _any_of(self.known.devices, 5))
        return self._places

    def _own(self, patient: Patient) -> "_Own":
        """The patient's patterns, made again when more has become known."""
        sizes = (len(patient.names), len(patient.ids), len(patient.contacts))
        cached = self._patterns.get(patient.key)
        if cached is None or cached.sizes != sizes:
            if len(self._patterns) > 256:
                self._patterns.clear()
            cached = self._patterns[patient.key] = _Own(
                sizes,
                _any_of((f for name in patient.names for f in name_forms(name)), 2),
                frozenset(part for name in patient.names for part in name_parts(name)),
                _ids_of(patient),
                _any_of(patient.contacts, 5),
            )
        return cached

    def _uids(self, text: str) -> Iterator[tuple[int, int, str]]:
        for match in patterns.UID.finditer(text):
            yield *match.span(), self.keys.uid(match.group())

    def _births(self, text: str) -> Iterator[tuple[int, int, str]]:
        """Dates that stand right behind "born" and its like, or right before 出生."""
        found = list(find_dates(text, self.options.date_order))
        ends = {match.end() for match in patterns.BIRTH_LABEL.finditer(text)}
        for day in found:
            if day.start in ends or patterns.BIRTH_AFTER.match(text, day.end):
                yield day.start, day.end, "[DATE]"

    def _dates(self, text: str, patient: Patient | None) -> Iterator[tuple[int, int, str]]:
        days = self.keys.shift_days(patient.key) if patient is not None else 0
        for found in find_dates(text, self.options.date_order):
            new = "[DATE]"
            if found.day and found.write and patient is not None and self.options.dates is Dates.shift:
                moved = move(found.day, days)
                if moved is not None and (found.day not in patient.births or self.options.shift_birth_date):
                    new = found.write(moved)
            yield found.start, found.end, new

    def _known_places(self, text: str) -> Iterator[tuple[int, int, str]]:
        yield from _all(self._known().names, text, "[HOSPITAL]")
        for match in _WORD.finditer(text):
            if fold(match.group()) in self._known().words:
                yield *match.span(), "[HOSPITAL]"

    def _known_names(self, text: str, patient: Patient | None) -> Iterator[tuple[int, int, str]]:
        """The patient's name in any form, parts of it, staff, and other patients by family and given name together."""
        own = self._own(patient).parts if patient is not None else frozenset()
        if patient is not None:
            yield from _all(self._own(patient).names, text, "[NAME]")
        words = list(_WORD.finditer(text))
        folded = [fold(m.group()) for m in words]
        bases = [w.removesuffix("'s").removesuffix("’s") for w in folded]
        hits = [
            (b in own and b not in common_words() and len(b) > 1 and (len(b) > 2 or m.group()[0].isupper()))
            or b in self.known.staff
            for b, m in zip(bases, words)
        ]
        for i in range(len(words) - 1):
            is_near = words[i + 1].start() - words[i].end() <= 2
            if is_near and (bases[i], bases[i + 1]) in self.known.pairs:
                hits[i] = hits[i + 1] = True
        for i, word in enumerate(bases):  # a part that is also a word of the language counts beside another part
            if hits[i] or word not in own or len(word) < 2:
                continue
            beside = any(hits[j] and _gap(words, i, j) <= 2 for j in (i - 1, i + 1) if 0 <= j < len(words))
            hits[i] = beside or bool(_TITLE_BEFORE.search(text[max(0, words[i].start() - 10) : words[i].start()]))
        for i, hit in enumerate(hits):
            if hit:
                start, end = words[i].span()
                end -= len(folded[i]) - len(bases[i]) if len(folded[i]) == end - start else 0
                if i and len(bases[i - 1]) == 1 and words[i - 1].group().isupper() and _gap(words, i - 1, i) <= 2:
                    start = words[i - 1].start()
                yield start, end, "[NAME]"

    def _repeated_names(self, text: str, taken: "_Taken") -> None:
        """A surname that was announced once ("Dr. Okonkwo") is removed wherever it stands again."""
        parts = {
            part
            for span in taken.spans
            if span.kind == "name"
            for part in name_parts(text[span.start : span.end])
            if len(part) > (1 if has_han(part) else 3) and part not in common_words()
        }
        if not parts:
            return
        for match in _WORD.finditer(text):
            if fold(match.group()).removesuffix("'s").removesuffix("’s") in parts:
                end = match.end() - (2 if match.group()[-2:-1] in "'’" else 0)
                taken.add(Span(match.start(), end, "name", "[NAME]"))
        for part in parts:
            if has_han(part):
                for match in re.finditer(re.escape(part), text):
                    taken.add(Span(*match.span(), "name", "[NAME]"))


@dataclass(frozen=True)
class _Places:
    """Known institutions as a pattern, the words that give them away, and devices; ``size`` tells when out of date."""

    size: int
    names: re.Pattern[str] | None
    words: frozenset[str]
    devices: re.Pattern[str] | None


@dataclass(frozen=True)
class _Own:
    """A patient's names, numbers and addresses as patterns; ``sizes`` tells when they are out of date."""

    sizes: tuple[int, int, int]
    names: re.Pattern[str] | None
    parts: frozenset[str]
    ids: re.Pattern[str] | None
    contacts: re.Pattern[str] | None


class _Taken:
    """Spans that do not overlap; the first to come stays."""

    def __init__(self, text: str):
        self.text = text
        self.spans: list[Span] = []

    def add(self, span: Span) -> None:
        """Take the span; where a mark replaces it, also what is left of it beside spans that are there already."""
        over = sorted((s for s in self.spans if span.start < s.end and s.start < span.end), key=lambda s: s.start)
        if not over:
            self.spans += [span] if span.end > span.start else []
        elif span.new.startswith("["):
            edges = [span.start, *(e for s in over for e in (s.start, s.end)), span.end]
            for start, end in zip(edges[::2], edges[1::2]):
                if start < end and _WORD_OR_DIGIT.search(self.text, start, end):
                    self.spans.append(Span(start, end, span.kind, span.new))

    def in_order(self) -> list[Span]:
        return sorted(self.spans, key=lambda s: s.start)


def _joined(text: str, spans: list[Span]) -> list[Span]:
    """Neighbours with the same mark and nothing but blanks or a comma between become one."""
    out: list[Span] = []
    for span in spans:
        if (
            out
            and span.new.startswith("[")
            and out[-1].new == span.new
            and not text[out[-1].end : span.start].strip(" ,.")
        ):
            out[-1] = Span(out[-1].start, span.end, span.kind, span.new)
        else:
            out.append(span)
    return out


def _gap(words: list[re.Match[str]], i: int, j: int) -> int:
    a, b = sorted((i, j))
    return words[b].start() - words[a].end()


def _all(pattern: re.Pattern[str] | None, text: str, new: str) -> Iterator[tuple[int, int, str]]:
    """Matches of the pattern; its group ``what`` (or one numbered ``what1``, ...) where it has one."""
    if pattern is None:
        return
    names = [n for n in pattern.groupindex if n.startswith("what")]
    for match in pattern.finditer(text):
        spans = [match.span(n) for n in names if match.start(n) >= 0] or ([match.span()] if not names else [])
        for start, end in spans:
            yield start, end, new


def _any_of(values: Iterable[str], least: int) -> re.Pattern[str] | None:
    """A pattern for any of the values, blanks as any blanks, whole words only; Chinese anywhere."""
    choices = []
    for value in sorted({v.strip() for v in values}, key=lambda v: (-len(v), v)):
        if len(value) < least or (fold(value) in common_words()):
            continue
        body = r"\s+".join(re.escape(word) for word in value.split())
        choices.append(body if has_han(value) else rf"(?<![^\W_]){body}(?![^\W_])")
    return re.compile("|".join(choices), re.IGNORECASE) if choices else None


def _ids_of(patient: Patient) -> re.Pattern[str] | None:
    """The patient's numbers, with or without leading zeros, and with separators between any two characters."""
    choices = []
    for value in sorted(patient.ids, key=lambda v: (-len(v), v)):
        core = re.sub(r"[\W_]+", "", value).lstrip("0") or value
        if len(core) < 3 or fold(core) in common_words() or (core.isdigit() and len(core) < 4):
            continue
        gap = r"[\s./_-]?" if len(core) > 4 else ""
        body = gap.join(re.escape(c) for c in core)
        choices.append(rf"(?<![^\W_])0*{body}(?![^\W_])")
    return re.compile("|".join(choices), re.IGNORECASE) if choices else None
