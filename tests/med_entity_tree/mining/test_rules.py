"""The rule extractor: which names it proposes, of which kind, and where they end."""

import pytest

from med_entity_tree.mining.passages import Passage
from med_entity_tree.mining.rules import RuleExtractor, long_form


@pytest.fixture(scope="module")
def extract(small_tree):
    extractor = RuleExtractor(small_tree)

    def run(text: str) -> dict[str, tuple[str, bool, str]]:
        found = extractor([Passage("d#0", "d", text)])
        return {m.name: (m.kind, m.whole, m.short) for m in found.mentions}

    return run


def test_an_adjective_and_a_known_head(extract):
    found = extract("There is a small left loculated pleural effusion, unchanged.")
    assert found == {"pleural effusion": ("finding", True, "")}  # no ontology here says "loculated"
    found = extract("A 5 mm apical nodule is seen in the lower lobe of left lung.")
    assert found["apical nodule"] == ("finding", True, "")
    assert "lower lobe of left lung" in found and not any("5" in name for name in found)


def test_heads_by_form_need_no_tree(extract):
    found = extract("Status post cholecystectomy. Interstitial fibrosis. Mediastinal lymphadenopathy.")
    assert found["cholecystectomy"][0] == "procedure"
    assert found["Interstitial fibrosis"][0] == "finding"
    assert found["Mediastinal lymphadenopathy"][0] == "finding"


def test_generic_heads_are_no_names_by_themselves(extract):
    assert extract("The change is stable. There is loss.") == {}
    assert "fibrotic change" in extract("There is fibrotic change.")


def test_names_inside_longer_names_are_marked(extract):
    found = extract("Chronic peripheral alveolar consolidation.")
    assert found["peripheral alveolar consolidation"][1] is True
    assert found["alveolar consolidation"][1] is False


def test_what_stands_before_a_blank_is_not_trusted(extract):
    assert set(extract("There is a hilar nodule XXXX.")) == {"nodule"}
    assert "hilar nodule" in extract("There is a hilar nodule.")


def test_an_abnormal_organ_is_a_finding_and_not_a_part_of_the_body(extract):
    assert extract("There is a cystic lung.")["cystic lung"][0] == "finding"
    assert extract("In the apical lung.")["apical lung"][0] == "anatomy"
    assert "fibrotic change lung" not in extract("fibrotic change lung")


def test_long_forms_give_their_abbreviation(extract):
    found = extract("Findings of acute interstitial pneumonia (AIP) are seen.")
    assert found["acute interstitial pneumonia"] == ("disease", True, "AIP")


@pytest.mark.parametrize(
    ("short", "before", "long"),
    [
        ("ARDS", "in acute respiratory distress syndrome ", "acute respiratory distress syndrome"),
        ("COPD", "with chronic obstructive pulmonary disease ", "chronic obstructive pulmonary disease"),
        ("CT", "on the left side ", ""),
        ("3", "three nodules ", ""),
        ("mm", "five mm ", ""),
        ("PE", "pulmonary embolism", "pulmonary embolism"),
    ],
)
def test_schwartz_hearst(short, before, long):
    assert long_form(short, before) == long


def test_the_extractor_says_that_it_is_rules(small_tree):
    assert RuleExtractor(small_tree).name == "rules"
