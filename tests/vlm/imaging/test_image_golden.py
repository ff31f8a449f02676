"""Every DICOM file of pydicom and pydicom-data is rendered or refused, and its pixels stay what they were.

``python tests/vlm/imaging/test_image_golden.py`` writes the table anew; look at the difference before committing it.
"""

import csv
import hashlib
import importlib.util
from pathlib import Path

from vlm.imaging import ImagingError, read_images

GOLDEN = Path(__file__).with_name("golden.csv")
COLUMNS = [
    "file",
    "modality",
    "transfer_syntax",
    "photometric",
    "shape",
    "dtype",
    "units",
    "min",
    "max",
    "sha256_or_code",
]


def corpus_files() -> list[tuple[str, Path]]:
    spec = importlib.util.spec_from_file_location("imaging_conftest", Path(__file__).with_name("conftest.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.all_corpus_files()


def table(files: list[tuple[str, Path]]) -> list[dict[str, str]]:
    """One row a file: what its first frame is, or the code it is refused with. Every image is rendered, too."""
    rows = []
    names = {path: name for name, path in files}
    for path, result in read_images([path for _, path in files], workers=1):
        row = dict.fromkeys(COLUMNS, "") | {"file": names[Path(path)]}
        if isinstance(result, ImagingError):
            assert result.code and str(path) in str(result)
            rows.append(row | {"sha256_or_code": f"{type(result).__name__}:{result.code}"})
            continue
        picture = result.render(size=256)
        assert picture.dtype == "uint8" and max(picture.shape[:2]) <= 256
        pixels = result.pixels.astype(result.pixels.dtype.newbyteorder("<"))
        rows.append(
            row
            | {
                "modality": result.modality or "",
                "transfer_syntax": result.provenance.transfer_syntax or "",
                "photometric": result.provenance.photometric or "",
                "shape": "x".join(map(str, pixels.shape)),
                "dtype": result.pixels.dtype.name,
                "units": result.units,
                "min": f"{pixels.min():g}",
                "max": f"{pixels.max():g}",
                "sha256_or_code": hashlib.sha256(pixels.tobytes()).hexdigest(),
            }
        )
    return rows


def check(files: list[tuple[str, Path]]) -> None:
    with open(GOLDEN, newline="") as file:
        golden = {row["file"]: row for row in csv.DictReader(file)}
    wrong = {row["file"]: (row, golden.get(row["file"])) for row in table(files) if row != golden.get(row["file"])}
    assert not wrong


def test_golden_table():
    files = corpus_files()
    assert len(files) > 255
    check(files)


if __name__ == "__main__":
    with open(GOLDEN, "w", newline="") as out:
        writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(table(corpus_files()))
