"""Free text of reports: what identifies is found by rules and replaced; what is clinical stays as it is.

The rules know the patient and the staff of the source by name, and contexts in which names, numbers, addresses and
dates stand, in English and Chinese. They are rules: a name that no header gives and no context announces is not found.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field

from pretrain.deidentify import patterns
from pretrain.deidentify.dates import find_dates, move
from pretrain.deidentify.identity import (
    HAN,
    bare,
    fold,
    has_han,
    initials_of,
    is_telling,
    name_forms,
    name_parts,
    pair,
    plain_text,
)
from pretrain.deidentify.keys import Keys
from pretrain.deidentify.known import Known, Patient, own_words
from pretrain.deidentify.options import Dates, Options
from pretrain.deidentify.vocabulary import EPONYM_TAIL, common_words, eponyms

KINDS = ("uid", "email", "url", "contact", "place", "birth", "id", "date", "phone", "name", "age")
_WORD = re.compile(rf"[^\W\d_{HAN}]+(?:['’`´][^\W\d_{HAN}]+)*|[{HAN}]+")
_START, _END = rf"(?<![^\W_{HAN}])", rf"(?![^\W_{HAN}])"
_EPONYM = re.compile(EPONYM_TAIL, re.IGNORECASE)
_AFTER = re.compile(r"\.|[ \t]*(?:[,;)\n]|\Z)")  # what may follow an initial; "Smithson L breast" goes on
# Dotted, they are written for a view, a place or a complaint.
_NO_INITIALS = frozenset("AP PA LL RL US UK CT MR IV SOB LLL RLL LUL RUL RML TB MD RN PT OT DC PM AM".split())
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
        self._places = _Places(0, None, frozenset(), None, None)

    def clean(self, text: str, patient: Patient | None) -> Cleaned:
        """The text with everything found replaced.

        Args:
            patient: whose text it is; None where unknown: dates are then removed, since there is no shift for them.
        """
        text = plain_text(text)
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
        yield "id", self._linked
        yield "id", lambda text: _all(patterns.LABELLED_ID, text, "[ID]")
        if self.options.dates is not Dates.keep:
            yield "date", lambda text: self._dates(text, patient)
        yield "phone", lambda text: _all(patterns.PHONE, text, "[PHONE]")
        yield "id", lambda text: _all(patterns.BARE_ID, text, "[ID]")
        yield "name", lambda text: self._known_names(text, patient)
        yield "name", lambda text: ((a, b, "[NAME]") for a, b in patterns.names_in_context(text))
        yield "age", lambda text: _all(patterns.OLD_AGE, text, "90+")

    def _known(self) -> "_Places":
        """Patterns of what is known of everybody, made again when more has become known."""
        known = self.known
        size = len(known.places) + len(known.devices) + len(known.han)
        if self._places.size != size:
            words = frozenset(own_words(known.places))
            patterns_of = _any_of(known.places, 4), words, _any_of(known.devices, 5), _any_of(known.han, 2)
            self._places = _Places(size, *patterns_of)
        return self._places

    def _own(self, patient: Patient) -> "_Own":
        """The patient's patterns, made again when more has become known."""
        sizes = (len(patient.names), len(patient.ids), len(patient.contacts))
        cached = self._patterns.get(patient.key)
        if cached is None or cached.sizes != sizes:
            if len(self._patterns) > 256:
                self._patterns.clear()
            parts = frozenset(part for name in patient.names for part in name_parts(name))
            forms = {f for name in patient.names for f in name_forms(name)}
            initials = {short for name in patient.names for short in initials_of(name)}
            cached = self._patterns[patient.key] = _Own(
                sizes,
                _any_of(forms | {p for p in parts if has_han(p) and is_telling(p)}, 2),
                parts,
                _initials(initials - _NO_INITIALS),
                frozenset("".join(initials)),
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
        for year in (patterns.BIRTH_YEAR.match(text, end) for end in sorted(ends)):
            if year:
                yield *year.span(), "[DATE]"

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

    def _linked(self, text: str) -> Iterator[tuple[int, int, str]]:
        """Numbers of other patients of the source."""
        for match in patterns.TOKEN.finditer(text):
            if sum(c.isdigit() for c in match.group()) >= 4 and self.known.is_number(match.group()):
                yield *match.span(), "[ID]"

    def _known_names(self, text: str, patient: Patient | None) -> Iterator[tuple[int, int, str]]:
        """The patient's name in any form, parts of it, staff, and other patients by family and given name together.

        Of a text that is nobody's, every patient's name counts as the patient's own.
        """
        if patient is not None:
            yield from _all(self._own(patient).names, text, "[NAME]")
            yield from _all(self._own(patient).initials, text, "[NAME]")
        yield from _all(self._known().han, text, "[NAME]")
        own = self._own(patient).parts if patient is not None else self.known.parts
        letters = self._own(patient).letters if patient is not None else frozenset()
        words = _Words(text)
        hits = words.named(own, self.known.staff, self.known.pairs)
        for i, hit in enumerate(hits):
            if hit:
                first, last = words.with_initials(i, letters)
                yield words.start(first), words.end(last), "[NAME]"

    def _repeated_names(self, text: str, taken: "_Taken") -> None:
        """A surname that was announced once ("Dr. Okonkwo") is removed wherever it stands again."""
        parts = {
            part
            for span in taken.spans
            if span.kind == "name"
            for part in name_parts(text[span.start : span.end])
            if (is_telling(part) if has_han(part) else len(part) > 3) and part not in common_words()
        }
        if not parts:
            return
        words = _Words(text)
        for i, base in enumerate(words.bases):
            if base in parts and not words.is_eponym(i):
                taken.add(Span(words.start(i), words.end(i), "name", "[NAME]"))
        for part in parts:
            if has_han(part):
                for match in re.finditer(re.escape(part), text):
                    taken.add(Span(*match.span(), "name", "[NAME]"))


class _Words:
    """The words of a text, folded, and which of them are names."""

    def __init__(self, text: str):
        self.text, self.matches = text, list(_WORD.finditer(text))
        # A possessive s is no part of the name and stays.
        self.bases = [bare(re.sub(r"['’`´]s\Z", "", m.group(), flags=re.IGNORECASE)) for m in self.matches]

    def start(self, i: int) -> int:
        return self.matches[i].start()

    def end(self, i: int) -> int:
        match = self.matches[i]
        return match.end() - 2 * bool(re.search(r"['’`´][sS]\Z", match.group()))

    def gap(self, i: int, j: int) -> int:
        """Characters between two words; many where there is no such word."""
        a, b = sorted((i, j))
        return self.start(b) - self.matches[a].end() if a >= 0 and b < len(self.matches) else 99

    def is_eponym(self, i: int) -> bool:
        """True for the name of a disease or a device: Hodgkin lymphoma."""
        start, end = self.start(i), self.end(i)
        if self.bases[i] not in eponyms():
            return False
        return bool(_EPONYM.match(self.text, end)) or self.text[max(0, start - 4) : start].lower() == "non-"

    def named(self, own: Collection[str], staff: Collection[str], pairs: Collection[str]) -> list[bool]:
        """Which words are names: alone, two or three run together (Mc Donald), or beside another part."""
        bases, count = self.bases, len(self.bases)
        hits = [self._alone(i, own, staff) for i in range(count)]
        for i in range(count - 1):
            if self.gap(i, i + 1) > 2:
                continue
            if pair(bases[i], bases[i + 1]) in pairs:
                hits[i] = hits[i + 1] = True
            for n in (2, 3) if i + 2 < count and self.gap(i + 1, i + 2) <= 2 else (2,):
                whole = "".join(bases[i : i + n])
                if len(whole) > 4 and (whole in own or whole in staff) and whole not in common_words():
                    hits[i : i + n] = [True] * n
        for i in range(count):  # a part that is also a word of the language counts beside another part
            if hits[i] or bases[i] not in own or len(bases[i]) < 2 or self.is_eponym(i):
                continue
            beside = any(self.gap(i, j) <= 2 and hits[j] for j in (i - 1, i + 1))
            hits[i] = beside or bool(_TITLE_BEFORE.search(self.text[max(0, self.start(i) - 10) : self.start(i)]))
        return hits

    def _alone(self, i: int, own: Collection[str], staff: Collection[str]) -> bool:
        base = self.bases[i]
        if base in staff or (base in own and base not in common_words()):
            return (len(base) > 2 or (len(base) == 2 and self.matches[i].group()[0].isupper())) and not self.is_eponym(
                i
            )
        plural = base.removesuffix("s")  # the Smithsons
        return plural != base and len(plural) > 4 and plural in own and plural not in common_words()

    def with_initials(self, i: int, letters: Collection[str]) -> tuple[int, int]:
        """First and last word of a name with the initials before it, and the person's own ones behind it."""
        first = last = i
        while self.gap(first - 1, first) <= 2 and self._is_initial(first - 1, letters, behind=False):
            first -= 1
        while self.gap(last, last + 1) <= 2 and self._is_initial(last + 1, letters, behind=True):
            last += 1
        return first, last

    def _is_initial(self, i: int, letters: Collection[str], *, behind: bool) -> bool:
        word, end = self.matches[i].group(), self.matches[i].end()
        if not word.isupper() or len(word) > 2:
            return False
        is_own = set(fold(word).upper()) <= set(letters)
        return is_own and bool(_AFTER.match(self.text, end)) if behind else is_own or len(word) == 1


@dataclass(frozen=True)
class _Places:
    """Known institutions as a pattern, the words that give them away, devices, and names in characters.

    ``size`` tells when it is out of date.
    """

    size: int
    names: re.Pattern[str] | None
    words: frozenset[str]
    devices: re.Pattern[str] | None
    han: re.Pattern[str] | None


@dataclass(frozen=True)
class _Own:
    """A patient's names, numbers and addresses as patterns; ``sizes`` tells when they are out of date."""

    sizes: tuple[int, int, int]
    names: re.Pattern[str] | None
    parts: frozenset[str]
    initials: re.Pattern[str] | None
    letters: frozenset[str]
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
        choices.append(body if has_han(value) else f"{_START}{body}{_END}")
    return re.compile("|".join(choices), re.IGNORECASE) if choices else None


def _initials(known: Iterable[str]) -> re.Pattern[str] | None:
    """Initials with points (J.Q.S.), and without them behind a word for the patient (pt JQS)."""
    choices = []
    for letters in sorted(known):
        dotted = r"\.[ ]?".join(letters)
        choices.append(
            rf"(?<![\w.]){dotted}\.(?!\w)"
            rf"|(?i:(?<=patient )|(?<=pt )|(?<=pt\. )|(?<=initials )|(?<=initials: )){letters}\b"
        )
    return re.compile("|".join(choices)) if choices else None


def _ids_of(patient: Patient) -> re.Pattern[str] | None:
    """The patient's numbers, with or without leading zeros, with separators between any two characters, and glued to a
    label (MRN0081234)."""
    choices = []
    for value in sorted(patient.ids, key=lambda v: (-len(v), v)):
        core = re.sub(r"[\W_]+", "", value).lstrip("0") or value
        if len(core) < 3 or fold(core) in common_words() or (core.isdigit() and len(core) < 4):
            continue
        gap = r"[\W_]?" if len(core) > 4 else ""
        body = gap.join(re.escape(c) for c in core)
        before = r"(?<!\d)" if core[0].isdigit() and len(core) > 4 else _START
        after = r"(?!\d)" if core[-1].isdigit() and len(core) > 4 else _END
        choices.append(rf"{before}(?:0{gap})*{body}{after}")
    return re.compile("|".join(choices), re.IGNORECASE) if choices else None
