"""Filter shards: stage one on every sample, stage two on what passes, and the rest written to a new folder.

What was found of some dozen samples is a line of a journal, so a killed run checks and asks only for the rest; then the
shards are written, which is copying.
"""

import hashlib
import json
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pretrain.alignment.checks import Limits, check_sample
from pretrain.alignment.judge import Referee
from pretrain.shards import DatasetInfo, ShardError, ShardReader, ShardSet, ShardWriter
from pretrain.shards.derived import begin_derived
from pretrain.shards.index import read_manifest
from pretrain.shards.tar import no_space_is_said, write_atomically

BEGUN, JOURNAL, REFUSED = "align.json", "align.jsonl", "refused.jsonl"
_CHUNK = 64
Faults = list[dict[str, Any]]  # of one sample


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
    referee: Referee | None = None,
    workers: int = 1,
    progress: Callable[[int], None] = lambda samples: None,
) -> AlignReport:
    """Write the samples of ``source`` that pass to ``out``, and ``refused.jsonl`` with reasons, values and limits.

    Called again after an interruption it goes on; a finished folder is left as it is.

    Args:
        limits: of stage one.
        anatomy: names of anatomical entities by id, for the regions of headers.
        referee: stage two; None ends after stage one.
        workers: processes of stage one.
        progress: told how many more samples were checked.

    Raises:
        AlignmentError: ``out`` is the source or holds something else.
        EndpointError: the judge's server went away; what it has answered is kept.
    """
    shards = ShardSet.open(source)
    regions = hashlib.sha256(json.dumps(anatomy or {}, sort_keys=True).encode()).hexdigest()[:16]
    stages = {
        "limits": asdict(limits),
        "judge": referee.asker.chosen_model() if referee else None,
        "threshold": referee.threshold if referee else None,
    }
    settings = {"source": shards.digest, "regions": regions, **stages}
    if begin_derived(source, out, BEGUN, settings, AlignmentError, kept=(JOURNAL,)):
        progress(len(shards))
        return _finished(out)
    journal = _Journal(out / JOURNAL)
    progress(sum(map(len, journal.found.values())))
    spans = [(start, min(start + _CHUNK, len(shards))) for start in range(0, len(shards), _CHUNK)]
    left = [span for span in spans if span[0] not in journal.found]
    reader = ShardReader(shards)
    for span, found in zip(left, _stage_one(source, left, limits, anatomy or {}, workers), strict=True):
        if referee is not None:
            _judge(referee, reader, span[0], found)
        journal.add(span[0], found)
        progress(len(found))
    report = _write(reader, out, [faults for start, _ in spans for faults in journal.found[start]], stages)
    journal.path.unlink()
    return report


def _finished(out: Path) -> AlignReport:
    done = read_manifest(out)["alignment"]
    return AlignReport(done["samples"], done["kept"], Counter(done["refused"]))


class _Journal:
    """Faults of the samples that were checked, by the first sample of each span."""

    def __init__(self, path: Path):
        self.path = path
        self.found: dict[int, list[Faults]] = {}
        content = path.read_bytes() if path.is_file() else b""
        whole = content[: content.rfind(b"\n") + 1]  # a crash may have cut off the last line
        if whole != content:
            write_atomically(path, whole)
        for line in whole.splitlines():
            read = json.loads(line)
            self.found[read["start"]] = read["faults"]

    def add(self, start: int, faults: list[Faults]) -> None:
        self.found[start] = faults
        line = json.dumps({"start": start, "faults": faults}, ensure_ascii=False) + "\n"
        with no_space_is_said(self.path), self.path.open("ab") as file:
            file.write(line.encode())


def _judge(referee: Referee, reader: ShardReader, start: int, found: list[Faults]) -> None:
    """Put the judge's faults to those samples that have none so far."""
    passing = [i for i, faults in enumerate(found) if not faults]
    samples = [reader.sample(start + i) for i in passing]
    for i, faults in zip(passing, referee.faults(samples), strict=True):
        found[i] = [asdict(fault) for fault in faults]


def _write(reader: ShardReader, out: Path, found: Sequence[Faults], stages: Mapping[str, Any]) -> AlignReport:
    """Copy what has no fault, list what has."""
    shards, report = reader.shards, AlignReport(samples=len(found))
    writer = ShardWriter(out, DatasetInfo(*(shards.manifest[n] for n in ("name", "source", "licence", "simulated"))))
    with (out / REFUSED).open("w", encoding="utf-8") as refused:
        for n, faults in enumerate(found):
            row = shards.row(n)
            if faults:
                report.refused.update({fault["reason"] for fault in faults})
                refused.write(json.dumps({"key": row.key, "faults": faults}, ensure_ascii=False) + "\n")
                continue
            columns = {k: v for k, v in asdict(row).items() if k not in ("key", "offset", "size", "sha256")}
            reader.sample(n)  # checks the hash
            writer.write_record(row.key, reader.record(n), **columns)
    report.kept = len(writer)
    kept = {"samples": report.samples, "kept": report.kept, "refused": dict(sorted(report.refused.items()))}
    before = {k: v for k, v in shards.manifest.items() if k in ("import", "tagging")}
    writer.close(shards.manifest["dropped"], **before, alignment={**stages, **kept})
    return report


def _stage_one(
    source: Path, spans: Sequence[tuple[int, int]], limits: Limits, anatomy: dict[str, str], workers: int
) -> Iterator[list[Faults]]:
    """Faults of the samples of every span, in order."""
    if workers <= 1 or len(spans) <= 1:
        yield from map(_Checker(source, limits, anatomy).span, spans)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_start, initargs=(source, limits, anatomy)) as pool:
        yield from pool.map(_span, spans)


class _Checker:
    def __init__(self, source: Path, limits: Limits, anatomy: dict[str, str]):
        self.reader, self.limits, self.anatomy = ShardReader(ShardSet.open(source)), limits, anatomy

    def span(self, span: tuple[int, int]) -> list[Faults]:
        samples = (self.reader.sample(n) for n in range(*span))
        return [[asdict(fault) for fault in check_sample(s, self.limits, self.anatomy)] for s in samples]


_checker: _Checker | None = None


def _start(source: Path, limits: Limits, anatomy: dict[str, str]) -> None:
    global _checker
    _checker = _Checker(source, limits, anatomy)


def _span(span: tuple[int, int]) -> list[Faults]:
    assert _checker is not None, "the pool's initializer makes the checker"
    return _checker.span(span)
