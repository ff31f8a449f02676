"""The tree in the formats of other tools."""

import csv
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from med_entity_tree.entity import ROOTS, Entity
from med_entity_tree.errors import OntologyError
from med_entity_tree.tree import Tree


def export(tree: Tree, out: Path, root: str | None = None) -> int:
    """Write the entities of a tree (of one root) to ``out``; the suffix decides the format. Returns how many."""
    if root is not None and root not in ROOTS:
        raise OntologyError(f"no root {root}; the roots are {', '.join(ROOTS)}")
    writers = {".jsonl": _jsonl, ".csv": _csv, ".obo": _obo, ".graphml": _graphml}
    if out.suffix not in writers:
        raise OntologyError(f"{out}: known formats are {', '.join(writers)}")
    entities = [entity for entity in tree if root is None or entity.root == root]
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", encoding="utf-8", newline="") as file:
        for line in writers[out.suffix](tree, entities):
            file.write(line)
    return len(entities)


def _jsonl(tree: Tree, entities: list[Entity]) -> Iterator[str]:
    for entity in entities:
        yield json.dumps(asdict(entity), ensure_ascii=False) + "\n"


class _Line:
    """A file for ``csv`` that only remembers the last line."""

    text = ""

    def write(self, text: str) -> None:
        self.text = text


def _csv(tree: Tree, entities: list[Entity]) -> Iterator[str]:
    line = _Line()
    writer = csv.writer(line)
    writer.writerow(["id", "name", "kind", "root", "level", "parent", "sources", "synonyms"])
    yield line.text
    for e in entities:
        names = "|".join(s.text for s in e.synonyms)
        writer.writerow([e.id, e.name, e.kind, e.root, e.level, e.parent, "|".join(e.sources), names])
        yield line.text


def _obo(tree: Tree, entities: list[Entity]) -> Iterator[str]:
    yield "format-version: 1.4\nontology: met\n"
    for e in entities:
        yield f"\n[Term]\nid: {e.id}\nname: {_obo_text(e.name)}\n"
        if e.definition:
            yield f'def: "{_obo_text(e.definition, True)}" []\n'
        for s in e.synonyms:
            yield f'synonym: "{_obo_text(s.text, True)}" {s.scope.upper()} [{s.source}]\n'
        for xref in sorted({*e.sources, *e.xrefs} - {e.id}):
            yield f"xref: {_obo_text(xref)}\n"
        if e.parent:
            yield f"is_a: {e.parent} ! {_obo_text(tree[e.parent].name)}\n"


def _obo_text(text: str, quoted: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quoted else text.replace("{", "\\{").replace("!", "\\!")


def _graphml(tree: Tree, entities: list[Entity]) -> Iterator[str]:
    yield '<?xml version="1.0" encoding="UTF-8"?>\n<graphml xmlns="http://graphml.graphdrawing.org/xmlns">\n'
    for key, where in (("name", "node"), ("root", "node"), ("kind", "edge"), ("source", "edge"), ("frequency", "edge")):
        yield f'<key id="{key}" for="{where}" attr.name="{key}" attr.type="string"/>\n'
    yield '<graph edgedefault="directed">\n'
    known = {e.id for e in entities}
    for e in entities:
        data = f'<data key="name">{escape(e.name)}</data><data key="root">{e.root}</data>'
        yield f"<node id={quoteattr(e.id)}>{data}</node>\n"
    for edge in tree.edges():
        if edge.head in known and edge.tail in known:
            frequency = f'<data key="frequency">{edge.frequency:.4g}</data>' if edge.frequency >= 0 else ""
            data = (
                f'<data key="kind">{escape(edge.kind)}</data><data key="source">{escape(edge.source)}</data>{frequency}'
            )
            yield f"<edge source={quoteattr(edge.head)} target={quoteattr(edge.tail)}>{data}</edge>\n"
    yield "</graph>\n</graphml>\n"
