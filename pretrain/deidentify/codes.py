"""Code sequence items (PS3.3 table 8.8-1): a meaning is what the standard says, never what a file says."""

import re
from functools import lru_cache

from pydicom.dataset import Dataset

from pretrain.deidentify.vocabulary import keep_clinical

CODE_WORDS = frozenset(["CodeValue", "LongCodeValue", "URNCodeValue", "CodeMeaning"])
LOCAL_SCHEME = "99LOCAL"
# Coding schemes whose codes are published, so that none can be about a person (PS3.16 section 8).
_PUBLIC = frozenset(
    "DCM SCT SRT SNM3 99SDM LN UCUM RADLEX FMA UMLS I10 I9C NCIT NCDR BI RXNORM ICD10 ICD-10 ICD-10-CM UBERON MDC "
    "RADELEMENT ISO3166_1 RFC5646 ACR IBSI MSH NEU BARI PUBCHEM_CID".split()
)
_SNOMED_RT = frozenset(["SRT", "SNM3", "99SDM"])
# What a code looks like; a hospital number under the name of a public scheme does not. SCT: PS3.16 8, concepts have
# the partition 00 or 10 in front of their check digit.
_SHAPES = {
    "DCM": r"\d{6}",
    "SCT": r"[1-9]\d{2,14}[01]0\d",
    "SRT": r"[A-Z]\d?-[0-9A-F]{4,6}",
    "LN": r"\d{1,5}-\d",
    "RADLEX": r"RID\d{1,6}",
    "UMLS": r"C\d{7}",
    "NCIT": r"C\d{3,6}",
    "FMA": r"\d{2,6}",
    "UCUM": r"[^\s]{0,6}\d?[^\s\d]{0,8}",
}
_OTHER_SHAPE = r"(?=.*\d)[A-Za-z]{0,5}[.:_-]?\d{0,6}(?:[.:_-][A-Za-z0-9]{1,5}){0,2}"


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
    shape = _SHAPES.get(scheme_of(item), _OTHER_SHAPE)
    return is_public(item) and bool(re.fullmatch(shape, value_of(item)))


def is_public(item: Dataset) -> bool:
    """True for a coding scheme that is published; the name of another one may be a hospital's."""
    return scheme_of(item) in _PUBLIC


def clean_meaning(item: Dataset) -> str:
    """The standard's meaning, else the clinical words of the file's, else "local code"."""
    listed = meaning_of(item)
    return listed if listed is not None else keep_clinical(str(item.get("CodeMeaning") or ""))[0] or "local code"
