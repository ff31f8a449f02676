"""Tagging reports with the whole entity tree: medvlm against spaCy's PhraseMatcher and pyahocorasick, and cost by
corpus size.

    python perf/entity_tagging.py --tree runs/met
    python perf/entity_tagging.py --tree runs/met --quick          # fewer documents, for a look
    python perf/entity_tagging.py --tree runs/met --sizes 10000 100000 1000000

The texts are the 3,955 chest radiograph reports inside the package torchxrayvision (read there, never copied). Every
arm looks for the same names in the same words and must find the same mentions, abbreviations left out: they are
medvlm's own. spaCy and pyahocorasick get their words from the same normal forms, remembered in the same way; their
longest matches are chosen in Python. "spaCy as usual" is ``nlp.make_doc`` and ``attr="LOWER"`` with ``filter_spans``,
which finds fewer. medvlm takes the texts 500 at a time. The corpus sizes are made of sentences of those reports, drawn
at random and never held at once; the memory is the whole process with all four arms built.
"""

import argparse
import random
import resource
import statistics
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

from _tree import add_options, tree_folder

from med_entity_tree.coding import ENDS, TOKEN
from med_entity_tree.names import normal_word
from med_entity_tree.tagger import Patterns, Tagger, patterns_of
from med_entity_tree.tree import Tree


def reports() -> list[str]:
    """Findings and impressions of the IU reports."""
    import tarfile

    spec = find_spec("torchxrayvision")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("the reports are in the package torchxrayvision: pip install --no-deps torchxrayvision")
    texts = []
    with tarfile.open(Path(next(iter(spec.submodule_search_locations))) / "data" / "NLMCXR_reports.tgz") as tar:
        for member in sorted((m for m in tar if m.name.endswith(".xml")), key=lambda m: m.name):
            file = tar.extractfile(member)
            assert file is not None
            root = ET.parse(file).getroot()
            texts.append("\n\n".join(f"{a.get('Label')}: {a.text}" for a in root.iter("AbstractText") if a.text))
    return [text for text in texts if text]


def words_of(text: str) -> list[str]:
    return ["\x02" if token[0] in ENDS else normal_word(token) for token in TOKEN.findall(text)]


def longest(spans: list[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """Leftmost, then longest, without overlap, phrases that are read over left out."""
    kept, end = [], 0
    for start, stop, entity in sorted(spans, key=lambda s: (s[0], -s[1])):
        if start >= end:
            kept.append((start, stop, entity))
            end = stop
    return [span for span in kept if span[2]]


Find = Callable[[list[str]], list[list]]


def ours(patterns: Patterns) -> Find:
    tagger = Tagger(Patterns(patterns.names))
    return lambda texts: [found for part in batches(texts) for found in tagger.find_many(part)]


def batches(texts: Iterable[str], size: int = 500) -> Iterator[list[str]]:
    source = iter(texts)
    while part := list(islice(source, size)):
        yield part


def one_by_one(find: Callable[[str], list]) -> Find:
    return lambda texts: [find(text) for text in texts]


def pyahocorasick(patterns: Patterns) -> Find:
    import ahocorasick

    automaton = ahocorasick.Automaton()
    for key, entity in patterns.names.items():
        automaton.add_word(" " + " ".join(key) + " ", (len(key), entity))
    automaton.make_automaton()

    def find(text: str) -> list:
        words = words_of(text)
        line = " " + " ".join(words) + " "
        at, where = {}, 0
        for number, word in enumerate(words):
            where += len(word) + 1
            at[where] = number  # a match that ends with the space behind word ``number``
        found = [(at[end] - length + 1, at[end] + 1, entity) for end, (length, entity) in automaton.iter(line)]
        spans = [m.span() for m in TOKEN.finditer(text)] if found else []
        return [(spans[a][0], spans[b - 1][1], entity) for a, b, entity in longest(found)]

    return one_by_one(find)


def spacy_words(patterns: Patterns) -> Find:
    import spacy
    from spacy.matcher import PhraseMatcher
    from spacy.tokens import Doc

    vocabulary = spacy.blank("en").vocab
    matcher = PhraseMatcher(vocabulary, attr="ORTH")
    names = list(patterns.names.items())
    for number, (key, _entity) in enumerate(names):
        matcher.add(str(number), [Doc(vocabulary, words=list(key))])

    def find(text: str) -> list:
        words = words_of(text)
        if not words:
            return []
        strings = vocabulary.strings
        matched = matcher(Doc(vocabulary, words=words))
        found = longest([(a, b, names[int(strings[name])][1]) for name, a, b in matched])
        spans = [m.span() for m in TOKEN.finditer(text)] if found else []
        return [(spans[a][0], spans[b - 1][1], entity) for a, b, entity in found]

    return one_by_one(find)


def spacy_usual(patterns: Patterns) -> Find:
    import spacy
    from spacy.matcher import PhraseMatcher
    from spacy.tokens import Doc
    from spacy.util import filter_spans

    nlp = spacy.blank("en")
    matcher = PhraseMatcher(nlp.vocab, attr="LOWER")
    for number, key in enumerate(patterns.names):
        matcher.add(str(number), [Doc(nlp.vocab, words=list(key))])

    def find(text: str) -> list:
        return [(s.start_char, s.end_char, s.label_) for s in filter_spans(matcher(nlp.make_doc(text), as_spans=True))]

    return one_by_one(find)


def documents(texts: list[str], count: int) -> Iterator[str]:
    sentences = sorted({s.strip() + "." for text in texts for s in text.split(". ") if len(s) > 20})
    chance = random.Random(0)
    for _ in range(count):
        yield " ".join(chance.choices(sentences, k=chance.randint(2, 8)))


def memory() -> float:
    """Resident memory of this process now, in MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    options = parser.parse_args()
    texts = reports()
    if options.quick:
        texts, options.rounds, options.sizes = texts[:100], 1, [200, 400]
    patterns = patterns_of(Tree(tree_folder(options)))
    words = sum(len(words_of(text)) for text in texts)
    arms = {
        "medvlm": ours,
        "pyahocorasick": pyahocorasick,
        "spaCy, same words": spacy_words,
        "spaCy as usual": spacy_usual,
    }
    find, build, grown, found = {}, {}, {}, {}
    for name, make in arms.items():
        before, start = memory(), time.perf_counter()
        find[name] = make(patterns)
        build[name], grown[name] = time.perf_counter() - start, memory() - before
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(options.rounds):
        for name in arms:
            start = time.perf_counter()
            found[name] = find[name](texts)
            seconds[name].append(time.perf_counter() - start)
    for name in ("pyahocorasick", "spaCy, same words"):
        different = sum(a != b for a, b in zip(found["medvlm"], found[name], strict=True))
        print(f"reports on which {name} differs from medvlm: {different} of {len(texts)}")
    print(
        f"\n{len(texts):,} reports, {words:,} words, {len(patterns.names):,} names; {options.rounds} rounds, one core"
    )
    print()
    print("| arm | words/s | medvlm is faster by | mentions | build s | memory MiB |\n|---|---|---|---|---|---|")
    best = statistics.median(seconds["medvlm"])
    for name in arms:
        took = statistics.median(seconds[name])
        count = sum(map(len, found[name]))
        row = (
            f"| {name} | {words / took:,.0f} | {took / best:.1f}x | {count:,} | {build[name]:.1f} | {grown[name]:.0f} |"
        )
        print(row)
    tagger = Tagger(patterns)
    print("\n| documents | find, µs/document | tag with assertions, µs/document | memory MiB |\n|---|---|---|---|")
    for size in options.sizes:
        row = [f"{size:,}"]
        for work in (tagger.find_many, tagger.tag_many):
            spent = 0.0
            for part in batches(documents(texts, size)):
                start = time.perf_counter()
                work(part)
                spent += time.perf_counter() - start
            row.append(f"{spent / size * 1e6:.0f}")
        print("| " + " | ".join([*row, f"{memory():.0f}"]) + " |")


if __name__ == "__main__":
    main()
