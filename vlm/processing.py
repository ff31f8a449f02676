"""From pictures and conversations to what the model reads.

Images keep their aspect ratio and, within a pixel budget, their resolution: each is resized to whole patches and cut
into rows of `pixel_values`; `image_grid_thw` says how they lie. TRL and vLLM know this form from Qwen2-VL.
Shapes: I images, P patches of all images, S patch side, C channels.
"""

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image
from transformers.feature_extraction_utils import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor
from transformers.processing_utils import ImagesKwargs, MultiModalData, ProcessingKwargs, ProcessorMixin

from vlm.errors import MedVLMError
from vlm.modeling import ImageTokenMismatch

IMAGE_TOKEN = "<|image_pad|>"
VISION_START = "<|vision_start|>"
VISION_END = "<|vision_end|>"
SPECIAL_TOKENS = (VISION_START, IMAGE_TOKEN, VISION_END)
IMAGE_PLACEHOLDER = f"{VISION_START}{IMAGE_TOKEN}{VISION_END}"
TEMPLATE_FILE = Path(__file__).with_name("chat_template.jinja")

# How the tool calls and the text of a generated turn are told apart (transformers' response templates, 5.13 and later).
RESPONSE_TEMPLATE: dict[str, Any] = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<|im_start|>assistant\n",
    "fields": {
        "tool_calls": {
            "open": "<tool_call>",
            "close_pattern": r"</tool_call>\s*",
            "repeats": True,
            "content": "json",
            "transform": {"type": "function", "function": "{content}"},
        },
        "content": {"close_pattern": r"<\|im_end\|>\s*", "content": "text"},
    },
}


class ImageInputError(MedVLMError, ValueError):
    """Something that is no picture was given as one; the sentence says what is taken."""


def fit_grid(height: int, width: int, unit: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """Cells (rows, columns) of `unit` x `unit` pixels for an image of `height` x `width` pixels.

    The nearest grid to the image's own size; where that lies outside the budget, the image is scaled into it with its
    aspect ratio kept as far as whole cells allow. Never more than `max_pixels` (if one cell fits), never below a cell.
    """
    if height < 1 or width < 1:
        raise ImageInputError(f"an image of {height} x {width} pixels has no content")
    most = max(1, max_pixels // unit**2)
    least = min(most, math.ceil(min_pixels / unit**2))
    rows, columns = max(1, round(height / unit)), max(1, round(width / unit))
    if rows * columns > most:
        scale = math.sqrt(most / (height * width))
        rows, columns = max(1, math.floor(height * scale)), max(1, math.floor(width * scale))
        rows, columns = min(rows, most // columns or 1), min(columns, most)
    elif rows * columns < least:
        scale = math.sqrt(least / (height * width))
        rows, columns = math.ceil(height * scale), math.ceil(width * scale)
        if rows * columns > most:
            rows, columns = max(1, math.floor(height * scale)), max(1, math.floor(width * scale))
            rows, columns = min(rows, most), min(columns, most // min(rows, most))
    columns = min(columns, most // rows)
    return rows, columns


@lru_cache(maxsize=16)
def _normalisation(mean: tuple[float, ...], std: tuple[float, ...], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Factor and offset (size * C,) that normalise a row of a patch of 8-bit levels: factor * level + offset."""
    spread = np.asarray(std, np.float64)
    return (
        np.tile(1 / (255 * spread), size).astype(np.float32),
        np.tile(-np.asarray(mean, np.float64) / spread, size).astype(np.float32),
    )


def to_uint8(image: Any) -> np.ndarray:
    """A picture as uint8 (H, W) or (H, W, 3).

    Takes PIL images, uint8 arrays or tensors (H, W), (H, W, 1|3|4) or (3, H, W), and `vlm.imaging.MedicalImage`
    (rendered with its default window). Raises ImageInputError for anything else, deep arrays included.
    """
    if isinstance(image, Image.Image):
        if image.mode in ("L", "RGB"):
            return np.asarray(image)
        if image.mode.startswith(("I", "F")):
            raise ImageInputError(
                f"a PIL image of mode {image.mode} holds more than 8 bits: render it to 8 bits first "
                "(vlm.imaging.read_image(path).render(window))"
            )
        return np.asarray(image.convert("L" if image.mode in ("1", "LA") else "RGB"))
    if hasattr(image, "render"):
        return to_uint8(image.render())
    if isinstance(image, (str, Path, bytes)):
        raise ImageInputError(
            "the processor takes pictures, not paths, addresses or bytes: read them with vlm.imaging.read_image first"
        )
    if hasattr(image, "detach"):
        image = image.detach().cpu().numpy()
    if not isinstance(image, np.ndarray):
        raise ImageInputError(
            f"cannot read a {type(image).__name__} as an image: pass PIL, uint8 array or MedicalImage"
        )
    if image.dtype != np.uint8:
        raise ImageInputError(
            f"an array of {image.dtype} is no 8-bit picture: render it first (MedicalImage.render chooses the window)"
        )
    if image.ndim == 3 and image.shape[-1] not in (1, 3, 4) and image.shape[0] in (1, 3):
        image = np.moveaxis(image, 0, -1)
    if image.ndim == 3 and image.shape[-1] == 1:
        image = image[..., 0]
    if image.ndim == 3 and image.shape[-1] == 4:
        image = image[..., :3]
    if image.ndim != 2 and not (image.ndim == 3 and image.shape[-1] == 3):
        raise ImageInputError(f"an array of shape {image.shape} is no picture: pass (H, W) or (H, W, 3)")
    return image


def flatten_images(images: Any) -> list[Any]:
    """Images nested by sample, or flat, or a single one, to a flat list; None entries are left out."""
    if images is None:
        return []
    if isinstance(images, (list, tuple)):
        return [flat for item in images for flat in flatten_images(item)]
    if isinstance(images, np.ndarray) and images.ndim == 4:
        return list(images)
    return [images]


class MedVLMImagesKwargs(ImagesKwargs, total=False):
    """What the image processor takes besides: pixel budget, patch side, merge side, and how many channels it makes."""

    min_pixels: int | None
    max_pixels: int | None
    patch_size: int | None
    merge_size: int | None
    num_channels: int | None


class MedVLMImageProcessor(BaseImageProcessor):
    """Resizes to whole patches within a pixel budget, normalises, and cuts into patches.

    `max_pixels` and `min_pixels` bound the resized image; its sides are multiples of `patch_size * merge_size`.
    """

    model_input_names: ClassVar[list[str]] = ["pixel_values", "image_grid_thw"]
    valid_kwargs = MedVLMImagesKwargs

    def __init__(
        self,
        patch_size: int = 16,
        merge_size: int = 2,
        min_pixels: int = 64 * 64,
        max_pixels: int = 512 * 512,
        image_mean: Sequence[float] = (0.5, 0.5, 0.5),
        image_std: Sequence[float] = (0.5, 0.5, 0.5),
        num_channels: int = 3,
        resample: int = int(Image.Resampling.BICUBIC),
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        unit = patch_size * merge_size
        if max_pixels < unit**2 or min_pixels > max_pixels:
            raise ImageInputError(
                f"pixel budget {min_pixels} to {max_pixels} is empty or below one token ({unit} x {unit} pixels)"
            )
        self.patch_size, self.merge_size = patch_size, merge_size
        self.min_pixels, self.max_pixels = min_pixels, max_pixels
        self.image_mean, self.image_std = list(image_mean), list(image_std)
        self.num_channels, self.resample = num_channels, int(resample)

    def fetch_images(self, image_url_or_urls: Any) -> Any:
        """Images as they came: this processor opens no files and no addresses."""
        return image_url_or_urls

    def grid(self, height: int, width: int, **overrides: Any) -> tuple[int, int]:
        """Patches (rows, columns) that an image of `height` x `width` pixels becomes."""
        merge = overrides.get("merge_size") or self.merge_size
        rows, columns = fit_grid(
            height,
            width,
            (overrides.get("patch_size") or self.patch_size) * merge,
            overrides.get("min_pixels") or self.min_pixels,
            overrides.get("max_pixels") or self.max_pixels,
        )
        return rows * merge, columns * merge

    def get_number_of_image_patches(self, height: int, width: int, images_kwargs: dict | None = None) -> int:
        """Patches of an image of that size (vLLM asks without an image)."""
        rows, columns = self.grid(height, width, **(images_kwargs or {}))
        return rows * columns

    def preprocess(self, images: Any, *args: Any, return_tensors: Any = None, **kwargs: Any) -> BatchFeature:
        """Pictures (nested as you like) to `pixel_values` (P, S*S*C) float32 and `image_grid_thw` (I, 3)."""
        flat = flatten_images(images)
        if not flat:
            raise ImageInputError("no image was given")
        rows, grids = [], []
        for index, image in enumerate(flat):
            try:
                patches, grid = self.patchify(to_uint8(image), **kwargs)
            except ImageInputError as error:
                raise ImageInputError(f"image {index}: {error}") from error
            rows.append(patches)
            grids.append((1, *grid))
        pixel_values = rows[0] if len(rows) == 1 else np.concatenate(rows)
        data = {"pixel_values": pixel_values, "image_grid_thw": np.asarray(grids, dtype=np.int64)}
        return BatchFeature(data, tensor_type=return_tensors)

    def patchify(self, pixels: np.ndarray, **overrides: Any) -> tuple[np.ndarray, tuple[int, int]]:
        """One picture, uint8 (H, W) or (H, W, 3), to patches (P, S*S*C), each (y, x, channel), and its grid."""
        size = overrides.get("patch_size") or self.patch_size
        rows, columns = self.grid(pixels.shape[0], pixels.shape[1], **overrides)
        if self.num_channels == 1 and pixels.ndim == 3:
            pixels = np.asarray(Image.fromarray(pixels).convert("L"))
        if pixels.shape[:2] != (rows * size, columns * size):
            resized = Image.fromarray(np.ascontiguousarray(pixels)).resize(
                (columns * size, rows * size), resample=Image.Resampling(self.resample), reducing_gap=2.0
            )
            pixels = np.asarray(resized)
        channels = self.num_channels
        cut = pixels.reshape(rows, size, columns, -1).swapaxes(1, 2).astype(np.float32, order="C")
        values = cut if pixels.ndim == 3 else np.repeat(cut, channels, axis=-1)
        factor, offset = _normalisation(tuple(self.image_mean[:channels]), tuple(self.image_std[:channels]), size)
        values *= factor
        values += offset
        return values.reshape(rows * columns, size * size * channels), (rows, columns)


class MedVLMProcessorKwargs(ProcessingKwargs, total=False):
    _defaults = {"text_kwargs": {"padding": False}}  # type: ignore[misc]  # noqa: RUF012  (transformers' convention)


class MedVLMProcessor(ProcessorMixin):
    """Tokenizer, image processor and chat template in one.

    `num_image_tokens` is None where the count follows from the image's grid, else the same for every image (perceiver).
    """

    valid_processor_kwargs = MedVLMProcessorKwargs

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        chat_template: str | None = None,
        num_image_tokens: int | None = None,
        **kwargs: Any,
    ):
        self.num_image_tokens = num_image_tokens
        self.image_token = IMAGE_TOKEN
        self.image_token_id = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
        self.vision_start_token_id = tokenizer.convert_tokens_to_ids(VISION_START)
        self.vision_end_token_id = tokenizer.convert_tokens_to_ids(VISION_END)
        if getattr(tokenizer, "response_template", None) is None:
            tokenizer.response_template = RESPONSE_TEMPLATE
        super().__init__(image_processor, tokenizer, chat_template=chat_template)

    def tokens_of_grid(self, height: int, width: int) -> int:
        """Tokens of an image of `height` x `width` patches."""
        if self.num_image_tokens is not None:
            return self.num_image_tokens
        return (height * width) // self.image_processor.merge_size**2

    def replace_image_token(self, image_inputs: dict, image_idx: int, **kwargs: Any) -> str:
        _, height, width = (int(n) for n in image_inputs["image_grid_thw"][image_idx])
        return self.image_token * self.tokens_of_grid(height, width)

    def prepare_inputs_layout(self, images: Any = None, text: Any = None, **kwargs: Any) -> tuple:
        flat = flatten_images(images) or None
        text = [text] if isinstance(text, str) else None if text is None else list(text)
        return flat, text, None, None

    def validate_inputs(self, images: Any = None, text: Any = None, **kwargs: Any) -> None:
        """Raises ImageTokenMismatch where placeholders and images are not as many as each other."""
        if text is None:
            if images is None:
                raise ImageInputError("pass text, images or both to the processor")
            return
        if not all(isinstance(sample, str) for sample in text):
            raise ImageInputError(
                "text must be a string or a list of strings: apply the chat template to messages first"
            )
        placeholders = sum(sample.count(self.image_token) for sample in text)
        given = len(images) if images is not None else 0
        if given and placeholders != given:
            raise ImageTokenMismatch(
                f"the text has {placeholders} image placeholder(s) ({self.image_token}), but {given} image(s) came "
                "with it: put one image part into the messages for each image, in the same order"
            )

    def _process_images(self, images: Any, **kwargs: Any) -> tuple[Any, list[str]]:
        processed = self.image_processor(images, **kwargs)
        return processed, [self.replace_image_token(processed, i) for i in range(len(images))]

    def __call__(
        self, images: Any = None, text: Any = None, videos: Any = None, audio: Any = None, **kwargs: Any
    ) -> BatchFeature:
        """Text with one placeholder an image, and the images in the same order, to model inputs.

        `images` may be flat, nested by sample, or one image. Raises ImageTokenMismatch if counts differ.
        """
        if videos is not None or audio is not None:
            raise ImageInputError("this model reads text and images: pass the frames of a video as images")
        wants_offsets = kwargs.get("return_offsets_mapping") or kwargs.get("text_kwargs", {}).get(
            "return_offsets_mapping"
        )
        if not wants_offsets:
            return super().__call__(images=images, text=text, **kwargs)
        kwargs["return_text_replacement_offsets"] = True
        out = super().__call__(images=images, text=text, **kwargs)
        replacements = out.pop("text_replacement_offsets")
        out["offset_mapping"] = [
            _offsets_before_expansion(offsets, spans)
            for offsets, spans in zip(out["offset_mapping"], replacements, strict=True)
        ]
        return out

    def _get_num_multimodal_tokens(
        self, image_sizes: Iterable[Sequence[int]] | None = None, **kwargs: Any
    ) -> MultiModalData:
        """Tokens and patches of images of the given (height, width); vLLM asks before it has the images."""
        if image_sizes is None:
            return MultiModalData()
        grids = [self.image_processor.grid(int(size[0]), int(size[1]), **kwargs) for size in image_sizes]
        return MultiModalData(
            num_image_tokens=[self.tokens_of_grid(*grid) for grid in grids],
            num_image_patches=[height * width for height, width in grids],
        )

    def post_process_image_text_to_text(
        self, generated_outputs: Any, skip_special_tokens: bool = True, **kwargs: Any
    ) -> list[str]:
        """Generated ids (B, T) to strings."""
        return self.tokenizer.batch_decode(generated_outputs, skip_special_tokens=skip_special_tokens, **kwargs)

    @property
    def model_input_names(self) -> list[str]:
        return [*self.tokenizer.model_input_names, *self.image_processor.model_input_names]


def _offsets_before_expansion(offsets: Any, replacements: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """Token offsets in the text with images expanded to offsets in the text as the chat template wrote it.

    transformers 5.17 marks assistant turns in the latter and looks them up in the former, so that one image before an
    answer shifts its mask. Padding at the end (0, 0) is moved behind the text, which keeps the starts sorted.
    """
    moved, end = [], 0
    spans = iter(replacements)
    current = next(spans, None)
    shift = 0
    for start, stop in (tuple(int(n) for n in pair) for pair in offsets):
        if start == stop == 0 and end > 0:
            moved.append((end, end))
            continue
        while current is not None and start >= current["new_span"][1]:
            shift += len(current["replacement"]) - len(current["text"])
            current = next(spans, None)
        if current is not None and start >= current["new_span"][0]:
            moved.append(tuple(current["span"]))
        else:
            moved.append((start - shift, stop - shift))
        end = max(end, moved[-1][1])
    return moved
