"""A folder of DICOM files, report texts and tables becomes one without identities; see docs/deidentify.md."""

import contextlib
import json
import logging
import multiprocessing
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pretrain.deidentify.errors import DeidentifyError, LeakError, RefusedError, SettingsError, UnreadableError
from pretrain.deidentify.evidence import of_known
from pretrain.deidentify.journal import JOURNAL, Journal, write_file
from pretrain.deidentify.keys import Keys, MappingFile, keep_apart, open_key, open_private
from pretrain.deidentify.known import Known, patient_key
from pretrain.deidentify.objects import Context, deidentify_object
from pretrain.deidentify.ocr import check_installed
from pretrain.deidentify.options import Options
from pretrain.deidentify.proof import Proof
from pretrain.deidentify.reports import MAX_TEXT_BYTES, Places, clean_report, decode_text, owner_of
from pretrain.deidentify.scan import Job, scan
from pretrain.deidentify.source import read_header_only
from pretrain.deidentify.tables import Columns, TableCleaner, learn, read_rows
from vlm.imaging.decode import load_bytes, quiet
from vlm.imaging.errors import ImagingError

log = logging.getLogger(__name__)
VERSION = 3  # of the rules: a folder begun with other rules is not continued
MANIFEST = "manifest.json"
OnStep = Callable[[str, int, int], None]


@dataclass
class Report:
    """What a run did.

    Attributes:
        written: files by kind. refused: files by code. counts: what was removed or changed.
        before: files that an earlier run had finished. refused_list: where the refused files are named.
    """

    written: Counter = field(default_factory=Counter)
    refused: Counter = field(default_factory=Counter)
    counts: Counter = field(default_factory=Counter)
    before: int = 0
    refused_list: Path | None = None


@dataclass
class Request:
    """What to do.

    Attributes:
        source, out: folders. key: file, made where it is missing, kept apart from both.
        options: what is kept. workers: processes; 1 works in this one.
        columns: column name -> kind, for tables whose names are not known.
        names: people and places that no header gives, to be removed from texts.
        mapping: file for the encrypted way back, or None.
        overwrite: do again what an earlier run did.
    """

    source: Path
    out: Path
    key: Path
    options: Options = field(default_factory=Options)
    workers: int = 1
    columns: Mapping[str, str] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    mapping: Path | None = None
    overwrite: bool = False


def deidentify(request: Request, *, on_step: OnStep | None = None) -> Report:
    """De-identify a folder; run again after an interruption, it goes on.

    Args:
        request: see there.
        on_step: called with (what is done, files done, files in all).

    Raises:
        DeidentifyError: the folders, the key or the options do not allow it. A single file never raises: it is refused
            and counted.
    """
    _check_folders(request)
    keys = open_key(request.key, output=request.out, source=request.source)
    if request.mapping is not None:
        keep_apart(request.mapping, output=request.out, source=request.source)
    settings = {
        "version": VERSION,
        "key": keys.fingerprint,
        "options": request.options.as_settings(),
        "columns": keys.code("columns", json.dumps(sorted(request.columns.items()))),
        "names": keys.code("names", json.dumps(sorted(request.names))),
    }
    with Journal(request.out, settings, overwrite=request.overwrite) as journal:
        return _Run(request, keys, journal, on_step or (lambda *_: None)).run()


def _check_folders(request: Request) -> None:
    source, out = request.source.resolve(), request.out.resolve()
    if not source.is_dir():
        raise SettingsError(f"there is no folder {request.source}")
    if out == source or source in out.parents or out in source.parents:
        raise SettingsError("--out and the source must be apart: neither may lie inside the other")


class _Run:
    """The state of one run."""

    def __init__(self, request: Request, keys: Keys, journal: Journal, on_step: OnStep):
        self.request, self.keys, self.journal, self.on_step = request, keys, journal, on_step
        self.known, self.places = Known(), Places()
        self.known.add_staff(request.names)
        self.report = Report()
        self.refused: list[dict[str, str]] = []
        self.jobs: list[Job] = []

    def run(self) -> Report:
        self.jobs = list(scan(self.request.source, self.keys))
        if not self.jobs:
            raise SettingsError(f"there are no files in {self.request.source}")
        if self.request.options.clean_pixels and any(job.kind == "dicom" for job in self.jobs):
            check_installed()
        self._learn()
        context = Context(self.keys, self.request.options, self.known)
        self._mapping()
        for job in self.jobs:
            if job.kind == "other" and self.journal.is_done(job.name):
                self._count(job, self.journal.done[job.name])
            elif job.kind == "other":
                self._take(job, None, RefusedError("kind", "neither DICOM nor a text nor a table (or a link)"))
        self._each("dicom", _work_here(context) if self.request.workers < 2 else None)
        self._each("text", lambda job, data: self._text(job, data, context))
        self._each("table", lambda job, data: self._table(job, data, context))
        self._finish()
        return self.report

    # Before anything is written: who is in the source

    def _learn(self) -> None:
        todo = [job for job in self.jobs if job.kind in ("dicom", "table")]
        for number, job in enumerate(todo, 1):
            if job.kind == "dicom":
                with quiet():
                    header = read_header_only(str(self.request.source / job.relative), _LIMITS)
                    if header is not None:
                        self.known.add(header)
                        self.places.add(job.relative, patient_key(header))
            else:
                self._learn_table(job)
            self.on_step("reading headers", number, len(todo))

    def _learn_table(self, job: Job) -> None:
        try:
            data = load_bytes(str(self.request.source / job.relative), _LIMITS)
            names, rows, _bad = read_rows(data, Path(job.relative).suffix.lower())
            learn(rows, Columns.of(names, self.request.columns), self.known)
        except (ImagingError, RefusedError):  # met again when it is cleaned, and counted there
            return

    def _mapping(self) -> None:
        if self.request.mapping is None:
            return
        mapping = MappingFile(self.request.mapping, self.keys)
        for patient in self.known.patients.values():
            originals = sorted(patient.names | patient.ids)
            mapping.add("patient", self.keys.patient_id(patient.key), json.dumps([patient.key, *originals]))

    # One kind after the other

    def _each(self, kind: str, work: Callable[[Job, bytes], tuple[bytes, Counter]] | None) -> None:
        todo = [job for job in self.jobs if job.kind == kind]
        rest = [job for job in todo if not self.journal.is_done(job.name)]
        done = len(todo) - len(rest)
        self.report.before += done
        for job in todo:
            if self.journal.is_done(job.name):
                self._count(job, self.journal.done[job.name])
        results = _in_pool(rest, self) if work is None else self._here(rest, work)
        for job, data, outcome in results:
            self._take(job, data, outcome)
            done += 1
            self.on_step({"dicom": "DICOM files", "text": "texts", "table": "tables"}[kind], done, len(todo))

    def _here(
        self, jobs: Iterable[Job], work: Callable[[Job, bytes], tuple[bytes, Counter]]
    ) -> Iterator[tuple[Job, bytes | None, Counter | RefusedError]]:
        for job in jobs:
            try:
                data, counts = work(job, read_job(self.request.source, job))
            except RefusedError as error:
                yield job, None, error
                continue
            yield job, data, counts

    def _take(self, job: Job, data: bytes | None, outcome: Counter | RefusedError) -> None:
        """Write what was proven, remember what was refused."""
        if isinstance(outcome, RefusedError) or data is None:
            assert isinstance(outcome, RefusedError)
            self.refused.append({"path": job.relative, "code": outcome.code, "reason": outcome.reason})
            found = [[*place, n] for place, n in outcome.found.items()] if isinstance(outcome, LeakError) else []
            line = {"kind": job.kind, "out": None, "code": outcome.code, "found": found}
        else:
            write_file(self.request.out / job.out, data)
            line = {
                "kind": job.kind,
                "out": job.out,
                "bytes": len(data),
                "counts": dict(outcome),
            }
        self.journal.add(job.name, line)
        self._count(job, line)

    def _count(self, job: Job, line: Mapping[str, Any]) -> None:
        if line["out"] is None:
            self.report.refused[line["code"]] += 1
            if not any(entry["path"] == job.relative for entry in self.refused):
                self.refused.append({"path": job.relative, "code": line["code"], "reason": ""})
        else:
            self.report.written[line["kind"]] += 1
            self.report.counts.update(line["counts"])

    def _text(self, job: Job, data: bytes, context: Context) -> tuple[bytes, Counter]:
        text = decode_text(data)
        patient = owner_of(text, job.relative, self.places, self.known)
        cleaned = clean_report(text, patient, context.the_cleaner, context.finder, job.relative)
        counts = Counter({f"text: {kind}": n for kind, n in cleaned.counts.items()})
        counts["report of no known patient (dates removed)"] += patient is None
        return cleaned.text.encode("utf-8"), +counts

    def _table(self, job: Job, data: bytes, context: Context) -> tuple[bytes, Counter]:
        written = {j.relative: j.out for j in self.jobs if self.journal.done.get(j.name, {}).get("out")}
        cleaner = TableCleaner(
            self.keys, self.request.options, self.known, context.the_cleaner, context.finder, written
        )
        table = cleaner.clean(data, job.relative, self.request.columns)
        table.counts["row written"] = table.rows
        return table.data, table.counts

    # Afterwards

    def _finish(self) -> None:
        manifest = {
            "what": "de-identified by medvlm (PS3.15 Annex E; rules, not a guarantee)",
            "settings": self.journal.settings,
            "written": dict(sorted(self.report.written.items())),
            "refused": dict(sorted(self.report.refused.items())),
            "counts": dict(sorted(self.report.counts.items())),
            "files": sorted({line["out"] for line in self.journal.done.values() if line["out"]}),
        }
        text = json.dumps(manifest, indent=1)
        journal = (self.request.out / JOURNAL).read_text(encoding="utf-8")
        own = json.dumps({**manifest, "files": []})
        proof = Proof(of_known(self.known, own + " job kind out code found bytes settings"))
        proof.text(text, MANIFEST)
        proof.text(journal, JOURNAL)
        proof.conclude()
        write_file(self.request.out / MANIFEST, text.encode())
        if self.refused:
            self.report.refused_list = self.request.key.with_name(self.request.key.name + ".refused.jsonl")
            self.report.refused_list.unlink(missing_ok=True)
            with open_private(self.report.refused_list) as file:
                for entry in self.refused:
                    file.write((json.dumps(entry, ensure_ascii=False) + "\n").encode("utf-8", "surrogateescape"))


def read_job(source: Path, job: Job) -> bytes:
    """The file's bytes within the limits.

    Raises:
        UnreadableError: they cannot be read.
    """
    failure: UnreadableError
    limits = (
        _LIMITS
        if job.kind == "dicom"
        else type(_LIMITS)(max_file_bytes=256 << 20 if job.kind == "table" else MAX_TEXT_BYTES)
    )
    try:
        return load_bytes(str(source / job.relative), limits)
    except ImagingError as error:
        failure = UnreadableError(error.code, error.reason)
    raise failure


_LIMITS = Context(Keys(b"\0" * 32), Options(), Known()).limits


def _work_here(context: Context) -> Callable[[Job, bytes], tuple[bytes, Counter]]:
    def work(job: Job, data: bytes) -> tuple[bytes, Counter]:
        cleaned = deidentify_object(data, job.relative, context)
        return cleaned.data, cleaned.counts

    return work


# Several processes

_context: Context | None = None


def _start(master: bytes, options: Options, known: Known) -> None:
    global _context
    with contextlib.suppress(ImportError):
        import cv2

        cv2.setNumThreads(1)
    logging.disable(logging.CRITICAL)  # a worker has nothing to say that does not come back as a count
    _context = Context(Keys(master), options, known)


def _work(source: Path, job: Job) -> tuple[bytes, Counter] | RefusedError:
    assert _context is not None
    try:
        cleaned = deidentify_object(read_job(source, job), job.relative, _context)
    except RefusedError as error:
        return error
    return cleaned.data, cleaned.counts


def _in_pool(jobs: list[Job], run: _Run) -> Iterator[tuple[Job, bytes | None, Counter | RefusedError]]:
    """Results in the order of the jobs, a few files in flight for each worker."""
    workers = run.request.workers
    spawn = multiprocessing.get_context("spawn")  # a fork would share the decoding children's sockets
    args = (run.keys._master, run.request.options, run.known)
    pending: deque[tuple[Job, Future]] = deque()
    rest = iter(jobs)
    try:
        with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_start, initargs=args) as pool:
            while True:
                while len(pending) < 2 * workers and (job := next(rest, None)) is not None:
                    pending.append((job, pool.submit(_work, run.request.source, job)))
                if not pending:
                    return
                job, future = pending.popleft()
                result = future.result()
                yield (job, None, result) if isinstance(result, RefusedError) else (job, *result)
    except BrokenProcessPool:
        pass
    raise DeidentifyError(
        "a worker process died (too little memory?): run the same command again, with fewer --workers"
    )


def summary(report: Report) -> dict[str, Any]:
    """The report as plain JSON, without paths."""
    return {k: dict(v) if isinstance(v, Counter) else v for k, v in asdict(report).items() if k != "refused_list"}
