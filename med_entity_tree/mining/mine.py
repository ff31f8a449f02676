"""From a corpus to a larger tree: extract, count, cluster, attach, settle, write.

The work folder holds parts and answers, so a killed run goes on; the new tree is written beside itself and put in place
at the end. The same corpus, tree, settings and answers give the same bytes.
"""

import hashlib
import json
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from med_entity_tree.corpus import Document
from med_entity_tree.entity import LEVELS, ROOTS, Entity
from med_entity_tree.errors import OntologyError
from med_entity_tree.graph import distinct
from med_entity_tree.merge import Decision, Encoder
from med_entity_tree.mining.arbiter import Arbiter
from med_entity_tree.mining.attach import Attacher, Outcome, Rules
from med_entity_tree.mining.clusters import apply_floors, cluster
from med_entity_tree.mining.counting import count
from med_entity_tree.mining.extraction import Extractor
from med_entity_tree.mining.parents import Neighbours
from med_entity_tree.mining.parts import Parts, extract_to_parts
from med_entity_tree.mining.passages import passages
from med_entity_tree.skeleton import check
from med_entity_tree.tree import ENTITIES, Tree, write_tree

log = logging.getLogger(__name__)

MINED, ARBITER = "mined.parquet", "arbiter.jsonl"


@dataclass(frozen=True)
class Settings:
    """``corpus`` is its name in the sources of entities. The floors of the paper are 10 mentions and 5 of a type."""

    corpus: str
    least_mentions: int = 10
    least_of_type: int = 5
    least_name: int = 2  # mentions of one form, before forms are merged
    whole_share: float = 0.25
    cosine: float = 0.97
    clear: float = 0.6
    gap: float = 0.1
    longest_passage: int = 1200


@dataclass(frozen=True)
class Mined:
    """What a run did: the entry that it made in the manifest, and every outcome in the order of the names."""

    manifest: dict
    outcomes: list[Outcome]


def mine(
    documents: Callable[[], Iterator[Document]],
    tree: Tree,
    out: Path,
    work: Path,
    extractor: Extractor,
    settings: Settings,
    encode: Encoder | None = None,
    arbiter: Arbiter | None = None,
    stage: Callable[[str], object] = log.info,
    progress: Callable[[int], object] = lambda passages: None,
) -> Mined:
    """Mine a corpus and write ``out``: the old tree, the new entities, and ``mined.parquet`` with every outcome.

    ``documents`` is called once, and once more where an arbiter needs passages. Without ``encode`` names are clustered
    by their words alone and only heads propose parents. Without ``arbiter`` conflicts stay undecided.

    Raises:
        OntologyError: ``out`` is the old tree or holds something else than a tree; or the result would have a fault.
    """
    _check_out(out, tree)
    stamp = hashlib.sha256((tree.folder / ENTITIES).read_bytes()).hexdigest()
    dropped: Counter[str] = Counter()
    stage("extracting")
    parts = extract_to_parts(
        passages(documents(), settings.longest_passage), extractor, work / "mentions", stamp, progress=progress
    )
    stage("counting")
    candidates = count(parts, settings.least_name, dropped)
    neighbours = None
    if encode is not None:
        stage("embedding the names of the tree (kept for the next run)")
        neighbours = Neighbours(tree.entities, encode, work / "vectors", stamp)
    rules = Rules(settings.clear, settings.gap)
    attacher = Attacher(tree.entities, f"{settings.corpus}/{extractor.name}", rules, neighbours)
    stage("clustering")
    clusters = cluster(candidates, encode, settings.cosine, attacher.entity_of, dropped)
    kept = apply_floors(clusters, settings.least_mentions, settings.least_of_type, settings.whole_share, dropped)
    stage("attaching")
    outcomes = attacher.attach(kept)
    conflicts = [outcome for outcome in outcomes if outcome.result == "conflict"]
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    if arbiter is not None:
        stage(f"asking the arbiter about {len(conflicts)} names")
        wanted = {passage for outcome in conflicts for passage in outcome.cluster.candidate.examples}
        texts = {p.id: p.text for p in passages(documents(), settings.longest_passage) if p.id in wanted}
        settled = arbiter.decide(conflicts, tree, attacher, texts, part / ARBITER)
    else:
        settled = [attacher.settle(outcome, "", "", outcome.why, "nobody") for outcome in conflicts]
    places = {outcome.cluster.key: outcome for outcome in settled}
    outcomes = [places.get(outcome.cluster.key, outcome) for outcome in outcomes]
    stage("writing")
    entry = _entry(settings, extractor, stamp, parts, candidates, clusters, outcomes, dropped, encode, arbiter)
    _write(part, tree, attacher, outcomes, entry)
    if out.exists():
        shutil.rmtree(out)
    part.replace(out)
    return Mined(entry, outcomes)


def _check_out(out: Path, tree: Tree) -> None:
    if out.resolve() == tree.folder.resolve():
        raise OntologyError(f"{out} is the tree that is mined into: name another folder with --out")
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / MINED).is_file())):
        raise OntologyError(f"{out} holds something else than a mined tree: name another folder with --out")


def _entry(
    settings: Settings,
    extractor: Extractor,
    stamp: str,
    parts: Parts,
    candidates: Sequence,
    clusters: Sequence,
    outcomes: Sequence[Outcome],
    dropped: Counter[str],
    encode: Encoder | None,
    arbiter: Arbiter | None,
) -> dict:
    why: dict[str, Counter[str]] = {}
    for outcome in outcomes:
        reason = outcome.why if outcome.result not in ("undecided", "dropped") or not arbiter else outcome.decided_by
        why.setdefault(outcome.result, Counter())[reason.partition(" (")[0]] += 1
    return {
        "extractor": extractor.name,
        "extractor settings": extractor.settings,
        "settings": asdict(settings),
        "tree before": stamp,
        "encoder": getattr(encode, "model_name", type(encode).__name__) if encode else "none: words alone",
        "arbiter": arbiter.name if arbiter else "none: conflicts stay undecided",
        "passages": parts.passages,
        "passages without an answer": parts.unanswered,
        "mentions": parts.mentions,
        "refused mentions": dict(sorted(parts.refused.items())),
        "names": len(candidates),
        "clusters": len(clusters),
        "dropped": dict(sorted(dropped.items())),
        "outcomes": {result: dict(sorted(reasons.items())) for result, reasons in sorted(why.items())},
        "new synonyms": sum(len(outcome.synonyms) for outcome in outcomes),
    }


def _write(folder: Path, tree: Tree, attacher: Attacher, outcomes: Sequence[Outcome], entry: dict) -> None:
    entities = attacher.entities
    for old in tree:
        new = entities[old.id]
        if (new.parent, new.level, new.name, new.kind) != (old.parent, old.level, old.name, old.kind):
            raise OntologyError(f"{old.id} of the frozen tree would change. Please report this.")
    if faults := check(entities):
        raise OntologyError(f"the tree would have {len(faults)} faults, the first: {faults[0]}. Please report this.")
    ordered = sorted(entities.values(), key=lambda e: (e.level, e.id))
    edges = distinct(chain(tree.edges(), attacher.edges))
    manifest = tree.manifest | {
        "entities": len(ordered),
        "synonyms": sum(len(e.synonyms) for e in ordered),
        "by root and level": _census(ordered),
        "edges": dict(sorted(Counter(f"{e.kind} ({e.source})" for e in edges).items())),
        "mined": [*tree.manifest.get("mined", []), entry],
    }
    write_tree(folder, ordered, edges, [Decision(**row) for row in tree.decisions()], manifest)
    pq.write_table(_outcome_table(outcomes, entry, entities), folder / MINED, compression="zstd")


def _census(entities: Sequence[Entity]) -> dict[str, dict[str, int]]:
    table = Counter((e.root, e.level) for e in entities)
    return {root: {str(level): table[root, level] for level in range(LEVELS + 1)} for root in ROOTS}


_OUTCOME = pa.schema(
    [
        ("name", pa.string()),
        ("result", pa.string()),
        ("why", pa.string()),
        ("entity", pa.string()),
        ("parent", pa.string()),
        ("parent_name", pa.string()),
        ("kind", pa.string()),
        ("score", pa.float32()),
        ("decided_by", pa.string()),
        ("extractor", pa.string()),
        ("corpus", pa.string()),
        ("mentions", pa.int64()),
        ("documents", pa.int64()),
        ("other_names", pa.list_(pa.string())),
        ("cluster_cosine", pa.float32()),
        ("new_synonyms", pa.list_(pa.string())),
        ("passages", pa.list_(pa.string())),
        ("proposals", pa.string()),
    ]
)


def _outcome_table(outcomes: Sequence[Outcome], entry: dict, entities: Mapping[str, Entity]) -> pa.Table:
    rows = []
    for outcome in outcomes:
        one = outcome.cluster.candidate
        rows.append(
            {
                "name": one.name,
                "result": outcome.result,
                "why": outcome.why,
                "entity": outcome.entity,
                "parent": outcome.parent,
                "parent_name": entities[outcome.parent].name if outcome.parent else "",
                "kind": one.kind,
                "score": outcome.score,
                "decided_by": outcome.decided_by,
                "extractor": entry["extractor"],
                "corpus": entry["settings"]["corpus"],
                "mentions": one.mentions,
                "documents": one.documents,
                "other_names": sorted(outcome.cluster.others.values()),
                "cluster_cosine": outcome.cluster.cosine,
                "new_synonyms": outcome.synonyms,
                "passages": one.examples,
                "proposals": json.dumps([asdict(p) for p in outcome.proposals[:5]], ensure_ascii=False),
            }
        )
    return pa.Table.from_pylist(rows, schema=_OUTCOME)
