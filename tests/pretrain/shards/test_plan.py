"""The order of training data: exact quotas, exact resume on any number of ranks, refusal of another plan."""

import math
import pickle
from collections import Counter

import numpy as np
import pytest

from pretrain.shards import DataError, Plan, PlanDataset, PlanMismatchError, PlanSampler, order_digest


def stream(plan, start, stop):
    return [plan.sample(t)[1:] for t in range(start, stop)]


def test_an_epoch_without_weights_holds_every_sample_once(make_set):
    plan = Plan([make_set("a", 50), make_set("b", 23)], seed=1, batch=4, block=3)
    for epoch in range(3):
        start = plan.epoch_start(epoch)
        seen = [plan.sample(t) for t in range(start, start + plan.epoch_length(epoch))]
        assert Counter((s.source, s.record) for s in seen) == Counter(
            [(0, n) for n in range(50)] + [(1, n) for n in range(23)]
        )
        assert {s.epoch for s in seen} == {epoch}
    assert stream(plan, 0, 73) != stream(plan, 73, 146)


def test_sample_does_not_depend_on_what_was_asked_before(make_set):
    a = make_set("a", 50)
    forward = stream(Plan(a, seed=1, batch=4), 0, 200)
    plan = Plan(a, seed=1, batch=4)
    backward = [plan.sample(t)[1:] for t in reversed(range(200))]
    assert forward == backward[::-1]
    assert forward == stream(pickle.loads(pickle.dumps(plan)), 0, 200)


def test_mixing_gives_each_source_its_share_within_one_sample(make_set):
    sources = [make_set("a", 160), make_set("b", 160), make_set("c", 160)]
    mix = {"a": 0.7, "b": 0.2, "c": 0.1}
    plan = Plan(sources, seed=3, batch=8, mix=mix, epoch_size=333)
    total = Counter()
    for epoch in range(5):
        start = plan.epoch_start(epoch)
        seen = Counter(plan.sample(t).source for t in range(start, plan.epoch_start(epoch + 1)))
        total += seen
        for source, share in enumerate(mix.values()):
            assert abs(seen[source] - share * 333) <= 1
            assert abs(total[source] - share * 333 * (epoch + 1)) <= 1  # the remainder carries over


def test_mixing_is_even_along_the_epoch(make_set):
    plan = Plan(
        [make_set("a", 200), make_set("b", 200)], seed=3, batch=8, mix={"a": 3, "b": 1}, epoch_size=400, block=4
    )
    for first in range(0, 400, 100):
        part = Counter(plan.sample(t).source for t in range(first, first + 100))
        assert 60 <= part[0] <= 90


def test_weights_repeat_samples_by_floor_and_fraction(make_set):
    a = make_set("a", 100)
    weights = np.where(np.arange(100) < 20, 2.5, 0.5)
    plan = Plan(a, seed=2, batch=4, weights={"a": weights})
    assert plan.epoch_length(0) == 90
    seen = Counter(plan.sample(t).record for t in range(90))
    assert all(seen[n] in (2, 3) for n in range(20)) and all(seen[n] in (0, 1) for n in range(20, 100))
    assert abs(sum(seen[n] for n in range(20)) - 50) <= 6  # within one for each of the six strata


def test_rounding_of_the_weights_takes_no_sample_from_an_epoch(make_set):
    a = make_set("a", 8)
    weights = np.array([1 + 0.86 / 7] * 7 + [1 - 0.86])
    assert 7.99 < math.fsum(weights.tolist()) < 8  # on paper it is 8
    plan = Plan(a, seed=2, batch=4, weights={"a": weights})
    assert [plan.epoch_length(epoch) for epoch in range(5)] == [8] * 5


def test_weighted_draw_is_even_over_entities(make_set):
    a = make_set("a", 110)
    plan = Plan(a, seed=2, batch=4, weights={"a": np.full(110, 0.5)})
    entities = a.entities()
    rare = sum("rare" in entities[plan.sample(t).record] for t in range(plan.epoch_length()))
    assert abs(rare - 5) <= 1


def test_repeats_are_spread_over_the_epoch(make_set):
    a = make_set("a", 70)
    plan = Plan(a, seed=5, batch=4, weights={"a": np.full(70, 4.0)}, block=2)
    places = [t for t in range(plan.epoch_length()) if plan.sample(t).record == 0]
    assert len(places) == 4 and max(places) - min(places) > 70


def test_order_reads_few_shards_at_a_time(make_set):
    a = make_set("a", 210)
    plan = Plan(a, seed=5, batch=4, block=3)
    for first in range(0, 210, 21):
        assert len({a.locate(plan.sample(t).record)[0] for t in range(first, first + 21)}) <= 3


def test_plan_hash_changes_with_everything_that_changes_the_order(make_set, tmp_path):
    a, b = make_set("a", 30), make_set("b", 30, seed=4)
    base = {"seed": 1, "batch": 4}
    plans = [
        Plan([a, b], **base),
        Plan([b, a], **base),
        Plan([a], **base),
        Plan([a, b], seed=2, batch=4),
        Plan([a, b], seed=1, batch=8),
        Plan([a, b], **base, block=9),
        Plan([a, b], **base, mix={"a": 1, "b": 2}),
        Plan([a, b], **base, mix={"a": 1, "b": 2}, epoch_size=31),
        Plan([a, b], **base, weights={"a": np.full(30, 2.0)}),
        Plan([a, b], **base, weights={"a": np.full(30, 2.5)}),
    ]
    assert len({plan.hash for plan in plans}) == len(plans)
    assert Plan([a, b], **base).hash == plans[0].hash
    a.folder.rename(tmp_path / "moved")
    from pretrain.shards import ShardSet

    assert Plan([ShardSet.open(tmp_path / "moved"), b], **base).hash == plans[0].hash


def test_resume_refuses_another_plan_and_says_what_changed(make_set):
    a = make_set("a", 30)
    old, new = Plan(a, seed=1, batch=4), Plan(a, seed=2, batch=4)
    state = old.state(12)
    assert old.resume(state) == 12
    with pytest.raises(PlanMismatchError) as refusal:
        new.resume(state)
    message = str(refusal.value)
    assert old.hash in message and new.hash in message and "seed (1 -> 2)" in message
    assert new.resume(state, new_phase=True) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"weights": {"a": [1.0] * 3}}, "one for each sample"),
        ({"weights": {"a": [-1.0] * 30}}, "weight of 'a-00000'"),
        ({"weights": {"z": [1.0]}}, "the data sets are a"),
        ({"mix": {"a": 0}}, "above 0"),
        ({"mix": {"a": 1}, "weights": {"a": [0.0] * 30}}, "no sample of weight above 0"),
        ({"weights": {"a": [0.0] * 30}}, "less than one sample"),
        ({"epoch_size": 3}, "goes with mix"),
    ],
)
def test_wrong_settings_are_told_in_a_sentence(make_set, options, words):
    with pytest.raises(DataError, match=words):
        Plan(make_set("a", 30), seed=1, batch=4, **options)


def test_ranks_that_do_not_divide_the_batch_are_told_which_do(make_set):
    with pytest.raises(DataError, match=r"\[1, 2, 4\]"):
        Plan(make_set("a", 30), seed=1, batch=4).rank_slice(0, 0, 3)


def sample_number(sample):
    return sample.provenance.source, sample.extra["i"]


def first_of(samples):
    return list(samples)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_stop_at_odd_steps_and_go_on_with_other_workers_and_ranks(make_set, workers):
    """Worlds 1 -> 2 -> 4 with stops after 3 and 8 steps: the order of every global batch is that of one run."""
    from torch.utils.data import DataLoader

    sources = [make_set("a", 40), make_set("b", 25)]

    def new_plan():
        return Plan(sources, seed=9, batch=8, block=2, weights={"b": np.full(25, 1.4)})

    straight = [(sources[r.source].name, r.record) for r in map(new_plan().sample, range(20 * 8))]
    seen, state = [], new_plan().state(0)
    for world, stop in ((1, 3), (2, 8), (4, 20)):
        plan = new_plan()
        start = plan.resume(state)
        per_rank = []
        for rank in range(world):
            sampler = PlanSampler(plan, rank=rank, world=world, micro_batch=2, start=start, stop=stop * 8)
            dataset = PlanDataset(plan, length=stop * 8, transform=sample_number)
            loader = DataLoader(dataset, batch_sampler=sampler, num_workers=workers, collate_fn=first_of)
            per_rank.append([item for batch in loader for item in batch])
        share = 8 // world
        for step in range(stop - start // 8):
            for rank in range(world):
                seen += per_rank[rank][step * share : (step + 1) * share]
        state = plan.state(stop * 8)
    assert seen == straight


def test_sequential_reading_from_a_start_equals_the_plan(make_set):
    plan = Plan(make_set("a", 40), seed=9, batch=8)
    dataset = PlanDataset(plan, start=13, length=50, transform=sample_number)
    assert [dataset[i][1] for i in range(50)] == [plan.sample(13 + i).record for i in range(50)]
    assert order_digest(plan, 0, 20) == order_digest(plan, 0, 20) != order_digest(plan, 1, 21)
