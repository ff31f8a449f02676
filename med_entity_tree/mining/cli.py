"""`medvlm met mine`: new entities from a corpus onto a built tree."""

from pathlib import Path
from typing import Annotated

import typer

_HELP = """
Mine a corpus for entities that the tree lacks, and write a larger tree.

With --url a language model reads the passages and decides conflicts; without, rules propose names by their form, and
everything that they find says "extractor: rules". Entities seen fewer than 10 times and kinds of fewer than 5 entities
are dropped. Nothing that the tree holds changes its id or place. A run that was stopped goes on.

Examples:

    medvlm met mine reports.parquet --text findings --out runs/met-mined

    medvlm met mine texts/ --url http://127.0.0.1:8000 --model my-model --out runs/met-mined

    medvlm met mine reports.csv --text report --id study --corpus hospital-2024 --no-embedding --out runs/met-mined
"""


def register(app: typer.Typer) -> None:
    """Add the command to the app of ``medvlm met``."""
    app.command("mine", help=_HELP)(mine_command)


def mine_command(
    source: Annotated[Path, typer.Argument(help="Folder of .txt, or .jsonl, .csv, .tsv, .parquet with a text column.")],
    out: Annotated[Path, typer.Option(help="Folder for the larger tree.")],
    tree: Annotated[Path, typer.Option("--tree", help="Folder of `medvlm met build`; it is not changed.")] = Path(
        "runs/met"
    ),
    text: Annotated[str, typer.Option(help="Column of the text.")] = "text",
    identity: Annotated[
        str | None, typer.Option("--id", help="Column of the document's id; default: row number.")
    ] = None,
    corpus: Annotated[str | None, typer.Option(help="Name of the corpus in the sources; default: the file's.")] = None,
    url: Annotated[str | None, typer.Option(help="OpenAI-compatible server; without it, rules.")] = None,
    model: Annotated[str | None, typer.Option(help="Model to ask for; default: the first that the server has.")] = None,
    api_key: Annotated[str | None, typer.Option(envvar="MEDVLM_API_KEY", help="Key of the server.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Passages a call.")] = 8,
    concurrency: Annotated[int, typer.Option(min=1, help="Calls under way at once.")] = 8,
    least_mentions: Annotated[int, typer.Option(min=1, help="Floor: mentions of an entity.")] = 10,
    least_of_type: Annotated[int, typer.Option(min=1, help="Floor: entities of a kind.")] = 5,
    least_name: Annotated[int, typer.Option(min=1, help="Mentions of one form, before forms are merged.")] = 2,
    cosine: Annotated[float, typer.Option(help="Cosine from which near names are one.")] = 0.97,
    embedding: Annotated[bool, typer.Option(help="Use a sentence encoder for clusters and neighbours.")] = True,
    encoder: Annotated[str | None, typer.Option(help="Sentence encoder; default: all-MiniLM-L6-v2.")] = None,
    work: Annotated[
        Path | None, typer.Option(help="Folder for what a killed run goes on from; default: OUT.work.")
    ] = None,
) -> None:
    """Mine a corpus (help text above)."""
    from rich.console import Console
    from rich.progress import Progress, TextColumn, TimeElapsedColumn

    from med_entity_tree.corpus import read_documents
    from med_entity_tree.encoder import SentenceEncoder
    from med_entity_tree.mining.arbiter import Arbiter
    from med_entity_tree.mining.extraction import ModelExtractor
    from med_entity_tree.mining.mine import Settings, mine
    from med_entity_tree.mining.rules import RuleExtractor
    from med_entity_tree.tagger import Tagger
    from med_entity_tree.tree import Tree

    work = work or out.with_name(out.name + ".work")
    settings = Settings(
        corpus or source.stem,
        least_mentions=least_mentions,
        least_of_type=least_of_type,
        least_name=least_name,
        cosine=cosine,
    )
    arbiter = None
    console = Console()
    with Progress(TextColumn("{task.description}: {task.completed:,.0f} passages"), TimeElapsedColumn()) as bar:
        task = bar.add_task("reading the tree", total=None)
        built = Tree(tree)
        if url:
            answers = work / "answers"
            extractor = ModelExtractor(url, answers, model, api_key, batch, concurrency)
            arbiter = Arbiter(url, answers, model, api_key, concurrency=concurrency)
        else:
            extractor = RuleExtractor(built, Tagger.of_folder(tree))
        mined = mine(
            lambda: read_documents(source, text, identity),
            built,
            out,
            work,
            extractor,
            settings,
            SentenceEncoder(encoder) if embedding else None,
            arbiter,
            stage=lambda what: bar.update(task, description=what),
            progress=lambda n: bar.advance(task, n),
        )
    _print(console, mined.manifest)
    console.print(f"tree in {out}; every name and what became of it: {out / 'mined.parquet'}", markup=False)
    if mined.manifest["passages without an answer"]:
        console.print("passages without an answer are asked again when you run this again", style="yellow")


def _print(console, entry: dict) -> None:
    from rich.table import Table

    passages = f"{entry['passages']:,} passages, {entry['mentions']:,} mentions, {entry['names']:,} names"
    console.print(f"extractor: {entry['extractor']}; {passages}, {entry['clusters']:,} clusters", markup=False)
    table = Table("result", "why", "number")
    for result, reasons in entry["outcomes"].items():
        for why, number in reasons.items():
            table.add_row(result, why, f"{number:,}")
    for label, counts in (("dropped", entry["dropped"]), ("refused mention", entry["refused mentions"])):
        for why, number in counts.items():
            table.add_row(label, why, f"{number:,}")
    console.print(table)
    console.print(f"{entry['new synonyms']:,} new synonyms", markup=False)
