"""Words: what counts as an item's own, what is boilerplate, and what the manifest gives away."""

import json

import numpy as np
import pytest
from decontamination_samples import BOILERPLATE_ONLY, NORMAL, RARE_REPORT, VIGNETTE, question, text_item
from hypothesis import given
from hypothesis import strategies as st

from pretrain.decontamination.content import Table
from pretrain.decontamination.errors import DecontaminationError
from pretrain.decontamination.judge import judge
from pretrain.decontamination.manifest import Manifest, build_manifest
from pretrain.decontamination.match import Matcher
from pretrain.decontamination.text import Hasher, find, make_slots, stated_boilerplate, windows, words_of
from pretrain.dedup.kernels import shared


def found(items, documents, salt=""):
    """(key, item, evidence) that count, and those that are shared templates."""
    matcher = Matcher([build_manifest("bench", items, salt=salt)], salt)
    verdict = judge(matcher, [("train", matcher.part(documents))])
    counted = {(m.key, m.item, m.evidence) for m in verdict.matches if m.contamination}
    return counted, {(m.key, m.item, m.evidence) for m in verdict.matches} - counted


def test_a_verbatim_vignette_counts_and_its_vital_signs_do_not():
    counted, _ = found(
        [question("q1", VIGNETTE, ("B12 deficiency", "scurvy"), "B12 deficiency")],
        [text_item("copy", "Case of the week. " + VIGNETTE + " Discuss."), text_item("other", BOILERPLATE_ONLY)],
    )
    assert counted == {("copy", "q1", "25 words")}


def test_light_rewording_of_a_vignette_is_found():
    reworded = VIGNETTE.replace("tingling", "numbness").replace("neutrophils", "granulocytes").replace("cabin", "hut")
    counted, _ = found([question("q1", VIGNETTE)], [text_item("near", reworded)])
    assert ("near", "q1", "13 words") in counted or ("near", "q1", "25 words") in counted


def test_a_short_question_is_found_in_a_text_reworded_and_alone():
    asked = "Which nerve is injured by a fracture of the surgical neck of the humerus?"
    other = "Which artery is injured by a dislocation of the knee joint to the back?"
    counted, _ = found(
        [question("q", asked, (), "Axillary nerve")],
        [
            text_item("inside", f"Anatomy notes. {asked} Think."),
            question("same", asked, (), "axillary nerve"),
            question("near", asked.replace("injured", "damaged"), (), "axillary nerve"),
            question("other", other, (), "popliteal"),
        ],
    )
    assert {key for key, _, _ in counted} == {"inside", "same", "near"}


def test_normal_reports_of_other_patients_are_templates_and_rare_words_count():
    bench = [text_item(f"b{n}", NORMAL, patient=f"bench{n}") for n in range(6)]
    bench.append(text_item("rare", RARE_REPORT, patient="bench-rare"))
    train = [text_item(f"t{n}", NORMAL, patient=f"train{n}") for n in range(6)]
    train.append(text_item("leak", RARE_REPORT, patient="somebody else"))
    counted, _ = found(bench, train)
    assert counted == {("leak", "rare", "25 words")}


def test_a_phrase_of_three_training_patients_is_common_language_also_for_a_small_benchmark():
    copies = [text_item(f"t{n}", RARE_REPORT, patient=f"train{n}") for n in range(3)]
    item = [text_item("only", RARE_REPORT, patient="bench")]
    assert found(item, copies[:2])[0] == {("t0", "only", "25 words"), ("t1", "only", "25 words")}
    counted, templates = found(item, copies)
    assert not counted and len(templates) == 3


def test_copies_of_one_patient_do_not_make_a_leak_common():
    copies = [text_item(f"t{n}", RARE_REPORT, patient="train0") for n in range(20)]
    assert len(found([text_item("only", RARE_REPORT, patient="bench")], copies)[0]) == 20


def test_another_study_of_a_patient_counts_whatever_it_says():
    counted, _ = found(
        [text_item("b", NORMAL, patient="p1", study="1"), text_item("c", NORMAL, study="solo")],
        [
            text_item("t", "Something else altogether.", patient="p1", study="2"),
            text_item("u", "Nothing in common.", patient="p2", study="1"),
            text_item("v", "Nothing in common.", study="solo"),
        ],
    )
    assert counted == {("t", "b", "patient"), ("v", "c", "study")}


def test_the_same_words_in_full_width_and_chinese_are_found():
    item = question("zh", "胸部X线片显示右侧大量胸腔积液，纵隔向左侧移位，最可能的诊断是什么？", (), "恶性胸腔积液")
    counted, _ = found(
        [item], [text_item("doc", "题目：胸部Ｘ线片显示右侧大量胸腔积液，纵隔向左侧移位，最可能的诊断是什么？")]
    )
    assert {key for key, _, _ in counted} == {"doc"}


def test_a_salt_is_needed_again_and_hides_every_hash():
    items = [question("q1", VIGNETTE)]
    plain, salted = build_manifest("bench", items), build_manifest("bench", items, salt="secret")
    assert not set(plain.arrays["grams"].tolist()) & set(salted.arrays["grams"].tolist()) - {0}
    with pytest.raises(DecontaminationError, match="another salt"):
        Matcher([salted])
    with pytest.raises(DecontaminationError, match="without a salt"):
        Matcher([plain], "secret")
    assert found(items, [text_item("copy", VIGNETTE)], salt="secret")[0]


def test_a_manifest_holds_no_words_and_is_the_same_bytes_again(tmp_path):
    items = [question("q1", VIGNETTE, ("alpha", "beta"), "alpha", patient="Mrs Miller", study="1.2.840.1")]
    one, two = tmp_path / "a.npz", tmp_path / "b.npz"
    build_manifest("bench", items).save(one)
    build_manifest("bench", items).save(two)
    data = one.read_bytes()
    assert data == two.read_bytes()
    for secret in ("proglottid", "neutrophils", "Miller", "1.2.840.1"):
        assert secret.encode() not in data
    assert Manifest.load(one).digest == build_manifest("bench", items).digest


@pytest.mark.parametrize("damage", [b"", b"not a manifest", "cut"])
def test_a_damaged_manifest_is_refused(tmp_path, damage):
    path = tmp_path / "m.npz"
    build_manifest("bench", [question("q1", VIGNETTE)]).save(path)
    path.write_bytes(path.read_bytes()[:-200] if damage == "cut" else damage)
    with pytest.raises(DecontaminationError, match="not a benchmark manifest"):
        Manifest.load(path)


def test_what_cannot_be_looked_for_is_refused():
    with pytest.raises(DecontaminationError, match="no items"):
        build_manifest("bench", [])
    with pytest.raises(DecontaminationError, match="unique"):
        build_manifest("bench", [question("q", VIGNETTE), question("q", NORMAL)])
    with pytest.raises(DecontaminationError, match="has no text and no image"):
        build_manifest("bench", [text_item("empty", " .,; ")])


def test_tables_give_items_with_options_in_every_form(tmp_path):
    file = tmp_path / "exam.jsonl"
    rows = [
        {"stem": "What is it?", "choices": {"A": "one", "B": "two"}, "answer": "one"},
        {"stem": "And this?", "choices": '["x", "y"]', "answer": "y"},
    ]
    file.write_text("\n".join(map(json.dumps, rows)))
    items = list(Table(file, {"question": "stem"}))
    assert [i.asked[0].options for i in items] == [("one", "two"), ("x", "y")]
    with pytest.raises(DecontaminationError, match="no column 'stm'"):
        list(Table(file, {"question": "stm"}))
    file.write_text('{"question": "cut')
    with pytest.raises(DecontaminationError, match="line 1: not JSON"):
        list(Table(file))


def test_stated_boilerplate_covers_vitals_and_stems_only():
    words = words_of("Pulse is 80/min and the proglottid is long. Which of the following is the most likely diagnosis?")
    left = [w for w, masked in zip(words, stated_boilerplate(words)) if not masked]
    assert left == ["and", "the", "proglottid", "is", "long"]


@given(st.lists(st.text(alphabet="abcdé中 .,-", max_size=12), max_size=30), st.integers(1, 15))
def test_equal_windows_have_equal_hashes_and_others_do_not(parts, length):
    words = words_of(" ".join(parts))
    hashes = windows(Hasher().words(words), length)
    spans = [tuple(words[i : i + length]) for i in range(len(words) - length + 1)]
    assert len(hashes) == len(spans)
    assert len(set(hashes.tolist())) == len(set(spans))


@given(st.sets(st.integers(1, 2**64 - 1), max_size=60), st.integers(1, 2**64 - 1))
def test_the_table_finds_what_is_in_it_and_nothing_else(numbers, other):
    keys = np.array(sorted(numbers), np.uint64)
    slots = make_slots(keys)
    assert [find(slots, keys, k) for k in keys] == list(range(len(keys)))
    assert (find(slots, keys, np.uint64(other)) >= 0) == (other in numbers)


@given(st.text(max_size=60), st.text(max_size=60))
def test_jaccard_of_shingles_is_that_of_sets(a, b):
    hasher = Hasher("s")
    one, two = (" ".join(words_of(t)) for t in (a, b))
    sets = [{t[i : i + 5] for i in range(len(t) - 4)} for t in (one, two)]
    made = [hasher.shingles(words_of(t)) for t in (a, b)]
    assert [len(m) for m in made] == [len(s) for s in sets]
    assert shared(*made) == len(sets[0] & sets[1])
