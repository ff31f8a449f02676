"""Concepts of several ontologies that are the same thing become one entity; every decision is kept, with its reason.

Three kinds of evidence: a cross-reference (or a code of a third vocabulary that both carry and no other concept does),
an equal name, and neighbours in the space of a sentence encoder among names that differ by at most one word. An entity
never holds two concepts of one ontology, so that a wrong link cannot pull a chain of others after it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from med_entity_tree.concept import Concept
from med_entity_tree.names import name_key

# Earlier ontologies give an entity its id, name and kind.
PRIORITY = ("MET", "MONDO", "HP", "UBERON", "ICD10CM", "DICOM", "MESH", "RADDICT")

Encoder = Callable[[Sequence[str]], np.ndarray]  # N names -> N x D, unit length


@dataclass(frozen=True, slots=True)
class Decision:
    """Were two concepts made one? ``method`` is xref, code, name or embedding; ``score`` in [0, 1]."""

    left: str
    right: str
    method: str
    evidence: str
    score: float
    merged: bool
    reason: str = ""


def rank(source: str) -> tuple[int, str]:
    """Order of trust of an ontology; those that a user adds come after the built-in ones."""
    return (PRIORITY.index(source) if source in PRIORITY else len(PRIORITY), source)


_SAME_KIND = ({"disease", "finding"}, {"procedure", "modality"})


def _kinds_agree(a: Concept, b: Concept) -> bool:
    return a.kind == b.kind or any({a.kind, b.kind} <= group for group in _SAME_KIND)


# Vocabularies whose codes say that two concepts are not one, where both carry one and none is shared.
_WITNESSES = ("UMLS", "SNOMEDCT", "MESH", "NCIT", "ICD10CM", "HP", "MONDO")


# A list of words may hold the same thing under several names; an ontology should not.
_REPEATING = frozenset({"RADDICT"})


class Merger:
    """Groups of concept ids, at most one concept of each ontology in a group. Cross-references to the vocabularies in
    ``held_out`` are looked at by nobody, so that they can judge the rest."""

    def __init__(self, concepts: Iterable[Concept], held_out: frozenset[str] = frozenset()):
        self.concepts = {concept.id: concept for concept in concepts}
        self.held_out = held_out
        self._group = {identity: identity for identity in self.concepts}
        self._members = {identity: [identity] for identity in self.concepts}
        self.decisions: list[Decision] = []

    def together(self, a: str, b: str) -> bool:
        return self._group[a] == self._group[b]

    def propose(self, a: str, b: str, method: str, evidence: str, score: float) -> bool:
        """Merge the groups of two concepts if that is allowed, and write down what was decided."""
        if self.together(a, b):
            return True
        left, right = sorted((a, b), key=lambda i: (rank(self.concepts[i].source), i))
        reason = self._objection(left, right) or self._veto(left, right, by_code=method in ("xref", "code"))
        self.decisions.append(Decision(left, right, method, evidence, round(score, 3), not reason, reason))
        if not reason:
            keep, gone = sorted((self._group[a], self._group[b]))
            for member in self._members[gone]:
                self._group[member] = keep
            self._members[keep] += self._members.pop(gone)
        return not reason

    def refuse(self, a: str, b: str, method: str, evidence: str, score: float, reason: str) -> None:
        left, right = sorted((a, b), key=lambda i: (rank(self.concepts[i].source), i))
        self.decisions.append(Decision(left, right, method, evidence, round(score, 3), False, reason))

    def _objection(self, a: str, b: str) -> str:
        if not _kinds_agree(self.concepts[a], self.concepts[b]):
            return f"kinds differ: {self.concepts[a].kind} and {self.concepts[b].kind}"
        sources = [self.concepts[m].source for g in (self._group[a], self._group[b]) for m in self._members[g]]
        twice = sorted({source for source in sources if sources.count(source) > 1 and source not in _REPEATING})
        return f"two concepts of {twice[0]} would be one" if twice else ""

    def _veto(self, a: str, b: str, by_code: bool) -> str:
        """Why two groups are not one though two of their concepts seem to be: codes of any pair differ. What codes said
        of ``a`` and ``b`` themselves (``by_code``) is not asked again. The skeleton is above that."""
        if "MET" in (self.concepts[a].source, self.concepts[b].source):
            return ""
        for one in self._members[self._group[a]]:
            for other in self._members[self._group[b]]:
                if not (by_code and {one, other} == {a, b}) and (reason := self._contradiction(one, other)):
                    return reason
        return ""

    def _contradiction(self, a: str, b: str) -> str:
        """The vocabulary whose codes tell two concepts apart, unless another one's say that they are the same."""
        apart = ""
        for vocabulary in _WITNESSES:
            if vocabulary not in self.held_out:
                mine, others = self._codes(a, vocabulary), self._codes(b, vocabulary)
                if mine & others:
                    return ""
                if mine and others:
                    apart = apart or f"codes of {vocabulary} differ"
        return apart

    def _codes(self, identity: str, vocabulary: str) -> set[str]:
        return {code for code in (identity, *self.concepts[identity].xrefs) if _prefix(code) == vocabulary}

    def groups(self) -> list[list[Concept]]:
        """The concepts of each entity, the leading one first; entities in the order of their leading ids."""
        made = [
            sorted((self.concepts[i] for i in members), key=lambda c: (rank(c.source), c.id))
            for members in self._members.values()
        ]
        return sorted(made, key=lambda group: group[0].id)


def merge_by_xref(merger: Merger, names_agree: bool) -> None:
    """Cross-references from one concept to another: those whose names agree, or the others.

    Where several concepts of one ontology claim the same target, or one concept several targets of one ontology, only a
    pair whose names agree is merged: such references mean "related", not "equal"."""
    claims: dict[tuple[str, str], list[str]] = defaultdict(list)  # (target, source of the claimants)
    wants: dict[tuple[str, str], list[str]] = defaultdict(list)  # (claimant, source of its targets)
    for concept in merger.concepts.values():
        for xref in concept.xrefs:
            if xref in merger.concepts and xref != concept.id and _prefix(xref) not in merger.held_out:
                claims[xref, concept.source].append(concept.id)
                wants[concept.id, merger.concepts[xref].source].append(xref)
    for (target, source), claimants in sorted(claims.items(), key=lambda item: (rank(item[0][1]), item[0])):
        for claimant in sorted(claimants):
            agree = source == "MET" or _labels_agree(merger.concepts[claimant], merger.concepts[target])
            if agree != names_agree:
                continue
            several = len(claimants) > 1 or len(wants[claimant, merger.concepts[target].source]) > 1
            if several and not agree:
                merger.refuse(claimant, target, "xref", target, 0.5, f"one of several references of {source}")
            else:
                merger.propose(claimant, target, "xref", target, 1.0)


def _prefix(curie: str) -> str:
    return curie.partition(":")[0]


def _labels_agree(a: Concept, b: Concept) -> bool:
    return bool({name_key(a.name)} & _exact_keys(b)) or bool({name_key(b.name)} & _exact_keys(a))


def _exact_keys(concept: Concept) -> set[str]:
    return {
        name_key(concept.name),
        *(name_key(n.text) for n in concept.names if n.scope == "exact" and n.language == "en"),
    }


def merge_by_code(merger: Merger, vocabularies: Sequence[str] = ("UMLS", "SNOMEDCT")) -> None:
    """Concepts of two ontologies with the same code of a third vocabulary, where no other concept of theirs has it."""
    for vocabulary in vocabularies:
        if vocabulary in merger.held_out:
            continue
        carriers: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        for concept in merger.concepts.values():
            for xref in concept.xrefs:
                if _prefix(xref) == vocabulary:
                    carriers[xref][concept.source].append(concept.id)
        for code, by_source in sorted(carriers.items()):
            alone = sorted(
                (ids[0] for ids in by_source.values() if len(ids) == 1), key=lambda i: rank(merger.concepts[i].source)
            )
            for other in alone[1:]:
                merger.propose(alone[0], other, "code", code, 1.0)


def merge_by_name(merger: Merger, labels_only: bool) -> None:
    """Equal names: the label of one is the label (or an exact synonym) of the other and of no second concept there."""
    labels: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    synonyms: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for concept in merger.concepts.values():
        label = name_key(concept.name)
        labels[label][concept.source].append(concept.id)
        for name in concept.names:
            short = is_abbreviation(name.text) and concept.kind != "modality"
            if name.scope == "exact" and name.language == "en" and not short:
                key = name_key(name.text)
                if key != label and concept.id not in synonyms[key][concept.source]:
                    synonyms[key][concept.source].append(concept.id)
    for key in sorted(labels):
        if len(key) < 3:
            continue
        chosen: list[tuple[str, float]] = []
        for source in sorted({*labels[key], *synonyms.get(key, ())}, key=rank):
            ids = labels[key].get(source) or synonyms[key][source]
            if len(ids) == 1:
                chosen.append((ids[0], 1.0 if source in labels[key] else 0.9))
        for position, (b, b_score) in enumerate(chosen):
            for a, a_score in chosen[:position]:
                if (min if labels_only else max)(a_score, b_score) == 1.0:
                    merger.propose(a, b, "name", key, min(a_score, b_score))


def is_abbreviation(text: str) -> bool:
    """Short and in capitals: such names stand for many things."""
    letters = [character for character in text if character.isalpha()]
    return len(text) <= 6 and bool(letters) and sum(map(str.isupper, letters)) * 2 > len(letters)


_FILLER = frozenset("of the in to a an and or due by for on at from disease disorder syndrome nos unspecified".split())
# Words that tell two names apart that are equal otherwise.
_TELLING = frozenset(
    """
    left right bilateral unilateral upper lower anterior posterior medial lateral proximal distal superior
    inferior internal external acute chronic subacute primary secondary benign malignant congenital acquired
    with without no not non open closed male female maternal fetal juvenile adult infantile neonatal childhood
    early late systolic diastolic arterial venous dominant recessive linked partial complete total high low
    increased decreased elevated reduced abnormal normal mild moderate severe first second third fourth fifth
    initial subsequent sequela type grade stage simple multiple single other mother father family history
    suspected transient permanent central peripheral dorsal ventral deep superficial major minor large small
    intra extra hyper hypo pre post anti pro micro macro mono poly isolated familial sporadic idiopathic except
    excluding
    """.split()
)


def merge_by_embedding(merger: Merger, encode: Encoder, threshold: float = 0.97) -> None:
    """Nearest neighbours among the labels that share all words but one, mutual, and at least ``threshold`` apart in
    cosine.

    Names that differ in a number, a side, a degree or another telling word are never neighbours."""
    pairs = sorted(_near_pairs(merger))
    names = sorted({name for a, b in pairs for name in (merger.concepts[a].name, merger.concepts[b].name)})
    if not names:
        return
    row = {name: index for index, name in enumerate(names)}
    vectors = encode(names)
    score = {
        (a, b): float(vectors[row[merger.concepts[a].name]] @ vectors[row[merger.concepts[b].name]]) for a, b in pairs
    }
    best: dict[tuple[str, str], float] = defaultdict(float)  # of a concept among the concepts of another ontology
    for (a, b), cosine in score.items():
        for one, other in ((a, b), (b, a)):
            key = one, merger.concepts[other].source
            best[key] = max(best[key], cosine)
    for (a, b), cosine in sorted(score.items(), key=lambda item: (-round(item[1], 3), item[0])):
        evidence = f"{merger.concepts[a].name} | {merger.concepts[b].name}"
        if cosine < threshold:
            merger.refuse(a, b, "embedding", evidence, cosine, f"below {threshold}")
        elif cosine < min(best[a, merger.concepts[b].source], best[b, merger.concepts[a].source]):
            merger.refuse(a, b, "embedding", evidence, cosine, "a nearer neighbour exists")
        else:
            merger.propose(a, b, "embedding", evidence, cosine)


def _near_pairs(merger: Merger, most: int = 12) -> Iterator[tuple[str, str]]:
    """Pairs of different ontologies, not yet one, whose labels' content words differ by at most one word."""
    bags = {i: frozenset(name_key(c.name).split()) - _FILLER for i, c in merger.concepts.items()}
    shared: dict[frozenset[str], list[str]] = defaultdict(list)
    for identity, bag in bags.items():
        if 2 <= len(bag) <= 8:
            shared[bag].append(identity)
            for word in bag:
                if len(bag) > 2:
                    shared[bag - {word}].append(identity)
    seen: set[tuple[str, str]] = set()
    for ids in shared.values():
        if not 2 <= len(ids) <= most:
            continue
        for position, a in enumerate(ids):
            for b in ids[:position]:
                one, two = merger.concepts[a], merger.concepts[b]
                if one.source == two.source or not _kinds_agree(one, two) or merger.together(a, b):
                    continue
                if tells_apart(bags[a], bags[b]):
                    continue
                pair = (a, b) if a < b else (b, a)
                if pair not in seen:
                    seen.add(pair)
                    yield pair


def tells_apart(a: frozenset[str], b: frozenset[str]) -> str:
    """The word by which two names must mean different things, or ``""``."""
    for word in sorted(a ^ b):
        if word in _TELLING or any(c.isdigit() for c in word) or len(word) == 1:
            return word
    return ""
