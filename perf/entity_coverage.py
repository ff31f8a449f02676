"""Coverage (AMCS) between pairs of entity sets, with equal names beside it, and what a random tree scores.

    python perf/entity_coverage.py --tree runs/met
    python perf/entity_coverage.py --tree runs/met --quick

Every pair is two sets that nobody made from each other: ontologies as their packages hold them, the headings that
people gave to the 3,955 reports of the package torchxrayvision, and the tree without the ontology that it is compared
with (an entity with a concept of it does not count). Of large references ``--most`` items are drawn; covering sets are
whole. The random tree has as many names as the covering set, each as long as one of them, with words drawn from all its
words: same size, same vocabulary, no meaning. The second floor are 5,000 names of everyday words: scikit-learn's stop
list and Python's keywords and modules.
"""

import argparse
import random
import sys

import numpy as np
from _tree import add_options, tree_folder
from entity_reports import reports

from med_entity_tree.coverage import Coverage, EntitySet, coverage
from med_entity_tree.coverage_report import load_set
from med_entity_tree.encoder import SentenceEncoder
from med_entity_tree.tree import Tree

Pair = tuple[EntitySet, EntitySet]


class Remembering:
    """The encoder, once a name: sets occur in several pairs."""

    def __init__(self) -> None:
        self.encode = SentenceEncoder()
        self.model_name = self.encode.model_name
        self.known: dict[str, np.ndarray] = {}

    def __call__(self, texts: list[str]) -> np.ndarray:
        new = [text for text in dict.fromkeys(texts) if text not in self.known]
        self.known.update(zip(new, self.encode(new), strict=True))
        return np.stack([self.known[text] for text in texts])


def without(tree: Tree, source: str, roots: tuple[str, ...]) -> EntitySet:
    """Entities below these roots that hold no concept of a source."""
    kept = (e for e in tree if e.root in roots and not any(s.startswith(f"{source}:") for s in e.sources))
    return EntitySet.of_entities(f"tree without {source}, {' and '.join(roots)}", kept)


def pairs(tree: Tree) -> list[Pair]:
    findings, hpo, mondo, anatomy = (
        load_set(f"ONTOLOGY:{s}", tree.folder) for s in ("RADDICT", "HP", "MONDO", "UBERON")
    )
    mesh = load_set("ONTOLOGY:MESH", tree.folder)
    headings = EntitySet.of_names("headings of the reports", sorted({h for r in reports() for h in r.headings}))
    diseases = EntitySet("MONDO, diseases", mondo.items)
    return [
        (findings, hpo),
        (headings, hpo),
        (headings, findings),
        (mesh, diseases),
        (hpo, without(tree, "HP", ("finding",))),
        (anatomy, without(tree, "UBERON", ("anatomy",))),
    ]


def cut(entities: EntitySet, most: int | None) -> EntitySet:
    """At most so many items, drawn without replacement; the name says so."""
    if most is None or len(entities.items) <= most:
        return entities
    items = random.Random(0).sample(entities.items, most)
    return EntitySet(f"{entities.name} ({most:,} drawn)", items)


def scrambled(entities: EntitySet, seed: int) -> EntitySet:
    """As many names of the same lengths, made of words drawn from all of them."""
    chance = random.Random(seed)
    lengths = [len(item.name.split()) for item in entities.items]
    words = [word for item in entities.items for word in item.name.split()]
    return EntitySet.of_names(
        f"random words of {entities.name}", (" ".join(chance.choices(words, k=n)) for n in lengths)
    )


def everyday(size: int) -> EntitySet:
    """Names that have nothing to do with medicine."""
    import keyword

    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    words = [*sorted(ENGLISH_STOP_WORDS), *keyword.kwlist, *sorted(sys.stdlib_module_names)]
    chance = random.Random(0)
    return EntitySet.of_names(
        "everyday words", (" ".join(chance.choices(words, k=chance.randint(1, 4))) for _ in range(size))
    )


def row(found: Coverage, floor: Coverage, other: Coverage) -> str:
    forward, backward = found.forward.summary(), found.backward.summary()

    def value(side: dict[str, float]) -> str:
        return f"{side['amcs']:.3f} ({side['amcs low']:.3f} to {side['amcs high']:.3f})"

    shares = f"{forward['exact']:.3f}, {forward['synonym']:.3f} | {backward['exact']:.3f}, {backward['synonym']:.3f}"
    floors = f"{floor.forward.summary()['amcs']:.3f} | {other.forward.summary()['amcs']:.3f}"
    sizes = f"{found.reference} ({forward['n']:,}) | {found.covering} ({backward['n']:,})"
    return f"| {sizes} | {value(forward)} | {value(backward)} | {shares} | {floors} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--most", type=int, default=5000, help="Items of a reference at most, drawn.")
    options = parser.parse_args()
    if options.quick:
        options.most = 100
    encode = Remembering()
    print(f"encoder {encode.model_name}; forward: how the set covers the reference; intervals: bootstrap, 95 %\n")
    columns = ["reference", "set", "forward AMCS", "backward AMCS", "equal names, synonyms: forward", "backward"]
    print("| " + " | ".join([*columns, "forward, random tree", "forward, everyday words"]) + " |")
    print("|---|---|---|---|---|---|---|---|")
    for reference, covering in pairs(Tree(tree_folder(options))):
        reference = cut(reference, options.most)
        if options.quick:
            covering = cut(covering, options.most)
        found = coverage(reference, covering, encode)
        floor = coverage(reference, scrambled(covering, 1), encode)
        print(row(found, floor, coverage(reference, everyday(5000), encode)), flush=True)
        for item, near, cosine in found.forward.misses(2):
            print(f"<!-- least covered: {item.name} (nearest {near.name}, {cosine}) -->")


if __name__ == "__main__":
    main()
