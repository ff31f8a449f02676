"""One run of the data engine: the stages in their order, each taken up where it was left.

A stage's stamp holds its settings and the digest of the stamp before it, so a changed setting makes anew what depends
on it and nothing else. Work lies in ``work/``, what is meant for others beside it.
"""

import fcntl
import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from med_entity_tree.tree import ENTITIES, Tree
from pretrain.dedup.image import ImageSettings
from pretrain.dedup.text import TextSettings
from pretrain.deidentify.run import Request, deidentify
from pretrain.engine.align import AlignTask
from pretrain.engine.card import write_card
from pretrain.engine.decide import Decider, decisions_of
from pretrain.engine.errors import EngineError
from pretrain.engine.fingerprint import FingerprintTask
from pretrain.engine.flow import PartTask, run_parts
from pretrain.engine.folder import Counts, StageFolder
from pretrain.engine.ingest import Opened, ingest
from pretrain.engine.recipe import EngineRecipe, ModelSection, SourceSection, source_name
from pretrain.engine.refine import RefineTask
from pretrain.engine.select import Selection, cluster_splits, light_tables
from pretrain.engine.write import SelectedRecords
from pretrain.importing import Conversation, ImportOptions, ImportReport, import_source
from pretrain.importing.opening import open_source
from pretrain.shards.index import read_manifest
from pretrain.shards.tar import write_atomically
from pretrain.synthesis.blind import Choice
from pretrain.synthesis.rewrite import Written
from pretrain.synthesis.run import Options, synthesize
from pretrain.weighting.make import WeightSettings, make_weights
from vlm.asking import JsonAsker

log = logging.getLogger(__name__)
OnStep = Callable[[str, int, int | None], None]
Answer = TypeVar("Answer", bound=BaseModel)


@dataclass(frozen=True)
class Where:
    """Where a run happens; none of it changes the result.

    Attributes:
        workers: processes at a time.
        ray: address of a Ray cluster, ``local`` for one of this machine, None for processes of this machine.
        overwrite: begin the shards anew where others lie.
        salt: keeps hashed patient and study ids from being guessed.
        bench_salt: that the benchmark manifests were made with.
        api_key: of the servers of models; never written.
    """

    workers: int = 1
    ray: str | None = None
    overwrite: bool = False
    salt: str = ""
    bench_salt: str = ""
    api_key: str | None = None


@dataclass
class EngineReport:
    """What became of the records, stage by stage; ``beside`` are the files and folders made of the shards."""

    stages: dict[str, Counts] = field(default_factory=dict)
    splits: list[ImportReport] = field(default_factory=list)
    beside: dict[str, Path] = field(default_factory=dict)
    card: Path | None = None


def run_engine(
    recipe: EngineRecipe, out: Path, where: Where = Where(), on_step: OnStep = lambda stage, done, total: None
) -> EngineReport:
    """Run all stages; a run that was interrupted goes on, a finished one does nothing.

    Args:
        recipe: what is done.
        out: folder of the run; shards lie in ``out/shards/<split>``.
        where: how it is run.
        on_step: called with (stage, records done, records in all or None).

    Raises:
        EngineError: another run works here, a stage dropped more than the recipe allows, or a part failed.
        MedVLMError: what sources, de-identification and shards raise.
    """
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise EngineError(f"another run works in {out}: wait for it, or choose another --out") from None
        return _Run(recipe, out, where, on_step).run()


class _Run:
    """The state of one run."""

    def __init__(self, recipe: EngineRecipe, out: Path, where: Where, on_step: OnStep):
        self.recipe, self.out, self.where, self.on_step = recipe, out, where, on_step
        self.work = out / "work"
        self.report = EngineReport()

    def run(self) -> EngineReport:
        write_atomically(self.out / "engine.yaml", self.recipe.to_yaml().encode())
        sources = self._sources()
        came = self._ingest(sources)
        known = self._fingerprint(self._align(self._refine(came)))
        selected = self._select(known, self._decide(known))
        self._write(selected, sources)
        more = {"sampling": self._weigh(), "synthesis": self._synthesize()}
        self.report.card = write_card(self.out, self.recipe, self.report.stages, self.report.splits, **more)
        return self.report

    def _sources(self) -> dict[str, Opened]:
        return {source_name(s): self._open(s) for s in self.recipe.sources}

    def _open(self, section: SourceSection) -> Opened:
        name = source_name(section)
        path = self._without_identities(section) if section.identity == "deidentify" else section.path
        simulated = section.identity == "simulated"
        source = open_source(
            path, section.format, section.map, reports=_path(section.reports), images=_path(section.images),
            config=section.config, group=section.group, licence=section.licence, name=name, salt=self.where.salt,
            simulated=simulated, passage=section.passage,
        )  # fmt: skip
        if source.simulated and not simulated:
            raise EngineError(f"{section.path} is the simulator's: say identity: simulated")
        return Opened(source, section.kind, simulated, source.licence)

    def _without_identities(self, section: SourceSection) -> str:
        """The source's folder without identities, in the work folder; refusals are counted there."""
        path, chosen = Path(section.path), self.recipe.deidentify
        assert chosen is not None, "the recipe checks it"
        folder = path if path.is_dir() else path.parent
        if not path.exists():
            raise EngineError(f"there is no file or folder {path} to de-identify")
        clean = self.work / "0-deidentified" / source_name(section)
        names = () if chosen.names is None else tuple(Path(chosen.names).read_text("utf-8-sig").splitlines())
        names = tuple(name.strip() for name in names if name.strip())
        request = Request(
            folder, clean, Path(chosen.key), chosen.profile(), self.where.workers, dict(chosen.columns), names
        )
        report = deidentify(
            request, on_step=lambda what, done, total: self.on_step(f"de-identify: {what}", done, total)
        )
        log.info(
            "%s: %s without identities, refused: %s", folder, sum(report.written.values()), report.refused or "none"
        )
        return str(clean if path.is_dir() else clean / path.name)

    def _ingest(self, sources: Mapping[str, Opened]) -> StageFolder:
        said = [section.model_dump(mode="json") for section in self.recipe.sources]
        prints = {name: opened.source.fingerprint() for name, opened in sources.items()}
        stamp = {"stage": "ingest", "sources": said, "fingerprints": prints, "part": self.recipe.part}
        folder = self._begin("1-ingest", stamp)
        if not folder.done:
            totals = [o.source.total(split) for o in sources.values() for split in o.source.splits()]
            total = None if None in totals else sum(t for t in totals if t is not None)
            done = 0

            def on_records(number: int) -> None:
                nonlocal done
                done += number
                self.on_step("ingest", done, total)

            ingest(folder, sources, self.recipe.part, on_records)
            folder.finish()
        return self._end(folder, "ingest")

    def _refine(self, came: StageFolder) -> StageFolder:
        tree = _path(self.recipe.tree)
        stamp = {
            "stage": "refine",
            "from": digest(came),
            "clean": self.recipe.clean.model_dump(mode="json"),
            "quality": _files_digest(self.recipe.clean.quality and Path(self.recipe.clean.quality.model)),
            "tree": tree and _files_digest(tree / ENTITIES),
            "images": self.recipe.shards.max_images,
        }
        folder = self._begin("2-refine", stamp)
        task = RefineTask(came, folder, self.recipe.clean, tree, self.recipe.shards.max_images)
        return self._parts(task, came, folder, "refine")

    def _align(self, came: StageFolder) -> StageFolder:
        """Nothing where the recipe does not ask for it."""
        chosen, tree = self.recipe.align, _path(self.recipe.tree)
        if chosen is None:
            return came
        said = chosen.model_dump(mode="json", exclude={"judge": {"url"}})  # a server may move
        folder = self._begin(
            "3-align",
            {"stage": "align", "from": digest(came), "align": said, "conversation": asdict(self._conversation())},
        )
        answers = self.work / "answers" / "align"
        task = AlignTask(came, folder, chosen, tree, self._conversation(), answers, self.where.api_key)
        return self._parts(task, came, folder, "align")

    def _conversation(self) -> Conversation:
        return Conversation(self.recipe.shards.conversation, self.recipe.shards.max_questions)

    def _fingerprint(self, came: StageFolder) -> StageFolder:
        folder = self._begin("4-fingerprint", {"stage": "fingerprint", "from": digest(came), **self._compared()})
        task = FingerprintTask(came, folder, *self._settings(), tuple(self.recipe.decontaminate), self.where.bench_salt)
        return self._parts(task, came, folder, "fingerprint")

    def _settings(self) -> tuple[TextSettings | None, ImageSettings | None]:
        dedup = self.recipe.dedup
        if dedup is None:
            return None, None
        texts = None if dedup.text is None else TextSettings(threshold=dedup.text)
        return texts, ImageSettings() if dedup.images else None

    def _compared(self) -> dict[str, Any]:
        texts, pictures = self._settings()
        return {
            "texts": texts and texts.record(),
            "pictures": pictures and pictures.record(),
            "manifests": [_files_digest(Path(path)) for path in self.recipe.decontaminate],
        }

    def _decide(self, came: StageFolder) -> StageFolder:
        folder = self._begin("5-decide", {"stage": "decide", "from": digest(came)})
        if not folder.done:
            manifests = tuple(self.recipe.decontaminate)
            decider = Decider(came, folder, *self._settings(), manifests, self.where.bench_salt, self.where.workers)
            folder.finish(notes=decider.decide(self.on_step))
        self.report.stages["fingerprint"].notes.update(folder.finished()["notes"])
        return folder

    def _select(self, came: StageFolder, decided: StageFolder) -> StageFolder:
        stamp = {"stage": "select", "from": digest(came), "split": self.recipe.split}
        folder = self._begin("6-select", stamp)
        if not folder.done:
            refused, clusters = decisions_of(decided.path)
            joined, own = cluster_splits(light_tables(came), clusters)
            selection = Selection(refused, clusters, joined, own, self.recipe.split)
            total, done = came.total().kept, 0
            for name in came.parts():
                done += (folder.counts(name) if folder.has(name) else selection.part(came, folder, name)).came
                self.on_step("select", done, total)
            folder.finish()
        return self._end(folder, "select")

    def _write(self, selected: StageFolder, sources: Mapping[str, Opened]) -> None:
        shards, notes = self.recipe.shards, selected.total().notes
        order = {"train": 0, "val": 1, "test": 2}
        splits = sorted(
            (n.removeprefix("split ") for n in notes if n.startswith("split ")), key=lambda s: (order.get(s, 3), s)
        )
        records = SelectedRecords(
            selected,
            self.recipe.name,
            {name: opened.licence for name, opened in sources.items()},
            {name: opened.simulated for name, opened in sources.items()},
            splits,
        )
        options = ImportOptions(
            conversation=self._conversation(),
            max_images=shards.max_images,
            max_bytes=shards.megabytes << 20,
            max_samples=shards.samples,
            max_drop=self.recipe.max_drop,
            workers=self.where.workers,
            overwrite=self.where.overwrite,
        )
        self.report.splits = import_source(
            records,
            self.out / "shards",
            options,
            on_record=lambda split, done, total: self.on_step(f"shards: {split}", done, total),
        )

    def _weigh(self) -> dict[str, Any]:
        """Weights of the first split; what the card says of them, {} where no sample names an entity."""
        chosen, first = self.recipe.weights, self.report.splits[0]
        if chosen is None or not read_manifest(first.folder)["entities"]:
            return {}
        settings = WeightSettings(exponent=chosen.exponent, cap=chosen.cap, floor=chosen.floor)
        path = self.out / "weights" / f"{first.split}.parquet"
        path.parent.mkdir(exist_ok=True)
        made = make_weights(first.folder, path, settings)
        self.report.beside[f"weights of {first.split}"] = path
        return {
            "split": first.split,
            **chosen.model_dump(),
            "buckets": [asdict(bucket) for bucket in made.buckets],
            "often repeated": len(made.repeated),
        }

    def _synthesize(self) -> dict[str, Any]:
        """Captions and questions about the first split; what the card says of them."""
        chosen, first = self.recipe.synthesis, self.report.splits[0]
        if chosen is None or self.recipe.tree is None:
            return {}
        folder = self.out / "synthesis" / first.split
        options = Options(chosen.kinds, chosen.options, chosen.most, chosen.captions, chosen.background, chosen.seed)
        self.on_step("synthesis", 0, None)
        made = synthesize(
            first.folder, Tree(self.recipe.tree), folder, options,
            writer=self._asker(chosen.write, Written), blind=self._asker(chosen.blind, Choice),
        )  # fmt: skip
        self.on_step("synthesis", made.samples, made.samples)
        self.report.beside[f"captions and questions about {first.split}"] = folder
        left_out = dict(sorted(made.refused.items()))
        return {"split": first.split, "samples": made.samples, **made.summary, "left out": left_out}

    def _asker(self, chosen: ModelSection | None, answer: type[Answer]) -> JsonAsker[Answer] | None:
        if chosen is None:
            return None
        answers = self.work / "answers" / "synthesis"
        return JsonAsker(chosen.url, answer, model=chosen.model, api_key=self.where.api_key, cache=answers)

    def _begin(self, name: str, stamp: Mapping[str, Any]) -> StageFolder:
        folder = StageFolder(self.work / name, stamp)
        if folder.begin():
            log.debug("%s: going on after %d parts", folder.path, len(folder.parts()))
        return folder

    def _parts(self, task: PartTask, came: StageFolder, folder: StageFolder, stage: str) -> StageFolder:
        """Do what is left of a stage, part by part."""
        if not folder.done:
            total = came.total().kept
            left = [name for name in came.parts() if not folder.has(name)]
            done = total - sum(came.counts(name).kept for name in left)
            self.on_step(stage, done, total)
            for _, result in run_parts(task, left, workers=self.where.workers, ray=self.where.ray):
                done += result["came"]
                self.on_step(stage, done, total)
            folder.finish()
        return self._end(folder, stage)

    def _end(self, folder: StageFolder, stage: str) -> StageFolder:
        """Count a finished stage, and stop where it lost too much."""
        counts = self.report.stages[stage] = folder.total()
        lost = counts.dropped.total()
        if lost > self.recipe.max_drop * counts.came:
            reasons = ", ".join(f"{reason}: {n}" for reason, n in counts.dropped.most_common())
            raise EngineError(
                f"the stage {stage} dropped {lost} of {counts.came} records ({reasons}), more than max_drop "
                f"{self.recipe.max_drop:g} allows. {folder.path} lists them in *.dropped.parquet; correct the data or "
                "the rules, or raise max_drop and run again"
            )
        if not counts.kept:
            raise EngineError(f"the stage {stage} left no record of {counts.came}")
        return folder


def digest(folder: StageFolder) -> str:
    """What a later stage depends on: settings and sources of every stage up to this one."""
    return hashlib.sha256(json.dumps(folder.stamp, sort_keys=True).encode()).hexdigest()[:24]


def _files_digest(path: Path | None) -> str | None:
    """Hash of a file, or of all files of a folder with their names."""
    if path is None:
        return None
    if not path.exists():
        raise EngineError(f"there is no {path}, which the recipe names")
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    sha = hashlib.sha256()
    for file in files:
        sha.update(file.name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return sha.hexdigest()[:24]


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)
