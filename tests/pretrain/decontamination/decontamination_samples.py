"""Texts, pictures and samples of the decontamination tests."""

import io
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from pretrain.decontamination.content import Asked, Content, Picture
from pretrain.shards.index import ShardSet
from pretrain.shards.writer import DatasetInfo, ShardWriter
from vlm.imaging import MedicalImage, read_image
from vlm.sample import EncodedImage, Sample, SampleProvenance

VIGNETTE = (
    "A 45-year-old man comes to the physician because of tingling in both feet since he began to eat only raw fish "
    "caught in a lake near his cabin. His temperature is 37.0 C, pulse is 80/min, respirations are 12/min, and blood "
    "pressure is 120/80 mm Hg. Peripheral smear shows hypersegmented neutrophils and a proglottid is found in stool. "
    "Which of the following is the most likely diagnosis?"
)
BOILERPLATE_ONLY = (
    "A 61-year-old woman comes to the physician because of palpitations. His temperature is 37.0 C, pulse is 80/min, "
    "respirations are 12/min, and blood pressure is 120/80 mm Hg. Which of the following is the most likely diagnosis?"
)
NORMAL = (
    "The heart is normal in size. The lungs are clear. There is no pleural effusion or pneumothorax. "
    "No acute bony abnormality."
)
RARE_REPORT = (
    "A serpiginous tubular opacity courses from the right hilum toward the cardiophrenic angle and drains below the "
    "diaphragm, with a hypoplastic right lung and cardiac dextroposition that suggest scimitar syndrome in this adult."
)


def picture(seed: int) -> np.ndarray:
    """(192, 176) uint8: a chest-like layout that all share, with details of its own."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:192, :176] / 176
    lungs = np.exp(-(((x - 0.3) / 0.14) ** 2 + ((y - 0.5) / 0.3) ** 2))
    lungs += np.exp(-(((x - 0.7) / 0.14) ** 2 + ((y - 0.5) / 0.3) ** 2))
    own = gaussian_filter(rng.normal(size=(192, 176)), 5)
    values = 150 - 90 * lungs + 22 * own / own.std() + rng.normal(0, 2, (192, 176))
    return values.clip(0, 255).astype(np.uint8)


def image_of(pixels: np.ndarray) -> MedicalImage:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return read_image(buffer.getvalue(), sandbox=False)


def shown(pixels: np.ndarray, file: str = "") -> Picture:
    image = image_of(pixels)
    return Picture(file, lambda: image, "picture")


def text_item(key: str, *texts: str, **more) -> Content:
    return Content(key, texts, **more)


def question(key: str, text: str, options: tuple[str, ...] = (), answer: str = "", **more) -> Content:
    return Content(key, (), (Asked(text, options, answer),), **more)


def sample(key: str, text: str, pixels: np.ndarray | None = None, patient: str = "", study: str = "") -> Sample:
    images = [] if pixels is None else [EncodedImage.encode(image_of(pixels))]
    parts = [{"type": "image", "image": 0}] if images else []
    messages = [
        {"role": "user", "content": [*parts, {"type": "text", "text": "Report this examination."}]},
        {"role": "assistant", "content": text},
    ]
    return Sample(key, messages, images, SampleProvenance("tests", simulated=True, patient=patient, study=study))


def write_set(folder: Path, samples: list[Sample], name: str = "train", per_shard: int = 4) -> ShardSet:
    with ShardWriter(folder, DatasetInfo(name, simulated=True), max_samples=per_shard) as writer:
        for one in samples:
            writer.write(one)
    return ShardSet.open(folder)
