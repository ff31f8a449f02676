"""OWL in RDF/XML: the same concepts as from OBO, and nothing in a file can hurt the reader."""

import re
from collections import Counter

import pytest

from med_entity_tree.concept import Concept, Name, Relation
from med_entity_tree.errors import OntologyError
from med_entity_tree.readers.obo import read_obo
from med_entity_tree.readers.owl import read_owl

HEADER = """<?xml version="1.0"?>
<rdf:RDF xmlns="http://purl.obolibrary.org/obo/toy.owl#" xml:base="http://purl.obolibrary.org/obo/toy.owl"
     xmlns:obo="http://purl.obolibrary.org/obo/" xmlns:owl="http://www.w3.org/2002/07/owl#"
     xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:rdfs="http://www.w3.org/2000/01/rdf-schema#"
     xmlns:skos="http://www.w3.org/2004/02/skos/core#" xmlns:oboInOwl="http://www.geneontology.org/formats/oboInOwl#">
"""
OBO = "http://purl.obolibrary.org/obo/"


def axiom(about: str, on: str, target: str, said: str) -> str:
    on = on.replace("oboInOwl:", "http://www.geneontology.org/formats/oboInOwl#")
    return f"""<owl:Axiom><owl:annotatedSource rdf:resource="{OBO}{about}"/><owl:annotatedProperty rdf:resource="{on}"/>
        <owl:annotatedTarget>{target}</owl:annotatedTarget>{said}</owl:Axiom>
"""


def some(on: str, target: str) -> str:
    return f"""<owl:Restriction><owl:onProperty rdf:resource="{OBO}{on}"/>
        <owl:someValuesFrom rdf:resource="{OBO}{target}"/></owl:Restriction>"""


@pytest.fixture
def read(write):
    def read_text(body: str, header: str = HEADER, **options) -> tuple[list[Concept], Counter[str]]:
        dropped: Counter[str] = Counter()
        return list(read_owl(write("toy.owl", header + body + "</rdf:RDF>"), dropped=dropped, **options)), dropped

    return read_text


def test_a_whole_class(read):
    body = f"""
    <owl:Ontology rdf:about="{OBO}toy.owl"><owl:imports rdf:resource="http://example.org/other.owl"/></owl:Ontology>
    <owl:ObjectProperty rdf:about="{OBO}BFO_0000050"><oboInOwl:shorthand>part_of</oboInOwl:shorthand>
    </owl:ObjectProperty>
    <owl:ObjectProperty rdf:about="{OBO}RO_0004026"><rdfs:label>disease has location</rdfs:label></owl:ObjectProperty>
    <owl:Class rdf:about="{OBO}MONDO_0000010">
        <rdfs:subClassOf rdf:resource="{OBO}MONDO_0000002"/>
        <rdfs:subClassOf>{some("BFO_0000050", "MONDO_0000003")}</rdfs:subClassOf>
        <rdfs:subClassOf>{some("RO_0004026", "UBERON_0000001")}</rdfs:subClassOf>
        <rdfs:subClassOf>{some("RO_0004027", "UBERON_0000001")}</rdfs:subClassOf>
        <obo:IAO_0000115>A lung that
            rings &lt;when&gt; struck.</obo:IAO_0000115>
        <oboInOwl:hasAlternativeId>MONDO:0000011</oboInOwl:hasAlternativeId>
        <oboInOwl:hasDbXref>SCTID:101</oboInOwl:hasDbXref>
        <oboInOwl:hasDbXref>OMIM:1</oboInOwl:hasDbXref>
        <oboInOwl:hasExactSynonym>ringing lung</oboInOwl:hasExactSynonym>
        <oboInOwl:hasExactSynonym>lung of glas</oboInOwl:hasExactSynonym>
        <oboInOwl:hasNarrowSynonym>left glass lung</oboInOwl:hasNarrowSynonym>
        <oboInOwl:hasBroadSynonym>ringing organ</oboInOwl:hasBroadSynonym>
        <oboInOwl:hasRelatedSynonym>bell</oboInOwl:hasRelatedSynonym>
        <skos:altLabel xml:lang="fr">poumon de verre</skos:altLabel>
        <skos:exactMatch rdf:resource="http://identifiers.org/mesh/D999999"/>
        <rdfs:label xml:lang="de">Glaslunge</rdfs:label>
        <rdfs:label>Glass lung</rdfs:label>
        <rdfs:label xml:lang="klingon">?</rdfs:label>
    </owl:Class>
    """
    body += axiom("MONDO_0000010", "oboInOwl:hasExactSynonym", "lung of glas",
        f'<oboInOwl:hasSynonymType rdf:resource="{OBO}mondo#MISSPELLING"/>')  # fmt: skip
    body += axiom("MONDO_0000010", "oboInOwl:hasDbXref", "OMIM:1",
        "<oboInOwl:source>PMID:1</oboInOwl:source><oboInOwl:source>MONDO:relatedTo</oboInOwl:source>")  # fmt: skip
    concepts, dropped = read(body)
    assert concepts == [
        Concept(
            id="MONDO:0000010",
            name="Glass lung",
            source="MONDO",
            kind="disease",
            names=[
                Name("ringing lung"),
                Name("left glass lung", scope="narrow"),
                Name("ringing organ", scope="broad"),
                Name("bell", scope="related"),
                Name("poumon de verre", "fr"),
                Name("Glaslunge", "de"),
            ],
            parents=["MONDO:0000002", "MONDO:0000003"],
            xrefs=["MONDO:0000011", "SNOMEDCT:101", "MESH:D999999"],
            relations=[
                Relation("part_of", "MONDO:0000003"),
                Relation("disease_has_location", "UBERON:0000001"),
                Relation("ro_0004027", "UBERON:0000001"),
            ],
            definition="A lung that rings <when> struck.",
        )
    ]
    assert dropped == {
        "import that was not followed": 1,
        "retired synonym": 1,
        "cross-reference to something not equal": 1,
        "name in an unknown language": 1,
    }


def test_the_same_term_from_obo_is_the_same_concept(read, write):
    [from_owl], _ = read(f"""<owl:Class rdf:about="{OBO}HP_0000010"><rdfs:label>Glass lung</rdfs:label>
        <rdfs:subClassOf rdf:resource="{OBO}HP_0000001"/>
        <rdfs:subClassOf>{some("BFO_0000050", "UBERON_1")}</rdfs:subClassOf>
        <oboInOwl:hasExactSynonym>ringing lung</oboInOwl:hasExactSynonym>
        <oboInOwl:hasDbXref>UMLS:C9999999</oboInOwl:hasDbXref>
        <obo:IAO_0000115>It rings.</obo:IAO_0000115></owl:Class>""")
    obo = write("toy.obo", """[Term]\nid: HP:0000010\nname: Glass lung\nis_a: HP:0000001\nrelationship: part_of UBERON:1
synonym: "ringing lung" EXACT []\nxref: UMLS:C9999999\ndef: "It rings." []\n""")  # fmt: skip
    assert [from_owl] == list(read_obo(obo))


def test_equivalent_classes(read):
    def class_with(link: str, extra: str = "") -> Concept:
        [concept], _ = read(f'<owl:Class rdf:about="{OBO}X_1"><rdfs:label>x</rdfs:label>{extra}{link}</owl:Class>')
        return concept

    genus = f"""<owl:equivalentClass><owl:Class><owl:intersectionOf rdf:parseType="Collection">
        <rdf:Description rdf:about="{OBO}X_5"/>{some("BFO_0000050", "X_6")}</owl:intersectionOf></owl:Class>
        </owl:equivalentClass>"""
    concept = class_with(genus)
    assert concept.parents == ["X:5", "X:6"] and concept.relations == [Relation("part_of", "X:6")]
    assert class_with(genus, f'<rdfs:subClassOf rdf:resource="{OBO}X_4"/>').parents == ["X:4", "X:6"]
    assert class_with(f'<owl:equivalentClass rdf:resource="{OBO}DOID_5"/>').xrefs == ["DOID:5"]


def test_what_says_nothing_of_every_instance_is_counted(read):
    only = some("BFO_0000050", "X_2").replace("someValuesFrom", "allValuesFrom")
    either = f'<owl:unionOf rdf:parseType="Collection"><rdf:Description rdf:about="{OBO}X_2"/></owl:unionOf>'
    [concept], dropped = read(f"""<owl:Class rdf:about="{OBO}X_1"><rdfs:label>x</rdfs:label>
        <rdfs:subClassOf>{only}</rdfs:subClassOf><rdfs:subClassOf><owl:Class>{either}</owl:Class></rdfs:subClassOf></owl:Class>""")
    assert concept.parents == [] and concept.relations == []
    assert dropped == {
        "restriction other than 'some'": 1,
        "class expression that is neither a restriction nor an intersection": 1,
    }


def test_deprecated_nameless_and_foreign_classes_are_counted(read):
    concepts, dropped = read(
        f"""<owl:Class rdf:about="{OBO}X_1"><rdfs:label>a</rdfs:label><owl:deprecated>true</owl:deprecated></owl:Class>
        <owl:Class rdf:about="{OBO}X_2"/><owl:Class rdf:about="http://x.org/y"><rdfs:label>y</rdfs:label></owl:Class>
        <owl:Class rdf:about="{OBO}Y_1"><rdfs:label>y</rdfs:label></owl:Class>
        <owl:Class rdf:about="{OBO}X_3"><rdfs:label>x</rdfs:label><owl:deprecated>false</owl:deprecated></owl:Class>"""
        + axiom("X_1", "oboInOwl:hasDbXref", "OMIM:1", ""),
        prefixes=["X"],
    )
    assert [concept.id for concept in concepts] == ["X:3"]
    assert dropped == {
        "obsolete": 1, "no name": 1, "no id that is a CURIE": 1, "other ontology": 1, "axiom apart from its class": 1,
    }  # fmt: skip


def test_rdf_descriptions_and_relative_addresses(read):
    kind = '<rdf:type rdf:resource="http://www.w3.org/2002/07/owl#Class"/>'
    concepts, _ = read(
        f"""<rdf:Description rdf:about="#RID1"><rdfs:label>one</rdfs:label>{kind}</rdf:Description>
        <rdf:Description rdf:about="#RID2"><rdfs:label>no class</rdfs:label></rdf:Description>
        <owl:Class rdf:ID="RID3"><rdfs:label>three</rdfs:label><rdfs:subClassOf rdf:resource="#RID1"/></owl:Class>""",
        HEADER.replace(f'xml:base="{OBO}toy.owl"', 'xml:base="http://www.radlex.org/RID/"'),
        kind="finding",
    )
    assert [(c.id, c.parents, c.kind) for c in concepts] == [
        ("RADLEX:RID1", [], "finding"),
        ("RADLEX:RID3", ["RADLEX:RID1"], "finding"),
    ]


def test_entities_that_name_namespaces_are_expanded(read):
    doctype = (
        f'<!DOCTYPE rdf:RDF [\n<!ENTITY obo "{OBO}">\n<!ENTITY xsd "http://www.w3.org/2001/XMLSchema#">\n]>\n<rdf:RDF'
    )
    [concept], _ = read(
        '<owl:Class rdf:about="&obo;HP_1"><rdfs:label rdf:datatype="&xsd;string">x</rdfs:label></owl:Class>',
        HEADER.replace("<rdf:RDF", doctype),
    )
    assert (concept.id, concept.name) == ("HP:1", "x")


BOMB = "".join(f'<!ENTITY a{n} "{("&a" + str(n - 1) + ";") * 10}">\n' for n in range(1, 10))


@pytest.mark.parametrize(
    "declared",
    [
        '<!ENTITY a0 "ha">\n' + BOMB,
        f'<!ENTITY a9 "{"ha" * 5000}">',
        '<!ENTITY a9 SYSTEM "file:///etc/passwd">',
        '<!ENTITY % a9 SYSTEM "http://example.org/x.dtd"> %a9;',
        '<!ENTITY a9 "&#38;#38;">',
        "".join(f'<!ENTITY b{n} "x">' for n in range(201)),
    ],
)
def test_entity_bombs_and_outside_entities_are_refused(read, declared):
    header = HEADER.replace("<rdf:RDF", f"<!DOCTYPE rdf:RDF [\n{declared}\n]>\n<rdf:RDF")
    with pytest.raises(OntologyError, match=r"line \d+: .*not safe to expand"):
        read(f'<owl:Class rdf:about="{OBO}X_1"><rdfs:label>&a9;</rdfs:label></owl:Class>', header)


def test_an_entity_of_a_dtd_that_is_not_read_is_refused(read):
    header = HEADER.replace("<rdf:RDF", '<!DOCTYPE rdf:RDF SYSTEM "http://example.org/x.dtd">\n<rdf:RDF')
    with pytest.raises(OntologyError, match="entity 'nbsp' is used and not declared"):
        read(f'<owl:Class rdf:about="{OBO}X_1"><rdfs:label>a&nbsp;b</rdfs:label></owl:Class>', header)
    [concept], _ = read(f'<owl:Class rdf:about="{OBO}X_1"><rdfs:label>a &amp; b&#x21;</rdfs:label></owl:Class>', header)
    assert concept.name == "a & b!"


@pytest.mark.parametrize(
    "body, sentence",
    [
        ("<a>" * 200 + "</a>" * 200, "nested more than"),
        (f'<a b="{"x" * (6 << 20)}"/>', "a tag or comment of more than"),
        (f"<owl:Class><a>{'x' * (65 << 20)}</a></owl:Class>", "one record of more than"),
    ],
)
def test_shapes_that_would_fill_the_memory_are_refused(read, body, sentence):
    with pytest.raises(OntologyError, match=sentence):
        read(body)


def test_a_cut_file_names_its_line(write):
    whole = HEADER + f'<owl:Class rdf:about="{OBO}X_1"><rdfs:label>x</rdfs:label></owl:Class>\n' * 300
    path = write("toy.owl.gz", whole)
    with pytest.raises(OntologyError, match=r"line 306: not well-formed XML \(no element found\)"):
        list(read_owl(path))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(OntologyError, match="the gzip stream is cut"):
        list(read_owl(path))


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("Prefix(:=<http://x#>)\nOntology(<http://x>)", "functional syntax.*robot convert"),
        ("# c\nOntology(<http://x>\n)", "functional syntax.*robot convert"),
        ("Prefix: : <http://x#>\nOntology: <http://x>", "Manchester syntax.*robot convert"),
        ("@prefix owl: <http://www.w3.org/2002/07/owl#> .", "Turtle.*robot convert"),
        ("# c\nPREFIX owl: <http://x>", "Turtle.*robot convert"),
        ("<http://x#a> <http://x#b> <http://x#c> .", "Turtle.*robot convert"),
        ('{"graphs": []}', "JSON.*robot convert"),
        ("format-version: 1.4\n", "OBO.*read_obo"),
        ('<?xml version="1.0"?><Ontology xmlns="http://www.w3.org/2002/07/owl#"/>', "OWL/XML.*robot convert"),
        ("<html/>", "XML of another kind"),
    ],
)
def test_other_syntaxes_are_refused_with_how_to_convert(write, text, sentence):
    with pytest.raises(OntologyError, match=sentence):
        list(read_owl(write("toy.ofn", text)))


def test_a_byte_order_mark_and_carriage_returns(write):
    text = HEADER + f'<owl:Class rdf:about="{OBO}X_1"><rdfs:label>größer</rdfs:label></owl:Class></rdf:RDF>'
    [concept] = read_owl(write("toy.owl", "\ufeff" + re.sub("\n", "\r\n", text)))
    assert concept.name == "größer"
