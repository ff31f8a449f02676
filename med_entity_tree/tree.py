"""The built tree on the disk and in memory: entities by id, name and place."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from med_entity_tree.entity import ROOTS, Entity, Synonym
from med_entity_tree.errors import OntologyError
from med_entity_tree.graph import Edge, KnowledgeGraph
from med_entity_tree.merge import Decision
from med_entity_tree.names import name_key

ENTITIES, EDGES, DECISIONS, MANIFEST = "entities.parquet", "edges.parquet", "merges.parquet", "manifest.json"

_SYNONYM = pa.struct(
    [("text", pa.string()), ("language", pa.string()), ("scope", pa.string()), ("source", pa.string())]
)
_ENTITY = pa.schema(
    [
        ("id", pa.string()),
        ("name", pa.string()),
        ("kind", pa.string()),
        ("root", pa.string()),
        ("parent", pa.string()),
        ("level", pa.int8()),
        ("placed_by", pa.string()),
        ("sources", pa.list_(pa.string())),
        ("synonyms", pa.list_(_SYNONYM)),
        ("xrefs", pa.list_(pa.string())),
        ("definition", pa.string()),
    ]
)
_EDGE = pa.schema(
    [
        (n, pa.float32() if n == "frequency" else pa.string())
        for n in ("head", "kind", "tail", "source", "frequency", "reference")
    ]
)
_DECISION = pa.schema(
    [
        ("left", pa.string()),
        ("right", pa.string()),
        ("method", pa.string()),
        ("evidence", pa.string()),
        ("score", pa.float32()),
        ("merged", pa.bool_()),
        ("reason", pa.string()),
    ]
)


def _table(rows: Iterable, schema: pa.Schema) -> pa.Table:
    columns: dict[str, list] = {name: [] for name in schema.names}
    for row in rows:
        for name in schema.names:
            value = getattr(row, name)
            if name == "synonyms":
                value = [{"text": s.text, "language": s.language, "scope": s.scope, "source": s.source} for s in value]
            columns[name].append(value)
    return pa.table(columns, schema=schema)


def write_tree(
    folder: Path, entities: list[Entity], edges: list[Edge], decisions: list[Decision], manifest: dict
) -> None:
    """The folder of a tree. The same input gives the same bytes: no times, no paths, everything sorted."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows, schema in (
        (ENTITIES, entities, _ENTITY),
        (EDGES, edges, _EDGE),
        (DECISIONS, sorted(decisions, key=lambda d: (d.left, d.right, d.method, d.evidence)), _DECISION),
    ):
        pq.write_table(_table(rows, schema), folder / name, compression="zstd")
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False) + "\n", "utf-8")


class Tree:
    """A Medical Entity Tree. ``tree[id]`` takes the id of an entity or of any concept that it was made of."""

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        if not (self.folder / ENTITIES).is_file():
            raise OntologyError(
                f"{self.folder} holds no entity tree: make one with `medvlm met build --out {self.folder}`"
            )
        self.manifest = json.loads((self.folder / MANIFEST).read_text("utf-8"))
        columns = pq.read_table(self.folder / ENTITIES).to_pydict()
        self.entities: dict[str, Entity] = {}
        for row in zip(*columns.values(), strict=True):
            values = dict(zip(columns, row, strict=True))
            values["synonyms"] = [Synonym(**synonym) for synonym in values["synonyms"]]
            self.entities[values["id"]] = Entity(**values)

    def __len__(self) -> int:
        return len(self.entities)

    def __iter__(self) -> Iterator[Entity]:
        return iter(self.entities.values())

    def __contains__(self, identity: str) -> bool:
        return identity in self.entities or identity in self._concepts

    def __getitem__(self, identity: str) -> Entity:
        found = self.entities.get(identity) or self.entities.get(self._concepts.get(identity, ""))
        if found is None:
            raise OntologyError(f"no entity {identity} in {self.folder}; look for names with `medvlm met search`")
        return found

    @cached_property
    def _concepts(self) -> dict[str, str]:
        return {source: entity.id for entity in self for source in entity.sources}

    @cached_property
    def by_code(self) -> dict[str, list[str]]:
        """Entities by the codes of other vocabularies (``MESH:D011030``), their own concepts included."""
        found: dict[str, list[str]] = defaultdict(list)
        for entity in self:
            for code in dict.fromkeys([*entity.sources, *entity.xrefs]):
                found[code].append(entity.id)
        return found

    @cached_property
    def _children(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        for entity in self:
            if entity.parent:
                found[entity.parent].append(entity.id)
        return found

    def children(self, identity: str) -> list[Entity]:
        return [self.entities[child] for child in self._children.get(self[identity].id, ())]

    def siblings(self, identity: str) -> list[Entity]:
        entity = self[identity]
        return [other for other in self.children(entity.parent) if other.id != entity.id] if entity.parent else []

    def ancestors(self, identity: str) -> list[Entity]:
        """Parent first, root last."""
        found, entity = [], self[identity]
        while entity.parent:
            entity = self.entities[entity.parent]
            found.append(entity)
        return found

    def roots(self) -> list[Entity]:
        return [self.entities[f"MET:{root}"] for root in ROOTS]

    @cached_property
    def names(self) -> dict[str, list[str]]:
        """Entities by the normal form of each name: preferred names before synonyms, exact ones before others."""
        ranked: dict[str, list[tuple[int, str]]] = defaultdict(list)
        order = {"exact": 1, "narrow": 2, "broad": 3, "related": 4}
        for entity in self:
            ranked[name_key(entity.name)].append((0, entity.id))
            for synonym in entity.synonyms:
                ranked[name_key(synonym.text)].append((order.get(synonym.scope, 4), entity.id))
        return {key: list(dict.fromkeys(identity for _, identity in sorted(found))) for key, found in ranked.items()}

    def search(self, text: str, most: int = 20) -> list[Entity]:
        """Equal names first, then those that begin with the words, then those that hold them all; short ones first."""
        key = name_key(text)
        if not key:
            return []
        wanted = set(key.split())
        hits: list[tuple[int, int, str, list[str]]] = []
        for name, ids in self.names.items():
            if name == key:
                hits.append((0, 0, name, ids))
            elif name.startswith(key + " "):
                hits.append((1, len(name), name, ids))
            elif wanted <= set(name.split()):
                hits.append((2, len(name), name, ids))
        found = dict.fromkeys(identity for *_, ids in sorted(hits) for identity in ids)
        return [self.entities[identity] for identity in list(found)[:most]]

    def edges(self) -> Iterator[Edge]:
        columns = pq.read_table(self.folder / EDGES).to_pydict()
        for row in zip(*(columns[name] for name in _EDGE.names), strict=True):
            yield Edge(**dict(zip(_EDGE.names, row, strict=True)))

    @cached_property
    def graph(self) -> KnowledgeGraph:
        return KnowledgeGraph(self.edges())

    def decisions(self) -> list[dict]:
        return pq.read_table(self.folder / DECISIONS).to_pylist()
