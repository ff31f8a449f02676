"""The report of one or several runs: report.html (one file, nothing loaded from elsewhere), report.md, results.csv."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from bench import plots, tables
from bench.cases import Case, load_items, pick_cases
from bench.errors import RunError
from bench.journal import write_whole
from bench.records import Run, read_run
from bench.statistics import Interval
from bench.summary import FLOOR_ARM, Summary, arm_order, compare, summarise
from bench.tables import NAMES, finding_name, number

SIMULATED_BANNER = "Simulated radiographs; not for diagnosis"
OTHER_BANNER = "Research measurement; not for diagnosis"
_FAILED_SHARE = 0.02  # above this the failures are said in red
_FEW_PATIENTS = 30


@dataclass(frozen=True)
class Section:
    """A part that the caller adds to the page. `html` goes in as it is: build it from trusted parts only."""

    title: str
    html: str


def load_summaries(runs: Sequence[Path]) -> list[Summary]:
    """Summaries by label, in the order in which labels first appear; runs of one label are its seeds.

    Raises:
        RunError: a folder is unfinished, given twice, or of other arms than its namesakes.
    """
    if not runs:
        raise RunError("give at least one finished run folder")
    doubled = {path.resolve() for path in runs}
    if len(doubled) != len(runs):
        raise RunError("a run folder is given twice; every seed counts once")
    groups: dict[str, list[Run]] = {}
    for path in runs:
        run = read_run(path)
        groups.setdefault(run.label, []).append(run)
    return [summarise(group) for group in groups.values()]


def write_report(
    runs: Sequence[Path],
    out: Path,
    *,
    data: Path | None = None,
    title: str = "First measurement",
    extra_sections: Sequence[Section] = (),
    max_cases: int = 48,
) -> tuple[Path, Path, Path]:
    """Write report.html, report.md and results.csv.

    Args:
        runs: finished run folders; several with one label are seeds of one model.
        out: folder to write to; made if needed.
        data: the data folder, if it has moved since the measurement.
        title: of the page.
        extra_sections: shown before the method.
        max_cases: example cases of each model; the page folds those after the twelfth.

    Returns:
        The three paths.

    Raises:
        RunError: see `load_summaries`.
    """
    summaries = load_summaries(runs)
    comparisons = compare(summaries)
    out.mkdir(parents=True, exist_ok=True)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    all_runs = [run for summary in summaries for run in summary.runs]
    simulated = all(run.card["data"]["simulated"] for run in all_runs)
    page = environment.get_template("report.html.jinja").render(
        title=title,
        banner=SIMULATED_BANNER if simulated else OTHER_BANNER,
        subtitle=_subtitle(summaries),
        models=[_model(summary, data, max_cases) for summary in summaries],
        comparison_head=tables.COMPARISON_HEAD,
        comparisons=tables.comparison_rows(comparisons),
        extra_sections=extra_sections,
        method=_method(summaries[0]),
        cards=[_card(run) for run in all_runs],
    )
    paths = out / "report.html", out / "report.md", out / "results.csv"
    for path, text in zip(
        paths, (page, tables.markdown(summaries, comparisons), tables.csv_text(summaries)), strict=True
    ):
        write_whole(path, text)
    return paths


def _subtitle(summaries: Sequence[Summary]) -> str:
    first = summaries[0]
    data = first.runs[0].card["data"]
    models = f"{len(summaries)} models" if len(summaries) > 1 else first.label
    seeds = f", {len(first.runs)} seeds" if len(first.runs) > 1 else ""
    kind = "simulated patients" if data["simulated"] else "patients"
    source = f"({data['name']}, {data['split']})"
    return f"{models}{seeds}: {first.items} questions about {first.patients} held-out {kind} {source}"


def _model(summary: Summary, data: Path | None, max_cases: int) -> dict[str, Any]:
    verdicts = []
    for word in ("Learnt", "Not learnt", "Cannot be said"):
        names = [finding_name(r.name) for r in summary.findings if tables.verdict(r) == word.lower()]
        if names:
            verdicts.append((word, ", ".join(names)))
    calibration = None
    if summary.calibration:
        c = summary.calibration
        words = f"ECE {number(c.ece)}, Brier {number(c.brier)}, AUROC {number(c.auroc)} over {c.n} yes-no answers."
        calibration = {"plot": plots.calibration(summary.label, c), "text": words}
    return {
        "label": summary.label,
        "tiles": _tiles(summary),
        "verdicts": verdicts,
        "remarks": _remarks(summary),
        "forest": plots.forest(summary),
        "calibration": calibration,
        "finding_head": tables.finding_head(summary),
        "finding_rows": tables.finding_rows(summary),
        "left_out": ", ".join(finding_name(name) for name in summary.left_out),
        "arm_head": tables.ARM_HEAD,
        "arm_rows": tables.arm_rows(summary),
        "open_head": tables.OPEN_HEAD,
        "open_rows": tables.open_rows(summary),
        "seed_head": tables.seed_head(summary),
        "seed_rows": tables.seed_rows(summary),
        "cases": _cases(summary, data, max_cases),
    }


def _cases(summary: Summary, data: Path | None, limit: int) -> list[Case]:
    return pick_cases(summary.records, load_items(summary.runs[0], data), limit=limit) if limit else []


def _tiles(summary: Summary) -> list[dict[str, str]]:
    def limits(interval: Interval) -> str:
        low, high = number(interval.low), number(interval.high)
        return "" if low == high else f"{low} to {high}"

    tiles = []
    for arm in arm_order(summary):
        score = summary.overall[arm].by_finding
        more = limits(score)
        if arm == "real" and len(summary.runs) > 1:
            more += f"; seeds {number(summary.range_[0])} to {number(summary.range_[1])}"
        colour = "majority" if arm == FLOOR_ARM else arm
        label = f"Balanced accuracy, {NAMES[arm]}" if arm == "real" else NAMES[arm].capitalize()
        tiles.append({"label": label, "value": number(score.value), "range": more, "colour": colour})
    if "blank" in summary.gains:
        gain = summary.gains["blank"]
        tiles.append({"label": "Gain over blank", "value": number(gain.value), "range": limits(gain), "colour": "real"})
    real = summary.overall.get("real")
    if real is not None:
        unread = sum(n for o, n in real.outcomes.items() if o not in ("answer", "failed"))
        share = f"{100 * unread / max(1, real.n):.1f} %"
        tiles.append(
            {"label": "Not read as an answer", "value": share, "range": f"{unread} of {real.n}", "colour": "line"}
        )
    return tiles


def _remarks(summary: Summary) -> list[dict[str, Any]]:
    remarks: list[dict[str, Any]] = []
    gap = tables.blank_gap(summary)
    if not math.isnan(gap):
        near = abs(gap) <= tables.CLOSE_TO_FLOOR
        text = (
            f"The blank-image arm lies {number(100 * abs(gap), 1)} points {'above' if gap >= 0 else 'below'} the floor"
        )
        text += ", as it should: without the image there is nothing to know." if near else ": more than 5 points away."
        remarks.append({"text": text, "warn": not near})
    failed = sum(o.outcomes["failed"] for arm, o in summary.overall.items() if arm != FLOOR_ARM)
    if failed:
        n = sum(o.n for arm, o in summary.overall.items() if arm != FLOOR_ARM)
        text = f"{failed} of {n} closed questions got no reply and are not scored; the bands below hold them."
        remarks.append({"text": text, "warn": failed > _FAILED_SHARE * n})
    if summary.patients < _FEW_PATIENTS:
        text = f"Only {summary.patients} patients: intervals are rough, and most findings cannot be judged."
        remarks.append({"text": text, "warn": True})
    return remarks


def _method(summary: Summary) -> str:
    return (
        "Every question goes to the served model as a conversation with the image, in several arms: the real image,"
        " uniform grey of the same size, and the image of another patient in the same view. Scores are balanced over"
        " the true classes of each finding, then averaged over findings. Intervals are 95 %, with the patient as the"
        " cluster: bootstrap over patients for means over findings and for differences, Wilson at the effective sample"
        " size for shares. Replies are read by rules that never guess. Majority answers come from the"
        f" {summary.floor_source}. Seeds of one model are pooled by patient."
    )


def _card(run: Run) -> dict[str, Any]:
    card, data, settings = run.card, run.card["data"], run.card["settings"]
    sampling = settings["sampling"]
    merged = f"; views put together for it: {', '.join(card['merged_views'])}" if card.get("merged_views") else ""
    rows = [
        ("model", card["model"]),
        ("weights, SHA-256", card["weights_sha256"] or "not given"),
        ("training seed", "not given" if card["model_seed"] is None else card["model_seed"]),
        ("server", card["url"]),
        ("data", f"{data['name']}, {data['split']}: {data['items']} questions, {data['patients']} patients"),
        ("manifest, SHA-256", data["manifest_sha256"]),
        ("licence", data["licence"]),
        ("arms", ", ".join(settings["arms"]) + f"; shuffle seed {settings['shuffle_seed']}{merged}"),
        ("images sent as", settings["image_format"] + _side(settings["longest_side"])),
        ("instruction", settings["instruction"] or "none: the question alone"),
        ("sampling", ", ".join(f"{key} {value}" for key, value in sampling.items())),
        ("parser, scorer", f"{card['parser']}, {card['scorer']}"),
        ("requests, failures", f"{card['counts']['requests']} sent, {card['counts']['failed']} without a reply"),
        (
            "time",
            f"{card['started']} to {card['finished']}, {card['wall_s']:.0f} s of asking since it was last taken up",
        ),
        ("software", ", ".join(f"{name} {version}" for name, version in card["software"].items())),
        ("machine", ", ".join(f"{value} {name}" for name, value in card["machine"].items())),
    ]
    return {"name": f"Run card: {run.folder.name} ({run.label})", "rows": rows, "command": card["command"]}


def _side(longest: int | None) -> str:
    return f", longest side {longest}" if longest else ""
