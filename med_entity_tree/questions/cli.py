"""``medvlm met questions``."""

from pathlib import Path
from typing import Annotated

import typer

_EXAMPLES = """
Examples:

\b
  medvlm met questions --tree runs/met --out runs/questions
  medvlm met questions --hops 1-3 --count 500 --counts runs/tags --exponent 0.7
  medvlm met questions --hops 2,4,6 --split train=0.9,test=0.1 --seed 7
  medvlm met questions --out runs/questions --check

Every question is derived a second time from the stored edges before it is written; --check does that for a folder that
is there. The folder holds one .jsonl a split, report.json with what rules on the options alone reach, and sheet.html.
"""


def register(app: typer.Typer) -> None:
    """Add the command to the app of ``medvlm met``."""
    app.command("questions", epilog=_EXAMPLES)(questions_command)


def questions_command(
    tree: Annotated[Path, typer.Option(help="Folder of `medvlm met build`.")] = Path("runs/met"),
    out: Annotated[Path, typer.Option(help="Folder for the questions.")] = Path("runs/questions"),
    hops: Annotated[str, typer.Option(help="Numbers of hops: 1-6, or 2,4.")] = "1-6",
    count: Annotated[int, typer.Option(min=1, help="Questions of each number of hops.")] = 1000,
    counts: Annotated[
        Path | None, typer.Option(help="Folder of `medvlm met count`: thin entities start more questions.")
    ] = None,
    exponent: Annotated[float, typer.Option(min=0, help="A start weighs (1 + documents)^-exponent.")] = 0.5,
    split: Annotated[
        str, typer.Option(help="Shares; splits share no start and no fact that answers.")
    ] = "train=0.8,val=0.1,test=0.1",
    options: Annotated[int, typer.Option(min=2, max=8, help="Options of a question.")] = 4,
    seed: Annotated[int, typer.Option(help="The same seed, tree and settings give the same bytes.")] = 0,
    check: Annotated[bool, typer.Option("--check", help="Only check the questions that are in --out.")] = False,
) -> None:
    """Questions from paths of the knowledge graph, with options that are wrong by the graph."""
    import json

    from rich.console import Console

    from med_entity_tree.errors import OntologyError
    from med_entity_tree.questions.check import read_questions
    from med_entity_tree.questions.generate import Settings, make_questions, verify, write_questions
    from med_entity_tree.questions.sheet import write_sheet
    from med_entity_tree.tree import Tree
    from vlm.console import bars, progress

    console = Console(soft_wrap=True)
    if check:
        records = read_questions(out)
        with progress("check", len(records), console=console) as advance:
            verify(records, tree, advance)
        console.print(f"{len(records):,} questions in {out}: all follow from the edges of {tree}", markup=False)
        return
    documents = None
    if counts is not None:
        if not (counts / "counts.json").is_file():
            raise OntologyError(f"{counts} has no counts.json", "Make it with `medvlm met count`")
        documents = json.loads((counts / "counts.json").read_text("utf-8"))["present"]
    settings = Settings(
        hops=_numbers(hops),
        count=count,
        seed=seed,
        options=options,
        exponent=exponent,
        split=_splits(split),
    )
    settings.validate()
    built = Tree(tree)
    with bars(console) as shown:
        tasks = {}

        def tell(stage: str, done: int, of: int) -> None:  # done since the last call; a second try gets its own bar
            if stage not in tasks or (done == 0 and shown.tasks[tasks[stage]].finished):
                tasks[stage] = shown.add_task(stage, total=of)
            shown.update(tasks[stage], advance=done, total=of)

        made = make_questions(built, settings, documents, tell)
    write_questions(made, settings, built, out)
    write_sheet(made.records, built.entities, out / "sheet.html")
    _summary(console, made)
    console.print(
        f"{len(made.records):,} questions in {out}, all derived twice; look at {out}/sheet.html", markup=False
    )


def _numbers(text: str) -> tuple[int, ...]:
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise typer.BadParameter(f"{text!r} is not such as 1-6 or 2,4", param_hint="--hops")
        found.update(range(int(first), int(last if dash else first) + 1))
    return tuple(sorted(found))


def _splits(text: str) -> dict[str, float]:
    from vlm.console import named_numbers

    shares = named_numbers(text.split(","), option="--split", form="NAME=SHARE", example="train=0.9")
    for name in shares:  # each is the name of a file
        if not name.isidentifier():
            raise typer.BadParameter(
                f"{name!r} is not a name of letters, digits and _ as train is", param_hint="--split"
            )
    return shares


def _summary(console, made) -> None:
    from collections import Counter

    from rich.table import Table

    lengths = sorted({record["hops"] for record in made.records})
    last = Counter((record["type"].split()[-1], record["hops"]) for record in made.records)
    table = Table("last hop", *(f"{n} hop{'s' * (n > 1)}" for n in lengths), title="Questions")
    for key in sorted({key for key, _ in last}):
        table.add_row(key, *(f"{last[key, n]:,}" for n in lengths))
    types = [len({r["type"] for r in made.records if r["hops"] == n}) for n in lengths]
    table.add_row("path types", *(f"{n:,}" for n in types), style="bold")
    console.print(table)
    floors = Table("rule on the options alone", "all (95 %)", *(str(n) for n in lengths), title="What it answers")
    shares = {(floor.rule, floor.hops): floor for floor in made.floors}
    for rule in dict.fromkeys(floor.rule for floor in made.floors):
        every = shares[rule, 0]
        floors.add_row(
            rule,
            f"{every.share:.3f} ({every.low:.3f} to {every.high:.3f})",
            *(f"{shares[rule, n].share:.3f}" for n in lengths),
        )
    console.print(floors)
    for reason, number in made.dropped.most_common():
        console.print(f"  left out {number:,}: {reason}", markup=False)
