"""Whatever happens to the bytes of a file, a reader yields concepts or says what is wrong; it never just falls over."""

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from med_entity_tree.concept import Concept
from med_entity_tree.errors import OntologyError
from med_entity_tree.readers.loinc import read_loinc
from med_entity_tree.readers.mesh import read_mesh
from med_entity_tree.readers.obo import read_obo
from med_entity_tree.readers.owl import read_owl
from med_entity_tree.readers.rxnorm import read_rxnorm
from med_entity_tree.readers.snomed import read_snomed
from med_entity_tree.readers.umls import read_umls

CONSO = "{id}|ENG|P|L|PF|S|Y|A1||{id}||{sab}|IN|101|Glass lung|0|N||\n"
REL = "{a}||CUI|RO|{b}||CUI|has_part|R1||{sab}|||N|N||\n"
OBO = """format-version: 1.4
import: x.owl

[Term]
id: HP:0000001
name: Glass lung {source="X:1"} ! comment
def: "A \\"lung\\" that rings." [X:1 "y"]
synonym: "ringing \\\\ lung" EXACT layperson [] {source="X:1"}
xref: SCTID:101 "text" {source="MONDO:relatedTo"}
is_a: HP:0000002 {gci_filler="X:1"} ! other
relationship: part_of UBERON:1 ! thorax
"""
OWL = """<rdf:RDF xmlns:owl="http://www.w3.org/2002/07/owl#" xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
xmlns:rdfs="http://www.w3.org/2000/01/rdf-schema#" xmlns:oio="http://www.geneontology.org/formats/oboInOwl#">
<owl:Class rdf:about="http://purl.obolibrary.org/obo/HP_1"><rdfs:label xml:lang="en">Glass lung</rdfs:label>
<rdfs:subClassOf><owl:Restriction><owl:onProperty rdf:resource="http://purl.obolibrary.org/obo/BFO_0000050"/>
<owl:someValuesFrom rdf:resource="http://purl.obolibrary.org/obo/HP_2"/></owl:Restriction></rdfs:subClassOf>
<oio:hasExactSynonym>ringing lung</oio:hasExactSynonym></owl:Class><owl:Axiom>
<owl:annotatedSource rdf:resource="http://purl.obolibrary.org/obo/HP_1"/><owl:annotatedProperty rdf:resource=
"http://www.geneontology.org/formats/oboInOwl#hasExactSynonym"/><owl:annotatedTarget>ringing lung</owl:annotatedTarget>
<oio:hasSynonymType rdf:resource="http://purl.obolibrary.org/obo/hp#layperson"/></owl:Axiom></rdf:RDF>
"""
MESH = """<!DOCTYPE DescriptorRecordSet SYSTEM "x.dtd">
<DescriptorRecordSet LanguageCode="eng"><DescriptorRecord><DescriptorUI>D1</DescriptorUI><DescriptorName>
<String>Lung, Glass</String></DescriptorName><TreeNumberList><TreeNumber>C08.1</TreeNumber></TreeNumberList>
<ConceptList><Concept PreferredConceptYN="Y"><ConceptUI>M1</ConceptUI><ScopeNote>It rings.</ScopeNote><TermList>
<Term><String>Ringing Lung</String></Term></TermList></Concept></ConceptList></DescriptorRecord></DescriptorRecordSet>
"""
LOINC = """LOINC_NUM,COMPONENT,PROPERTY,TIME_ASPCT,SYSTEM,SCALE_TYP,METHOD_TYP,CLASS,STATUS,LONG_COMMON_NAME
1-1,Glass,MCnc,Pt,Ser,Qn,,CHEM,ACTIVE,"Glass, ""total"", in Serum"
"""
SNOMED = {
    "sct2_Concept_Snapshot_INT_20260101.txt": "id\teffectiveTime\tactive\tmoduleId\tdefinitionStatusId\n"
    "101\t2\t1\t9\t9\n",
    "sct2_Description_Snapshot-en_INT_20260101.txt": "id\teffectiveTime\tactive\tmoduleId\tconceptId\tlanguageCode\t"
    "typeId\tterm\tcaseSignificanceId\n1\t2\t1\t9\t101\ten\t900000000000003001\tGlass lung (disorder)\t9\n",
}
FILES: dict[str, tuple[Callable[[Path], Iterator[Concept]], dict[str, str], bool]] = {
    "obo": (read_obo, {"x": OBO}, False),
    "owl": (read_owl, {"x": OWL}, False),
    "mesh": (read_mesh, {"x": MESH}, False),
    "loinc": (read_loinc, {"Loinc.csv": LOINC}, True),
    "umls": (
        read_umls,
        {
            "MRCONSO.RRF": "".join(CONSO.format(id=f"C000000{n}", sab="MSH") for n in (1, 2)),
            "MRREL.RRF": REL.format(a="C0000001", b="C0000002", sab="MSH"),
        },
        True,
    ),
    "rxnorm": (
        read_rxnorm,
        {
            "RXNCONSO.RRF": "".join(CONSO.format(id=n, sab="RXNORM") for n in (1, 2)),
            "RXNREL.RRF": REL.format(a="1", b="2", sab="RXNORM"),
        },
        True,
    ),
    "snomed": (read_snomed, SNOMED, True),
}
change = st.tuples(st.floats(0, 1), st.sampled_from(["cut", "replace", "insert", "double"]), st.binary(max_size=4))
marks = st.sampled_from(
    [b"\t", b"|", b'"', b"\\", b"\n", b"<", b"&", b"{", b"!", b"\x00", b"\xff", b"]]>", b"<!--", b":"]
)


def damage(data: bytes, changes) -> bytes:
    for where, how, new in changes:
        at = int(where * len(data))
        if how == "cut":
            data = data[:at]
        elif how == "double":
            data = data[:at] + data[at // 2 :]
        else:
            data = data[:at] + new + data[at + (how == "replace") * len(new) :]
    return data


@pytest.mark.parametrize("name", FILES)
def test_the_undamaged_file_is_read(tmp_path, name):
    read, files, folder = FILES[name]
    for file, text in files.items():
        (tmp_path / file).write_text(text)
    concepts = list(read(tmp_path if folder else tmp_path / "x"))
    assert "lass" in concepts[0].name


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(change | st.tuples(st.floats(0, 1), st.just("insert"), marks), min_size=1, max_size=4),
    which=st.integers(0, 1),
    packed=st.booleans(),
)
def test_damage_is_told_or_survived(tmp_path, name, changes, which, packed):
    read, files, folder = FILES[name]
    for number, (file, text) in enumerate(files.items()):
        data = text.encode()
        if packed:
            data = gzip.compress(data)
        if number == which % len(files):
            data = damage(data, changes)
        (tmp_path / file).write_bytes(data)
    try:
        assert all(concept.id and concept.name for concept in read(tmp_path if folder else tmp_path / "x"))
    except OntologyError as error:
        assert str(tmp_path) in str(error)
