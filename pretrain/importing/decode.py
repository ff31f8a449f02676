"""Images of studies through the imaging package, many at a time, as lossless records ready for a shard."""

import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from pretrain.importing.study import Drop, Study
from vlm.imaging import ImagingError, Limits, MedicalImage, read_image, read_images
from vlm.sample import EncodedImage

_AHEAD_WITHOUT_IMAGE = 256  # records; text alone must not be read ahead without bound
Decoded = MedicalImage | ImagingError


@dataclass
class _Pending:
    """A record that was read, and its image files: None where there is no such file."""

    record: Study | Drop
    files: list[Path | None]
    spooled: list[Path]


def decode_studies(
    studies: Iterable[Study | Drop], *, workers: int, limits: Limits
) -> Iterator[tuple[Study, list[EncodedImage]] | Drop]:
    """Each study with its encoded images, or the reason why it has to be dropped; the order is kept.

    Decoding runs in child processes of the imaging package, which read a few files ahead; memory is bounded, and pixels
    are encoded as they arrive.

    Args:
        studies: from a source.
        workers: decoding children; 0 takes the one that the process has for single images (slower, no start-up).
        limits: what one file may cost.
    """
    with tempfile.TemporaryDirectory(prefix="medvlm-import-") as folder:
        feed = _Feed(studies, Path(folder))
        while not feed.ended:
            paths = feed.paths()
            first = next(paths, None)
            decoded = iter(()) if first is None else _decode(chain([first], paths), workers, limits)
            arrived: deque[Decoded] = deque()
            while feed.pending or _advance(decoded, arrived) or feed.pending:
                pending = feed.pending.popleft()
                yield _outcome(pending, arrived, decoded)
                for path in pending.spooled:
                    path.unlink()


class _Feed:
    """Reads records as the decoder asks for paths, and holds those whose images are on their way."""

    def __init__(self, records: Iterable[Study | Drop], spool: Path):
        self.records, self.spool = iter(records), spool
        self.pending: deque[_Pending] = deque()
        self.ended = False
        self._spooled = 0

    def paths(self) -> Iterator[Path]:
        """Image files in order; ends for a while when many records have none."""
        without = 0
        for record in self.records:
            pending = self._as_files(record)
            self.pending.append(pending)
            found = [path for path in pending.files if path is not None]
            yield from found
            without = 0 if found else without + 1
            if without >= _AHEAD_WITHOUT_IMAGE:
                return
        self.ended = True

    def _as_files(self, record: Study | Drop) -> _Pending:
        """Bytes become files of a temporary folder, so that one decoder serves both."""
        pending = _Pending(record, [], [])
        for image in record.images if isinstance(record, Study) else ():
            if isinstance(image, bytes):
                self._spooled += 1
                path = self.spool / f"{self._spooled}"
                path.write_bytes(image)
                pending.spooled.append(path)
            else:
                path = image
            pending.files.append(path if path.is_file() else None)
        return pending


def _decode(paths: Iterable[Path], workers: int, limits: Limits) -> Iterator[Decoded]:
    if workers:
        for _, result in read_images(paths, workers=workers, limits=limits):
            yield result
        return
    for path in paths:
        try:
            yield read_image(path, limits=limits)
        except ImagingError as error:
            yield error


def _advance(decoded: Iterator[Decoded], arrived: deque[Decoded]) -> bool:
    """Make the decoder go on, which reads further records; False at its end."""
    for result in decoded:
        arrived.append(result)
        return True
    return False


def _outcome(
    pending: _Pending, arrived: deque[Decoded], decoded: Iterator[Decoded]
) -> tuple[Study, list[EncodedImage]] | Drop:
    results = [None if f is None else arrived.popleft() if arrived else next(decoded) for f in pending.files]
    study = pending.record
    if isinstance(study, Drop):
        return study
    encoded = []
    for result in results:
        if result is None:
            return Drop(study.where, "missing image")
        if isinstance(result, ImagingError):
            return Drop(study.where, f"image refused: {result.code}")
        encoded.append(EncodedImage.encode(result))
    return study, encoded
