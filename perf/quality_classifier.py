"""The quality classifier and the rules on texts of this machine: sources held out whole, and a bootstrap from 60 labels.

    python perf/quality_classifier.py                  # everything; half an hour on one core
    python perf/quality_classifier.py --quick          # fewer texts, one rotation; a minute and a half of processor time
    python perf/quality_classifier.py --only rules     # or sources, bootstrap, speed

Medical: reports, definitions, codes. Not medical or of no use: software texts, licences, code, menus, quotes, garbled
definitions, advertising in medical words (perf/_quality_texts.py). A row of a source that was trained on says little, so
every source is held out whole once: its recall (medical) or specificity (other) is what new sources may expect. The
bootstrap learns from some sources, sets its threshold on others, and is measured on a third group; three rotations. No
language model of any strength runs on this machine: the judge is a table of the sources' labels, and the same with one
answer in ten wrong; both are told apart in the table. What chance gives (as many labels, drawn at random) stands beside.
"""

# ruff: noqa: E501  (word lists and patterns are not folded)

import argparse
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random

import numpy as np
from _quality_texts import Origin, manual_pages, origins, reports

from bench.statistics import wilson
from pretrain.cleaning.bootstrap import Labelled, Outcome, Settings, bootstrap, draw_curve
from pretrain.cleaning.figures import figures
from pretrain.cleaning.judges import Judge, RuleJudge, TableJudge
from pretrain.cleaning.normalise import normalise
from pretrain.cleaning.quality import QualityClassifier
from pretrain.cleaning.rules import faults
from pretrain.cleaning.view import deidentified_marks

MADE_OF = {"shuffled": "MONDO", "misread": "MONDO"}  # never learnt from while that source is held out
ROTATIONS = (  # watched, tested; the rest is learnt from
    ({"radiology dictionary", "Debian packages", "menus"}, {"HPO", "UBERON", "medical software", "fortunes", "HTML manuals", "marketing"}),
    ({"UBERON", "docstrings", "fortunes"}, {"IU reports", "ICD-10-CM", "READMEs", "manual pages", "marketing", "misread"}),
    ({"HPO", "READMEs", "code"}, {"radiology dictionary", "IU reports", "medical software", "licences", "menus", "shuffled"}),
)  # fmt: skip


def labelled(found: Iterable[Origin]) -> tuple[list[str], list[bool]]:
    found = list(found)
    return [t for o in found for t in o.texts], [o.medical for o in found for _ in o.texts]


def by_source(found: list[Origin]) -> QualityClassifier:
    texts, labels = labelled(found)
    return QualityClassifier.fit_by_source(texts, labels, [o.name for o in found for _ in o.texts])


def split(texts: Sequence[str], labels: Sequence[bool], share: float, seed: int = 0) -> tuple[list[int], list[int]]:
    order = np.random.default_rng(seed).permutation(len(texts)).tolist()
    cut = round(share * len(order))
    return order[cut:], order[:cut]


def fitted(texts: Sequence[str], labels: Sequence[bool]) -> QualityClassifier:
    """Trained on 85 % of the rows, threshold and calibration from the other 15 %."""
    learn, tune = split(texts, labels, 0.15)
    made = QualityClassifier.fit([texts[i] for i in learn], [labels[i] for i in learn])
    return made.calibrated([texts[i] for i in tune], [labels[i] for i in tune])


def by_sources(found: list[Origin]) -> None:
    texts, labels = labelled(found)
    learn, test = split(texts, labels, 0.2, seed=1)
    made = fitted([texts[i] for i in learn], [labels[i] for i in learn])
    rows = figures(np.array([labels[i] for i in test]), made.keeps([texts[i] for i in test]))
    print("\n| held out | texts | kept as medical | right, 95 % |\n|---|---|---|---|")
    kept_all, truth_all, strict = [], [], []
    for out in found:
        learnt = [o for o in found if o.name != out.name and MADE_OF.get(o.name) != out.name]
        kept = by_source(learnt).keeps(out.texts)
        strict.append(fitted(*labelled(learnt)).keeps(out.texts))
        right = wilson(int((kept == out.medical).sum()), len(kept))
        sign = "medical" if out.medical else "made, not" if out.made else "not"
        name = f"{out.name} ({sign})"
        print(
            f"| {name} | {len(kept):,} | {kept.mean():.1%} | {right.value:.3f} ({right.low:.3f} to {right.high:.3f}) |",
            flush=True,
        )
        kept_all.append(kept)
        truth_all.append(np.full(len(kept), out.medical))
    natural = np.concatenate([np.full(len(o.texts), not o.made) for o in found])
    kept, truth, rigid = (np.concatenate(parts) for parts in (kept_all, truth_all, strict))
    print("\n| held out | precision | recall | F1 |\n|---|---|---|---|")
    for name, f in (
        ("whole sources, each once", figures(truth, kept)),
        ("the same without the three made ones", figures(truth[natural], kept[natural])),
        ("the same, threshold from rows of the sources learnt from", figures(truth[natural], rigid[natural])),
        ("rows of sources that are learnt from (flatters)", rows),
    ):
        print(f"| {name} | {f.precision} | {f.recall} | {f.f1} |")


def bootstraps(found: list[Origin], rotations: int, out: Path, settings: Settings) -> None:
    print(
        "\n| rotation | judge | labels | precision | recall | F1 | gain on the first | best, stopped |\n|---|---|---|---|---|---|---|---|"
    )
    for number, (watched, tested) in enumerate(ROTATIONS[:rotations], 1):
        groups = [[o for o in found if o.name in part] for part in (watched, tested)]
        learnt = [o for o in found if o.name not in watched | tested]
        learnt = [o for o in learnt if MADE_OF.get(o.name) not in watched | tested]
        texts, labels = labelled(learnt)
        draw = Random(number)
        medical = draw.sample([t for t, label in zip(texts, labels) if label], 30)
        other = draw.sample([t for t, label in zip(texts, labels) if not label], 30)
        seed = Labelled((*medical, *other), (True,) * 30 + (False,) * 30)
        watch, test = (Labelled(*map(tuple, labelled(group))) for group in groups)
        truth = dict(zip(texts, labels))
        wrong = {t: label != (draw.random() < 0.1) for t, label in truth.items()}
        judges: list[Judge] = [
            TableJudge(truth, "labels of the sources"),
            TableJudge(wrong, "the same, 10 % wrong"),
            RuleJudge(),
        ]
        runs: dict[str, Outcome] = {}
        for judge in judges:
            runs[judge.name] = bootstrap(
                seed,
                texts,
                watch,
                test,
                judge,
                settings,
                out / f"rotation{number}" / judge.name.replace(" ", "_").replace("%", "percent"),
            )
            told(number, judge.name, runs[judge.name])
        by_chance(number, seed, texts, truth, watch, test, [r.learnt for r in runs[judges[0].name].rounds], settings)
        draw_curve({name: run.rounds for name, run in runs.items()}, out / f"rotation{number}.png")


def told(number: int, name: str, run: Outcome) -> None:
    for made in dict.fromkeys([0, run.best]):
        r = run.rounds[made]
        say = f"round {run.best} of {len(run.rounds) - 1}" if made else "first classifier"
        print(
            f"| {number} | {name} | {r.learnt} | {r.test.precision} | {r.test.recall} | {r.test.f1} | {r.gain if made else ''} | {say} |",
            flush=True,
        )
    print(
        f"|  |  | by round: {', '.join(f'{r.test.f1.value:.3f}' for r in run.rounds)}; corrected {sum(r.corrected for r in run.rounds)} | | | | | |"
    )


def by_chance(
    number: int,
    seed: Labelled,
    texts: Sequence[str],
    truth: dict[str, bool],
    watch: Labelled,
    test: Labelled,
    sizes: list[int],
    settings: Settings,
) -> None:
    order = [t for t in texts if t not in set(seed.texts)]
    Random(number).shuffle(order)
    row = []
    for size in sizes:
        more = order[: size - len(seed.texts)]
        made = QualityClassifier.fit(
            [*seed.texts, *more], [*seed.labels, *(truth[t] for t in more)], strength=settings.strength
        )
        made = made.calibrated(watch.texts, watch.labels)
        row.append(figures(np.array(test.labels), made.keeps(test.texts)))
    best = int(np.argmax([r.f1.value for r in row]))
    r = row[best]
    print(
        f"| {number} | chance, best of its rounds on test (flatters) | {sizes[best]} | {r.precision} | {r.recall} | {r.f1} | | |"
    )
    print(f"|  |  | by round: {', '.join(f'{r.f1.value:.3f}' for r in row)} | | | | | |")


def rules(found: list[Origin]) -> None:
    every = [normalise(text) for text in reports()]
    broken = [faults(text, "report") for text in every]
    lost = sum(map(bool, broken))
    share = wilson(lost, len(every))
    print(
        f"\nreports: {lost} of {len(every)} break a rule, {share.value:.2%} ({share.low:.2%} to {share.high:.2%}):",
        dict(Counter(f for b in broken for f in b)),
    )
    print(
        f"marks of de-identification, kept: {sum(map(deidentified_marks, every)):,} in {sum(deidentified_marks(t) > 0 for t in every):,} reports"
    )
    print("\n| texts of 25 words and more, as article | texts | dropped | by rule |\n|---|---|---|---|")
    for origin in found:
        texts = [t for text in origin.texts if len((t := normalise(text)).split()) >= 25]
        gone = [f for text in texts if (f := faults(text, "article"))]
        reasons = ", ".join(f"{n} {name}" for name, n in Counter(name for f in gone for name in f).most_common(4))
        if texts:
            print(
                f"| {origin.name} ({'medical' if origin.medical else 'not'}) | {len(texts):,} | {len(gone) / len(texts):.1%} | {reasons} |"
            )
    print("\n| language of man pages, paragraphs of 20 words and more | texts | 'wrong language' |\n|---|---|---|")
    for code in ("", "de", "fr", "es", "it", "nl", "pl", "tr", "ru", "ja"):
        texts = [t for t in manual_pages(code)() if len(t.split()) >= 20 or (code == "ja" and len(t) > 60)][:1000]
        wrong = sum("wrong language" in faults(normalise(t), "article") for t in texts)
        if texts:
            print(f"| {code or 'en'} | {len(texts):,} | {wrong / len(texts):.1%} |")


def speed(found: list[Origin]) -> None:
    texts, labels = labelled(found)
    made = fitted(texts[::4], labels[::4])
    short = [t for t in texts if len(t) <= 600]
    from pretrain.cleaning import quality

    for name, work in (
        ("score", made.score),
        ("normalise", lambda ts: list(map(normalise, ts))),
        ("faults", lambda ts: [faults(t, "article") for t in ts]),
    ):
        took = []
        for _ in range(3):
            quality._hashes.cache_clear()
            start = time.process_time()
            work(short)
            took.append(time.process_time() - start)
        print(
            f"{name}: {len(short) / sorted(took)[1]:,.0f} documents a second and core (processor time, {np.mean([len(t) for t in short]):.0f} characters in the mean)"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/quality"))
    parser.add_argument("--only", choices=("sources", "bootstrap", "rules", "speed"))
    parser.add_argument("--most", type=int, default=600, help="Texts of a source.")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    found, missing = origins(200 if options.quick else options.most)
    print(
        f"{len(found)} sources, {sum(len(o.texts) for o in found):,} texts; not on this machine: {', '.join(missing) or 'none'}"
    )
    settings = Settings(rounds=3 if options.quick else 8, per_round=60 if options.quick else 150)
    if options.only in (None, "rules"):
        rules(found)
    if options.only in (None, "sources"):
        by_sources(found)
    if options.only in (None, "bootstrap"):
        bootstraps(found, 1 if options.quick else 3, options.out, settings)
    if options.only in (None, "speed"):
        speed(found)


if __name__ == "__main__":
    main()
