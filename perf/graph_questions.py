"""Questions from the built tree: all checked twice, floors of rules on the options alone, time, a sheet to read.

    python perf/graph_questions.py --tree runs/met --out runs/questions
    python perf/graph_questions.py --count 100

1,000 questions of each number of hops from 1 to 6. Prints the tables of docs/questions.md; what a person thinks of the
wording is not measured here: read sheet.html in the output folder.
"""

import argparse
import resource
import tempfile
import time
from collections import Counter
from pathlib import Path

from _tree import add_options, tree_folder

from med_entity_tree.questions.check import check
from med_entity_tree.questions.generate import Settings, make_questions, write_questions
from med_entity_tree.questions.sheet import write_sheet
from med_entity_tree.tree import Tree


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--out", type=Path, default=Path("runs/questions"))
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.count, arguments.out = 10, Path(tempfile.mkdtemp()) / "questions"
    folder = tree_folder(arguments)
    settings = Settings(count=arguments.count, seed=arguments.seed)
    started, cpu = time.perf_counter(), time.process_time()
    tree = Tree(folder)
    made = make_questions(tree, settings)
    print(f"made and checked: {time.perf_counter() - started:.0f} s, {time.process_time() - cpu:.0f} s of one core")
    write_questions(made, settings, tree, arguments.out)
    write_sheet(made.records, tree.entities, arguments.out / "sheet.html")

    cpu = time.process_time()
    verdicts = check(made.records, folder)
    sound = Counter(len(r["steps"]) for r, v in zip(made.records, verdicts, strict=True) if v.sound)
    print(f"second implementation alone: {time.process_time() - cpu:.0f} s of one core; sound by hops: {dict(sound)}")

    hops = settings.hops
    print("\n| rule on the options alone | all (95 %) | " + " | ".join(map(str, hops)) + " |")
    print("|---|---|" + "---|" * len(hops))
    floors = {(floor.rule, floor.hops): floor for floor in made.floors}
    for rule in dict.fromkeys(floor.rule for floor in made.floors):
        every = floors[rule, 0]
        row = " | ".join(f"{floors[rule, n].share:.3f}" for n in hops)
        print(f"| {rule} | {every.share:.3f} ({every.low:.3f} to {every.high:.3f}) | {row} |")
    for n in hops:
        mine = [r for r in made.records if r["hops"] == n]
        last = Counter(r["type"].split()[-1] for r in mine)
        print(f"{n} hop(s): {len({r['type'] for r in mine})} path types, last hops {dict(last.most_common())}")
    print("distractors part from the answer at (1: siblings):", dict(sorted(made.distances.items())))
    print("splits:", dict(Counter(r["split"] for r in made.records)))
    print("left out:", dict(made.dropped.most_common()))
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")


if __name__ == "__main__":
    main()
