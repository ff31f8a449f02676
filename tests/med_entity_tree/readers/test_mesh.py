"""MeSH descriptors: names with their scope, parents from tree numbers, and no harm from a file."""

from collections import Counter

import pytest

from med_entity_tree.concept import Concept, Name, Relation
from med_entity_tree.errors import OntologyError
from med_entity_tree.readers.mesh import read_mesh

HEADER = """<?xml version="1.0"?>
<!DOCTYPE DescriptorRecordSet SYSTEM "https://www.nlm.nih.gov/databases/dtd/nlmdescriptorrecordset_20260101.dtd">
<DescriptorRecordSet LanguageCode = "eng">
"""


def terms(*texts):
    return "<TermList>" + "".join(
        f'<Term ConceptPreferredTermYN="Y" LexicalTag="NON"><TermUI>T1</TermUI><String>{text}</String></Term>'
        for text in texts
    ) + "</TermList>"  # fmt: skip


def descriptor(ui, name, numbers=(), concepts="", extra=""):
    places = "".join(f"<TreeNumber>{number}</TreeNumber>" for number in numbers)
    return f"""<DescriptorRecord DescriptorClass = "1"><DescriptorUI>{ui}</DescriptorUI>
        <DescriptorName><String>{name}</String></DescriptorName>{extra}
        <TreeNumberList>{places}</TreeNumberList><ConceptList>{concepts}</ConceptList></DescriptorRecord>\n"""


@pytest.fixture
def read(write):
    def read_text(body: str, header: str = HEADER, name: str = "desc2026.xml") -> tuple[list[Concept], Counter[str]]:
        dropped: Counter[str] = Counter()
        return list(read_mesh(write(name, header + body + "</DescriptorRecordSet>"), dropped=dropped)), dropped

    return read_text


def test_a_whole_descriptor(read):
    concepts = f"""<Concept PreferredConceptYN="N"><ConceptUI>M2</ConceptUI><ScopeNote>Not this one.</ScopeNote>
            {terms("Left Glass Lung")}</Concept>
        <Concept PreferredConceptYN="Y"><ConceptUI>M1</ConceptUI><ScopeNote>A lung that rings;
            see &amp; hear.\n</ScopeNote><ConceptRelationList>
            <ConceptRelation RelationName="NRW"><Concept1UI>M1</Concept1UI><Concept2UI>M2</Concept2UI></ConceptRelation>
            <ConceptRelation RelationName="NRW"><Concept1UI>M3</Concept1UI><Concept2UI>M1</Concept2UI></ConceptRelation>
            </ConceptRelationList>{terms("Lung, Glass", "Glass Lung", "Ringing Lungs", "Lungs, Ringing")}</Concept>
        <Concept PreferredConceptYN="N"><ConceptUI>M3</ConceptUI>{terms("Ringing Organ")}</Concept>
        <Concept PreferredConceptYN="N"><ConceptUI>M4</ConceptUI>{terms("Bell")}</Concept>"""
    extra = """<SeeRelatedList><SeeRelatedDescriptor><DescriptorReferredTo><DescriptorUI>D5</DescriptorUI>
        </DescriptorReferredTo></SeeRelatedDescriptor></SeeRelatedList><PharmacologicalActionList><PharmacologicalAction>
        <DescriptorReferredTo><DescriptorUI>D6</DescriptorUI></DescriptorReferredTo></PharmacologicalAction>
        </PharmacologicalActionList>"""
    found, dropped = read(
        descriptor("D1", "Lung, Glass", ["C08.1.2", "C23.1.1", "C09.7.7"], concepts, extra)
        + descriptor("D2", "Lung Diseases", ["C08.1"])
        + descriptor("D3", "Odd Things", ["C23.1", "C09"])
        + descriptor("", "No Identifier", ["C10"])
    )
    assert found[0] == Concept(
        id="MESH:D1",
        name="Glass Lung",
        source="MESH",
        kind="disease",
        names=[
            Name("Ringing Lungs"),
            Name("Left Glass Lung", scope="narrow"),
            Name("Ringing Organ", scope="broad"),
            Name("Bell", scope="related"),
        ],
        parents=["MESH:D2", "MESH:D3"],
        relations=[Relation("see_related", "MESH:D5"), Relation("pharmacological_action", "MESH:D6")],
        definition="A lung that rings; see & hear.",
    )
    assert [(c.id, c.parents) for c in found[1:]] == [("MESH:D2", []), ("MESH:D3", [])]
    assert dropped == {"tree number without a parent in the file": 3, "no identifier or no name": 1}


@pytest.mark.parametrize(
    "numbers, kind",
    [
        (["A04.411"], "anatomy"), (["C08.381"], "disease"), (["E01.370"], "procedure"), (["D12.1"], "drug"),
        (["F03.600"], "disease"), (["C08.618", "C23.888.852"], "finding"), (["C23.550.1"], "finding"),
        (["E07.1"], "device"), (["Z01"], ""), (["G03.1", "C10.2"], "disease"), ([], ""),
    ],
)  # fmt: skip
def test_the_place_in_the_tree_gives_the_kind(read, numbers, kind):
    [concept], _ = read(descriptor("D1", "x", numbers))
    assert concept.kind == kind


def test_a_translation_keeps_its_language(read):
    body = descriptor("D1", "<![CDATA[Poumon de verre[Glass Lung]]]>", ["C08"],
        f'<Concept PreferredConceptYN="Y"><ConceptUI>M1</ConceptUI>{terms("Poumon, verre")}</Concept>')  # fmt: skip
    [concept], _ = read(body, HEADER.replace('"eng"', '"fre"'))
    assert concept.name == "Poumon de verre" and concept.names == [Name("Poumon, verre", "fr")]
    with pytest.raises(OntologyError, match="the language 'tlh' is not known"):
        read(body, HEADER.replace('"eng"', '"tlh"'))


def test_gzip_byte_order_mark_and_carriage_returns(read):
    header = "\ufeff" + HEADER.replace("\n", "\r\n")
    [concept], _ = read(descriptor("D1", "Größe", ["C08"]), header, "desc2026.xml.gz")
    assert concept.name == "Größe"


@pytest.mark.parametrize(
    "subset",
    [
        '[<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]',
        '[<!ENTITY b "http://example.org/harmless">]',
        '[<!ENTITY b SYSTEM "file:///etc/passwd">]',
        '[<!ENTITY % p SYSTEM "http://example.org/x.dtd"> %p;]',
    ],
)
def test_any_entity_that_is_declared_is_refused(read, subset):
    header = HEADER.replace('.dtd">', f'.dtd" {subset}>')
    with pytest.raises(OntologyError, match=r"desc2026.xml, line 2: .*not safe to expand"):
        read(descriptor("D1", "&b;"), header)


def test_an_entity_of_the_dtd_which_is_not_read_is_refused(read):
    with pytest.raises(OntologyError, match="line 5: the entity 'eacute' is used and not declared"):
        read(descriptor("D1", "caf&eacute;"))


def test_other_files_are_refused(read, write):
    with pytest.raises(OntologyError, match="the root is SupplementalRecordSet, not DescriptorRecordSet"):
        list(read_mesh(write("supp2026.xml", "<SupplementalRecordSet/>")))
    with pytest.raises(OntologyError, match="not well-formed XML"):
        list(read_mesh(write("desc2026.xml", HEADER + descriptor("D1", "x"))))
    with pytest.raises(OntologyError, match="not well-formed XML"):
        list(read_mesh(write("desc2026.xml", "")))
    path = write("desc2026.xml.gz", HEADER + "".join(descriptor(f"D{n}", f"{n**7}") for n in range(3000)))
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(OntologyError, match=r"desc2026.xml.gz, line \d+: the gzip stream is cut"):
        list(read_mesh(path))
