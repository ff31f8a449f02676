"""The second stage: what can be said of a record alone. Texts are evened out and judged, entities are tagged.

One part is one call, so a worker that dies costs its part, and every record ends in the part's table or in its drops.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from med_entity_tree.scope import Assertion
from med_entity_tree.tagger import Mention, Tagger
from med_entity_tree.tree import Tree
from pretrain.cleaning.normalise import normalise
from pretrain.cleaning.quality import QualityClassifier
from pretrain.cleaning.rules import faults
from pretrain.engine.folder import Counts, StageFolder
from pretrain.engine.recipe import CleanSection
from pretrain.engine.record import RECORD, statements_of, table_of, text_of, to_study, updated, with_texts
from pretrain.importing.study import Study

Row = dict[str, Any]


@dataclass
class RefineTask:
    """Normalise, hold to the rules, judge and tag the records of a part.

    Attributes:
        came: folder of the stage before.
        folder: of this stage.
        clean: what texts are held to.
        tree: entity tree to tag with, None to leave samples as they are.
    """

    came: StageFolder
    folder: StageFolder
    clean: CleanSection
    tree: Path | None

    def start(self) -> None:
        """Load the tagger (some seconds) and the classifier."""
        self.tagger: Tagger | None = None
        self.classifier: QualityClassifier | None = None
        if self.tree is not None:
            self.tagger = Tagger.of(Tree(self.tree))
        if self.clean.quality is not None:
            self.classifier = QualityClassifier.load(Path(self.clean.quality.model))

    def work(self, part: str) -> dict[str, Any]:
        """Refine one part and write it; returns its counts."""
        rows = pq.read_table(self.came.table(part)).to_pylist()
        counts = Counts(came=len(rows))
        dropped: list[dict[str, str]] = []
        kept = self._held(rows, counts, dropped)
        kept = self._judged(kept, counts, dropped)
        kept = self._tagged(kept, counts)
        counts.kept = len(kept)
        for row, _ in kept:
            counts.source(row["source"], "refined")
        done = [updated(row, study) for row, study in kept]
        self.folder.write(part, table_of(done, RECORD), dropped, counts)
        return counts.to_json()

    def _held(self, rows: Sequence[Row], counts: Counts, dropped: list) -> list[tuple[Row, Study]]:
        """Normalised studies that break no rule."""
        kept = []
        for row in rows:
            study = to_study(row)
            if self.clean.normalise:
                evened = with_texts(study, normalise)
                counts.notes["texts normalised"] += evened != study
                study = evened
            text = text_of(study)
            broken = [f for f in faults(text, row["kind"]) if f not in self.clean.allow] if self.clean.rules else []
            if not text:
                broken = ["empty after normalisation"]
            if broken:
                _drop(row, f"rule: {broken[0]}", counts, dropped)
            else:
                kept.append((row, study))
        return kept

    def _judged(self, kept: list[tuple[Row, Study]], counts: Counts, dropped: list) -> list[tuple[Row, Study]]:
        """Without what the quality classifier puts below its threshold."""
        quality = self.clean.quality
        if self.classifier is None or quality is None:
            return kept
        threshold = self.classifier.threshold if quality.threshold is None else quality.threshold
        asked = [i for i, (row, _) in enumerate(kept) if row["kind"] in quality.kinds]
        scores = self.classifier.score([text_of(kept[i][1]) for i in asked])
        low = {i for i, score in zip(asked, scores, strict=True) if score < threshold}
        for i in sorted(low):
            _drop(kept[i][0], "quality classifier", counts, dropped)
        return [pair for i, pair in enumerate(kept) if i not in low]

    def _tagged(self, kept: list[tuple[Row, Study]], counts: Counts) -> list[tuple[Row, Study]]:
        """With the entities that their texts say are present; those ruled out or left open are kept beside."""
        if self.tagger is None:
            return kept
        found = self.tagger.tag_many([statements_of(study) for _, study in kept])
        tagged = []
        for (row, study), mentions in zip(kept, found, strict=True):
            entities, beside = said(mentions, study.entities)
            counts.notes["samples with an entity"] += bool(entities)
            counts.notes["mentions"] += len(mentions)
            extra = {**study.extra, **({"said": beside} if beside else {})}
            tagged.append((row, replace(study, entities=entities, extra=extra)))
        return tagged


def said(mentions: Sequence[Mention], known: Sequence[str]) -> tuple[tuple[str, ...], dict[str, list[str]]]:
    """Entities that a text says are there (after those that were known), and others by what it says of them.

    An entity that is present in one sentence is present; the others are told by their first mention.
    """
    present = tuple(dict.fromkeys([*known, *(m.entity for m in mentions if m.assertion.counts)]))
    beside: dict[str, list[str]] = {}
    told = set(present)
    for mention in mentions:
        if mention.entity not in told:
            told.add(mention.entity)
            beside.setdefault(_word(mention.assertion), []).append(mention.entity)
    return present, dict(sorted(beside.items()))


def _word(assertion: Assertion) -> str:
    if assertion.polarity != "affirmed":
        return assertion.polarity
    if assertion.time != "current":
        return assertion.time
    return assertion.subject if assertion.subject != "patient" else "requested"


def _drop(row: Row, reason: str, counts: Counts, dropped: list[dict[str, str]]) -> None:
    counts.dropped[reason] += 1
    counts.source(row["source"], "dropped")
    dropped.append({"source": row["source"], "where": row["where"], "reason": reason})
