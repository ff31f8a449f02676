"""Sets to compare by name, and the report of a comparison: numbers, misses and a picture."""

import csv
import json
from collections import Counter
from pathlib import Path

from med_entity_tree.coverage import Coverage, Direction, EntitySet, Item
from med_entity_tree.errors import OntologyError
from med_entity_tree.tree import ENTITIES, Tree


def load_set(spec: str, tree: Path) -> EntitySet:
    """A set as the command line names it: ``ONTOLOGY:MESH``, a tree (``:root``), counts of a corpus, or names."""
    from med_entity_tree.entity import ROOTS
    from med_entity_tree.packages import ONTOLOGIES

    if spec.startswith("ONTOLOGY:"):
        known = {ontology.source: ontology for ontology in ONTOLOGIES}
        name = spec.removeprefix("ONTOLOGY:")
        if name not in known:
            raise OntologyError(f"no ontology {name}; the packages hold {', '.join(known)}")
        concepts = known[name].read(Counter())
        return EntitySet(name, [Item(c.id, c.name, tuple(n.text for n in c.names)) for c in concepts])
    folder, _, root = spec.rpartition(":")
    if root in ROOTS and (Path(folder) / ENTITIES).is_file():
        return EntitySet.of_entities(f"{Path(folder).name}, {root}", (e for e in Tree(folder) if e.root == root))
    path = Path(spec)
    if (path / ENTITIES).is_file():
        return EntitySet.of_entities(path.name, Tree(path))
    if (path / "counts.json").is_file():
        counts = json.loads((path / "counts.json").read_text("utf-8"))["present"]
        return EntitySet.of_entities(path.name, Tree(tree), counts)
    if path.is_file():
        return EntitySet.of_names(path.name, path.read_text("utf-8").splitlines())
    raise OntologyError(f"{spec} is no tree, no counts of a corpus, no file of names and no ONTOLOGY:NAME")


def write_report(found: Coverage, out: Path) -> None:
    """``coverage.json`` with all numbers, ``misses.csv`` of both directions, ``coverage.png``."""
    out.mkdir(parents=True, exist_ok=True)
    directions = {"forward": found.forward, "backward": found.backward}
    detail = {name: {key: d.by(key) for key in ("root", "level", "frequency")} for name, d in directions.items()}
    (out / "coverage.json").write_text(json.dumps(found.summary() | {"by": detail}, indent=2) + "\n", "utf-8")
    with (out / "misses.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["direction", "id", "not covered", "nearest", "cosine"])
        for name, direction in directions.items():
            writer.writerows([name, i.id, i.name, near.name, cosine] for i, near, cosine in direction.misses(500))
    _plot(found, out / "coverage.png")


def _plot(found: Coverage, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    figure, axes = plt.subplots(2, 2, figsize=(11, 7), layout="constrained")
    sides = (("forward", found.forward, found.covering), ("backward", found.backward, found.reference))
    for row, (name, direction, by) in zip(axes, sides, strict=True):
        summary = direction.summary()
        row[0].hist(direction.similarity, bins=np.linspace(-0.2, 1, 61), color="#0b6bcb")
        row[0].set_title(f"{name}: AMCS {summary['amcs']:.3f}, equal names {summary['exact']:.0%}", loc="left")
        row[0].set_xlabel(f"cosine to the nearest of {by}")
        row[0].set_ylabel("entities")
        _bars(row[1], direction, by)
    figure.suptitle(f"{found.reference} and {found.covering}, encoder {found.encoder}")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _bars(axis, direction: Direction, by: str) -> None:
    groups = {}
    for key in ("root", "level", "frequency"):
        found = direction.by(key)
        if len(found) > 1:
            groups |= {f"{key} {label}" if key == "level" else label: row for label, row in found.items()}
    groups = groups or {"all": direction.summary()}
    labels, rows = list(groups), list(groups.values())
    mean = [row["amcs"] for row in rows]
    error = [[row["amcs"] - row["amcs low"] for row in rows], [row["amcs high"] - row["amcs"] for row in rows]]
    axis.barh(labels, mean, xerr=error, color="#bcd8f5", label="AMCS")
    axis.plot([row["synonym"] for row in rows], labels, "o", color="#c2620a", label="equal names or synonyms")
    axis.set_xlim(0, 1)
    axis.set_ylim(max(len(labels), 4) - 0.4, -0.6)
    axis.set_title(f"covered by {by}", loc="left")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=2, fontsize="small", frameon=False)
