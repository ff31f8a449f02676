"""Reading items, and giving every image another patient's."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.arms import derange, shuffle_strata, shuffled_pictures
from bench.errors import DataError
from bench.items import read_simulated
from bench.runner import plan_asks


def test_items_carry_patient_images_and_floor(films):
    items = read_simulated(films.folder)
    assert (len(items.items), items.clusters, items.simulated) == (72, 12, True)
    by_id = {item.key: item for item in items.items}
    assert [p.view for p in by_id["p000/s0/nodule"].images] == ["PA"]
    assert [p.view for p in by_id["p000/s0/side"].images] == ["PA", "LL"]
    assert by_id["p000/s0/where"].images[0].view == "LL" and by_id["p000/s0/where"].options == ()
    assert Counter(row.kind for row in items.train_answers) == {"closed": 30, "open": 6}
    assert len(read_simulated(films.folder, studies=3, kinds=("closed",)).items) == 15


def broken(films, tmp_path, change, line=2):
    folder = tmp_path / "broken"
    shutil.copytree(films.folder, folder)
    rows = [json.loads(text) for text in (folder / "test.jsonl").read_text().splitlines()]
    change(rows[line - 1])
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row.pop("patient"), r"line 2: 'patient' is missing"),
        (lambda row: row["qa"][0].pop("question"), r"line 2, question 'effusion_left': 'question' is missing"),
        (lambda row: row["qa"][0].update(answer="perhaps"), r"not among the options"),
        (lambda row: row["qa"][0].update(view=7), r"'view' is 7, but the study has images 0 to 1"),
        (lambda row: row["qa"][0].update(kind="quiz"), r"kind is 'quiz'"),
        (lambda row: row["images"].__setitem__(0, "gone.dcm"), r"line 2: image gone.dcm does not exist"),
        (lambda row: row["views"].pop(), r"2 images but 1 views"),
        (lambda row: row.update(patient="p000"), r"line 2: the study occurs twice"),
        (lambda row: row["qa"].append(row["qa"][0]), r"ids must be unique"),
    ],
)
def test_bad_rows_are_named(films, tmp_path, change, message):
    with pytest.raises(DataError, match=message):
        read_simulated(broken(films, tmp_path, change))


def test_a_patient_in_train_and_test_is_refused(films, tmp_path):
    folder = broken(films, tmp_path, lambda row: row.update(patient="p100"))
    with pytest.raises(DataError, match="also among the held-out ones"):
        read_simulated(folder)


def test_cut_and_absent_files(films, tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read_simulated(tmp_path)
    folder = broken(films, tmp_path, lambda row: None)
    text = (folder / "test.jsonl").read_text()
    (folder / "test.jsonl").write_text(text[:-30])
    with pytest.raises(DataError, match="line 12: not JSON"):
        read_simulated(folder)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=12), st.integers(0, 1000))
def test_derangement_never_gives_the_same_patient(sizes, seed):
    owners = [f"p{i}" for i, size in enumerate(sizes) for _ in range(size)]
    if 2 * max(sizes) > len(owners):
        with pytest.raises(DataError, match="cannot shuffle"):
            derange(owners, seed)
        return
    places = derange(owners, seed)
    assert sorted(places) == list(range(len(owners)))
    assert all(owners[i] != owners[place] for i, place in enumerate(places))
    assert places == derange(owners, seed)


def test_shuffled_images_keep_their_view(films):
    items = read_simulated(films.folder).items
    swap = shuffled_pictures(items, seed=0)
    assert all(a.view == b.view and a.patient != b.patient for a, b in swap.items())
    assert set(swap) == set(swap.values()) == {p for item in items for p in item.images}
    assert swap != shuffled_pictures(items, seed=1)


def test_a_rare_view_joins_the_largest_one(films):
    items = list(read_simulated(films.folder).items)
    lone = replace(items[0].images[0], view="AP")
    items[0] = replace(items[0], images=(lone,))
    strata = shuffle_strata(items)
    assert list(strata) == ["LL", "PA+AP"] and lone in strata["PA+AP"]
    swap = shuffled_pictures(items, seed=0)
    assert all(a.patient != b.patient for a, b in swap.items()) and swap[lone].view == "PA"
    with pytest.raises(DataError, match="one patient has"):
        shuffled_pictures([item for item in items if item.cluster == "p003"], seed=0)


def test_questions_about_one_image_stand_together(films):
    items = read_simulated(films.folder).items
    asks = plan_asks(items, ("real", "blank", "shuffled", "text"), seed=0)
    assert len(asks) == 4 * len(items)
    shown = [ask.pictures for ask in asks if ask.arm in ("real", "shuffled")]
    changes = sum(a != b for a, b in pairwise(shown))
    assert changes == len(set(shown)) - 1
    assert all(ask.arm in ("blank", "text") for ask in asks[len(shown) :])
    assert all(ask.pictures == () for ask in asks if ask.arm == "text")
