"""Entities from DICOM headers: codes, defined terms, views and sides; and nothing guessed."""

import csv
import gzip
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest
from chest_entities import CHEST, HEART, LUNG
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from med_entity_tree.tagger import Tagger
from pretrain.tagging.headers import HeaderTagger, facts_of_folder, read_facts

SPEC = find_spec("torchxrayvision")
DATA = Path(next(iter(SPEC.submodule_search_locations or ()))) / "data" if SPEC else Path("no-torchxrayvision")


def code(scheme, value, meaning):
    item = Dataset()
    item.CodingSchemeDesignator, item.CodeValue, item.CodeMeaning = scheme, value, meaning
    return item


def entities(said):
    return {tag.entity for tag in said.tags}


@pytest.fixture(scope="module")
def headers(chest_tree, tagger):
    return HeaderTagger(chest_tree, tagger)


def test_codes_of_snomed_ct_and_of_retired_snomed_rt_find_the_same_entity(headers):
    for scheme, value in (("SCT", "39607008"), ("SRT", "T-28000"), ("SNM3", "T-28000")):
        said = headers({"regions": [{"scheme": scheme, "value": value, "meaning": "no such words"}]})
        assert entities(said) == {LUNG}, scheme
        assert not said.unmapped


def test_every_tag_says_header_and_which_attribute(headers):
    said = headers({"modality": "CR", "body_part": "CHEST"})
    assert [(t.entity, t.origin, t.state, t.evidence) for t in said.tags] == [
        ("DCM:CR", "header", "present", "Modality CR"),
        (CHEST, "header", "present", "BodyPartExamined CHEST"),
    ]


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        ({"body_part": "LSPINE"}, {"UBERON:0006074"}),
        ({"body_part": "l spine"}, {"UBERON:0006074"}),
        ({"body_part": "Chest, PA"}, {CHEST}),
        ({"regions": [{"scheme": "99LOCAL", "value": "1", "meaning": "Heart"}]}, {HEART}),
        ({"procedures": [{"scheme": "99RIS", "value": "7", "meaning": "CT CHEST WITH CONTRAST"}]}, {"DCM:CT", CHEST}),
    ],
)
def test_terms_and_words(headers, facts, found):
    assert entities(headers(facts)) == found


def test_a_procedure_name_never_makes_a_finding(headers):
    said = headers({"procedures": [{"scheme": "L", "value": "9", "meaning": "CT chest, rule out pneumothorax"}]})
    assert entities(said) == {"DCM:CT", CHEST}


def test_what_has_no_entity_is_counted_by_attribute(headers):
    said = headers({
        "modality": "OT", "body_part": "GIZZARD", "view_position": "SIDEWAYS", "laterality": "Q",
        "regions": [{"scheme": "99X", "value": "1", "meaning": "gizzard"}],
    })  # fmt: skip
    assert said.tags == [] and said.view == "" and said.side == ""
    assert said.unmapped == Counter({
        "Modality OT": 1, "BodyPartExamined GIZZARD": 1, "ViewPosition SIDEWAYS": 1, "Laterality Q": 1,
        "AnatomicRegionSequence 99X:1 gizzard": 1,
    })  # fmt: skip


def test_view_and_side(headers):
    assert (headers({"view_position": "pa"}).view, headers({"laterality": "L"}).side) == ("PA", "L")
    assert headers({"views": [{"scheme": "SCT", "value": "399368009"}]}).view == "MLO"
    assert headers({"laterality": "R", "side": "L"}).side == "R"  # of the image before that of the series


@given(
    st.dictionaries(
        st.sampled_from(["modality", "body_part", "view_position", "laterality", "side"]), st.text(max_size=12)
    )
)
def test_any_text_is_mapped_or_counted(headers, facts):
    said = headers(facts)
    for name, attribute in (("modality", "Modality"), ("body_part", "BodyPartExamined")):
        if facts.get(name):
            tagged = any(tag.evidence.startswith(attribute) for tag in said.tags)
            assert tagged != any(what.startswith(attribute) for what in said.unmapped)


def test_facts_hold_nothing_that_names_a_person():
    dataset = Dataset()
    dataset.PatientName, dataset.StudyDescription, dataset.Modality = "Doe^Jane", "chest of Jane Doe", "DX"
    dataset.BodyPartExamined, dataset.ViewPosition = "CHEST", "PA"
    dataset.AnatomicRegionSequence = Sequence([code("SCT", "39607008", "Lung")])
    facts = read_facts(dataset)
    assert facts == {
        "modality": "DX",
        "body_part": "CHEST",
        "view_position": "PA",
        "regions": [{"scheme": "SCT", "value": "39607008", "meaning": "Lung"}],
    }


def test_region_and_side_of_enhanced_objects_lie_in_a_functional_group():
    anatomy, group, dataset = Dataset(), Dataset(), Dataset()
    anatomy.AnatomicRegionSequence, anatomy.FrameLaterality = Sequence([code("SCT", "39607008", "Lung")]), "L"
    group.FrameAnatomySequence = Sequence([anatomy])
    dataset.SharedFunctionalGroupsSequence = Sequence([group])
    facts = read_facts(dataset)
    assert facts["laterality"] == "L" and facts["regions"][0]["value"] == "39607008"


def test_files_that_are_not_read_are_counted(tmp_path):
    from pydicom.data import get_testdata_file

    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 40)
    for name in ("CT_small.dcm", "image_dfl.dcm"):
        (tmp_path / name).write_bytes(Path(str(get_testdata_file(name))).read_bytes())
    refused = Counter()
    found = facts_of_folder(tmp_path, refused)
    assert [facts["modality"] for facts in found.values()] == ["CT"]
    assert refused["not a DICOM file"] == 1 and refused["deflated file: its header is not read"] == 1
    assert refused["header has none of the attributes that are read"] == 1 and refused.total() == 3


@pytest.mark.slow
def test_real_header_tables_map_almost_whole(package_tree):
    """7,469 films of Indiana University and 26,684 of the RSNA challenge, from the tables in torchxrayvision."""
    headers = HeaderTagger(package_tree, Tagger.of(package_tree))
    for file, columns in (
        ("nlmcxr_dicom_metadata.csv.gz", ("Modality", "Body Part Examined", "View Position")),
        ("kaggle_stage_2_train_images_dicom_headers.csv.gz", ("Modality", "BodyPartExamined", "ViewPosition")),
    ):
        with gzip.open(DATA / file, "rt", newline="") as lines:
            rows = [
                dict(zip(("modality", "body_part", "view_position"), map(row.get, columns)))
                for row in csv.DictReader(lines)
            ]
        said = [headers({name: text for name, text in row.items() if text}) for row in rows]
        unmapped = sum((one.unmapped for one in said), Counter())
        assert sum(bool(entities(one)) for one in said) >= 0.999 * len(rows)
        assert unmapped.total() <= 4, unmapped
