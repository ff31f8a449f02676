"""`medvlm chat` and `medvlm predict`: questions to a served model, one by one or by the table."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from serving.client import Client

Url = Annotated[str | None, typer.Option(help="Server; MEDVLM_URL or http://127.0.0.1:8000 when not given.")]
Key = Annotated[str | None, typer.Option(help="API key; better in MEDVLM_API_KEY.", show_default=False)]
Model = Annotated[str | None, typer.Option(help="Name of the model; the server's first when not given.")]
MaxTokens = Annotated[int | None, typer.Option(min=1, help="Longest answer; the server decides when not given.")]
Temperature = Annotated[float, typer.Option(min=0, max=2, help="0 = always the likeliest word.")]
Local = Annotated[bool, typer.Option("--render-locally", help="Draw DICOM here; for servers that take PNG only.")]

HELP = """/image FILE [WINDOW]   show an image with the next question (lung, bone, brain, ...)
/frame N               frame of the images that follow
/reset                 forget the talk
/help, /quit"""


def chat(
    question: Annotated[str | None, typer.Argument(help="Asked once; without it the chat is interactive.")] = None,
    image: Annotated[list[Path] | None, typer.Option(help="DICOM, NIfTI, PNG, JPEG or TIFF; repeat for more.")] = None,
    window: Annotated[str | None, typer.Option(help="Preset (lung, bone, ...) or CENTRE,WIDTH.")] = None,
    frame: Annotated[int, typer.Option(min=0, help="Frame of files that have several.")] = 0,
    system: Annotated[str | None, typer.Option(help="System message.")] = None,
    max_tokens: MaxTokens = None,
    temperature: Temperature = 0.0,
    url: Url = None,
    key: Key = None,
    model: Model = None,
    render_locally: Local = False,
) -> None:
    """Ask a served model about images, once or in a talk.

    Examples:

        medvlm chat --image chest.dcm "Is there an effusion?"

        medvlm chat --image ct.dcm --window lung

        medvlm chat --url http://gpu-box:8000 --image a.dcm --image b.dcm "What has changed?"
    """
    from rich.console import Console

    from serving.client import Client

    console = Console(highlight=False)
    fields = given(max_tokens=max_tokens, temperature=temperature)
    with Client(url, key, model=model, render_locally=render_locally) as client:
        talk = _Talk(client, console, fields, system)
        for path in image or []:
            talk.show(path, parse_window(window), frame)
        if question is not None:
            talk.ask(question)
            return
        console.print(f"Talking to [bold]{client.model}[/bold]. Not for diagnosis. /help for commands.")
        talk.run()


class _Talk:
    """Messages so far, and the images that go with the next question."""

    def __init__(self, client: Client, console: Console, fields: dict[str, Any], system: str | None) -> None:
        self._client = client
        self._console = console
        self._fields = fields
        self._system = [{"role": "system", "content": system}] if system else []
        self._messages: list[dict[str, Any]] = list(self._system)
        self._shown: list[dict[str, Any]] = []
        self._frame = 0

    def show(self, path: Path, window: str | tuple[float, float] | None, frame: int) -> None:
        self._shown.append(self._client.image(path, window=window, frame=frame))

    def ask(self, question: str) -> None:
        """Print the answer as it comes. A refused question is taken back; its images stay for the next try."""
        content = [*self._shown, {"type": "text", "text": question}] if self._shown else question
        asked = [*self._messages, {"role": "user", "content": content}]
        pieces: list[str] = []
        try:
            for piece in self._client.stream(asked, **self._fields):
                pieces.append(piece)
                self._console.print(printable(piece), end="", markup=False, soft_wrap=True)
        finally:
            if pieces:
                self._console.print()
        self._shown = []
        self._messages = [*asked, {"role": "assistant", "content": "".join(pieces)}]

    def run(self) -> None:
        from vlm.errors import MedVLMError

        while True:
            try:
                line = self._console.input("[bold cyan]> [/]").strip()
            except (EOFError, KeyboardInterrupt):
                return
            try:
                if line in ("/quit", "/exit"):
                    return
                if line.startswith("/"):
                    self._command(line)
                elif line:
                    self.ask(line)
            except MedVLMError as error:
                self._console.print(f"[red]{printable(str(error))}[/]", markup=True)
            except KeyboardInterrupt:
                self._console.print("[dim](stopped)[/]")

    def _command(self, line: str) -> None:
        name, _, rest = line.partition(" ")
        if name == "/image" and rest:
            path, _, window = rest.strip().rpartition(" ")
            if not path or Path(rest.strip()).exists():
                path, window = rest.strip(), ""
            self.show(Path(path).expanduser(), parse_window(window or None), self._frame)
            self._console.print(f"[dim]{len(self._shown)} image(s) with the next question[/]")
        elif name == "/frame" and rest.strip().isdecimal():
            self._frame = int(rest)
        elif name == "/reset":
            self._messages, self._shown = list(self._system), []
        else:
            self._console.print(HELP, markup=False)


def predict(
    source: Annotated[Path, typer.Argument(help="Table (.jsonl, .csv) or folder of medvlm shards.")],
    out: Annotated[Path | None, typer.Option(help="Answers, JSONL; SOURCE.answers.jsonl when not given.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=512, help="Requests in flight.")] = 8,
    max_tokens: MaxTokens = None,
    temperature: Temperature = 0.0,
    seed: Annotated[int | None, typer.Option(help="Seed of the sampling.")] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds for one answer.")] = 600,
    url: Url = None,
    key: Key = None,
    model: Model = None,
    render_locally: Local = False,
) -> None:
    """Answer a table of questions; run it again to go on where it stopped.

    A row has `question`, `images` (paths beside the table), and if you like `id`, `window`, `frame`, `reference`; or
    `messages`. Rows that were answered are skipped, failed ones are asked again, a changed question is asked anew.
    Ends with status 1 when rows failed; each says why in its line.

    Examples:

        medvlm predict questions.csv --out answers.jsonl

        medvlm predict data/chest/val.jsonl --concurrency 32 --max-tokens 8

        medvlm predict shards/val --url http://gpu-box:8000
    """
    from rich.console import Console

    from serving.client import Client
    from serving.predict import Answers, Totals, default_output, read_rows
    from serving.predict import predict as run

    target = out or default_output(source)
    fields = given(max_tokens=max_tokens, temperature=temperature, seed=seed)
    console = Console(stderr=True, highlight=False)
    rows = read_rows(source)
    with Client(url, key, model=model, timeout=timeout, retries=5, render_locally=render_locally) as client:
        fields["model"] = client.model
        answers = Answers(target)
        try:
            with console.status("asking") as status:

                def tell(totals: Totals) -> None:
                    failed = sum(totals.failed.values())
                    status.update(f"{totals.answered} answered, {totals.skipped} were there, {failed} failed")

                totals = run(rows, client, answers, concurrency=concurrency, fields=fields, on_row=tell)
        finally:
            answers.close()
    console.print(f"{totals.answered} answered, {totals.skipped} were there already -> {target}")
    for code, count in totals.failed.most_common():
        console.print(f"[red]{count} failed: {code}[/]")
    if totals.failed:
        raise typer.Exit(1)


def given(**fields: Any) -> dict[str, Any]:
    """Those that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def parse_window(text: str | None) -> str | tuple[float, float] | None:
    """A preset's name, or CENTRE,WIDTH as two numbers.

    Raises:
        typer.BadParameter: two things that are no numbers.
    """
    if text is None or "," not in text:
        return text
    try:
        center, width = (float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter("a window is a preset's name or CENTRE,WIDTH, for example -600,1500") from None
    return center, width


def printable(text: str) -> str:
    """`text` without control characters: what a model writes must not steer the terminal."""
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf"))
