"""Benchmark manifests as tables to look up, and what a document has in common with them.

Nothing is decided here: a shard gives a `Part` with everything that was found, and `judge` weighs the parts together,
because what is common language in the training data is known only when all of it has been seen.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np

from pretrain.decontamination.content import Content, Picture
from pretrain.decontamination.errors import DecontaminationError
from pretrain.decontamination.images import NearIndex, fingerprint
from pretrain.decontamination.manifest import SHORT, Manifest
from pretrain.decontamination.text import (
    GRAM,
    PHRASE,
    Hasher,
    find,
    make_slots,
    sentences_of,
    windows,
    words_of,
)
from pretrain.dedup.kernels import shared
from vlm.errors import MedVLMError

VERSION = 1  # of the rules of this file: results of another one are not taken from the cache
JACCARD = 0.7
KNOWN_TO = 3  # patients (or texts) of the training data that make a phrase common language
_SENTENCE_WORDS = 6


class TextRun(NamedTuple):
    """``words`` words from word ``start`` of benchmark text ``text`` stand at word ``at`` of a document's text."""

    document: int
    text: int
    start: int
    words: int
    passage: int
    at: int


class Alike(NamedTuple):
    """Benchmark text ``text`` has Jaccard ``value`` with a question or sentence of the document."""

    document: int
    text: int
    value: float


class SameImage(NamedTuple):
    """Image ``mine`` of the document is benchmark image ``image``: by "file", "pixels" or "near" with ``value``."""

    document: int
    image: int
    kind: str
    mine: int
    value: float


class SameCluster(NamedTuple):
    """The document belongs to the patient or study (``kind``) of benchmark item ``item``."""

    document: int
    item: int
    kind: str


@dataclass
class Part:
    """What was found in some documents (usually a shard).

    Attributes:
        keys: of the documents in which anything was found; the records below number them.
        phrases: (n,) numbers of benchmark phrases seen; known: (n, 3) uint32, the least distinct hashes of who said
            them (patient, or text where that is unknown), filled up with 0xFFFFFFFF.
        counts: documents, images, flat images.
    """

    keys: list[str]
    runs: list[TextRun]
    alike: list[Alike]
    images: list[SameImage]
    clusters: list[SameCluster]
    phrases: np.ndarray
    known: np.ndarray
    counts: Counter[str]


class Matcher:
    """Several manifests in one set of tables.

    Args:
        manifests: with different names, made with one salt.
        salt: that salt.

    Raises:
        DecontaminationError: the salt is not theirs, or two have one name.
    """

    def __init__(self, manifests: Sequence[Manifest], salt: str = ""):
        self.manifests, self.salt = list(manifests), salt
        self.hasher = Hasher(salt)
        _check(self.manifests, self.hasher)
        digests = "\n".join(sorted(m.digest for m in self.manifests))
        self.digest = hashlib.sha256(f"{VERSION} {JACCARD} {KNOWN_TO}\n{digests}".encode()).hexdigest()
        self.items: list[tuple[int, str]] = [(n, i) for n, m in enumerate(self.manifests) for i in m.head["items"]]
        self._join()
        self._index_texts()
        self._index_items()

    def _join(self) -> None:
        """Concatenate arrays; numbers of items, texts and images go up by those of the manifests before."""
        parts = [m.arrays for m in self.manifests]

        def joined(name: str) -> np.ndarray:
            return np.concatenate([p[name] for p in parts])

        def pairs(name: str, right: str) -> np.ndarray:
            items = np.cumsum([0] + [len(p["item_cluster"]) for p in parts[:-1]])
            others = np.cumsum([0] + [len(p[right]) for p in parts[:-1]])
            return np.concatenate([p[name] + np.array([i, o], np.int32) for p, i, o in zip(parts, items, others)])

        self.text_words, self.mask, self.visual = joined("text_words"), joined("mask"), joined("item_visual")
        self.text_starts = np.concatenate([[0], np.cumsum(self.text_words)])
        self.phrase_hashes, self.gram_hashes = joined("phrases"), joined("grams")
        self.item_patient, self.item_study = joined("item_patient"), joined("item_study")
        self.image_file, self.image_pixels = joined("image_file"), joined("image_pixels")
        self.signatures = joined("signatures")
        self.items_of_text = _by_right(pairs("item_text", "text_words"))
        self.items_of_image = _by_right(pairs("item_image", "image_file"))
        self.short = np.flatnonzero(joined("text_short"))
        sizes = np.concatenate([np.diff(p["shingle_ends"], prepend=0) for p in parts])
        self.shingle_starts = np.concatenate([[0], np.cumsum(sizes)])
        self.shingles = joined("shingles")

    def _index_texts(self) -> None:
        at = np.flatnonzero(self.gram_hashes)
        order = at[np.argsort(self.gram_hashes[at], kind="stable")]
        self.gram_keys, first = np.unique(self.gram_hashes[order], return_index=True)
        self.gram_starts = np.append(first, len(order)).astype(np.int64)
        self.gram_text = (np.searchsorted(self.text_starts, order, side="right") - 1).astype(np.int32)
        self.gram_at = (order - self.text_starts[self.gram_text]).astype(np.int32)
        self.gram_slots = make_slots(self.gram_keys)
        # Common language is asked for only where an item needs more than words (see judge), so only those are counted.
        seen = np.zeros(len(self.text_words), bool)
        for text, items in self.items_of_text.items():
            seen[text] = self.visual[items].all()
        ours = np.where(np.repeat(seen, self.text_words), self.phrase_hashes, np.uint64(0))
        self.phrase_keys = np.unique(ours[ours > 0])
        self.phrase_slots = make_slots(self.phrase_keys)
        self._index_short()

    def _index_short(self) -> None:
        """Prefix filter (Bayardo et al. 2007): sets with Jaccard >= t share one of the rarest |a| - ceil(t |a|) + 1."""
        every, times = np.unique(self.shingles, return_counts=True)
        rarity = times[np.searchsorted(every, self.shingles)] if len(every) else np.zeros(0, np.int64)
        keys, owners = [], []
        for text in self.short.tolist():
            own = slice(*self.shingle_starts[text : text + 2])
            size = own.stop - own.start
            prefix = size - int(np.ceil(JACCARD * size)) + 1
            rarest = np.lexsort((self.shingles[own], rarity[own]))[:prefix]
            keys.append(self.shingles[own][rarest])
            owners.append(np.full(len(rarest), text, np.int32))
        flat = np.concatenate(keys) if keys else np.zeros(0, np.uint64)
        order = np.argsort(flat, kind="stable")
        self.prefix_keys, first = np.unique(flat[order], return_index=True)
        self.prefix_starts = np.append(first, len(flat)).astype(np.int64)
        self.prefix_text = np.concatenate(owners)[order] if owners else np.zeros(0, np.int32)
        self.prefix_slots = make_slots(self.prefix_keys)

    def _index_items(self) -> None:
        self.patients = _first_of(self.item_patient)
        self.studies = _first_of(self.item_study)
        self.nobodys_studies = _first_of(np.where(self.item_patient == 0, self.item_study, np.uint64(0)))
        self.files, self.pixels = _first_of(self.image_file), _first_of(self.image_pixels)
        shown = np.flatnonzero(self.image_pixels)
        self.near_images = shown
        self.near = NearIndex(self.signatures[shown]) if len(shown) else None

    @property
    def has_images(self) -> bool:
        return self.near is not None

    def part(self, documents: Iterable[Content]) -> Part:
        """Everything that documents have in common with the benchmarks.

        Raises:
            DecontaminationError: an image cannot be decoded, so the answer would be wrong.
        """
        found = _Finder(self)
        for document in documents:
            found.look(document)
        return found.part()


class _Finder:
    def __init__(self, matcher: Matcher):
        self.m = matcher
        self.keys: list[str] = []
        self.runs: list[TextRun] = []
        self.alike: list[Alike] = []
        self.images: list[SameImage] = []
        self.clusters: list[SameCluster] = []
        self.known: dict[int, set[int]] = {}
        self.counts: Counter[str] = Counter()

    def look(self, document: Content) -> None:
        before = len(self.runs), len(self.alike), len(self.images), len(self.clusters)
        number = len(self.keys)
        self.counts["documents"] += 1
        patient = self.m.hasher.token("patient", document.patient) if document.patient else 0
        self._clusters(number, patient, document.study)
        self._texts(number, document, patient)
        for mine, picture in enumerate(document.images):
            self._image(number, mine, picture)
        if (len(self.runs), len(self.alike), len(self.images), len(self.clusters)) != before:
            self.keys.append(document.key)

    def _clusters(self, number: int, patient: int, study: str) -> None:
        if patient and (item := self.m.patients.get(patient)) is not None:
            self.clusters.append(SameCluster(number, item, "patient"))
        # Known patients decide: their studies may be numbered 1, 2, 3 for each of them.
        studies = self.m.nobodys_studies if patient else self.m.studies
        if study and (item := studies.get(self.m.hasher.token("study", study))) is not None:
            self.clusters.append(SameCluster(number, item, "study"))

    def _texts(self, number: int, document: Content, patient: int) -> None:
        for passage, text in enumerate(passages(document)):
            words = self.m.hasher.words(words_of(text))
            self._phrases(words, patient)
            self._grams(number, passage, words)
        if len(self.m.short):
            best: dict[int, float] = {}
            for words in _units(document):
                for text, value in self._like(words):
                    best[text] = max(value, best.get(text, 0.0))
            self.alike += [Alike(number, text, round(value, 3)) for text, value in sorted(best.items())]

    def _phrases(self, words: np.ndarray, patient: int) -> None:
        seen = _seen(windows(words, PHRASE), self.m.phrase_slots, self.m.phrase_keys)
        if len(seen):
            whole = patient or int(windows(words, len(words))[0])
            who = min(whole & 0xFFFFFFFF, 0xFFFFFFFE)
            for phrase in seen.tolist():
                self.known.setdefault(phrase, set()).add(who)

    def _grams(self, number: int, passage: int, words: np.ndarray) -> None:
        m = self.m
        at, text, start = _hits(
            windows(words, GRAM), m.gram_slots, m.gram_keys, m.gram_starts, m.gram_text, m.gram_at
        )  # fmt: skip
        if not len(at):
            return
        order = np.lexsort((at, at - start, text))
        at, text, start = at[order], text[order], start[order]
        new = np.ones(len(at), bool)
        new[1:] = (np.diff(text) != 0) | (np.diff(at - start) != 0) | (np.diff(at) != 1)
        first = np.flatnonzero(new)
        lengths = np.diff(np.append(first, len(at))) + GRAM - 1
        for i, length in zip(first.tolist(), lengths.tolist()):
            self.runs.append(TextRun(number, int(text[i]), int(start[i]), length, passage, int(at[i])))

    def _like(self, words: list[str]) -> list[tuple[int, float]]:
        m = self.m
        texts, values = _similar(
            m.hasher.shingles(words),
            m.prefix_slots,
            m.prefix_keys,
            m.prefix_starts,
            m.prefix_text,
            m.shingles,
            m.shingle_starts,
        )
        return list(zip(texts.tolist(), values.tolist()))

    def _image(self, number: int, mine: int, picture: Picture) -> None:
        m = self.m
        if m.near is None:
            return
        self.counts["images"] += 1
        try:
            made = fingerprint(picture.load())
        except MedVLMError as error:
            raise DecontaminationError(
                f"{picture.where} cannot be read, so it cannot be compared with the benchmarks: {error}"
            ) from error
        if made is None:
            self.counts["flat images"] += 1
            return
        file = m.files.get(m.hasher.token("file", picture.file)) if picture.file else None
        pixels = m.pixels.get(m.hasher.token("pixels", made.pixels))
        exact = file if file is not None else pixels
        if exact is not None:
            self.images.append(SameImage(number, exact, "pixels" if file is None else "file", mine, 1.0))
        for near in m.near.search(made.signature):
            image = int(m.near_images[near.image])
            if image != exact:
                self.images.append(SameImage(number, image, "near", mine, near.value))

    def part(self) -> Part:
        phrases = np.array(sorted(self.known), np.int64)
        known = np.full((len(phrases), KNOWN_TO), 0xFFFFFFFF, np.uint32)
        for row, phrase in enumerate(phrases.tolist()):
            least = sorted(self.known[phrase])[:KNOWN_TO]
            known[row, : len(least)] = least
        return Part(self.keys, self.runs, self.alike, self.images, self.clusters, phrases, known, self.counts)


def passages(document: Content) -> list[str]:
    """The texts of a document in which 13-grams are looked for, in a fixed order."""
    return list(dict.fromkeys((*document.texts, *(asked.whole() for asked in document.asked))))


def _units(document: Content) -> list[list[str]]:
    """What is compared by Jaccard: questions alone and whole, texts, and the sentences of texts."""
    texts = [part for asked in document.asked for part in (asked.question, asked.whole())]
    for text in document.texts:
        texts.append(text)
        texts += sentences_of(text)
    kept = {}
    for text in dict.fromkeys(texts):
        words = words_of(text)
        if _SENTENCE_WORDS <= len(words) <= SHORT / JACCARD:
            kept[tuple(words)] = words
    return list(kept.values())


def _check(manifests: list[Manifest], hasher: Hasher) -> None:
    if not manifests:
        raise DecontaminationError("no benchmark manifest was given")
    names = [m.name for m in manifests]
    if len(set(names)) < len(names):
        raise DecontaminationError(f"two manifests have the same name ({', '.join(names)}): make one with --name")
    for manifest in manifests:
        if manifest.head["check"] != hasher.check:
            how = "with another salt" if manifest.head["salted"] else "without a salt"
            raise DecontaminationError(
                f"the manifest of {manifest.name} was made {how}: give the salt that it was made with (--salt or "
                "MEDVLM_DECONTAMINATION_SALT), and scan salted and unsalted manifests one after another"
            )


def _by_right(pairs: np.ndarray) -> dict[int, np.ndarray]:
    """Left numbers by right number of (n, 2) pairs."""
    order = np.lexsort((pairs[:, 0], pairs[:, 1]))
    sides = pairs[order]
    right, first = np.unique(sides[:, 1], return_index=True)
    return dict(zip(right.tolist(), np.split(sides[:, 0], first[1:]))) if len(right) else {}


def _first_of(values: np.ndarray) -> dict[int, int]:
    """The first place of each number but 0."""
    found: dict[int, int] = {}
    for n, value in enumerate(values.tolist()):
        if value:
            found.setdefault(value, n)
    return found


@numba.njit(cache=True)
def _seen(hashes, slots, keys):
    """Numbers of the keys among ``hashes``."""
    out = np.empty(len(hashes), np.int64)
    count = 0
    for h in hashes:
        n = find(slots, keys, h)
        if n >= 0:
            out[count] = n
            count += 1
    return out[:count]


@numba.njit(cache=True)
def _similar(own, slots, keys, starts, owners, shingles, ends):
    """(texts, values) of the benchmark texts whose shingles have a Jaccard of ``JACCARD`` or more with ``own``."""
    total = 0
    for h in own:
        n = find(slots, keys, h)
        if n >= 0:
            total += starts[n + 1] - starts[n]
    candidates = np.empty(total, np.int32)
    total = 0
    for h in own:
        n = find(slots, keys, h)
        if n >= 0:
            for i in range(starts[n], starts[n + 1]):
                candidates[total] = owners[i]
                total += 1
    candidates.sort()
    values = np.empty(total, np.float64)
    count = 0
    last = -1
    for text in candidates:
        if text == last:
            continue
        last = text
        other = shingles[ends[text] : ends[text + 1]]
        if min(len(own), len(other)) < JACCARD * max(len(own), len(other)):
            continue  # sets of such different sizes cannot be that alike
        both = shared(own, other)
        value = both / (len(own) + len(other) - both)
        if value >= JACCARD:
            candidates[count], values[count] = text, value
            count += 1
    return candidates[:count], values[:count]


@numba.njit(cache=True)
def _hits(hashes, slots, keys, starts, texts, places):
    """(at, text, start) of every place of a benchmark that holds one of the hashes."""
    total = 0
    for h in hashes:
        n = find(slots, keys, h)
        if n >= 0:
            total += starts[n + 1] - starts[n]
    at = np.empty(total, np.int32)
    text = np.empty(total, np.int32)
    start = np.empty(total, np.int32)
    total = 0
    for w in range(len(hashes)):
        n = find(slots, keys, hashes[w])
        if n >= 0:
            for i in range(starts[n], starts[n + 1]):
                at[total], text[total], start[total] = w, texts[i], places[i]
                total += 1
    return at, text, start
