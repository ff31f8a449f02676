"""``medvlm data align``."""

from pathlib import Path
from typing import Annotated

import typer

_EXAMPLES = """
Examples:

\b
  medvlm data align runs/tagged --out runs/aligned
  medvlm data align runs/tagged --out runs/aligned --judge http://127.0.0.1:8000 --threshold 6
  medvlm data align runs/tagged --out runs/aligned --judge http://127.0.0.1:8000 --measure 200

The key of the judge's server goes into MEDVLM_API_KEY. --measure asks the judge about that many samples with their own
and with another report first, and shows how often it is right. A killed run goes on with the same command: nothing is
checked twice, and what the judge has answered (OUT/judge) is not asked again.
"""


def register(app: typer.Typer) -> None:
    """Add the command to the app of ``medvlm data``."""
    app.command("align", epilog=_EXAMPLES)(align_command)


def align_command(
    shards: Annotated[Path, typer.Argument(help="Folder of `medvlm data tag`.")],
    out: Annotated[Path, typer.Option(help="New folder for what passes.")],
    tree: Annotated[Path, typer.Option(help="Folder of `medvlm met build`.")] = Path("runs/met"),
    least_side: Annotated[int, typer.Option(help="Pixels of the shorter side.")] = 64,
    most_aspect: Annotated[float, typer.Option(help="Longer over shorter side.")] = 5.0,
    least_entropy: Annotated[float, typer.Option(help="Bits of grey levels.")] = 2.0,
    least_sharpness: Annotated[float, typer.Option(help="Variance of the Laplacian over that of the image.")] = 0.0015,
    least_words: Annotated[int, typer.Option(help="Words of the text.")] = 2,
    headers: Annotated[bool, typer.Option(help="Refuse texts that contradict the header.")] = True,
    judge: Annotated[str | None, typer.Option(help="OpenAI-compatible server of a model that sees pictures.")] = None,
    model: Annotated[str | None, typer.Option(help="Its model; default: the first that it has.")] = None,
    threshold: Annotated[int, typer.Option(min=0, max=10, help="Support from which the judge lets pass.")] = 6,
    measure: Annotated[int, typer.Option(min=0, help="Samples to measure the judge on.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes of stage one.")] = 1,
) -> None:
    """Keep the samples whose image and text are usable and belong together; say why the others do not."""
    import os

    from rich.console import Console

    from med_entity_tree.tree import Tree
    from pretrain.alignment.checks import Limits
    from pretrain.alignment.judge import Referee, Verdict, agreement, planted_pairs
    from pretrain.alignment.judge import judge as ask_judge
    from pretrain.alignment.run import align_shards
    from pretrain.shards import ShardReader, ShardSet
    from vlm.asking import JsonAsker
    from vlm.console import progress

    console = Console(soft_wrap=True)
    built = Tree(tree)
    names = {entity.id: entity.name for entity in built}
    limits = Limits(least_side, most_aspect, least_entropy, least_sharpness, least_words, headers=headers)
    asker = None
    if judge is not None:
        key = os.environ.get("MEDVLM_API_KEY")
        asker = JsonAsker(judge, Verdict, model=model, api_key=key, cache=out / "judge", max_tokens=512)
    if asker is not None and measure:
        opened = ShardSet.open(shards)
        reader = ShardReader(opened)
        step = max(1, len(opened) // measure)
        chosen = [reader.sample(n) for n in range(0, len(opened), step)][:measure]
        pairs = planted_pairs(chosen, lambda entity: names.get(entity, entity))
        found = agreement(pairs, ask_judge(pairs, asker))
        console.print(
            f"The judge on {found.matched} matched and {found.shuffled} shuffled pairs: best at {found.threshold} and "
            f"more, precision {found.precision:.2f}, recall {found.recall:.2f}, {found.unanswered} unanswered"
        )
    with progress("checking", len(ShardSet.open(shards)), console=console, clock="none") as advance:
        report = align_shards(
            shards, out, limits, anatomy={e.id: e.name for e in built if e.root == "anatomy"},
            referee=asker and Referee(asker, lambda entity: names.get(entity, entity), threshold), workers=workers,
            progress=advance,
        )  # fmt: skip
    console.print(f"[bold]{out}[/]: {report.kept:,} of {report.samples:,} samples pass")
    for reason, n in report.refused.most_common():
        console.print(f"  refused {n:,}: {reason}", markup=False)
    if asker is not None:
        console.print(f"judge: {dict(asker.counts)}", markup=False)
