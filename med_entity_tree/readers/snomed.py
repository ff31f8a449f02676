"""SNOMED CT, Release Format 2, snapshot: concepts, descriptions, relations and language reference sets, joined on disk.

Columns, identifiers of types and names of files after the SNOMED CT Release File Specifications, chapters 3 to 5.
"""

import re
from array import array
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from med_entity_tree.concept import Concept, Name, Relation
from med_entity_tree.errors import OntologyError
from med_entity_tree.readers import kinds
from med_entity_tree.readers.foundry import squeeze
from med_entity_tree.readers.join import Join
from med_entity_tree.readers.languages import language_rank, language_tag
from med_entity_tree.readers.lines import delimited_rows

_CONCEPT = "id effectiveTime active moduleId definitionStatusId".split()
_DESCRIPTION = (
    "id effectiveTime active moduleId conceptId languageCode typeId term caseSignificanceId".split()
)  # TextDefinition has the same
_RELATIONSHIP = (
    "id effectiveTime active moduleId sourceId destinationId relationshipGroup typeId characteristicTypeId modifierId"
).split()
_LANGUAGE = "id effectiveTime active moduleId refsetId referencedComponentId acceptabilityId".split()

_FULLY_SPECIFIED = "900000000000003001"
_PREFERRED = "900000000000548007"
_STATED = "900000000000010007"
_IS_A = "116680003"
_REFSETS = ("900000000000509007", "900000000000508004")  # English of the USA, then of Great Britain

# <type>_<content>_<subtype><Full|Snapshot|Delta>[-language]_<namespace>_<date>.txt; x marks a beta release.
_FILE = re.compile(
    r"x?(?:sct2|der2)_(?P<content>Concept|Description|TextDefinition|Relationship|cRefset)_(?P<subtype>[A-Za-z]*?)"
    r"(?P<state>Full|Snapshot|Delta)(?:-[A-Za-z-]+)?_(?P<release>[A-Za-z0-9]+_\d{8}\w*)\.txt(?:\.gz)?"
)
_TAG = re.compile(r"^(?P<name>.+?)\s*\((?P<tag>[^()]+)\)$")

_KEEP, _NAME, _DEFINITION, _PARENT, _RELATION = "01234"


@dataclass(slots=True)
class Release:
    """The files of one snapshot."""

    concepts: Path
    descriptions: list[Path] = field(default_factory=list)
    definitions: list[Path] = field(default_factory=list)
    relationships: list[Path] = field(default_factory=list)
    languages: list[Path] = field(default_factory=list)


def find_release(folder: Path) -> Release:
    """The snapshot files in a folder or below it.

    Raises:
        OntologyError: none or several snapshots, or only full or delta files.
    """
    if not folder.is_dir():
        todo = "Give the folder of the unpacked release, or its folder Snapshot"
        raise OntologyError("this is no folder", todo, folder)
    found: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for path in sorted(folder.rglob("*_*.txt*")):
        if match := _FILE.fullmatch(path.name):
            content = match["content"]
            if content == "cRefset":
                content = "Language" if "Language" in match["subtype"] else "other"
            found[content, match["state"]].append(path)
    concepts = found["Concept", "Snapshot"]
    if not concepts:
        raise _no_snapshot(folder, [state for content, state in found if found[content, state]])
    if len(concepts) > 1:
        names = ", ".join(path.name for path in concepts[:4])
        raise OntologyError(f"several releases ({names})", "Name the folder of one of them", folder)
    return Release(
        concepts[0],
        *(found[content, "Snapshot"] for content in ("Description", "TextDefinition", "Relationship", "Language")),
    )


def _no_snapshot(folder: Path, states: list[str]) -> OntologyError:
    for state, has in (("Full", "every past state of each component"), ("Delta", "only what changed since a release")):
        if state in states:
            what = f"this is the {state} release of SNOMED CT, which holds {has}"
            return OntologyError(what, "Give the folder Snapshot of the same release", folder)
    return OntologyError("no sct2_Concept_Snapshot_*.txt in it or below", "Unpack an RF2 release here", folder)


def read_snomed(
    folder: Path,
    *,
    languages: Sequence[str] | None = None,
    refset: str | None = None,
    scratch: Path | None = None,
    dropped: Counter[str] | None = None,
) -> Iterator[Concept]:
    """The active concepts of an RF2 snapshot, in the order of their ids as text; the first comes when all is read.

    The preferred name is the synonym that the language reference set prefers; without one, the fully specified name
    without its semantic tag. The tag gives the kind. ``Is a`` makes parents; other relations (the inferred ones) bear
    the name of their type, ``finding_site``.

    Args:
        folder: of the release, or its Snapshot.
        languages: tags of the descriptions to read, the preferred first (``("es", "en")``); None: all, English first.
        refset: id of the language reference set to follow; by default English of the USA, then of Great Britain, then
            the one with the lowest id.
        scratch: folder for temporary files, about as large as the snapshot's active rows.
        dropped: counts by reason what was left out.

    Raises:
        OntologyError: not one snapshot, a refset that is not in it, or a row not as the format says (file and line).
        ScratchSpaceError: the temporary files do not fit.
    """
    dropped = Counter() if dropped is None else dropped
    release = find_release(folder)
    preferred = _preferred(release, folder, refset)
    with Join(scratch) as join:
        for row in _active(release.concepts, _CONCEPT, "concept", dropped):
            join.add(row[0], _KEEP)
        attributes: dict[str, str] = {}
        for path in release.descriptions:
            attributes |= _descriptions(path, join, languages, preferred, dropped)
        for path in release.definitions:
            _definitions(path, join, languages, dropped)
        for path in release.relationships:
            _relationships(path, join, attributes, dropped)
        for identity, rows in join.groups():
            if concept := _concept(identity, rows, dropped):
                yield concept


def _active(path: Path, columns: Sequence[str], what: str, dropped: Counter[str]) -> Iterator[list[str]]:
    for line, row in delimited_rows(path, columns, "\t", header=True):
        if row[2] == "1":
            yield row
        elif row[2] == "0":
            dropped[f"inactive {what}"] += 1
        else:
            raise OntologyError(f"{row[2][:20]!r} is no value of active", "Get the file again", path, line)


def _preferred(release: Release, folder: Path, refset: str | None) -> "array[int]":
    """Sorted ids of the descriptions that the chosen reference set prefers: 8 bytes each, there are a million."""
    ids: dict[str, array[int]] = defaultdict(lambda: array("q"))
    for path in release.languages:
        for line, row in delimited_rows(path, _LANGUAGE, "\t", header=True):
            if row[2] == "1" and row[6] == _PREFERRED:
                if not row[5].isdecimal() or len(row[5]) > 18:
                    raise OntologyError(f"{row[5][:20]!r} is no identifier", "Get the file again", path, line)
                ids[row[4]].append(int(row[5]))
    if refset is not None and refset not in ids:
        raise OntologyError(f"no language reference set {refset}", f"It has {', '.join(sorted(ids)) or 'none'}", folder)
    chosen = refset or next((known for known in _REFSETS if known in ids), min(ids, default=""))
    return array("q", sorted(ids[chosen])) if chosen else array("q")


def _holds(ids: "array[int]", identity: str) -> bool:
    number = int(identity) if identity.isdecimal() and len(identity) <= 18 else -1
    place = bisect_left(ids, number)
    return place < len(ids) and ids[place] == number


def _rank(code: str, languages: Sequence[str] | None, dropped: Counter[str]) -> tuple[str, int] | None:
    """Tag and rank of a language that is wanted."""
    if (tag := language_tag(code)) is None:
        dropped["description in an unknown language"] += 1
    elif (rank := language_rank(tag, languages)) is None:
        dropped["description in another language"] += 1
    else:
        return tag, rank
    return None


def _descriptions(
    path: Path, join: Join, languages: Sequence[str] | None, preferred: "array[int]", dropped: Counter[str]
) -> dict[str, str]:
    """Names into the join; returns the types of relation (concepts with the tag ``attribute``) as id -> short name."""
    attributes: dict[str, str] = {}
    for identity, _, _, _, concept, code, kind, term, _ in _active(path, _DESCRIPTION, "description", dropped):
        text, tag = squeeze(term), ""
        if kind == _FULLY_SPECIFIED and (match := _TAG.match(text)):
            text, tag = match["name"], match["tag"]
            if tag == "attribute":
                attributes[concept] = re.sub(r"\W+", "_", text.lower()).strip("_")
        if not text:
            dropped["empty description"] += 1
        elif wanted := _rank(code, languages, dropped):
            full = kind == _FULLY_SPECIFIED
            place = 0 if not full and _holds(preferred, identity) else 1 if full else 2
            join.add(concept, _NAME, f"{wanted[1]:02d}{place}", text, wanted[0], tag)
    return attributes


def _definitions(path: Path, join: Join, languages: Sequence[str] | None, dropped: Counter[str]) -> None:
    for _, _, _, _, concept, code, _, term, _ in _active(path, _DESCRIPTION, "definition", dropped):
        if wanted := _rank(code, languages, dropped):
            join.add(concept, _DEFINITION, f"{wanted[1]:02d}", squeeze(term))


def _relationships(path: Path, join: Join, attributes: dict[str, str], dropped: Counter[str]) -> None:
    for row in _active(path, _RELATIONSHIP, "relationship", dropped):
        _, _, _, _, source, target, _, kind, characteristic, _ = row
        if characteristic == _STATED:
            dropped["stated relationship"] += 1
        elif kind == _IS_A:
            join.add(source, _PARENT, target)
        else:
            join.add(source, _RELATION, attributes.get(kind, kind), target)


def _concept(identity: str, rows: list[list[str]], dropped: Counter[str]) -> Concept | None:
    if rows[0][0] != _KEEP:
        dropped["row of a concept that is inactive or of another module"] += len(rows)
        return None
    names: dict[Name, None] = {}
    parents: dict[str, None] = {}
    relations: dict[Relation, None] = {}
    tags: list[str] = []
    definition = ""
    for what, *fields in rows[1:]:
        if what == _NAME:
            _, text, language, tag = fields
            names[Name(text, language)] = None
            tags += [tag] if tag else []
        elif what == _DEFINITION:
            definition = definition or fields[1]
        elif what == _PARENT:
            parents[f"SNOMEDCT:{fields[0]}"] = None
        elif what == _RELATION:
            relations[Relation(fields[0], f"SNOMEDCT:{fields[1]}")] = None
    if not names:
        dropped["no name"] += 1
        return None
    first, *others = names
    return Concept(
        id=f"SNOMEDCT:{identity}",
        name=first.text,
        source="SNOMEDCT",
        kind=next((kinds.OF_SEMANTIC_TAG[tag] for tag in tags if tag in kinds.OF_SEMANTIC_TAG), ""),
        names=others,
        parents=list(parents),
        relations=list(relations),
        definition=definition,
    )
