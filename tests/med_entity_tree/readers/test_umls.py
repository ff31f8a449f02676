"""UMLS in Rich Release Format: names, types, definitions and relations of a concept come together."""

from collections import Counter

import pytest

from med_entity_tree.concept import Concept, Name, Relation
from med_entity_tree.errors import OntologyError
from med_entity_tree.readers.join import Join
from med_entity_tree.readers.umls import read_umls


def atom(cui, text, *, lang="ENG", ts="P", stt="PF", ispref="Y", aui="A1", sab="MTH", code="NOCODE", suppress="N"):
    return "|".join([cui, lang, ts, "L1", stt, "S1", ispref, aui, "", "", "", sab, "PT", code, text, "0", suppress, ""])


def link(first, rel, second, rela="", sab="SNOMEDCT_US", suppress="N"):
    return "|".join([first, "A1", "AUI", rel, second, "A2", "AUI", rela, "R1", "", sab, sab, "", "", suppress, ""])


def definition(cui, aui, text, sab="MSH", suppress="N"):
    return "|".join([cui, aui, "AT1", "", sab, text, suppress, ""])


@pytest.fixture
def read(tmp_path, write_rrf):
    def read_rows(conso, sty=(), rel=(), definitions=(), **options) -> tuple[list[Concept], Counter[str]]:
        write_rrf("META/MRCONSO.RRF", conso)
        write_rrf("META/MRSTY.RRF", [f"{cui}|{tui}|B2|name|AT1|" for cui, tui in sty])
        write_rrf("META/MRREL.RRF", rel)
        write_rrf("META/MRDEF.RRF", definitions)
        dropped: Counter[str] = Counter()
        return list(read_umls(tmp_path, dropped=dropped, **options)), dropped

    return read_rows


def test_a_whole_concept(read):
    concepts, dropped = read(
        conso=[
            atom("C9000002", "Brittle organ", aui="A9"),
            atom("C9000001", "glass lungs", ts="S", aui="A2", sab="MSH", code="D999999"),
            atom("C9000001", "Glass lung", aui="A1", sab="SNOMEDCT_US", code="101"),
            atom("C9000001", "Glass lung", stt="VO", ispref="N", aui="A5", sab="LNC", code="MTHU000001"),
            atom("C9000001", "Glaslunge", lang="GER", aui="A3", sab="MSHGER", code="D999999"),
            atom("C9000001", "lung of glas", ts="S", aui="A4", suppress="O"),
            atom("C9000001", "nuqneH", lang="TLH", aui="A6"),
        ],
        sty=[("C9000001", "T033"), ("C9000001", "T047"), ("C9000002", "T023"), ("C9000009", "T047")],
        rel=[
            link("C9000001", "PAR", "C9000002", "inverse_isa"),
            link("C9000002", "CHD", "C9000001", "isa"),  # the same from the other side
            link("C9000002", "RO", "C9000001", "has_finding_site"),
            link("C9000002", "RO", "C9000001", "has_finding_site", sab="NCI"),
            link("C9000001", "RO", "C9000002", "finding_site_of", suppress="O"),
            link("C9000001", "RO", "C9000002"),
            link("C9000001", "SY", "C9000001", "same_as"),
            link("C9000001", "RO", "C9000007", "due_to"),
        ],
        definitions=[
            definition("C9000001", "A2", "A note to indexers.", sab="CSP"),
            definition("C9000001", "A2", "A lung that rings."),
            definition("C9000001", "A3", "Eine Lunge, die klingt."),
            definition("C9000001", "A8", "Of no atom."),
        ],
    )
    assert concepts == [
        Concept(
            id="UMLS:C9000001",
            name="Glass lung",
            source="UMLS",
            kind="disease",
            names=[Name("glass lungs"), Name("Glaslunge", "de")],
            parents=["UMLS:C9000002"],
            xrefs=["SNOMEDCT:101", "MESH:D999999"],
            relations=[Relation("has_finding_site", "UMLS:C9000002", reference="NCI")],
            definition="A lung that rings.",
        ),
        Concept(id="UMLS:C9000002", name="Brittle organ", source="UMLS", kind="anatomy"),
    ]
    assert dropped == {
        "suppressed name": 1,
        "name in an unknown language": 1,
        "suppressed relation": 1,
        "relation without a name (RELA)": 1,
        "relation of a concept to itself": 1,
        "relation to a concept that was left out": 1,
        "definition of a name that was left out": 1,
    }


@pytest.mark.parametrize(
    "flags, preferred",
    [
        ([("P", "PF", "N"), ("P", "PF", "Y"), ("S", "PF", "Y")], 1),
        ([("S", "PF", "Y"), ("P", "VO", "Y")], 1),
        ([("P", "VO", "Y"), ("P", "PF", "N")], 1),
        ([("S", "VO", "N"), ("S", "VO", "Y")], 1),
    ],
)
def test_the_preferred_name_goes_by_ts_then_stt_then_ispref(read, flags, preferred):
    rows = [atom("C9000001", f"name {n}", ts=a, stt=b, ispref=c) for n, (a, b, c) in enumerate(flags)]
    for given in (rows, rows[::-1]):
        [concept], _ = read(given)
        assert concept.name == f"name {preferred}" and len(concept.names) == len(rows) - 1


def test_languages_and_sources_that_were_not_asked_for_are_counted(read):
    rows = [
        atom("C9000001", "Glass lung", sab="SNOMEDCT_US", code="101"),
        atom("C9000001", "Glaslunge", lang="GER", aui="A2"),
        atom("C9000001", "Pulmón de vidrio", lang="SPA", aui="A3", sab="SCTSPA", code="101"),
        atom("C9000002", "Vitrine", lang="FRE"),
    ]
    definitions = [definition("C9000001", "A2", "Sie klingt.", sab="MTH"), definition("C9000001", "A1", "It rings.")]
    [concept], dropped = read(rows, definitions=definitions, languages=["de", "en"])
    assert (concept.name, concept.names) == ("Glaslunge", [Name("Glass lung")])
    assert concept.definition == "Sie klingt."
    assert dropped == {"name in another language": 2}
    [concept], dropped = read(rows, definitions=definitions, sources={"SNOMEDCT_US"})
    assert concept.name == "Glass lung" and concept.definition == "" and concept.xrefs == ["SNOMEDCT:101"]
    assert dropped == {"name of another source": 3, "definition of another source": 2}


def test_relations_can_be_chosen(read):
    rows = [atom("C9000001", "a"), atom("C9000002", "b")]
    rel = [link("C9000001", "RO", "C9000002", kind) for kind in ("due_to", "seen_on")]
    rel.append(link("C9000002", "PAR", "C9000001"))
    for wanted, left in (({"due_to"}, 1), (set(), 0), (None, 2)):
        [_, concept], dropped = read(rows, rel=rel, relations=wanted)
        assert len(concept.relations) == left and concept.parents == ["UMLS:C9000001"]
        assert dropped["relation not asked for"] == 2 - left


def test_the_order_of_rows_does_not_matter(read):
    rows = [atom(f"C900000{n}", f"{text}", aui=f"A{n}") for n in (3, 1, 2) for text in ("x", "a", "m")]
    once, _ = read(rows)
    again, _ = read(rows[::-1])
    assert once == again and [concept.id[-1] for concept in once] == ["1", "2", "3"]


def test_joining_through_many_files_gives_the_same(read, monkeypatch):
    rows = [atom(f"C{n % 97:07d}", f"name\t{n}", aui=f"A{n}") for n in range(2000)]
    sty = [(f"C{n:07d}", "T047") for n in range(97)]
    whole, _ = read(rows, sty=sty)
    monkeypatch.setattr("med_entity_tree.readers.umls.Join", lambda scratch: Join(scratch, budget=5000))
    parts, _ = read(rows, sty=sty)
    assert parts == whole and len(whole) == 97
    assert sum(1 + len(concept.names) for concept in whole) == 2000
    assert all("\t" not in name.text for concept in whole for name in concept.names)


def test_only_names_are_required_and_gzip_is_read(write, caplog):
    path = write("MRCONSO.RRF.gz", atom("C9000001", "Glass lung") + "|\r\n")
    [concept] = read_umls(path.parent)
    assert (concept.name, concept.kind) == ("Glass lung", "")
    assert all(name in caplog.text for name in ("MRSTY", "MRDEF", "MRREL"))


def test_rows_of_the_wrong_width_name_file_and_line(tmp_path, write, write_rrf):
    write_rrf("MRCONSO.RRF", [atom("C9000001", "a"), atom("C9000002", "b").replace("ENG|P|", "")])
    with pytest.raises(OntologyError, match=r"MRCONSO.RRF, line 2: 16 columns where 18 are expected"):
        list(read_umls(tmp_path))
    write_rrf("MRCONSO.RRF", [atom("C9000001", "a")])
    write_rrf("MRSTY.RRF", ["C9000001|T047|B2|name|AT1"])
    with pytest.raises(OntologyError, match=r"MRSTY.RRF, line 1: 5 columns where 6 are expected"):
        list(read_umls(tmp_path))
    write("MRSTY.RRF", "C9000001|T047|B2|name|AT1||\nC9000001|T047|B2|na")
    with pytest.raises(OntologyError, match=r"MRSTY.RRF, line 2: the row does not end with \|"):
        list(read_umls(tmp_path))


def test_shifted_rows_are_refused(tmp_path, write_rrf):
    write_rrf("MRCONSO.RRF", [atom("ENG", "a")])
    with pytest.raises(OntologyError, match=r"line 1: 'ENG' is no concept's number"):
        list(read_umls(tmp_path))


def test_a_cut_gzip_stream_is_told(tmp_path, write_rrf):
    path = write_rrf("MRCONSO.RRF.gz", [atom(f"C{n:07d}", f"{n**7}") for n in range(3000)])
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(OntologyError, match=r"MRCONSO.RRF.gz, line \d+: the gzip stream is cut"):
        list(read_umls(tmp_path))


@pytest.mark.parametrize("names", [[], ["a/MRCONSO.RRF", "b/MRCONSO.RRF"]])
def test_a_folder_without_or_with_several_releases(tmp_path, write, names):
    for name in names:
        write(name, "")
    with pytest.raises(OntologyError, match="several files" if names else "no MRCONSO.RRF"):
        list(read_umls(tmp_path))
    with pytest.raises(OntologyError, match="this is no folder"):
        list(read_umls(tmp_path / "none"))
