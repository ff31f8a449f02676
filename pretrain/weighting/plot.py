"""The plot of a weights file: what an epoch shows of each entity before and after, and how often it repeats."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from pretrain.shards.tar import write_atomically

if TYPE_CHECKING:
    from pretrain.weighting.make import WeightReport


def plot_weights(report: "WeightReport", path: Path) -> None:
    """Shares of draws and epochs by the count of an entity, both axes logarithmic. The same report, the same bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    rows, settings = report.exposures, report.manifest
    counts = [row.samples for row in rows]
    figure = Figure(figsize=(10, 4), layout="constrained")
    shares, epochs = figure.subplots(1, 2)
    shares.loglog(counts, [row.before for row in rows], "o", color="#8a8f98", label="uniform")
    shares.loglog(counts, [row.after for row in rows], "o", color="#0b6bcb", label="weighted")
    shares.set(xlabel="samples that hold the entity", ylabel="share of draws that show it")
    shares.yaxis.set_major_formatter(PercentFormatter(1.0))
    shares.legend(frameon=False)
    epochs.semilogx(counts, [row.epochs for row in rows], "o", color="#0b6bcb", label="mean of its samples")
    epochs.semilogx(counts, [row.most for row in rows], "_", color="#c2620a", label="most of a sample")
    for bound in ("cap", "floor"):
        if settings[bound] > 0:
            epochs.axhline(settings[bound], color="#8a8f98", linewidth=0.8, linestyle="--")
    epochs.set_yscale("log", base=2)
    epochs.yaxis.set_major_formatter("{x:g}")
    epochs.set(xlabel="samples that hold the entity", ylabel="times in an epoch (dashed: cap and floor)")
    epochs.legend(frameon=False)
    bounds = f"exponent {settings['exponent']:g}, cap {settings['cap']:g}, floor {settings['floor']:g}"
    figure.suptitle(f"{settings['name']}: {settings['samples']:,} samples, {bounds}")
    sink = io.BytesIO()
    FigureCanvasAgg(figure).print_png(sink, metadata={"Software": None})
    write_atomically(path, sink.getvalue())
