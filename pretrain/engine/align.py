"""Image and text of a record: the cheap checks of both, then a judge where the recipe names one (docs/synthesis.md)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from med_entity_tree.tree import Tree
from pretrain.alignment.checks import Fault, check_sample
from pretrain.alignment.judge import Referee, Verdict
from pretrain.engine.folder import Counts, StageFolder
from pretrain.engine.recipe import AlignSection
from pretrain.engine.record import RECORD, table_of, to_study
from pretrain.importing.conversation import Conversation
from pretrain.importing.decode import decode_studies
from pretrain.importing.pipeline import to_sample
from pretrain.importing.study import Drop, Study
from vlm.asking import JsonAsker
from vlm.imaging import Limits as DecoderLimits
from vlm.messages import MessageError
from vlm.sample import Sample

_TOGETHER = 64  # samples whose pictures are in memory for the judge
Row = dict[str, Any]


@dataclass
class AlignTask:
    """Drop the records of a part whose image and text are unusable or do not belong together.

    Attributes:
        came: folder of the stage before.
        folder: of this stage.
        chosen: limits and judge.
        tree: for the names of regions and nodes, None where records are not tagged.
        conversation: as the shards will have it: what the assistant says in it is the text that is judged.
        answers: folder of the judge's answers, kept whatever becomes of the stage.
        api_key: of the judge's server; never written.
    """

    came: StageFolder
    folder: StageFolder
    chosen: AlignSection
    tree: Path | None
    conversation: Conversation
    answers: Path
    api_key: str | None = None

    def start(self) -> None:
        """Read the names of the tree (some seconds)."""
        entities = [] if self.tree is None else list(Tree(self.tree))
        self.names = {entity.id: entity.name for entity in entities}
        self.regions = {entity.id: entity.name for entity in entities if entity.root == "anatomy"}

    def work(self, part: str) -> dict[str, Any]:
        """Check one part and write it; returns its counts."""
        rows = pq.read_table(self.came.table(part)).to_pylist()
        counts, dropped, kept = Counts(came=len(rows)), [], []
        pictured = [row for row in rows if row["images"]]
        faults = dict(zip((row["key"] for row in pictured), self._faults(pictured, self._referee(part)), strict=True))
        for row in rows:
            if found := faults.get(row["key"]):
                counts.dropped[found[0].reason] += 1
                counts.source(row["source"], "dropped")
                dropped.append({"source": row["source"], "where": row["where"], "reason": found[0].reason})
            else:
                counts.source(row["source"], "aligned")
                kept.append(row)
        counts.kept = len(kept)
        counts.notes["samples with images"] += len(pictured)
        self.folder.write(part, table_of(kept, RECORD), dropped, counts)
        return counts.to_json()

    def _referee(self, part: str) -> Referee | None:
        """With a store of answers for each part: parts may be worked on by machines that share a folder only."""
        judge = self.chosen.judge
        if judge is None:
            return None
        asker = JsonAsker(
            judge.url, Verdict, model=judge.model, api_key=self.api_key, cache=self.answers / part, max_tokens=512
        )
        return Referee(asker, lambda entity: self.names.get(entity, entity), judge.threshold)

    def _faults(self, rows: Sequence[Row], referee: Referee | None) -> Iterator[list[Fault]]:
        """Of each record with images, in order."""
        limits = self.chosen.limits()
        found: list[list[Fault]] = []
        passing: list[tuple[int, Sample]] = []
        # the decoder that the process has: parts are what runs side by side
        studies = decode_studies(map(to_study, rows), workers=0, limits=DecoderLimits())
        for outcome in studies:
            faults = [Fault(outcome.reason, "", "")] if isinstance(outcome, Drop) else []
            if not isinstance(outcome, Drop) and (sample := self._sample(*outcome)) is not None:
                faults = check_sample(sample, limits, self.regions)
                if not faults and referee is not None:
                    passing.append((len(found), sample))
            found.append(faults)
            if referee is not None and (len(passing) == _TOGETHER or (passing and len(found) == len(rows))):
                for (at, _), judged in zip(passing, referee.faults([s for _, s in passing]), strict=True):
                    found[at] = judged
                passing.clear()
        yield from found

    def _sample(self, study: Study, images: list) -> Sample | None:
        """None where the importer will refuse the record, which is its business."""
        try:
            return to_sample(study.key, replace(study, masks={}), images, self.conversation.messages(study))
        except MessageError:
            return None
