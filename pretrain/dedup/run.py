"""Deduplicate a table of samples, or a folder of images: signatures, duplicates, the cross-modal decision, outputs."""

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pretrain.dedup import image_run, text_run
from pretrain.dedup.cross_modal import Decision, ImageRow, Resolution, SampleRow, Texts, resolve
from pretrain.dedup.errors import DedupError
from pretrain.dedup.image import Encode, ImageSettings
from pretrain.dedup.image_parts import sign_images
from pretrain.dedup.rows import SUFFIXES, read_rows, write_kept
from pretrain.dedup.sheet import write_sheet
from pretrain.dedup.store import write_parquet
from pretrain.dedup.text import TextSettings, text_signatures
from pretrain.dedup.text_parts import sign_texts
from pretrain.dedup.words import normalise

log = logging.getLogger(__name__)

_TEXT_CHUNK = 10_000
_NOT_IMAGES = frozenset(SUFFIXES) | {".json", ".txt", ".md", ".html", ".yaml", ".yml", ".log"}


@dataclass(frozen=True)
class Request:
    """What to deduplicate.

    Attributes:
        source: a table, or a folder of images.
        out: folder for decisions, what is kept, the summary and the page of pairs.
        text, image, key, patient: columns; image cells hold paths, several with ";" between, or lists of them.
        images: folder that image paths are relative to; default the table's.
        encode, encoder: an embedding for more candidates, and its name.
    """

    source: Path
    out: Path
    text: str | None = None
    image: str | None = None
    key: str | None = None
    patient: str | None = None
    images: Path | None = None
    texts: TextSettings = field(default_factory=TextSettings)
    pictures: ImageSettings = field(default_factory=ImageSettings)
    encode: Encode | None = None
    encoder: str = ""
    workers: int = 1


@dataclass(frozen=True)
class Report:
    """What was decided: samples by reason, images and texts by relation, image files that could not be read by code."""

    samples: dict[str, int]
    images: dict[str, int]
    texts: dict[str, int]
    refused: dict[str, int]
    kept: int
    total: int
    pairs_shown: int


@dataclass
class _Sample:
    """A row on its way: its text is read again where it is needed."""

    row: SampleRow
    number: int
    has_text: bool


OnStep = Callable[[str, int, int | None], None]


def dedup(request: Request, on_step: OnStep = lambda what, done, total: None) -> Report:
    """Run all steps; a killed run goes on when it is started again with the same request.

    Raises:
        DedupError: no such table, folder or column, keys that are not unique.
    """
    folder = request.source.is_dir()
    if not folder and not request.source.is_file():
        raise DedupError(f"there is no table and no folder {request.source}")
    if not folder and not (request.text or request.image):
        raise DedupError("say which column holds the text (--text), the images (--image), or both")
    if request.out.resolve() == request.source.resolve() or request.out.resolve() in request.source.resolve().parents:
        raise DedupError(f"{request.out} holds the source: choose another --out")
    request.out.mkdir(parents=True, exist_ok=True)
    work = request.out / "work"
    samples = _files(request) if folder else _table(request)
    files = _image_files(request, samples, folder)
    decided, images, refused = _images(request, files, work, on_step)
    keepers, texts = _texts(request, samples, work, on_step)
    relate = _Relate(request, samples, images)
    resolution = resolve([s.row for s in samples], images, relate, keepers)
    _write(request, samples, resolution)
    shown = 0
    if decided is not None:
        shown = write_sheet(decided.with_name(image_run.PAIRS), work / "image_signatures", request.out / "pairs.html")
    report = Report(
        samples=resolution.counts(),
        images=image_run.summary(decided) if decided is not None else {},
        texts=texts,
        refused=dict(sorted(Counter(refused.values()).items())),
        kept=sum(d.kept for d in resolution.decisions),
        total=len(samples),
        pairs_shown=shown,
    )
    said = {"samples": report.samples, "images": report.images, "texts": report.texts, "refused images": report.refused}
    settings = {"text": request.texts.record(), "image": request.pictures.record(), "encoder": request.encoder}
    (request.out / "summary.json").write_text(
        json.dumps({**said, "refused files": refused, "settings": settings}, indent=1, sort_keys=True) + "\n", "utf-8"
    )
    return report


def _files(request: Request) -> list[_Sample]:
    """A folder: every file that is not plainly something else is an image and a sample."""
    out = request.out.resolve()
    samples = []
    for path in sorted(request.source.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(request.source).parts)
        if (
            path.is_file()
            and not hidden
            and path.suffix.lower() not in _NOT_IMAGES
            and out not in path.resolve().parents
        ):
            key = path.relative_to(request.source).as_posix()
            samples.append(_Sample(SampleRow(key, (key,)), len(samples), False))
    if not samples:
        raise DedupError(f"{request.source} holds no images")
    return samples


def _table(request: Request) -> list[_Sample]:
    samples = []
    for number, row in enumerate(read_rows(request.source)):
        if number == 0:
            _need(request, row)
        text = normalise(str(row.get(request.text) or "")) if request.text else ""
        key = str(row[request.key]) if request.key else f"row-{number + 1:08d}"
        filled = sum(value not in (None, "", [], {}) for value in row.values())
        patient = str(row.get(request.patient) or "") if request.patient else ""
        made = SampleRow(key, _cell(row.get(request.image), key) if request.image else (), patient, len(text), filled)
        samples.append(_Sample(made, number, bool(text)))
    if not samples:
        raise DedupError(f"{request.source} holds no rows")
    return samples


def _need(request: Request, row: Mapping[str, Any]) -> None:
    import difflib

    for column in (request.text, request.image, request.key, request.patient):
        if column and column not in row:
            near = difflib.get_close_matches(column, row, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(row)}"
            raise DedupError(f"{request.source} has no column {column!r}: {hint}")


def _cell(value: Any, key: str) -> tuple[str, ...]:
    """Paths of a cell."""
    if value is None or value == "":
        return ()
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(";") if part.strip())
    if isinstance(value, Sequence) and all(isinstance(v, str) for v in value):
        return tuple(value)
    raise DedupError(f"the image column of {key!r} holds {type(value).__name__}: give paths of files")


def _image_files(request: Request, samples: list[_Sample], folder: bool) -> list[tuple[str, Path]]:
    base = request.source if folder else request.images or request.source.parent
    return [(key, base / key) for key in sorted({i for s in samples for i in s.row.images})]


def _images(
    request: Request, files: list[tuple[str, Path]], work: Path, on_step: OnStep
) -> tuple[Path | None, dict[str, ImageRow], dict[str, str]]:
    """The image decisions, what they say of each image, and the codes of files that could not be read."""
    if not files:
        return None, {}, {}
    done = 0

    def read(rows: int) -> None:
        nonlocal done
        done += rows
        on_step("read images", done, len(files))

    refused = sign_images(
        files, work / "image_signatures", request.pictures, encode=request.encode, encoder=request.encoder,
        workers=request.workers, progress=read,
    )  # fmt: skip
    if len(refused) == len(files):
        codes = ", ".join(f"{n} {code}" for code, n in sorted(Counter(refused.values()).items()))
        raise DedupError(f"none of the {len(files)} images can be read ({codes})")
    decided = image_run.image_duplicates(
        work / "image_signatures", work / "images", request.pictures, workers=request.workers,
        progress=lambda step, done, total: on_step(f"images: {step}", done, total),
    )  # fmt: skip
    table = pq.read_table(decided, columns=["key", "cluster", "group"]).to_pylist()
    return decided, {row["key"]: ImageRow(row["cluster"], row["group"]) for row in table}, refused


def _texts(
    request: Request, samples: list[_Sample], work: Path, on_step: OnStep
) -> tuple[dict[str, tuple[str, Texts]], dict[str, int]]:
    """Keepers of the samples that are text only."""
    alone = [s for s in samples if not s.row.images and s.has_text]
    if not alone or request.text is None:
        return {}, {}
    done = 0

    def signed(rows: int) -> None:
        nonlocal done
        done += rows
        on_step("texts: signatures", done, len(alone))

    sign_texts(
        _text_chunks(request, {s.number: s.row for s in alone}), work / "text_signatures", request.texts,
        workers=request.workers, progress=signed,
    )  # fmt: skip
    decided = text_run.text_duplicates(
        work / "text_signatures",
        work / "texts",
        request.texts,
        progress=lambda step: on_step(f"texts: {step}", 0, None),
    )
    relation = {"exact": Texts.same, "near": Texts.near}
    rows = pq.read_table(decided, columns=["key", "keeper", "relation"]).to_pylist()
    keepers = {r["key"]: (r["keeper"], relation.get(r["relation"], Texts.different)) for r in rows}
    return keepers, text_run.summary(decided)


def _text_chunks(request: Request, wanted: Mapping[int, SampleRow]) -> Iterator[pa.Table]:
    """Rows for signatures; ``order`` prefers the longer text, then the one with more provenance."""
    assert request.text is not None
    rows: list[tuple[str, str, int]] = []
    for number, row in enumerate(read_rows(request.source)):
        if number in wanted:
            sample = wanted[number]
            rows.append((sample.key, str(row[request.text]), -(sample.length * 1000 + min(sample.provenance, 999))))
        if len(rows) == _TEXT_CHUNK:
            yield _chunk(rows)
            rows = []
    if rows:
        yield _chunk(rows)


def _chunk(rows: list[tuple[str, str, int]]) -> pa.Table:
    keys, texts, order = zip(*rows, strict=True)
    return pa.table(
        {"key": pa.array(keys, pa.string()), "text": pa.array(texts, pa.string()), "order": pa.array(order)}
    )


class _Relate:
    """How the texts of two samples with the same images relate; only the texts of such samples are held."""

    def __init__(self, request: Request, samples: list[_Sample], images: Mapping[str, ImageRow]):
        self.settings = request.texts
        self.texts: dict[str, str] = {}
        self.made: dict[str, pa.Table] = {}
        if request.text is None:
            return
        sets = [frozenset(images[i].cluster if i in images else i for i in s.row.images) for s in samples]
        count = Counter(sets)
        wanted = {s.number: s.row.key for s, of in zip(samples, sets, strict=True) if of and count[of] > 1}
        for number, row in enumerate(read_rows(request.source) if wanted else ()):
            if number in wanted:
                self.texts[wanted[number]] = str(row[request.text] or "")

    def __call__(self, a: str, b: str) -> Texts:
        first, second = self.texts.get(a, ""), self.texts.get(b, "")
        if normalise(first) == normalise(second):
            return Texts.same
        if not normalise(first) or not normalise(second):
            return Texts.different
        return text_relation(first, second, self.settings)


def text_relation(a: str, b: str, settings: TextSettings) -> Texts:
    """How two texts relate, by the same rule that :func:`pretrain.dedup.text_run.text_duplicates` applies."""
    from pretrain.dedup.kernels import jaccard
    from pretrain.dedup.store import matrix

    made = text_signatures([a, b], settings)
    if made["exact"][0] == made["exact"][1]:
        return Texts.same
    facts = matrix(made["facts"])
    if settings.guard and (facts[0] != facts[1]).any():
        return Texts.different
    shingles = made["shingles"].chunk(0)
    similar = jaccard(np.asarray(shingles.flatten()), np.asarray(shingles.offsets), 0, 1)
    return Texts.near if similar >= settings.threshold - 1e-12 else Texts.different


def _write(request: Request, samples: list[_Sample], resolution: Resolution) -> None:
    decided: dict[str, Decision] = {d.key: d for d in resolution.decisions}
    rows = [decided[s.row.key] for s in samples]
    write_parquet(
        pa.table(
            {
                "key": pa.array([d.key for d in rows], pa.string()),
                "kept": pa.array([d.kept for d in rows], pa.bool_()),
                "reason": pa.array([str(d.reason) for d in rows], pa.string()),
                "keeper": pa.array([d.keeper for d in rows], pa.string()),
                "cluster": pa.array([d.cluster for d in rows], pa.string()),
            }
        ),
        request.out / "decisions.parquet",
    )
    if request.source.is_dir():
        kept = "".join(f"{d.key}\n" for d in rows if d.kept)
        (request.out / "kept.txt").write_text(kept, encoding="utf-8")
    else:
        write_kept(request.source, request.out / f"kept{request.source.suffix.lower()}", lambda n: rows[n].kept)
    lines = (
        json.dumps({"image": c.image, "patients": c.patients, "samples": c.samples}, ensure_ascii=False)
        for c in resolution.conflicts
    )
    (request.out / "conflicts.jsonl").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
