"""``medvlm data deidentify`` and ``medvlm data reidentify``."""

from pathlib import Path
from typing import Annotated

import typer

from pretrain.deidentify.options import DateOrder, Dates

_EXAMPLES = """
Examples:

\b
  medvlm data deidentify /data/raw --out /data/clean --key ~/keys/study7.key
  medvlm data deidentify raw --out clean --key k.key --keep-patient-characteristics --workers 8
  medvlm data deidentify raw --out clean --key k.key --names staff.txt --column befund=text --column label=keep
  medvlm data deidentify raw --out clean --key k.key --mapping ~/keys/study7.map

The source holds DICOM files, report texts (.txt, .md) and tables (.csv, .tsv, .jsonl). The same key gives the same
pseudonyms, UIDs and date shifts in every run. An interrupted run goes on when it is started again. What cannot be made
safe is refused and counted; the refused files are named beside the key, never in the output.
"""


def register(app: typer.Typer) -> None:
    """Add both commands to the app of ``medvlm data``."""
    app.command("deidentify", epilog=_EXAMPLES)(deidentify_command)
    app.command("reidentify", epilog="Example:\n\n\b\n  medvlm data reidentify P0123456789ABCDE --mapping m --key k")(
        reidentify_command
    )


def deidentify_command(
    source: Annotated[Path, typer.Argument(help="Folder with DICOM files, report texts and tables.")],
    out: Annotated[Path, typer.Option(help="Folder for what is de-identified.")],
    key: Annotated[Path, typer.Option(help="Key file, made where it is missing; never inside the output.")],
    dates: Annotated[
        Dates, typer.Option(help="Dates: shifted by days of the patient, removed, or kept.")
    ] = Dates.shift,
    date_order: Annotated[DateOrder, typer.Option(help="How 3/5/2021 in a report is read.")] = DateOrder.mdy,
    shift_birth_date: Annotated[bool, typer.Option("--shift-birth-date", help="Shift it; else it is emptied.")] = False,
    keep_patient_characteristics: Annotated[
        bool, typer.Option("--keep-patient-characteristics", help="Sex, age (to 90), size, weight. SUV needs it.")
    ] = False,
    keep_device: Annotated[bool, typer.Option("--keep-device", help="Serial numbers and station names.")] = False,
    keep_institution: Annotated[bool, typer.Option("--keep-institution", help="Institution name and address.")] = False,
    keep_uids: Annotated[bool, typer.Option("--keep-uids", help="UIDs as they are.")] = False,
    keep_safe_private: Annotated[
        bool, typer.Option("--keep-safe-private", help="Numbers of known private elements (diffusion, PET scale).")
    ] = False,
    descriptions: Annotated[
        bool, typer.Option("--descriptions/--no-descriptions", help="Keep clinical words of descriptions.")
    ] = True,
    ocr: Annotated[bool, typer.Option("--ocr/--no-ocr", help="Look for text in pixels and remove it.")] = True,
    skip_ocr: Annotated[str, typer.Option(metavar="CT,MR", help="Modalities whose pixels are not searched.")] = "",
    keep_markers: Annotated[bool, typer.Option("--keep-markers", help="Leave a lone L or R in the pixels.")] = False,
    names: Annotated[Path | None, typer.Option(help="Text file, one name of a person or place a line.")] = None,
    column: Annotated[list[str] | None, typer.Option(metavar="NAME=KIND", help="What a table's column holds.")] = None,
    mapping: Annotated[Path | None, typer.Option(help="File for the encrypted way back.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Do again what an earlier run did.")] = False,
) -> None:
    """Remove identities from DICOM files, reports and tables; refuse what cannot be proven clean."""
    from rich.console import Console

    from pretrain.deidentify.options import Options
    from pretrain.deidentify.run import Request, deidentify
    from vlm.console import named_values, stages

    options = Options(
        dates=dates,
        shift_birth_date=shift_birth_date,
        keep_patient_characteristics=keep_patient_characteristics,
        keep_device=keep_device,
        keep_institution=keep_institution,
        keep_uids=keep_uids,
        keep_safe_private=keep_safe_private,
        clean_descriptors=descriptions,
        clean_pixels=ocr,
        skip_ocr=tuple(skip_ocr.split(",")),
        keep_markers=keep_markers,
        date_order=date_order,
    )
    columns = named_values(column or (), option="--column", form="NAME=KIND", example="befund=text", last_equals=True)
    request = Request(source, out, key, options, workers, columns, _lines(names), mapping, overwrite)
    console = Console(soft_wrap=True)
    with stages(console=console, clock="left") as on_step:
        report = deidentify(request, on_step=on_step)
    written = ", ".join(f"{n} {kind}" for kind, n in sorted(report.written.items())) or "nothing"
    console.print(f"[bold]{out}[/]: {written}" + (f"; {report.before} were done before" if report.before else ""))
    for what, n in sorted(report.counts.items()):
        console.print(f"  {n} x {what}", markup=False)
    for code, n in sorted(report.refused.items(), key=lambda item: -item[1]):
        console.print(f"  [red]refused {n}[/]: {code}")
    if report.refused_list is not None:
        console.print(f"{report.refused_list} names the refused files; it holds paths of the source: do not share it.")
    console.print("Rules find what they know. Look at a sample before you give data away (docs/deidentify.md).")
    if not report.written:
        raise typer.Exit(1)


def reidentify_command(
    pseudonym: Annotated[str, typer.Argument(help="Patient ID of a de-identified file.")],
    mapping: Annotated[Path, typer.Option(help="Encrypted mapping file of the run.")],
    key: Annotated[Path, typer.Option(help="Key file of the run.")],
) -> None:
    """Say whom a pseudonym stands for, to those who hold the key and the mapping."""
    from rich.console import Console

    from pretrain.deidentify.errors import KeyFileError
    from pretrain.deidentify.keys import MappingFile, check_private, load_key

    if not mapping.is_file():
        raise KeyFileError(f"there is no mapping file {mapping}")
    check_private(key)
    found = [old for _kind, new, old in MappingFile(mapping, load_key(key)).read() if new == pseudonym.strip().upper()]
    if not found:
        raise KeyFileError("the mapping file does not know this pseudonym")
    for line in found:
        Console(soft_wrap=True).print(line, markup=False)


def _lines(path: Path | None) -> tuple[str, ...]:
    if path is None:
        return ()
    if not path.is_file():
        raise typer.BadParameter(f"there is no file {path}", param_hint="--names")
    return tuple(line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip())
