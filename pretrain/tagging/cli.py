"""``medvlm data tag`` and ``medvlm data labels``."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pretrain.tagging.labels import LabelForm

_TREE = Annotated[Path, typer.Option("--tree", help="Folder of `medvlm met build`.")]


class Known(StrEnum):
    chexpert = "chexpert"
    nih = "nih"
    google_nih = "google-nih"
    padchest = "padchest"
    vinbigdata = "vinbigdata"


_TAG_EXAMPLES = """
Examples:

\b
  medvlm data tag runs/shards/train --tree runs/met --out runs/tagged
  medvlm data tag runs/shards/train --out runs/tagged --workers 4 --dicom /data/cr
  medvlm data tag shards/nih --out tagged/nih --labels Data_Entry_2017.csv --labels-as nih
  medvlm data tag own --out own-tagged --labels t.csv --labels-key file --label-columns mass,cyst --mapping map.tsv

Entities come from what conversations say, from labels, and from DICOM headers (--dicom: the original files, found by
their hash). Only what is affirmed, current and the patient's counts. Run again after an interruption, it goes on.
"""

_LABELS_EXAMPLES = """
Examples:

\b
  medvlm data labels train.csv --labels-as chexpert
  medvlm data labels own.csv --label-columns effusion,mass --labels-key file --out map.tsv
"""


def register(app: typer.Typer) -> None:
    """Add both commands to the app of ``medvlm data``."""
    app.command("tag", epilog=_TAG_EXAMPLES)(tag_command)
    app.command("labels", epilog=_LABELS_EXAMPLES)(labels_command)


def tag_command(
    shards: Annotated[Path, typer.Argument(help="Folder with dataset.json.")],
    out: Annotated[Path, typer.Option(help="New folder for the tagged shards.")],
    tree: _TREE = Path("runs/met"),
    labels: Annotated[Path | None, typer.Option(help="Table of labels (.csv, .tsv, also .gz).")] = None,
    labels_as: Annotated[Known | None, typer.Option(help="The table is one of these.")] = None,
    labels_key: Annotated[str, typer.Option(help="Column with the sample key or the file name.")] = "",
    label_columns: Annotated[str, typer.Option(metavar="A,B", help="Columns with 1, 0, -1 or nothing.")] = "",
    label_list: Annotated[str, typer.Option(help="One column with several labels.")] = "",
    separator: Annotated[str, typer.Option(help="Between labels of --label-list; [] for a Python list.")] = "|",
    mapping: Annotated[Path | None, typer.Option(help="Your mapping of labels (see `medvlm data labels`).")] = None,
    count_unmapped: Annotated[
        bool, typer.Option("--count-unmapped", help="Count labels without an entity instead of refusing them.")
    ] = False,
    dicom: Annotated[Path | None, typer.Option(help="Folder of the original DICOM files, for their headers.")] = None,
    text: Annotated[bool, typer.Option("--text/--no-text", help="Tag what conversations say.")] = True,
    workers: Annotated[int, typer.Option(min=1, help="Processes; the result does not depend on them.")] = 1,
) -> None:
    """Write shards anew with the entities of each sample in its record and in the index."""
    from rich.console import Console

    from pretrain.shards.index import read_manifest
    from pretrain.tagging.shards import LabelTable, TagOptions, tag_shards
    from vlm.console import progress

    form = _form(labels_as, labels_key, label_columns, label_list, separator) if labels else None
    table = LabelTable(labels, form) if labels and form else None
    console = Console(soft_wrap=True)
    options = TagOptions(tree, table, mapping, dicom, count_unmapped, text)
    with progress("tagging", read_manifest(shards)["counts"]["samples"], console=console, clock="left") as advance:
        report = tag_shards(shards, out, options, workers=workers, progress=advance)
    console.print(f"[bold]{out}[/]: {report.samples:,} samples, {report.reused:,} of them tagged before")
    for what, n in sorted(report.counts.items()):
        console.print(f"  {n:,} {what}", markup=False)
    for what, n in report.unmapped.most_common(20):
        console.print(f"  no entity for {what}: {n:,}", markup=False)
    console.print(f"Next: medvlm met page --counts {out}", markup=False)


def labels_command(
    table: Annotated[Path, typer.Argument(help="Table of labels (.csv, .tsv, also .gz).")],
    tree: _TREE = Path("runs/met"),
    labels_as: Annotated[Known | None, typer.Option(help="The table is one of these.")] = None,
    labels_key: Annotated[str, typer.Option(help="Column with the sample key or the file name.")] = "",
    label_columns: Annotated[str, typer.Option(metavar="A,B", help="Columns with 1, 0, -1 or nothing.")] = "",
    label_list: Annotated[str, typer.Option(help="One column with several labels.")] = "",
    separator: Annotated[str, typer.Option(help="Between labels of --label-list; [] for a Python list.")] = "|",
    mapping: Annotated[Path | None, typer.Option(help="Your mapping so far.")] = None,
    out: Annotated[Path | None, typer.Option(help="Mapping file to write and edit.")] = None,
) -> None:
    """Show which entity each label of a table stands for, and write a mapping to edit."""
    from rich.console import Console
    from rich.table import Table

    from med_entity_tree.tree import Tree
    from pretrain.tagging.labels import LabelMap, labels_of, write_mapping

    form = _form(labels_as, labels_key, label_columns, label_list, separator)
    known = LabelMap(Tree(tree), form.mapping, mapping)
    found = labels_of(table, form)
    shown = Table("times", "label", "entity", title=str(table))
    for label, n in sorted(found.items(), key=lambda item: (-item[1], item[0])):
        entities = known.entities(label)
        near = "? near: " + "; ".join(known.tree[e].name for e in known.near(label)) if entities is None else ""
        shown.add_row(f"{n:,}", label, near or "; ".join(f"{known.tree[e].name} ({e})" for e in entities or ()) or "-")
    console = Console(soft_wrap=True)
    console.print(shown)
    if out is not None:
        mapped, unknown = write_mapping(out, form.mapping or "*", found, known)
        console.print(f"{out}: {mapped} labels mapped, {unknown} to be filled in", markup=False)


def _form(known: Known | None, key: str, columns: str, listed: str, separator: str) -> "LabelForm":
    from pretrain.tagging.labels import FORMS, LabelForm

    if known is not None:
        return FORMS[known.value]
    if bool(columns) == bool(listed) or not key:
        raise typer.BadParameter(
            "say how the table is read: --labels-as, or --labels-key with either --label-columns or --label-list"
        )
    if columns:
        return LabelForm("columns", key, tuple(c.strip() for c in columns.split(",") if c.strip()))
    return LabelForm("list", key, (listed,), separator)
