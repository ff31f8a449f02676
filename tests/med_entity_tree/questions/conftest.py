"""A made-up tree: invented names, drawn edges, big enough that questions of up to four hops can be balanced."""

import random
from pathlib import Path

import pytest

from med_entity_tree.entity import ROOTS, Entity
from med_entity_tree.graph import Edge, distinct
from med_entity_tree.tree import Tree, write_tree

_PIECES = "ba ce di fo gu ha je ki lo mu na pe ri so tu va we xi yo zu bra cle dri flo gru pla stre tri".split()


def _entity(identity: str, name: str, kind: str, parent: str, level: int, sources: list[str]) -> Entity:
    return Entity(identity, name, kind, sources, root=kind, parent=parent, level=level, placed_by="tests")


def made_up(seed: int = 0, size: int = 8) -> tuple[list[Entity], list[Edge]]:
    rng = random.Random(f"made up {seed}")
    used: set[str] = set()

    def word() -> str:
        while True:
            made = "".join(rng.choice(_PIECES) for _ in range(rng.randint(3, 5)))
            if made[:5] not in used:
                used.add(made[:5])
                return made

    entities = [Entity(f"MET:{root}", name, "root", [f"MET:{root}"], root=root) for root, name in ROOTS.items()]
    leaves: dict[str, list[str]] = {"disease": [], "finding": [], "anatomy": []}
    prefix = {"disease": "MONDO", "finding": "HP", "anatomy": "MESH"}
    for kind in leaves:
        for group in range(size):
            top = f"MET:{kind}{group}"
            entities.append(_entity(top, word(), kind, f"MET:{kind}", 1, [top]))
            for part in range(size):
                middle = f"{prefix[kind]}:{group}{part}0"
                entities.append(_entity(middle, word(), kind, top, 2, [middle]))
                for leaf in range(1, 5):
                    name = " ".join(word() for _ in range(rng.randint(1, 2)))
                    identity = f"{prefix[kind]}:{group}{part}{leaf}"
                    entities.append(_entity(identity, name, kind, middle, 3, [identity]))
                    leaves[kind].append(identity)
    edges = []
    for disease in leaves["disease"]:
        for finding in rng.sample(leaves["finding"], rng.randint(1, 6)):
            frequency = rng.choice([-1.0, 0.0, 0.025, 0.17, 0.545, 0.895, 1.0])
            edges.append(Edge(disease, "has_finding", finding, "HPOA", frequency, "PMID:1"))
        edges.append(Edge(disease, "located_in", rng.choice(leaves["anatomy"]), "NAME"))
    for finding in leaves["finding"]:
        edges.append(Edge(finding, "located_in", rng.choice(leaves["anatomy"]), "NAME"))
    by_id = {entity.id: entity for entity in entities}
    edges += [Edge(e.id, "is_a", e.parent, "TEST") for e in by_id.values() if e.level == 3 and e.kind != "anatomy"]
    return sorted(entities, key=lambda e: e.id), distinct(edges)


@pytest.fixture(scope="session")
def question_tree(tmp_path_factory) -> Tree:
    folder: Path = tmp_path_factory.mktemp("met") / "tree"
    entities, edges = made_up()
    write_tree(folder, entities, edges, [], {"sha256": "tests"})
    return Tree(folder)
