"""The gate in front of training: the mix is compared with benchmark manifests and with its own validation data.

A match among samples that the plan can draw stops the run with a sentence. What was checked, and what was not, goes
into the run's ``data.json``.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pretrain.decontamination.errors import ContaminationError
from pretrain.decontamination.judge import Match
from pretrain.decontamination.manifest import Manifest
from pretrain.decontamination.match import Matcher
from pretrain.decontamination.scan import scan
from pretrain.shards.index import ShardSet

log = logging.getLogger(__name__)

SALT = "MEDVLM_DECONTAMINATION_SALT"
_SHOWN = 3


def check_mix(
    sources: Sequence[ShardSet],
    excluded: Mapping[str, np.ndarray],
    *,
    manifests: Sequence[str | Path] = (),
    val: ShardSet | None = None,
    allow_val_overlap: bool = False,
    workers: int = 1,
) -> dict[str, Any]:
    """Refuse a mix that holds benchmark items or validation data; say what was checked.

    Args:
        sources: data sets of the mix.
        excluded: (N,) bool by name, records of weight 0; they do not count.
        manifests: paths of benchmark manifests; with none the mix is not checked against benchmarks, which is logged.
        val: the recipe's validation data, always checked by record hash, patient and study.
        allow_val_overlap: log an overlap with ``val`` and go on.
        workers: processes of a scan whose result is not in the cache.

    Returns:
        For the run's manifest: what was checked and what was found.

    Raises:
        ContaminationError: a sample of the mix is of a benchmark or of the validation data.
        DecontaminationError: a manifest cannot be read, or its salt (``MEDVLM_DECONTAMINATION_SALT``) is missing.
    """
    record: dict[str, Any] = {"samples_of_weight_0": int(sum(mask.sum() for mask in excluded.values()))}
    record["validation"] = _check_validation(sources, excluded, val, allow_val_overlap)
    if not manifests:
        log.warning("the training mix was not checked against any benchmark: data.decontamination.manifests names none")
        return record | {"benchmarks": "not checked"}
    matcher = Matcher([Manifest.load(path) for path in manifests], os.environ.get(SALT, ""))
    log.info("checking the training mix against %s", ", ".join(m.name for m in matcher.manifests))
    verdict = scan(matcher, sources, workers=workers)
    counted = _in_mix(verdict.matches, sources, excluded)
    found = sorted({(m.source, m.key) for m in counted if m.contamination})
    if found:
        raise ContaminationError(_refusal(found, counted))
    return record | {
        "benchmarks": [
            {"name": m.name, "digest": m.digest, "items": len(m), "salted": m.head["salted"]} for m in matcher.manifests
        ],
        "rules": matcher.digest,
        "samples": verdict.counts["documents"],
        "images": verdict.counts["images"],
        "flat_images": verdict.counts["flat images"],
        "shared_templates": len({(m.source, m.key) for m in counted}),
    }


def _in_mix(matches: Sequence[Match], sources: Sequence[ShardSet], excluded: Mapping[str, np.ndarray]) -> list[Match]:
    """Matches of samples that the plan can draw."""
    out: dict[str, set[str]] = {}
    for source in sources:
        rows = np.flatnonzero(excluded[source.name]) if source.name in excluded else ()
        out[source.name] = {source.row(int(n)).key for n in rows}
    return [m for m in matches if m.key not in out[m.source]]


def _refusal(found: Sequence[tuple[str, str]], matches: Sequence[Match]) -> str:
    by_sample: dict[tuple[str, str], list[Match]] = {}
    for match in matches:
        if match.contamination:
            by_sample.setdefault((match.source, match.key), []).append(match)
    first = []
    for sample in found[:_SHOWN]:
        match = by_sample[sample][0]
        first.append(f"{sample[0]}/{sample[1]} ({match.evidence} of {match.benchmark} item {match.item})")
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    names = sorted({m.benchmark for m in matches if m.contamination})
    return (
        f"{len(found)} samples of the training mix hold items of {', '.join(names)}: {', '.join(first)}{more}. The run "
        "does not start. Look at them with `medvlm data decontaminate scan SHARDS --manifest M --out REPORT --remove "
        "excluded.json` and leave them out with data.decontamination.exclude=[excluded.json]"
    )


def _check_validation(
    sources: Sequence[ShardSet], excluded: Mapping[str, np.ndarray], val: ShardSet | None, allowed: bool
) -> str | dict[str, int]:
    if val is None:
        return "none"
    keys: set[tuple[str, str]] = set()
    counts = {}
    for column, what in (("sha256", "records"), ("patient", "patients"), ("study", "studies")):
        held, nobodys = _held(val, column)
        shared: set[str] = set()
        for source in sources:
            mask = excluded.get(source.name)
            for shard, index in enumerate(source.indexes):
                values = index.table.column(column)
                hits = pc.is_in(values, value_set=held).to_numpy()  # type: ignore[attr-defined]
                if column == "study":
                    # Known patients decide; their studies may be numbered 1, 2, 3 for each of them.
                    unknown = np.array([not p for p in index.table.column("patient").to_pylist()], bool)
                    hits = hits & (unknown | pc.is_in(values, value_set=nobodys).to_numpy())  # type: ignore[attr-defined]
                if mask is not None:
                    hits = hits & ~mask[source.starts[shard] : source.starts[shard + 1]]
                rows = np.flatnonzero(hits).tolist()
                shared.update(values[n].as_py() for n in rows)
                keys.update((source.name, index.key(n)) for n in rows)
        counts[what] = len(shared)
    if keys:
        _overlap(val, sorted(keys), counts, allowed)
    return counts | {"samples": len(keys)}


def _held(val: ShardSet, column: str) -> tuple[pa.Array, pa.Array]:
    """Values of an index column, and those of records without a patient."""
    held: set[str] = set()
    nobodys: set[str] = set()
    for index in val.indexes:
        values = index.table.column(column).to_pylist()
        held.update(values)
        nobodys.update(v for v, patient in zip(values, index.table.column("patient").to_pylist()) if not patient)
    return pa.array(sorted(held - {""}), pa.string()), pa.array(sorted(nobodys - {""}), pa.string())


def _overlap(val: ShardSet, keys: list[tuple[str, str]], counts: Mapping[str, int], allowed: bool) -> None:
    how = ", ".join(f"{n} {what}" for what, n in counts.items() if n)
    first = ", ".join("/".join(key) for key in keys[:_SHOWN]) + (" ..." if len(keys) > _SHOWN else "")
    said = f"{len(keys)} samples of the training mix share {how} with the validation data {val.name}: {first}"
    if not allowed:
        raise ContaminationError(
            f"{said}. Held-out figures of such a run would be of cases seen in training: split by patient (`medvlm "
            "data import --split`), or, where two sources only number their patients alike, import one with another "
            "--salt; data.decontamination.allow_val_overlap=true lets the run start all the same"
        )
    log.warning("%s; allowed by data.decontamination.allow_val_overlap", said)
