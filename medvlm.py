"""The command ``medvlm``: one subcommand a stage of the road. Nothing imports this module."""

import errno
import logging
import os
import sys

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape

import bench.cli
import med_entity_tree.cli
import medvlm_quickstart
import pretrain.cli_data
import pretrain.cli_train
import pretrain.sources.chest.cli
import serving.cli
import serving.cli_client
import vlm.cli
import vlm.imaging.cli
from vlm import doctor as machine
from vlm.errors import MedVLMError

app = typer.Typer(
    name="medvlm",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="rich",
    help=(
        "Train, measure and serve medical vision-language models, from the DICOM study to the answer.\n\n"
        "Start with [bold]medvlm quickstart[/bold] or [bold]medvlm doctor[/bold]."
    ),
    epilog="A model answer is not a diagnosis. Anything trained on simulated images says so.",
)

app.command("quickstart")(medvlm_quickstart.quickstart)
pretrain.cli_data.app.command("simulate")(pretrain.sources.chest.cli.simulate)
app.add_typer(vlm.imaging.cli.app, name="image", help="Look at DICOM, NIfTI, PNG, JPEG and TIFF files.")
app.add_typer(pretrain.cli_data.app, name="data", help="Simulate, import, inspect and verify training data.")
app.add_typer(med_entity_tree.cli.app, name="met", help="Build, search, walk and use the Medical Entity Tree.")
app.add_typer(vlm.cli.app, name="model", help="Build and describe vision-language models.")
app.command("train")(pretrain.cli_train.train)
app.command("serve", epilog=serving.cli.EPILOG)(serving.cli.serve)
app.command("chat")(serving.cli_client.chat)
app.command("predict")(serving.cli_client.predict)
app.add_typer(bench.cli.app, name="bench", help="Measure a model on held-out patients and report it.")


@app.command()
def doctor() -> None:
    """Say what this machine can do, and what is missing.

    Example: medvlm doctor
    """
    raise typer.Exit(machine.report(Console()))


@app.callback()
def options(
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Say more on the way (also MEDVLM_LOG=debug)."),
) -> None:
    """Common options."""
    level = "DEBUG" if verbose else os.environ.get("MEDVLM_LOG", "INFO").upper()
    logging.basicConfig(
        level=level,
        format="%(message)s",
        datefmt="%H:%M:%S",
        handlers=[RichHandler(console=Console(stderr=True), show_path=False, rich_tracebacks=False)],
    )
    for chatty in ("httpx", "httpx2", "httpcore", "urllib3", "filelock", "matplotlib", "fsspec", "tracing.span"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def main() -> None:
    """Run the command; an error that a person can act on is one sentence and exit status 2."""
    try:
        app()
    except MedVLMError as error:
        _fail(str(error))
    except OSError as error:
        if error.errno == errno.ENOSPC:
            _fail(f"no space left on the disk that holds {error.filename or 'the output'}: free some and run again")
        raise
    except KeyboardInterrupt:
        _fail("stopped; run the same command to go on where it was", status=130)


def _fail(sentence: str, status: int = 2) -> None:
    Console(stderr=True).print(f"[bold red]medvlm:[/bold red] {escape(sentence)}", highlight=False)
    sys.exit(status)


if __name__ == "__main__":
    main()
