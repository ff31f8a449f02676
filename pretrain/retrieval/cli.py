"""``medvlm data retrieve``."""

from pathlib import Path
from typing import Annotated

import typer

_EXAMPLES = """
Examples:

\b
  medvlm data retrieve reports.parquet --text findings --for runs/tags --out runs/found
  medvlm data retrieve runs/shards/pool --for runs/tagged --below 200 --under HP:0002086 --out runs/found
  medvlm data retrieve articles/ --for runs/tags --node HP:0002202 --node MONDO:0002076 --out runs/found

The pool is a folder of shards, a folder of .txt files, or a table. OUT gets nodes.csv (what each node had, wanted and
found, and why the rest was refused), candidates.parquet (the evidence) and taken.jsonl (documents to collect).
"""


def register(app: typer.Typer) -> None:
    """Add the command to the app of ``medvlm data``."""
    app.command("retrieve", epilog=_EXAMPLES)(retrieve_command)


def retrieve_command(
    pool: Annotated[Path, typer.Argument(help="Documents to choose from.")],
    counts: Annotated[Path, typer.Option("--for", help="Folder of `medvlm met count` or `medvlm data tag`.")],
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    tree: Annotated[Path, typer.Option(help="Folder of `medvlm met build`.")] = Path("runs/met"),
    text: Annotated[str, typer.Option(help="Column with the text (tables).")] = "text",
    identity: Annotated[str | None, typer.Option("--id", help="Column with the id (tables).")] = None,
    below: Annotated[int, typer.Option(min=1, help="A node is thin below so many documents, and wants the rest.")] = 50,
    least: Annotated[int, typer.Option(min=0, help="Documents that a node must have to be asked for.")] = 1,
    root: Annotated[list[str] | None, typer.Option(help="disease, finding, anatomy or procedure; repeat.")] = None,
    under: Annotated[list[str] | None, typer.Option(help="Entity whose subtree is meant; repeat.")] = None,
    node: Annotated[list[str] | None, typer.Option(help="Exactly this entity; repeat.")] = None,
    most: Annotated[int, typer.Option(min=1, help="Nodes at most, rarest first.")] = 1000,
    meaning: Annotated[bool, typer.Option(help="Rank by sentence embedding as well.")] = True,
    similar: Annotated[
        float, typer.Option(help="Cosine from which a document that does not name the node is taken; above 1: never.")
    ] = 1.01,
    encoder: Annotated[str | None, typer.Option(help="Sentence encoder; default: all-MiniLM-L6-v2.")] = None,
    reach: Annotated[int, typer.Option(min=1, help="Candidates of a node by words, and by meaning.")] = 200,
) -> None:
    """Find documents for the entities that the data hardly hold, within a quota for each."""
    from rich.console import Console
    from rich.progress import Progress, TextColumn, TimeElapsedColumn
    from rich.table import Table

    from med_entity_tree.encoder import SentenceEncoder
    from med_entity_tree.tagger import Tagger
    from med_entity_tree.tree import Tree
    from pretrain.retrieval.choose import Rules
    from pretrain.retrieval.needs import load_counts, thin_nodes
    from pretrain.retrieval.run import retrieve, write_results
    from pretrain.retrieval.scan import StoredEncoder, read_pool

    built = Tree(tree)
    needs = thin_nodes(
        built, load_counts(counts), below=below, least=least, roots=root or ("disease", "finding"),
        under=under or (), only=node or (), most=most,
    )  # fmt: skip
    console = Console(soft_wrap=True)
    if not needs:
        console.print(f"No node is below {below} documents: nothing to look for")
        return
    encode = StoredEncoder(SentenceEncoder(encoder), out / "vectors") if meaning else None
    with Progress(TextColumn("{task.completed:,.0f} documents"), TimeElapsedColumn(), console=console) as bar:
        task = bar.add_task("scan", total=None)
        found = retrieve(
            read_pool(pool, text, identity), built, Tagger.of_folder(tree), needs, encode=encode, rules=Rules(similar),
            reach=reach, progress=lambda n: bar.advance(task, n),
        )  # fmt: skip
    settings = {"below": below, "similar": similar, "reach": reach, "encoder": getattr(encode, "model_name", "none")}
    write_results(found, built, out, settings)
    table = Table("node", "had", "wanted", "named", "taken", "refused", title=f"{len(needs)} thin nodes")
    for result in found.results[:25]:
        why = "; ".join(f"{reason} {n}" for reason, n in result.refused.most_common(2))
        named = str(result.found["named"] + result.found["a kind named"])
        table.add_row(
            built[result.need.entity].name, str(result.need.have), str(result.need.want), named,
            str(len(result.taken)), why,
        )  # fmt: skip
    console.print(table)
    full = sum(len(r.taken) >= r.need.want for r in found.results)
    none = sum(not r.taken for r in found.results)
    console.print(f"{full} of {len(needs)} nodes reach {below}, {none} found nothing; results in {out}", markup=False)
