"""Tag shards: entities from text, labels and headers into each record and into the index, in a new folder.

A shard becomes a shard of the same name with the same records in the same order, so workers share nothing and the bytes
do not depend on how many there are. Images are copied as they are, never decoded. A journal line makes a shard count;
a killed run goes on, and shards added to the source cost only themselves.
"""

import fcntl
import hashlib
import json
import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from med_entity_tree.tagger import Tagger
from med_entity_tree.tree import ENTITIES, Tree
from pretrain.importing.study import safe_key
from pretrain.shards.errors import ShardError
from pretrain.shards.index import Index, IndexRow, ShardInfo, ShardSet, index_path
from pretrain.shards.reader import ShardReader
from pretrain.shards.tar import TarWriter, no_space_is_said, sync_folder, unpack_record, write_atomically
from pretrain.shards.writer import DatasetInfo, write_manifest
from pretrain.tagging.errors import TaggingError
from pretrain.tagging.headers import Facts, facts_of_folder
from pretrain.tagging.labels import LabelForm, LabelMap, Statement, labels_of, read_labels
from pretrain.tagging.origins import Origins, record_of
from pretrain.tagging.turns import tags_of_turns

JOURNAL = "tagging.jsonl"
VERSION = 1  # of the rules: a change of them makes every shard anew


@dataclass(frozen=True)
class LabelTable:
    """A table of labels, and how it is read."""

    path: Path
    form: LabelForm


@dataclass(frozen=True)
class TagOptions:
    """What is tagged, with what.

    Attributes:
        tree: folder of the built tree.
        labels: table joined to samples by their key, or None.
        mapping: file in which people say what labels stand for, or None.
        dicom: folder of the original DICOM files, joined by the hash that samples keep of them, or None.
        count_unmapped: labels that nothing explains are counted instead of refused.
        text: tag what conversations say.
    """

    tree: Path
    labels: LabelTable | None = None
    mapping: Path | None = None
    dicom: Path | None = None
    count_unmapped: bool = False
    text: bool = True


@dataclass
class TagReport:
    """What a run did. ``counts`` holds samples and tags by kind, ``unmapped`` what had no entity."""

    samples: int = 0
    reused: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    unmapped: Counter[str] = field(default_factory=Counter)
    present: Counter[str] = field(default_factory=Counter)
    named: Counter[str] = field(default_factory=Counter)

    def add(self, line: Mapping[str, Any]) -> None:
        self.samples += line["shard"]["samples"]
        for name in ("counts", "unmapped", "present", "named"):
            getattr(self, name).update(line[name])


def tag_shards(
    source: Path,
    out: Path,
    options: TagOptions,
    *,
    workers: int = 1,
    progress: Callable[[int], None] = lambda samples: None,
) -> TagReport:
    """Write ``source`` to ``out`` with entities, and ``counts.json`` of them beside the manifest.

    Raises:
        TaggingError: ``out`` is the source or holds something else, or no row of the label table is a sample's.
        LabelError: the labels cannot be read, or nothing says which entity one stands for.
        ShardError: a record is damaged.
    """
    if out.resolve() == source.resolve():
        raise TaggingError(f"{out} is the source itself: tagged shards are written to a new folder")
    shards = ShardSet.open(source)
    report = TagReport()
    statements = _label_statements(options, shards, report)
    facts = facts_of_folder(options.dicom, report.unmapped) if options.dicom else {}
    if options.dicom and not facts:
        raise TaggingError(f"{options.dicom} holds no DICOM file whose header can be read")
    settings = _settings(options, statements, facts)
    out.mkdir(parents=True, exist_ok=True)
    with _Journal(out) as journal:
        todo = []
        for number, info in enumerate(shards.shards):
            stamp = hashlib.sha256(f"{settings} {info.name} {info.sha256} {info.index}".encode()).hexdigest()
            if (line := journal.done(info.name, stamp)) is not None:
                report.reused += line["shard"]["samples"]
                progress(line["shard"]["samples"])
            else:
                keys = shards.indexes[number].keys()
                todo.append(_Job(number, stamp, {k: statements[k] for k in keys if k in statements}))
        for line in _run(source, out, options, facts, todo, workers):
            journal.add(line)
            progress(line["shard"]["samples"])
        for info in shards.shards:
            report.add(journal.lines[info.name])
        infos = [ShardInfo(**journal.lines[info.name]["shard"]) for info in shards.shards]
        _finish(out, shards, infos, options, report)
    return report


def _settings(options: TagOptions, statements: Mapping[str, list[Statement]], facts: Mapping[str, Facts]) -> str:
    """A hash of everything but the shard that decides its tags."""
    tree = hashlib.sha256((options.tree / ENTITIES).read_bytes()).hexdigest()
    labels = hashlib.sha256(json.dumps(statements, sort_keys=True).encode()).hexdigest()
    table = options.labels
    mapping = options.mapping.read_bytes().hex() if options.mapping else ""
    headers = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    form = asdict(table.form) if table else {}
    rest = [VERSION, tree, labels, mapping, headers, form, options.count_unmapped, options.text]
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _label_statements(options: TagOptions, shards: ShardSet, report: TagReport) -> dict[str, list[Statement]]:
    """Statements by sample key. A row's key is that of the sample, or a file name whose stem is."""
    table = options.labels
    if table is None:
        return {}
    known = LabelMap(Tree(options.tree), table.form.mapping, options.mapping, options.count_unmapped)
    known.check(labels_of(table.path, table.form), str(table.path))
    keys = {row.key for row in shards.rows()}
    found: dict[str, list[Statement]] = {}
    for key, said in read_labels(table.path, table.form):
        match = next((k for k in (safe_key(key), safe_key(Path(key).stem)) if k in keys), None)
        if match is None:
            report.counts["label rows without a sample"] += 1
        else:
            found.setdefault(match, []).extend(said)
    if not found:
        raise TaggingError(
            f"no row of {table.path} belongs to a sample of {shards.folder}: its column {table.form.key!r} must hold "
            f"keys such as {next(iter(sorted(keys)), '')!r}; import with --map key=COLUMN, or name another key column"
        )
    return found


@dataclass(frozen=True)
class _Job:
    number: int
    stamp: str
    statements: dict[str, list[Statement]]


def _run(source: Path, out: Path, options: TagOptions, facts: dict[str, Facts], todo: Sequence[_Job], workers: int):
    if not todo:
        return
    setup = (source, out, options, facts)
    if workers <= 1:
        worker = _Worker(*setup)
        yield from map(worker.tag, todo)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(todo)), context, initializer=_start, initargs=setup) as pool:
        for future in as_completed([pool.submit(_tag, job) for job in todo]):
            yield future.result()


_worker: "_Worker | None" = None


def _start(*setup) -> None:
    global _worker
    _worker = _Worker(*setup)


def _tag(job: _Job) -> dict[str, Any]:
    assert _worker is not None, "the pool's initializer makes the worker"
    return _worker.tag(job)


class _Worker:
    """Tags one shard after another with one tree."""

    def __init__(self, source: Path, out: Path, options: TagOptions, facts: dict[str, Facts]):
        self.out, self.options, self.facts = out, options, facts
        self.reader = ShardReader(ShardSet.open(source))
        self.tagger = Tagger.of_folder(options.tree)
        self.origins = Origins(options.tree, self.tagger, options.mapping, options.count_unmapped)
        table = options.labels
        self.labels = None
        if table is not None:
            self.labels = LabelMap(self.origins.tree, table.form.mapping, options.mapping, options.count_unmapped)

    def tag(self, job: _Job) -> dict[str, Any]:
        """One shard; its journal line."""
        shards = self.reader.shards
        index, info = shards.indexes[job.number], shards.shards[job.number]
        counts: dict[str, Counter[str]] = {name: Counter() for name in ("counts", "unmapped", "present", "named")}
        tar, rows = TarWriter(self.out / info.name), []
        try:
            for at, row in enumerate(index.rows()):
                files = self._record(shards.starts[job.number] + at, row)
                head = json.loads(files["json"])
                entities = self._tag_head(head, job.statements.get(row.key, []), row.key, counts)
                files["json"] = json.dumps(head, ensure_ascii=False, sort_keys=True).encode()
                span = tar.append(row.key, files)
                place = {"offset": span.offset, "size": span.size, "sha256": span.sha256}
                rows.append(replace(row, entities=entities, **place))
        except BaseException:
            tar.abort()
            raise
        return _finish_shard(tar, rows, job.stamp, counts)

    def _record(self, n: int, row: IndexRow) -> dict[str, bytes]:
        data = self.reader.raw(n)
        if hashlib.sha256(data).hexdigest() != row.sha256:
            raise ShardError(
                f"{self.reader.shards.folder}, key {row.key}: the record does not have the hash of its index: the tar "
                "is damaged; run `medvlm data verify` on the folder and import again"
            )
        return unpack_record(row.key, data, str(self.reader.shards.folder))

    def _tag_head(
        self, head: dict[str, Any], statements: list[Statement], key: str, counts: dict[str, Counter[str]]
    ) -> list[str]:
        extra = head["extra"]
        given = extra.get("tags", {}).get("given", head["entities"])
        tags = [*self.origins.given(given, extra, key)]
        if statements and self.labels is not None:
            tags += self.labels.tags(statements, key)
        if self.options.text:
            tags += tags_of_turns(head["messages"], self.tagger.tag)
        header, views, sides = self.origins.headers(self._facts(head, counts["unmapped"]), counts["unmapped"])
        tagging, extra["tags"] = record_of(given, [*tags, *header], views, sides)
        head["entities"] = tagging.entities
        for kind in ("conflict", "negated", "uncertain", "other"):
            counts["counts"][kind] += len(tagging.record.get(kind, ()))
        for origin, found in tagging.record["present"].items():
            counts["counts"][f"present by {origin}"] += len(found)
        counts["counts"]["samples without an entity"] += not tagging.entities
        counts["present"].update(tagging.entities)
        counts["named"].update({tag.entity for tag in tags} | {tag.entity for tag in header})
        return tagging.entities

    def _facts(self, head: Mapping[str, Any], unmapped: Counter[str]) -> Iterator[Facts]:
        """What is known of the header of each image."""
        kept = head["extra"].get("headers") or []
        for number, image in enumerate(head["images"]):
            facts: Facts = {"modality": image["modality"]} if image.get("modality") else {}
            if number < len(kept) and isinstance(kept[number], dict):
                facts |= kept[number]
            facts |= self.facts.get(image["provenance"]["sha256"], {})
            if self.facts and image["provenance"]["sha256"] not in self.facts:
                unmapped["image whose DICOM file is not in the folder"] += 1
            yield facts


def _finish_shard(
    tar: TarWriter, rows: Sequence[IndexRow], stamp: str, counts: Mapping[str, Counter[str]]
) -> dict[str, Any]:
    index = Index.from_rows(rows)
    sha256 = tar.close()
    index.write(index_path(tar.path))
    info = ShardInfo(tar.path.name, len(index), tar.size, sha256, index.digest())
    sums = {name: dict(sorted((k, n) for k, n in c.items() if n)) for name, c in counts.items()}
    return {"shard": asdict(info), "stamp": stamp, **sums}


def _finish(out: Path, shards: ShardSet, infos: Sequence[ShardInfo], options: TagOptions, report: TagReport) -> None:
    wanted = {info.name for info in infos}
    for tar in out.glob("shard-*.tar"):
        if tar.name not in wanted:  # of a source that has lost this shard
            index_path(tar).unlink(missing_ok=True)
            tar.unlink()
    manifest = shards.manifest
    info = DatasetInfo(*(manifest[name] for name in ("name", "source", "licence", "simulated")))
    known = {"format", "name", "source", "licence", "simulated", "counts", "dropped", "entities", "digest", "shards"}
    more = {name: value for name, value in manifest.items() if name not in known}
    stamp = hashlib.sha256((options.tree / ENTITIES).read_bytes()).hexdigest()
    more["tagging"] = {
        "tree": stamp,
        "rules": VERSION,
        "counts": dict(sorted(report.counts.items())),
        "unmapped": dict(sorted(report.unmapped.items(), key=lambda item: (-item[1], item[0]))),
    }
    write_manifest(out, info, infos, manifest["dropped"], **more)
    counts = {
        "tree": stamp,
        "documents": report.samples,
        "parts": [],
        "present": dict(sorted(report.present.items())),
        "mentions": dict(sorted(report.named.items())),
    }
    write_atomically(out / "counts.json", (json.dumps(counts, indent=1) + "\n").encode())


class _Journal:
    """Finished shards of ``out``, the lines in the order of their names; locked against a second run."""

    def __init__(self, out: Path):
        self.path = out / JOURNAL
        if not self.path.is_file() and any(out.glob("*.tar")):
            raise TaggingError(f"{out} holds tars that tagging did not write: choose another --out")
        self._lock = (out / ".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise TaggingError(f"another run is tagging into {out}: wait for it, or choose another --out") from None
        for part in out.glob("*.tmp"):
            part.unlink()
        self.lines: dict[str, dict[str, Any]] = {}
        content = self.path.read_text("utf-8") if self.path.is_file() else ""
        for text in content[: content.rfind("\n") + 1].splitlines():  # a crash may have cut off the last line
            line = json.loads(text)
            self.lines[line["shard"]["name"]] = line

    def __enter__(self) -> "_Journal":
        return self

    def __exit__(self, kind, *_error) -> None:
        if kind is None:  # in one order, whatever worker was first
            lines = [json.dumps(self.lines[name], ensure_ascii=False) + "\n" for name in sorted(self.lines)]
            write_atomically(self.path, "".join(lines).encode())
        self._lock.close()

    def done(self, name: str, stamp: str) -> dict[str, Any] | None:
        """The line of a shard that was made from the same input with the same settings and is still there."""
        line, tar = self.lines.get(name), self.path.parent / name
        if line is None or line["stamp"] != stamp or not tar.is_file() or not index_path(tar).is_file():
            return None
        return line if tar.stat().st_size == line["shard"]["bytes"] else None

    def add(self, line: dict[str, Any]) -> None:
        self.lines[line["shard"]["name"]] = line
        with no_space_is_said(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self.path.parent)
