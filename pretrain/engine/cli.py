"""``medvlm data build``: the data engine from a recipe."""

from pathlib import Path
from typing import Annotated

import typer

_EXAMPLES = """
Examples:

\b
  medvlm data build recipes/data_engine.yaml --out work/data --workers 2
  medvlm data build recipes/data_engine.yaml --out work/data split.train=0.8 split.val=0.2
  medvlm data build chest.yaml --out runs/chest --ray auto
  medvlm data build chest.yaml --out runs/chest --ray local --workers 8

Sources are read, cleaned, tagged, deduplicated, split and written as shards under OUT/shards, with a data card beside
them. Killed, it goes on with the same command; a changed setting makes anew what depends on it. OUT/work names records
of the sources: do not share it.
"""


def register(app: typer.Typer) -> None:
    """Add the command to the app of ``medvlm data``."""
    app.command("build", epilog=_EXAMPLES)(build_command)


def build_command(
    recipe: Annotated[Path, typer.Argument(help="Recipe (YAML); docs/engine.md lists its keys.")],
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes of it.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    ray: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Ray cluster: an address, auto, or local to start one.")
    ] = None,
    salt: Annotated[
        str, typer.Option(help="Secret that keeps hashed ids from being guessed.", envvar="MEDVLM_SALT")
    ] = "",
    bench_salt: Annotated[
        str, typer.Option(help="Salt of the benchmark manifests.", envvar="MEDVLM_DECONTAMINATION_SALT")
    ] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin shards anew where others lie.")] = False,
) -> None:
    """Clean, tag, deduplicate, split and write data sets, by a recipe, on one machine or a Ray cluster."""
    import os

    from rich.console import Console

    from pretrain.engine.recipe import EngineRecipe
    from pretrain.engine.run import Where, run_engine
    from vlm.console import stages
    from vlm.recipe import load_recipe

    chosen = load_recipe(EngineRecipe, recipe, overrides or ())
    where = Where(workers, ray, overwrite, salt, bench_salt, os.environ.get("MEDVLM_API_KEY"))
    console = Console(soft_wrap=True)
    with stages(console=console) as on_step:
        report = run_engine(chosen, out, where, on_step)
    for stage, counts in report.stages.items():
        console.print(f"[bold]{stage}[/]: {counts.kept:,} of {counts.came:,} records")
        for reason, number in counts.dropped.most_common():
            console.print(f"  dropped {number:,}: {reason}", markup=False)
    for split in report.splits:
        console.print(f"[bold]{split.split}[/]: {split.samples:,} samples in {split.folder}")
        for reason, number in sorted(split.dropped.items()):
            console.print(f"  dropped {number:,}: {reason}", markup=False)
    for what, path in report.beside.items():
        console.print(f"[bold]{what}[/]: {path}")
    console.print(f"Data card: {report.card}", markup=False)
