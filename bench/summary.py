"""Numbers of a report, from the records of one or several runs of one model.

Runs with one label are seeds of one configuration. Their records are pooled, clustered by patient, so that a pooled
score is the mean over seeds and its interval speaks of other patients; the range over seeds stands beside it.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from bench import scoring
from bench import statistics as st
from bench.arms import Arm
from bench.errors import RunError
from bench.records import Run
from bench.resampling import BalancedBootstrap, Record, group, spread
from bench.statistics import Interval, PairedResult

FLOOR_ARM = "majority"  # answers that need no model: the most frequent one of each finding
OUTCOMES = ("answer", "abstain", "invalid", "unparsed", "failed")


@dataclass(frozen=True)
class ClosedScores:
    """Scores of closed answers of one arm, of one finding or of all."""

    n: int
    patients: int
    accuracy: Interval
    balanced: Interval
    sensitivity: Interval
    specificity: Interval
    matthews: float


@dataclass(frozen=True)
class Finding:
    """One finding: all arms, and whether it was learnt."""

    name: str
    prevalence: float  # share of "yes" for yes-no questions, else of the most frequent answer
    majority: str
    floor: float  # balanced accuracy of any constant answer: 1 / number of classes
    floor_accuracy: float
    arms: dict[str, ClosedScores]
    gain: PairedResult | None  # real minus blank, on right or wrong
    balanced_gain: Interval  # real minus blank, on balanced accuracy
    p_value: float  # of the balanced gain
    adjusted_p: float  # the same, by Holm over findings
    detectable: float
    learnt: bool | None  # None: cannot be said (one class only, or no blank arm)


@dataclass(frozen=True)
class Open:
    """Scores of open answers of one arm, of one finding or of all."""

    n: int
    exact: Interval
    f1: Interval
    size: Interval
    ratio: Interval
    side: Interval
    zone: Interval


@dataclass(frozen=True)
class Calibration:
    """How far the probability of "yes" can be trusted, over yes-no questions with the real image."""

    n: int
    ece: float
    brier: float
    auroc: float
    bins: list[scoring.Bin]


@dataclass(frozen=True)
class Overall:
    """One arm over all closed questions."""

    by_finding: Interval  # mean over findings of balanced accuracy
    pooled: Interval  # balanced accuracy of all yes-no questions together
    accuracy: Interval
    outcomes: dict[str, int]
    band: tuple[float, float]  # `by_finding` if every unread or failed answer were wrong, and if it were right
    n: int


@dataclass(frozen=True)
class Summary:
    """All numbers of one model."""

    label: str
    runs: tuple[Run, ...]
    overall: dict[str, Overall]
    findings: list[Finding]
    left_out: list[str]  # findings without two classes: not in the mean over findings
    gains: dict[str, Interval]  # real minus other arms, on the mean over findings
    tests: dict[str, PairedResult]  # real against other arms, item by item
    open_overall: dict[str, Open]
    open_findings: dict[str, dict[str, Open]]
    calibration: Calibration | None
    by_seed: list[dict[str, float]]
    range_: tuple[float, float]
    patients: int
    items: int
    floor_source: str
    records: list[Record] = field(repr=False, default_factory=list)


def cluster_key(run: Run, record: Record) -> str:
    """Patient, told apart by data set: patient 7 of one folder is not patient 7 of another."""
    if not record.get("cluster"):
        raise st.StatisticsError(f"{run.folder}: item {record.get('item')} has no cluster key")
    return f"{run.card['data']['manifest_sha256'][:12]}/{record['cluster']}"


def pooled_records(runs: Sequence[Run]) -> list[Record]:
    """Records of all runs, each with its run's number and cluster key, and the majority arm's among them."""
    pooled: list[Record] = []
    for number, run in enumerate(runs):
        majority = run.card["floor"]
        for record in run.records:
            own = {**record, "run": number, "patient": cluster_key(run, record)}
            pooled.append(own)
            if record["arm"] == run.arms[0]:
                pooled.append(_majority_record(own, majority))
    return pooled


def _majority_record(record: Record, majority: dict[str, dict[str, str]]) -> Record:
    value = majority[record["kind"]].get(record["finding"])
    if record["kind"] == "open":
        value = majority["open_by_question"].get(record["question"], value)
    base = {
        k: record[k] for k in ("item", "finding", "kind", "question", "options", "truth", "run", "patient", "study")
    }
    base |= {"arm": FLOOR_ARM, "outcome": "answer" if value else "unparsed", "value": value}
    if record["kind"] == "closed":
        return {**base, "correct": value == record["truth"]}
    return {**base, **scoring.score_open(value, record["truth"])._asdict()}


def _scored(records: Sequence[Record]) -> list[Record]:
    return [r for r in records if r["outcome"] != "failed"]


def _recall(records: Sequence[Record]) -> Interval:
    return st.clustered_proportion([float(r["correct"]) for r in records], [r["patient"] for r in records])


def closed_scores(records: Sequence[Record]) -> ClosedScores:
    """Scores of the closed answers of one finding in one arm; what failed is left out, what is unread is wrong."""
    records = _scored(records)
    truth, values = [r["truth"] for r in records], [r["value"] for r in records]
    by_class: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_class[record["truth"]].append(record)
    each = {label: _recall(rows) for label, rows in sorted(by_class.items())}
    balanced = st.mean_of_independent(list(each.values())) if len(each) > 1 else st.NOTHING
    return ClosedScores(
        n=len(records),
        patients=len({r["patient"] for r in records}),
        accuracy=_recall(records),
        balanced=balanced,
        sensitivity=each.get("yes", st.NOTHING),
        specificity=each.get("no", st.NOTHING),
        matthews=scoring.matthews(truth, values),
    )


def item_means(records: Sequence[Record]) -> dict[tuple[str, str], float]:
    """Share of seeds that got each item right, by (patient, item): seeds are not independent items."""
    scores: dict[tuple[str, str], list[float]] = defaultdict(list)
    for record in records:
        scores[record["patient"], record["item"]].append(float(record["correct"]))
    return {key: sum(values) / len(values) for key, values in scores.items()}


def paired(first: Sequence[Record], second: Sequence[Record]) -> PairedResult:
    """Compare two arms (or models) over the items that both answered, seeds averaged."""
    a, b = item_means(first), item_means(second)
    both = [key for key in a if key in b]
    return st.paired_difference([a[key] for key in both], [b[key] for key in both], [key[0] for key in both])


def shared_items(arms: dict[str, list[Record]]) -> dict[str, list[Record]]:
    """Each arm's scored records, cut to the items that every arm answered, so that arms stay comparable."""
    keys = [{(r["item"], r["run"]) for r in _scored(rows)} for rows in arms.values()]
    common = set.intersection(*keys) if keys else set()
    return {arm: [r for r in rows if (r["item"], r["run"]) in common] for arm, rows in arms.items()}


def summarise_finding(name: str, arms: dict[str, list[Record]], boot: BalancedBootstrap) -> Finding:
    """One finding's row. Learnt: the real arm's interval lies above the floor, and the gain over blank above zero."""
    common = shared_items(arms)
    real, blank = common.get("real", []), common.get("blank", [])
    truth = [r["truth"] for r in arms[FLOOR_ARM]]
    classes = sorted(set(truth))
    scores = {arm: closed_scores(rows) for arm, rows in common.items()}
    most = max((truth.count(c) for c in classes), default=0)
    share = truth.count("yes") if set(classes) <= {"yes", "no"} else most
    floor = 1 / len(classes) if len(classes) > 1 else math.nan
    gain = paired(real, blank) if real and blank else None
    balanced_gain, p_value, learnt = st.NOTHING, math.nan, None
    if gain is not None and scores["real"].balanced.known:
        balanced_gain, p_value = _balanced_gain(real, blank, scores, boot)
        learnt = scores["real"].balanced.low > floor and balanced_gain.low > 0
    return Finding(
        name=name,
        prevalence=share / len(truth) if truth else math.nan,
        majority=str(arms[FLOOR_ARM][0]["value"]),
        floor=floor,
        floor_accuracy=scores[FLOOR_ARM].accuracy.value,
        arms=scores,
        gain=gain,
        balanced_gain=balanced_gain,
        p_value=p_value,
        adjusted_p=math.nan,
        detectable=_detectable(real),
        learnt=learnt,
    )


def _balanced_gain(
    real: list[Record], blank: list[Record], scores: dict[str, ClosedScores], boot: BalancedBootstrap
) -> tuple[Interval, float]:
    """Real minus blank on balanced accuracy, by the paired cluster bootstrap, and its two-sided p-value.

    The bootstrap loses its width where one arm is constant and the other always right; variance recovery for two
    independent arms (MOVER) stands in there: it does not, and errs on the careful side for paired arms.
    """
    (value_a, draws_a), (value_b, draws_b) = boot.balanced_draws(real), boot.balanced_draws(blank)
    gain, draws_R = value_a - value_b, draws_a - draws_b
    if spread(draws_R) > 0:
        return st.percentile_interval(gain, draws_R), st.normal_p_value(gain, float(np.nanstd(draws_R)))
    a, b = scores["real"].balanced, scores["blank"].balanced
    low = gain - math.hypot(a.value - a.low, b.high - b.value)
    high = gain + math.hypot(a.high - a.value, b.value - b.low)
    return Interval(gain, low, high), st.normal_p_value(gain, (gain - low) / 1.96)


def _detectable(records: Sequence[Record]) -> float:
    if len(records) < 2:
        return math.nan
    size = st.effective_n([float(r["correct"]) for r in records], [r["patient"] for r in records])
    return st.minimum_detectable_effect(size)


def open_scores(records: Sequence[Record]) -> Open:
    """Scores of the open answers of one arm; size, ratio, side and zone over references that state them."""
    records = _scored(records)

    def share(name: str) -> Interval:
        rows = [r for r in records if r[name] is not None]
        return st.clustered_proportion([float(r[name]) for r in rows], [r["patient"] for r in rows])

    f1 = st.clustered_mean([r["f1"] for r in records], [r["patient"] for r in records])
    return Open(len(records), share("exact"), f1, share("size"), share("ratio"), share("side"), share("zone"))


def calibration_of(records: Sequence[Record]) -> Calibration | None:
    """Calibration over the yes-no questions whose probabilities the endpoint gave; None without any."""
    rows = [r for r in records if r.get("probabilities") and set(r["options"]) == {"yes", "no"}]
    if not rows:
        return None
    p, y = [r["probabilities"]["yes"] for r in rows], [r["truth"] == "yes" for r in rows]
    return Calibration(
        len(rows),
        scoring.expected_calibration_error(p, y),
        scoring.brier(p, y),
        scoring.auroc(p, y),
        scoring.reliability(p, y),
    )


def _with_width(drawn: tuple[float, np.ndarray], records: list[Record], findings: Sequence[str]) -> Interval:
    """The bootstrap interval; where all draws are equal (all right, or constant answers) that of variance recovery."""
    value, draws_R = drawn
    if spread(draws_R) > 0:
        return st.percentile_interval(value, draws_R)
    groups = group(records, lambda r: r["finding"])
    return st.mean_of_independent(
        [closed_scores(groups[finding]).balanced for finding in findings if finding in groups]
    )


def summarise_arm(records: Sequence[Record], findings: Sequence[str], boot: BalancedBootstrap) -> Overall:
    """One arm over all closed questions. `records` may hold failed ones: they move the band only."""
    scored = _scored(records)
    yes_no = [r for r in scored if set(r["options"]) == {"yes", "no"}]
    low, high = (
        boot.mean_over_findings([{**r, "correct": right(r)} for r in records], findings)[0]
        for right in (lambda r: r.get("correct", False), lambda r: r.get("correct", False) or r["outcome"] != "answer")
    )
    return Overall(
        by_finding=_with_width(boot.mean_over_findings(scored, findings), scored, findings),
        pooled=st.percentile_interval(*boot.balanced_draws(yes_no)),
        accuracy=_recall(scored),
        outcomes={o: sum(r["outcome"] == o for r in records) for o in OUTCOMES},
        band=(low, high),
        n=len(records),
    )


def summarise(runs: Sequence[Run]) -> Summary:
    """All numbers of the runs of one label.

    Raises:
        RunError: when the runs differ in label or arms.
    """
    if len({run.label for run in runs}) != 1 or len({tuple(run.arms) for run in runs}) != 1:
        raise RunError("only runs with the same label and the same arms can be pooled as seeds of one model")
    records = pooled_records(runs)
    closed = [r for r in records if r["kind"] == "closed"]
    by_arm = group(closed, lambda r: r["arm"])
    boot = BalancedBootstrap(closed)
    names = list(dict.fromkeys(r["finding"] for r in closed))
    rows = [
        summarise_finding(name, {a: [r for r in g if r["finding"] == name] for a, g in by_arm.items()}, boot)
        for name in names
    ]
    counted = [row.name for row in rows if not math.isnan(row.floor)]
    adjusted = st.holm([row.p_value for row in rows])
    rows = [replace(row, adjusted_p=p) for row, p in zip(rows, adjusted, strict=True)]
    common = shared_items(by_arm)
    gains, tests = _gains(common, counted, boot)
    open_by_arm = group([r for r in records if r["kind"] == "open"], lambda r: r["arm"])
    open_by_finding = {
        arm: {name: open_scores(part) for name, part in group(g, lambda r: r["finding"]).items()}
        for arm, g in open_by_arm.items()
    }
    seeds = [_one_seed(number, run, by_arm, counted, boot) for number, run in enumerate(runs)]
    reals = [seed["real"] for seed in seeds if "real" in seed]
    return Summary(
        label=runs[0].label,
        runs=tuple(runs),
        overall={arm: summarise_arm(g, counted, boot) for arm, g in by_arm.items()},
        findings=sorted(rows, key=_by_score),
        left_out=[row.name for row in rows if row.name not in counted],
        gains=gains,
        tests=tests,
        open_overall={arm: open_scores(g) for arm, g in open_by_arm.items()},
        open_findings=open_by_finding,
        calibration=calibration_of(by_arm.get("real", [])),
        by_seed=seeds,
        range_=(min(reals), max(reals)) if reals else (math.nan, math.nan),
        patients=len({r["patient"] for r in records}),
        items=len({(r["item"], r["patient"]) for r in records}),
        floor_source=runs[0].card["floor"]["source"],
        records=records,
    )


def _by_score(row: Finding) -> float:
    real = row.arms.get("real")
    return -real.balanced.value if real and real.balanced.known else math.inf


def _gains(
    common: dict[str, list[Record]], findings: Sequence[str], boot: BalancedBootstrap
) -> tuple[dict[str, Interval], dict[str, PairedResult]]:
    if "real" not in common:
        return {}, {}
    value, draws = boot.mean_over_findings(common["real"], findings)
    gains, tests = {}, {}
    for arm, rows in common.items():
        if arm == "real":
            continue
        other, other_draws = boot.mean_over_findings(rows, findings)
        gains[arm] = st.percentile_interval(value - other, draws - other_draws)
        tests[arm] = paired(common["real"], rows)
    return gains, tests


def _one_seed(
    number: int, run: Run, by_arm: dict[str, list[Record]], findings: Sequence[str], boot: BalancedBootstrap
) -> dict[str, Any]:
    row: dict[str, Any] = {"run": run.folder.name, "seed": run.card.get("model_seed")}
    for arm, records in by_arm.items():
        own = _scored([r for r in records if r["run"] == number])
        row[arm] = boot.mean_over_findings(own, findings)[0]
    return row


@dataclass(frozen=True)
class Comparison:
    """Two models on the items that both answered with the real image."""

    first: str
    second: str
    result: PairedResult
    adjusted_p: float


def compare(summaries: Sequence[Summary]) -> list[Comparison]:
    """Every pair of models: difference of accuracy over shared closed items, with Holm's adjustment over pairs.

    Each model's seeds are averaged per item first, so that models with different numbers of seeds can be compared.
    """
    pairs = [(a, b) for i, a in enumerate(summaries) for b in summaries[i + 1 :]]
    results = [_compare_two(a, b) for a, b in pairs]
    adjusted = st.holm([result.p_value for result in results])
    return [Comparison(a.label, b.label, result, p) for (a, b), result, p in zip(pairs, results, adjusted, strict=True)]


def _compare_two(a: Summary, b: Summary) -> PairedResult:
    def real(summary: Summary) -> list[Record]:
        return [r for r in _scored(summary.records) if r["arm"] == "real" and r["kind"] == "closed"]

    return paired(real(a), real(b))


def arm_order(summary: Summary) -> list[Arm | str]:
    """Arms as reports list them: those asked, then the majority floor."""
    return [arm for arm in ("real", "blank", "shuffled", "text", FLOOR_ARM) if arm in summary.overall]
