"""How often the merges of the entity tree are right, judged by cross-references that they did not see.

    python perf/entity_merges.py             # all merges by name and by embedding, and a sample of 300
    python perf/entity_merges.py --quick     # without the encoder

The references of MONDO, HPO and MeSH to UMLS, MeSH and HPO are held out: nothing is merged by them and they veto
nothing. A merged pair is right if one concept refers to the other or both carry a common held-out code, wrong if both
carry codes of a held-out vocabulary and share none, and not judged where they carry none (most pairs with ICD-10-CM,
UBERON and the dictionary). Names and embeddings are counted apart, embeddings by their cosine from 0.85 on, so that the
threshold of the builder (0.97) can be seen in its place. The interval is Wilson's.
"""

import argparse
import random
from collections import Counter, defaultdict

from bench.statistics import wilson
from med_entity_tree.build import merge
from med_entity_tree.concept import Concept
from med_entity_tree.merge import Decision
from med_entity_tree.packages import ONTOLOGIES
from med_entity_tree.skeleton import skeleton_concepts

HELD_OUT = frozenset({"UMLS", "MESH", "HP"})


def codes(concept: Concept, vocabulary: str) -> set[str]:
    return {code for code in (concept.id, *concept.xrefs) if code.startswith(f"{vocabulary}:")}


def judge(a: Concept, b: Concept) -> bool | None:
    if b.id in a.xrefs or a.id in b.xrefs:
        return True
    shared = [(codes(a, v), codes(b, v)) for v in sorted(HELD_OUT)]
    shared = [(x, y) for x, y in shared if x and y]
    return any(x & y for x, y in shared) if shared else None


def line(label: str, verdicts: list[bool | None]) -> str:
    right, wrong = verdicts.count(True), verdicts.count(False)
    if not right + wrong:
        return f"| {label} | {len(verdicts):,} | 0 | | |"
    seen = wilson(right, right + wrong)
    return f"| {label} | {len(verdicts):,} | {right + wrong:,} | {seen.value:.3f} | {seen.low:.3f} to {seen.high:.3f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="Names only.")
    parser.add_argument("--sample", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    encode = None
    if not options.quick:
        from med_entity_tree.encoder import SentenceEncoder

        encode = SentenceEncoder()
    concepts = {c.id: c for c in skeleton_concepts()}
    for ontology in ONTOLOGIES:
        for concept in ontology.read(Counter()):
            concepts.setdefault(concept.id, concept)
    merger = merge(concepts.values(), encode, threshold=0.85, held_out=HELD_OUT)
    groups: dict[str, list[bool | None]] = defaultdict(list)
    production: list[bool] = []
    for decision in merger.decisions:
        if decision.merged and decision.method in ("name", "embedding"):
            verdict = judge(concepts[decision.left], concepts[decision.right])
            groups[_group(decision)].append(verdict)
            if verdict is not None and (decision.method == "name" or decision.score >= 0.97):
                production.append(verdict)
    print("| merges | number | judged | precision | 95 % |\n|---|---|---|---|---|")
    for label in sorted(groups):
        print(line(label, groups[label]))
    print(line("all that the builder makes", list(production)))
    drawn = random.Random(options.seed).sample(production, min(options.sample, len(production)))
    print(line(f"sample of {len(drawn)}, seed {options.seed}", list(drawn)))


def _group(decision: Decision) -> str:
    if decision.method == "name":
        return "name, label and label" if decision.score == 1.0 else "name, label and synonym"
    low = min(int(decision.score * 100) // 3 * 3, 97) if decision.score >= 0.85 else 85
    return f"embedding, cosine from 0.{max(low, 85)}"


if __name__ == "__main__":
    main()
