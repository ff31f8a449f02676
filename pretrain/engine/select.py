"""Which records stay, and in which split: duplicates, benchmark items, and clusters that no split may cut."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pretrain.engine.folder import Counts, StageFolder
from pretrain.engine.record import RECORD, table_of
from pretrain.shards.ordering import derive

KEYS = pa.schema([("key", pa.string()), ("reason", pa.string()), ("cluster", pa.string())])


class Clusters:
    """Names that belong together (union-find; the smallest name stands for all)."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}

    def find(self, name: str) -> str:
        above = self._above
        root = name
        while above.get(root, root) != root:
            root = above[root]
        while name != root:
            above[name], name = root, above.get(name, name)
        return root

    def join(self, names: Iterable[str]) -> None:
        roots = sorted({self.find(name) for name in names})
        for other in roots[1:]:
            self._above[other] = roots[0]


def cluster_names(row: Mapping[str, Any], cluster: str) -> list[str]:
    """What ties a record to others: its patient, its study, the cluster of its images; its own key without any."""
    tied = [("patient", row["patient"]), ("study", row["study"]), ("image", cluster)]
    return [f"{kind}\0{name}" for kind, name in tied if name] or [f"key\0{row['key']}"]


def stands_first(splits: Iterable[str]) -> str:
    """The split that a cluster goes to when its records come with several: a held-out one before ``train``.

    >>> stands_first(["train", "val", "test"])
    'test'
    """
    return min(splits, key=lambda split: (split == "train", split))


def draw_split(cluster: str, shares: Mapping[str, float]) -> str:
    """The split of a cluster without one, by its name alone."""
    place = derive("engine split", cluster) / 2**64 * sum(shares.values())
    for name, share in shares.items():
        place -= share
        if place < 0:
            return name
    return list(shares)[-1]


def cluster_splits(tables: Iterable[pa.Table], clusters: Mapping[str, str]) -> tuple[Clusters, dict[str, str]]:
    """Clusters of all records, and the split of those that have one of their source's making.

    Args:
        tables: of records, at least key, patient, study, split.
        clusters: cluster of images by key, where there is one.
    """
    joined, own = Clusters(), {}
    for table in tables:
        for row in table.to_pylist():
            names = cluster_names(row, clusters.get(row["key"], ""))
            joined.join(names)
            if row["split"]:
                own.setdefault(names[0], set()).add(row["split"])
    by_root: dict[str, set[str]] = {}
    for name, splits in own.items():
        by_root.setdefault(joined.find(name), set()).update(splits)
    return joined, {root: stands_first(splits) for root, splits in by_root.items()}


@dataclass
class Selection:
    """Decides on every record of a part, in the order of the parts.

    Attributes:
        refused: reason by key of what must go.
        clusters: of images, by key.
        joined, own: from :func:`cluster_splits`.
        shares: of clusters without a split of their own.
    """

    refused: Mapping[str, str]
    clusters: Mapping[str, str]
    joined: Clusters
    own: Mapping[str, str]
    shares: Mapping[str, float]

    def part(self, came: StageFolder, folder: StageFolder, name: str) -> Counts:
        """Write the part's records that stay, each with its split."""
        rows, counts, dropped, kept = pq.read_table(came.table(name)).to_pylist(), Counts(), [], []
        counts.came = len(rows)
        for row in rows:
            split = self._split(row)
            reason = self.refused.get(row["key"]) or (
                f"shares a patient, study or image with split {split}" if row["split"] not in ("", split) else ""
            )
            if reason:
                counts.dropped[reason] += 1
                counts.source(row["source"], "dropped")
                dropped.append({"source": row["source"], "where": row["where"], "reason": reason})
                continue
            kept.append({**row, "split": split})
            counts.source(row["source"], "selected")
            counts.notes[f"split {split}"] += 1
        counts.kept = len(kept)
        folder.write(name, table_of(kept, RECORD), dropped, counts)
        return counts

    def _split(self, row: Mapping[str, Any]) -> str:
        root = self.joined.find(cluster_names(row, self.clusters.get(row["key"], ""))[0])
        return self.own.get(root) or draw_split(root, self.shares)


def light_tables(folder: StageFolder) -> Iterator[pa.Table]:
    """The columns that splits need, a part at a time."""
    for name in folder.parts():
        yield pq.read_table(folder.table(name), columns=["key", "patient", "study", "split"])
