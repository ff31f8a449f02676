"""Identifiers of one thing come out in one spelling, whatever the source writes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from med_entity_tree.readers.curies import canonical_prefix, curie, parse_curie
from med_entity_tree.readers.languages import language_rank, language_tag


@pytest.mark.parametrize(
    "text, expected",
    [
        ("SNOMEDCT_US:36118008", "SNOMEDCT:36118008"),
        ("SCTID:36118008", "SNOMEDCT:36118008"),
        ("SNOMED_CT:36118008", "SNOMEDCT:36118008"),
        ("SNOMEDCT_US_2023_09_01:36118008", "SNOMEDCT:36118008"),
        ("http://snomed.info/id/36118008", "SNOMEDCT:36118008"),
        ("MSH:D011030", "MESH:D011030"),
        ("MeSH:D011030", "MESH:D011030"),
        ("http://id.nlm.nih.gov/mesh/2026/D011030", "MESH:D011030"),
        ("UMLS_CUI:C0032326", "UMLS:C0032326"),
        ("http://linkedlifedata.com/resource/umls/id/C0032326", "UMLS:C0032326"),
        ("UMLS:CN204494", "MEDGEN:CN204494"),
        ("ICD-10-CM:j93.9", "ICD10CM:J93.9"),
        ("ICD10WHO:J93", "ICD10:J93"),
        ("ICD-10:J93", "ICD10:J93"),
        ("ICD9:512", "ICD9CM:512"),
        ("ICD-O:8000/3", "ICDO:8000/3"),
        ("ORDO:2302", "ORPHA:2302"),
        ("Orphanet:ORPHA2302", "ORPHA:2302"),
        ("Orphanet_2302", "ORPHA:2302"),
        ("http://www.orpha.net/ORDO/Orphanet_2302", "ORPHA:2302"),
        ("NCIt:C3283", "NCIT:C3283"),
        ("NCI:C3283", "NCIT:C3283"),
        ("MIM:173600", "OMIM:173600"),
        ("OMIM:PS173600", "OMIMPS:173600"),
        ("https://omim.org/phenotypicSeries/PS173600", "OMIMPS:173600"),
        ("HPO:HP:0002107", "HP:0002107"),
        ("HP_0002107", "HP:0002107"),
        ("http://purl.obolibrary.org/obo/HP_0002107", "HP:0002107"),
        ("MONDO:0002076", "MONDO:0002076"),
        ("FMA:FMA7195", "FMA:7195"),
        ("http://www.ebi.ac.uk/efo/EFO_0000400", "EFO:0000400"),
        ("http://radlex.org/RID/RID5352", "RADLEX:RID5352"),
        ("https://identifiers.org/mesh/D011030", "MESH:D011030"),
        ("MedDRA:10035759", "MEDDRA:10035759"),
        ("GARD:0007399", "GARD:0007399"),
        ("LNC:2345-7", "LOINC:2345-7"),
        ("Fyler:4866", "Fyler:4866"),  # not in the table: as it is written
    ],
)
def test_spellings(text, expected):
    assert parse_curie(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "pneumothorax", "http://example.org/a_1", "https://x", "a b:1", "HP:", ":1", "HP:12 34", "part_of", "1:2"],
)
def test_what_is_no_curie(text):
    assert parse_curie(text) is None


def test_icd10_and_its_american_modification_stay_apart():
    assert parse_curie("ICD10:J93.9") != parse_curie("ICD10CM:J93.9")


@pytest.mark.parametrize("prefix, local", [("", "1"), ("HP", ""), ("HP", "a b"), ("a b", "1")])
def test_impossible_parts_are_refused(prefix, local):
    with pytest.raises(ValueError, match="make no CURIE"):
        curie(prefix, local)


@given(
    st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,12}", fullmatch=True), st.from_regex(r"[A-Z]?[0-9.]{1,9}", fullmatch=True)
)
def test_the_one_spelling_is_a_fixed_point(prefix, local):
    once = curie(prefix, local)
    assert parse_curie(once) == once
    assert once.partition(":")[0] == (canonical_prefix(prefix) or prefix)


def test_languages():
    assert [language_tag(code) for code in ("ENG", "spa", "CHI", "SCR", "pt-BR", "en", "XXX", "")] == [
        "en", "es", "zh", "hr", "pt-BR", "en", None, None,
    ]  # fmt: skip
    assert [language_rank(tag, None) for tag in ("en-GB", "de")] == [0, 1]
    assert [language_rank(tag, ["es", "en"]) for tag in ("es", "en-GB", "de")] == [0, 1, None]
    assert language_rank("eng", ["en"]) is None
