"""One training or evaluation example: a conversation, its images, and where they came from.

A sample is one WebDataset record: ``<key>.json`` with everything but pixels, ``<key>.<i>.png`` (or ``.npy`` where PNG
cannot hold the pixels) for image i at full bit depth, and ``<key>.mask<i>.png`` for the truth mask of a simulated
image. Nothing in a record is ever unpickled.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from vlm.errors import MedVLMError
from vlm.imaging import MedicalImage
from vlm.messages import Message, validate_messages

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


class SampleError(MedVLMError):
    """A record does not hold a sample; the sentence names the key and the missing or broken part."""


@dataclass(frozen=True)
class SampleProvenance:
    """Where a sample came from, and the clusters that statistics and splits must not cut.

    Attributes:
        source: name of the data set or importer.
        licence: SPDX id or a short statement; "unknown" is said, not left out.
        simulated: True if any image or text of it was made by a simulator.
        patient, study: cluster keys (already de-identified), "" where the source has none.
        image_sha256: hash of the source file's bytes, one for each image.
    """

    source: str
    licence: str = "unknown"
    simulated: bool = False
    patient: str = ""
    study: str = ""
    image_sha256: tuple[str, ...] = ()


@dataclass(frozen=True)
class EncodedImage:
    """An image as it lies in a shard: lossless bytes and what is needed to rebuild the physical picture."""

    data: bytes
    meta: dict[str, Any]

    def decode(self) -> MedicalImage:
        return MedicalImage.from_record(self.data, self.meta)

    @classmethod
    def encode(cls, image: MedicalImage) -> "EncodedImage":
        return cls(*image.to_record())

    @property
    def suffix(self) -> str:
        return "png" if self.data.startswith(_PNG_MAGIC) else "npy"


@dataclass(frozen=True)
class Sample:
    """A conversation about medical images, with its provenance.

    Attributes:
        key: unique within a data set; no dots, no slashes.
        messages: image parts hold indices into ``images``.
        images: encoded; ``images[i].decode()`` gives the MedicalImage.
        entities: ids of the Medical Entity Tree that the sample speaks of.
        masks: PNG bytes of truth masks by image index (simulated data only).
        extra: anything the source knows beside, JSON only (questions, truth, split).
    """

    key: str
    messages: list[Message]
    images: list[EncodedImage]
    provenance: SampleProvenance
    entities: list[str] = field(default_factory=list)
    masks: dict[int, bytes] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        if not self.key or any(c in self.key for c in "./\\"):
            raise SampleError(f"sample key {self.key!r} must not be empty and must not hold '.', '/' or '\\'")
        validate_messages(self.messages, len(self.images))

    def to_record(self) -> dict[str, bytes]:
        """The files of the record by suffix: ``json``, ``0.png``, ``mask0.png``, ..."""
        head = {
            "messages": self.messages,
            "images": [{"suffix": image.suffix, **image.meta} for image in self.images],
            "entities": self.entities,
            "masks": sorted(self.masks),
            "provenance": asdict(self.provenance),
            "extra": self.extra,
        }
        files = {"json": json.dumps(head, ensure_ascii=False, sort_keys=True).encode()}
        for i, image in enumerate(self.images):
            files[f"{i}.{image.suffix}"] = image.data
        for i, mask in self.masks.items():
            files[f"mask{i}.png"] = mask
        return files

    @classmethod
    def from_record(cls, key: str, files: dict[str, bytes]) -> "Sample":
        """Inverse of :meth:`to_record`.

        Raises:
            SampleError: a file of the record is missing or its JSON is broken.
        """
        try:
            head = json.loads(files["json"])
            images = []
            for i, meta in enumerate(head["images"]):
                suffix = meta.pop("suffix")
                images.append(EncodedImage(files[f"{i}.{suffix}"], meta))
            provenance = head["provenance"]
            provenance["image_sha256"] = tuple(provenance["image_sha256"])
            return cls(
                key=key,
                messages=head["messages"],
                images=images,
                provenance=SampleProvenance(**provenance),
                entities=head["entities"],
                masks={i: files[f"mask{i}.png"] for i in head["masks"]},
                extra=head["extra"],
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise SampleError(
                f"record {key!r} is not a sample ({type(error).__name__}: {error}): "
                "run `medvlm data verify` on the shard folder and import it again"
            ) from error
