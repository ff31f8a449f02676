"""The fourth stage: records against each other and against benchmarks, all at once; it decides and moves nothing."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from pretrain.decontamination.judge import judge
from pretrain.decontamination.manifest import Manifest
from pretrain.decontamination.match import Matcher
from pretrain.decontamination.scan import from_bytes
from pretrain.dedup.cross_modal import ImageRow, Resolution, SampleRow, Texts, resolve
from pretrain.dedup.image import ImageSettings
from pretrain.dedup.image_run import image_duplicates
from pretrain.dedup.run import text_relation
from pretrain.dedup.text import TextSettings
from pretrain.dedup.text_run import text_duplicates
from pretrain.engine.fingerprint import IMAGES, MATCHES, TEXTS, image_key, preference
from pretrain.engine.folder import StageFolder
from pretrain.engine.select import KEYS
from pretrain.shards.tar import write_atomically

DECISIONS, CONFLICTS = "decisions.parquet", "conflicts.jsonl"
OnStep = Callable[[str, int, int | None], None]


@dataclass
class Decider:
    """Decides which records are duplicates or benchmark items.

    Attributes:
        came: fingerprints, finished.
        folder: of this stage, begun.
        texts, pictures: settings, None where texts or images are not compared.
        manifests: of benchmarks.
        salt: of the manifests.
        workers: processes that verify pairs of images.
    """

    came: StageFolder
    folder: StageFolder
    texts: TextSettings | None
    pictures: ImageSettings | None
    manifests: tuple[str, ...]
    salt: str
    workers: int

    def decide(self, on_step: OnStep) -> dict[str, int]:
        """Write ``decisions.parquet`` (key, reason to drop it or "", cluster); returns what was counted."""
        notes: Counter[str] = Counter()
        refused = self._benchmark_items(notes)
        clusters: dict[str, str] = {}
        if self.texts is not None or self.pictures is not None:
            images = self._images(on_step)
            resolution = self._resolve(images, self._text_keepers(on_step))
            for decision in resolution.decisions:
                clusters[decision.key] = decision.cluster
                if not decision.kept:
                    refused.setdefault(decision.key, f"duplicate: {decision.reason}")
            self._note_conflicts(resolution, notes)
            notes.update({f"samples {what}": n for what, n in resolution.counts().items()})
        self._write(refused, clusters)
        return dict(sorted(notes.items()))

    def _benchmark_items(self, notes: Counter[str]) -> dict[str, str]:
        if not self.manifests:
            return {}
        matcher = Matcher([Manifest.load(path) for path in self.manifests], self.salt)
        parts = [("engine", from_bytes((self.came.path / MATCHES / name).read_bytes())) for name in self.came.parts()]
        refused: dict[str, str] = {}
        for match in judge(matcher, parts).matches:
            if match.contamination:
                refused.setdefault(match.key, f"benchmark item ({match.benchmark}, {match.evidence})")
            else:
                notes["template shared with a benchmark, kept"] += 1
        return refused

    def _images(self, on_step: OnStep) -> dict[str, ImageRow]:
        if self.pictures is None or not self._rows(IMAGES):
            return {}
        path = image_duplicates(
            self.came.path / IMAGES,
            self.folder.path / IMAGES,
            self.pictures,
            workers=self.workers,
            progress=lambda step, done, total: on_step(f"images: {step}", done, total),
        )
        rows = pq.read_table(path, columns=["key", "cluster", "group"]).to_pylist()
        return {row["key"]: ImageRow(row["cluster"], row["group"]) for row in rows}

    def _text_keepers(self, on_step: OnStep) -> dict[str, tuple[str, Texts]]:
        if self.texts is None or not self._rows(TEXTS):
            return {}
        path = text_duplicates(
            self.came.path / TEXTS,
            self.folder.path / TEXTS,
            self.texts,
            progress=lambda step: on_step(f"texts: {step}", 0, None),
        )
        relation = {"exact": Texts.same, "near": Texts.near}
        rows = pq.read_table(path, columns=["key", "keeper", "relation"]).to_pylist()
        return {row["key"]: (row["keeper"], relation.get(row["relation"], Texts.different)) for row in rows}

    def _rows(self, folder: str) -> int:
        return sum(pq.read_metadata(p).num_rows for p in (self.came.path / folder).glob("*.parquet"))

    def _samples(self) -> Iterator[dict]:
        for name in self.came.parts():
            yield from pq.read_table(
                self.came.table(name), columns=["key", "patient", "study", "split", "text", "images"]
            ).to_pylist()

    def _resolve(self, images: dict[str, ImageRow], keepers: dict[str, tuple[str, Texts]]) -> Resolution:
        samples = [self._sample(row) for row in self._samples()]
        exposures = {s.key: frozenset(images[i].cluster if i in images else i for i in s.images) for s in samples}
        times = Counter(exposures.values())
        alike = {key for key, of in exposures.items() if of and times[of] > 1}
        texts = {row["key"]: row["text"] for row in self._samples() if row["key"] in alike} if alike else {}
        settings = self.texts or TextSettings(threshold=1.0)
        return resolve(samples, images, lambda a, b: text_relation(texts[a], texts[b], settings), keepers)

    def _sample(self, row: dict) -> SampleRow:
        shown = range(len(row["images"])) if self.pictures is not None else ()
        named = bool(row["patient"]) + bool(row["study"])
        return SampleRow(
            row["key"], tuple(image_key(row["key"], i) for i in shown), row["patient"], preference(row), named
        )

    def _note_conflicts(self, resolution: Resolution, notes: Counter[str]) -> None:
        lines = (
            json.dumps({"image": c.image, "patients": c.patients, "samples": c.samples}, ensure_ascii=False)
            for c in resolution.conflicts
        )
        write_atomically(self.folder.path / CONFLICTS, "".join(line + "\n" for line in lines).encode())
        if resolution.conflicts:
            notes["images under two patients (conflicts.jsonl)"] = len(resolution.conflicts)

    def _write(self, refused: dict[str, str], clusters: dict[str, str]) -> None:
        rows = [
            {"key": key, "reason": refused.get(key, ""), "cluster": clusters.get(key, "")}
            for key in sorted({*refused, *clusters})
        ]
        self.folder.put(self.folder.path / DECISIONS, rows, KEYS)


def decisions_of(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Reasons of refused keys, and clusters by key, of a finished stage."""
    table = pq.read_table(folder / DECISIONS)
    rows = list(zip(*(table.column(name).to_pylist() for name in KEYS.names), strict=True))
    return {key: reason for key, reason, _ in rows if reason}, {key: cluster for key, _, cluster in rows if cluster}
