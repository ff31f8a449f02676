"""``medvlm data import | inspect | verify``, and beside them what the packages of ``pretrain`` register."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

import pretrain.alignment.cli
import pretrain.cleaning.cli
import pretrain.decontamination.cli
import pretrain.dedup.cli
import pretrain.deidentify.cli
import pretrain.engine.cli
import pretrain.retrieval.cli
import pretrain.synthesis.cli
import pretrain.tagging.cli
import pretrain.weighting.cli
from pretrain.formats import Format

app = typer.Typer(no_args_is_help=True, help="Make, look at and check training data.")
pretrain.engine.cli.register(app)
pretrain.cleaning.cli.register(app)
pretrain.deidentify.cli.register(app)
pretrain.dedup.cli.register(app)
pretrain.tagging.cli.register(app)
pretrain.retrieval.cli.register(app)
pretrain.alignment.cli.register(app)
pretrain.synthesis.cli.register(app)
pretrain.decontamination.cli.register(app)
pretrain.weighting.cli.register(app)


class Mode(StrEnum):
    report = "report"
    questions = "questions"
    both = "both"


_IMPORT_EXAMPLES = """
Examples:

\b
  medvlm data import runs/sim --out runs/shards
  medvlm data import /data/ct --out shards/ct --licence "hospital, research only" --salt "$SECRET"
  medvlm data import /data/cr --reports reports.csv --map image=file --map text=befund --out shards/cr
  medvlm data import vqa.csv --map image=img --images pictures/ --conversation questions --out shards/vqa
  medvlm data import saved_dataset/ --split train=0.9,val=0.1 --out shards/hf
  medvlm data import pmc/ --passage 4000 --split train=0.98,val=0.02 --out shards/articles

A source is a folder of the simulator, a folder of DICOM (or PNG, NIfTI, TIFF) files with reports beside them, a table
(.csv, .tsv, .jsonl, .parquet), articles (PubMed or JATS XML), pages (HTML, PDF, Markdown, text), or a Hugging Face data
set. An interrupted import goes on when it is run again.
"""


@app.command("import", epilog=_IMPORT_EXAMPLES)
def import_command(
    source: Annotated[str, typer.Argument(help="Folder, table or data set name.")],
    out: Annotated[Path, typer.Option(help="Folder for the shards; one folder in it for each split.")],
    format: Annotated[Format, typer.Option(help="What the source is.")] = Format.auto,
    map: Annotated[
        list[str] | None, typer.Option(metavar="FIELD=COLUMN", help="Column of a field; may be repeated.")
    ] = None,
    reports: Annotated[
        Path | None, typer.Option(help="CSV that says which report belongs to which file or folder.")
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Folder that image paths of a table are relative to.")] = None,
    config: Annotated[str | None, typer.Option(help="Configuration of a Hugging Face data set.")] = None,
    passage: Annotated[
        int | None, typer.Option(min=200, help="Characters to which articles and pages are cut (6000).")
    ] = None,
    conversation: Annotated[Mode, typer.Option(help="Turns of a sample.")] = Mode.report,
    max_questions: Annotated[int, typer.Option(min=1, help="Questions in one conversation.")] = 8,
    group: Annotated[bool, typer.Option(help="Join consecutive rows about the same study.")] = True,
    max_images: Annotated[
        int, typer.Option(min=1, help="Images of one sample; of longer series as many, evenly spaced.")
    ] = 8,
    split: Annotated[str | None, typer.Option(help="Splits to make, by patient: train=0.8,val=0.1,test=0.1.")] = None,
    licence: Annotated[str | None, typer.Option(help="Licence of the data, kept with every sample.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the data set.")] = None,
    salt: Annotated[
        str, typer.Option(help="Secret that keeps hashed ids from being guessed.", envvar="MEDVLM_SALT")
    ] = "",
    simulated: Annotated[bool, typer.Option("--simulated", help="Mark as simulated.")] = False,
    workers: Annotated[int, typer.Option(min=0, help="Decoding processes.")] = 1,
    shard_mb: Annotated[int, typer.Option(min=1, help="Size at which a shard is finished.")] = 256,
    shard_samples: Annotated[int, typer.Option(min=1, help="Samples at which a shard is finished.")] = 1000,
    max_drop: Annotated[float, typer.Option(min=0, max=1, help="Share of records that may be dropped.")] = 0.1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin anew where another import left files.")] = False,
) -> None:
    """Turn images and texts into shards, at full bit depth, counting what is dropped."""
    from rich.console import Console

    from pretrain.importing import Conversation, ImportOptions, import_source
    from pretrain.importing.opening import open_source
    from vlm.console import named_numbers, named_values, stages

    columns = named_values(map or (), option="--map", form="FIELD=COLUMN", example="text=caption")
    shares = None
    if split is not None:
        shares = named_numbers(split.split(","), option="--split", form="NAME=SHARE", example="train=0.8")
    opened = open_source(
        source, format, columns, reports=reports, images=images, config=config, group=group,
        licence=licence, name=name, salt=salt, simulated=simulated, passage=passage,
    )  # fmt: skip
    options = ImportOptions(
        conversation=Conversation(conversation.value, max_questions),
        max_images=max_images,
        max_bytes=shard_mb << 20,
        max_samples=shard_samples,
        max_drop=max_drop,
        shares=shares,
        workers=workers,
        overwrite=overwrite,
    )
    console = Console(soft_wrap=True)
    with stages(console=console, clock="both") as on_record:
        reports_of_splits = import_source(opened, out, options, on_record=on_record)
    for report in reports_of_splits:
        verb = "was imported before" if report.already_done else "written"
        console.print(
            f"[bold]{report.split}[/]: {report.samples} samples of {report.records} records {verb} to {report.folder}"
        )
        for reason, count in sorted(report.dropped.items(), key=lambda item: -item[1]):
            console.print(f"  dropped {count}: {reason}")
        for note, count in report.notes.items():
            console.print(f"  {count} {note}")
    if sum(sum(r.dropped.values()) for r in reports_of_splits):
        console.print(
            "dropped.jsonl in each folder lists dropped records by their place in the source; do not share it."
        )
    console.print(f"Next: medvlm data inspect {reports_of_splits[0].folder} --sheet sheet.html")


@app.command(
    "inspect",
    epilog="Examples:\n\n\b\n  medvlm data inspect runs/shards/train\n"
    "  medvlm data inspect runs/shards/train --sheet sheet.html",
)
def inspect_command(
    folder: Annotated[Path, typer.Argument(help="Folder with dataset.json.")],
    sheet: Annotated[Path | None, typer.Option(help="Write a contact sheet there (.html or .png).")] = None,
    samples: Annotated[int, typer.Option(min=1, help="Samples on the contact sheet.")] = 24,
    seed: Annotated[int, typer.Option(help="Which samples are drawn.")] = 0,
) -> None:
    """Print counts, sizes, lengths, findings and losses of a data set."""
    from rich.console import Console

    from pretrain.shards.inspect import contact_sheet, summarize

    console = Console(soft_wrap=True)
    summary = summarize(folder)
    info = summary.shards.manifest
    counts = info["counts"]
    console.print(f"[bold]{info['name']}[/]  {'SIMULATED, ' if info['simulated'] else ''}licence: {info['licence']}")
    console.print(
        f"{counts['samples']} samples, {counts['images']} images, {counts['studies']} studies, "
        f"{counts['patients']} patients, {counts['text_only']} without image; "
        f"{counts['bytes'] / 1e6:.1f} MB in {len(info['shards'])} shards; "
        f"digest {summary.shards.digest[:16]}"
    )
    per_sample = ", ".join(f"{n}: {count}" for n, count in summary.images_per_sample.items())
    console.print(f"images in a sample: {per_sample}; sizes (H x W): {_most(summary.image_sizes)}")
    console.print(f"entities: {_most(list(info['entities'].items()), 12)}")
    console.print(f"dropped: {_most(list(info['dropped'].items()))}")
    console.print("tokens (estimated, image tokens included):")
    widest = max([*summary.token_counts, 1])
    for low, high, count in zip(summary.token_edges, summary.token_edges[1:], summary.token_counts):
        console.print(f"  {low:>6}-{high - 1:<6} {'█' * -(-40 * count // widest)} {count}")
    if sheet is not None:
        console.print(f"contact sheet: {contact_sheet(folder, sheet, samples=samples, seed=seed)}")


def _most(items: list[tuple[str, int]], show: int = 6) -> str:
    text = ", ".join(f"{name} {count}" for name, count in items[:show])
    return (text + (f" and {len(items) - show} more" if len(items) > show else "")) or "none"


@app.command(
    "verify",
    epilog="Examples:\n\n\b\n  medvlm data verify runs/shards\n  medvlm data verify runs/shards/train --decode\n"
    "  medvlm data verify tars_from_elsewhere --reindex",
)
def verify_command(
    folder: Annotated[Path, typer.Argument(help="Folder with dataset.json, or one with such folders.")],
    decode: Annotated[bool, typer.Option("--decode", help="Also decode every image.")] = False,
    reindex: Annotated[
        bool, typer.Option("--reindex", help="Make lost indexes and the manifest anew from the tars.")
    ] = False,
) -> None:
    """Check every byte of a data set against its hashes; name damaged tars and keys (then the status is 1)."""
    from rich.console import Console

    from pretrain.shards.index import MANIFEST, read_manifest
    from pretrain.shards.verify import reindex as make_index
    from pretrain.shards.verify import shared_patients, verify
    from vlm.console import progress

    console = Console(soft_wrap=True)
    if reindex:
        console.print(f"indexed {make_index(folder)} samples in {folder}")
    folders = [folder] if (folder / MANIFEST).is_file() else sorted(p.parent for p in folder.glob(f"*/{MANIFEST}"))
    bad = 0
    for part in folders or [folder]:
        size = read_manifest(part)["counts"]["bytes"]
        with progress(part.name, size, console=console, clock="both", counts=False) as advance:
            report = verify(part, decode=decode, progress=advance)
        bad += len(report.problems)
        state = f"[red]{len(report.problems)} problems[/]" if report.problems else "[green]good[/]"
        console.print(f"{part}: {report.samples} samples, {report.bytes / 1e6:.1f} MB: {state}")
        for problem in report.problems[:50]:
            console.print(f"  {problem.tar} {problem.key}: {problem.what}", markup=False)
    for (a, b), count in shared_patients(folders).items():
        console.print(f"[red]{count} patients are in both {a} and {b}[/]")
        bad += 1
    if bad:
        raise typer.Exit(1)
