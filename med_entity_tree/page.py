"""One HTML file in which people walk the tree: search, branches, names, sources, and counts of a corpus where given."""

import base64
import gzip
import json
from importlib.resources import files
from pathlib import Path

from jinja2 import Template

from med_entity_tree.entity import ROOTS
from med_entity_tree.tree import Tree


def write_page(tree: Tree, out: Path, counts: dict[str, int] | None = None, corpus: str = "") -> int:
    """Write the page; ``counts`` are documents by entity id. The data is packed into the file: nothing is fetched.

    Returns the size of the file in bytes."""
    entities = list(tree)
    row = {entity.id: number for number, entity in enumerate(entities)}
    data = {
        "id": [e.id for e in entities],
        "name": [e.name for e in entities],
        "parent": [row[e.parent] if e.parent else -1 for e in entities],
        "kind": [e.kind for e in entities],
        "by": [e.placed_by for e in entities],
        "sources": [" ".join(e.sources) for e in entities],
        "names": ["\n".join(dict.fromkeys(s.text for s in e.synonyms)) for e in entities],
        "text": [e.definition for e in entities],
        "count": [counts.get(e.id, 0) for e in entities] if counts is not None else None,
        "roots": [row[f"MET:{root}"] for root in ROOTS],
    }
    packed = base64.b64encode(gzip.compress(json.dumps(data, separators=(",", ":")).encode(), 9, mtime=0)).decode()
    template = Template((files("med_entity_tree") / "page.html.jinja").read_text("utf-8"), autoescape=True)
    html = template.render(data=packed, corpus=corpus, manifest=tree.manifest, counted=counts is not None)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(html, "utf-8")
    return len(html.encode())
