"""The order of training data as a pure function: ``sample(t)`` depends on the plan's hash and t, and on nothing else.

An epoch takes each sample of each source as often as its weight asks (floor, plus a stratified draw for the fraction).
A shard that is needed several times comes in several passes, each holding the samples that are due once more. Passes of
each source are spread evenly over the epoch, and within windows of ``block`` passes the samples are shuffled: reading
stays near few tars, mixing stays even. Ranks and workers appear nowhere, so the state of the data is ``{plan_hash, t}``
and a run goes on exactly with any number of either.
"""

import hashlib
import json
import math
from bisect import bisect_right
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from pretrain.shards.errors import DataError, PlanMismatchError
from pretrain.shards.index import ShardSet
from pretrain.shards.ordering import derive, keyed_uniform, permutation, repeats

_VERSION = 1
_KEPT_EPOCHS = 2
_KEPT_WINDOWS = 4


class SampleRef(NamedTuple):
    """Sample number t: record ``record`` of source ``source`` (an index into ``plan.sources``)."""

    t: int
    epoch: int
    source: int
    record: int


@dataclass
class _Epoch:
    """Layout of one epoch: passes in order, and where each window of passes begins."""

    passes: np.ndarray  # (V, 3) source, shard, pass number
    window_starts: list[int]  # (W + 1,) position in the epoch of each window's first sample
    counts: list[np.ndarray | None]  # per source: (N,) repeats, None = every sample once


class _Window(NamedTuple):
    """Samples of positions ``start`` to ``end``, shuffled."""

    start: int
    end: int
    epoch: int
    sources: list[int]
    records: list[int]


class Plan:
    """Which sample comes at which step of training.

    Args:
        sources: opened data sets, with different names.
        seed: of every shuffle and draw.
        batch: samples of one global batch, all ranks together.
        weights: by source name, (N,) repeats of each sample in an epoch (1.5 = three times in two epochs), or one
            number
            for all. Missing: 1.
        mix: by source name, share of each source in an epoch; then weights only count relative to each other. None:
            each
            source has the sum of its weights.
        epoch_size: samples of an epoch when ``mix`` is given; default all samples together.
        block: passes of shards that are shuffled together.

    Raises:
        DataError: no sample to give, a name twice or unknown, or a weight that is negative or not a number.
    """

    def __init__(
        self,
        sources: ShardSet | Sequence[ShardSet],
        *,
        seed: int,
        batch: int,
        weights: Mapping[str, np.ndarray | Sequence[float] | float] | None = None,
        mix: Mapping[str, float] | None = None,
        epoch_size: int | None = None,
        block: int = 8,
    ):
        self.sources = [sources] if isinstance(sources, ShardSet) else list(sources)
        self.seed, self.batch_size, self.block = int(seed), int(batch), int(block)
        if batch < 1 or block < 1:
            raise DataError(f"batch ({batch}) and block ({block}) must be at least 1")
        names = [s.name for s in self.sources]
        self._check_names(names, weights, "weights")
        self._check_names(names, mix, "mix")
        self._weights = [self._checked_weights(s, (weights or {}).get(s.name)) for s in self.sources]
        self._quotas = self._source_quotas(mix, epoch_size)
        if sum(self._quotas) < 1:
            raise DataError(
                f"the plan over {', '.join(names) or 'no data set'} gives less than one sample an epoch: raise weights"
            )
        self._strata: list[np.ndarray | None] = [None] * len(self.sources)
        self.parts = self._describe(mix)
        self.hash = hashlib.sha256(json.dumps(self.parts, sort_keys=True).encode()).hexdigest()
        self._epochs: OrderedDict[int, _Epoch] = OrderedDict()
        self._windows: OrderedDict[tuple[int, int], _Window] = OrderedDict()
        self._last: _Window | None = None

    def __getstate__(self):
        return {**self.__dict__, "_epochs": OrderedDict(), "_windows": OrderedDict(), "_last": None}

    def __repr__(self) -> str:
        names = ", ".join(source.name for source in self.sources)
        return f"Plan({names}; seed {self.seed}, batch {self.batch_size}, {self.hash[:12]})"

    def sample(self, t: int) -> SampleRef:
        """The sample at position ``t`` >= 0 of the endless stream."""
        window = self._last
        if window is None or not window.start <= t < window.end:
            window = self._last = self._window_at(t)
        at = t - window.start
        return SampleRef(t, window.epoch, window.sources[at], window.records[at])

    def batch(self, b: int) -> range:
        """Positions of global batch ``b``."""
        return range(b * self.batch_size, (b + 1) * self.batch_size)

    def rank_slice(self, b: int, rank: int, world: int) -> range:
        """The part of global batch ``b`` that rank ``rank`` of ``world`` takes.

        Raises:
            DataError: the batch cannot be divided evenly.
        """
        if self.batch_size % world:
            near = [w for w in range(1, self.batch_size + 1) if self.batch_size % w == 0]
            raise DataError(
                f"a global batch of {self.batch_size} samples cannot be divided among {world} ranks: use one of "
                f"{near} ranks, or start a new phase with another batch"
            )
        share = self.batch_size // world
        first = b * self.batch_size + rank * share
        return range(first, first + share)

    def epoch_start(self, epoch: int) -> int:
        """Position of the first sample of an epoch; quotas that are no whole numbers carry over between epochs."""
        return sum(math.floor(epoch * quota) for quota in self._quotas)

    def epoch_length(self, epoch: int = 0) -> int:
        return self.epoch_start(epoch + 1) - self.epoch_start(epoch)

    def quota(self, source: int, epoch: int) -> int:
        """Samples that one source gives in one epoch."""
        return math.floor((epoch + 1) * self._quotas[source]) - math.floor(epoch * self._quotas[source])

    def locate(self, t: int) -> tuple[int, int]:
        """Epoch of position ``t``, and the position inside it."""
        if t < 0:
            raise IndexError(f"sample {t}: positions begin at 0")
        epoch = int(t / sum(self._quotas))
        while self.epoch_start(epoch) > t:
            epoch -= 1
        while self.epoch_start(epoch + 1) <= t:
            epoch += 1
        return epoch, t - self.epoch_start(epoch)

    def state(self, t: int) -> dict[str, Any]:
        """What a checkpoint keeps: the next position, the plan's hash, and its parts, so that a refusal can tell."""
        return {"plan_hash": self.hash, "t": int(t), "plan": self.parts}

    def resume(self, state: Mapping[str, Any], *, new_phase: bool = False) -> int:
        """The position to go on from.

        Args:
            state: from :meth:`state`.
            new_phase: begin this plan at 0 when the checkpoint was written under another.

        Raises:
            PlanMismatchError: data, weights, seed, batch or block are not those of the checkpoint.
        """
        return check_resume(state, self.hash, self.parts, new_phase)

    def _check_names(self, names: list[str], given: Mapping[str, Any] | None, what: str) -> None:
        if len(set(names)) != len(names):
            raise DataError(
                f"two data sets have the same name ({', '.join(names)}): open one with ShardSet.open(folder, name=...)"
            )
        unknown = sorted(set(given or {}) - set(names))
        if unknown:
            raise DataError(f"{what} names {', '.join(unknown)}, but the data sets are {', '.join(names)}")

    def _checked_weights(
        self, source: ShardSet, weights: np.ndarray | Sequence[float] | float | None
    ) -> np.ndarray | None:
        if weights is None:
            return None
        array = np.ascontiguousarray(np.full(len(source), weights) if np.isscalar(weights) else weights, np.float64)
        if array.shape != (len(source),):
            raise DataError(
                f"{source.name} has {len(source)} samples and {array.shape} weights: give one for each sample"
            )
        if not np.isfinite(array).all() or (array < 0).any():
            first = int(np.flatnonzero(~np.isfinite(array) | (array < 0))[0])
            raise DataError(
                f"{source.name}: the weight of {source.row(first).key!r} is {array[first]}: weights are >= 0"
            )
        return None if (array == 1).all() else array

    def _source_quotas(self, mix: Mapping[str, float] | None, epoch_size: int | None) -> list[Fraction]:
        natural = [Fraction(len(s)) if w is None else _total(w) for s, w in zip(self.sources, self._weights)]
        if mix is None:
            if epoch_size is not None:
                raise DataError("epoch_size goes with mix: without shares an epoch is as long as the weights say")
            return natural
        shares = [Fraction(repr(float(mix.get(s.name, 0.0)))) for s in self.sources]
        if min(shares) < 0 or sum(shares) <= 0:
            raise DataError(f"mix must hold shares >= 0, at least one above 0: {dict(mix)}")
        for source, share, available in zip(self.sources, shares, natural):
            if share > 0 and available == 0:
                raise DataError(f"mix gives {source.name} a share, but it has no sample of weight above 0")
        size = epoch_size or sum(len(s) for s in self.sources)
        return [share / sum(shares) * size for share in shares]

    def _describe(self, mix: Mapping[str, float] | None) -> dict[str, Any]:
        sources = []
        for source, weights, quota in zip(self.sources, self._weights, self._quotas):
            digest = "uniform" if weights is None else hashlib.sha256(weights.tobytes()).hexdigest()[:16]
            sources.append({"name": source.name, "index": source.digest, "weights": digest, "quota": str(quota)})
        return {
            "version": _VERSION,
            "sources": sources,
            "mix": None if mix is None else {k: float(v) for k, v in sorted(mix.items())},
            "seed": self.seed,
            "batch": self.batch_size,
            "block": self.block,
        }

    def _epoch(self, epoch: int) -> _Epoch:
        layout = self._epochs.get(epoch)
        if layout is None:
            layout = self._epochs[epoch] = self._lay_out(epoch)
            while len(self._epochs) > _KEPT_EPOCHS:
                self._epochs.popitem(last=False)
        return layout

    def _lay_out(self, epoch: int) -> _Epoch:
        places, passes, sizes, counts = [], [], [], []
        for s, source in enumerate(self.sources):
            count = self._repeats(s, epoch)
            counts.append(count)
            own, own_sizes = _passes(source, s, count)
            key = derive(self.seed, "passes", source.name, epoch)
            rank = np.empty(len(own), np.int64)
            rank[permutation(key, len(own))] = np.arange(len(own))
            jitter = keyed_uniform(derive(key, "place"), np.arange(len(own)))
            places.append((rank + jitter) / max(len(own), 1))
            passes.append(own)
            sizes.append(own_sizes)
        order = np.argsort(np.concatenate(places), kind="stable")
        laid, lengths = np.concatenate(passes)[order], np.concatenate(sizes)[order]
        starts = np.concatenate([[0], np.cumsum(lengths)])[:: self.block].tolist()
        if len(lengths) % self.block:
            starts.append(int(lengths.sum()))
        return _Epoch(laid, starts, counts)

    def _repeats(self, s: int, epoch: int) -> np.ndarray | None:
        source, weights, quota = self.sources[s], self._weights[s], self.quota(s, epoch)
        if weights is None:
            if quota == len(source):
                return None
            weights = np.ones(len(source))
        if self._strata[s] is None:
            self._strata[s] = _rarest_entity(source)
        key = derive(self.seed, "repeats", source.name, epoch)
        return repeats(weights, quota, self._strata[s], key)  # pyright: ignore[reportArgumentType]

    def _window_at(self, t: int) -> _Window:
        epoch, position = self.locate(t)
        window = bisect_right(self._epoch(epoch).window_starts, position) - 1
        cached = self._windows.get((epoch, window))
        if cached is None:
            cached = self._windows[epoch, window] = self._shuffle_window(epoch, window)
            while len(self._windows) > _KEPT_WINDOWS:
                self._windows.popitem(last=False)
        return cached

    def _shuffle_window(self, epoch: int, window: int) -> _Window:
        layout = self._epoch(epoch)
        sources, records = [], []
        for s, shard, number in layout.passes[window * self.block : (window + 1) * self.block].tolist():
            first, end = self.sources[s].starts[shard : shard + 2]
            count = layout.counts[s]
            due = np.arange(first, end) if count is None else first + np.flatnonzero(count[first:end] > number)
            sources.append(np.full(len(due), s))
            records.append(due)
        order = permutation(derive(self.seed, "window", epoch, window), sum(map(len, records)))
        start, end = (self.epoch_start(epoch) + place for place in layout.window_starts[window : window + 2])
        return _Window(
            start, end, epoch, np.concatenate(sources)[order].tolist(), np.concatenate(records)[order].tolist()
        )


def _total(weights: np.ndarray) -> Fraction:
    """Sum of the weights. What misses a whole number by rounding is that number: an epoch must not lose a sample."""
    total = math.fsum(weights.tolist())
    near = round(total)
    return Fraction(near) if near and abs(total - near) < 1e-9 * near else Fraction(repr(total))


def _passes(source: ShardSet, s: int, count: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """((V, 3) source, shard, pass; (V,) samples): pass j of a shard holds the samples due more than j times."""
    starts = np.asarray(source.starts)
    shards = np.arange(len(source.shards))
    if count is None:
        sizes = np.diff(starts)
        rows = np.stack([np.full(len(shards), s), shards, np.zeros(len(shards), np.int64)], axis=1)
        return rows[sizes > 0], sizes[sizes > 0]
    rows, sizes = [np.zeros((0, 3), np.int64)], [np.zeros(0, np.int64)]
    for number in range(int(count.max(initial=0))):
        due = np.diff(np.concatenate([[0], np.cumsum(count > number)])[starts])
        some = shards[due > 0]
        rows.append(np.stack([np.full(len(some), s), some, np.full(len(some), number)], axis=1))
        sizes.append(due[due > 0])
    return np.concatenate(rows), np.concatenate(sizes)


def _rarest_entity(source: ShardSet) -> np.ndarray:
    """(N,) stratum of each sample: number of its rarest entity (0: none), so that draws are even over entities."""
    entities = source.entities()
    counts = Counter(e for row in entities for e in row)
    number = {e: i + 1 for i, e in enumerate(sorted(counts))}
    rarest = (min(row, key=lambda e: (counts[e], e)) if row else None for row in entities)
    return np.fromiter((number.get(e, 0) if e else 0 for e in rarest), np.int64, len(entities))


def check_resume(state: Mapping[str, Any], plan_hash: str, parts: Mapping[str, Any], new_phase: bool) -> int:
    """Position to resume from, or 0 for a new phase under a changed plan; see :meth:`Plan.resume`."""
    if state.get("plan_hash") == plan_hash:
        return int(state["t"])
    if new_phase:
        return 0
    changes = "; ".join(_differences(state.get("plan") or {}, parts)) or "unknown (the checkpoint does not say)"
    raise PlanMismatchError(
        f"the checkpoint was written under data plan {state.get('plan_hash')} and this run has plan {plan_hash}. "
        f"Changed: {changes}. Restore these settings to go on exactly, or start a new phase, which begins the new "
        "plan at sample 0"
    )


def _differences(old: Any, new: Any, path: str = "") -> Iterator[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted(set(old) | set(new)):
            yield from _differences(old.get(key), new.get(key), f"{path}.{key}" if path else key)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (a, b) in enumerate(zip(old, new)):
            label = b.get("name", i) if isinstance(b, Mapping) else i
            yield from _differences(a, b, f"{path}[{label}]")
    elif old != new:
        yield f"{path} ({json.dumps(old)} -> {json.dumps(new)})"


def order_digest(plan: Plan, start: int, stop: int) -> str:
    """Hash of which samples come from ``start`` to ``stop``: runs that saw the same data in the same order share it."""
    return f"{derive([plan.sample(t)[2:] for t in range(start, stop)]):016x}"
