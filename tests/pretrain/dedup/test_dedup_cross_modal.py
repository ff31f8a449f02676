"""The decision table, and groups of samples."""

from itertools import permutations, product

import pytest

from pretrain.dedup.cross_modal import Conflict, ImageRow, Images, Reason, SampleRow, Texts, Verdict, resolve, verdict
from pretrain.dedup.errors import DedupError

KEEP = Verdict(False, False, None)


@pytest.mark.parametrize(
    ("images", "texts", "expected"),
    [
        (Images.same, Texts.same, Verdict(True, True, Reason.same_both)),
        (Images.same, Texts.near, Verdict(True, True, Reason.near_text)),
        (Images.same, Texts.different, Verdict(False, True, Reason.other_text)),
        (Images.shared, Texts.same, Verdict(False, True, Reason.shared_images)),
        (Images.shared, Texts.different, Verdict(False, True, Reason.shared_images)),
        (Images.different, Texts.same, KEEP),
        (Images.different, Texts.near, KEEP),
        (Images.different, Texts.different, KEEP),
        (Images.one_sided, Texts.same, KEEP),
        (Images.none, Texts.same, Verdict(True, True, Reason.text_exact)),
        (Images.none, Texts.near, Verdict(True, True, Reason.text_near)),
        (Images.none, Texts.different, KEEP),
    ],
)
def test_the_table(images, texts, expected):
    assert verdict(images, texts) == expected


def test_another_patient_is_a_conflict_only_where_images_are_shared():
    for images, texts in product(Images, Texts):
        found = verdict(images, texts, other_patient=True)
        if images in (Images.same, Images.shared):
            assert found == Verdict(False, True, Reason.conflict)
        else:
            assert found == verdict(images, texts)


TEXTS = {"a": "normal", "b": "normal", "c": "other", "d": "normal", "e": "normal"}
IMAGES = {"1": ImageRow("1", "1"), "1x": ImageRow("1", "1"), "2": ImageRow("2", "2"), "m": ImageRow("m", "2")}


def relate(a: str, b: str) -> Texts:
    return Texts.same if TEXTS[a] == TEXTS[b] else Texts.different


def solve(*samples: SampleRow, **more):
    return resolve(samples, IMAGES, relate, **more)


def test_same_image_same_text_keeps_the_longer_then_the_better_known():
    rows = (
        SampleRow("a", ("1",), length=5),
        SampleRow("b", ("1x",), length=9, provenance=1),
        SampleRow("d", ("1",), length=9, provenance=4),
    )
    for order in permutations(rows):
        found = solve(*order)
        assert [(d.key, d.kept, d.keeper, d.cluster) for d in found.decisions] == [
            ("a", False, "d", "a"), ("b", False, "d", "a"), ("d", True, "d", "a"),
        ]  # fmt: skip
    assert found.counts() == {"dropped: same images, same text": 2, "kept: shares images with another sample": 1}


def test_same_image_other_text_is_kept_in_one_cluster():
    found = solve(SampleRow("a", ("1",)), SampleRow("c", ("1x",)))
    assert all(d.kept and d.reason is Reason.other_text and d.cluster == "a" for d in found.decisions)


def test_same_text_over_other_images_is_no_duplicate():
    found = solve(SampleRow("a", ("1",)), SampleRow("b", ("2",)), SampleRow("d", ("unread",)))
    assert [(d.kept, d.reason, d.cluster) for d in found.decisions] == [
        (True, Reason.unique, "a"), (True, Reason.unique, "b"), (True, Reason.unique, "d"),
    ]  # fmt: skip


def test_shared_and_mirrored_images_stay_together():
    found = solve(SampleRow("a", ("1", "2")), SampleRow("b", ("1",)), SampleRow("d", ("m",)))
    assert all(d.kept and d.cluster == "a" and d.reason is Reason.shared_images for d in found.decisions)


def test_one_image_under_two_patients_is_listed_and_nothing_is_dropped_between_them():
    found = solve(
        SampleRow("a", ("1",), "p1"),
        SampleRow("b", ("1",), "p2"),
        SampleRow("d", ("1x",), "p1"),
        SampleRow("e", ("2",), "p2"),
    )
    assert found.conflicts == [Conflict("1", ("p1", "p2"), ("a", "b", "d"))]
    kept = {d.key: (d.kept, d.reason) for d in found.decisions}
    assert kept["a"] == kept["b"] == (True, Reason.conflict) and kept["d"] == (False, Reason.same_both)
    assert kept["e"] == (True, Reason.unique) and found.counts()["images under two patients"] == 1


def test_text_decisions_are_for_samples_without_images():
    keepers = {"a": ("a", Texts.different), "b": ("a", Texts.same)}
    found = solve(SampleRow("a"), SampleRow("b"), text_keepers=keepers)
    assert [(d.kept, d.reason) for d in found.decisions] == [(True, Reason.unique), (False, Reason.text_exact)]
    with pytest.raises(DedupError, match="without images"):
        solve(SampleRow("a"), SampleRow("b", ("1",)), text_keepers=keepers)
    with pytest.raises(DedupError, match="not unique"):
        solve(SampleRow("a"), SampleRow("a"))
