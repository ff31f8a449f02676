"""``medvlm data clean`` and ``medvlm data quality train | score``."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pretrain.cleaning.judges import Judge
    from pretrain.cleaning.run import Example

_CLEAN = """
Examples:

\b
  medvlm data clean reports.csv --kind report --text befund --out clean.csv
  medvlm data clean captions.parquet --kind caption --allow "points elsewhere" --out clean.parquet
  medvlm data clean web.jsonl --kind article --quality runs/quality/model --out kept.jsonl
"""
_TRAIN = """
Examples:

\b
  medvlm data quality train labelled.csv --source site --out runs/quality
  medvlm data quality train web.parquet --source site --watch siteA --watch siteB --test siteC --test siteD \\
      --judge-url http://127.0.0.1:8000 --out runs/quality
  medvlm data quality train web.csv --source site --watch a --watch b --test c --test d --judge-rules --out runs/q

The table has a column of texts and one of labels (1 or 0, yes or no, good or bad). With a judge, rows without a label
are the pool that it re-checks; the sources that --watch and --test name need labels and are never learnt from. Without
one, all labelled rows are learnt from, and the threshold comes from sources held out in turn. The key of the
judge's server is read from MEDVLM_API_KEY.
"""
_SCORE = """
Example:

\b
  medvlm data quality score web.parquet --model runs/quality/model --out scored.parquet
"""


class TextKind(StrEnum):
    report = "report"
    caption = "caption"
    article = "article"
    question = "question"
    conversation = "conversation"


def register(app: typer.Typer) -> None:
    """Add the commands to the app of ``medvlm data``."""
    app.command("clean", epilog=_CLEAN)(clean_command)
    quality = typer.Typer(no_args_is_help=True, help="Train and use a classifier of good medical text.")
    quality.command("train", epilog=_TRAIN)(train_command)
    quality.command("score", epilog=_SCORE)(score_command)
    app.add_typer(quality, name="quality")


def clean_command(
    table: Annotated[Path, typer.Argument(help="CSV, TSV, JSONL or Parquet.")],
    out: Annotated[Path, typer.Option(help="Table of what is kept, of the same kind.")],
    kind: Annotated[TextKind, typer.Option(help="What the texts are; decides the thresholds.")],
    text: Annotated[str, typer.Option(help="Column of the texts.")] = "text",
    quality: Annotated[Path | None, typer.Option(help="Folder of a quality classifier.")] = None,
    allow: Annotated[list[str] | None, typer.Option(metavar="RULE", help="Rule that is not held; repeatable.")] = None,
    language: Annotated[str, typer.Option(help="Languages that are wanted, ISO 639-1.")] = "en,zh",
) -> None:
    """Bring texts to normal form and drop, by reason, what breaks a rule."""
    from dataclasses import replace

    from rich.console import Console
    from rich.progress import Progress

    from pretrain.cleaning.quality import QualityClassifier
    from pretrain.cleaning.rules import DEFAULT
    from pretrain.cleaning.run import clean_table

    thresholds = replace(DEFAULT, languages=tuple(code.strip() for code in language.split(",")))
    classifier = QualityClassifier.load(quality) if quality else None
    console = Console(soft_wrap=True)
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("rows", total=None)
        done = clean_table(
            table, out, kind=kind.value, text=text, allow=tuple(allow or ()), thresholds=thresholds,
            quality=classifier, on_rows=lambda n: bar.advance(task, n),
        )  # fmt: skip
    console.print(f"[bold]{out}[/]: {done.kept:,} of {done.rows:,} rows kept, {done.changed:,} of them changed")
    for reason, count in done.dropped.most_common():
        console.print(f"  dropped {count:,}: {reason}", markup=False)
    console.print(
        f"  {done.boilerplate_lines:,} lines of boilerplate removed, {done.deidentification_marks:,} XXXX kept"
    )
    console.print(f"{out.name}.dropped.jsonl names the dropped rows by number, with all their reasons.")


def train_command(
    table: Annotated[Path, typer.Argument(help="Texts with labels and sources.")],
    out: Annotated[Path, typer.Option(help="Folder for the classifier and the record.")],
    text: Annotated[str, typer.Option(help="Column of the texts.")] = "text",
    label: Annotated[str, typer.Option(help="Column of the labels.")] = "label",
    source: Annotated[str, typer.Option(help="Column of the sources.")] = "source",
    watch: Annotated[list[str] | None, typer.Option(metavar="SOURCE", help="Source for threshold and stop.")] = None,
    test: Annotated[list[str] | None, typer.Option(metavar="SOURCE", help="Source for the figures alone.")] = None,
    judge_url: Annotated[str | None, typer.Option(help="OpenAI-compatible server that re-checks.")] = None,
    judge_model: Annotated[str | None, typer.Option(help="Model of that server; default its first.")] = None,
    judge_rules: Annotated[
        bool, typer.Option("--judge-rules", help="Re-check by rules; no reader, and says so.")
    ] = False,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of re-checking at most.")] = 8,
    per_round: Annotated[int, typer.Option(min=2, help="Texts that the judge sees in a round.")] = 200,
    least_precision: Annotated[float, typer.Option(min=0, max=1, help="That the threshold must reach.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of all draws.")] = 0,
) -> None:
    """Train a classifier of good medical text, from labels alone or with a judge that re-checks."""
    from rich.console import Console

    from pretrain.cleaning.errors import CleaningError
    from pretrain.cleaning.quality import QualityClassifier
    from pretrain.cleaning.run import read_examples

    examples = read_examples(table, text, label, source)
    console = Console(soft_wrap=True)
    if judge_url or judge_rules:
        if judge_url and judge_rules:
            raise CleaningError("give one judge: --judge-url or --judge-rules")
        judge = _judge(judge_url, judge_model, out)
        settings = {"rounds": rounds, "per_round": per_round, "least_precision": least_precision, "seed": seed}
        _bootstrap(examples, set(watch or ()), set(test or ()), judge, settings, out, console)
        return
    if watch or test:
        raise CleaningError("--watch and --test belong to a judge: give --judge-url or --judge-rules")
    known = [e for e in examples if e.label is not None]
    made = QualityClassifier.fit_by_source(
        [e.text for e in known], [bool(e.label) for e in known], [e.source for e in known],
        least_precision=least_precision,
    )  # fmt: skip
    made.save(out / "model")
    unused = len(examples) - len(known)
    console.print(
        f"[bold]{out / 'model'}[/]: learnt from {len(known):,} texts, calibrated on {made.about['calibrated_on']}; "
        f"threshold {made.threshold:.3f}" + (f"; {unused:,} rows without a label were not used" if unused else "")
    )


def _judge(url: str | None, model: str | None, out: Path) -> "Judge":
    import os

    from pretrain.cleaning.judges import ModelJudge, RuleJudge, Verdict
    from vlm.asking import JsonAsker

    if url is None:
        return RuleJudge()
    key = os.environ.get("MEDVLM_API_KEY") or None
    return ModelJudge(JsonAsker(url, Verdict, model=model, api_key=key, cache=out / "answers", max_tokens=256))


def _bootstrap(
    examples: "list[Example]", watch: set[str], test: set[str], judge: "Judge", settings, out, console
) -> None:
    from pretrain.cleaning.bootstrap import MODEL, Labelled, Round, Settings, bootstrap
    from pretrain.cleaning.errors import CleaningError

    sources = {e.source for e in examples}
    if missing := sorted((watch | test) - sources):
        raise CleaningError(f"the table has no source {missing[0]!r}; there are {', '.join(sorted(sources))}")
    if watch & test or not watch or not test:
        raise CleaningError("a judge needs --watch and --test, other sources each: they are never learnt from")

    def part(chosen: set[str]) -> Labelled:
        rows = [e for e in examples if e.source in chosen and e.label is not None]
        return Labelled(tuple(e.text for e in rows), tuple(bool(e.label) for e in rows))

    def told(made: Round) -> None:
        console.print(
            f"round {made.number}: {made.learnt:,} labels, {made.corrected} corrected, {made.unjudged} not judged; "
            f"F1 watched {made.watch.f1}, test {made.test.f1}"
        )

    pool = [e.text for e in examples if e.source not in watch | test and e.label is None]
    if not pool:
        raise CleaningError("no row without a label is left for the judge: leave labels of the pool empty")
    outcome = bootstrap(
        part(sources - watch - test), pool, part(watch), part(test), judge, Settings(**settings), out, told
    )
    best = outcome.rounds[outcome.best]
    console.print(f"[bold]{out / MODEL}[/]: round {outcome.best}, judged by {judge.name}; {outcome.stopped}")
    console.print(f"test: precision {best.test.precision}, recall {best.test.recall}, F1 {best.test.f1}")
    console.print(f"gain in F1 on the first classifier: {best.gain}")


def score_command(
    table: Annotated[Path, typer.Argument(help="CSV, TSV, JSONL or Parquet.")],
    model: Annotated[Path, typer.Option(help="Folder of the classifier.")],
    out: Annotated[Path, typer.Option(help="The table with a column of scores.")],
    text: Annotated[str, typer.Option(help="Column of the texts.")] = "text",
    column: Annotated[str, typer.Option(help="Name of the new column.")] = "quality",
) -> None:
    """Add the probability that a text is good medical text."""
    from rich.console import Console

    from pretrain.cleaning.quality import QualityClassifier
    from pretrain.cleaning.run import score_table

    classifier = QualityClassifier.load(model)
    total, good = score_table(table, out, classifier, text=text, column=column)
    Console(soft_wrap=True).print(f"{out}: {good:,} of {total:,} rows reach the threshold {classifier.threshold:.3f}")
