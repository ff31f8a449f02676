import pytest
from hypothesis import given
from hypothesis import strategies as st

from med_entity_tree.names import name_key, natural_order, normal_word, words


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Tumours of the Oesophagus (disorder)", "tumor of the esophagus"),
        ("Pleural effusions", "pleural effusion"),
        ("Crohn’s disease", "Crohn disease"),
        ("pneumothoraces", "Pneumothorax"),
        ("bullae", "bulla"),
        ("metastases", "metastasis"),
        ("stenoses", "stenosis"),
        ("diverticula", "diverticulum"),
        ("biopsies", "biopsy"),
        ("abscesses", "abscess"),
        ("haemorrhages", "hemorrhage"),
        ("ischaemia", "ischemia"),
        ("COVID-19", "covid 19"),
        ("T2-weighted", "T2 weighted"),
        ("type II diabetes", "type 2 diabetes"),
        ("Sjögren syndrome", "Sjogren syndrome"),
        ("β-thalassaemia", "beta thalassemia"),
    ],
)
def test_forms_of_one_name_have_one_key(one, other):
    assert name_key(one) == name_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("hypertension", "hypotension"),
        ("type 1 diabetes", "type 2 diabetes"),
        ("left lung", "right lung"),
        ("ascites", "ascite"),
        ("ileum", "ilium"),
        ("otitis media", "otitis medium"),
        ("diabetes", "diabete"),
        ("no pneumothorax", "pneumothorax"),
    ],
)
def test_names_that_mean_different_things_keep_different_keys(one, other):
    assert name_key(one) != name_key(other)


def test_every_chinese_character_is_a_word():
    assert words("左侧气胸 and CT 3.5 cm") == ["左", "侧", "气", "胸", "and", "ct", "3.5", "cm"]


@given(st.text(max_size=60))
def test_a_key_is_its_own_key(text):
    """Normal forms are stable, so a key may be compared with a key of a key."""
    key = name_key(text)
    assert name_key(name_key(key)) == name_key(key)


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=12))
def test_a_word_never_becomes_empty_or_longer_by_more_than_a_letter(word):
    assert 0 < len(normal_word(word)) <= len(word) + 1


def test_inverted_headings_are_turned_and_others_left():
    assert natural_order("Effusion, Pleural") == "Pleural Effusion"
    assert natural_order("Lung, left, upper") == "Lung, left, upper"
    assert natural_order("Diabetes Mellitus, Type 2") == "Diabetes Mellitus, Type 2"
