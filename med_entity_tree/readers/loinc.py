"""LOINC from its release: Loinc.csv and, where they are there, the hierarchy and the links to parts.

Columns after the LOINC Users' Guide: the table, AccessoryFiles/ComponentHierarchyBySystem (MultiAxialHierarchy before
2.73) and AccessoryFiles/PartFile/LoincPartLink_Primary.csv.
"""

import logging
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from med_entity_tree.concept import Concept, Name, Relation
from med_entity_tree.errors import OntologyError
from med_entity_tree.readers.foundry import squeeze
from med_entity_tree.readers.lines import csv_rows

logger = logging.getLogger(__name__)

_AXES = ("COMPONENT", "PROPERTY", "TIME_ASPCT", "SYSTEM", "SCALE_TYP", "METHOD_TYP")
_COLUMNS = ("LOINC_NUM", *_AXES, "CLASS", "STATUS", "LONG_COMMON_NAME")
_OTHER_NAMES = ("DisplayName", "CONSUMER_NAME", "SHORTNAME")  # not in every release
_HIERARCHIES = ("ComponentHierarchyBySystem.csv", "MultiAxialHierarchy.csv")
_PART_LINKS = "LoincPartLink_Primary.csv"
_PART_TYPES = {"COMPONENT", "SYSTEM", "METHOD", "CLASS"}


def read_loinc(path: Path, *, dropped: Counter[str] | None = None) -> Iterator[Concept]:
    """First the groups of the hierarchy (``LOINC:LP...``), then the terms of Loinc.csv that are not deprecated.

    Terms of radiology (class RAD...) are procedures, all others measurements. Component, system, method and class are
    relations to LOINC parts where the release has the links; the six axes are the definition of a term that has none.
    Parents come from the hierarchy.

    Args:
        path: the folder of the unpacked release, or Loinc.csv in it.
        dropped: counts by reason what was left out.

    Raises:
        OntologyError: no Loinc.csv, a column missing, or rows that are not as the header says; it names file and line.
    """
    dropped = Counter() if dropped is None else dropped
    table, release = _find_table(path)
    parents: dict[str, dict[str, None]] = defaultdict(dict)
    groups: dict[str, str] = {}
    if hierarchy := _find(release, _HIERARCHIES):
        _hierarchy(hierarchy, parents, groups)
    else:
        logger.warning("%s holds no %s: the terms come without parents", release, _HIERARCHIES[0])
    for code, name in groups.items():
        yield Concept(f"LOINC:{code}", name, "LOINC", parents=_curies(parents.get(code, {}), code))
    parts = _part_links(links) if (links := _find(release, (_PART_LINKS,))) else {}
    for line, row in csv_rows(table, _COLUMNS):
        code = row["LOINC_NUM"].strip()
        if row["STATUS"].strip() == "DEPRECATED":
            dropped["obsolete"] += 1
        elif not code or any(character.isspace() for character in code):
            raise OntologyError(f"{code[:20]!r} is no LOINC number", "Get the file again", table, line)
        elif concept := _term(code, row):
            concept.parents = _curies(parents.get(code, {}), code)
            concept.relations = [Relation(kind, f"LOINC:{part}") for kind, part in parts.get(code, {})]
            yield concept
        else:
            dropped["no name"] += 1


def _find_table(path: Path) -> tuple[Path, Path]:
    """Loinc.csv and the folder below which its accessory files are looked for."""
    if path.is_file():
        return path, path.parent.parent if path.parent.name == "LoincTable" else path.parent
    table = _find(path, ("Loinc.csv",))
    if table is None:
        raise OntologyError("no Loinc.csv in it or below", "Unpack the LOINC release here", path)
    return table, path


def _find(folder: Path, names: tuple[str, ...]) -> Path | None:
    found = [path for name in names for end in ("", ".gz") for path in sorted(folder.rglob(name + end))]
    return found[0] if found else None


def _hierarchy(path: Path, parents: dict[str, dict[str, None]], groups: dict[str, str]) -> None:
    for _, row in csv_rows(path, ("IMMEDIATE_PARENT", "CODE", "CODE_TEXT")):
        code, parent = row["CODE"].strip(), row["IMMEDIATE_PARENT"].strip()
        if code and parent:
            parents[code][sys.intern(parent)] = None
        if code.startswith("LP") and (name := squeeze(row["CODE_TEXT"])):
            groups.setdefault(code, name)


def _part_links(path: Path) -> dict[str, dict[tuple[str, str], None]]:
    """LOINC number -> (kind of relation, part)."""
    parts: dict[str, dict[tuple[str, str], None]] = defaultdict(dict)
    for _, row in csv_rows(path, ("LoincNumber", "PartNumber", "PartTypeName")):
        if row["PartTypeName"] in _PART_TYPES and row["PartNumber"]:
            link = sys.intern(row["PartTypeName"].lower()), sys.intern(row["PartNumber"].strip())
            parts[row["LoincNumber"].strip()][link] = None
    return parts


def _curies(codes: dict[str, None], own: str) -> list[str]:
    return [f"LOINC:{code}" for code in codes if code != own]


def _term(code: str, row: dict[str, str]) -> Concept | None:
    axes = [squeeze(row[axis]) for axis in _AXES]
    full = ":".join(axes if axes[5] else axes[:5])  # without a method the fully specified name ends with the scale
    candidates = [squeeze(row[column]) for column in ("LONG_COMMON_NAME", *_OTHER_NAMES) if column in row]
    names = dict.fromkeys(name for name in (*candidates, full if axes[0] else "") if name)
    if not names:
        return None
    name, *others = names
    related = dict.fromkeys(squeeze(part) for part in row.get("RELATEDNAMES2", "").split(";"))
    group = squeeze(row["CLASS"])
    stated = (*zip(("component", "property", "time", "system", "scale", "method"), axes), ("class", group))
    axes_as_text = "; ".join(f"{axis}: {value}" for axis, value in stated if value)
    return Concept(
        id=f"LOINC:{code}",
        name=name,
        source="LOINC",
        kind="procedure" if group == "RAD" or group.startswith("RAD.") else "measurement",
        names=[Name(text) for text in others]
        + [Name(text, scope="related") for text in related if text and text not in names],
        definition=squeeze(row.get("DefinitionDescription", "")) or axes_as_text,
    )
