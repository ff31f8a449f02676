"""Numbers as text: a headline for the terminal, report.md, results.csv."""

import csv
import io
import math
from collections.abc import Iterator, Sequence

from bench.arms import ARM_NAMES
from bench.statistics import Interval
from bench.summary import FLOOR_ARM, OUTCOMES, Comparison, Finding, Summary, arm_order

NAMES = {**ARM_NAMES, FLOOR_ARM: "majority floor"}
CLOSE_TO_FLOOR = 0.05


def number(value: float | None, digits: int = 2) -> str:
    """A number, or a dash where there is none; never -0.00."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.{digits}f}".replace("-0." + "0" * digits, "0." + "0" * digits).replace("-", "−")


def with_interval(interval: Interval, digits: int = 2) -> str:
    """Such as `0.91 (0.88 to 0.93)`."""
    if not interval.known:
        return "–"
    if math.isnan(interval.low):
        return number(interval.value, digits)
    return f"{number(interval.value, digits)} ({number(interval.low, digits)} to {number(interval.high, digits)})"


def count(n: int, runs: int) -> str:
    """A number of answers, as questions times seeds where it is that."""
    return f"{n // runs} × {runs}" if runs > 1 and n % runs == 0 else str(n)


def p_text(p: float) -> str:
    """A p-value as it is printed."""
    return "–" if math.isnan(p) else "<\N{NO-BREAK SPACE}0.001" if p < 0.001 else f"{p:.3f}"


def finding_name(name: str) -> str:
    """`effusion_left` as `effusion left`."""
    return name.replace("_", " ")


def verdict(row: Finding) -> str:
    """Whether a finding was learnt, in words."""
    return {True: "learnt", False: "not learnt", None: "cannot be said"}[row.learnt]


def blank_gap(summary: Summary) -> float:
    """How far the blank arm lies above (or below) the majority floor, on the mean over findings."""
    if "blank" not in summary.overall:
        return math.nan
    return summary.overall["blank"].by_finding.value - summary.overall[FLOOR_ARM].by_finding.value


def learnt_sentence(summary: Summary) -> str:
    """Which findings were learnt, which not, and which cannot be said."""
    parts = []
    for word in ("learnt", "not learnt", "cannot be said"):
        names = [finding_name(row.name) for row in summary.findings if verdict(row) == word]
        if names:
            parts.append(f"{word[0].upper() + word[1:]}: {', '.join(names)}.")
    return " ".join(parts)


def headline_text(summary: Summary) -> str:
    """A few lines for the terminal."""
    lines = [f"{summary.label}: {summary.items} questions, {summary.patients} patients, {len(summary.runs)} run(s)"]
    lines += [
        f"  {NAMES[arm]:<24} balanced accuracy {with_interval(summary.overall[arm].by_finding)},"
        f" yes-no pooled {number(summary.overall[arm].pooled.value)}"
        for arm in arm_order(summary)
    ]
    unread = summary.overall.get("real")
    if unread is not None:
        counts = {o: n for o, n in unread.outcomes.items() if n and o != "answer"}
        lines.append(f"  not read as an answer: {', '.join(f'{n} {o}' for o, n in counts.items()) or 'none'}")
    for arm, f in summary.open_overall.items():
        if arm in ("real", FLOOR_ARM):
            lines.append(
                f"  open questions, {NAMES[arm]}: token F1 {with_interval(f.f1)}, exact {number(f.exact.value)}"
            )
    return "\n".join([*lines, "  " + learnt_sentence(summary)])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def arm_rows(summary: Summary) -> list[list[str]]:
    """Cells of the table of arms."""
    rows = []
    for arm in arm_order(summary):
        o = summary.overall[arm]
        counts = [str(o.outcomes[name]) for name in OUTCOMES]
        band = f"{number(o.band[0])} to {number(o.band[1])}"
        scores = [with_interval(o.by_finding), with_interval(o.pooled), with_interval(o.accuracy)]
        against = (
            [with_interval(summary.gains[arm]), p_text(summary.tests[arm].p_value)]
            if arm in summary.gains
            else ["", ""]
        )
        rows.append([NAMES[arm], count(o.n, len(summary.runs)), *scores, *against, *counts, band])
    return rows


ARM_HEAD = [
    "arm",
    "questions",
    "balanced, mean of findings",
    "balanced, yes-no pooled",
    "accuracy",
    "real minus it, balanced",
    "p (McNemar)",
    *OUTCOMES,
    "band",
]


def finding_rows(summary: Summary) -> list[list[str]]:
    """Cells of the table of findings."""
    others = [arm for arm in arm_order(summary) if arm not in ("real", FLOOR_ARM)]
    rows = []
    for row in summary.findings:
        real = row.arms.get("real") or row.arms[FLOOR_ARM]
        rows.append(
            [
                finding_name(row.name),
                verdict(row),
                with_interval(real.balanced),
                number(row.floor),
                *(with_interval(row.arms[arm].balanced) for arm in others),
                with_interval(row.balanced_gain),
                number(real.sensitivity.value),
                number(real.specificity.value),
                number(real.matthews),
                p_text(row.adjusted_p),
                f"{count(real.n, len(summary.runs))} ({real.patients})",
                number(row.prevalence),
                f"{row.majority} {number(row.floor_accuracy)}",
                number(row.detectable),
            ]
        )
    return rows


def finding_head(summary: Summary) -> list[str]:
    """Head of the table of findings."""
    others = [NAMES[arm] for arm in arm_order(summary) if arm not in ("real", FLOOR_ARM)]
    return [
        "finding",
        "verdict",
        "real image",
        "floor",
        *others,
        "gain over blank",
        "sens.",
        "spec.",
        "MCC",
        "p (Holm)",
        "n (patients)",
        "prevalence",
        "majority, accuracy",
        "detectable",
    ]


def open_rows(summary: Summary) -> list[list[str]]:
    """Cells of the table of open questions, arm by arm."""
    return [
        [
            NAMES[arm],
            count(o.n, len(summary.runs)),
            with_interval(o.f1),
            *map(with_interval, (o.exact, o.size, o.ratio, o.side, o.zone)),
        ]
        for arm, o in sorted(summary.open_overall.items(), key=lambda pair: list(NAMES).index(pair[0]))
    ]


OPEN_HEAD = ["arm", "n", "token F1", "exact", "size", "ratio", "side", "zone"]


def seed_rows(summary: Summary) -> list[list[str]]:
    """Cells of the table of seeds."""
    return [
        [
            str(row["run"]),
            str(row["seed"]) if row["seed"] is not None else "–",
            *(number(row[a]) for a in _seed_arms(summary)),
        ]
        for row in summary.by_seed
    ]


def seed_head(summary: Summary) -> list[str]:
    """Head of the table of seeds."""
    return ["run", "seed", *(NAMES[arm] for arm in _seed_arms(summary))]


def _seed_arms(summary: Summary) -> list[str]:
    return [arm for arm in arm_order(summary) if arm in summary.by_seed[0]]


def comparison_rows(comparisons: Sequence[Comparison]) -> list[list[str]]:
    """Cells of the table of compared models."""
    return [
        [c.first, c.second, with_interval(c.result.difference), str(c.result.n), p_text(c.adjusted_p)]
        for c in comparisons
    ]


COMPARISON_HEAD = ["first", "second", "difference of accuracy", "shared questions", "p (Holm)"]


def markdown(summaries: Sequence[Summary], comparisons: Sequence[Comparison]) -> str:
    """The report as Markdown, without images."""
    parts = ["# Measurement", "Simulated radiographs; not for diagnosis."]
    if any(not run.card["data"]["simulated"] for s in summaries for run in s.runs):
        parts[1] = "Not for diagnosis."
    if comparisons:
        parts += ["## Models compared", _table(COMPARISON_HEAD, comparison_rows(comparisons))]
    for summary in summaries:
        parts += [f"## {summary.label}", "```\n" + headline_text(summary) + "\n```"]
        if len(summary.runs) > 1:
            parts += ["### Seeds", _table(seed_head(summary), seed_rows(summary))]
        parts += ["### Arms", _table(ARM_HEAD, arm_rows(summary))]
        parts += ["### Findings", _table(finding_head(summary), finding_rows(summary))]
        if summary.open_overall:
            parts += ["### Open questions", _table(OPEN_HEAD, open_rows(summary))]
        c = summary.calibration
        if c:
            parts.append(
                f"Calibration of yes: ECE {number(c.ece)}, Brier {number(c.brier)}, AUROC {number(c.auroc)}, n {c.n}."
            )
        parts.append(f"Majority answers come from the {summary.floor_source}. Intervals: 95 %, clustered by patient.")
    return "\n\n".join(parts) + "\n"


def csv_text(summaries: Sequence[Summary]) -> str:
    """All numbers in long form: one row for each model, finding, arm and metric."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["model", "finding", "arm", "metric", "value", "low", "high", "n"])
    for summary in summaries:
        writer.writerows(_csv_rows(summary))
    return buffer.getvalue()


def _csv_rows(s: Summary) -> Iterator[list[object]]:
    def row(finding: str, arm: str, metric: str, value: Interval | float, n: int) -> list[object]:
        interval = value if isinstance(value, Interval) else Interval(value, math.nan, math.nan)
        return [s.label, finding, arm, metric, *("" if math.isnan(x) else f"{x:.6f}" for x in interval), n]

    for arm, o in s.overall.items():
        yield row("all", arm, "balanced_accuracy_mean_of_findings", o.by_finding, o.n)
        yield row("all", arm, "balanced_accuracy_yes_no_pooled", o.pooled, o.n)
        yield row("all", arm, "accuracy", o.accuracy, o.n)
        for outcome, count in o.outcomes.items():
            yield row("all", arm, f"outcome_{outcome}", float(count), o.n)
        if arm in s.gains:
            yield row("all", arm, "real_minus_this_arm", s.gains[arm], s.tests[arm].n)
    for f in s.findings:
        yield row(f.name, "real", "gain_over_blank", f.balanced_gain, f.gain.n if f.gain else 0)
        for arm, c in f.arms.items():
            for metric in ("balanced", "accuracy", "sensitivity", "specificity", "matthews"):
                yield row(f.name, arm, metric, getattr(c, metric), c.n)
    for arm, parts in s.open_findings.items():
        for name, o in [("all", s.open_overall[arm]), *parts.items()]:
            for metric in ("f1", "exact", "size", "ratio", "side", "zone"):
                yield row(name, arm, f"open_{metric}", getattr(o, metric), o.n)
    if s.calibration:
        for metric in ("ece", "brier", "auroc"):
            yield row("all", "real", metric, getattr(s.calibration, metric), s.calibration.n)
