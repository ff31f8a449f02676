"""Cleaning and scoring of whole tables: what is kept goes to a table, what is dropped to a list with its reasons."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pretrain.cleaning.errors import CleaningError
from pretrain.cleaning.normalise import normalised
from pretrain.cleaning.quality import QualityClassifier
from pretrain.cleaning.rules import DEFAULT, RULES, Thresholds, faults
from pretrain.cleaning.tables import Row, batches, need_column, writer
from pretrain.cleaning.view import deidentified_marks

LOW_QUALITY = "low quality"
_TRUE, _FALSE = {"1", "true", "yes", "good", "wanted"}, {"0", "false", "no", "bad", "unwanted"}


@dataclass
class Cleaned:
    """What became of a table; ``dropped`` counts rows by their first reason, ``faults`` every reason."""

    rows: int = 0
    kept: int = 0
    changed: int = 0
    boilerplate_lines: int = 0
    deidentification_marks: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        return {k: dict(sorted(v.items())) if isinstance(v, Counter) else v for k, v in vars(self).items()}


def clean_table(
    table: Path,
    out: Path,
    *,
    kind: str,
    text: str = "text",
    allow: tuple[str, ...] = (),
    thresholds: Thresholds = DEFAULT,
    quality: QualityClassifier | None = None,
    on_rows: Callable[[int], None] | None = None,
) -> Cleaned:
    """Normalise a column of text, and keep the rows that break no rule and reach the classifier's threshold.

    Beside ``out`` lie ``<out>.dropped.jsonl`` (number of the row, reasons; no text) and ``<out>.cleaning.json``.

    Args:
        table, out: of the same kind (.csv, .tsv, .jsonl, .parquet).
        kind: of the texts, see :func:`pretrain.cleaning.rules.faults`.
        text: column.
        allow: rules that are not held.
        quality: None asks no classifier.
        on_rows: told how many rows were done since it was last told.

    Raises:
        CleaningError: the table cannot be read or written, no such column, or no such rule.
    """
    if unknown := sorted(set(allow) - set(RULES)):
        raise CleaningError(f"there is no rule {unknown[0]!r}; rules are {', '.join(RULES)}")
    need_column(table, text)
    done = Cleaned()
    drops: list[dict[str, Any]] = []
    with writer(out, table) as kept_rows:
        for rows in batches(table):
            kept_rows.write(_kept(rows, text, kind, allow, thresholds, quality, done, drops))
            if on_rows:
                on_rows(len(rows))
    lines = "".join(json.dumps(drop) + "\n" for drop in drops)
    out.with_name(f"{out.name}.dropped.jsonl").write_text(lines, encoding="utf-8")
    summary = {**done.to_json(), "kind": kind, "allowed": sorted(allow)}
    out.with_name(f"{out.name}.cleaning.json").write_text(json.dumps(summary, indent=1, sort_keys=True) + "\n")
    return done


def _kept(
    rows: list[Row],
    text: str,
    kind: str,
    allow: tuple[str, ...],
    thresholds: Thresholds,
    quality: QualityClassifier | None,
    done: Cleaned,
    drops: list[dict[str, Any]],
) -> list[Row]:
    evened = [normalised(str(row.get(text) or "")) for row in rows]
    broken = [[f for f in faults(made.text, kind, thresholds) if f not in allow] for made in evened]
    if quality is not None:
        asked = [n for n, found in enumerate(broken) if not found]
        keeps = quality.keeps([evened[n].text for n in asked])
        for n, good in zip(asked, keeps, strict=True):
            broken[n] += [] if good else [LOW_QUALITY]
    kept = []
    for row, made, found in zip(rows, evened, broken, strict=True):
        done.rows += 1
        done.faults.update(found)
        if found:
            done.dropped[found[0]] += 1
            drops.append({"row": done.rows, "reasons": found})
            continue
        done.kept += 1
        done.changed += made.text != row.get(text)
        done.boilerplate_lines += len(made.removed)
        done.deidentification_marks += deidentified_marks(made.text)
        kept.append({**row, text: made.text})
    return kept


def score_table(
    table: Path, out: Path, quality: QualityClassifier, *, text: str = "text", column: str = "quality"
) -> tuple[int, int]:
    """The table with a column of scores; returns rows, and those that reach the threshold.

    Raises:
        CleaningError: as :func:`clean_table`; the table has a column of that name.
    """
    need_column(table, text)
    total = good = 0
    with writer(out, table, {column: "float32"}) as scored:
        for rows in batches(table):
            if column in rows[0]:
                raise CleaningError(f"{table} has a column {column!r} already: name another with --column")
            scores = quality.score([str(row.get(text) or "") for row in rows])
            scored.write([{**row, column: float(score)} for row, score in zip(rows, scores, strict=True)])
            total += len(rows)
            good += int((scores >= quality.threshold).sum())
    return total, good


@dataclass(frozen=True)
class Example:
    """A row to train on; ``label`` None where nobody has said."""

    text: str
    label: bool | None
    source: str


def read_examples(table: Path, text: str, label: str, source: str | None) -> list[Example]:
    """Rows with texts in normal form; equal texts once, the first of them.

    Raises:
        CleaningError: no such column, or a label that is neither yes nor no.
    """
    for column in filter(None, (text, label, source)):
        need_column(table, column)
    found: dict[str, Example] = {}
    number = 0
    for rows in batches(table):
        for row in rows:
            number += 1
            made = normalised(str(row.get(text) or "")).text
            value = str("" if row.get(label) is None else row[label]).strip().lower()
            if value and value not in _TRUE | _FALSE:
                raise CleaningError(f"{table}, row {number}: label {value!r} is neither 1, true, yes nor 0, false, no")
            if made:
                said = None if not value else value in _TRUE
                found.setdefault(made, Example(made, said, str(row.get(source) or "") if source else ""))
    return list(found.values())
