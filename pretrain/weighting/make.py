"""Weights of a shard folder: read its entities, weigh, write the file, the table and the plot."""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from med_entity_tree.errors import OntologyError
from med_entity_tree.tree import ENTITIES, Tree
from med_entity_tree.weights import (
    MANY_REPEATS,
    Bucket,
    Exposure,
    SamplingError,
    buckets,
    entity_counts,
    exposures,
    rarest_counts,
    repeated,
    roll_up,
    sample_weights,
)
from pretrain.shards.index import ShardSet
from pretrain.shards.tar import write_atomically
from pretrain.weighting.stored import write_weights

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WeightSettings:
    """How the weights are made; see :func:`med_entity_tree.weights.sample_weights`.

    Attributes:
        exponent, cap, floor: of the weights.
        least_count: a smaller count is taken as this. The tree's paper does not keep entities seen fewer than 10 times.
        counts: ``counts.json`` of `medvlm met count` (or its folder) whose documents count instead of this data set.
        tree: folder of a tree; entities then count for all that stand above them.
        warn_repeats: an entity whose samples come more often than this in an epoch is warned about.
    """

    exponent: float = 0.5
    cap: float = 8.0
    floor: float = 0.25
    least_count: int = 10
    counts: Path | None = None
    tree: Path | None = None
    warn_repeats: float = MANY_REPEATS


@dataclass(frozen=True)
class WeightReport:
    """What the weights do, before and after.

    Attributes:
        weights: (N,) in the order of the index.
        buckets: draws by frequency; exposures: by entity, rarest first.
        at_cap, at_floor: samples that the bounds hold back.
        without_entity: samples that name none.
        uncounted: entities of this data set that the counts lack (they have the least count).
        outside_tree: entities that the tree lacks (they count for themselves only).
        files: what was written.
    """

    manifest: dict[str, Any]
    weights: np.ndarray
    buckets: list[Bucket]
    exposures: list[Exposure]
    repeated: list[Exposure]
    at_cap: int
    at_floor: int
    without_entity: int
    uncounted: list[str]
    outside_tree: list[str]
    files: tuple[Path, ...]


def make_weights(folder: Path, out: Path, settings: WeightSettings) -> WeightReport:
    """Write ``out`` (Parquet), and beside it the table (.json) and the plot (.png).

    Raises:
        SamplingError: a setting out of range, no sample, no entity, or counts that cannot be read.
        DataError: ``folder`` holds no shards. OntologyError: no tree.
    """
    if out.suffix != ".parquet":
        raise SamplingError(f"--out is {out}: weights are a .parquet file, for example {out.with_suffix('.parquet')}")
    source = ShardSet.open(folder)
    entities = source.entities()
    known = sorted({entity for row in entities for entity in row})
    if not known:
        raise SamplingError(
            f"no sample of {folder} names an entity, so nothing can be weighed by them: tag the data set first"
        )
    counts, facts, outside = _counts(entities, known, settings)
    uncounted = [entity for entity in known if counts.get(entity, 0) < 1]
    bounds = {"exponent": settings.exponent, "cap": settings.cap, "floor": settings.floor}
    weights = sample_weights(rarest_counts(entities, counts, settings.least_count), **bounds)
    manifest = write_weights(out, source, weights, bounds | {"least count": settings.least_count} | facts)
    shown = exposures(entities, weights)
    report = WeightReport(
        manifest,
        weights,
        buckets(entities, counts, weights),
        shown,
        repeated(shown, settings.warn_repeats),
        int((weights >= settings.cap).sum()) if settings.exponent and settings.cap > 1 else 0,
        int((weights <= settings.floor).sum()) if settings.exponent and settings.floor < 1 else 0,
        sum(not row for row in entities),
        uncounted,
        outside,
        (out, out.with_suffix(".json"), out.with_suffix(".png")),
    )
    write_atomically(report.files[1], (json.dumps(_table(report), indent=1, sort_keys=True) + "\n").encode())
    from pretrain.weighting.plot import plot_weights

    plot_weights(report, report.files[2])
    return report


def _counts(
    entities: Sequence[Sequence[str]], known: Sequence[str], settings: WeightSettings
) -> tuple[dict[str, int], dict[str, Any], list[str]]:
    """Counts by entity, what the manifest says of them, and the entities that the tree lacks."""
    if settings.counts is not None:
        if settings.tree is not None:
            raise SamplingError("give --counts or --tree: counts of another corpus cannot be rolled up a second time")
        path = settings.counts / "counts.json" if settings.counts.is_dir() else settings.counts
        counted = _read_counts(path)
        return counted["present"], {"counted": {"documents": counted["documents"], "tree": counted["tree"]}}, []
    if settings.tree is None:
        return dict(entity_counts(entities)), {"counted": "this data set"}, []
    tree = Tree(settings.tree)
    outside = [entity for entity in known if entity not in tree]

    def ancestors(entity: str) -> list[str]:
        return [above.id for above in tree.ancestors(entity)] if entity in tree else []

    if len(outside) == len(known):
        raise OntologyError(
            f"{settings.tree} holds none of the {len(known)} entities of this data set (such as {outside[0]!r})",
            "Tag the data set with this tree, or leave --tree out",
        )
    counts = entity_counts(roll_up([[_identity(tree, e) for e in row] for row in entities], ancestors))
    by_name = {entity: counts[_identity(tree, entity)] for entity in known}
    stamp = hashlib.sha256((settings.tree / ENTITIES).read_bytes()).hexdigest()
    return by_name, {"counted": {"rolled up": True, "tree": stamp}}, outside


def _identity(tree: Tree, entity: str) -> str:
    return tree[entity].id if entity in tree else entity


def _read_counts(path: Path) -> dict[str, Any]:
    try:
        counted = json.loads(path.read_text("utf-8"))
        present = {str(entity): int(n) for entity, n in counted["present"].items()}
        return {"present": present, "documents": int(counted["documents"]), "tree": str(counted["tree"])}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SamplingError(f"{path} does not hold counts of `medvlm met count` ({error!r})") from error


def _table(report: WeightReport) -> dict[str, Any]:
    """The report for a file: everything but the weights themselves and the places."""
    return {
        **report.manifest,
        "buckets": [asdict(row) for row in report.buckets],
        "entities": [asdict(row) for row in report.exposures],
        "often repeated": [row.entity for row in report.repeated],
        "at cap": report.at_cap,
        "at floor": report.at_floor,
        "without entity": report.without_entity,
        "not counted": report.uncounted,
        "outside tree": report.outside_tree,
    }
