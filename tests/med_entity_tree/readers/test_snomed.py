"""SNOMED CT RF2: only the snapshot is read, and its files are found by their names."""

from collections import Counter

import pytest

from med_entity_tree.concept import Concept, Name, Relation
from med_entity_tree.errors import OntologyError
from med_entity_tree.readers.join import Join
from med_entity_tree.readers.snomed import find_release, read_snomed

FSN, SYNONYM, DEFINITION = "900000000000003001", "900000000000013009", "900000000000550004"
PREFERRED, ACCEPTABLE = "900000000000548007", "900000000000549004"
US, GB = "900000000000509007", "900000000000508004"
INFERRED, STATED = "900000000000011006", "900000000000010007"
IS_A, SITE = "116680003", "363698007"

CONCEPT = "id effectiveTime active moduleId definitionStatusId"
DESCRIPTION = "id effectiveTime active moduleId conceptId languageCode typeId term caseSignificanceId"
RELATIONSHIP = (
    "id effectiveTime active moduleId sourceId destinationId relationshipGroup typeId characteristicTypeId modifierId"
)
LANGUAGE = "id effectiveTime active moduleId refsetId referencedComponentId acceptabilityId"
TERMINOLOGY, REFSET = "Release/Snapshot/Terminology", "Release/Snapshot/Refset/Language"


def concept(identity, active=1):
    return f"{identity}\t20260101\t{active}\t9\t9"


def description(identity, concept, term, kind=SYNONYM, language="en", active=1):
    return f"{identity}\t20260101\t{active}\t9\t{concept}\t{language}\t{kind}\t{term}\t9"


def relationship(source, kind, target, characteristic=INFERRED, active=1):
    return f"1\t20260101\t{active}\t9\t{source}\t{target}\t0\t{kind}\t{characteristic}\t9"


def language(refset, component, acceptability=PREFERRED, active=1):
    return f"u\t20260101\t{active}\t9\t{refset}\t{component}\t{acceptability}"


CONCEPTS = [concept(101), concept(102), concept(103, active=0), concept(104), concept(SITE)]
DESCRIPTIONS = [
    description(1, 101, "Glass lung (disorder)", FSN),
    description(2, 101, "Glass lung"),
    description(3, 101, "Ringing lung"),
    description(4, 101, "Lung, vitreous"),
    description(5, 101, "lung of glas", active=0),
    description(6, 102, "Brittle organ (body structure)", FSN),
    description(7, 103, "Gone (finding)", FSN),
    description(8, SITE, "Finding site (attribute)", FSN),
    description(9, 101, "nuqneH", language="xyz"),
]
RELATIONSHIPS = [
    relationship(101, IS_A, 102),
    relationship(101, SITE, 102),
    relationship(101, SITE, 102, characteristic=STATED),
    relationship(101, "246075003", 104),
    relationship(101, SITE, 104, active=0),
]
LANGUAGES = [
    language(US, 3),
    language(GB, 4),
    language(US, 2, ACCEPTABLE),
    language(US, 4, active=0),
    language(US, 1),  # the fully specified name has a preferred form too, but is not the name to show
]


@pytest.fixture
def write_release(tmp_path, write):
    def write_all(concepts=CONCEPTS, descriptions=DESCRIPTIONS, relationships=RELATIONSHIPS, languages=LANGUAGES):
        for name, header, rows in (
            (f"{TERMINOLOGY}/sct2_Concept_Snapshot_INT_20260101.txt", CONCEPT, concepts),
            (f"{TERMINOLOGY}/sct2_Description_Snapshot-en_INT_20260101.txt", DESCRIPTION, descriptions),
            (f"{TERMINOLOGY}/sct2_Relationship_Snapshot_INT_20260101.txt", RELATIONSHIP, relationships),
            (f"{REFSET}/der2_cRefset_LanguageSnapshot-en_INT_20260101.txt", LANGUAGE, languages),
        ):
            write(name, "".join(line + "\r\n" for line in ["\t".join(header.split()), *rows]))
        return tmp_path / "Release"

    return write_all


def read(folder, **options) -> tuple[dict[str, Concept], Counter[str]]:
    dropped: Counter[str] = Counter()
    return {c.id: c for c in read_snomed(folder, dropped=dropped, **options)}, dropped


def test_a_release(write_release, write):
    folder = write_release()
    write(
        f"{TERMINOLOGY}/sct2_TextDefinition_Snapshot-en_INT_20260101.txt",
        "\t".join(DESCRIPTION.split()) + "\n" + description(20, 101, 'It "rings".', DEFINITION) + "\n",
    )
    # Files of other kinds lie in the same folders.
    write(f"{TERMINOLOGY}/sct2_StatedRelationship_Snapshot_INT_20260101.txt", "other\tcolumns\n")
    write("Release/Snapshot/Refset/Map/der2_cRefset_AssociationSnapshot_INT_20260101.txt", "other\tcolumns\n")
    write("Release/Full/Terminology/sct2_Concept_Full_INT_20260101.txt", "other\tcolumns\n")
    concepts, dropped = read(folder)
    assert list(concepts) == ["SNOMEDCT:101", "SNOMEDCT:102", f"SNOMEDCT:{SITE}"]
    assert concepts["SNOMEDCT:101"] == Concept(
        id="SNOMEDCT:101",
        name="Ringing lung",
        source="SNOMEDCT",
        kind="disease",
        names=[Name("Glass lung"), Name("Lung, vitreous")],
        parents=["SNOMEDCT:102"],
        relations=[Relation("246075003", "SNOMEDCT:104"), Relation("finding_site", "SNOMEDCT:102")],
        definition='It "rings".',
    )
    assert (concepts["SNOMEDCT:102"].name, concepts["SNOMEDCT:102"].kind) == ("Brittle organ", "anatomy")
    assert concepts[f"SNOMEDCT:{SITE}"].kind == ""
    assert dropped == {
        "inactive concept": 1,
        "inactive description": 1,
        "inactive relationship": 1,
        "stated relationship": 1,
        "description in an unknown language": 1,
        "row of a concept that is inactive or of another module": 1,
        "no name": 1,
    }


@pytest.mark.parametrize(
    "tag, kind",
    [
        ("disorder", "disease"), ("finding", "finding"), ("body structure", "anatomy"), ("procedure", "procedure"),
        ("regime/therapy", "procedure"), ("substance", "drug"), ("product", "drug"), ("physical object", "device"),
        ("observable entity", "measurement"), ("namespace concept", ""),
    ],
)  # fmt: skip
def test_the_semantic_tag_gives_the_kind(write_release, tag, kind):
    concepts, _ = read(write_release(descriptions=[description(1, 101, f"A (small) thing ({tag})", FSN)]))
    [concept] = concepts.values()
    assert (concept.name, concept.kind) == ("A (small) thing", kind)


def test_the_reference_set_chooses_the_name(write_release):
    folder = write_release()
    assert read(folder, refset=GB)[0]["SNOMEDCT:101"].name == "Lung, vitreous"
    with pytest.raises(OntologyError, match=f"no language reference set 5. It has {GB}, {US}"):
        read(folder, refset="5")
    concepts, _ = read(write_release(languages=[language(GB, 4)]))
    assert concepts["SNOMEDCT:101"].name == "Lung, vitreous"
    concepts, _ = read(write_release(languages=[]))
    assert concepts["SNOMEDCT:101"].name == "Glass lung"


def test_languages(write_release, write):
    folder = write_release()
    write(
        f"{TERMINOLOGY}/sct2_Description_SpanishExtensionSnapshot-es_INT_20260101.txt",
        "\t".join(DESCRIPTION.split()) + "\n" + description(30, 101, "Pulmón de vidrio", language="es") + "\n",
    )
    concepts, _ = read(folder)
    assert Name("Pulmón de vidrio", "es") in concepts["SNOMEDCT:101"].names
    concepts, dropped = read(folder, languages=["es"])
    assert [(c.id, c.name, c.kind) for c in concepts.values()] == [("SNOMEDCT:101", "Pulmón de vidrio", "")]
    assert dropped["description in another language"] == 7 and dropped["no name"] == 3
    concepts, _ = read(folder, languages=["es", "en"])
    assert concepts["SNOMEDCT:101"].name == "Pulmón de vidrio" and concepts["SNOMEDCT:101"].kind == "disease"


def test_joining_through_many_files_gives_the_same(write_release, monkeypatch):
    folder = write_release(
        concepts=[concept(n) for n in range(1, 200)],
        descriptions=[description(n, n % 199 + 1, f"name {n}") for n in range(1, 1000)],
        relationships=[relationship(n, IS_A, n // 2) for n in range(2, 200)],
    )
    whole, _ = read(folder)
    monkeypatch.setattr("med_entity_tree.readers.snomed.Join", lambda scratch: Join(scratch, budget=2000))
    assert read(folder)[0] == whole and len(whole) == 199


@pytest.mark.parametrize(
    "state, sentence", [("Full", "Full release.*Give the folder Snapshot"), ("Delta", "Delta release.*Snapshot")]
)
def test_full_and_delta_are_refused(tmp_path, write, state, sentence):
    write(f"{state}/Terminology/sct2_Concept_{state}_INT_20260101.txt", "")
    with pytest.raises(OntologyError, match=sentence):
        list(read_snomed(tmp_path))


def test_which_files_make_a_release(tmp_path, write):
    with pytest.raises(OntologyError, match="no sct2_Concept_Snapshot"):
        find_release(tmp_path)
    one = write("a/xsct2_Concept_Snapshot_US1000124_20260301.txt", "")
    language = write("a/der2_cRefset_LanguageSnapshot-en-US_US1000124_20260301.txt", "")
    gz = write("a/sct2_Relationship_Snapshot_US1000124_20260301.txt.gz", "")
    found = find_release(tmp_path)
    assert (found.concepts, found.languages, found.relationships) == (one, [language], [gz])
    write("b/sct2_Concept_Snapshot_INT_20260101.txt", "")
    with pytest.raises(OntologyError, match=r"several releases .*Name the folder"):
        find_release(tmp_path)
    with pytest.raises(OntologyError, match="this is no folder"):
        find_release(one)


@pytest.mark.parametrize(
    "concepts, descriptions, sentence",
    [
        (["101\t20260101\t1\t9"], [], r"Concept_\S+, line 2: 4 columns where 5"),
        (["101\t20260101\tyes\t9\t9"], [], r"Concept_\S+, line 2: 'yes' is no value of active"),
        (CONCEPTS, [description(1, 101, "a\tb")], r"Description_\S+, line 2: 10 columns where 9"),
    ],
)
def test_broken_rows_name_file_and_line(write_release, concepts, descriptions, sentence):
    with pytest.raises(OntologyError, match=sentence):
        read(write_release(concepts, descriptions))


def test_other_headers_and_identifiers_are_refused(write_release, write):
    folder = write_release(languages=[language(US, "abc")])
    with pytest.raises(OntologyError, match="line 2: 'abc' is no identifier"):
        read(folder)
    write(f"{REFSET}/der2_cRefset_LanguageSnapshot-en_INT_20260101.txt", "\ufeff" + "\t".join(LANGUAGE.split()) + "\n")
    assert len(read(folder)[0]) == 3
    write(f"{TERMINOLOGY}/sct2_Concept_Snapshot_INT_20260101.txt", concept(101) + "\n")
    with pytest.raises(OntologyError, match=r"line 1: the header names other columns\. Expected are id"):
        read(folder)
