"""Plots as inline SVG whose colours are the page's own variables, so that they follow light, dark and print."""

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from bench.summary import FLOOR_ARM, Calibration, Summary, arm_order
from bench.tables import NAMES, finding_name

# Stand-ins in the figure, each replaced by `var(--name)` in the SVG.
_INKS = {
    name: f"#0{i:x}fe0{i:x}"
    for i, name in enumerate(("ink", "muted", "line", "real", "blank", "shuffled", "text", "majority"), 1)
}
ARM_COLOURS = {arm: _INKS[arm] for arm in ("real", "blank", "shuffled", "text")} | {FLOOR_ARM: _INKS["majority"]}
_MARKERS = {"real": "o", "blank": "s", "shuffled": "D", "text": "^"}
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.edgecolor": _INKS["line"],
    "axes.labelcolor": _INKS["ink"],
    "text.color": _INKS["ink"],
    "xtick.color": _INKS["muted"],
    "ytick.color": _INKS["ink"],
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def _svg(figure: Figure, name: str, alt: str) -> str:
    with matplotlib.rc_context({**_SETTINGS, "svg.hashsalt": name}):
        buffer = io.StringIO()
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = text.replace("<svg", f'<svg class="plot" role="img" aria-label="{alt}"', 1)
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font: \1px system-ui, sans-serif", text)
    for ink, stand_in in _INKS.items():
        text = text.replace(stand_in, f"var(--{ink})")
    return text


def forest(summary: Summary) -> str:
    """Balanced accuracy of every finding and arm with its interval; the tick below each is the floor."""
    arms = [arm for arm in arm_order(summary) if arm != FLOOR_ARM]
    rows = [row for row in summary.findings if any(row.arms[arm].balanced.known for arm in arms if arm in row.arms)]
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(5.0, 1.0 + 0.115 * (len(arms) + 1) * max(1, len(rows))), layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        step = 0.8 / max(1, len(arms))
        for place, arm in enumerate(arms):
            for y, row in enumerate(rows):
                if arm not in row.arms or not row.arms[arm].balanced.known:
                    continue
                value, low, high = row.arms[arm].balanced
                at = y - 0.4 + step * (place + 0.5)
                colour = ARM_COLOURS[arm]
                axes.plot([low, high], [at, at], color=colour, linewidth=2.2 if arm == "real" else 1.2)
                axes.plot([value], [at], _MARKERS[arm], color=colour, markersize=5 if arm == "real" else 3.6)
        for y, row in enumerate(rows):
            axes.plot(
                [row.floor] * 2, [y - 0.45, y + 0.45], color=_INKS["majority"], linewidth=1.2, linestyle=(0, (3, 2))
            )
        for arm in arms:
            axes.plot([], [], _MARKERS[arm], color=ARM_COLOURS[arm], markersize=5, label=NAMES[arm])
        axes.plot(
            [], [], color=_INKS["majority"], linewidth=1.2, linestyle=(0, (3, 2)), label="floor: any constant answer"
        )
        axes.set_yticks(range(len(rows)), [finding_name(row.name) for row in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(-0.02, 1.02)
        axes.set_xlabel("balanced accuracy, 95 % interval clustered by patient")
        axes.grid(axis="x", color=_INKS["line"], linewidth=0.6)
        axes.tick_params(length=0)
        axes.spines["left"].set_visible(False)
        figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=8.5, handletextpad=0.5)
    return _svg(figure, f"forest {summary.label}", "Balanced accuracy of every finding in every arm")


def calibration(label: str, scores: Calibration) -> str:
    """Reliability of the probability of yes: share of true yes in each bin, with the number of items below."""
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(4.2, 3.9), layout="constrained")
        figure.patch.set_alpha(0)
        top, below = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
        for axes in (top, below):
            axes.patch.set_alpha(0)
            axes.grid(color=_INKS["line"], linewidth=0.6)
            axes.tick_params(length=0)
        x = [b.mean_probability for b in scores.bins]
        top.plot([0, 1], [0, 1], color=_INKS["majority"], linewidth=1, linestyle=(0, (3, 2)))
        top.plot(x, [b.share_true for b in scores.bins], "o-", color=_INKS["real"], markersize=4.5, linewidth=1.4)
        top.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), ylabel="share that is yes")
        below.bar(x, [b.n for b in scores.bins], width=0.05, color=_INKS["real"])
        below.set(xlabel="probability that the model gives to yes", ylabel="n")
    return _svg(figure, f"calibration {label}", "Reliability of the probability of yes")


def swatches(arms: Sequence[str]) -> list[tuple[str, str]]:
    """(CSS variable, name) of each arm, for legends in the page."""
    return [("majority" if arm == FLOOR_ARM else arm, NAMES[arm]) for arm in arms]
