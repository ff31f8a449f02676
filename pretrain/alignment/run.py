"""Filter shards: stage one on every sample, stage two on what passes, and the rest written to a new folder."""

import json
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretrain.alignment.checks import Limits, check_sample, said
from pretrain.alignment.judge import Pair, Verdict, judge, score
from pretrain.shards import DatasetInfo, ShardError, ShardReader, ShardSet, ShardWriter
from pretrain.shards.tar import write_atomically

if TYPE_CHECKING:
    from vlm.asking import JsonAsker

BEGUN = "align.json"
_CHUNK = 64


class AlignmentError(ShardError):
    """The folder of the result holds something else."""


@dataclass
class AlignReport:
    """What passed, and what was refused by stage and reason."""

    samples: int = 0
    kept: int = 0
    refused: Counter[str] = field(default_factory=Counter)


def align_shards(
    source: Path,
    out: Path,
    limits: Limits = Limits(),  # noqa: B008  frozen
    *,
    anatomy: dict[str, str] | None = None,
    names: Callable[[str], str] = lambda entity: entity,
    asker: "JsonAsker[Verdict] | None" = None,
    threshold: int = 6,
    workers: int = 1,
    progress: Callable[[int], None] = lambda samples: None,
) -> AlignReport:
    """Write the samples of ``source`` that pass to ``out``, and ``refused.jsonl`` with reasons, values and limits.

    Args:
        limits: of stage one.
        anatomy: names of anatomical entities by id, for the regions of headers.
        names: name of an entity, for the judge.
        asker: the judge of stage two; None ends after stage one.
        threshold: support (0 to 10) from which the judge lets a sample pass.
    """
    shards = ShardSet.open(source)
    _begin(source, out, {"source": shards.digest, "limits": asdict(limits), "threshold": threshold})
    report = AlignReport(samples=len(shards))
    reader = ShardReader(shards)
    faults = dict(enumerate(_stage_one(source, len(shards), limits, anatomy or {}, workers, progress)))
    passing = [n for n, found in faults.items() if not found]
    if asker is not None:
        for start in range(0, len(passing), _CHUNK):
            chunk = passing[start : start + _CHUNK]
            pairs = [_pair(reader, n, names) for n in chunk]
            for n, verdict in zip(chunk, judge(pairs, asker)):
                faults[n] = _judged(verdict, threshold)
    info = DatasetInfo(*(shards.manifest[name] for name in ("name", "source", "licence", "simulated")))
    with (out / "refused.jsonl").open("w", encoding="utf-8") as refused:
        writer = ShardWriter(out, info)
        for n, found in faults.items():
            row = shards.row(n)
            if found:
                report.refused.update({fault["reason"] for fault in found})
                refused.write(json.dumps({"key": row.key, "faults": found}, ensure_ascii=False) + "\n")
                continue
            columns = {k: v for k, v in asdict(row).items() if k not in ("key", "offset", "size", "sha256")}
            reader.sample(n)  # checks the hash
            writer.write_record(row.key, reader.record(n), **columns)
        report.kept = len(writer)
    stages = {"limits": asdict(limits), "judge": asker.model if asker else None, "threshold": threshold}
    refusals = dict(sorted(report.refused.items()))
    kept = {"samples": report.samples, "kept": report.kept, "refused": refusals}
    before = {k: v for k, v in shards.manifest.items() if k in ("import", "tagging")}
    writer.close(shards.manifest["dropped"], **before, alignment={**stages, **kept})
    return report


def _begin(source: Path, out: Path, settings: dict[str, Any]) -> None:
    """Only a folder that is empty, or that an earlier run of this began, is written to."""
    out.mkdir(parents=True, exist_ok=True)
    if out.resolve() == source.resolve():
        raise AlignmentError(f"{out} is the source itself: choose a new folder")
    if not (out / BEGUN).is_file() and any(out.glob("*.tar")):
        raise AlignmentError(f"{out} holds tars that this filter did not write: choose another --out")
    for pattern in ("shard-*.tar", "shard-*.parquet", "*.tmp", "dataset.json"):
        for path in out.glob(pattern):
            path.unlink()
    write_atomically(out / BEGUN, (json.dumps(settings, sort_keys=True) + "\n").encode())


def _pair(reader: ShardReader, n: int, names: Callable[[str], str]) -> Pair:
    sample = reader.sample(n)
    present = (sample.extra.get("tags") or {}).get("present") or {}
    nodes = {e for origin, found in present.items() if origin != "header" for e in found}
    return Pair(sample, said(sample), tuple(sorted(map(names, nodes))))


def _judged(verdict: Any, threshold: int) -> list[dict[str, Any]]:
    if not isinstance(verdict, Verdict):
        return [{"reason": "judge: no answer", "value": verdict.reason, "limit": ""}]
    if score(verdict) >= threshold:
        return []
    reason = "judge: text not supported" if verdict.shows_node else "judge: picture does not show the node"
    return [{"reason": reason, "value": "; ".join(verdict.problems) or verdict.text_supported, "limit": threshold}]


def _stage_one(
    source: Path, count: int, limits: Limits, anatomy: dict[str, str], workers: int, progress: Callable[[int], None]
) -> Iterator[list[dict[str, Any]]]:
    """Faults of every sample, in order."""
    spans = [(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK)]
    if workers <= 1:
        checker = _Checker(source, limits, anatomy)
        for span in spans:
            found = checker.span(span)
            progress(len(found))
            yield from found
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_start, initargs=(source, limits, anatomy)) as pool:
        for found in pool.map(_span, spans):
            progress(len(found))
            yield from found


class _Checker:
    def __init__(self, source: Path, limits: Limits, anatomy: dict[str, str]):
        self.reader, self.limits, self.anatomy = ShardReader(ShardSet.open(source)), limits, anatomy

    def span(self, span: tuple[int, int]) -> list[list[dict[str, Any]]]:
        samples = (self.reader.sample(n) for n in range(*span))
        return [[asdict(fault) for fault in check_sample(s, self.limits, self.anatomy)] for s in samples]


_checker: _Checker | None = None


def _start(source: Path, limits: Limits, anatomy: dict[str, str]) -> None:
    global _checker
    _checker = _Checker(source, limits, anatomy)


def _span(span: tuple[int, int]) -> list[list[dict[str, Any]]]:
    assert _checker is not None, "the pool's initializer makes the checker"
    return _checker.span(span)
