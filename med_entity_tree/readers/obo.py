"""OBO flat files, 1.2 and 1.4 (hp.obo, mondo.obo, uberon.obo), line by line.

After the OBO Flat File Format 1.4 syntax of the OBO foundry: stanzas of ``tag: value`` lines, quoted strings, backslash
escapes, ``{key="value"}`` modifiers behind a value and comments behind an unescaped ``!``. Imports are not followed.
"""

import logging
import re
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from med_entity_tree.concept import Concept, Name
from med_entity_tree.errors import OntologyError
from med_entity_tree.readers.curies import parse_curie
from med_entity_tree.readers.foundry import SCOPES, Choice, Draft, squeeze
from med_entity_tree.readers.lines import MAX_LINE, head, text_lines

logger = logging.getLogger(__name__)

Clause = tuple[int, str, str]  # line, tag, value as it is written

_QUOTED = re.compile(r'\s*"((?:[^"\\]|\\.)*)"')
_PLAIN = re.compile(r"(?:[^!\\]|\\.)*")  # up to a comment
_WORD = re.compile(r'\s*((?:[^\s\\{!"]|\\.)+)')
_MODIFIERS = re.compile(r'\s*\{((?:[^{}"\\]|\\.|"(?:[^"\\]|\\.)*")*)\}')
_MODIFIER = re.compile(r'([\w.:/-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"{}]+))')
_TRAILING = re.compile(r'\s*\{\s*[\w.:/-]+\s*=(?:[^{}"\\]|\\.|"(?:[^"\\]|\\.)*")*\}$')
_ESCAPE = re.compile(r"\\(.)")
_LETTERS = {"n": "\n", "t": "\t", "W": " "}
_OLD_SCOPES = {"exact_synonym": "EXACT", "narrow_synonym": "NARROW", "broad_synonym": "BROAD"}  # OBO 1.0
_USED = {
    "id", "name", "is_obsolete", "alt_id", "def", "synonym", "xref", "xref_analog", "is_a", "relationship",
    "intersection_of", "equivalent_to", "property_value", "replaced_by", *_OLD_SCOPES, "related_synonym",
}  # fmt: skip


def read_obo(
    path: Path,
    *,
    kind: str | None = None,
    prefixes: Collection[str] | None = None,
    language: str = "en",
    dropped: Counter[str] | None = None,
) -> Iterator[Concept]:
    """The terms of an OBO file that are not obsolete, in the order of the file.

    ``alt_id``, ``equivalent_to`` and ``exactMatch`` become cross-references. ``part_of`` is a parent, after those of
    ``is_a``, and a relation too. Names hold every synonym, also one that repeats the preferred name.

    Args:
        kind: of all concepts; by default what the prefix of the id says (HP: finding, MONDO: disease, ...).
        prefixes: read only terms whose id has one of these, such as ``{"UBERON"}`` in a file with imported terms.
        language: BCP 47 tag of the names; the format has no place for it.
        dropped: counts by reason what was left out.

    Raises:
        OntologyError: not an OBO file, cut, or a line that the format does not allow; it names the line.
    """
    choice = Choice(Counter() if dropped is None else dropped, kind, prefixes)
    for clauses in _terms(path, choice.dropped):
        draft = Draft()
        for clause in clauses:
            _state(draft, clause, path, language, choice.dropped)
        if concept := draft.concept(choice):
            yield concept


def read_replacements(path: Path) -> dict[str, str]:
    """Old id -> the id that stands for it now, from ``alt_id`` and the ``replaced_by`` of obsolete terms."""
    replacements: dict[str, str] = {}
    for clauses in _terms(path, Counter()):
        ids = {tag: [] for tag in ("id", "alt_id", "replaced_by")}
        for _, tag, value in clauses:
            if tag in ids and (identity := parse_curie(_first(value)[0])):
                ids[tag].append(identity)
        for identity in ids["id"][:1]:
            replacements.update(dict.fromkeys(ids["alt_id"], identity))
            if ids["replaced_by"]:
                replacements[identity] = ids["replaced_by"][0]
    return replacements


def _terms(path: Path, dropped: Counter[str]) -> Iterator[list[Clause]]:
    """The clauses of each [Term] stanza."""
    _check_form(path)
    stanza, clauses, stanzas = "header", [], 0
    for number, line in _logical_lines(path):
        if not line or line[0] == "!":
            continue
        if line[0] == "[" and (name := line.partition("!")[0].strip()).endswith("]"):
            if stanza == "Term":
                yield clauses
            stanza, clauses, stanzas = name[1:-1], [], stanzas + 1
            continue
        tag, colon, value = line.partition(":")
        if not colon:
            raise OntologyError(f"no tag in {line[:60]!r}", "Get the file again, it may be cut", path, number)
        if stanza == "Term" and tag in _USED:
            clauses.append((number, tag, value.strip()))
        elif stanza == "header" and tag == "import":
            dropped["import that was not followed"] += 1
            logger.warning("%s imports %s, which is not read", path, value.strip())
    if stanza == "Term":
        yield clauses
    if not stanzas:
        raise OntologyError("no stanza such as [Term] in it", "Give an OBO file of the ontology", path)


def _check_form(path: Path) -> None:
    start = head(path).lstrip()
    if start.startswith("<"):
        raise OntologyError("this is XML, not OBO", "Read an OWL file with read_owl", path)
    if start.startswith(("{", "Prefix(", "@prefix")):
        todo = f"Convert it: `robot convert --input {path.name} --output {path.stem}.obo`"
        raise OntologyError("this is not OBO", todo, path)


def _logical_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines, those that end with an unescaped backslash joined with the next."""
    begun, start = "", 0
    for number, line in text_lines(path):
        if line.endswith("\\") and (len(line) - len(line.rstrip("\\"))) % 2:
            begun, start = begun + line[:-1], start or number
            if len(begun) > MAX_LINE:
                raise OntologyError(f"a line continued beyond {MAX_LINE} characters", "Give an OBO file", path, number)
        else:
            yield start or number, (begun + line).strip()
            begun, start = "", 0
    if begun:
        yield start, begun.strip()


def _state(draft: Draft, clause: Clause, path: Path, language: str, dropped: Counter[str]) -> None:
    """Take one clause into the draft."""
    line, tag, value = clause
    if tag == "id":
        draft.id = parse_curie(_first(value)[0]) or ""
    elif tag == "name":
        draft.add_label(_plain(value))
    elif tag == "is_obsolete":
        draft.obsolete = _first(value)[0] == "true"
    elif tag == "def":
        draft.definition = squeeze(_quoted(value, path, line)[0])
    elif tag == "synonym" or tag.endswith("_synonym"):
        text, rest = _quoted(value, path, line)
        scope, synonym_type = _scope(tag, rest)
        draft.add_synonym(Name(squeeze(text), language, SCOPES[scope]), synonym_type, dropped)
    elif tag in ("xref", "xref_analog", "alt_id", "equivalent_to"):
        target, rest = _first(value)
        draft.add_xref(target, [text for key, text in _modifiers(rest) if key == "source"], dropped)
    elif tag == "is_a":
        target, rest = _first(value)
        if _holds(rest, dropped):
            draft.add_parent(target, dropped)
    elif tag in ("relationship", "intersection_of"):
        _relation(draft, tag, value, dropped)
    elif tag == "property_value":
        kind, rest = _first(value)
        if kind.rpartition(":")[2].rpartition("#")[2] == "exactMatch":
            draft.add_xref(_quoted_or_word(rest), (), dropped)


def _relation(draft: Draft, tag: str, value: str, dropped: Counter[str]) -> None:
    kind, rest = _first(value)
    target, after = _first(rest)
    if not _holds(after, dropped):
        return
    if target:
        draft.add_relation(kind.lower(), target, dropped)
    elif tag == "intersection_of":
        draft.add_parent(kind, dropped, genus=True)
    else:
        dropped["relation to something that is no CURIE"] += 1


def _holds(rest: str, dropped: Counter[str]) -> bool:
    """Whether a link holds of every instance: not negated, and not only within another class (general class axiom)."""
    modifiers = _modifiers(rest)
    if any(key in ("cardinality", "maxCardinality") and text == "0" for key, text in modifiers):
        dropped["relation that is denied"] += 1
        return False
    if any(key.startswith("gci_") for key, _ in modifiers):
        dropped["relation that holds in some cases only"] += 1
        return False
    return True


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda m: _LETTERS.get(m[1], m[1]), text) if "\\" in text else text


def _plain(value: str) -> str:
    """Unquoted text, without a comment and modifiers behind it."""
    match = _PLAIN.match(value)
    text = match[0].rstrip() if match else ""
    if text.endswith("}"):
        text = _TRAILING.sub("", text)
    return _unescape(text)


def _quoted(value: str, path: Path, line: int) -> tuple[str, str]:
    match = _QUOTED.match(value)
    if not match:
        raise OntologyError(
            f"a quoted text is missing or not closed in {value[:60]!r}", "Get the file again", path, line
        )
    return _unescape(match[1]), value[match.end() :]


def _quoted_or_word(value: str) -> str:
    match = _QUOTED.match(value)
    return _unescape(match[1]) if match else _first(value)[0]


def _first(value: str) -> tuple[str, str]:
    """The first word, unescaped, and what is behind it."""
    match = _WORD.match(value)
    return (_unescape(match[1]), value[match.end() :]) if match else ("", value)


def _modifiers(rest: str) -> list[tuple[str, str]]:
    """``{key="value", ...}`` behind a value, and behind the description that a cross-reference may have."""
    if "{" not in rest:
        return []
    if description := _QUOTED.match(rest):
        rest = rest[description.end() :]
    match = _MODIFIERS.match(rest)
    found = _MODIFIER.findall(match[1]) if match else []
    return [(key, _unescape(quoted or bare)) for key, quoted, bare in found]


def _scope(tag: str, rest: str) -> tuple[str, str]:
    """Scope and type of a synonym from what is behind its text: ``EXACT layperson [] {...}``."""
    words = re.split(r"[\[{!]", rest, maxsplit=1)[0].split()
    scope = _OLD_SCOPES.get(tag, "RELATED")  # the format's default
    if words and words[0].upper() in SCOPES:
        scope = words.pop(0).upper()
    return scope, words[0] if words else ""
