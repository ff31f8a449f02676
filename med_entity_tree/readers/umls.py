"""The UMLS Metathesaurus in Rich Release Format: MRCONSO, MRSTY, MRREL and MRDEF, joined on disk.

Rows of MRREL read from right to left: ``CUI1|...|REL|CUI2|...|RELA`` says that CUI2 stands in that relation to CUI1
(UMLS Reference Manual, chapter 3, MRREL), so ``PAR`` and ``inverse_isa`` make CUI2 a parent of CUI1.
"""

import logging
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from med_entity_tree.concept import Concept, Name, Relation
from med_entity_tree.readers import kinds
from med_entity_tree.readers.curies import canonical_prefix, curie
from med_entity_tree.readers.foundry import squeeze
from med_entity_tree.readers.join import Join
from med_entity_tree.readers.languages import language_rank, language_tag
from med_entity_tree.readers.rrf import CONSO, DEF, REL, STY, Kept, find_file, require_file, rrf_rows, suppressed

logger = logging.getLogger(__name__)

# What the rows of one concept are, in the order in which they are wanted.
_NAME, _TYPE, _DEFINITION, _PARENT, _RELATION = "01234"
_BEST_DEFINITIONS = ("MSH", "NCI", "SNOMEDCT_US")  # written for readers; others are often notes to indexers


@dataclass(frozen=True, slots=True)
class _Choice:
    dropped: Counter[str]
    languages: Sequence[str] | None
    sources: frozenset[str] | None
    relations: frozenset[str] | None
    kept: Kept = field(default_factory=lambda: Kept("C"))

    def takes(self, source: str, suppress: str, what: str) -> bool:
        if suppressed(suppress):
            self.dropped[f"suppressed {what}"] += 1
        elif self.sources is not None and source not in self.sources:
            self.dropped[f"{what} of another source"] += 1
        else:
            return True
        return False


def read_umls(
    folder: Path,
    *,
    languages: Sequence[str] | None = None,
    sources: Collection[str] | None = None,
    relations: Collection[str] | None = None,
    scratch: Path | None = None,
    dropped: Counter[str] | None = None,
) -> Iterator[Concept]:
    """The concepts of a Metathesaurus subset, in the order of their CUIs.

    The preferred name is the atom with TS=P, STT=PF and ISPREF=Y among those that were not left out; codes of the
    source vocabularies become cross-references. A relation's ``reference`` is its source (SAB). The first concept comes
    when all files are read.

    Args:
        folder: where MetamorphoSys wrote MRCONSO.RRF (META); MRSTY, MRREL and MRDEF are used if they are there.
        languages: BCP 47 tags, the preferred first; None for all, English first.
        sources: SAB values whose names, definitions and relations are read; None for all.
        relations: RELA values to keep besides the hierarchy; None for all, an empty set for none.
        scratch: folder for temporary files, about as large as what is kept of the release.
        dropped: counts by reason what was left out.

    Raises:
        OntologyError: no MRCONSO.RRF, or a row that is not as the format says; it names file and line.
        ScratchSpaceError: the temporary files do not fit.
    """
    choice = _Choice(
        Counter() if dropped is None else dropped,
        languages,
        None if sources is None else frozenset(sources),
        None if relations is None else frozenset(relations),
    )
    conso = require_file(folder, "MRCONSO.RRF")
    with Join(scratch) as join:
        _names(conso, join, choice)
        for name, read in (("MRSTY.RRF", _types), ("MRDEF.RRF", _definitions), ("MRREL.RRF", _relations)):
            if path := find_file(folder, name):
                read(path, join, choice)
            else:
                logger.warning("%s holds no %s: the concepts come without what it says", folder, name)
        for cui, rows in join.groups():
            yield _concept(cui, rows, choice.dropped)


def _names(path: Path, join: Join, choice: _Choice) -> None:
    for line, row in rrf_rows(path, CONSO):
        cui, lat, ts, _, stt, _, preferred, aui, *_, source, _, code, text, _, suppress, _ = row
        language = language_tag(lat)
        if not choice.takes(source, suppress, "name"):
            continue
        if language is None:
            choice.dropped["name in an unknown language"] += 1
        elif (rank := language_rank(language, choice.languages)) is None:
            choice.dropped["name in another language"] += 1
        elif not text.strip():
            choice.dropped["empty name"] += 1
        else:
            choice.kept.add(cui, path, line)
            order = f"{rank:02d}{int(ts != 'P')}{int(stt != 'PF')}{int(preferred != 'Y')}"
            join.add(cui, _NAME, order, squeeze(text), language, source, code, aui)


def _types(path: Path, join: Join, choice: _Choice) -> None:
    for _, (cui, tui, *_) in rrf_rows(path, STY):
        if cui in choice.kept:
            join.add(cui, _TYPE, tui)


def _definitions(path: Path, join: Join, choice: _Choice) -> None:
    for _, (cui, aui, _, _, source, text, suppress, _) in rrf_rows(path, DEF):
        if choice.takes(source, suppress, "definition") and cui in choice.kept:
            join.add(cui, _DEFINITION, aui, source, squeeze(text))


def _relations(path: Path, join: Join, choice: _Choice) -> None:
    dropped = choice.dropped
    for _, row in rrf_rows(path, REL):
        first, _, _, rel, second, _, _, rela, _, _, source, _, _, _, suppress, _ = row
        if not choice.takes(source, suppress, "relation"):
            continue
        if first == second:
            dropped["relation of a concept to itself"] += 1
        elif first not in choice.kept or second not in choice.kept:
            dropped["relation to a concept that was left out"] += 1
        elif rel == "PAR" or rela == "inverse_isa":
            join.add(first, _PARENT, second)
        elif rel == "CHD" or rela == "isa":
            join.add(second, _PARENT, first)
        elif not rela:
            dropped["relation without a name (RELA)"] += 1
        elif choice.relations is None or rela in choice.relations:
            join.add(second, _RELATION, rela, first, source)
        else:
            dropped["relation not asked for"] += 1


def _concept(cui: str, rows: list[list[str]], dropped: Counter[str]) -> Concept:
    concept = Concept(f"UMLS:{cui}", rows[0][2], "UMLS")
    names: dict[Name, None] = {}
    xrefs: dict[str, None] = {}
    rank_of: dict[str, str] = {}  # atom -> rank of its language
    types: list[str] = []
    definitions: list[tuple[str, int, str]] = []
    parents: dict[str, None] = {}
    relations: dict[tuple[str, str], Relation] = {}
    for what, *fields in rows:
        if what == _NAME:
            order, text, language, source, code, aui = fields
            names[Name(text, language)] = None
            rank_of[aui] = order[:2]
            if xref := source_code(source, code):
                xrefs[xref] = None
        elif what == _TYPE:
            types.append(fields[0])
        elif what == _DEFINITION:
            aui, source, text = fields
            if aui in rank_of:
                best = _BEST_DEFINITIONS.index(source) if source in _BEST_DEFINITIONS else len(_BEST_DEFINITIONS)
                definitions.append((rank_of[aui], best, text))
            else:
                dropped["definition of a name that was left out"] += 1
        elif what == _PARENT:
            parents[f"UMLS:{fields[0]}"] = None
        else:
            kind, target, source = fields
            relations.setdefault((kind, target), Relation(kind, f"UMLS:{target}", reference=source))
    concept.kind = kinds.of_semantic_types(types)
    concept.names = list(names)[1:]
    concept.xrefs, concept.parents = list(xrefs), list(parents)
    concept.relations = list(relations.values())
    concept.definition = min(definitions)[2] if definitions else ""
    return concept


def source_code(source: str, code: str) -> str | None:
    """The CURIE of a code in its source vocabulary (SAB); None for vocabularies without a prefix here.

    NOCODE and MTHU... are made by the UMLS for sources without codes of their own.
    """
    if canonical_prefix(source) is None or code == "NOCODE" or code.startswith("MTHU"):
        return None
    try:
        return curie(source, code)
    except ValueError:
        return None
