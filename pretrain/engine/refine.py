"""The second stage: what can be said of a record alone. Texts are evened out and judged, entities are tagged.

One part is one call, so a worker that dies costs its part, and every record ends in the part's table or in its drops.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from med_entity_tree.tagger import Tagger
from pretrain.cleaning.normalise import normalise
from pretrain.cleaning.quality import QualityClassifier
from pretrain.cleaning.rules import faults
from pretrain.engine.folder import Counts, StageFolder
from pretrain.engine.recipe import CleanSection
from pretrain.engine.record import RECORD, table_of, text_of, to_study, turns_of, updated, with_texts
from pretrain.importing.study import Study, thinned
from pretrain.tagging.headers import facts_of_file
from pretrain.tagging.origins import Origins, record_of
from pretrain.tagging.turns import tags_of_turns, texts_of_turns

Row = dict[str, Any]


@dataclass
class RefineTask:
    """Normalise, hold to the rules, judge and tag the records of a part.

    Attributes:
        came: folder of the stage before.
        folder: of this stage.
        clean: what texts are held to.
        tree: entity tree to tag with, None to leave samples as they are.
        most_images: of one sample.
    """

    came: StageFolder
    folder: StageFolder
    clean: CleanSection
    tree: Path | None
    most_images: int

    def start(self) -> None:
        """Load the tagger (some seconds) and the classifier."""
        self.tagger: Tagger | None = None
        self.origins: Origins | None = None
        self.classifier: QualityClassifier | None = None
        if self.tree is not None:
            self.tagger = Tagger.of_folder(self.tree)
            self.origins = Origins(self.tree, self.tagger, count_unmapped=True)
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
            study = thinned(to_study(row), self.most_images)
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
        """With the entities that count, and all that was said, as ``medvlm data tag`` keeps it."""
        if self.tagger is None or self.origins is None:
            return kept
        turns = [turns_of(study) for _, study in kept]
        texts = list(dict.fromkeys(text for messages in turns for text in texts_of_turns(messages)))
        mentions = dict(zip(texts, self.tagger.tag_many(texts), strict=True))
        unknown, unread = self.origins.unmapped.total(), Counter()
        tagged = []
        for (row, study), messages in zip(kept, turns, strict=True):
            facts = [facts_of_file(path, Counter()) if path.is_file() else {} for path in map(_file, study.images)]
            header, views, sides = self.origins.headers(facts, unread)
            said = tags_of_turns(messages, mentions.__getitem__)
            given = self.origins.given(study.entities, study.extra, row["where"])
            tagging, record = record_of(study.entities, [*given, *said, *header], views, sides)
            extra = {**study.extra, "tags": record, **({"headers": facts} if any(facts) else {})}
            counts.notes["samples with an entity"] += bool(tagging.entities)
            counts.notes["mentions"] += sum(len(mentions[text]) for text in texts_of_turns(messages))
            tagged.append((row, replace(study, entities=tuple(tagging.entities), extra=extra)))
        counts.notes["names of a source that the tree lacks"] += self.origins.unmapped.total() - unknown
        counts.notes["header entries without an entity"] += unread.total()
        return tagged


def _file(image: Path | bytes) -> Path:
    assert isinstance(image, Path), "ingest has put bytes into files"
    return image


def _drop(row: Row, reason: str, counts: Counts, dropped: list[dict[str, str]]) -> None:
    counts.dropped[reason] += 1
    counts.source(row["source"], "dropped")
    dropped.append({"source": row["source"], "where": row["where"], "reason": reason})
