"""Retrieve for every thin node, and write what was found."""

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from med_entity_tree.corpus import Document
from med_entity_tree.tagger import Tagger
from med_entity_tree.tree import Tree
from pretrain.retrieval.choose import NodeResult, Rules, choose, table_row
from pretrain.retrieval.needs import Need, kinds_of, query_of
from pretrain.retrieval.scan import Encode, Scan, scan_pool


@dataclass(frozen=True)
class Retrieved:
    """Results by node in the order of the needs, and the names of the documents."""

    results: list[NodeResult]
    ids: list[str]


def retrieve(
    documents: Iterable[Document],
    tree: Tree,
    tagger: Tagger,
    needs: Sequence[Need],
    *,
    encode: Encode | None = None,
    rules: Rules = Rules(),  # noqa: B008  frozen
    reach: int = 200,
    progress: Callable[[int], None] = lambda documents: None,
) -> Retrieved:
    """Look through a pool for every need.

    Args:
        encode: sentence encoder for the arm of meaning; None leaves it out.
        reach: candidates of a node by full text, and by meaning, that are looked at.
    """
    kinds = {need.entity: kinds_of(tree, need.entity) if rules.kinds else set() for need in needs}
    watched = {need.entity for need in needs}.union(*kinds.values()) if needs else set()
    queries = {need.entity: query_of(tree, need.entity) for need in needs}
    scan: Scan = scan_pool(documents, queries, watched, tagger, encode, reach, progress)
    return Retrieved([choose(need, kinds[need.entity], scan, rules) for need in needs], scan.ids)


def write_results(found: Retrieved, tree: Tree, out: Path, settings: dict) -> None:
    """``nodes.csv`` (a line a node), ``candidates.parquet`` (all evidence), ``taken.jsonl`` (documents to collect)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    out.mkdir(parents=True, exist_ok=True)
    names = {result.need.entity: tree[result.need.entity].name for result in found.results}
    with (out / "nodes.csv").open("w", encoding="utf-8", newline="") as file:
        rows = [table_row(result, names) for result in found.results]
        writer = csv.DictWriter(file, list(rows[0]) if rows else ["node"])
        writer.writeheader()
        writer.writerows(rows)
    every = [candidate for result in found.results for candidate in result.candidates]
    columns = {
        "node": pa.array([c.node for c in every], pa.string()),
        "document": pa.array([found.ids[c.document] for c in every], pa.string()),
        "taken": pa.array([not c.reason for c in every], pa.bool_()),
        "reason": pa.array([c.reason for c in every], pa.string()),
        "named": pa.array([c.named for c in every], pa.string()),
        "kind": pa.array([c.kind for c in every], pa.string()),
        "bm25": pa.array([c.bm25 for c in every], pa.float32()),
        "cosine": pa.array([c.cosine for c in every], pa.float32()),
        "fused": pa.array([c.fused for c in every], pa.float32()),
    }
    pq.write_table(pa.table(columns), out / "candidates.parquet", compression="zstd")
    taken: dict[int, list[str]] = {}
    for result in found.results:
        for candidate in result.taken:
            taken.setdefault(candidate.document, []).append(candidate.node)
    with (out / "taken.jsonl").open("w", encoding="utf-8") as file:
        for document, nodes in sorted(taken.items()):
            line = {"document": found.ids[document], "entities": sorted(nodes)}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    summary = {
        **settings,
        "documents": len(found.ids),
        "nodes": len(found.results),
        "taken": len(taken),
        "nodes that reach their number": sum(len(r.taken) >= r.need.want for r in found.results),
        "nodes without any": sum(not r.taken for r in found.results),
    }
    (out / "summary.json").write_text(json.dumps(summary, indent=1, sort_keys=True) + "\n", "utf-8")
