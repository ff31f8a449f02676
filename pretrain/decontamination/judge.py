"""From what was found to what counts: contamination, or a template that half the field shares.

An item with text alone (an exam question) is contaminated by its words: a run of 13 or more of which at least 7 are no
boilerplate, or a whole question of Jaccard >= 0.7. An item with an image or a patient is contaminated by that image,
that patient or that study. Its words count only where they are rare: the shared runs are half of its text, and at least
10 of their words lie outside boilerplate and outside phrases that 3 patients of the training data share. All else is a
shared template, which is counted apart.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from pretrain.decontamination.manifest import covered
from pretrain.decontamination.match import KNOWN_TO, Matcher, Part, TextRun
from pretrain.decontamination.text import PHRASE

OWN_WORDS = 7
RARE_WORDS, RARE_SHARE = 10, 0.5
LONG_RUN = 25


class Match(NamedTuple):
    """One sample holds something of one item.

    Attributes:
        source, key: data set and sample of the training side.
        benchmark, item: what it matches.
        evidence: "13 words", "25 words", "jaccard", "image file", "image pixels", "image near", "patient" or "study".
        value: words in common, Jaccard, or agreement of the images; 1 for what is equal.
        contamination: False for a shared template.
    """

    source: str
    key: str
    benchmark: str
    item: str
    evidence: str
    value: float
    contamination: bool


@dataclass
class Verdict:
    """All matches, with the counts of the scan; ``spans`` says where texts agree, for the report.

    Attributes:
        matches: sorted by source, key, benchmark, item and evidence.
        counts: documents, images, flat images.
        spans: (source, key) -> (passage, first word, words) of the shared runs.
    """

    matches: list[Match]
    counts: Counter[str]
    spans: dict[tuple[str, str], list[tuple[int, int, int]]] = field(default_factory=dict)

    def contaminated(self) -> dict[str, list[str]]:
        """Keys by source, sorted."""
        found: dict[str, set[str]] = defaultdict(set)
        for match in self.matches:
            if match.contamination:
                found[match.source].add(match.key)
        return {source: sorted(keys) for source, keys in sorted(found.items())}

    def summary(self) -> dict[tuple[str, str, bool], tuple[int, int]]:
        """Samples and items by (benchmark, evidence, contamination)."""
        samples, items = defaultdict(set), defaultdict(set)
        for m in self.matches:
            samples[m.benchmark, m.evidence, m.contamination].add((m.source, m.key))
            items[m.benchmark, m.evidence, m.contamination].add(m.item)
        order = sorted(samples, key=lambda k: (k[0], not k[2], k[1]))
        return {key: (len(samples[key]), len(items[key])) for key in order}


def judge(matcher: Matcher, parts: Sequence[tuple[str, Part]]) -> Verdict:
    """Weigh the parts of a scan together.

    Args:
        matcher: that found them.
        parts: name of the data set, and what was found in a piece of it.
    """
    rules = _Rules(matcher, [part for _, part in parts])
    verdict = Verdict([], Counter())
    for source, part in parts:
        verdict.counts.update(part.counts)
        for document, evidence, value, counts, spans in rules.of_texts(part):
            if spans:
                verdict.spans.setdefault((source, part.keys[document]), []).extend(spans)
            verdict.matches += [
                Match(source, part.keys[document], *rules.named(item), evidence, value, counted)
                for item, counted in counts.items()
            ]
        for document, item, evidence, value in rules.of_rest(part):
            verdict.matches.append(Match(source, part.keys[document], *rules.named(item), evidence, value, True))
    verdict.matches = sorted(set(verdict.matches))
    return verdict


class _Rules:
    def __init__(self, matcher: Matcher, parts: list[Part]):
        self.m = matcher
        self.usual = _usual_in_training(matcher, parts)
        self.by_patient, self.by_study = _groups(matcher.item_patient), _groups(matcher.item_study)
        self.same_file = _groups(matcher.image_file)
        self.same_pixels = _groups(matcher.image_pixels)

    def named(self, item: int) -> tuple[str, str]:
        manifest, name = self.m.items[item]
        return self.m.manifests[manifest].name, name

    def of_texts(self, part: Part) -> Iterator[tuple[int, str, float, dict[int, bool], list[tuple[int, int, int]]]]:
        """(document, evidence, value, whether it counts by item, spans in the document)."""
        grouped: dict[tuple[int, int], list[TextRun]] = defaultdict(list)
        for run in part.runs:
            grouped[run.document, run.text].append(run)
        for (document, text), runs in sorted(grouped.items()):
            longest = max(run.words for run in runs)
            own, rare = self._own_words(text, runs)
            counts = {item: rare if self.m.visual[item] else own for item in self.m.items_of_text[text].tolist()}
            evidence = "25 words" if longest >= LONG_RUN else "13 words"
            spans = [(run.passage, run.at, run.words) for run in runs]
            yield document, evidence, float(longest), counts, spans
        for document, text, value in part.alike:
            counts = {item: not self.m.visual[item] for item in self.m.items_of_text[text].tolist()}
            yield document, "jaccard", value, counts, []

    def _own_words(self, text: int, runs: list[TextRun]) -> tuple[bool, bool]:
        """Are the runs the text's own, by the rule for items of text alone; and by the rule for all others."""
        first, length = self.m.text_starts[text], self.m.text_words[text]
        shared = np.zeros(length, bool)
        for run in runs:
            shared[run.start : run.start + run.words] = True
        own = shared & ~self.m.mask[first : first + length]
        phrases = self.m.phrase_hashes[first : first + length]
        usual = covered(np.isin(phrases, self.usual), int(length) + PHRASE, PHRASE)[:length]
        rare = int((own & ~usual).sum()) >= RARE_WORDS and float(shared.mean()) >= RARE_SHARE
        return int(own.sum()) >= OWN_WORDS, rare

    def of_rest(self, part: Part) -> Iterator[tuple[int, int, str, float]]:
        """(document, item, evidence, value) of images, patients and studies."""
        for document, image, kind, _, value in part.images:
            group = {"file": self.same_file.get(int(self.m.image_file[image])),
                     "pixels": self.same_pixels.get(int(self.m.image_pixels[image]))}.get(kind)  # fmt: skip
            for twin in group if group is not None else [image]:
                for item in self.m.items_of_image.get(twin, np.zeros(0, np.int32)).tolist():
                    yield document, item, f"image {kind}", value
        for document, item, kind in part.clusters:
            patient = kind == "patient"
            groups, whose = (self.by_patient, self.m.item_patient) if patient else (self.by_study, self.m.item_study)
            for twin in groups[int(whose[item])]:
                if patient or self.m.item_patient[twin] == self.m.item_patient[item]:
                    yield document, twin, kind, 1.0


def _usual_in_training(matcher: Matcher, parts: list[Part]) -> np.ndarray:
    """Hashes of benchmark phrases that at least ``KNOWN_TO`` patients (or texts) of the training data hold."""
    who: dict[int, set[int]] = defaultdict(set)
    done: set[int] = set()
    for part in parts:
        for phrase, row in zip(part.phrases.tolist(), part.known):
            if phrase not in done:
                who[phrase].update(row[row != 0xFFFFFFFF].tolist())
                if len(who[phrase]) >= KNOWN_TO:
                    done.add(phrase)
                    del who[phrase]
    return matcher.phrase_keys[np.array(sorted(done), np.int64)]


def _groups(values: np.ndarray) -> dict[int, list[int]]:
    """Places of each number but 0."""
    found: dict[int, list[int]] = defaultdict(list)
    for n, value in enumerate(values.tolist()):
        if value:
            found[value].append(n)
    return found
