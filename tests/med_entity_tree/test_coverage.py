import numpy as np
import pytest

from med_entity_tree.coverage import EntitySet, Item, bootstrap_mean, coverage, nearest_neighbours


def unit(*angles):
    return np.array([[np.cos(a), np.sin(a)] for a in np.radians(angles)], np.float32)


DEGREES = {"a": 0, "b": 90, "d": 60, "c": 180, "A": 0}


def encode(names):
    return unit(*(DEGREES[name] for name in names))


def test_amcs_both_ways_by_hand():
    """R = {a at 0, b at 90}; T = {a at 0, d at 60, c at 180}: forward (1 + cos 30) / 2, backward (1 + cos 30) / 3."""
    found = coverage(EntitySet.of_names("R", ["a", "b"]), EntitySet.of_names("T", ["a", "d", "c"]), encode)
    assert found.forward.summary()["amcs"] == pytest.approx((1 + np.cos(np.pi / 6)) / 2, abs=1e-4)
    assert found.backward.summary()["amcs"] == pytest.approx((1 + np.cos(np.pi / 6) + 0) / 3, abs=1e-4)
    assert found.forward.summary()["exact"] == 0.5 and found.backward.summary()["exact"] == pytest.approx(
        1 / 3, abs=1e-4
    )
    (worst, near, similarity), *_ = found.backward.misses()
    assert (worst.name, near.name, similarity) == ("c", "b", 0.0)


def test_exact_and_synonym_matches_are_told_apart():
    one = EntitySet("R", [Item("1", "a", ("lung abscesses",)), Item("2", "b")])
    two = EntitySet("T", [Item("3", "c", ("Lung abscess",)), Item("4", "A")])
    found = coverage(one, two, encode)
    assert found.forward.exact.tolist() == [True, False] and found.forward.synonym.tolist() == [True, False]
    assert found.backward.exact.tolist() == [False, True] and found.backward.synonym.tolist() == [True, True]


def test_groups_by_root_level_and_thirds_of_frequency():
    items = [Item(str(n), "a", root="finding" if n % 2 else "disease", level=n % 3, count=n + 1) for n in range(9)]
    direction = coverage(EntitySet("R", items), EntitySet.of_names("T", ["a"]), encode).forward
    assert {k: v["n"] for k, v in direction.by("root").items()} == {"disease": 5, "finding": 4}
    assert {k: v["n"] for k, v in direction.by("level").items()} == {"0": 3, "1": 3, "2": 3}
    assert {k: v["n"] for k, v in direction.by("frequency").items()} == {
        "commonest third": 3,
        "middle third": 3,
        "rarest third": 3,
    }


def test_neighbours_do_not_depend_on_the_block_size():
    random = np.random.default_rng(0)
    a, b = random.normal(size=(37, 8)).astype(np.float32), random.normal(size=(23, 8)).astype(np.float32)
    a, b = (m / np.linalg.norm(m, axis=1, keepdims=True) for m in (a, b))
    whole, blocks = nearest_neighbours(a, b, 1000), nearest_neighbours(a, b, 5)
    assert np.allclose(whole[0], blocks[0]) and (whole[1] == blocks[1]).all()
    assert whole[0][0] == pytest.approx(max(float(a[0] @ row) for row in b), abs=1e-6)


def test_a_bootstrap_interval_holds_the_mean_about_as_often_as_it_says():
    hits = 0
    for seed in range(200):
        values = np.random.default_rng(seed).beta(5, 2, 60)
        low, high = bootstrap_mean(values, seed, 400)
        hits += low <= 5 / 7 <= high
    assert 0.90 <= hits / 200 <= 0.99
    assert bootstrap_mean([0.5]) == (0.5, 0.5)


def test_an_empty_set_is_refused():
    with pytest.raises(ValueError, match="T is empty"):
        coverage(EntitySet.of_names("R", ["a"]), EntitySet.of_names("T", ["", " "]), encode)
