"""What the commands share: bars that show how far a run is, and options that are written NAME=VALUE."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import typer

if TYPE_CHECKING:  # rich's bars are loaded when one is shown: `medvlm --help` shows none
    from rich.console import Console
    from rich.progress import Progress, TaskID

Clock = Literal["elapsed", "left", "both", "none"]
Advance = Callable[[int], None]  # so many more are done
OnStep = Callable[[str, int, int | None], None]  # stage, done so far, of (None: not known)


def bars(
    console: "Console | None" = None, *, clock: Clock = "elapsed", counts: bool = True, transient: bool = True
) -> "Progress":
    """Rows of words, bar, done/of (with ``counts``) and times; to be entered with ``with``.

    Args:
        console: where they are shown; rich's own if left out.
        clock: the time that has passed, the time that is left, both or none.
        transient: the rows vanish at the end.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = [TextColumn("{task.description}"), BarColumn()]
    columns += [MofNCompleteColumn()] if counts else []
    columns += [TimeElapsedColumn()] if clock in ("elapsed", "both") else []
    columns += [TimeRemainingColumn()] if clock in ("left", "both") else []
    return Progress(*columns, console=console, transient=transient)


@contextmanager
def progress(
    words: str,
    total: int | None = None,
    *,
    console: "Console | None" = None,
    clock: Clock = "elapsed",
    counts: bool = True,
) -> Iterator[Advance]:
    """One bar; gives ``advance(n)``, to be called with the number that is done since the last call.

    >>> with progress("reading", total=2) as advance:
    ...     for _ in range(2):
    ...         advance(1)
    """
    with bars(console, clock=clock, counts=counts) as shown:
        task = shown.add_task(words, total=total)
        yield lambda number: shown.advance(task, number)


@contextmanager
def stages(*, console: "Console | None" = None, clock: Clock = "elapsed", transient: bool = True) -> Iterator[OnStep]:
    """A bar a stage; gives ``on_step(stage, done, of)``, to be called with what is done so far.

    A stage gets its bar when it is first named. ``of`` may be None as long as it is not known.
    """
    tasks: dict[str, TaskID] = {}
    with bars(console, clock=clock, transient=transient) as shown:

        def on_step(stage: str, done: int, of: int | None) -> None:
            if stage not in tasks:
                tasks[stage] = shown.add_task(stage, total=of)
            shown.update(tasks[stage], completed=done, total=of)

        yield on_step


def named_values(
    given: Iterable[str], *, option: str, form: str, example: str, last_equals: bool = False
) -> dict[str, str]:
    """``["text=caption"]`` -> ``{"text": "caption"}``, both as they were typed; a name given twice has its last value.

    Args:
        option: as on the command line, for the error.
        form: what the parts are, for the error: FIELD=COLUMN.
        last_equals: names may hold an equals sign; else values may.

    Raises:
        typer.BadParameter: a text without a name or without a value.
    """
    values = {}
    for text in given:
        name, equals, value = text.rpartition("=") if last_equals else text.partition("=")
        if not (name and equals and value):
            raise _bad(text, option, form, example)
        values[name] = value
    return values


def named_numbers(given: Iterable[str], *, option: str, form: str, example: str) -> dict[str, float]:
    """``["train=0.9", "val=0.1"]`` -> ``{"train": 0.9, "val": 0.1}``; blanks around names and numbers do not count.

    Raises:
        typer.BadParameter: a text without a name, or whose value is no number.
    """
    numbers = {}
    for text in given:
        name, _, number = text.partition("=")
        try:
            numbers[name.strip()] = float(number)
        except ValueError:
            raise _bad(text, option, form, example) from None
        if not name.strip():
            raise _bad(text, option, form, example)
    return numbers


def _bad(text: str, option: str, form: str, example: str) -> typer.BadParameter:
    return typer.BadParameter(f"{text!r} is not {form}, for example {example}", param_hint=option)
