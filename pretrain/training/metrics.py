"""What a run reports: JSON lines, TensorBoard, Weights & Biases if asked, and a loss plot at the end."""

import json
import logging
import os
from pathlib import Path
from typing import Any

from pretrain.training.errors import TrainingError
from pretrain.training.runfolder import RunFolder

log = logging.getLogger(__name__)


class MetricsWriter:
    """Rows of metrics, each with its step, to every place that was asked for.

    On resume the rows after the checkpoint's step are cut from ``metrics.jsonl``: a file never tells of a step twice.
    """

    def __init__(self, run: RunFolder, resumed_step: int, tensorboard: bool, wandb_project: str | None, config: dict):
        cut_rows(run.metrics, resumed_step)
        self._file = run.metrics.open("a", encoding="utf-8")
        self._board = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(run.tensorboard), purge_step=resumed_step)
        self._wandb = _open_wandb(run, wandb_project, config)

    def write(self, row: dict[str, Any]) -> None:
        """Append a row; ``row['step']`` counts finished optimizer steps, ``row['kind']`` is train or eval."""
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        numbers = {k: v for k, v in row.items() if isinstance(v, (int, float)) and k != "step"}
        if self._board is not None:
            for name, value in numbers.items():
                self._board.add_scalar(f"{row['kind']}/{name}", value, row["step"])
        if self._wandb is not None:
            self._wandb.log({f"{row['kind']}/{k}": v for k, v in numbers.items()}, step=row["step"])

    def close(self) -> None:
        os.fsync(self._file.fileno())
        self._file.close()
        if self._board is not None:
            self._board.close()
        if self._wandb is not None:
            self._wandb.finish()


def read_rows(file: Path, kind: str | None = None) -> list[dict[str, Any]]:
    """Rows of a metrics file; a last line that a kill cut off is left out."""
    if not file.is_file():
        return []
    rows = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            log.warning("%s: a broken line was left out", file)
            continue
        if kind is None or row["kind"] == kind:
            rows.append(row)
    return rows


def cut_rows(file: Path, step: int) -> None:
    """Keep only the rows up to ``step``."""
    rows = read_rows(file)
    if file.is_file():
        temporary = file.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(r) + "\n" for r in rows if r["step"] <= step), encoding="utf-8")
        os.replace(temporary, file)


def plot_losses(run: RunFolder) -> None:
    """Draw ``loss.png`` from the metrics file: training loss (log scale) over samples, and held-out loss."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    train, held_out = read_rows(run.metrics, "train"), read_rows(run.metrics, "eval")
    figure = Figure(figsize=(7, 4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot([r["samples"] for r in train], [r["loss"] for r in train], label="training", color="#33658a")
    if held_out:
        axes.plot(
            [r["samples"] for r in held_out], [r["loss"] for r in held_out], "o-", label="held out", color="#f26419"
        )
    axes.set_yscale("log")
    axes.set_xlabel("samples")
    axes.set_ylabel("loss for each target")
    axes.set_title(run.path.name)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(run.plot)


def _open_wandb(run: RunFolder, project: str | None, config: dict) -> Any:
    if project is None:
        return None
    try:
        import wandb  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise TrainingError(
            "wandb is asked for but not installed: `pip install medvlm[wandb]`, or leave the key wandb out"
        ) from error
    return wandb.init(project=project, name=run.path.name, dir=str(run.path), config=config, resume="allow")
