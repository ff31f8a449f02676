"""From ontologies to a tree on the disk: read, merge, place, link, check, write."""

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import chain
from pathlib import Path

from med_entity_tree.added import Reading
from med_entity_tree.concept import Concept
from med_entity_tree.entity import LEVELS, ROOT_OF_KIND, ROOTS, Entity, Synonym
from med_entity_tree.errors import OntologyError
from med_entity_tree.graph import concept_edges, distinct, hpo_annotations, located_by_name
from med_entity_tree.merge import Encoder, Merger, merge_by_code, merge_by_embedding, merge_by_name, merge_by_xref, rank
from med_entity_tree.names import name_key, words
from med_entity_tree.packages import ONTOLOGIES, Ontology, hpo_annotation_file
from med_entity_tree.skeleton import Placer, check, skeleton_concepts
from med_entity_tree.tree import ENTITIES, write_tree

log = logging.getLogger(__name__)

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Built:
    """What a build did: counts for people, and the faults that ``check`` found (none in a good tree)."""

    manifest: dict
    faults: list[str]


def build_tree(
    out: Path,
    ontologies: Sequence[Ontology] = ONTOLOGIES,
    more: Sequence[tuple[str, Reading]] = (),
    encode: Encoder | None = None,
    threshold: float = 0.97,
    progress: Progress = log.info,
) -> Built:
    """Build the tree of the packages and of ``more`` (ontologies that a user holds), and write it to ``out``.

    ``more`` is read first: a concept that both hold is taken from there.
    ``encode`` gives unit vectors for names; without it nothing is merged by embedding, and the manifest says so. Raises
    OntologyError where a package is missing or the tree would have an orphan, a cycle or an id twice."""
    dropped: Counter[str] = Counter()
    concepts: dict[str, Concept] = {concept.id: concept for concept in skeleton_concepts()}
    counts: dict[str, int] = {}
    for source, read in [*more, *((o.source, o.read) for o in ontologies)]:
        progress(f"reading {source}")
        before = len(concepts)
        _take(concepts, read(dropped), dropped)
        counts[source] = len(concepts) - before
    merger = merge(concepts.values(), encode, threshold, progress)
    progress("placing")
    entities = {group[0].id: entity_of_group(group) for group in merger.groups()}
    placer = Placer(entities, concepts)
    placer.place()
    faults = check(entities)
    if faults:
        raise OntologyError(f"the tree has {len(faults)} faults, the first: {faults[0]}. Please report this.")
    add_chinese_names(entities, dropped)
    progress("linking")
    edges = concept_edges(concepts, placer.entity_of, dropped)
    if any(ontology.source == "HP" for ontology in ontologies):
        edges = chain(edges, hpo_annotations(hpo_annotation_file(), concepts, placer.entity_of, dropped))
    linked = distinct(chain(edges, located_by_name(entities, adjectives())))
    progress("writing")
    ordered = sorted(entities.values(), key=lambda e: (e.level, e.id))
    manifest = {
        "format": 1,
        "sources": {
            o.source: {"package": o.package, "version": o.version, "licence": o.licence, "concepts": counts[o.source]}
            for o in ontologies
        }
        | {s: {"concepts": n} for s, n in counts.items() if s not in {o.source for o in ontologies}},
        "entities": len(entities),
        "synonyms": sum(len(e.synonyms) for e in entities.values()),
        "by root and level": _census(entities.values()),
        "edges": dict(sorted(Counter(f"{e.kind} ({e.source})" for e in linked).items())),
        "merges": dict(sorted(Counter(d.method for d in merger.decisions if d.merged).items())),
        "merges refused": dict(sorted(Counter(d.method for d in merger.decisions if not d.merged).items())),
        "encoder": getattr(encode, "model_name", "none: nothing merged by embedding")
        if encode
        else "none: nothing merged by embedding",
        "dropped": dict(sorted(dropped.items())),
    }
    write_tree(out, ordered, linked, merger.decisions, manifest)
    return Built(manifest | {"sha256": hashlib.sha256((out / ENTITIES).read_bytes()).hexdigest()}, faults)


def _take(concepts: dict[str, Concept], reading: Iterable[Concept], dropped: Counter[str]) -> None:
    for concept in reading:
        if concept.kind not in ROOT_OF_KIND:
            dropped[f"{concept.source}: no root for a {concept.kind or 'concept without a kind'}"] += 1
        elif not words(concept.name):
            dropped[f"{concept.source}: no name"] += 1
        elif concept.id in concepts:
            dropped[f"{concept.source}: id twice"] += 1
        else:
            concepts[concept.id] = concept


def merge(
    concepts: Iterable[Concept],
    encode: Encoder | None = None,
    threshold: float = 0.97,
    progress: Progress = log.info,
    held_out: frozenset[str] = frozenset(),
) -> Merger:
    """All merging, the surest evidence first; nothing looks at cross-references to vocabularies in ``held_out``."""
    merger = Merger(concepts, held_out)
    progress("merging by reference and name")
    merge_by_xref(merger, names_agree=True)
    merge_by_name(merger, labels_only=True)
    merge_by_code(merger)
    merge_by_xref(merger, names_agree=False)
    merge_by_name(merger, labels_only=False)
    if encode is not None:
        progress("merging by embedding")
        merge_by_embedding(merger, encode, threshold)
    return merger


def entity_of_group(group: Sequence[Concept]) -> Entity:
    """One entity of concepts that mean the same, the leading one first; of names equal up to form, one is kept."""
    lead = group[0]
    known = {(name_key(lead.name), "en")}
    synonyms = []
    for concept in group:
        own = [Synonym(concept.name, "en", "exact", concept.source)] if concept is not lead else []
        for name in own + [Synonym(n.text, n.language, n.scope, concept.source) for n in concept.names]:
            key = (name_key(name.text), name.language)
            if key[0] and key not in known:
                known.add(key)
                synonyms.append(name)
    ids = {concept.id for concept in group}
    return Entity(
        id=lead.id,
        name=lead.name,
        kind=lead.kind,
        sources=[concept.id for concept in group],
        synonyms=synonyms,
        xrefs=sorted({xref for concept in group for xref in concept.xrefs} - ids),
        definition=next((c.definition for c in group if c.definition), ""),
    )


def add_chinese_names(entities: Mapping[str, Entity], dropped: Counter[str]) -> None:
    """The Chinese names of ``chinese.tsv``, each to the entity that its English name is looked up as."""
    by_name: dict[str, tuple[int, tuple[int, str], str]] = {}
    for entity in entities.values():
        if entity.level:
            for order, text in [(0, entity.name), *((1, s.text) for s in entity.synonyms if s.scope == "exact")]:
                offer = order, rank(entity.id.partition(":")[0]), entity.id
                by_name[name_key(text)] = min(by_name.get(name_key(text), offer), offer)
    for row in (files("med_entity_tree") / "chinese.tsv").read_text("utf-8").splitlines():
        if row and not row.startswith("#"):
            english, names = row.split("\t")
            if name_key(english) not in by_name:
                dropped["Chinese names of an entity that is not in the tree"] += 1
                continue
            entity = entities[by_name[name_key(english)][-1]]
            entity.synonyms += [Synonym(name, "zh", "exact", "MET") for name in names.split("|")]


def _census(entities: Iterable[Entity]) -> dict[str, dict[str, int]]:
    table = {root: {str(level): 0 for level in range(LEVELS + 1)} for root in ROOTS}
    for entity in entities:
        table[entity.root][str(entity.level)] += 1
    return table


def adjectives() -> dict[str, str]:
    """Normal form of an adjective of place -> normal form of the noun."""
    rows = (files("med_entity_tree") / "adjectives.tsv").read_text("utf-8").splitlines()
    pairs = (row.split("\t") for row in rows if row and not row.startswith("#"))
    return {" ".join(words(a)): " ".join(words(noun)) for a, noun in pairs}
