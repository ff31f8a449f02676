"""RxNorm: ingredients, brands and clinical drugs, and how they hang together."""

from collections import Counter

import pytest

from med_entity_tree.concept import Concept, Name, Relation
from med_entity_tree.errors import OntologyError
from med_entity_tree.readers.rxnorm import read_rxnorm


def atom(rxcui, tty, text, sab="RXNORM", code="", suppress="N", lang="ENG"):
    return "|".join([rxcui, lang, "", "", "", "", "", "A1", "", rxcui, "", sab, tty, code, text, "", suppress, ""])


def link(first, second, rela, rel="RO", sab="RXNORM", suppress=""):
    return "|".join([first, "", "CUI", rel, second, "", "CUI", rela, "R1", "", sab, "", "", "", suppress, "4096"])


CONSO = [
    atom("9001", "SCD", "glassomycin 10 MG Oral Tablet"),
    atom("9001", "PSN", "glassomycin 10 mg tablet"),
    atom("9001", "SY", "glassomycin 10 MG Oral Tablet"),
    atom("9001", "SY", "old spelling", suppress="O"),
    atom("9001", "CD", "Glassomycin 10mg tab", sab="SNOMEDCT_US", code="102"),
    atom("9002", "IN", "glassomycin"),
    atom("9002", "TMSY", "glassoMYCIN"),
    atom("9002", "MH", "Glassomycin", sab="MSH", code="D999998"),
    atom("9002", "XX", "Glassomycin", sab="NOLIST", code="1"),
    atom("9003", "BN", "Vitrox"),
    atom("9004", "DF", "Oral Tablet"),
    atom("9005", "SCDF", "glassomycin Oral Tablet"),
    atom("9006", "IN", "gone", suppress="O"),
    atom("9007", "CD", "only elsewhere", sab="MSH", code="D1"),
    atom("9008", "SCD", "test strip"),
]
REL = [
    link("9005", "9001", "isa", "RN"),
    link("9001", "9005", "inverse_isa", "RB"),
    link("9002", "9005", "has_ingredient"),
    link("9002", "9003", "tradename_of", "RN"),
    link("9003", "9002", "has_tradename", "RB"),
    link("9004", "9001", "has_dose_form"),
    link("9006", "9001", "has_ingredient"),
    link("9002", "9001", "has_ingredient", sab="SNOMEDCT_US"),
    link("9002", "9001", ""),
]
STY = ["9001|T200||Clinical Drug||", "9002|T109||Organic Chemical||", "9008|T074||Medical Device||"]


@pytest.fixture
def read(tmp_path, write_rrf):
    write_rrf("rrf/RXNCONSO.RRF", CONSO)
    write_rrf("rrf/RXNREL.RRF", REL)
    write_rrf("rrf/RXNSTY.RRF", STY)

    def read_options(**options) -> tuple[dict[str, Concept], Counter[str]]:
        dropped: Counter[str] = Counter()
        return {c.id: c for c in read_rxnorm(tmp_path, dropped=dropped, **options)}, dropped

    return read_options


def test_a_release(read):
    concepts, dropped = read()
    assert list(concepts) == [f"RXNORM:900{n}" for n in (1, 2, 3, 4, 5, 8)]
    assert concepts["RXNORM:9001"] == Concept(
        id="RXNORM:9001",
        name="glassomycin 10 MG Oral Tablet",
        source="RXNORM",
        kind="drug",
        names=[Name("glassomycin 10 mg tablet")],
        parents=["RXNORM:9005"],
        xrefs=["SNOMEDCT:102"],
        relations=[Relation("has_dose_form", "RXNORM:9004")],
    )
    assert concepts["RXNORM:9002"].names == [Name("glassoMYCIN")]
    assert concepts["RXNORM:9002"].xrefs == ["MESH:D999998"]
    assert concepts["RXNORM:9002"].relations == [Relation("has_tradename", "RXNORM:9003")]
    assert concepts["RXNORM:9003"].relations == [Relation("tradename_of", "RXNORM:9002")]
    assert concepts["RXNORM:9005"].relations == [Relation("has_ingredient", "RXNORM:9002")]
    assert {c.id[-4:]: c.kind for c in concepts.values()} == {
        "9001": "drug", "9002": "drug", "9003": "drug", "9004": "", "9005": "drug", "9008": "device",
    }  # fmt: skip
    assert dropped == {
        "suppressed name": 2,
        "name of another source": 4,
        "concept without a name of RxNorm": 1,
        "relation to a concept that was left out": 1,
        "relation that is suppressed or of another source": 1,
        "relation without a name, or to itself": 1,
    }


def test_term_types_and_relations_can_be_chosen(read):
    concepts, dropped = read(term_types={"IN", "BN"}, relations={"tradename_of"})
    assert [(c.name, c.relations) for c in concepts.values()] == [
        ("glassomycin", []),
        ("Vitrox", [Relation("tradename_of", "RXNORM:9002")]),
    ]
    assert dropped["term type not asked for"] == 4 and dropped["relation not asked for"] == 1


def test_broken_releases(tmp_path, write_rrf):
    with pytest.raises(OntologyError, match=r"no RXNCONSO\.RRF"):
        list(read_rxnorm(tmp_path))
    write_rrf("RXNCONSO.RRF", [*CONSO, "9009|ENG"])
    with pytest.raises(OntologyError, match=r"RXNCONSO.RRF, line 16: 2 columns where 18"):
        list(read_rxnorm(tmp_path))
    write_rrf("RXNCONSO.RRF", [atom("C9001", "IN", "x")])
    with pytest.raises(OntologyError, match="'C9001' is no concept's number"):
        list(read_rxnorm(tmp_path))
