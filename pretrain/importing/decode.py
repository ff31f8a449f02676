"""Images of studies through the imaging package, many at a time, as lossless records ready for a shard."""

import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from pretrain.importing.study import Drop, Study
from vlm.imaging import ImagingError, Limits, MedicalImage, read_images
from vlm.sample import EncodedImage

_IMAGES_AT_A_TIME = 256
_STUDIES_AT_A_TIME = 64


def decode_studies(
    studies: Iterable[Study | Drop], *, workers: int = 1, limits: Limits = Limits()
) -> Iterator[tuple[Study, list[EncodedImage]] | Drop]:
    """Each study with its encoded images, or the reason why it has to be dropped; the order is kept.

    Decoding runs in child processes of the imaging package. Memory is bounded: studies are taken in small groups, and
    decoded pixels are encoded as they arrive.
    """
    records = iter(studies)
    while group := _take_group(records):
        with tempfile.TemporaryDirectory(prefix="medvlm-import-") as spool:
            files = [_as_files(r, Path(spool), n) for n, r in enumerate(group)]
            wanted = [path for paths in files for path in paths if path.is_file()]
            decoded = read_images(wanted, workers=workers, limits=limits)
            for record, paths in zip(group, files):
                results = [next(decoded)[1] if path.is_file() else None for path in paths]
                yield record if isinstance(record, Drop) else _outcome(record, results)


def _take_group(records: Iterator[Study | Drop]) -> list[Study | Drop]:
    group: list[Study | Drop] = []
    images = 0
    for record in islice(records, _STUDIES_AT_A_TIME):
        group.append(record)
        images += len(record.images) if isinstance(record, Study) else 0
        if images >= _IMAGES_AT_A_TIME:
            break
    return group


def _as_files(record: Study | Drop, spool: Path, number: int) -> list[Path]:
    """Paths of a record's images; bytes become files of a temporary folder, so that one decoder serves both."""
    paths = []
    for i, image in enumerate(record.images if isinstance(record, Study) else ()):
        if isinstance(image, bytes):
            path = spool / f"{number}-{i}"
            path.write_bytes(image)
        else:
            path = image
        paths.append(path)
    return paths


def _outcome(
    study: Study, results: list[MedicalImage | ImagingError | None]
) -> tuple[Study, list[EncodedImage]] | Drop:
    encoded = []
    for result in results:
        if result is None:
            return Drop(study.where, "missing image")
        if isinstance(result, ImagingError):
            return Drop(study.where, f"image refused: {result.code}")
        encoded.append(EncodedImage.encode(result))
    return study, encoded
