"""What a concept is about, from what its source says of it: a prefix, a semantic tag, a semantic type, a tree number.

Kinds in use: disease, finding, anatomy, procedure, drug, substance, measurement, device, organism, gene, event,
situation, specimen, qualifier; "" where a source's own class has no counterpart here.
"""

from collections.abc import Iterable, Sequence

# Ontologies of the OBO foundry that are about one thing; in the others (EFO, NCIT, ...) the prefix says nothing.
OF_PREFIX = {
    "HP": "finding",
    "MP": "finding",
    "SYMP": "finding",
    "MONDO": "disease",
    "DOID": "disease",
    "ORPHA": "disease",
    "UBERON": "anatomy",
    "FMA": "anatomy",
    "CL": "anatomy",
    "CHEBI": "substance",
    "MAXO": "procedure",
    "NCBITaxon": "organism",
}

# SNOMED CT: the tag in brackets at the end of a fully specified name.
OF_SEMANTIC_TAG = {
    "disorder": "disease",
    "finding": "finding",
    "morphologic abnormality": "finding",
    "body structure": "anatomy",
    "cell": "anatomy",
    "cell structure": "anatomy",
    "procedure": "procedure",
    "regime/therapy": "procedure",
    "substance": "drug",
    "product": "drug",
    "medicinal product": "drug",
    "medicinal product form": "drug",
    "clinical drug": "drug",
    "real clinical drug": "drug",
    "product name": "drug",
    "observable entity": "measurement",
    "assessment scale": "measurement",
    "staging scale": "measurement",
    "tumor staging": "measurement",
    "physical object": "device",
    "organism": "organism",
    "event": "event",
    "situation": "situation",
    "specimen": "specimen",
    "qualifier value": "qualifier",
}

# UMLS semantic types (TUI), after the semantic groups of McCray, Burgun and Bodenreider (2001); a concept with several
# types takes the kind that stands first here.
_TYPES = {
    "disease": "T047 T191 T048 T046 T019 T190 T037 T020 T049 T050",
    "finding": "T184 T033 T034",
    "anatomy": "T017 T018 T021 T022 T023 T024 T025 T026 T029 T030 T031",
    "procedure": "T058 T059 T060 T061 T063",
    "drug": "T121 T195 T200 T125 T127 T129 T130",
    "substance": "T103 T104 T109 T114 T116 T120 T122 T123 T126 T131 T192 T196 T197",
    "measurement": "T201 T032",
    "device": "T074 T075 T203",
    "gene": "T028 T085 T086 T087 T088",
    "organism": "T001 T002 T004 T005 T007 T008 T010 T011 T012 T013 T014 T015 T016 T194 T204",
    "event": "T051 T067 T068 T069 T070",
}
_ORDER = list(_TYPES)
_OF_TYPE = {tui: kind for kind, tuis in _TYPES.items() for tui in tuis.split()}

# MeSH tree numbers, longest first. C23.550 (pathological processes: fibrosis, haemorrhage) is what pictures show.
_TREES = (
    ("C23.888", "finding"),
    ("C23.550", "finding"),
    ("E07", "device"),
    ("F03", "disease"),
    ("C", "disease"),
    ("A", "anatomy"),
    ("E", "procedure"),
    ("D", "drug"),
    ("B", "organism"),
)


def of_semantic_types(tuis: Iterable[str]) -> str:
    """The kind of a UMLS concept with these semantic types (T047, ...)."""
    kinds = {_OF_TYPE[tui] for tui in tuis if tui in _OF_TYPE}
    return min(kinds, key=_ORDER.index) if kinds else ""


def of_tree_numbers(numbers: Sequence[str]) -> str:
    """The kind of a MeSH descriptor at these places: a sign wherever it is one, else what the first place says."""
    kinds = [_of_tree(number) for number in numbers]
    if any(number.startswith("C23.888") for number in numbers):
        return "finding"
    return next(filter(None, kinds), "")


def _of_tree(number: str) -> str:
    return next((kind for branch, kind in _TREES if number.startswith(branch)), "")
