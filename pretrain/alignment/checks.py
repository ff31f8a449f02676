"""Stage one: cheap checks of a sample's images and text, each with its measure, its limit and its reason."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pretrain.alignment.claims import disagreements
from pretrain.alignment.pixels import aspect, entropy_bits, luma, sharpness
from pretrain.tagging.turns import text_of
from vlm.sample import Sample

SIZE = 256  # longest side of the picture that is measured, so that limits mean the same at any resolution

# (pictures uint8, texts) -> cosine of each pair, N
Similarity = Callable[[Sequence[np.ndarray], Sequence[str]], np.ndarray]


@dataclass(frozen=True)
class Limits:
    """From where on a sample is refused. The limits of pixels were set on simulated films and real DICOM
    (docs/synthesis.md); None leaves a check out.

    Attributes:
        least_side: pixels of the shorter side as stored.
        most_aspect: longer over shorter side.
        least_entropy: bits of grey levels.
        least_sharpness: variance of the Laplacian over that of the picture, at 256 pixels.
        least_words, most_words: of what the assistant says.
        least_similarity: cosine of image and text, where an encoder pair is given.
        headers: refuse texts that contradict the header.
    """

    least_side: int | None = 64
    most_aspect: float | None = 5.0
    least_entropy: float | None = 2.0
    least_sharpness: float | None = 0.0015
    least_words: int | None = 2
    most_words: int | None = 5000
    least_similarity: float | None = None
    headers: bool = True


@dataclass(frozen=True)
class Fault:
    """Why a sample is refused: the reason that is counted, the value, and the limit that it broke."""

    reason: str
    value: float | str
    limit: float | str


def said(sample: Sample) -> str:
    """What the assistant says, which is what a model would learn."""
    return "\n".join(text_of(m) for m in sample.messages if m["role"] == "assistant")


def check_sample(
    sample: Sample, limits: Limits, anatomy: Mapping[str, str] = {}, similarity: Similarity | None = None
) -> list[Fault]:
    """All faults of a sample, those of its pictures first; the empty list lets it pass.

    Args:
        anatomy: names of anatomical entities by id, for the regions that a header gave (`medvlm data tag`).
        similarity: cosines of pictures and texts; without it the check of ``least_similarity`` is left out.
    """
    faults, pictures, seen = [], [], set()
    for image in sample.images:
        decoded = image.decode()
        shape = (decoded.pixels.shape[0], decoded.pixels.shape[1])
        picture = decoded.render(size=SIZE)
        pictures.append(picture)
        faults += check_picture(luma(picture), shape, limits)
        digest = hashlib.sha256(decoded.pixels.tobytes() + str(decoded.pixels.shape).encode()).digest()
        if digest in seen:  # equal pixels only: neighbouring slices are alike and yet two pictures
            faults.append(Fault("duplicate image in the sample", "equal pixels", ""))
        seen.add(digest)
    text = said(sample)
    faults += check_words(text, limits)
    if limits.headers:
        faults += [
            Fault(f"text contradicts the header: {what}", what, "")
            for what in disagreements(text, header_of(sample, anatomy))
        ]
    if similarity is not None and limits.least_similarity is not None and pictures:
        best = float(max(similarity(pictures, [text] * len(pictures))))
        if best < limits.least_similarity:
            faults.append(Fault("image and text are not alike", best, limits.least_similarity))
    return faults


def check_picture(grey: np.ndarray, shape: tuple[int, int], limits: Limits) -> Iterable[Fault]:
    """Faults of one picture: ``grey`` (h, w) uint8 at most :data:`SIZE` long, ``shape`` (H, W) as stored."""
    if limits.least_side is not None and min(shape) < limits.least_side:
        yield Fault("image too small", min(shape), limits.least_side)
    if limits.most_aspect is not None and aspect(shape) > limits.most_aspect:
        yield Fault("image too narrow", aspect(shape), limits.most_aspect)
    entropy = entropy_bits(grey)
    if limits.least_entropy is not None and entropy < limits.least_entropy:
        yield Fault("image blank or nearly so", entropy, limits.least_entropy)
    elif limits.least_sharpness is not None and (value := sharpness(grey)) < limits.least_sharpness:
        yield Fault("image blurred", value, limits.least_sharpness)


def check_words(text: str, limits: Limits) -> Iterable[Fault]:
    count = len(text.split()) if text.isascii() else len(text.split()) + sum("一" <= c <= "鿿" for c in text)
    if limits.least_words is not None and count < limits.least_words:
        yield Fault("text too short", count, limits.least_words)
    if limits.most_words is not None and count > limits.most_words:
        yield Fault("text too long", count, limits.most_words)


def header_of(sample: Sample, anatomy: Mapping[str, str]) -> dict[str, list[str]]:
    """What the headers of a sample say: modality from the images, regions and sides where they were tagged."""
    tags: Mapping[str, Any] = sample.extra.get("tags") or {}
    by_header = (tags.get("present") or {}).get("header", [])
    return {
        "modalities": [image.meta["modality"] for image in sample.images if image.meta.get("modality")],
        "regions": [anatomy[entity] for entity in by_header if entity in anatomy],
        "sides": list(tags.get("sides") or ()),
    }
