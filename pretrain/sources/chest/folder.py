"""Write simulated patients to a folder: DICOM, truth masks and one JSONL row a study, in three splits.

Resumable: a patient is complete when its `study.json` exists, which is written last; files are renamed into
place. The same arguments give the same bytes with any number of workers.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import io
import json
import logging
import multiprocessing
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from vlm.errors import MedVLMError

from .case import VERSION, Case, generate_case
from .dicom_writer import encode
from .findings import FINDINGS, NORMAL_SHARE

log = logging.getLogger(__name__)
SPLITS = ("train", "val", "test")
LICENCE = "Apache-2.0 (simulated, no patient)"


class SimulationError(MedVLMError):
    """Simulation cannot start or go on."""


@dataclass(frozen=True)
class SimulationReport:
    """What lies in the folder afterwards."""

    out: Path
    patients: dict[str, int]
    images: int
    questions: int
    made: int
    kept: int


@dataclass(frozen=True)
class _Job:
    out: str
    split: str
    seed: int
    patient: int
    size: int
    lateral_share: float
    findings: tuple[str, ...]
    prevalence: dict[str, float]


def split_of(seed: int, patient: int, shares: tuple[float, float, float]) -> str:
    """The split of a patient: a hash of seed and number against the shares, so it never depends on how many
    patients are made."""
    digest = hashlib.sha256(f"medvlm-chest-split/{seed}/{patient}".encode()).digest()
    x = int.from_bytes(digest[:8], "big") / 2**64
    return SPLITS[0] if x < shares[0] else SPLITS[1] if x < shares[0] + shares[1] else SPLITS[2]


def simulate(
    out: Path | str,
    patients: int,
    seed: int = 0,
    *,
    size: int = 256,
    workers: int | None = None,
    shares: tuple[float, float, float] = (0.8, 0.05, 0.15),
    lateral_share: float = 0.35,
    findings: Sequence[str] = FINDINGS,
    prevalence: Mapping[str, float] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SimulationReport:
    """Make `patients` simulated patients below `out`.

    size: longest side of a film, pixels (64 to 4096). workers: processes, by default one a core.
    shares: of train, val and test; they sum to 1. progress: called with (done, total) after each patient.
    findings: those that may be there and are asked about.
    prevalence: share of patients by finding, where it is not the simulator's own (docs/simulator.md).

    Raises SimulationError for bad arguments, for a folder that holds another simulation, and when a file
    cannot be written.
    """
    out = Path(out)
    _check(patients, size, shares, lateral_share)
    chosen = _checked_findings(findings)
    rates = _checked_prevalence(prevalence or {}, chosen)
    settings = {
        "simulator_version": VERSION,
        "seed": seed,
        "size": size,
        "shares": list(shares),
        "lateral_share": lateral_share,
        "findings": list(chosen),
        **({"prevalence": rates} if rates else {}),
    }
    _claim(out, settings)
    jobs = [
        _Job(str(out), split_of(seed, k, shares), seed, k, size, lateral_share, chosen, rates) for k in range(patients)
    ]
    todo = [j for j in jobs if not _marker(j).exists()]
    done = len(jobs) - len(todo)
    if progress:
        progress(done, patients)
    for finished, _ in enumerate(_run(todo, workers), done + 1):
        if progress:
            progress(finished, patients)
    return _collect(out, jobs, made=len(todo), kept=done)


def _check(patients: int, size: int, shares, lateral_share: float) -> None:
    if patients < 1:
        raise SimulationError(f"patients is {patients}; give at least 1")
    if not 64 <= size <= 4096:
        raise SimulationError(f"size is {size} pixels; give 64 to 4096")
    if len(shares) != 3 or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise SimulationError(f"shares are {tuple(shares)}; give three numbers for train, val, test that sum to 1")
    if not 0 <= lateral_share <= 1:
        raise SimulationError(f"lateral_share is {lateral_share}; give 0 to 1")


def _checked_findings(findings: Sequence[str]) -> tuple[str, ...]:
    """In the order of FINDINGS."""
    unknown = [name for name in findings if name not in FINDINGS]
    if unknown or not findings:
        raise SimulationError(
            f"no finding is called {', '.join(unknown) or 'nothing'}; choose of {', '.join(FINDINGS)}"
        )
    return tuple(name for name in FINDINGS if name in findings)


def _checked_prevalence(prevalence: Mapping[str, float], chosen: Sequence[str]) -> dict[str, float]:
    """In the order of FINDINGS."""
    most = 1 - NORMAL_SHARE
    for name, share in prevalence.items():
        if name not in chosen:
            raise SimulationError(f"prevalence names {name}, which is not among the findings {', '.join(chosen)}")
        if not 0 < share < most:
            raise SimulationError(
                f"the prevalence of {name} is {share}; give a share of patients above 0 and below {most:g} "
                f"({NORMAL_SHARE:.0%} have no finding at all)"
            )
    return {name: float(prevalence[name]) for name in chosen if name in prevalence}


def _claim(out: Path, settings: dict) -> None:
    """Mark the folder as this simulation's, or refuse one that is another's."""
    path = out / "simulation.json"
    try:
        out.mkdir(parents=True, exist_ok=True)
        if path.exists():
            there = json.loads(path.read_text())
            differ = sorted(k for k in {**settings, **there} if k != "simulated" and there.get(k) != settings.get(k))
            if differ:
                raise SimulationError(
                    f"{out} holds a simulation with other settings ({', '.join(differ)}); "
                    "use another folder or remove it"
                )
        elif any(p.name != f".{path.name}.partial" for p in out.iterdir()):
            raise SimulationError(f"{out} is not empty and holds no simulation; use another folder")
        else:
            _write(path, json.dumps({**settings, "simulated": True}, indent=1).encode())
    except (OSError, json.JSONDecodeError) as error:
        raise SimulationError(f"cannot use {out} as output folder: {error}") from error


def _marker(job: _Job) -> Path:
    return Path(job.out) / job.split / f"p{job.patient:06d}" / "s0" / "study.json"


def _run(jobs: list[_Job], workers: int | None):
    workers = max(1, min(workers or len(os.sched_getaffinity(0)), len(jobs)))
    if workers == 1 or not jobs:
        yield from map(_make, jobs)
        return
    context = multiprocessing.get_context("forkserver")
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context) as pool:
        yield from pool.map(_make, jobs, chunksize=max(1, min(16, len(jobs) // (4 * workers))))


def _make(job: _Job) -> int:
    """Make one patient in a folder beside its own, then rename it into place."""
    case = generate_case(
        job.seed,
        job.patient,
        size=job.size,
        lateral_share=job.lateral_share,
        findings=job.findings,
        shares=job.prevalence,
    )
    final = _marker(job).parent
    work = final.parent.with_name(f".{case.name}.partial")
    try:
        shutil.rmtree(work, ignore_errors=True)
        (work / case.study).mkdir(parents=True)
        for k in range(len(case.images)):
            (work / case.study / f"{k}.dcm").write_bytes(encode(case, k))
            (work / case.study / f"{k}.mask.png").write_bytes(_png(case.masks[k]))
        row = json.dumps(_row(case, job.split), separators=(",", ":"))
        (work / case.study / "study.json").write_text(row)
        shutil.rmtree(final.parent, ignore_errors=True)
        os.replace(work, final.parent)
    except OSError as error:
        raise SimulationError(f"cannot write patient {case.name} below {job.out}: {error}") from error
    return job.patient


def _png(mask: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(mask).save(out, "PNG", compress_level=6)
    return out.getvalue()


def _row(case: Case, split: str) -> dict:
    base = f"{split}/{case.name}/{case.study}"
    n = range(len(case.images))
    return {
        "patient": case.name,
        "study": case.study,
        "images": [f"{base}/{k}.dcm" for k in n],
        "views": [v.name for v in case.views],
        "report": case.report,
        "qa": case.qa,
        "truth": case.truth,
        "masks": [f"{base}/{k}.mask.png" for k in n],
        "simulated": True,
        "licence": LICENCE,
    }


def _write(path: Path, data: bytes) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(data)
    os.replace(partial, path)


def _collect(out: Path, jobs: list[_Job], made: int, kept: int) -> SimulationReport:
    counts, images, questions = {}, 0, 0
    for split in SPLITS:
        rows = [_marker(j).read_text() for j in jobs if j.split == split]
        if rows:  # a split that few patients leave empty has no file
            _write(out / f"{split}.jsonl", "".join(f"{row}\n" for row in rows).encode())
        else:
            (out / f"{split}.jsonl").unlink(missing_ok=True)
        counts[split] = len(rows)
        for row in map(json.loads, rows):
            images += len(row["images"])
            questions += len(row["qa"])
    log.info("%s: %d patients made, %d kept, %d images", out, made, kept, images)
    return SimulationReport(out, counts, images, questions, made, kept)
