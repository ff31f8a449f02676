"""One spelling of every identifier: ``SCTID:36118008`` and ``SNOMEDCT_US_2023_09_01:36118008`` are one thing."""

import re
from functools import lru_cache

# Canonical prefix, then the other spellings that ontologies, UMLS (SAB) and registries use. Case and punctuation do
# not count. A prefix that is not here is kept as it is written.
_ALIASES = """
    SNOMEDCT    SNOMEDCT_US SNOMED_CT SNOMED SNOMEDCT_INTL SCTID SCT SCTSPA
    MESH        MSH MSHD MeSH_ID
    UMLS        UMLS_CUI UMLS_ID CUI
    ICD10CM     ICD10_CM ICD_10_CM
    ICD10       ICD_10 ICD10WHO ICD10_WHO WHO_ICD10
    ICD9CM      ICD9 ICD_9 ICD_9_CM ICDCM9
    ICD11       ICD_11 ICD11_MMS
    ICD11F      ICD11_FOUNDATION
    ICD10PCS    ICD_10_PCS
    ICDO        ICD_O ICD_O_3 ICDO3 ICD0
    ORPHA       Orphanet ORDO Orpha_number
    NCIT        NCI NCI_Thesaurus NCItThesaurus
    DOID        DO
    OMIM        MIM
    OMIMPS      MIMPS
    HP          HPO
    MONDO       MONDO_ID
    UBERON      UBERON_ID
    FMA         FMAID
    EFO
    MEDDRA      MDR
    GARD        GARD_Rare
    DECIPHER    DECIPHER_ID
    MEDGEN
    LOINC       LNC
    RXNORM      RXCUI RxNorm_CUI
    RADLEX
    ATC         ATC_code
    DRUGBANK
    CHEBI
    CL
    GO
    HGNC
    MP
    NCBITaxon   NCBI TAXON TAXID NCBI_taxonomy
    CPT
    HCPCS
    KEGG
    CVX
    PMID        PUBMED MEDLINE
    DOI
    ISBN        ISBN10 ISBN13
    ORCID
    GOC
    URL
"""
# What these name is where a fact was read or who wrote it, never the thing itself.
CITATIONS = frozenset({"PMID", "DOI", "ISBN", "ORCID", "GOC", "URL"})

_DATED = re.compile(r"_\d{4}_\d{2}_\d{2}$")  # SNOMEDCT_US_2023_09_01
_PREFIX = re.compile(r"[A-Za-z][A-Za-z0-9_.+-]*")
_LOCAL = re.compile(r"[^\s\"<>|]+")
_IRIS = [
    re.compile(pattern)
    for pattern in (
        r"https?://purl\.obolibrary\.org/obo/(?P<prefix>[A-Za-z]+)_(?P<local>[A-Za-z0-9.-]+)",
        r"https?://www\.orpha\.net/ORDO/(?P<prefix>Orphanet)_(?P<local>C?\d+)",
        r"https?://www\.ebi\.ac\.uk/efo/(?P<prefix>EFO)_(?P<local>\d+)",
        r"https?://(?:www\.)?(?:radlex\.org/RID/#?|purl\.bioontology\.org/ontology/RADLEX/)(?P<radlex>RID\d+)",
        r"https?://identifiers\.org/(?P<prefix>[A-Za-z0-9._-]+)[/:](?:[A-Z]+:)?(?P<local>[A-Za-z0-9.-]+)",
        r"https?://(?:purl\.)?bioontology\.org/ontology/(?P<prefix>[A-Za-z0-9._-]+)/(?P<local>[A-Za-z0-9.-]+)",
        r"https?://linkedlifedata\.com/resource/umls/id/(?P<umls>C\d{7})",
        r"https?://snomed\.info/(?:sct|id)/(?P<snomedct>\d+)",
        r"https?://id\.nlm\.nih\.gov/mesh/(?:\d{4}/)?(?P<mesh>[A-Z]\d+)",
        r"https?://(?:www\.)?omim\.org/(?:entry/|MIM:)(?P<omim>\d{6})",
        r"https?://(?:www\.)?omim\.org/phenotypicSeries/(?:PS)?(?P<omimps>\d{6})",
    )
]


def _key(prefix: str) -> str:
    return re.sub(r"[^a-z0-9]", "", prefix.lower())


_CANONICAL = {_key(spelling): line.split()[0] for line in _ALIASES.strip().splitlines() for spelling in line.split()}


@lru_cache(maxsize=4096)
def canonical_prefix(prefix: str) -> str | None:
    """The one spelling of a known prefix; None where the table does not have it.

    >>> canonical_prefix("SNOMEDCT_US_2023_09_01")
    'SNOMEDCT'
    """
    return _CANONICAL.get(_key(_DATED.sub("", prefix.strip())))


def curie(prefix: str, local: str) -> str:
    """``prefix:local`` in the one spelling; a prefix that ``local`` repeats (``HP:HP:0002107``) is taken off.

    Raises:
        ValueError: the prefix is no word, or the local part is empty or holds spaces.
    """
    prefix, local = prefix.strip(), local.strip()
    canonical = canonical_prefix(prefix)
    before, mark, after = local.partition(":" if ":" in local else "_")
    if mark and after and canonical and canonical_prefix(before) == canonical:
        local = after
    if canonical in ("ORPHA", "FMA") and not local[:1].isdigit():
        local = re.sub(r"^(?:ORPHA|FMA)[_:]?(?=\d)", "", local, flags=re.I)
    elif canonical == "UMLS" and local.startswith("CN"):
        canonical = "MEDGEN"  # not in UMLS: MedGen's own concepts, which MONDO and HPO file under UMLS
    elif canonical == "OMIM" and local.startswith("PS"):
        canonical, local = "OMIMPS", local[2:]
    elif canonical and canonical.startswith("ICD"):
        local = local.upper()
    if not _PREFIX.fullmatch(prefix) or not _LOCAL.fullmatch(local):
        raise ValueError(f"{prefix!r} and {local!r} make no CURIE")
    return f"{canonical or prefix}:{local}"


def parse_curie(text: str) -> str | None:
    """The CURIE in the one spelling of ``MSH:D011030``, ``UBERON_0002048`` or an IRI of the OBO foundry.

    None where the text is none of these: other web addresses, free text.
    """
    text = text.strip()
    try:
        if text[:4].lower() == "http":
            return _from_iri(text)
        prefix, colon, local = text.partition(":")
        if not colon:
            prefix, _, local = text.partition("_")
            if canonical_prefix(prefix) is None or not local[:1].isdigit():
                return None
        return None if local.startswith("//") else curie(prefix, local)
    except ValueError:
        return None


def _from_iri(text: str) -> str | None:
    for pattern in _IRIS:
        if match := pattern.fullmatch(text):
            found = match.groupdict()
            if "prefix" in found:
                return curie(found["prefix"], found["local"])
            [(name, local)] = found.items()
            return curie(name, local)
    return None
