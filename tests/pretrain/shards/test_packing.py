"""Packed rows stay within budget and hold every sample of a global batch once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretrain.shards import Lengths, PackError, PackPlan, Plan, PlanMismatchError, estimated_lengths
from pretrain.shards.packing import first_fit


@given(
    st.lists(st.tuples(st.integers(1, 100), st.integers(0, 50)), max_size=80),
    st.integers(100, 300),
    st.one_of(st.none(), st.integers(50, 200)),
)
def test_first_fit_covers_all_and_never_exceeds_a_budget(sizes, max_tokens, max_patches):
    sized = [(t, *size) for t, size in enumerate(sizes)]
    rows = first_fit(sized, max_tokens, max_patches)
    assert sorted(t for row in rows for t in row) == list(range(len(sizes)))
    for row in rows:
        assert sum(sizes[t][0] for t in row) <= max_tokens
        assert max_patches is None or sum(sizes[t][1] for t in row) <= max_patches
    if max_patches is None and len(rows) > 1:  # at most one row is half empty or less
        assert sum(sum(sizes[t][0] for t in row) * 2 <= max_tokens for row in rows) <= 1


def packed(make_set, batch=24, **options):
    a = make_set("a", 90)
    plan = Plan(a, seed=1, batch=batch)
    return PackPlan(plan, estimated_lengths(a), **{"max_tokens": 400, "max_patches": 200, **options})


def test_each_global_batch_is_packed_alone_and_completely(make_set):
    pack = packed(make_set)
    for b in (5, 0, 3):
        rows = pack.pack(b)
        assert sorted(t for row in rows for t in row) == list(range(24 * b, 24 * b + 24))
        assert len(rows) < 24
        for row in rows:
            tokens, patches = np.sum([pack.length(t) for t in row], axis=0)
            assert tokens <= 400 and patches <= 200


@pytest.mark.parametrize("world", [1, 2, 4, 8])
def test_ranks_share_the_rows_evenly_and_the_batch_stays_the_same(make_set, world):
    pack = packed(make_set)
    for b in range(4):
        parts = [pack.rank_rows(b, rank, world) for rank in range(world)]
        assert len({len(part) for part in parts}) == 1
        assert sorted(t for part in parts for row in part for t in row) == list(pack.plan.batch(b))


def test_as_many_ranks_as_samples_gives_one_sample_each(make_set):
    pack = packed(make_set, batch=8, max_tokens=5000, max_patches=None)
    assert [len(pack.rank_rows(0, r, 8)[0]) for r in range(8)] == [1] * 8


def test_a_sample_larger_than_a_row_is_named_or_counted(make_set):
    with pytest.raises(PackError, match=r"the first is 'a-\d+' with \d+ tokens"):
        packed(make_set, max_tokens=60)
    pack = packed(make_set, max_tokens=60, oversize="skip")
    kept = [t for b in range(5) for row in pack.pack(b) for t in row]
    assert pack.skipped == {"a": int((estimated_lengths(pack.plan.sources[0]).tokens > 60).sum())}
    assert all(pack.length(t)[0] <= 60 for t in kept)


def test_packing_is_part_of_the_state(make_set):
    pack = packed(make_set)
    state = pack.state(48)
    assert packed(make_set_again(pack)).resume(state) == 48
    other = PackPlan(pack.plan, pack.lengths, max_tokens=500, max_patches=200)
    with pytest.raises(PlanMismatchError, match=r"packing.max_tokens \(400 -> 500\)"):
        other.resume(state)


def make_set_again(pack):
    return lambda *_args, **_options: pack.plan.sources[0]


def test_lengths_of_another_data_set_are_refused(make_set):
    plan = Plan(make_set("a", 10), seed=1, batch=2)
    with pytest.raises(PackError, match="measure them again"):
        PackPlan(plan, Lengths(np.ones(9, int), np.ones(9, int)), max_tokens=10)
