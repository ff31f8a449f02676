"""`medvlm data simulate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """
Examples:

  medvlm data simulate data/simulated --patients 500

  medvlm data simulate data/big --patients 20000 --size 512 --seed 3 --workers 8

  medvlm data simulate data/rare --finding cardiomegaly --finding pacemaker --prevalence pacemaker=0.01

Stopped half-way, the same command goes on where it was.
"""


def simulate(
    out: Annotated[Path, typer.Argument(help="Folder to write; new, or one that the same command began.")],
    patients: Annotated[int, typer.Option(help="Number of simulated patients.")] = 200,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    size: Annotated[int, typer.Option(help="Longest side of a film in pixels.")] = 256,
    workers: Annotated[int | None, typer.Option(help="Processes; one a core by default.")] = None,
    lateral: Annotated[float, typer.Option(help="Share of upright studies with a lateral film.")] = 0.35,
    finding: Annotated[
        list[str] | None, typer.Option(help="A finding that may be there; repeat it. Without: all.", show_default=False)
    ] = None,
    prevalence: Annotated[
        list[str] | None,
        typer.Option(metavar="FINDING=SHARE", help="Share of patients with a finding; repeat it.", show_default=False),
    ] = None,
    test: Annotated[float, typer.Option(help="Share of patients held out as test.")] = 0.15,
    val: Annotated[float, typer.Option(help="Share of patients held out as val.")] = 0.05,
) -> None:
    """Simulate chest radiographs: DICOM, reports, questions and exact truth, labelled simulated."""
    from rich.console import Console

    from vlm.console import named_numbers, stages

    from .folder import simulate as run

    prevalences = named_numbers(prevalence or (), option="--prevalence", form="FINDING=SHARE", example="pacemaker=0.01")
    console = Console(stderr=True)
    with stages(console=console, clock="left", transient=False) as on_step:
        report = run(
            out,
            patients,
            seed,
            size=size,
            workers=workers,
            shares=(1 - test - val, val, test),
            lateral_share=lateral,
            **({"findings": finding} if finding else {}),
            prevalence=prevalences,
            progress=lambda done, total: on_step("simulating", done, total),
        )
    shares = ", ".join(f"{n} {split}" for split, n in report.patients.items())
    console.print(f"{report.out}: {shares} patients, {report.images} images, {report.questions} questions (simulated)")


simulate.__doc__ = f"{simulate.__doc__}\n{EXAMPLES}"

app = typer.Typer(help="Simulated data.")
app.command("simulate")(simulate)
