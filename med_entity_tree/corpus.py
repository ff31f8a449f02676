"""Tag a corpus: many documents, several processes, and only what is new.

Documents are taken in chunks in their order. A chunk's part is named after a hash of its texts and of the tree, so a
part that is there need not be made again: a killed run goes on, and an appended corpus costs its new chunks only.
"""

import hashlib
import json
import logging
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.parquet as pq

from med_entity_tree.errors import OntologyError
from med_entity_tree.tagger import Tagger
from med_entity_tree.tree import ENTITIES

log = logging.getLogger(__name__)

Document = tuple[str, str]  # id, text

_PART = pa.schema(
    [
        ("document", pa.string()),
        ("entity", pa.string()),
        ("start", pa.int32()),
        ("end", pa.int32()),
        ("polarity", pa.string()),
        ("time", pa.string()),
        ("subject", pa.string()),
        ("section", pa.string()),
        ("present", pa.bool_()),
    ]
)


def read_documents(path: Path, text: str = "text", identity: str | None = None) -> Iterator[Document]:
    """``(id, text)`` of a folder of .txt files or a table (.jsonl, .csv, .tsv, .parquet), a batch in memory at a time.

    ``text`` and ``identity`` name columns; without ``identity`` a row is called by its number."""
    columns = [text, *([identity] if identity else [])]
    if path.is_dir():
        for file in sorted(path.rglob("*.txt")):
            yield str(file.relative_to(path)), file.read_text("utf-8", errors="replace")
        return
    if path.suffix == ".jsonl":
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines):
                row = json.loads(line)
                _need(row, path, *columns)
                yield str(row[identity] if identity else number), row[text] or ""
        return
    if path.suffix in (".csv", ".tsv"):
        strings = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(columns, pa.string()))  # "007" is no number
        reading = pyarrow.dataset.CsvFileFormat(
            parse_options=pyarrow.csv.ParseOptions(
                delimiter="," if path.suffix == ".csv" else "\t", newlines_in_values=True
            ),
            default_fragment_scan_options=pyarrow.dataset.CsvFragmentScanOptions(convert_options=strings),
        )
    elif path.suffix == ".parquet":
        reading = "parquet"
    else:
        raise OntologyError(f"{path}: texts are read from a folder of .txt, or from .jsonl, .csv, .tsv or .parquet")
    table = pyarrow.dataset.dataset(path, format=reading)
    _need(table.schema.names, path, *columns)
    number = 0
    for batch in table.to_batches(columns=columns, batch_size=4096):
        ids = batch.column(identity).to_pylist() if identity else range(number, number + len(batch))
        number += len(batch)
        yield from ((str(i), t or "") for i, t in zip(ids, batch.column(text).to_pylist(), strict=True))


def _need(columns: Iterable[str], path: Path, *wanted: str) -> None:
    for name in wanted:
        if name not in columns:
            raise OntologyError(f"{path} has no column {name}; it has {', '.join(columns)}")


@dataclass
class Tagged:
    """What a run over a corpus found: documents, those that name an entity as present, and all mentions by entity."""

    documents: int = 0
    reused: int = 0
    present: Counter[str] = field(default_factory=Counter)
    mentions: Counter[str] = field(default_factory=Counter)


def tag_corpus(
    documents: Iterable[Document],
    tree: Path,
    out: Path,
    workers: int = 1,
    chunk: int = 2000,
    progress: Callable[[int], None] = lambda documents: None,
) -> Tagged:
    """Tag documents into ``out/part-<hash>.parquet``, count entities into ``out/counts.json``.

    At most ``2 * workers`` chunks are in memory. Parts of an earlier run over other texts are left alone and not
    counted."""
    out.mkdir(parents=True, exist_ok=True)
    stamp = hashlib.sha256((tree / ENTITIES).read_bytes()).hexdigest()
    total = Tagged()
    parts: list[str] = []
    source = iter(documents)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_start, initargs=(str(tree),)) as pool:
        running: set[Future[tuple[int, Counter[str], Counter[str]]]] = set()

        def finish(all_of_them: bool) -> None:
            nonlocal running
            while running and (all_of_them or len(running) >= 2 * workers):
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    count, present, mentions = future.result()
                    _add(total, count, present, mentions)
                    progress(count)

        while block := list(islice(source, chunk)):
            name = f"part-{_hash(stamp, block)}.parquet"
            parts.append(name)
            if (out / name).is_file():
                present, mentions = _census(pq.read_table(out / name))
                _add(total, len(block), present, mentions)
                total.reused += len(block)
                progress(len(block))
            else:
                running.add(pool.submit(_tag, block, str(out / name)))
            finish(False)
        finish(True)
    counts = {
        "tree": stamp,
        "documents": total.documents,
        "parts": parts,
        "present": dict(sorted(total.present.items())),
        "mentions": dict(sorted(total.mentions.items())),
    }
    part = out / "counts.json.part"
    part.write_text(json.dumps(counts, indent=1) + "\n", "utf-8")
    part.replace(out / "counts.json")
    return total


def _add(total: Tagged, documents: int, present: Counter[str], mentions: Counter[str]) -> None:
    total.documents += documents
    total.present.update(present)
    total.mentions.update(mentions)


def _hash(stamp: str, block: list[Document]) -> str:
    digest = hashlib.sha256(stamp.encode())
    for identity, text in block:
        for piece in (identity, text):
            data = piece.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:24]


_tagger: Tagger | None = None


def _start(tree: str) -> None:
    global _tagger
    _tagger = Tagger.of_folder(Path(tree))


def _tag(block: list[Document], path: str) -> tuple[int, Counter[str], Counter[str]]:
    assert _tagger is not None, "the pool's initializer builds the tagger"
    columns: dict[str, list] = {name: [] for name in _PART.names}
    for (identity, _), mentions in zip(block, _tagger.tag_many([text for _, text in block]), strict=True):
        for mention in mentions:
            said = mention.assertion
            row = (identity, mention.entity, mention.start, mention.end)
            row += (said.polarity, said.time, said.subject, said.section, said.present)
            for name, value in zip(_PART.names, row, strict=True):
                columns[name].append(value)
    table = pa.table(columns, schema=_PART)
    part = Path(path + ".part")
    pq.write_table(table, part, compression="zstd")
    part.replace(path)
    return (len(block), *_census(table))


def _census(table: pa.Table) -> tuple[Counter[str], Counter[str]]:
    """Documents by entity that they say is present, and mentions by entity."""
    entities = table.column("entity").to_pylist()
    rows = zip(table.column("document").to_pylist(), entities, table.column("present").to_pylist(), strict=True)
    present = {(document, entity) for document, entity, here in rows if here}
    return Counter(entity for _, entity in present), Counter(entities)
