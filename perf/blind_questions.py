"""Questions and captions from real reports and the tree: how many, and what a guesser reaches without the image.

    python perf/blind_questions.py --tree runs/met
    python perf/blind_questions.py --tree runs/met --quick

The reports lie inside the package torchxrayvision (read there, never copied); what they state is read by the tagger, as
`medvlm data tag` does. The pictures are not in the package and are not needed: what is measured is what can be answered
without them. "naive" draws the distractors among the siblings at random and puts the answer anywhere, as a control.
"""

import argparse
import time
from collections import Counter
from dataclasses import asdict, replace

from _tree import add_options, tree_folder
from entity_reports import reports

from med_entity_tree.tagger import Tagger
from med_entity_tree.tree import Tree
from pretrain.shards.ordering import derive
from pretrain.synthesis.blind import check_by_guessing, floors
from pretrain.synthesis.captions import faults_of, template_caption
from pretrain.synthesis.facts import Knowledge, StudyFacts, facts_of
from pretrain.synthesis.questions import KINDS, Question, make_questions
from pretrain.tagging.tags import combine
from pretrain.tagging.turns import statements
from vlm.sample import Sample, SampleProvenance


def studies(known: Knowledge, most: int | None) -> list[StudyFacts]:
    made = []
    for n, report in enumerate(reports()[:most]):
        tagging = combine(statements(report.text, known.tagger.tag))
        turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": report.text}]
        sample = Sample(f"r{n:04d}", turns, [], SampleProvenance("reports"), extra={"tags": tagging.record})
        made.append(facts_of(sample, known.tree))
    return made


def naive(questions: list[Question], known: Knowledge) -> list[Question]:
    """The same answers with siblings drawn at random, wherever they fall."""
    made = []
    for question in questions:
        answer = question.options[question.answer]
        siblings = sorted(e.id for e in known.tree.siblings(answer))
        siblings.sort(key=lambda e: derive("naive", question.id, e))
        options = [answer, *siblings[: len(question.options) - 1]]
        options.sort(key=lambda e: derive("place", question.id, e))
        if len(options) == len(question.options):
            names = tuple(known.tree[e].name for e in options)
            made.append(replace(question, options=tuple(options), names=names, answer=options.index(answer)))
    return made


def row(label: str, questions: list[Question]) -> str:
    found = asdict(floors(questions, seed=77))
    cells = [f"{found[name]:.3f}" for name in ("chance", "majority", "longest", "shortest", "prior", "words")]
    return f"| {label} | {len(questions):,} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    options = parser.parse_args()
    tree = Tree(tree_folder(options))
    known = Knowledge(tree, Tagger.of(tree))
    facts = [f for f in studies(known, 200 if options.quick else None) if f.present or f.negated or f.uncertain]
    start = time.perf_counter()
    made = make_questions(facts, known)
    took = time.perf_counter() - start
    checked = check_by_guessing(made.questions)
    stated = sum(bool(f.present) for f in facts)
    print(f"{len(facts):,} studies, {stated:,} with a finding; {len(made.questions):,} questions in {took:.0f} s\n")
    print("| questions | number | chance | majority | longest | shortest | prior | words |\n" + "|---" * 8 + "|")
    print(row("naive: random siblings", naive(made.questions, known)))
    print(row("made", made.questions))
    for kind in KINDS:
        print(row(f"made, {kind}", [q for q in made.questions if q.kind == kind]))
    print(row("kept", checked.kept))
    for kind in KINDS:
        print(row(f"kept, {kind}", [q for q in checked.kept if q.kind == kind]))
    siblings = sum(q.siblings for q in checked.kept) / max(sum(len(q.options) - 1 for q in checked.kept), 1)
    print(f"\ndistractors that are siblings of the answer: {siblings:.0%}")
    denied = Counter(min(q.denied, 3) for q in checked.kept)
    print(f"distractors that the report denies, by question: {dict(sorted(denied.items()))}")
    print("\n| not made or dropped | number |\n|---|---|")
    for reason, n in [*made.dropped.most_common(), *((f"{k}: answered blind", n) for k, n in checked.dropped.items())]:
        print(f"| {reason} | {n:,} |")
    captions = [(f, template_caption(f, known)) for f in facts]
    faults = Counter(fault.partition(":")[0] for f, c in captions for fault in faults_of(c.study, f, known)[:1])
    left = sum(len(c.left_out) for _, c in captions)
    used = sum(len(c.used) for _, c in captions)
    passed = len(captions) - faults.total()
    print(f"\ncaptions: {passed:,} of {len(captions):,} pass when they are read back; refused: {dict(faults)}")
    print(f"{left:,} of {left + used:,} entities have no name that can be read back")


if __name__ == "__main__":
    main()
