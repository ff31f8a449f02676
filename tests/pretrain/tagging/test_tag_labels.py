"""Structured labels: four forms of table, a mapping that people edit, and no guess where nothing says."""

import gzip
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest
from chest_entities import CARDIOMEGALY, EFFUSION, OPACITY

from pretrain.tagging.errors import LabelError
from pretrain.tagging.labels import FORMS, LabelForm, LabelMap, label_key, labels_of, read_labels, write_mapping

SPEC = find_spec("torchxrayvision")
DATA = Path(next(iter(SPEC.submodule_search_locations or ()))) / "data" if SPEC else Path("no-torchxrayvision")


def table(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def test_one_zero_minus_one_and_nothing(tmp_path, chest_tree):
    path = table(tmp_path / "t.csv", "Path,Cardiomegaly,Pleural Effusion,Edema\na,1.0,-1.0,\nb,0,1,0.0\n")
    form = LabelForm("columns", "Path", ("Cardiomegaly", "Pleural Effusion"), mapping="chexpert")
    rows = dict(read_labels(path, form))
    assert rows == {
        "a": [("Cardiomegaly", "present"), ("Pleural Effusion", "uncertain")],
        "b": [("Cardiomegaly", "negated"), ("Pleural Effusion", "present")],
    }
    tags = LabelMap(chest_tree, "chexpert").tags(rows["a"], "a")
    assert [(t.entity, t.state) for t in tags] == [(CARDIOMEGALY, "present"), (EFFUSION, "uncertain")]


@pytest.mark.parametrize("value", ["2", "0.5", "maybe", "-2", "present"])
def test_a_value_that_nobody_defined_is_refused_with_row_and_column(tmp_path, value):
    path = table(tmp_path / "t.csv", f"k,Mass\na,{value}\n")
    with pytest.raises(LabelError, match=r"row 2, column 'Mass'"):
        list(read_labels(path, LabelForm("columns", "k", ("Mass",))))


def test_lists_with_a_bar_and_of_python(tmp_path):
    bars = table(tmp_path / "bars.csv", "k,L\na,Mass|Nodule\nb,\n")
    assert dict(read_labels(bars, LabelForm("list", "k", ("L",)))) == {
        "a": [("Mass", "present"), ("Nodule", "present")],
        "b": [],
    }
    python = table(tmp_path / "python.csv", "k,L\na,\"['copd signs', ' nodule']\"\nb,nan\n")
    form = LabelForm("list", "k", ("L",), separator="[]")
    assert dict(read_labels(python, form))["a"] == [("copd signs", "present"), ("nodule", "present")]
    evil = table(tmp_path / "evil.csv", "k,L\na,__import__('os').getcwd()\n")
    with pytest.raises(LabelError, match="no list of labels"):
        list(read_labels(evil, form))


def test_a_finding_counts_where_more_than_half_of_the_readers_name_it(tmp_path):
    rows = [
        "i,c,r",
        "a,Mass,R1",
        "a,Mass,R1",
        "a,Mass,R2",
        "a,No finding,R3",
        "a,Nodule,R1",
        "b,Mass,R1",
        "b,Cyst,R2",
    ]
    path = table(tmp_path / "t.csv", "\n".join(rows) + "\n")
    found = dict(read_labels(path, LabelForm("rows", "i", ("c",), reader="r")))
    assert dict(found["a"]) == {"Mass": "present", "No finding": "uncertain", "Nodule": "uncertain"}
    assert dict(found["b"]) == {"Mass": "uncertain", "Cyst": "uncertain"}  # one of two is not more than half


def test_a_missing_column_is_answered_with_the_nearest(tmp_path):
    path = table(tmp_path / "t.csv", "k,Cardiomegaly\na,1\n")
    with pytest.raises(LabelError, match="near: Cardiomegaly"):
        list(read_labels(path, LabelForm("columns", "k", ("Cardiomegally",))))


def test_labels_that_nothing_explains_are_refused_together_with_near_names(chest_tree):
    known = LabelMap(chest_tree)
    known.check(["Pleural Effusion", "pleural_effusion", "PNEUMONIA"], "t")
    with pytest.raises(LabelError) as error:
        known.check(["Pleural Effusions left", "Big heart", "Cardiomegaly"], "t.csv")
    assert "1 more labels: Big heart" in str(error.value)
    with pytest.raises(LabelError, match="HP:0033608"):
        known.tags([("Nodule", "present")], "t")
    # A synonym is not enough ("bulla" is of the skin): only a preferred name speaks for itself.
    assert known.entities("enlarged heart") is None and CARDIOMEGALY in known.near("enlarged heart")


def test_counting_instead_of_refusing(chest_tree):
    known = LabelMap(chest_tree, count_unmapped=True)
    assert known.tags([("Nodule", "present"), ("Cardiomegaly", "negated")], "t")[0].state == "negated"
    assert known.unmapped == Counter({"Nodule": 1})


def test_a_mapping_written_edited_and_read(tmp_path, chest_tree):
    path = table(tmp_path / "t.csv", "k,L\na,Cardiomegaly|Whiteness\nb,Whiteness|Nothing\n")
    form = LabelForm("list", "k", ("L",))
    draft = tmp_path / "map.tsv"
    assert write_mapping(draft, "*", labels_of(path, form), LabelMap(chest_tree)) == (1, 2)
    with pytest.raises(LabelError):  # lines that are still to be filled in say nothing
        LabelMap(chest_tree, path=draft).check(["Whiteness"], "t")
    text = draft.read_text().replace("# *\tWhiteness\t?", f"*\tWhiteness\t{OPACITY}")
    draft.write_text(text.replace("# *\tNothing\t?", "*\tNothing\t-"))
    known = LabelMap(chest_tree, path=draft)
    known.check(labels_of(path, form), "t")
    assert known.entities("whiteness") == [OPACITY] and known.entities("nothing") == []
    draft.write_text("*\tWhiteness\tHP:9999999\twrong id\n")
    with pytest.raises(LabelError, match=r"line 1.*HP:9999999"):
        LabelMap(chest_tree, path=draft)


def test_spellings_of_a_label():
    assert label_key(" Pleural_Thickening ") == label_key("pleural  thickening")


@pytest.mark.parametrize(
    ("name", "file", "rows"),
    [
        ("nih", "Data_Entry_2017_v2020.csv.gz", 112_120),
        ("google-nih", "google2019_nih-chest-xray-labels.csv.gz", 4_376),
        ("vinbigdata", "vinbigdata-train.csv.gz", 15_000),
    ],
)
def test_real_tables_are_read_whole(name, file, rows):
    found = list(read_labels(DATA / file, FORMS[name]))
    assert len(found) == rows
    states = Counter(state for _, said in found for _, state in said)
    if name == "google-nih":  # counted in the raw text of the file, column by column
        with gzip.open(DATA / file, "rt") as lines:
            cells = [line.rstrip("\n").split(",")[11:15] for line in lines][1:]
        assert states == Counter(present=sum(c.count("YES") for c in cells), negated=sum(c.count("NO") for c in cells))


@pytest.mark.slow
def test_uncertain_values_of_chexpert_never_count():
    file = DATA / "chexpert_train.csv.gz"
    states = Counter(state for _, said in read_labels(file, FORMS["chexpert"]) for _, state in said)
    with gzip.open(file, "rt") as lines:
        cells = Counter(cell for line in lines for cell in line.rstrip("\n").split(",")[5:])
    assert (states["present"], states["uncertain"], states["negated"]) == (cells["1.0"], cells["-1.0"], cells["0.0"])
