"""``medvlm quickstart``: the whole road in one command, from DICOM files to a trained, measured, served model.

Every step leaves a small JSON file when it is done; the same command goes on with the first step that has none. The
long steps (simulation, import, training, measuring) also go on in their own middle.
"""

import base64
import csv
import html
import importlib.util
import io
import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from vlm.console import stages
from vlm.errors import MedVLMError

RECIPES = Path(__file__).resolve().parent / "recipes"
REAL_CHEST = "RG1_UNCR.dcm"
ASKED_OF_THE_REAL_FILM = (
    "Is the heart enlarged?",
    "Is there a right pleural effusion?",
    "Is this a frontal or a lateral view?",
)
# Declared before anything is measured: what a small tower can see at 160 x 160 pixels in three minutes of training,
# and nodules, which it can hardly see.
FINDINGS = (
    "cardiomegaly",
    "effusion_left",
    "effusion_right",
    "pneumothorax_left",
    "pneumothorax_right",
    "consolidation_left",
    "consolidation_right",
    "nodule",
    "pacemaker",
)
NOT_BELIEVED = "A model trained on simulated films is not to be believed about a real one."
console = Console()


class QuickstartError(MedVLMError):
    """The quickstart cannot start or go on."""


@dataclass(frozen=True)
class Settings:
    """What decides the result; a folder holds one set of them."""

    seed: int
    patients: int
    size: int
    held_out_studies: int


@dataclass(frozen=True)
class Road:
    """The folder and everything that lies in it."""

    folder: Path
    settings: Settings

    simulated = property(lambda self: self.folder / "simulated")
    shards = property(lambda self: self.folder / "shards")
    real_shards = property(lambda self: self.folder / "real-shards")
    gallery = property(lambda self: self.folder / "gallery")
    warmup = property(lambda self: self.folder / "warmup")
    instruct = property(lambda self: self.folder / "instruct")
    model = property(lambda self: self.instruct / "model")
    measured = property(lambda self: self.folder / "measured")
    report = property(lambda self: self.folder / "report")
    steps = property(lambda self: self.folder / "steps")


def quickstart(
    out: Path = typer.Option(Path("quickstart"), help="Folder for everything that is made."),
    seed: int = typer.Option(0, min=0, help="Of patients, weights and order."),
    patients: int = typer.Option(4000, min=60, help="Simulated patients; fewer is faster and learns less."),
    size: int = typer.Option(256, min=96, help="Longest side of a simulated film, pixels."),
    studies: int = typer.Option(120, min=4, help="Held-out studies to measure on (several questions each)."),
) -> None:
    """Go the whole road on simulated patients: simulate, import, train, serve, measure, ask, report.

    Meant for a quarter of an hour on two cores. Stop it at any time; the same command goes on where it was.

    Examples:

      medvlm quickstart

      medvlm quickstart --out runs/seed1 --seed 1

      medvlm quickstart --out small --patients 200 --studies 10     (a look at the road; learns little)
    """
    road = Road(out, Settings(seed, patients, size, studies))
    _claim(road)
    began = time.monotonic()
    for number, (name, title, step) in enumerate(STEPS, 1):
        _run_step(road, number, name, title, step)
    _last_words(road, time.monotonic() - began)


def _claim(road: Road) -> None:
    from vlm import doctor

    road.steps.mkdir(parents=True, exist_ok=True)
    held = road.folder / "settings.json"
    ours = vars(road.settings)
    if held.exists():
        theirs = json.loads(held.read_text())
        if theirs != ours:
            changed = ", ".join(f"{k} {theirs.get(k)} -> {v}" for k, v in ours.items() if theirs.get(k) != v)
            raise QuickstartError(
                f"{road.folder} holds a quickstart with other settings ({changed}): choose another --out"
            )
        return
    missing = [c for c in (check() for check in doctor.CHECKS) if c.state == "missing"]
    if missing:
        raise QuickstartError("; ".join(f"{c.name}: {c.found}; {c.advice}" for c in missing))
    _write_whole(held, json.dumps(ours))


def _run_step(road: Road, number: int, name: str, title: str, step: Callable[[Road], dict[str, Any]]) -> None:
    marker = road.steps / f"{name}.json"
    if marker.exists():
        seconds = json.loads(marker.read_text())["seconds"]
        console.print(f"[dim]{number}/{len(STEPS)} {title}: done before ({seconds:.0f} s)[/dim]")
        return
    console.rule(f"[bold]{number}/{len(STEPS)} {title}[/bold]", align="left")
    began = time.monotonic()
    facts = step(road)
    seconds = time.monotonic() - began
    _write_whole(marker, json.dumps({"title": title, "seconds": round(seconds, 1), "facts": facts}, indent=1))
    console.print(f"[green]done in {seconds:.0f} s[/green]")


def _write_whole(path: Path, text: str) -> None:
    half = path.with_name(path.name + ".part")
    half.write_text(text, encoding="utf-8")
    half.replace(path)


@contextmanager
def _bar(words: str) -> Iterator[Callable[[int, int | None], None]]:
    """A bar that is there from the start, and moves with each (done, of)."""
    with stages(console=console) as on_step:
        on_step(words, 0, None)
        yield lambda done, of: on_step(words, done, of)


# --- 1 simulate, 2 import -------------------------------------------------------------------------------------------


def simulate(road: Road) -> dict[str, Any]:
    """Films of simulated patients as DICOM, with reports, questions and the exact truth."""
    from pretrain.sources.chest import simulate as simulate_chests

    with _bar("simulating patients") as on_patients:
        made = simulate_chests(
            road.simulated,
            road.settings.patients,
            road.settings.seed,
            size=road.settings.size,
            findings=FINDINGS,
            progress=on_patients,
        )
    shares = ", ".join(f"{n} {split}" for split, n in made.patients.items())
    console.print(f"{made.images} simulated films of {road.settings.patients} patients ({shares}), as DICOM")
    return {"patients": made.patients, "images": made.images, "questions": made.questions}


def import_simulated(road: Road) -> dict[str, Any]:
    """DICOM to shards, at full bit depth."""
    from pretrain.importing import Conversation, ImportOptions, SimulatedFolder

    options = ImportOptions(conversation=Conversation(mode="report"), workers=_cores(), max_samples=500)
    return _import(SimulatedFolder(road.simulated), road.shards, options)


def import_real(road: Road) -> dict[str, Any]:
    """The real DICOM files of pydicom-data go the same way: imported, rendered, sharded, looked at."""
    from pretrain.importing import Conversation, DicomFolder, ImportOptions

    source = _real_folder()
    table = road.folder / "real.csv"
    listed, refused = _header_questions(source, table)
    # Most of these files are deliberately odd: everything may be refused here, and everything refused is counted.
    options = ImportOptions(conversation=Conversation(mode="questions"), workers=_cores(), max_drop=1.0, overwrite=True)
    folder = DicomFolder(source, reports=table, licence="as in pydicom-data", name="pydicom-data")
    facts = _import(folder, road.real_shards, options)
    for reason, n in refused.items():
        facts["dropped"][reason] = facts["dropped"].get(reason, 0) + n
    facts |= {"files": listed + sum(refused.values()), "gallery": _draw_gallery(road)}
    console.print(f"{facts['samples']} of {facts['files']} real DICOM files are in shards; {_said(facts['dropped'])}")
    return facts


def _real_folder() -> Path:
    spec = importlib.util.find_spec("data_store")
    places = list(spec.submodule_search_locations or []) if spec else []
    folder = Path(places[0]) / "data" if places else None
    if folder is None or not folder.is_dir():
        raise QuickstartError("the real DICOM files are missing: pip install pydicom-data==1.0.0")
    return folder


def _header_questions(folder: Path, table: Path) -> tuple[int, dict[str, int]]:
    """One question about each readable file that its header answers; returns files listed and refusals by reason."""
    from vlm.imaging import ImagingError, read_header

    rows: list[tuple[str, str, str]] = []
    refused: dict[str, int] = {}
    for path in sorted(folder.rglob("*.dcm")):
        try:
            header = read_header(path)
        except ImagingError as error:
            refused[type(error).__name__] = refused.get(type(error).__name__, 0) + 1
            continue
        answer = f"{header.modality or 'unstated'}, {header.columns} x {header.rows} pixels"
        rows.append((path.relative_to(folder).as_posix(), "Which modality is this image, and how large is it?", answer))
    text = io.StringIO()
    csv.writer(text).writerows([("image", "question", "answer"), *rows])
    _write_whole(table, text.getvalue())
    return len(rows), refused


def _import(source: Any, out: Path, options: Any) -> dict[str, Any]:
    from pretrain.importing import import_source

    with _bar("importing DICOM") as on_records:
        reports = import_source(source, out, options, on_record=lambda split, done, total: on_records(done, total))
    dropped: dict[str, int] = {}
    for report in reports:
        for reason, n in report.dropped.items():
            dropped[reason] = dropped.get(reason, 0) + n
    counts = {report.split: report.samples for report in reports}
    console.print(f"shards in {out}: {', '.join(f'{n} {split}' for split, n in counts.items())}; {_said(dropped)}")
    return {"samples": sum(counts.values()), "splits": counts, "dropped": dropped}


def _said(dropped: dict[str, int]) -> str:
    return (
        "dropped: " + ", ".join(f"{n} {reason}" for reason, n in sorted(dropped.items())) if dropped else "none dropped"
    )


def _draw_gallery(road: Road) -> list[dict[str, str]]:
    """A PNG of each real image, read back from the shards."""
    from PIL import Image

    from pretrain.shards import ShardReader, ShardSet

    road.gallery.mkdir(exist_ok=True)
    pictures = []
    reader = ShardReader(ShardSet.open(road.real_shards / "train"))
    for i in range(len(reader)):
        sample = reader.sample(i)
        image = sample.images[0].decode()
        file = road.gallery / f"{sample.key}.png"
        Image.fromarray(image.render(size=256)).save(file)
        source = image.provenance
        spacing = f"{image.spacing_mm[0]:.3g} mm" if image.spacing_mm else "spacing unknown"
        words = f"{image.modality or '?'} {image.pixels.shape[1]}x{image.pixels.shape[0]}, {image.units}, {spacing}"
        pictures.append({"file": str(file), "caption": words, "sha256": source.sha256})
    return pictures


def _cores() -> int:
    import os

    return max(1, os.cpu_count() or 1)


# --- 3 train ---------------------------------------------------------------------------------------------------------


def warm_up(road: Road) -> dict[str, Any]:
    """The vision tower learns from image labels and truth masks, the connector to name what it sees."""
    return _train("quickstart_warmup.yaml", road.warmup, road)


def instruct(road: Road) -> dict[str, Any]:
    """The language model learns to answer from what tower and connector tell it."""
    return _train("quickstart_instruct.yaml", road.instruct, road, f"model.init={road.warmup / 'model'}")


def _train(recipe: str, run: Path, road: Road, *more: str) -> dict[str, Any]:
    from pretrain.training.loop import train
    from pretrain.training.recipe import TrainRecipe
    from vlm.recipe import load_recipe

    loaded = load_recipe(
        TrainRecipe,
        RECIPES / recipe,
        [
            f"run={run}",
            f"seed={road.settings.seed}",
            f"data.train={road.shards / 'train'}",
            f"data.val={road.shards / 'val'}",
            *more,
        ],
    )
    result = train(loaded)
    if not result.finished:
        raise QuickstartError(f"training stopped before its end: run the same command again ({result.metrics})")
    return {"run": str(run), "plot": str(result.plot), "metrics": str(result.metrics)}


# --- 4 serve, measure, ask -------------------------------------------------------------------------------------------


def serve_and_measure(road: Road) -> dict[str, Any]:
    """The held-out patients through the served model, and a look at a real film."""
    from bench.measure import MeasureSettings, measure
    from serving.engine_settings import EngineOptions
    from serving.local import serve_locally

    for chatty in ("medvlm.gateway", "uvicorn", "uvicorn.error"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    began = time.monotonic()
    options = EngineOptions(served_name="medvlm-quickstart", max_model_len=1024, max_images=4)
    log_path = road.folder / "engine.log"
    with serve_locally(
        road.model, options, log_path=log_path, on_progress=lambda words: console.print(f"  {words}")
    ) as served:
        started = time.monotonic() - began
        console.print(f"serving at {served.base_url} after {started:.0f} s (engine log: {log_path})")
        answers = _ask(road, served.base_url, served.model)
        with _bar("asking about held-out patients") as on_answers:
            measure(
                road.simulated,
                road.measured,
                url=served.url,
                model=served.model,
                settings=MeasureSettings(
                    studies=road.settings.held_out_studies,
                    shuffle_seed=road.settings.seed,
                    checkpoint=road.model,
                    label="medvlm quickstart",
                    model_seed=road.settings.seed,
                    concurrency=32,
                ),
                progress=lambda done, failed, total: on_answers(done, total),
            )
    return {"start_s": round(started, 1), "answers": answers}


def _ask(road: Road, base_url: str, model: str) -> list[dict[str, str]]:
    """Ask with the official OpenAI client about a held-out simulated film and about the real one, as DICOM."""
    import openai

    client = openai.OpenAI(base_url=base_url, api_key="not-needed", max_retries=0)
    study = json.loads((road.simulated / "test.jsonl").open(encoding="utf-8").readline())
    closed = [q for q in study["qa"] if q["kind"] == "closed" and not q.get("view")][:3]
    asked = [("simulated, held out", road.simulated / study["images"][0], q["question"], q["answer"]) for q in closed]
    real = next(_real_folder().rglob(REAL_CHEST))
    for question in (
        "Is the heart enlarged?",
        "Is there a right pleural effusion?",
        "Is this a frontal or a lateral view?",
    ):
        asked.append((f"real, {REAL_CHEST}", real, question, ""))
    answers = []
    for film, path, question, truth in asked:
        data = base64.b64encode(path.read_bytes()).decode()
        part = {"type": "image_url", "image_url": {"url": f"data:application/dicom;base64,{data}"}}
        reply = client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": [part, {"type": "text", "text": question}]}],  # type: ignore[list-item,misc]
            max_tokens=48,
            temperature=0,
        )
        answer = reply.choices[0].message.content or ""
        answers.append(
            {"film": film, "question": question, "answer": answer, "truth": truth, "picture": str(_picture(road, path))}
        )
    return answers


def _picture(road: Road, film: Path) -> Path:
    """A PNG of a film that was asked about."""
    from PIL import Image

    from vlm.imaging import read_image

    file = road.gallery / f"asked-{film.parent.parent.name}-{film.stem}.png"
    Image.fromarray(read_image(film).render(size=512)).save(file)
    return file


# --- 5 report --------------------------------------------------------------------------------------------------------


def write_report(road: Road) -> dict[str, Any]:
    """One HTML page with everything that was seen on the way."""
    from bench.report import Section
    from bench.report import write_report as write_bench_report

    done = _done(road)
    real, served = done["import_real"]["facts"], done["measure"]["facts"]
    said = f"{real['samples']} of {real['files']} files of the package pydicom-data; {_said(real['dropped'])}."
    plots = [(Path(done[name]["facts"]["plot"]), done[name]["title"]) for name in ("warmup", "instruct")]
    sections = [
        Section("Asked over HTTP with the openai client", _paragraph(NOT_BELIEVED) + _answers(served["answers"])),
        Section(
            "Real DICOM files, imported, rendered and sharded",
            _paragraph(said) + _pictures([(Path(p["file"]), p["caption"]) for p in real["gallery"]], 150),
        ),
        Section("Training", _pictures(plots, 460)),
        Section(
            "The way here",
            _rows(["step", "seconds"], [[s["title"], f"{s['seconds']:.0f}"] for s in done.values()]),
        ),
    ]
    paths = write_bench_report(
        [road.measured], road.report, data=road.simulated, title="medvlm quickstart", extra_sections=sections
    )
    return {"files": [str(p) for p in paths]}


def _done(road: Road) -> dict[str, Any]:
    """What the finished steps wrote, in the order of the road."""
    files = {name: road.steps / f"{name}.json" for name, _, _ in STEPS}
    return {name: json.loads(path.read_text()) for name, path in files.items() if path.exists()}


def _paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"


def _rows(head: list[str], rows: list[list[str]]) -> str:
    cells = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<div class='scroll'><table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>"


def _answers(answers: list[dict[str, str]]) -> str:
    """The asked films, each once, and what was said about them."""
    films = {a["film"]: a for a in answers}
    pictures = _pictures([(Path(a["picture"]), film) for film, a in films.items()], 260)
    rows = [[a["film"], a["question"], a["answer"], a["truth"] or "not known"] for a in answers]
    return pictures + _rows(["film", "question", "answer", "truth"], rows)


def _pictures(pictures: list[tuple[Path, str]], width: int) -> str:
    """Figures side by side; the bytes are in the page."""
    figures = []
    for path, caption in pictures:
        data = base64.b64encode(path.read_bytes()).decode()
        words = html.escape(caption)
        figures.append(
            f"<figure style='width:{width}px;max-width:100%;margin:0'><img style='width:100%' alt='{words}' "
            f"src='data:image/png;base64,{data}'><figcaption>{words}</figcaption></figure>"
        )
    return f"<div style='display:flex;flex-wrap:wrap;gap:12px'>{''.join(figures)}</div>"


def _last_words(road: Road, seconds: float) -> None:
    from bench.records import read_run
    from bench.summary import summarise
    from bench.tables import headline_text

    done = _done(road)
    console.rule("[bold]what came of it[/bold]", align="left")
    console.print(headline_text(summarise([read_run(road.measured)])), highlight=False)
    table = Table(title="asked over HTTP", title_justify="left")
    for column in ("film", "question", "answer", "truth"):
        table.add_column(column, overflow="fold")
    for a in done["measure"]["facts"]["answers"]:
        table.add_row(a["film"], a["question"], a["answer"], a["truth"] or "not known")
    console.print(table)
    console.print(f"[yellow]{NOT_BELIEVED}[/yellow]")
    total = sum(step["seconds"] for step in done.values())
    pages = [f for f in done["report"]["facts"]["files"] if f.endswith(".html")]
    console.print(
        f"[bold]Report: {pages[0] if pages else road.report}[/bold]"
        f"   ({total:.0f} s in all steps, {seconds:.0f} s now)\n"
        f"Next:\n"
        f"  medvlm serve {road.model}                     serve it, then: medvlm chat --image FILM.dcm\n"
        f"  medvlm image show FILM.dcm                    look at any DICOM, NIfTI, PNG, JPEG or TIFF\n"
        f"  medvlm data import --help                     bring your own studies\n"
        f"  medvlm train recipes/instruction_tuning.yaml  train on them",
        highlight=False,
    )


STEPS: tuple[tuple[str, str, Callable[[Road], dict[str, Any]]], ...] = (
    ("simulate", "Simulate patients as DICOM", simulate),
    ("import", "Import the DICOM files into shards", import_simulated),
    ("import_real", "Import real DICOM files the same way", import_real),
    ("warmup", "Train: warm the vision tower up", warm_up),
    ("instruct", "Train: instruction tuning", instruct),
    ("measure", "Serve with vLLM, ask, and measure on held-out patients", serve_and_measure),
    ("report", "Write the report", write_report),
)
