"""`medvlm met`: build the entity tree, look into it, and tag text with it."""

from pathlib import Path
from typing import Annotated

import typer

import med_entity_tree.mining.cli
import med_entity_tree.questions.cli

app = typer.Typer(help="The Medical Entity Tree: build, search, walk, tag, measure coverage.", no_args_is_help=True)
med_entity_tree.mining.cli.register(app)
med_entity_tree.questions.cli.register(app)

_TREE = Annotated[Path, typer.Option("--tree", help="Folder of `medvlm met build`.")]
_DEFAULT = Path("runs/met")

_EXAMPLES_BUILD = """
Build the tree from the ontologies that are installed with medvlm (about two minutes on two cores).

Licensed ontologies are added from their files: --add umls=META, --add snomed=Snapshot, --add mesh=desc2026.xml, --add
loinc=Loinc.csv, --add rxnorm=rrf, --add obo=some.obo, --add owl=some.owl.

Examples:

    medvlm met build --out runs/met

    medvlm met build --out runs/met --add snomed=SnomedCT/Snapshot --add obo=doid.obo

    medvlm met build --out runs/met --no-embedding
"""


@app.command("build", help=_EXAMPLES_BUILD)
def build_command(
    out: Annotated[Path, typer.Option(help="Folder for the tree; a tree that is there is replaced.")] = _DEFAULT,
    add: Annotated[list[str] | None, typer.Option(help="KIND=PATH of one more ontology; may be repeated.")] = None,
    encoder: Annotated[
        str | None, typer.Option(help="Path or hub name of a sentence encoder; default: all-MiniLM-L6-v2.")
    ] = None,
    embedding: Annotated[bool, typer.Option(help="Merge near neighbours by embedding as well.")] = True,
    threshold: Annotated[float, typer.Option(help="Cosine from which near neighbours are one.")] = 0.97,
) -> None:
    """Build a tree (help text above)."""
    import time

    from rich.console import Console

    from med_entity_tree.added import added_ontology
    from med_entity_tree.build import build_tree
    from med_entity_tree.encoder import SentenceEncoder

    console = Console()
    started = time.monotonic()
    more = [added_ontology(spec) for spec in add or ()]
    encode = SentenceEncoder(encoder) if embedding else None
    with console.status("reading") as status:
        built = build_tree(out, more=more, encode=encode, threshold=threshold, progress=lambda s: status.update(s))
    _print_census(console, built.manifest)
    took = time.monotonic() - started
    console.print(f"Tree in {out}, {took:.0f} s, sha256 of the entities {built.manifest['sha256'][:16]}", markup=False)
    console.print(f"Next: medvlm met search 'pleural effusion' --tree {out}", markup=False)


def _print_census(console, manifest: dict) -> None:
    from rich.table import Table

    from med_entity_tree.entity import LEVELS, ROOTS

    table = Table("root", *(f"level {n}" for n in range(1, LEVELS + 1)), "all", title="Entities")
    for root, name in ROOTS.items():
        row = manifest["by root and level"][root]
        numbers = [row[str(n)] for n in range(1, LEVELS + 1)]
        table.add_row(name, *(f"{n:,}" for n in numbers), f"{sum(numbers):,}")
    console.print(table)
    console.print(f"{manifest['entities']:,} entities, {manifest['synonyms']:,} synonyms; merged: {manifest['merges']}")
    sources = Table("source", "package", "version", "concepts", "licence", title="Sources")
    for source, row in manifest["sources"].items():
        sources.add_row(
            source, row.get("package", ""), row.get("version", ""), f"{row['concepts']:,}", row.get("licence", "yours")
        )
    console.print(sources)


@app.command("show")
def show_command(
    entity: Annotated[str, typer.Argument(help="Id (MONDO:0002076, ICD10CM:J93) or a name.")] = "",
    tree: _TREE = _DEFAULT,
    edges: Annotated[int, typer.Option(help="Edges of the knowledge graph to show.")] = 12,
) -> None:
    """Show one entity: names, place, sources, neighbours. Without an entity: what the tree holds.

    Examples:

        medvlm met show

        medvlm met show MONDO:0002076

        medvlm met show "pleural effusion" --edges 30
    """
    from rich.console import Console

    from med_entity_tree.tree import Tree

    console = Console()
    built = Tree(tree)
    if not entity:
        _print_census(console, built.manifest)
        return
    node = _one(built, entity)
    path = " > ".join(e.name for e in [*reversed(built.ancestors(node.id)), node])
    console.print(f"[bold]{node.id}  {node.name}[/bold]  ({node.kind}, level {node.level}, placed by {node.placed_by})")
    console.print(path, markup=False)
    if node.definition:
        console.print(node.definition, markup=False)
    for synonym in node.synonyms:
        console.print(f"  {synonym.text}  [{synonym.scope}, {synonym.language}, {synonym.source}]", markup=False)
    console.print(f"sources: {', '.join(node.sources)}", markup=False)
    console.print(f"elsewhere: {', '.join(node.xrefs) or 'no cross-references'}", markup=False)
    children = built.children(node.id)
    console.print(f"{len(children)} children: {', '.join(c.name for c in children[:12])}", markup=False)
    steps = list(built.graph.steps(node.id))
    for step in steps[:edges]:
        _print_step(console, built, step)
    if len(steps) > edges:
        console.print(f"  ... and {len(steps) - edges} more edges (--edges)")


def _one(tree, entity: str):
    """The entity of an id or of a name; a name that nothing has is answered with the nearest ones."""
    from med_entity_tree.errors import OntologyError

    if entity in tree:
        return tree[entity]
    found = tree.search(entity, 6)
    if not found:
        raise OntologyError(f"nothing in the tree is called {entity!r}; try fewer words with `medvlm met search`")
    return found[0]


def _print_step(console, tree, step) -> None:
    arrow = f"--{step.edge.kind}-->" if step.forward else f"<--{step.edge.kind}--"
    often = f", {step.edge.frequency:.0%}" if step.edge.frequency >= 0 else ""
    start, end = tree[step.start].name, tree[step.end].name
    console.print(f"  {start}  {arrow}  {end}  ({step.edge.source}{often})", markup=False, highlight=False)


@app.command("search")
def search_command(
    text: Annotated[str, typer.Argument(help="Words of a name, any spelling.")],
    tree: _TREE = _DEFAULT,
    most: Annotated[int, typer.Option(help="Entities to list.")] = 20,
) -> None:
    """Find entities by name: equal names first, then names that begin with the words, then names that hold all of them.

    Example:

        medvlm met search "oesophageal tumours"
    """
    from rich.console import Console
    from rich.table import Table

    from med_entity_tree.tree import Tree

    built = Tree(tree)
    table = Table("id", "name", "root", "level", "below")
    found = built.search(text, most)
    for entity in found:
        below = built[entity.parent].name if entity.parent else ""
        table.add_row(entity.id, entity.name, entity.root, str(entity.level), below)
    console = Console()
    if found:
        console.print(table)
    else:
        console.print(f"nothing is called {text!r}; try fewer words", markup=False)
        raise typer.Exit(1)


@app.command("path")
def path_command(
    start: Annotated[str, typer.Argument(help="Id or name.")],
    end: Annotated[str, typer.Argument(help="Id or name.")],
    tree: _TREE = _DEFAULT,
    kind: Annotated[list[str] | None, typer.Option(help="Only edges of this kind; may be repeated.")] = None,
    most: Annotated[int, typer.Option(help="Longest path in steps.")] = 12,
) -> None:
    """The shortest path between two entities in the knowledge graph, with the source of every step.

    Examples:

        medvlm met path "Marfan syndrome" pneumothorax --kind has_finding

        medvlm met path "pleural effusion" lung
    """
    from rich.console import Console

    from med_entity_tree.tree import Tree

    console = Console()
    built = Tree(tree)
    a, b = _one(built, start), _one(built, end)
    path = built.graph.shortest_path(a.id, b.id, frozenset(kind) if kind else None, most)
    if path is None:
        console.print(f"no path of at most {most} steps from {a.name} to {b.name}", markup=False)
        raise typer.Exit(1)
    for step in path:
        _print_step(console, built, step)


@app.command("export")
def export_command(
    out: Annotated[Path, typer.Argument(help="File to write: .jsonl, .csv, .obo or .graphml.")],
    tree: _TREE = _DEFAULT,
    root: Annotated[str | None, typer.Option(help="Only one root: disease, anatomy, finding, procedure.")] = None,
) -> None:
    """Write the tree for other tools: JSON lines or CSV (entities), OBO (ontology editors), GraphML (graph tools).

    Examples:

        medvlm met export met.obo

        medvlm met export findings.jsonl --root finding
    """
    from rich.console import Console

    from med_entity_tree.export import export
    from med_entity_tree.tree import Tree

    count = export(Tree(tree), out, root)
    Console().print(f"{count:,} entities in {out}", markup=False)


@app.command("tag")
def tag_command(
    text: Annotated[str, typer.Argument(help="A sentence or report, or a file of text.")],
    tree: _TREE = _DEFAULT,
) -> None:
    """Mark the entities of a text, and what the text says of each: there, not there, perhaps, earlier, someone else's.

    Example:

        medvlm met tag "No pneumothorax. Small left pleural effusion, possibly with atelectasis."
    """
    from rich.console import Console
    from rich.table import Table

    from med_entity_tree.tagger import Tagger
    from med_entity_tree.tree import Tree

    if len(text) < 1000 and Path(text).is_file():
        text = Path(text).read_text("utf-8")
    built = Tree(tree)
    table = Table("at", "text", "entity", "id", "said", "counts")
    for mention in Tagger.of_folder(tree).tag(text):
        said = f"{mention.assertion.polarity}, {mention.assertion.time}, {mention.assertion.subject}"
        table.add_row(
            str(mention.start),
            text[mention.start : mention.end],
            built[mention.entity].name,
            mention.entity,
            said,
            "yes" if mention.assertion.present else "no",
        )
    Console().print(table)


@app.command("count")
def count_command(
    source: Annotated[Path, typer.Argument(help="Folder of .txt, or .jsonl, .csv, .tsv, .parquet with a text column.")],
    out: Annotated[Path, typer.Option(help="Folder for the tags; parts that are there are not made again.")],
    tree: _TREE = _DEFAULT,
    text: Annotated[str, typer.Option(help="Column of the text.")] = "text",
    identity: Annotated[
        str | None, typer.Option("--id", help="Column of the document's id; default: row number.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes.")] = 1,
    most: Annotated[int, typer.Option(help="Entities to list.")] = 20,
) -> None:
    """Tag a corpus and count in how many documents each entity is said to be present.

    Run it again after adding documents: only new chunks are tagged. A run that was stopped goes on.

    Examples:

        medvlm met count reports.parquet --text findings --out runs/tags --workers 2

        medvlm met page --tree runs/met --counts runs/tags
    """
    from rich.console import Console
    from rich.progress import Progress, TextColumn, TimeElapsedColumn
    from rich.table import Table

    from med_entity_tree.corpus import read_documents, tag_corpus
    from med_entity_tree.tree import Tree

    built = Tree(tree)
    with Progress(TextColumn("{task.completed:,.0f} documents"), TimeElapsedColumn()) as bar:
        task = bar.add_task("tag", total=None)
        tagged = tag_corpus(
            read_documents(source, text, identity), tree, out, workers, progress=lambda n: bar.advance(task, n)
        )
    table = Table("documents", "mentions", "entity", "id", title="Most often present")
    for entity, documents in tagged.present.most_common(most):
        table.add_row(f"{documents:,}", f"{tagged.mentions[entity]:,}", built[entity].name, entity)
    console = Console()
    console.print(table)
    known = sum(1 for e in built if e.level and tagged.present[e.id])
    reused = f"{tagged.reused:,} tagged earlier"
    console.print(
        f"{tagged.documents:,} documents ({reused}); {known:,} of {len(built):,} entities present", markup=False
    )


@app.command("page")
def page_command(
    out: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("runs/met/tree.html"),
    tree: _TREE = _DEFAULT,
    counts: Annotated[Path | None, typer.Option(help="Folder of `medvlm met count`.")] = None,
) -> None:
    """Write one HTML file in which people walk and search the tree; with counts, branches show what a corpus holds.

    Examples:

        medvlm met page --out tree.html

        medvlm met page --out tree.html --counts runs/tags
    """
    import json

    from rich.console import Console

    from med_entity_tree.errors import OntologyError
    from med_entity_tree.page import write_page
    from med_entity_tree.tree import Tree

    found = None
    if counts is not None:
        if not (counts / "counts.json").is_file():
            raise OntologyError(f"{counts} has no counts.json: make it with `medvlm met count SOURCE --out {counts}`")
        found = json.loads((counts / "counts.json").read_text("utf-8"))["present"]
    size = write_page(Tree(tree), out, found, counts.name if counts else "")
    Console().print(f"{out} ({size / 2**20:.1f} MiB): open it in a browser", markup=False)


_EXAMPLES_COVERAGE = """
How much of a reference another set covers, by AMCS (average maximum cosine similarity) both ways and by equal names.

A set is a folder of `medvlm met build` (with :disease, :finding, :anatomy or :procedure for one root), the word
ONTOLOGY:NAME for an ontology of the packages (ONTOLOGY:MESH), a folder of `medvlm met count` (the entities that a
corpus says are present), or a text file with one name a line.

Examples:

    medvlm met coverage ONTOLOGY:MESH runs/met --out runs/coverage

    medvlm met coverage runs/met:finding runs/tags
"""


@app.command("coverage", help=_EXAMPLES_COVERAGE)
def coverage_command(
    reference: Annotated[str, typer.Argument(help="Set whose coverage is asked for.")],
    covering: Annotated[str, typer.Argument(help="Set that covers it.")],
    tree: _TREE = _DEFAULT,
    out: Annotated[Path | None, typer.Option(help="Folder for coverage.json, misses.csv and coverage.png.")] = None,
    encoder: Annotated[str | None, typer.Option(help="Sentence encoder; default: all-MiniLM-L6-v2.")] = None,
) -> None:
    """Coverage of one set by another (help text above)."""
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    from med_entity_tree.coverage import coverage
    from med_entity_tree.coverage_report import load_set, write_report
    from med_entity_tree.encoder import SentenceEncoder

    console = Console()
    with console.status("reading the sets"):
        one, other = load_set(reference, tree), load_set(covering, tree)
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("encoding", total=len(one.items) + len(other.items))
        found = coverage(one, other, SentenceEncoder(encoder, progress=lambda n: bar.advance(task, n)))
    table = Table("", "n", "AMCS (95 %)", "equal names", "equal synonyms", title=f"{one.name} and {other.name}")
    for label, direction in (("forward", found.forward), ("backward", found.backward)):
        row = direction.summary()
        table.add_row(
            label,
            f"{row['n']:,}",
            f"{row['amcs']:.3f} ({row['amcs low']:.3f} to {row['amcs high']:.3f})",
            f"{row['exact']:.3f}",
            f"{row['synonym']:.3f}",
        )
    console.print(table)
    console.print(f"encoder: {found.encoder}. Forward: how the second set covers the first.", markup=False)
    misses = Table("not covered", "nearest", "cosine", title="Nearest misses of the reference")
    for item, near, cosine in found.forward.misses(12):
        misses.add_row(item.name, near.name, f"{cosine:.2f}")
    console.print(misses)
    if out is not None:
        write_report(found, out)
        console.print(f"report in {out}", markup=False)
