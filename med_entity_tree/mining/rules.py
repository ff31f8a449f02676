"""The rule extractor: what to do without a model. It proposes names by their form and says that it is one.

A name is looked for around a head: an entity that the tree knows, or a last word of medical form (``heads.tsv``:
"-itis", "opacity"). The head is extended to the left by words that ontologies use in names, up to a word of
``breaks.tsv``, a number or a mark: in "a small left calcified hilar granuloma" the candidates are "calcified hilar
granuloma" and, seen inside it, "hilar granuloma". A long form before an abbreviation in brackets is found as Schwartz
and Hearst (2003) do.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files

from med_entity_tree.entity import Entity
from med_entity_tree.mining.extraction import Extracted, Mention, kinds_agree
from med_entity_tree.mining.passages import Passage
from med_entity_tree.names import name_key, normal_word, words
from med_entity_tree.tagger import Tagger

_WORD = re.compile(r"[0-9A-Za-zÀ-ɏͰ-Ͽ]+(?:[-'’/][0-9A-Za-zÀ-ɏͰ-Ͽ]+)*|\n\s*\n|[^\s]")
_INSIDE = re.compile(r"[-'’/]")
_ADJECTIVE = re.compile(r"(?:al|ar|ic|ous|oid|ary|ive|eal|ial|less|form|genic|able|ible|iac)$")
_BLANK = re.compile(r"^(?:x{2,}|_+)$", re.I)
_BRACKET = re.compile(r"\(([A-Za-z0-9][A-Za-z0-9/-]{1,9})\)")
# Of an organ with one of these a finding is meant, not a part of the body.
_ABNORMAL = re.compile(
    r"^(?:[a-z]+ed|tortuous|ectatic|prominent|collapsing|enlarging|hyper[a-z]+|hypo[a-z]+|abnormal|absent|missing"
    r"|patulous|cystic|degenerative|fatty|edematous|fluid|[a-z]+tic)$"
)
_NOT_ABNORMAL = frozenset("paired mixed lobed striated thoracic pelvic optic hepatic gastric pancreatic aortic".split())
LONGEST = 5  # words of a candidate


@dataclass(frozen=True, slots=True)
class _Piece:
    """A word, or several that are one known entity (``entity`` is its id); ``stop`` words end a name."""

    start: int
    end: int
    text: str
    entity: str = ""
    stop: bool = False
    blank: bool = False  # stands for words that were taken out
    cut: bool = False  # stands behind a blank


class RuleExtractor:
    """Finds candidates next to the entities of a tree; what it knows of words, it has from the names in there."""

    name = "rules"
    chunk = 2048

    def __init__(self, entities: Iterable[Entity], tagger: Tagger | None = None):
        every = list(entities)
        self.settings: dict = {"rules": _version()}
        self._tagger = tagger or Tagger.of(every)
        self._kind = {entity.id: entity.kind for entity in every}
        self._vocabulary = {word for entity in every for word in words(entity.name)}
        self._heads, self._suffixes = _heads()
        self._breaks = _breaks()

    def __call__(self, passages: Sequence[Passage]) -> Extracted:
        made = Extracted()
        for passage, found in zip(passages, self._tagger.find_many([p.text for p in passages]), strict=True):
            seen: dict[tuple[str, str], Mention] = {}
            for name, kind, whole, short in self._names(passage.text, found):
                if not kind:
                    made.refused["a long form of no known kind"] += 1
                    continue
                key = name_key(name), kind
                if not key[0]:
                    continue
                known = seen.get(key)
                if known is None or (whole and not known.whole) or (short and not known.short):
                    seen[key] = Mention(
                        passage.id, passage.document, name, kind, whole or bool(known and known.whole),
                        short or (known.short if known else ""),
                    )  # fmt: skip
            made.mentions += seen.values()
        return made

    def _names(self, text: str, found: list[tuple[int, int, str]]) -> Iterator[tuple[str, str, bool, str]]:
        """Names in a text as (name, kind, whole, abbreviation); kind is "" where none is known."""
        for start, end, entity in found:
            yield text[start:end], self._kind[entity], True, ""
        for run in self._runs(text, found):
            yield from self._candidates(text, run)
        for bracket in _BRACKET.finditer(text):
            long = long_form(bracket[1], text[: bracket.start()])
            if long:
                yield long, self._kind_of(long, found, text), True, bracket[1]

    def _runs(self, text: str, found: list[tuple[int, int, str]]) -> Iterator[list[_Piece]]:
        """Words and known entities that stand together with nothing between them that ends a name."""
        run: list[_Piece] = []
        blank = False
        for piece in self._pieces(text, found):
            if piece.stop:
                if run and not piece.blank:  # before a blank the head of the name may be what was taken out
                    yield run
                run = []
            else:
                run.append(replace(piece, cut=blank) if blank else piece)
            blank = piece.blank
        if run:
            yield run

    def _pieces(self, text: str, found: list[tuple[int, int, str]]) -> Iterator[_Piece]:
        at, spans = 0, iter(found)
        span = next(spans, None)
        for match in _WORD.finditer(text):
            if match.start() < at:
                continue
            while span and span[0] < match.start():
                span = next(spans, None)
            if span and span[0] < match.end():
                start, end, entity = span
                name = text[start:end]
                yield _Piece(start, end, name, entity, stop=name.lower() in self._breaks)
                at, span = end, next(spans, None)
            else:
                word = match[0]
                yield _Piece(match.start(), match.end(), word, "", self._stops(word), bool(_BLANK.match(word)))

    def _stops(self, word: str) -> bool:
        return (
            not word[0].isalpha()
            or any(character.isdigit() for character in word)
            or bool(_BLANK.match(word))
            or word.lower() in self._breaks
            or all(part in self._breaks for part in _INSIDE.split(word.lower().removesuffix("'s")))
            or word.lower().endswith("ly")
        )

    def _candidates(self, text: str, run: list[_Piece]) -> Iterator[tuple[str, str, bool, str]]:
        """The longest name before the last head of a run, and those inside it that end with the same head."""
        heads = [self._head(piece) for piece in run]
        last = max((n for n, (kind, _) in enumerate(heads) if kind), default=None)
        if last is None:
            return
        starts, first = [], last
        while first and self._modifies(run[first - 1]) and self._count(run[first - 1 : last + 1]) <= LONGEST:
            if heads[last][0] == "anatomy" and heads[first - 1][0] not in ("", "anatomy"):
                break  # "degenerative changes thoracic spine": two names, and a preposition left out
            first -= 1
            after_side = self._after_side(run[first])
            starts.append((first, run[first].start + after_side))
            if after_side:
                break
        kind, alone = heads[last]
        if alone and not run[last].entity:
            starts.insert(0, (last, run[last].start))
        for n, start in starts:
            abnormal = kind == "anatomy" and any(self._abnormal(piece) for piece in run[n:last])
            yield text[start : run[last].end], "finding" if abnormal else kind, n == first and not run[n].cut, ""

    def _head(self, piece: _Piece) -> tuple[str, bool]:
        """The kind that a name has which ends here, "" for none, and whether the piece is a name by itself."""
        listed = self._kind_of_word(piece.text) if " " not in piece.text else ("", False)
        if piece.entity and (not listed[0] or kinds_agree(listed[0], self._kind[piece.entity])):
            return self._kind[piece.entity], True
        return listed

    def _after_side(self, piece: _Piece) -> int:
        """Where the name of a known entity goes on after a word such as "left"; 0 where it begins with no such word."""
        word, space, _ = piece.text.partition(" ")
        return len(word + space) if space and word.lower() in self._breaks else 0

    @staticmethod
    def _count(pieces: Sequence[_Piece]) -> int:
        return sum(len(words(piece.text)) for piece in pieces)

    def _modifies(self, piece: _Piece) -> bool:
        return bool(piece.entity) or self._adjective(piece.text)

    def _adjective(self, word: str) -> bool:
        return all(
            normal_word(part) in self._vocabulary or bool(_ADJECTIVE.search(part.lower()))
            for part in _INSIDE.split(word)
        )

    @staticmethod
    def _abnormal(piece: _Piece) -> bool:
        word = piece.text.lower()
        return not piece.entity and word not in _NOT_ABNORMAL and bool(_ABNORMAL.match(word))

    def _kind_of_word(self, word: str) -> tuple[str, bool]:
        normal = normal_word(_INSIDE.split(word)[-1])
        if normal in self._heads:
            return self._heads[normal]
        fits = (kind for suffix, kind in self._suffixes if normal.endswith(suffix) and len(normal) > len(suffix) + 2)
        kind = next(fits, "")
        return kind, bool(kind)

    def _kind_of(self, name: str, found: list[tuple[int, int, str]], text: str) -> str:
        """The kind of a long form: of the known entity that it ends with, else of its last word."""
        end = text.rfind(name) + len(name)
        ending = [entity for start, stop, entity in found if stop == end and start >= end - len(name)]
        return self._kind[ending[-1]] if ending else self._kind_of_word(name.split()[-1])[0]


def long_form(short: str, before: str) -> str:
    """The words before a bracket that an abbreviation was made of, or "" (Schwartz and Hearst 2003, algorithm 1).

    >>> long_form("ARDS", "in acute respiratory distress syndrome ")
    'acute respiratory distress syndrome'
    """
    letters = [c for c in short if c.isalnum()]
    if len(letters) < 2 or not any(c.isupper() for c in short) or not letters[0].isalpha():
        return ""
    sentence = re.split(r"[.;:!?()]\s|\n", before)[-1].rstrip()
    tail = " ".join(sentence.split()[-min(len(letters) + 5, 2 * len(letters)) :])
    at = len(tail) - 1
    for n in range(len(letters) - 1, -1, -1):
        wanted = letters[n].lower()
        while at >= 0 and (tail[at].lower() != wanted or (n == 0 and at > 0 and tail[at - 1].isalnum())):
            at -= 1
        if at < 0:
            return ""
        at -= 1
    found = tail[at + 1 :].strip()
    fits = len(found) > len(short) and short.lower() not in found.lower().split() and found in before
    return found if fits and re.fullmatch(r"[\w'’/, -]+", found) else ""


def _version() -> str:
    """Of the rules and their words, so that what other rules found is not taken for theirs."""
    here = files("med_entity_tree.mining")
    data = b"".join((here / name).read_bytes() for name in ("rules.py", "heads.tsv", "breaks.tsv"))
    return hashlib.sha256(data).hexdigest()[:16]


def _rows(name: str) -> Iterator[str]:
    text = (files("med_entity_tree.mining") / name).read_text("utf-8")
    return (row for row in text.splitlines() if row and not row.startswith("#"))


def _breaks() -> frozenset[str]:
    return frozenset(word for row in _rows("breaks.tsv") for word in row.split())


def _heads() -> tuple[dict[str, tuple[str, bool]], list[tuple[str, str]]]:
    """Head words in normal form with their kinds and whether they stand alone, and suffixes, the longest first."""
    heads: dict[str, tuple[str, bool]] = {}
    suffixes: list[tuple[str, str]] = []
    for row in _rows("heads.tsv"):
        kind, entries = row.split("\t")
        for entry in entries.split():
            if entry.startswith("-"):
                suffixes.append((entry[1:], kind))
            else:
                heads[normal_word(entry.rstrip("+"))] = kind, not entry.endswith("+")
    return heads, sorted(suffixes, key=lambda item: (-len(item[0]), item))
