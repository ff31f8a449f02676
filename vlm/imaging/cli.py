"""``medvlm image``: look at one file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from vlm.imaging import ImageHeader, MedicalImage

app = typer.Typer(no_args_is_help=True, help="Look at medical images: DICOM, NIfTI, PNG, JPEG, TIFF.")

File = Annotated[Path, typer.Argument(help="The image file.")]
_EPILOG_SHOW = """Examples:

medvlm image show chest.dcm

medvlm image show ct.dcm --window lung -o lung.png

medvlm image show cine.dcm --frame 12 --size 512

medvlm image show ct.dcm --window=-600,1500
"""


@app.command(epilog=_EPILOG_SHOW)
def show(
    file: File,
    window: Annotated[
        str | None,
        typer.Option(
            help="A preset (lung, bone, brain, mediastinum, abdomen, liver, spine, pet, ...), auto, file, file:1, "
            "or CENTER,WIDTH. Default: the file's first window, else auto."
        ),
    ] = None,
    size: Annotated[int | None, typer.Option(min=1, help="Longest side in pixels; never enlarges.")] = None,
    frame: Annotated[int, typer.Option(min=0, help="Frame or slice, from 0.")] = 0,
    output: Annotated[
        Path | None, typer.Option("-o", "--out", "--output", help="PNG to write; default FILE.png here.")
    ] = None,
    pet_units: Annotated[str, typer.Option(help="suv (refuse where it cannot be had) or file.")] = "suv",
) -> None:
    """Render a file to PNG with a window, and print its geometry."""
    from PIL import Image

    from vlm.imaging import read_image

    image = read_image(file, frame=frame, pet_units="file" if pet_units == "file" else "suv")
    choice = _parse_window(window)
    picture = image.render(choice, size)
    target = output or Path(f"{file.stem}.png")
    _save(Image.fromarray(picture), target)
    used = None if image.is_colour else image.window(choice)
    label = used and (f"{used.name or 'given'} ({used.function})")
    if used and used.function != "TABLE":
        label = f"{used.name or 'given'}: centre {used.center:g}, width {used.width:g} ({used.function})"
    rows = [
        *_image_rows(image),
        ("window", label or "none (colour)"),
        ("written", f"{target} ({_shape(picture.shape)})"),
    ]
    _table(str(file), rows)


@app.command(epilog="Examples:\n\nmedvlm image info chest.dcm")
def info(file: File) -> None:
    """Print what a file says about its picture, without decoding pixels (no names, dates or identifiers)."""
    from vlm.imaging import read_header

    _table(str(file), _header_rows(read_header(file)))


def _parse_window(text: str | None) -> Any:
    from vlm.imaging import Window, WindowError

    if text is None or "," not in text:
        return text
    numbers = None
    try:
        center, width = (float(part) for part in text.split(","))
        numbers = center, width
    except ValueError:
        pass
    if numbers is None:
        raise WindowError(
            "window_text", "a window is a name or two numbers, CENTER,WIDTH, for example --window=-600,1500"
        )
    return Window(*numbers)


def _save(picture: Any, target: Path) -> None:
    from vlm.imaging import ImagingError

    failed = False
    try:
        picture.save(target, "PNG")
    except OSError:
        failed = True
    if failed:
        raise ImagingError("cannot_write", f"{target} cannot be written: choose another place with -o")


def _image_rows(image: "MedicalImage") -> list[tuple[str, str]]:
    pixels, origin = image.pixels, image.provenance
    rows = [
        ("kind", f"{origin.kind}, {image.modality or 'modality unknown'}"),
        ("pixels", f"{_shape(pixels.shape)}, {pixels.dtype}, {origin.bits_stored or '?'} bits stored"),
        ("frame", f"{origin.frame} of {origin.frames}, counted from 0"),
        ("units", image.units),
        ("range", f"{pixels.min():g} to {pixels.max():g}"),
        ("photometric", f"{origin.photometric}{', low values are white' if image.inverted else ''}"),
    ]
    if image.valid is not None:
        rows.append(("padding", f"{1 - image.valid.mean():.1%} of the pixels"))
    rows += _geometry(image.spacing_mm, image.spacing_source, image.orientation, image.position_mm, pixels.shape)
    rows += [
        ("transfer syntax", _syntax(origin.transfer_syntax)),
        ("decoder", f"{origin.decoder}{', lossy' if origin.lossy else ''}"),
        ("sha256", origin.sha256),
    ]
    return [*rows, ("notes", ", ".join(origin.notes))] if origin.notes else rows


def _header_rows(header: "ImageHeader") -> list[tuple[str, str]]:
    rows = [
        ("kind", f"{header.kind}, {header.modality or 'modality unknown'}"),
        (
            "pixels",
            f"{header.rows} x {header.columns}, {header.samples} sample(s), {header.bits_stored or '?'} bits stored",
        ),
        ("frames", str(header.frames)),
        ("photometric", header.photometric or "unknown"),
        ("view", " ".join(filter(None, (header.view_position, header.laterality))) or "unknown"),
    ]
    shape = (header.rows, header.columns)
    rows += _geometry(header.spacing_mm, header.spacing_source, header.orientation, header.position_mm, shape)
    rows.append(("transfer syntax", _syntax(header.transfer_syntax)))
    return [*rows, ("notes", ", ".join(header.notes))] if header.notes else rows


def _geometry(
    spacing: Any, source: str, orientation: Any, position: Any, shape: tuple[int, ...]
) -> list[tuple[str, str]]:
    from vlm.imaging.orientation import name_orientation

    if spacing:
        size = f"{shape[0] * spacing[0]:.1f} x {shape[1] * spacing[1]:.1f} mm"
        rows = [("spacing", f"{spacing[0]:g} x {spacing[1]:g} mm (row, column; {source}); picture {size}")]
    else:
        rows = [("spacing", "unknown: nothing is measured in mm")]
    if orientation:
        rows.append(("orientation", f"{name_orientation(orientation)}, LPS"))
    if position:
        rows.append(("position", f"{', '.join(f'{v:.1f}' for v in position)} mm, LPS"))
    return rows


def _syntax(uid: str | None) -> str:
    from pydicom.uid import UID

    return UID(uid).name if uid else "none"


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in shape)


def _table(title: str, rows: list[tuple[str, str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    Console().print(table)
