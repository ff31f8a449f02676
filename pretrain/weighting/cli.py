"""``medvlm data weights``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pretrain.weighting.make import WeightReport

_EXAMPLES = """
Examples:

\b
  medvlm data weights work/shards/train --out work/weights.parquet
  medvlm data weights work/shards/train --out w.parquet --exponent 0.7 --cap 5
  medvlm data weights work/shards/train --out w.parquet --counts runs/tags
  medvlm data weights work/shards/train --out w.parquet --tree runs/met

Then: medvlm train RECIPE 'data.train=[{path: work/shards/train, weights: work/weights.parquet}]'

A sample is weighed by its rarest entity: (its count)^-EXPONENT, scaled so that an epoch keeps its size, and bounded by
CAP and FLOOR times in an epoch. Beside the file lie the table (.json) and a plot (.png). See docs/sampling.md.
"""


def register(app: typer.Typer) -> None:
    """Add the command to the app of ``medvlm data``."""
    app.command("weights", epilog=_EXAMPLES)(weights_command)


def weights_command(
    shards: Annotated[Path, typer.Argument(help="Folder with dataset.json.")],
    out: Annotated[Path, typer.Option(help="Weights file to write (.parquet).")],
    exponent: Annotated[float, typer.Option(help="0: uniform; 0.3 to 0.7 usual; 1: entities equally often.")] = 0.5,
    cap: Annotated[float, typer.Option(help="Most times that a sample comes in an epoch.")] = 8.0,
    floor: Annotated[float, typer.Option(help="Fewest times that a sample comes in an epoch, on average.")] = 0.25,
    least_count: Annotated[int, typer.Option(help="Entities seen fewer times weigh as if seen so often.")] = 10,
    counts: Annotated[
        Path | None, typer.Option(help="Folder of `medvlm met count`: count entities there, not in SHARDS.")
    ] = None,
    tree: Annotated[
        Path | None, typer.Option(help="Folder of a tree: an entity counts for all that stand above it.")
    ] = None,
    warn_repeats: Annotated[
        float, typer.Option(help="Warn where an entity's samples come more often than this in an epoch.")
    ] = 4.0,
) -> None:
    """Weigh samples by how rare their entities are, so that training sees the tail more often."""
    from rich.console import Console

    from pretrain.weighting.make import WeightSettings, make_weights

    report = make_weights(shards, out, WeightSettings(exponent, cap, floor, least_count, counts, tree, warn_repeats))
    _show(Console(soft_wrap=True), report)


def _show(console: Any, report: "WeightReport") -> None:
    manifest = report.manifest
    bounds = ", ".join(f"{name} {manifest[name]:g}" for name in ("exponent", "cap", "floor", "least count"))
    console.print(
        f"[bold]{manifest['name']}[/]: {manifest['samples']} samples, {len(report.exposures)} entities; {bounds}"
    )
    console.print(_bucket_table(report))
    console.print(_entity_table(report))
    console.print(f"{report.at_cap} samples are at the cap, {report.at_floor} at the floor")
    for what, entities in (
        ("not in the counts (they have the least count)", report.uncounted),
        ("not in the tree (counted for themselves)", report.outside_tree),
    ):
        if entities:
            console.print(f"{len(entities)} entities are {what}, such as {entities[0]}", markup=False)
    for row in report.repeated[:10]:
        console.print(
            f"[yellow]{row.entity} has {row.samples} samples, which come {row.epochs:.1f} times an epoch: training "
            "may learn them by heart; lower the exponent or the cap, or collect more of them[/]"
        )
    if len(report.repeated) > 10:
        console.print(f"[yellow]and {len(report.repeated) - 10} more entities, listed in the table file[/]")
    console.print("written: " + ", ".join(str(file) for file in report.files), markup=False)


def _bucket_table(report: "WeightReport") -> Any:
    from rich.table import Table

    table = Table(title="share of draws by frequency: samples whose rarest entity has so many", title_justify="left")
    for name in ("count", "entities", "samples", "uniform", "weighted", "times an epoch"):
        table.add_column(name, justify="left" if name == "count" else "right", overflow="fold")
    for row in report.buckets:
        shares = f"{row.before:.2%}", f"{row.after:.2%}"
        table.add_row(row.name, str(row.entities), str(row.samples), *shares, f"{row.epochs:.2f}")
    return table


def _entity_table(report: "WeightReport", shown: int = 20) -> Any:
    from rich.table import Table

    some = f", the rarest {shown} of {len(report.exposures)}" if len(report.exposures) > shown else ""
    table = Table(title=f"share of draws that show an entity{some}", title_justify="left")
    for name in ("entity", "samples", "uniform", "weighted", "times an epoch", "most"):
        table.add_column(name, justify="left" if name == "entity" else "right", overflow="fold")
    for row in report.exposures[:shown]:
        shares = f"{row.before:.2%}", f"{row.after:.2%}"
        table.add_row(row.entity, str(row.samples), *shares, f"{row.epochs:.2f}", f"{row.most:.2f}")
    return table
