"""Rows of a table (CSV, TSV, JSONL, Parquet), read as a stream and written again without those that were dropped."""

import csv
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pretrain.dedup.errors import DedupError

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")


def read_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """Rows in their order, a batch in memory at a time.

    Raises:
        DedupError: not a table, or a row that cannot be read; the sentence names the line.
    """
    kind = path.suffix.lower()
    if kind == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            for batch in pq.ParquetFile(path).iter_batches(batch_size=4096):
                yield from batch.to_pylist()
        except (pa.ArrowInvalid, OSError) as error:
            raise DedupError(f"{path} cannot be read as Parquet: {error}") from error
    elif kind == ".jsonl":
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    try:
                        row = json.loads(line)
                    except ValueError as error:
                        raise DedupError(f"{path}, line {number} is not JSON: {error}") from error
                    if not isinstance(row, dict):
                        raise DedupError(f"{path}, line {number} is not an object with columns")
                    yield row
    elif kind in (".csv", ".tsv"):
        csv.field_size_limit(1 << 30)
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t" if kind == ".tsv" else ",")
            for number, row in enumerate(reader, 1):
                if None in row or None in row.values():
                    raise DedupError(f"{path}, row {number} has more or fewer fields than the header")
                yield row
    else:
        raise DedupError(f"{path}: a table is {', '.join(SUFFIXES)}; images are given as a folder")


def write_kept(source: Path, out: Path, kept: Callable[[int], bool]) -> None:
    """The rows whose number (from 0) is kept, in the form of the source; JSONL lines are copied as they are."""
    part = out.with_suffix(out.suffix + ".part")
    kind = source.suffix.lower()
    if kind == ".parquet":
        import pyarrow.parquet as pq

        file, number = pq.ParquetFile(source), 0
        with pq.ParquetWriter(part, file.schema_arrow) as writer:
            for batch in file.iter_batches(batch_size=4096):
                writer.write_batch(batch.filter([kept(number + i) for i in range(len(batch))]))
                number += len(batch)
    elif kind == ".jsonl":
        with source.open(encoding="utf-8-sig") as lines, part.open("w", encoding="utf-8") as file:
            whole = (line.rstrip("\n") + "\n" for line in lines if line.strip())
            file.writelines(line for number, line in enumerate(whole) if kept(number))
    else:
        rows, number = read_rows(source), -1
        with source.open(encoding="utf-8-sig", newline="") as file:
            header = next(csv.reader(file, delimiter="\t" if kind == ".tsv" else ","), [])
        with part.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, header, delimiter="\t" if kind == ".tsv" else ",", lineterminator="\n")
            writer.writeheader()
            for number, row in enumerate(rows):
                if kept(number):
                    writer.writerow(dict(row))
    os.replace(part, out)
