"""Code sequence items (PS3.3 table 8.8-1): a meaning is what the standard says, never what a file says."""

import re
from functools import lru_cache

from pydicom.dataset import Dataset

from pretrain.deidentify.vocabulary import keep_clinical

CODE_WORDS = frozenset(["CodeValue", "LongCodeValue", "URNCodeValue", "CodeMeaning"])
# Coding schemes whose codes are published, so that none can be about a person (PS3.16 section 8).
_PUBLIC = frozenset(
    "DCM SCT SRT SNM3 99SDM LN UCUM RADLEX FMA UMLS I10 I9C NCIT NCDR BI RXNORM ICD10 ICD-10 ICD-10-CM UBERON MDC "
    "RADELEMENT ISO3166_1 RFC5646 ACR IBSI MSH NEU BARI PUBCHEM_CID".split()
)
_SNOMED_RT = frozenset(["SRT", "SNM3", "99SDM"])
_LOOKS_LIKE_A_CODE = re.compile(r"(?=.*\d)[A-Za-z0-9][A-Za-z0-9.:_-]{0,15}\Z")


@lru_cache
def _meanings() -> dict[tuple[str, str], str]:
    """(scheme, value) -> meaning, of the 19,000 codes of PS3.16 that pydicom carries."""
    from pydicom.sr._concepts_dict import concepts
    from pydicom.sr._snomed_dict import mapping

    found = {
        (scheme.upper(), value): entry[0]
        for scheme, keywords in concepts.items()
        for codes in keywords.values()
        for value, entry in codes.items()
    }
    for old, new in mapping["SRT"].items():
        if ("SCT", new) in found:
            found["SRT", old] = found["SCT", new]
    return found


def scheme_of(item: Dataset) -> str:
    """Coding scheme in capitals; the older names of SNOMED RT as SRT."""
    scheme = str(item.get("CodingSchemeDesignator") or "").strip().upper()
    return "SRT" if scheme in _SNOMED_RT else scheme


def value_of(item: Dataset) -> str:
    """The code itself, whichever attribute holds it."""
    return next((str(item.get(w)).strip() for w in ("CodeValue", "LongCodeValue", "URNCodeValue") if item.get(w)), "")


def meaning_of(item: Dataset) -> str | None:
    """What the standard says that the item's code means; None for codes that it does not list."""
    return _meanings().get((scheme_of(item), value_of(item)))


def is_published(item: Dataset) -> bool:
    """True for a code that the standard lists, and for one of a published scheme that has the form of a code."""
    if meaning_of(item) is not None:
        return True
    return scheme_of(item) in _PUBLIC and bool(_LOOKS_LIKE_A_CODE.match(value_of(item)))


def clean_meaning(item: Dataset) -> str:
    """The standard's meaning, else the clinical words of the file's, else "local code"."""
    listed = meaning_of(item)
    return listed if listed is not None else keep_clinical(str(item.get("CodeMeaning") or ""))[0] or "local code"
