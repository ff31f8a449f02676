"""The line that a person watches: step, loss, speed, share of the peak, and the time that is left."""

import sys

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class StepProgress:
    """A progress bar on a terminal; nothing where the output is a file (the log has lines for that)."""

    def __init__(self, name: str, start: int, steps: int, shown: bool):
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=Console(stderr=True),
            disable=not (shown and sys.stderr.isatty()),
        )
        self._task = self._bar.add_task(name, total=steps, completed=start, numbers="")

    def __enter__(self) -> "StepProgress":
        self._bar.start()
        return self

    def __exit__(self, *_exception) -> None:
        self._bar.stop()

    def step(self, done: int, row: dict | None) -> None:
        """``done`` steps are finished; ``row`` are the newest metrics, if there are new ones."""
        self._bar.update(self._task, completed=done)
        if row:
            self._bar.update(self._task, numbers=describe(row))


def describe(row: dict) -> str:
    """``loss 0.41  35 samples/s  2,100 tok/s  MFU 31%`` from a metrics row."""
    parts = [f"loss {row['loss']:.4f}", f"{row['samples_per_second']:.1f} samples/s"]
    if row.get("tokens_per_second"):
        parts.append(f"{row['tokens_per_second']:,.0f} tok/s")
    parts.append(f"MFU {100 * row['mfu']:.0f}%")
    return "  ".join(parts)
