"""Node-guided retrieval on real chest reports: what thin nodes find in a hidden half, against MeSH headings.

    python perf/node_retrieval.py --tree runs/met
    python perf/node_retrieval.py --tree runs/met --quick

The reports lie inside the package torchxrayvision (read there, never copied). Half of them (by a hash of their text) is
what a corpus has; the other half is the pool. Nodes are the headings of diseases and findings that the tree has by name
and that the pool has at least three times; each wants as many documents as have the heading, so precision at that quota
is R-precision, and recall is the same number where the quota is filled. People assigned the headings to what seemed
worth indexing, so precision is a lower bound; see perf/entity_reports.py. "Not named" are documents that an arm finds
though they do not name the node at all: what embedding and full text add to the tagger.
"""

import argparse
import hashlib
import time
from collections import Counter

import numpy as np
from _tree import add_options, tree_folder
from entity_reports import Report, below, looked_up, reports

from bench.statistics import wilson
from med_entity_tree.encoder import SentenceEncoder
from med_entity_tree.names import name_key, natural_order
from med_entity_tree.tagger import Tagger, patterns_of
from med_entity_tree.tree import Tree
from pretrain.retrieval.choose import Rules, _fuse, choose
from pretrain.retrieval.needs import Need, kinds_of, query_of
from pretrain.retrieval.run import retrieve
from pretrain.retrieval.scan import scan_pool


def truth_of(pool: list[Report], tree: Tree, patterns) -> dict[str, set[int]]:
    """Documents of the pool by node: those with its heading, or with a narrower one."""
    headings = {heading for report in pool for heading in report.headings}
    entity_of = {heading: looked_up(heading, patterns) for heading in headings}
    found: dict[str, set[int]] = {}
    for heading in sorted(headings):
        exact = patterns.names.get(tuple(name_key(natural_order(heading)).split()))
        if exact is None or tree[exact].root not in ("disease", "finding"):
            continue
        wanted = below(tree, exact)
        found[exact] = {
            n for n, report in enumerate(pool) if any(entity_of[h] in wanted for h in report.headings if entity_of[h])
        }
    return {node: documents for node, documents in found.items() if len(documents) >= 3}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--reach", type=int, default=400)
    options = parser.parse_args()
    tree = Tree(tree_folder(options))
    patterns = patterns_of(tree)
    tagger = Tagger(patterns)
    every = reports()[: 200 if options.quick else None]
    half = [hashlib.sha256(report.text.encode()).digest()[0] % 2 for report in every]
    pool = [report for report, here in zip(every, half) if here]
    corpus = [report for report, here in zip(every, half) if not here]
    counts = Counter(e for report in corpus for e in tagger.present(report.text))
    truth = truth_of(pool, tree, patterns)
    documents = [(str(n), report.text) for n, report in enumerate(pool)]
    needs = [Need(node, counts[node], len(relevant)) for node, relevant in truth.items()]
    print(f"{len(corpus):,} reports in the corpus, {len(pool):,} in the pool, {len(needs)} nodes\n")

    encode = SentenceEncoder()
    kinds = {need.entity: kinds_of(tree, need.entity) for need in needs}
    watched = {need.entity for need in needs}.union(*kinds.values())
    queries = {need.entity: query_of(tree, need.entity) for need in needs}
    start = time.perf_counter()
    scan = scan_pool(documents, queries, watched, tagger, encode, options.reach)
    took = time.perf_counter() - start
    results = {need.entity: choose(need, kinds[need.entity], scan, Rules()) for need in needs}

    arms = {
        "named as present (what is taken)": {n: [c.document for c in r.taken] for n, r in results.items()},
        "full text (BM25)": {n: [d for d, _ in scan.bm25[n]] for n in truth},
        "meaning (MiniLM)": {n: [d for d, _ in scan.cosine[n]] for n in truth},
        "full text and meaning, fused": {
            n: sorted((f := _fuse([scan.bm25[n], scan.cosine[n]])), key=lambda d: (-f[d], d)) for n in truth
        },
    }
    print("| arm | taken | precision | recall | nodes with precision ≥ 0.5 |\n|---|---|---|---|---|")
    for name, ranked in arms.items():
        taken = {node: set(found[: len(truth[node])]) for node, found in ranked.items()}
        hits = sum(len(taken[node] & truth[node]) for node in truth)
        all_taken, relevant = sum(map(len, taken.values())), sum(map(len, truth.values()))
        good = sum(len(taken[n] & truth[n]) >= 0.5 * len(taken[n]) for n in truth if taken[n])
        p, r = wilson(hits, all_taken), wilson(hits, relevant)
        print(
            f"| {name} | {all_taken} | {p.value:.2f} ({p.low:.2f} to {p.high:.2f}) | "
            f"{r.value:.2f} ({r.low:.2f} to {r.high:.2f}) | {good} of {len(truth)} |"
        )
    thin = {need.entity for need in needs if need.have < 20}
    result = retrieve(documents, tree, tagger, [n for n in needs if n.entity in thin], encode=None)
    hits = sum(len({c.document for c in r.taken} & truth[r.need.entity]) for r in result.results)
    p = wilson(hits, sum(len(r.taken) for r in result.results))
    r = wilson(hits, sum(len(truth[node]) for node in thin))
    print(f"| named, the {len(thin)} nodes that the corpus has less than 20 times | "
          f"{sum(len(x.taken) for x in result.results)} | {p.value:.2f} | {r.value:.2f} | |")  # fmt: skip

    print("\n| not named, both arms, cosine at least | documents | right | of those not named |\n|---|---|---|---|")
    offers = [(n, c) for n, r in results.items() for c in r.candidates]
    unnamed = [(n, c) for n, c in offers if not c.named and c.bm25 is not None and c.cosine is not None]
    named = {n: {c.document for c in r.candidates if c.named == "present"} for n, r in results.items()}
    missed = sum(len(truth[n] - named[n]) for n in truth)
    for least in (0.3, 0.4, 0.5, 0.55, 0.6):
        chosen = [(n, c) for n, c in unnamed if (c.cosine or 0) >= least]
        right = sum(c.document in truth[n] for n, c in chosen)
        share = f"{right / len(chosen):.2f}" if chosen else "-"
        print(f"| {least} | {len(chosen)} | {share} | {right} of {missed} |")
    why = Counter()
    for node, r in results.items():
        for c in r.candidates:
            if c.reason and c.reason != "over quota":
                why[c.reason, c.document in truth[node]] += 1
    print("\n| refused | documents | that have the heading |\n|---|---|---|")
    for reason in sorted({reason for reason, _ in why}):
        print(f"| {reason} | {why[reason, True] + why[reason, False]} | {why[reason, True]} |")
    lengths = np.array([len(text) for _, text in documents])
    print(f"\nscan: {len(pool) / took:.0f} reports/s on one core, encoder included ({lengths.mean():.0f} characters)")


if __name__ == "__main__":
    main()
