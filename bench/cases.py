"""Example cases of a report: what was shown, asked, true and answered in every arm, the truth drawn on the film."""

import base64
import io
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from bench.errors import DataError
from bench.items import GENERAL, Item, ItemSet, Picture, read_simulated
from bench.records import Run
from bench.resampling import Record, group
from bench.summary import FLOOR_ARM
from bench.tables import finding_name
from vlm.errors import MedVLMError
from vlm.imaging import read_image

log = logging.getLogger(__name__)
THUMB_SIDE = 320
SHORT_NAMES = {"real": "real", "blank": "blank", "shuffled": "other patient", "text": "no image", FLOOR_ARM: "majority"}


@dataclass(frozen=True)
class Box:
    """A truth box in image pixels, with the finding it shows."""

    name: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Film:
    """An image in the page: data URL, size in pixels of the original grid, truth boxes."""

    url: str
    columns: int
    rows: int
    boxes: tuple[Box, ...]
    caption: str


@dataclass(frozen=True)
class Said:
    """One arm's answer."""

    arm: str
    css: str
    text: str
    verdict: str  # right, wrong, or the outcome
    note: str


@dataclass(frozen=True)
class Case:
    """One example."""

    finding: str
    right: bool
    kind: str
    question: str
    truth: str
    films: tuple[Film, ...]
    answers: tuple[Said, ...]


def jpeg_url(pixels: Any, quality: int = 82) -> str:
    """Data URL of an 8-bit picture as JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def boxes_for(truth: dict[str, Any], picture: Picture, finding: str) -> tuple[Box, ...]:
    """Boxes that belong to a question: of its finding, of both sides of it (`effusion_side`), or of all findings."""
    views = truth.get("views") or []
    known: dict[str, Any] = views[picture.index].get("boxes", {}) if picture.index < len(views) else {}
    base = finding.rsplit("_", 1)[0]
    if finding == GENERAL:
        chosen = list(known)
    elif finding in known or finding in truth.get("findings", {}):
        chosen = [name for name in known if name == finding]
    else:
        chosen = [name for name in known if name == base or name.startswith(base + "_")]
    corners = [(name, known[name]) for name in chosen]
    return tuple(Box(finding_name(name), x0, y0, x1 - x0, y1 - y0) for name, (x0, y0, x1, y1) in corners)


def film(picture: Picture, truth: dict[str, Any], finding: str) -> Film | None:
    """The picture for the page; None, with a log line, when the file cannot be read any more."""
    try:
        image = read_image(picture.path)
        pixels = image.render(size=THUMB_SIDE)
    except (MedVLMError, OSError) as error:
        log.warning("%s is not shown: %s", picture.path, error)
        return None
    rows, columns = image.pixels.shape[:2]
    return Film(jpeg_url(pixels), columns, rows, boxes_for(truth, picture, finding), f"{picture.view} view")


def _said(record: Record) -> Said:
    text = str(record.get("reply", record.get("value")) or "").strip() or "(empty)"
    if record["kind"] == "closed":
        right = "failed" if record["outcome"] == "failed" else "right" if record["correct"] else "wrong"
        verdict = right if record["outcome"] in ("answer", "failed") else record["outcome"]
    else:
        verdict = "right" if record.get("exact") else record["outcome"] if record["outcome"] != "answer" else "open"
    notes = []
    if record.get("probabilities") and "yes" in record["probabilities"]:
        notes.append(f"p(yes)\N{NO-BREAK SPACE}{record['probabilities']['yes']:.2f}")
    if record["kind"] == "open" and "f1" in record:
        notes.append(f"F1 {record['f1']:.2f}")
        notes += [
            f"{n} {'right' if record[n] else 'wrong'}"
            for n in ("size", "ratio", "side", "zone")
            if record[n] is not None
        ]
    css = "majority" if record["arm"] == FLOOR_ARM else record["arm"]
    return Said(SHORT_NAMES[record["arm"]], css, text[:300], verdict, ", ".join(notes))


def load_items(run: Run, data: Path | None = None) -> ItemSet | None:
    """The items of a run, for their images; None, with a log line, where the data is gone or has changed."""
    card = run.card["data"]
    folder = data or Path(card["folder"])
    try:
        items = read_simulated(folder, card["split"], studies=run.card["settings"]["studies"])
    except DataError as error:
        log.warning("no example cases: %s", error)
        return None
    if items.manifest_sha256 != card["manifest_sha256"]:
        log.warning("no example cases: %s has changed since the measurement", folder)
        return None
    return items


def pick_cases(records: Sequence[Record], items: ItemSet | None, *, run: int = 0, limit: int = 48) -> list[Case]:
    """For each finding one right and one wrong answer with the real image, and a few open questions.

    Cases are the first of their kind whose patient was not shown yet, so nobody chose them.
    """
    if items is None:
        return []
    own = [r for r in records if r["run"] == run]
    by_item: dict[str, list[Record]] = defaultdict(list)
    for record in own:
        by_item[record["item"]].append(record)
    asked = [r for r in own if r["arm"] == "real" and r["outcome"] != "failed"]
    closed = group([r for r in asked if r["kind"] == "closed"], lambda r: r["finding"])
    free = group([r for r in asked if r["kind"] == "open"], lambda r: r["finding"])
    pools = [[r for r in rows if r["correct"] is right] for rows in closed.values() for right in (True, False)]
    shown: set[str] = set()
    chosen = [_fresh(pool, shown) for pool in pools if pool][: limit - 4]
    chosen += [_fresh(rows, shown) for rows in free.values()][:4]
    known = {item.key: item for item in items.items}
    return [_case(record, known[record["item"]], by_item[record["item"]], items) for record in chosen]


def _fresh(pool: Sequence[Record], shown: set[str]) -> Record:
    """The first record of a patient that no case has shown yet, else the first."""
    record = next((r for r in pool if r["patient"] not in shown), pool[0])
    shown.add(record["patient"])
    return record


def _case(record: Record, item: Item, all_arms: Sequence[Record], items: ItemSet) -> Case:
    truth = items.truth.get(item.study, {})
    films = [film(picture, truth, item.finding) for picture in item.images]
    order = ["real", "blank", "shuffled", "text", FLOOR_ARM]
    answers = sorted(all_arms, key=lambda r: order.index(r["arm"]))
    return Case(
        finding=finding_name(item.finding),
        right=bool(record.get("correct", record.get("exact"))),
        kind=item.kind,
        question=item.question,
        truth=item.answer,
        films=tuple(f for f in films if f is not None),
        answers=tuple(_said(r) for r in answers),
    )
