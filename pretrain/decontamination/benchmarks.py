"""Where benchmark items come from: held-out studies of the simulator, tables of questions, and shard folders."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pretrain.decontamination.content import TABLES, Asked, Content, Picture, Table, file_picture, of_sample
from pretrain.decontamination.errors import DecontaminationError

BenchmarkItem = Content


def benchmark_name(path: Path, split: str = "test") -> str:
    """A name for a benchmark that was given as a path: that of its data set."""
    if (path / "dataset.json").is_file():
        from pretrain.shards.index import read_manifest

        return str(read_manifest(path)["name"])
    return f"{path.stem}-{split}" if path.is_dir() else path.stem


def read_benchmark(
    path: Path, *, split: str = "test", columns: dict[str, str] | None = None, id_salt: str = ""
) -> Iterator[Content]:
    """Items of a benchmark in its order.

    Args:
        path: folder of shards, folder of the simulator (as ``medvlm bench`` reads it), or a table.
        split: of a simulator's folder.
        columns, id_salt: see :class:`Table`.

    Raises:
        DecontaminationError: it is none of these.
    """
    path = Path(path)
    if (path / "dataset.json").is_file():
        return _shards(path)
    if (path / f"{split}.jsonl").is_file():
        return _simulated(path, split)
    if path.suffix.lower() in TABLES:
        return iter(Table(path, columns or {}, id_salt))
    raise DecontaminationError(
        f"{path} is no benchmark: give a folder of shards (with dataset.json), a folder of studies with {split}.jsonl, "
        f"or a table ({', '.join(TABLES)})"
    )


def _shards(folder: Path) -> Iterator[Content]:
    from pretrain.shards.index import ShardSet
    from pretrain.shards.reader import ShardReader

    reader = ShardReader(ShardSet.open(folder))
    for sample in reader:
        yield of_sample(sample)
    reader.close()


def _simulated(folder: Path, split: str) -> Iterator[Content]:
    """Questions as ``bench`` numbers them, and one item a study for its report; clusters as the importer names them."""
    from bench.items import read_simulated

    asked = read_simulated(folder, split)
    pictures: dict[Path, Picture] = {}
    studies: dict[str, tuple[str, tuple[Picture, ...]]] = {}
    for item in asked.items:
        for shown in item.images:
            pictures.setdefault(shown.path, file_picture(shown.path))
        images = tuple(pictures[shown.path] for shown in item.images)
        patient, key = item.cluster, _study_key(item.study)
        known = studies.get(item.study, (patient, ()))[1]
        studies[item.study] = (patient, tuple(dict.fromkeys((*known, *images))))
        yield Content(item.key, (), (Asked(item.question, item.options, item.answer),), images, patient, key)
    for study, (patient, images) in studies.items():
        yield Content(study, _report(asked.truth.get(study, {})), (), images, patient, _study_key(study))


def _study_key(study: str) -> str:
    """The study key of the importer of simulated folders, from ``patient/study`` of a benchmark item."""
    patient, _, name = study.partition("/")
    return name if patient in name else f"{patient}-{name}"


def _report(truth: dict[str, Any]) -> tuple[str, ...]:
    report = truth.get("report") or {}
    return tuple(str(report[part]) for part in ("findings", "impression") if report.get(part))
