"""LOINC: terms, the groups above them, and CSV in all the ways in which it can be broken."""

import csv
import io
from collections import Counter

import pytest

from med_entity_tree.concept import Concept, Name, Relation
from med_entity_tree.errors import OntologyError
from med_entity_tree.readers.loinc import read_loinc

COLUMNS = (
    "LOINC_NUM COMPONENT PROPERTY TIME_ASPCT SYSTEM SCALE_TYP METHOD_TYP CLASS STATUS DefinitionDescription "
    "CONSUMER_NAME RELATEDNAMES2 SHORTNAME LONG_COMMON_NAME DisplayName"
).split()
GLASS = {
    "LOINC_NUM": "99001-1",
    "COMPONENT": "Glass",
    "PROPERTY": "MCnc",
    "TIME_ASPCT": "Pt",
    "SYSTEM": "Ser/Plas",
    "SCALE_TYP": "Qn",
    "CLASS": "CHEM",
    "STATUS": "ACTIVE",
    "CONSUMER_NAME": "Glass, Blood",
    "RELATEDNAMES2": "Glss; Vitrum ;Glass SerPl-mCnc; ",
    "SHORTNAME": "Glass SerPl-mCnc",
    "LONG_COMMON_NAME": 'Glass [Mass/volume], "total",\nin Serum',
}
CHEST = {
    "LOINC_NUM": "99002-9",
    "COMPONENT": "Views PA",
    "PROPERTY": "Find",
    "TIME_ASPCT": "Pt",
    "SYSTEM": "Chest",
    "SCALE_TYP": "Doc",
    "METHOD_TYP": "XR",
    "CLASS": "RAD",
    "STATUS": "TRIAL",
    "DefinitionDescription": "A picture.",
    "LONG_COMMON_NAME": "XR Chest PA",
}


def table(*rows, columns=COLUMNS):
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows({column: row.get(column, "") for column in columns} for row in rows)
    return text.getvalue()


def read(path) -> tuple[list[Concept], Counter[str]]:
    dropped: Counter[str] = Counter()
    return list(read_loinc(path, dropped=dropped)), dropped


def test_a_release(tmp_path, write):
    path = write("LoincTable/Loinc.csv", "\ufeff" + table(GLASS, CHEST, {**GLASS, "STATUS": "DEPRECATED"}))
    write(
        "AccessoryFiles/ComponentHierarchyBySystem/ComponentHierarchyBySystem.csv",
        "PATH_TO_ROOT,SEQUENCE,IMMEDIATE_PARENT,CODE,CODE_TEXT\r\n,1,,LP1-1,Laboratory\r\n"
        'LP1-1,1,LP1-1,LP2-2,"Glass, all"\r\nLP1-1.LP2-2,1,LP2-2,99001-1,Glass SerPl-mCnc\r\n'
        "LP9-9,2,LP9-9,99001-1,Glass SerPl-mCnc\r\nLP1-1.LP2-2,3,LP2-2,99001-1,Glass SerPl-mCnc\r\n",
    )
    write(
        "AccessoryFiles/PartFile/LoincPartLink_Primary.csv",
        "LoincNumber,LongCommonName,PartNumber,PartName,PartCodeSystem,PartTypeName,LinkTypeName,Property\n"
        "99001-1,x,LP2-2,Glass,http://loinc.org,COMPONENT,Primary,http://loinc.org/property/COMPONENT\n"
        "99001-1,x,LP3-3,MCnc,http://loinc.org,PROPERTY,Primary,http://loinc.org/property/PROPERTY\n"
        "99001-1,x,LP4-4,Ser/Plas,http://loinc.org,SYSTEM,Primary,http://loinc.org/property/SYSTEM\n",
    )
    axes = "component: Glass; property: MCnc; time: Pt; system: Ser/Plas; scale: Qn; class: CHEM"
    expected = [
        Concept("LOINC:LP1-1", "Laboratory", "LOINC"),
        Concept("LOINC:LP2-2", "Glass, all", "LOINC", parents=["LOINC:LP1-1"]),
        Concept(
            id="LOINC:99001-1",
            name='Glass [Mass/volume], "total", in Serum',
            source="LOINC",
            kind="measurement",
            names=[
                Name("Glass, Blood"),
                Name("Glass SerPl-mCnc"),
                Name("Glass:MCnc:Pt:Ser/Plas:Qn"),
                Name("Glss", scope="related"),
                Name("Vitrum", scope="related"),
            ],
            parents=["LOINC:LP2-2", "LOINC:LP9-9"],
            relations=[Relation("component", "LOINC:LP2-2"), Relation("system", "LOINC:LP4-4")],
            definition=axes,
        ),
        Concept(
            id="LOINC:99002-9",
            name="XR Chest PA",
            source="LOINC",
            kind="procedure",
            names=[Name("Views PA:Find:Pt:Chest:Doc:XR")],
            definition="A picture.",
        ),
    ]
    for given in (tmp_path, path):
        concepts, dropped = read(given)
        assert concepts == expected and dropped == {"obsolete": 1}


def test_the_older_hierarchy_and_the_table_alone(tmp_path, write, caplog):
    path = write("Loinc.csv.gz", table(GLASS, {"LOINC_NUM": "99003-7", "STATUS": "ACTIVE"}))
    concepts, dropped = read(tmp_path)
    assert [(c.id, c.parents, c.relations) for c in concepts] == [("LOINC:99001-1", [], [])]
    assert dropped == {"no name": 1} and "without parents" in caplog.text
    write("MultiAxialHierarchy.csv", "PATH_TO_ROOT,SEQUENCE,IMMEDIATE_PARENT,CODE,CODE_TEXT\nLP1-1,1,LP1-1,99001-1,x\n")
    assert read(path)[0][0].parents == ["LOINC:LP1-1"]


def test_broken_tables_name_file_and_line(tmp_path, write):
    def refused(text: str, sentence: str) -> None:
        with pytest.raises(OntologyError, match=rf"Loinc.csv(, line \d+)?: .*{sentence}"):
            read(write("Loinc.csv", text))

    whole = table(GLASS)  # its long name has a line feed: the row ends on line 3
    refused(whole + '"1","2"\r\n', "2 columns where the header has 15")
    refused(whole + '"99009-9","open', "broken CSV")
    refused(table(GLASS, columns=COLUMNS[1:]), "no column LOINC_NUM")
    refused(table({**GLASS, "LOINC_NUM": "two words"}), "'two words' is no LOINC number")
    refused("", "the file is empty")
    with pytest.raises(OntologyError, match="line 4: 2 columns"):
        read(write("Loinc.csv", whole + '"1","2"\r\n'))
    (tmp_path / "Loinc.csv").unlink()
    with pytest.raises(OntologyError, match=r"no Loinc\.csv"):
        read(tmp_path)
