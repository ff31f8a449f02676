"""A benchmark as hashes: enough to find its items in training data, with no text and no picture in it.

A manifest is one NumPy archive: items, the words of their texts as 5-gram and 13-gram hashes with a mask of
boilerplate, shingles of short texts, digests and signatures of images, and keyed hashes of patients and studies. Equal
input gives equal bytes. A 48 x 48 signature is a very small picture of ranks; nothing else of an image is kept.
"""

import hashlib
import io
import json
import math
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pretrain.decontamination.content import Content, Picture
from pretrain.decontamination.errors import DecontaminationError
from pretrain.decontamination.images import SIDE, fingerprint
from pretrain.decontamination.text import GRAM, PHRASE, Hasher, stated_boilerplate, windows, words_of
from pretrain.shards.tar import write_atomically
from vlm.errors import MedVLMError

FORMAT = "medvlm-benchmark-manifest/1"
# A phrase is common language from so many clusters of a benchmark on, as least number and as share of the clusters.
# Stricter for reports and questions about images, which image and patient identify better than words do.
COMMON, COMMON_VISUAL = (5, 0.005), (3, 0.001)
SHORT = 64  # words; longer texts are found by their 13-grams
_CORE_WORDS, _QUESTION_WORDS = 6, 8  # fewer say too little to be anybody's own
_OWN_WORDS = 4  # of them not boilerplate

_ARRAYS = (
    "item_cluster item_patient item_study item_visual text_words text_short mask phrases grams shingles shingle_ends "
    "item_text image_file image_pixels signatures item_image"
).split()


@dataclass(frozen=True)
class Manifest:
    """Hashes of one benchmark.

    Attributes:
        head: format, name, item ids, counts, whether it is salted.
        arrays: by name. I items, T texts, W words of all texts, M images:
            item_cluster (I,) number of the patient (or item) that counts once; item_patient, item_study (I,) uint64,
            0 unknown; item_visual (I,) the item has an image or belongs to a patient;
            text_words (T,) words of each text; text_short (T,) compared by Jaccard; mask (W,) boilerplate words;
            phrases (W,), grams (W,) uint64 hash of the 5 and 13 words that begin at a word, 0 where none does or where
            it is common; shingles with shingle_ends (T,);
            item_text (n, 2), item_image (n, 2) pairs; image_file, image_pixels (M,) uint64, 0 unknown or flat;
            signatures (M, 48, 48) uint8.
        digest: SHA-256 of the file's bytes.
    """

    head: dict[str, Any]
    arrays: dict[str, np.ndarray]
    digest: str

    @property
    def name(self) -> str:
        return self.head["name"]

    def __len__(self) -> int:
        return len(self.head["items"])

    @classmethod
    def make(cls, head: dict[str, Any], arrays: dict[str, np.ndarray]) -> "Manifest":
        return cls(head, arrays, hashlib.sha256(_to_bytes(head, arrays)).hexdigest())

    def save(self, path: Path) -> None:
        """Write atomically."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, _to_bytes(self.head, self.arrays))

    @classmethod
    def load(cls, path: str | Path) -> "Manifest":
        """
        Raises:
            DecontaminationError: no such file, not a manifest, or damaged.
        """
        path = Path(path)
        try:
            data = path.read_bytes()
            with np.load(io.BytesIO(data), allow_pickle=False) as stored:
                head = json.loads(stored["head"].tobytes())
                if head.get("format") != FORMAT:
                    raise ValueError(f"format {head.get('format')!r}")
                arrays = {name: stored[name] for name in _ARRAYS}
        except FileNotFoundError:
            raise DecontaminationError(
                f"there is no benchmark manifest {path}: make it with `medvlm data decontaminate manifest BENCHMARK "
                f"--out {path}`"
            ) from None
        except (OSError, ValueError, KeyError, EOFError, AttributeError, zipfile.BadZipFile) as error:
            raise DecontaminationError(
                f"{path} is not a benchmark manifest of this version ({type(error).__name__}: {error}): make it again"
            ) from error
        return cls(head, arrays, hashlib.sha256(data).hexdigest())


def _to_bytes(head: dict[str, Any], arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    text = json.dumps(head, sort_keys=True, ensure_ascii=False).encode()
    # np.savez stamps every member with 1980: the same arrays are the same bytes.
    np.savez(buffer, head=np.frombuffer(text, np.uint8), **{name: arrays[name] for name in _ARRAYS})  # type: ignore[arg-type]
    return buffer.getvalue()


def build_manifest(
    name: str, items: Iterable[Content], *, salt: str = "", progress: Callable[[int], None] | None = None
) -> Manifest:
    """Hash a benchmark.

    Args:
        name: what matches are reported under.
        items: see :func:`pretrain.decontamination.benchmarks.read_benchmark`; ids must be unique.
        salt: secret, needed again to scan; "" for a benchmark that is public anyway.
        progress: called with 1 for each item.

    Raises:
        DecontaminationError: no items, an id twice, an item with nothing to compare, an image that cannot be read.
    """
    builder = _Builder(Hasher(salt))
    for item in items:
        builder.add(item)
        if progress:
            progress(1)
    return builder.finish(name, bool(salt))


class _Builder:
    def __init__(self, hasher: Hasher):
        self.hasher = hasher
        self.ids: dict[str, int] = {}
        self.patients: list[int] = []
        self.studies: list[int] = []
        self.visual: list[bool] = []
        self.clusters: list[tuple[str, int]] = []
        self.texts: dict[tuple[str, ...], int] = {}
        self.short_of: dict[int, int] = {}  # text -> words that it needs to be compared by Jaccard
        self.item_text: list[tuple[int, int]] = []
        self.pictures: dict[str, int] = {}
        self.files: list[int] = []
        self.pixels: list[int] = []
        self.signatures: list[np.ndarray] = []
        self.item_image: list[tuple[int, int]] = []

    def add(self, item: Content) -> None:
        if item.key in self.ids:
            raise DecontaminationError(f"the benchmark has two items with the id {item.key!r}: ids must be unique")
        number = self.ids[item.key] = len(self.ids)
        images = [self._image(picture) for picture in item.images]
        texts = [self._text(text) for text in item.texts]
        for asked in item.asked:
            texts += [self._text(asked.whole(), _CORE_WORDS), self._text(asked.question, _QUESTION_WORDS)]
        texts = [t for t in texts if t is not None]
        if not texts and not images:
            raise DecontaminationError(f"the benchmark's item {item.key!r} has no text and no image to look for")
        self.item_text += [(number, t) for t in dict.fromkeys(texts)]
        self.item_image += [(number, i) for i in dict.fromkeys(images)]
        patient = self.hasher.token("patient", item.patient) if item.patient else 0
        study = self.hasher.token("study", item.study) if item.study else 0
        self.patients.append(patient)
        self.studies.append(study)
        self.visual.append(bool(images or patient or study))
        whose = ("patient", patient) if patient else ("study", study) if study else None
        self.clusters.append(whose or (("image", images[0]) if images else ("item", number)))

    def _text(self, text: str, short: int = 0) -> int | None:
        words = tuple(words_of(text))
        if not words:
            return None
        number = self.texts.setdefault(words, len(self.texts))
        if short and short <= len(words) <= SHORT:
            self.short_of[number] = max(short, self.short_of.get(number, 0))
        return number

    def _image(self, picture: Picture) -> int:
        if picture.file and picture.file in self.pictures:
            return self.pictures[picture.file]
        try:
            made = fingerprint(picture.load())
        except MedVLMError as error:
            raise DecontaminationError(
                f"{picture.where} cannot be read, so it cannot be looked for: {error}"
            ) from error
        number = len(self.files)
        if picture.file:
            self.pictures[picture.file] = number
        # A flat picture (blank, or nearly) would be found wherever another blank one is: it is nobody's evidence.
        known = bool(picture.file) and made is not None
        self.files.append(self.hasher.token("file", picture.file) if known else 0)
        self.pixels.append(self.hasher.token("pixels", made.pixels) if made else 0)
        self.signatures.append(made.signature if made else np.zeros((SIDE, SIDE), np.uint8))
        return number

    def finish(self, name: str, salted: bool) -> Manifest:
        if not self.ids:
            raise DecontaminationError(f"the benchmark {name!r} has no items")
        numbered = {cluster: n for n, cluster in enumerate(dict.fromkeys(self.clusters))}
        cluster = np.array([numbered[c] for c in self.clusters], np.int32)
        item_text = np.array(self.item_text, np.int32).reshape(-1, 2)
        common = [max(least, math.ceil(share * len(numbered))) for least, share in (COMMON, COMMON_VISUAL)]
        arrays = self._hash_texts(cluster, item_text, *common)
        arrays |= {
            "item_cluster": cluster,
            "item_patient": np.array(self.patients, np.uint64),
            "item_study": np.array(self.studies, np.uint64),
            "item_visual": np.array(self.visual, bool),
            "item_text": item_text,
            "image_file": np.array(self.files, np.uint64),
            "image_pixels": np.array(self.pixels, np.uint64),
            "signatures": np.array(self.signatures, np.uint8).reshape(-1, SIDE, SIDE),
            "item_image": np.array(self.item_image, np.int32).reshape(-1, 2),
        }
        counts = {
            "items": len(self.ids),
            "clusters": len(numbered),
            "texts": len(self.texts),
            "short_texts": int(arrays["text_short"].sum()),
            "images": len(self.files),
            "flat_images": sum(1 for p in self.pixels if not p),
            "words": int(arrays["text_words"].sum()),
            "boilerplate_words": int(arrays["mask"].sum()),
            "common_at": common,
        }
        head = {
            "format": FORMAT,
            "name": name,
            "items": list(self.ids),
            "salted": salted,
            "check": self.hasher.check,
            "counts": counts,
        }
        return Manifest.make(head, arrays)

    def _hash_texts(
        self, cluster: np.ndarray, item_text: np.ndarray, common: int, visual: int
    ) -> dict[str, np.ndarray]:
        owners: dict[int, set[int]] = defaultdict(set)
        words_alone: set[int] = set()
        for item, text in item_text.tolist():
            owners[text].add(int(cluster[item]))
            if not self.visual[item]:
                words_alone.add(text)
        hashed = [self.hasher.words(list(words)) for words in self.texts]
        phrases = [windows(words, PHRASE) for words in hashed]
        found, times = _clusters_of(phrases, owners)
        usual_for = {True: found[times >= visual], False: found[times >= common]}
        mask, five, thirteen, shingles, ends, short = [], [], [], [], [], []
        for n, (words, own) in enumerate(zip(self.texts, phrases)):
            is_usual = np.isin(own, usual_for[n not in words_alone])
            boilerplate = covered(is_usual, len(words), PHRASE) | stated_boilerplate(list(words))
            mask.append(boilerplate)
            five.append(_padded(np.where(is_usual, np.uint64(0), own), len(words)))
            grams = windows(hashed[n], GRAM)
            all_usual = np.array([is_usual[i : i + GRAM - PHRASE + 1].all() for i in range(len(grams))], bool)
            thirteen.append(_padded(np.where(all_usual, np.uint64(0), grams), len(words)))
            least = self.short_of.get(n, 0)
            # A question alone must be of one item; with options and answer it may come as often as is not common.
            rare = len(owners[n]) < (2 if least == _QUESTION_WORDS else common)
            short.append(bool(least and rare and int((~boilerplate).sum()) >= _OWN_WORDS))
            shingles.append(self.hasher.shingles(list(words)) if short[-1] else np.zeros(0, np.uint64))
            ends.append(len(shingles[-1]))
        return {
            "text_words": np.array([len(words) for words in self.texts], np.int32),
            "text_short": np.array(short, bool),
            "mask": _joined(mask, bool),
            "phrases": _joined(five, np.uint64),
            "grams": _joined(thirteen, np.uint64),
            "shingles": _joined(shingles, np.uint64),
            "shingle_ends": np.cumsum(ends, dtype=np.int64) if ends else np.zeros(0, np.int64),
        }


def _clusters_of(phrases: list[np.ndarray], owners: dict[int, set[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Sorted hashes of the phrases, and with how many clusters each occurs."""
    pairs = [np.zeros((0, 2), np.uint64)]
    for n, own in enumerate(phrases):
        distinct = np.unique(own)
        for who in sorted(owners[n]):
            pairs.append(np.stack([distinct, np.full(len(distinct), who, np.uint64)], axis=1))
    return np.unique(np.unique(np.concatenate(pairs), axis=0)[:, 0], return_counts=True)


def covered(starts: np.ndarray, length: int, span: int) -> np.ndarray:
    """(length,) bool: positions inside a run of ``span`` that begins where ``starts`` is true."""
    edge = np.zeros(length + 1, np.int32)
    at = np.flatnonzero(starts)
    np.add.at(edge, at, 1)
    np.add.at(edge, at + span, -1)
    return np.cumsum(edge[:-1]) > 0


def _padded(values: np.ndarray, length: int) -> np.ndarray:
    out = np.zeros(length, np.uint64)
    out[: len(values)] = values
    return out


def _joined(parts: list[np.ndarray], dtype: Any) -> np.ndarray:
    return np.concatenate(parts).astype(dtype) if parts else np.zeros(0, dtype)
