"""``medvlm data dedup``."""

from pathlib import Path
from typing import Annotated

import typer

_EXAMPLES = """
Examples:

\b
  medvlm data dedup reports.csv --out clean --text report
  medvlm data dedup studies.jsonl --out clean --text report --image files --patient patient_id --workers 8
  medvlm data dedup films/ --out clean                                    # a folder of images
  medvlm data dedup films/ --out clean --encoder runs/tower --agreement 0.9

Written to --out: kept.* (the rows, or the names of the files, that are kept), decisions.parquet (kept, reason, keeper
and cluster of every sample; a cluster must stay in one split), conflicts.jsonl (one image under two patients),
summary.json, and pairs.html, which shows pairs of images side by side: look at it before you trust the numbers. It
holds pictures of patients, and so does the folder work; remove that when you are content.
"""


def register(app: typer.Typer) -> None:
    """Add the command to the app of ``medvlm data``."""
    app.command("dedup", epilog=_EXAMPLES)(dedup_command)


def dedup_command(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="Table (.csv, .tsv, .jsonl, .parquet) or folder.")],
    out: Annotated[Path, typer.Option(help="Folder for what is kept and why.")],
    text: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column of the text.")] = None,
    image: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column of image paths.")] = None,
    key: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column of a unique name; else the row.")] = None,
    patient: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column of the patient.")] = None,
    images: Annotated[Path | None, typer.Option(help="Folder that image paths start from; else the table's.")] = None,
    threshold: Annotated[float, typer.Option(min=0.3, max=1.0, help="Jaccard similarity of near texts.")] = 0.8,
    ngram: Annotated[int, typer.Option(min=1, max=16, help="Words in a shingle.")] = 3,
    guard: Annotated[
        bool, typer.Option("--guard/--no-guard", help="Keep texts apart that differ in numbers, sides, negations.")
    ] = True,
    agreement: Annotated[float, typer.Option(min=0.5, max=1.0, help="Least agreement of fine detail.")] = 0.85,
    radius: Annotated[int, typer.Option(min=0, max=128, help="Bits in which hashes of candidates may differ.")] = 66,
    neighbours: Annotated[int, typer.Option(min=1, help="Nearest images to look at for each.")] = 12,
    encoder: Annotated[Path | None, typer.Option(help="Checkpoint folder whose tower finds more candidates.")] = None,
    cosine: Annotated[float, typer.Option(min=0.0, max=1.0, help="Least cosine of embeddings.")] = 0.9,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
) -> None:
    """Find duplicate texts, images and samples of both; every pair is verified before it counts."""
    from rich.console import Console

    from pretrain.dedup.encoders import checkpoint_encoder
    from pretrain.dedup.image import ImageSettings
    from pretrain.dedup.run import Request, dedup
    from pretrain.dedup.text import TextSettings
    from vlm.console import stages

    request = Request(
        source=source,
        out=out,
        text=text,
        image=image,
        key=key,
        patient=patient,
        images=images,
        texts=TextSettings(threshold=threshold, ngram=ngram, guard=guard),
        pictures=ImageSettings(radius=radius, neighbours=neighbours, cosine=cosine, agreement=agreement),
        encode=checkpoint_encoder(encoder) if encoder else None,
        encoder=encoder.name if encoder else "",
        workers=workers,
    )
    console = Console(soft_wrap=True)
    with stages(console=console, clock="left") as on_step:
        report = dedup(request, on_step)
    console.print(f"[bold]{out}[/]: {report.kept} of {report.total} samples are kept")
    for title, counts in (("samples", report.samples), ("images", report.images), ("texts", report.texts)):
        for what, n in counts.items():
            console.print(f"  {title}: {n} x {what}", markup=False)
    for code, n in report.refused.items():
        console.print(f"  [red]images that cannot be read: {n}[/] ({code}); their samples are kept")
    if "images under two patients" in report.samples:
        console.print(f"{out / 'conflicts.jsonl'} lists images under two patients: nothing of them was dropped.")
    if report.pairs_shown:
        console.print(f"{out / 'pairs.html'} shows {report.pairs_shown} pairs of images (patients' pictures).")
