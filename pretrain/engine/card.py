"""The data card: what went in, what was lost at which stage and why, what came out. Nothing in it is typed by hand."""

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

from med_entity_tree.entity import LEVELS, ROOTS
from med_entity_tree.tree import Tree
from pretrain.engine.folder import Counts
from pretrain.engine.recipe import EngineRecipe, source_name
from pretrain.importing import ImportReport
from pretrain.shards.index import read_manifest
from pretrain.shards.tar import write_atomically

CARD, FACTS, FUNNEL = "card.md", "card.json", "card.png"
BUCKETS = (1, 2, 5, 10, 50, 100, 1000)  # samples of an entity, from


def write_card(
    out: Path, recipe: EngineRecipe, stages: Mapping[str, Counts], splits: Sequence[ImportReport], **more: Any
) -> Path:
    """Write ``card.json``, ``card.md`` and ``card.png`` into the run's folder.

    Args:
        out: folder of the run.
        recipe: what was asked for.
        stages: counts, in order.
        splits: what was written.
        more: further facts, by heading, JSON only.
    """
    facts = card_facts(recipe, stages, splits, **more)
    write_atomically(out / FACTS, (json.dumps(facts, indent=1, ensure_ascii=False) + "\n").encode())
    _draw(out / FUNNEL, facts["stages"])
    write_atomically(out / CARD, render(facts).encode())
    return out / CARD


def card_facts(
    recipe: EngineRecipe, stages: Mapping[str, Counts], splits: Sequence[ImportReport], **more: Any
) -> dict[str, Any]:
    """Everything that the card says, as plain JSON."""
    written = {report.split: read_manifest(report.folder) for report in splits}
    rows = {name: counts.to_json() for name, counts in stages.items()}
    rows["shards"] = Counts(
        came=sum(report.records for report in splits), kept=sum(report.samples for report in splits)
    ).to_json()
    for report in splits:
        for reason, number in report.dropped.items():
            rows["shards"]["dropped"][reason] = rows["shards"]["dropped"].get(reason, 0) + number
    return {
        "name": recipe.name,
        "recipe": recipe.digest(),
        "simulated": all(manifest["simulated"] for manifest in written.values()),
        "sources": [_source(section, stages) for section in recipe.sources],
        "stages": rows,
        "splits": {
            split: {**manifest["counts"], "digest": manifest["digest"], "shards": len(manifest["shards"])}
            for split, manifest in written.items()
        },
        "entities": _entities(recipe, {split: manifest["entities"] for split, manifest in written.items()}),
        **more,
    }


def _source(section: Any, stages: Mapping[str, Counts]) -> dict[str, Any]:
    name = source_name(section)
    numbers = {stage: counts.by_source.get(name, {}) for stage, counts in stages.items()}
    return {
        "name": name,
        "identity": section.identity,
        "licence": section.licence,
        "records": numbers.get("ingest", {}).get("came", 0),
        "kept": numbers.get("select", {}).get("selected", 0),
    }


def _entities(recipe: EngineRecipe, by_split: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """Coverage of the tree by the first split: how many entities, by root and level, and how often each."""
    if recipe.tree is None or not by_split:
        return {}
    split, counts = next(iter(by_split.items()))
    tree = Tree(recipe.tree)
    known = {identity: number for identity, number in counts.items() if identity in tree}
    by_root = {root: dict.fromkeys(range(1, LEVELS + 1), 0) for root in ROOTS}
    for identity in known:
        entity = tree[identity]
        if entity.level:
            by_root[entity.root][entity.level] += 1
    edges = [*BUCKETS, None]
    buckets = {
        _range(low, high): sum(low <= number and (high is None or number < high) for number in known.values())
        for low, high in pairwise(edges)
    }
    return {
        "split": split,
        "tree entities": len(tree),
        "covered": len(known),
        "unknown ids": len(counts) - len(known),
        "by root and level": {root: {str(n): c for n, c in row.items()} for root, row in by_root.items()},
        "entities by samples": buckets,
        "most frequent": [
            [tree[i].name, n] for i, n in sorted(known.items(), key=lambda item: (-item[1], item[0]))[:20]
        ],
        "once": sum(number == 1 for number in known.values()),
    }


def _range(low: int, high: int | None) -> str:
    if high is None:
        return f"{low} and more"
    return str(low) if high == low + 1 else f"{low} to {high - 1}"


def render(facts: Mapping[str, Any]) -> str:
    """The card in Markdown."""
    from jinja2 import Environment, StrictUndefined

    template = (files("pretrain.engine") / "card.md.jinja").read_text("utf-8")
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    return environment.from_string(template).render(**facts)


def _draw(path: Path, stages: Mapping[str, Mapping[str, Any]]) -> None:
    """Records after each stage, and what was lost by reason, as a picture."""
    from matplotlib.figure import Figure

    names = list(stages)
    reasons = sorted({reason for row in stages.values() for reason in row["dropped"]})
    figure = Figure(figsize=(9, 0.8 + 0.55 * len(names)), layout="constrained")
    axes = figure.subplots()
    left = [row["kept"] for row in stages.values()]
    axes.barh(names, left, color="#4c78a8", label="kept")
    colours = ["#e45756", "#f58518", "#eeca3b", "#72b7b2", "#54a24b", "#b279a2", "#ff9da6", "#9d755d", "#bab0ac"]
    for number, reason in enumerate(reasons):
        lost = [row["dropped"].get(reason, 0) for row in stages.values()]
        axes.barh(names, lost, left=left, color=colours[number % len(colours)], label=reason)
        left = [a + b for a, b in zip(left, lost)]
    axes.invert_yaxis()
    axes.set_xlabel("records")
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(path, dpi=110, metadata={"Software": None})
