"""Import: studies of a source, decoded and written as shards, one folder for each split."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from pretrain.importing.conversation import Conversation
from pretrain.importing.decode import decode_studies
from pretrain.importing.errors import DropLimitError, ImportSourceError
from pretrain.importing.journal import DROPPED, JOURNAL, Journal
from pretrain.importing.study import Drop, Source, Study, safe_key, thinned
from pretrain.shards.index import read_manifest
from pretrain.shards.ordering import derive
from pretrain.shards.writer import DatasetInfo, ShardWriter
from vlm.imaging import Limits
from vlm.messages import Message, MessageError
from vlm.sample import EncodedImage, Sample, SampleProvenance

log = logging.getLogger(__name__)
_ENOUGH_TO_JUDGE = 200  # records after which too many drops stop an import that has not ended


@dataclass(frozen=True)
class ImportOptions:
    """How an import is done.

    Attributes:
        conversation: how studies become conversations.
        max_images: of one sample; of larger studies this many are taken, evenly spaced, and the manifest counts them.
        max_bytes, max_samples: of one shard.
        max_drop: share of records that may be dropped before the import stops with an error.
        shares: splits to be made, by patient, of a source that has none, as {"train": 0.8, "val": 0.2}.
        workers: decoding processes, which do not change the result; 0 shares the one for single images.
        limits: what one image file may cost.
        overwrite: begin anew where another import left its files.
    """

    conversation: Conversation = field(default_factory=Conversation)
    max_images: int = 8
    max_bytes: int = 256 << 20
    max_samples: int = 1000
    max_drop: float = 0.1
    shares: Mapping[str, float] | None = None
    workers: int = 1
    limits: Limits = field(default_factory=Limits)
    overwrite: bool = False

    def deciding(self) -> dict[str, Any]:
        """The part that decides the content of the shards."""
        return {k: v for k, v in asdict(self).items() if k not in ("workers", "overwrite", "max_drop")}


@dataclass(frozen=True)
class ImportReport:
    """What became of one split."""

    split: str
    folder: Path
    records: int
    samples: int
    dropped: dict[str, int]
    notes: dict[str, int]
    already_done: bool = False


OnRecord = Callable[[str, int, int | None], None]


def import_source(
    source: Source, out: str | Path, options: ImportOptions = ImportOptions(), *, on_record: OnRecord | None = None
) -> list[ImportReport]:
    """Write every split of a source to ``out/<split>``; run again after an interruption, it goes on.

    Args:
        source: studies.
        out: folder for the splits.
        options: see there.
        on_record: called with (split, records done, records in all or None).

    Raises:
        DropLimitError: too many records were dropped.
        NoSpaceError: the disk is full.
        ImportSourceError: the folder holds another import, or the source yields no sample.
    """
    return [_import_split(source, split, Path(out), options, on_record) for split in _splits(source, options)]


def _splits(source: Source, options: ImportOptions) -> list[str]:
    own = source.splits()
    if options.shares is None:
        return own
    if len(own) > 1:
        raise ImportSourceError(
            f"{source.name} comes with the splits {', '.join(own)}: import it without making others"
        )
    if min(options.shares.values()) < 0 or sum(options.shares.values()) <= 0:
        raise ImportSourceError(f"split shares must be positive: {dict(options.shares)}")
    return [name for name, share in options.shares.items() if share > 0]


def _records(source: Source, split: str, options: ImportOptions) -> Iterator[Study | Drop]:
    if options.shares is None:
        yield from source.studies(split)
        return
    first = _splits(source, options)[0]
    for record in source.studies(source.splits()[0]):
        if isinstance(record, Drop):
            if split == first:
                yield record
        elif split_of(record, options.shares) == split:
            yield record


def split_of(study: Study, shares: Mapping[str, float]) -> str:
    """The split of a study, decided by its patient alone, so that no patient is cut."""
    place = derive("split", study.patient or study.study or study.key) / 2**64 * sum(shares.values())
    for name, share in shares.items():
        place -= share
        if place < 0:
            return name
    return list(shares)[-1]


def _import_split(
    source: Source, split: str, out: Path, options: ImportOptions, on_record: OnRecord | None
) -> ImportReport:
    folder = out / split
    settings = {
        "source": source.name,
        "licence": source.licence,
        "simulated": source.simulated,
        "split": split,
        "fingerprint": source.fingerprint(),
        **options.deciding(),
    }
    with Journal(folder, settings, overwrite=options.overwrite) as journal:
        if journal.finished:
            manifest = read_manifest(folder)
            done = manifest["import"]
            return ImportReport(
                split, folder, done["records"], manifest["counts"]["samples"], manifest["dropped"], done["notes"], True
            )
        if journal.progress.next:
            log.info("%s: going on after record %d", folder, journal.progress.next)
        run = _SplitImport(source, split, folder, options, journal)
        run.run(on_record)
        return run.finish()


class _SplitImport:
    """The state of one split's import."""

    def __init__(self, source: Source, split: str, folder: Path, options: ImportOptions, journal: Journal):
        self.source, self.split, self.folder, self.options, self.journal = source, split, folder, options, journal
        self.used = journal.progress.next
        self.dropped, self.notes = Counter(journal.progress.dropped), Counter(journal.progress.notes)
        self.info = DatasetInfo(f"{source.name}-{split}", source.name, source.licence, source.simulated)
        self.writer = ShardWriter(
            folder,
            self.info,
            max_bytes=options.max_bytes,
            max_samples=options.max_samples,
            done=journal.progress.shards,
            on_shard=lambda shard: journal.shard_done(shard, self.used, self.dropped, self.notes),
        )

    def run(self, on_record: OnRecord | None) -> None:
        total = self.source.total(self.split) if self.options.shares is None else None
        rest = islice(_records(self.source, self.split, self.options), self.used, None)
        prepared = (self._checked(record) for record in rest)
        try:
            for outcome in decode_studies(prepared, workers=self.options.workers, limits=self.options.limits):
                self.used += 1  # before writing, since a full shard is journalled inside write
                self._take(outcome)
                if on_record:
                    on_record(self.split, self.used, total)
                if self.used >= _ENOUGH_TO_JUDGE:
                    self._refuse_too_many_drops()
        except BaseException:
            self.writer.abort()
            raise

    def finish(self) -> ImportReport:
        self._refuse_too_many_drops()
        if not len(self.writer):
            raise ImportSourceError(
                f"{self.source.name}, split {self.split}: none of {self.used} records became a sample "
                f"({_reasons(self.dropped) or 'the split is empty'})"
            )
        report = ImportReport(
            self.split, self.folder, self.used, len(self.writer), dict(self.dropped), dict(self.notes)
        )
        done = {"records": self.used, "notes": dict(sorted(self.notes.items()))}
        self.writer.close(self.dropped, **{"import": done})
        return report

    def _checked(self, record: Study | Drop) -> Study | Drop:
        """Refuse what needs no decoding to be refused, and thin out long series."""
        if isinstance(record, Drop):
            return record
        if not self.options.conversation.messages(record):
            return Drop(record.where, "empty text")
        return thinned(record, self.options.max_images)

    def _take(self, outcome: tuple[Study, list[EncodedImage]] | Drop) -> None:
        if isinstance(outcome, Drop):
            self._drop(outcome.where, outcome.reason)
            return
        study, images = outcome
        key = safe_key(study.key)
        if key in self.writer:
            self._drop(study.where, "duplicate key")
            return
        try:
            sample = self._sample(key, study, images)
        except MessageError as error:
            log.debug("%s: %s", study.where, error)
            self._drop(study.where, "messages are malformed or name an image that is not there")
            return
        except FileNotFoundError:
            self._drop(study.where, "missing truth mask")
            return
        if "images_in_study" in study.extra:
            self.notes[f"studies thinned to {self.options.max_images} images"] += 1
        if any(image.meta["provenance"]["frames"] > 1 for image in images):
            self.notes["studies with multi-frame files, of which the first frame was taken"] += 1
        self.writer.write(sample)

    def _sample(self, key: str, study: Study, images: list[EncodedImage]) -> Sample:
        source = self.source
        return to_sample(
            key, study, images, self.options.conversation.messages(study),
            source=source.name, licence=source.licence, simulated=source.simulated, split=self.split,
        )  # fmt: skip

    def _drop(self, where: str, reason: str) -> None:
        self.dropped[reason] += 1
        self.journal.dropped(self.used - 1, where, reason)

    def _refuse_too_many_drops(self) -> None:
        lost = self.dropped.total()
        if self.used and lost > self.options.max_drop * self.used:
            raise DropLimitError(
                f"{lost} of {self.used} records were dropped ({_reasons(self.dropped)}), more than --max-drop "
                f"{self.options.max_drop:g} allows. {self.folder / DROPPED} lists them; correct the data, or raise "
                f"--max-drop and run again to go on (the journal {JOURNAL} keeps what is finished)"
            )


def to_sample(
    key: str, study: Study, images: list[EncodedImage], messages: list[Message],
    *, source: str = "", licence: str = "unknown", simulated: bool = False, split: str = "",
) -> Sample:  # fmt: skip
    """A study with its decoded images as a sample; source, licence and simulated are those of the whole import.

    Raises:
        MessageError: a message is malformed, or names an image that is not there.
        FileNotFoundError: a truth mask is missing.
    """
    return Sample(
        key=key,
        messages=messages,
        images=images,
        provenance=SampleProvenance(
            source=study.source or source,
            licence=study.licence or licence,
            simulated=study.simulated or simulated,
            patient=study.patient,
            study=study.study,
            image_sha256=tuple(image.meta["provenance"]["sha256"] for image in images),
        ),
        entities=list(study.entities),
        masks={i: path.read_bytes() for i, path in study.masks.items()},
        extra={"split": split, **study.extra},
    )


def _reasons(dropped: Mapping[str, int]) -> str:
    return ", ".join(f"{reason}: {n}" for reason, n in sorted(dropped.items(), key=lambda item: -item[1]))
