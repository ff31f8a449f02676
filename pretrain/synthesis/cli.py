"""``medvlm data synthesize``."""

import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

_EXAMPLES = """
Examples:

\b
  medvlm data synthesize runs/tagged --out runs/synthesis
  medvlm data synthesize runs/tagged --out runs/synthesis --blind http://127.0.0.1:8000
  medvlm data synthesize runs/tagged --out runs/captions --kind none --write http://127.0.0.1:8000 --no-background

Captions come from fixed sentences, or from a model (--write) whose text is read back and refused where it says what
the study does not. Questions are answered without the image first, by a model (--blind) or by a regression on their
words; what can be answered so is dropped. The key of a server goes into MEDVLM_API_KEY. After a kill give the
same command again; what a model has answered (OUT/answers) is not asked again.
"""


class KindOption(StrEnum):
    parent = "parent"
    sibling = "sibling"
    disease_hop = "disease hop"
    anatomy_hop = "anatomy hop"
    none = "none"


def register(app: typer.Typer) -> None:
    """Add the command to the app of ``medvlm data``."""
    app.command("synthesize", epilog=_EXAMPLES)(synthesize_command)


def synthesize_command(
    shards: Annotated[Path, typer.Argument(help="Folder of `medvlm data tag`.")],
    out: Annotated[Path, typer.Option(help="New folder for captions and questions.")],
    tree: Annotated[Path, typer.Option(help="Folder of `medvlm met build`.")] = Path("runs/met"),
    kind: Annotated[list[KindOption] | None, typer.Option(help="Kinds of questions; repeat. Default: all.")] = None,
    options: Annotated[int, typer.Option(min=2, max=8, help="Options of a question.")] = 4,
    most: Annotated[int, typer.Option(min=1, help="Questions of a study.")] = 4,
    captions: Annotated[bool, typer.Option(help="Write captions.")] = True,
    background: Annotated[bool, typer.Option(help="Add what the tree knows, under its own heading.")] = True,
    write: Annotated[str | None, typer.Option(help="Server of a model that writes captions.")] = None,
    blind: Annotated[str | None, typer.Option(help="Server of a model that answers without the image.")] = None,
    model: Annotated[str | None, typer.Option(help="Its model; default: the first that it has.")] = None,
    seed: Annotated[int, typer.Option(help="Of every draw.")] = 0,
) -> None:
    """Make captions and questions from what studies state and the tree knows; drop what can be answered blind."""
    import os

    from rich.console import Console

    from med_entity_tree.tree import Tree
    from pretrain.synthesis.blind import Choice
    from pretrain.synthesis.questions import KINDS, Kind
    from pretrain.synthesis.rewrite import Written
    from pretrain.synthesis.run import Options, synthesize
    from vlm.asking import JsonAsker

    console = Console(soft_wrap=True)
    asking: dict[str, Any] = {"model": model, "api_key": os.environ.get("MEDVLM_API_KEY"), "cache": out / "answers"}
    wanted = {chosen.value for chosen in kind or ()}
    kinds: list[Kind] = [k for k in KINDS if not wanted or k in wanted]
    with console.status("making captions and questions"):
        report = synthesize(
            shards, Tree(tree), out, Options(kinds, options, most, captions, background, seed),
            writer=JsonAsker(write, Written, **asking) if write else None,
            blind=JsonAsker(blind, Choice, **asking) if blind else None,
        )  # fmt: skip
    made = ", ".join(f"{n} {what}" for what, n in sorted(report.questions.items())) or "none"
    console.print(f"[bold]{out}[/]: {report.samples:,} samples of {report.studies:,} studies")
    console.print(f"  captions: {dict(report.captions)}; questions: {made}", markup=False)
    for reason, n in report.refused.most_common(12):
        console.print(f"  {n:,} x {reason}", markup=False)
    said = report.summary
    dropped = sum(said["dropped as answered blind"].values())
    console.print(f"  answered blind by {said['answered blind by']}: {dropped} dropped", markup=False)
    shown = {"made": said["floors before"], "kept": said["floors after"]}
    shown |= {f"kept, {kind}": found for kind, found in said["floors after, by kind"].items()}
    if report.questions:
        _show(console, shown)


def _show(console, shown: "Mapping[str, Mapping[str, float | None]]") -> None:
    from rich.table import Table

    from pretrain.synthesis.blind import Floors

    names = ("questions", "chance", "majority", "longest", "shortest", "prior", "words")
    table = Table("", *names, title="Without the image")
    warnings = []
    for label, found in shown.items():
        known = {name: math.nan if value is None else value for name, value in found.items()}
        floors = Floors(int(known.pop("questions")), **known)
        values = [f"{getattr(floors, name):.3f}" if name != "questions" else str(floors.questions) for name in names]
        table.add_row(label, *values)
        if label != "made" and floors.above():
            warnings.append(f"{label}: still more than 5 points above chance by {', '.join(floors.above())}")
    console.print(table)
    for warning in warnings:
        console.print(f"[yellow]{warning}[/]")
