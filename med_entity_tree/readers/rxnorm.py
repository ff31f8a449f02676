"""RxNorm in Rich Release Format: RXNCONSO, RXNREL and RXNSTY, joined on disk.

Concepts are those of RxNorm itself (SAB=RXNORM): ingredients (IN, PIN, MIN), brands (BN), clinical and branded drugs
(SCD, SBD and their components, forms and groups), packs and dose forms. The other vocabularies in the file give
cross-references. As in the UMLS, a row of RXNREL reads from right to left.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from med_entity_tree.concept import Concept, Name, Relation
from med_entity_tree.readers import kinds
from med_entity_tree.readers.foundry import squeeze
from med_entity_tree.readers.join import Join
from med_entity_tree.readers.languages import language_tag
from med_entity_tree.readers.rrf import CONSO, REL, STY, Kept, find_file, require_file, rrf_rows, suppressed
from med_entity_tree.readers.umls import source_code

_NAME, _CODE, _TYPE, _PARENT, _RELATION = "01234"
# Names that a concept has besides the one of its own term type: synonym, tall-man spelling, prescribable, entry term.
_OTHER_NAMES = {"SY", "TMSY", "PSN", "ET"}
_DOSE_FORMS = {"DF", "DFG"}


def read_rxnorm(
    folder: Path,
    *,
    term_types: Collection[str] | None = None,
    relations: Collection[str] | None = None,
    scratch: Path | None = None,
    dropped: Counter[str] | None = None,
) -> Iterator[Concept]:
    """The concepts of RxNorm, in the order of their RXCUIs as text; the first comes when all files are read.

    ``isa`` makes parents; ``tradename_of``, ``has_ingredient`` and the others are relations. The kind is ``drug``, but
    for dose forms (none) and what RXNSTY calls a device.

    Args:
        folder: of the unpacked release (rrf/RXNCONSO.RRF is found below it).
        term_types: TTY values to read, such as ``{"IN", "PIN", "BN", "SCD"}``; None for all.
        relations: RELA values to keep besides ``isa``; None for all.
        scratch: folder for temporary files, about as large as what is kept of the release.
        dropped: counts by reason what was left out.

    Raises:
        OntologyError: no RXNCONSO.RRF, or a row that is not as the format says; it names file and line.
        ScratchSpaceError: the temporary files do not fit.
    """
    dropped = Counter() if dropped is None else dropped
    kept = Kept("")
    conso = require_file(folder, "RXNCONSO.RRF")
    with Join(scratch) as join:
        _names(conso, join, kept, term_types, dropped)
        if path := find_file(folder, "RXNSTY.RRF"):
            for _, (identity, tui, *_) in rrf_rows(path, STY):
                if identity in kept:
                    join.add(identity, _TYPE, tui)
        if path := find_file(folder, "RXNREL.RRF"):
            _relations(path, join, kept, relations, dropped)
        for identity, rows in join.groups():
            if identity in kept:
                yield _concept(identity, rows)
            else:
                dropped["concept without a name of RxNorm"] += 1


def _names(path: Path, join: Join, kept: Kept, term_types: Collection[str] | None, dropped: Counter[str]) -> None:
    for line, row in rrf_rows(path, CONSO):
        identity, lat, *_, source, term_type, code, text, _, suppress, _ = row
        if suppressed(suppress):
            dropped["suppressed name"] += 1
        elif source != "RXNORM":
            dropped["name of another source"] += 1
            if xref := source_code(source, code):
                join.add(identity, _CODE, xref)
        elif (language := language_tag(lat)) is None or not text.strip():
            dropped["name that is empty or in an unknown language"] += 1
        elif term_type in _OTHER_NAMES:
            join.add(identity, _NAME, "1", squeeze(text), language, term_type)
        elif term_types is not None and term_type not in term_types:
            dropped["term type not asked for"] += 1
        else:
            kept.add(identity, path, line)
            join.add(identity, _NAME, "0", squeeze(text), language, term_type)


def _relations(path: Path, join: Join, kept: Kept, wanted: Collection[str] | None, dropped: Counter[str]) -> None:
    for _, row in rrf_rows(path, REL):
        first, _, _, _, second, _, _, rela, _, _, source, _, _, _, suppress, _ = row
        if suppressed(suppress) or source != "RXNORM":
            dropped["relation that is suppressed or of another source"] += 1
        elif first == second or not rela:
            dropped["relation without a name, or to itself"] += 1
        elif first not in kept or second not in kept:
            dropped["relation to a concept that was left out"] += 1
        elif rela == "isa":
            join.add(second, _PARENT, first)
        elif rela == "inverse_isa":
            join.add(first, _PARENT, second)
        elif wanted is None or rela in wanted:
            join.add(second, _RELATION, rela, first)
        else:
            dropped["relation not asked for"] += 1


def _concept(identity: str, rows: list[list[str]]) -> Concept:
    _, _, name, language, term_type = rows[0]
    concept = Concept(f"RXNORM:{identity}", name, "RXNORM")
    names: dict[Name, None] = {}
    types: list[str] = []
    for what, *fields in rows:
        if what == _NAME:
            names[Name(fields[1], fields[2])] = None
        elif what == _CODE:
            concept.xrefs.append(fields[0])
        elif what == _TYPE:
            types.append(fields[0])
        elif what == _PARENT:
            concept.parents.append(f"RXNORM:{fields[0]}")
        else:
            concept.relations.append(Relation(fields[0], f"RXNORM:{fields[1]}"))
    names.pop(Name(name, language))
    kind = kinds.of_semantic_types(types)
    concept.kind = "" if term_type in _DOSE_FORMS else "device" if kind == "device" else "drug"
    concept.names, concept.xrefs = list(names), list(dict.fromkeys(concept.xrefs))
    concept.parents, concept.relations = list(dict.fromkeys(concept.parents)), list(dict.fromkeys(concept.relations))
    return concept
