"""``medvlm data decontaminate manifest | scan``."""

from pathlib import Path
from typing import Annotated

import typer

_MANIFEST_EXAMPLES = """
Examples:

\b
  medvlm data decontaminate manifest runs/sim --out runs/manifests/sim-test.npz
  medvlm data decontaminate manifest runs/shards/test --name held-out --out held-out.npz
  medvlm data decontaminate manifest medqa.jsonl --map question=stem --map options=choices --out medqa.npz

A benchmark is a folder of shards, a folder of studies as `medvlm bench` reads it, or a table of questions (.csv, .tsv,
.jsonl, .parquet). Several become several manifests in the folder --out.
"""

_SCAN_EXAMPLES = """
Examples:

\b
  medvlm data decontaminate scan runs/shards/train --manifest sim-test.npz --out runs/decontamination
  medvlm data decontaminate scan shards/a shards/b --manifest manifests/ --out report --remove excluded.json --workers 8
  medvlm data decontaminate scan corpus.parquet --manifest medqa.npz --map text=body --out report

Exit status 1 says that something was found. --remove writes the samples to leave out; a recipe takes the list as
data.decontamination.exclude=[excluded.json].
"""

_SALT = "MEDVLM_DECONTAMINATION_SALT"


def register(app: typer.Typer) -> None:
    """Add the two commands to the app of ``medvlm data``."""
    group = typer.Typer(no_args_is_help=True, help="Find benchmark items in training data, and keep them out.")
    group.command("manifest", epilog=_MANIFEST_EXAMPLES)(manifest_command)
    group.command("scan", epilog=_SCAN_EXAMPLES)(scan_command)
    app.add_typer(group, name="decontaminate")


def manifest_command(
    benchmarks: Annotated[list[Path], typer.Argument(help="Shard folder, folder of studies, or table of questions.")],
    out: Annotated[Path, typer.Option(help="Manifest (.npz), or a folder for several.")],
    name: Annotated[str | None, typer.Option(help="Name of the benchmark, where there is one.")] = None,
    split: Annotated[str, typer.Option(help="Split of a folder of studies.")] = "test",
    map: Annotated[list[str] | None, typer.Option(metavar="FIELD=COLUMN", help="Column of a table's field.")] = None,
    salt: Annotated[str, typer.Option(help="Secret of the hashes; a scan needs it again.", envvar=_SALT)] = "",
    id_salt: Annotated[
        str, typer.Option(help="The --salt of `data import`, for patient ids of tables.", envvar="MEDVLM_SALT")
    ] = "",
) -> None:
    """Hash a benchmark: what is needed to find its items, with no text in it."""
    from rich.console import Console

    from pretrain.decontamination.benchmarks import benchmark_name, read_benchmark
    from pretrain.decontamination.errors import DecontaminationError
    from pretrain.decontamination.manifest import build_manifest
    from vlm.console import progress

    if len(benchmarks) > 1 and (name or out.suffix == ".npz"):
        raise DecontaminationError("several benchmarks need a folder as --out, and take their own names")
    columns = _columns(map)
    console = Console(soft_wrap=True)
    for path in benchmarks:
        called = name or benchmark_name(path, split)
        with progress(f"hashing {called}", console=console) as advance:
            items = read_benchmark(path, split=split, columns=columns, id_salt=id_salt)
            manifest = build_manifest(called, items, salt=salt, progress=advance)
        file = out if out.suffix == ".npz" else out / f"{called}.npz"
        manifest.save(file)
        counts = manifest.head["counts"]
        console.print(
            f"[bold]{file}[/]: {counts['items']:,} items, {counts['images']:,} images, {counts['texts']:,} texts "
            f"({counts['boilerplate_words']:,} of their {counts['words']:,} words are boilerplate)"
        )
        if counts["flat_images"]:
            console.print(f"  {counts['flat_images']:,} images are flat (blank): they cannot be looked for")
        if not salt:
            console.print("  made without --salt: who guesses a text can confirm the guess")


def scan_command(
    training: Annotated[list[Path], typer.Argument(help="Shard folders, and tables of text.")],
    manifest: Annotated[list[Path], typer.Option(help="Manifest, or a folder of them; may be repeated.")],
    out: Annotated[Path, typer.Option(help="Folder for matches.parquet, summary.json and index.html.")],
    remove: Annotated[Path | None, typer.Option(help="Write the list of samples to leave out.")] = None,
    map: Annotated[list[str] | None, typer.Option(metavar="FIELD=COLUMN", help="Column of a table's field.")] = None,
    salt: Annotated[str, typer.Option(help="Secret that the manifests were made with.", envvar=_SALT)] = "",
    id_salt: Annotated[
        str, typer.Option(help="The --salt of `data import`, for patient ids of tables.", envvar="MEDVLM_SALT")
    ] = "",
    workers: Annotated[int, typer.Option(min=1, help="Processes; a shard is one piece of work.")] = 1,
    cache: Annotated[Path | None, typer.Option(help="Folder for results; default beside the shards.")] = None,
) -> None:
    """Compare training data with benchmark manifests; say which samples hold what."""
    from rich.console import Console

    from pretrain.decontamination.content import TABLES, Table
    from pretrain.decontamination.errors import DecontaminationError
    from pretrain.decontamination.exclude import write_excluded
    from pretrain.decontamination.manifest import Manifest
    from pretrain.decontamination.match import Matcher
    from pretrain.decontamination.report import write_report
    from pretrain.decontamination.scan import count_samples, scan, source_name
    from pretrain.shards.index import ShardSet
    from vlm.console import progress

    columns = _columns(map)
    sources = [
        Table(path, columns, id_salt) if path.suffix.lower() in TABLES else ShardSet.open(path) for path in training
    ]
    names = [source_name(source) for source in sources]
    if len(set(names)) < len(names):
        raise DecontaminationError(
            f"two data sets have the same name ({', '.join(names)}): scan them one after another"
        )
    if remove and not all(isinstance(source, ShardSet) for source in sources):
        raise DecontaminationError("--remove is for shard folders: a table has no plan that could leave samples out")
    files = [file for path in manifest for file in (sorted(path.glob("*.npz")) if path.is_dir() else [path])]
    matcher = Matcher([Manifest.load(file) for file in files], salt)
    console = Console(soft_wrap=True)
    with progress("comparing", count_samples(sources), console=console) as advance:
        verdict = scan(matcher, sources, workers=workers, cache=cache, progress=advance)
    summary = write_report(out, verdict, matcher, sources)
    for row in summary["evidence"]:
        kind = "[red]contamination[/]" if row["contamination"] else "shared template"
        console.print(
            f"{row['benchmark']}: {row['evidence']}, {kind}: {row['samples']:,} samples, {row['items']:,} items"
        )
    found = verdict.contaminated()
    total = sum(len(keys) for keys in found.values())
    console.print(
        f"{total:,} of {verdict.counts['documents']:,} samples hold something of a benchmark; see {out}/index.html"
    )
    if remove:
        count = write_excluded(remove, found, [s for s in sources if isinstance(s, ShardSet)])
        console.print(f"{remove} lists {count:,} samples: data.decontamination.exclude=[{remove}]", markup=False)
    if total:
        raise typer.Exit(1)


def _columns(map: list[str] | None) -> dict[str, str]:
    from vlm.console import named_values

    return named_values(map or (), option="--map", form="FIELD=COLUMN", example="text=body")
