"""From a stored sample to token ids, labels and patches; deterministic in (seed, position in the plan).

Shapes: T tokens, P patches of all images, C numbers in a patch, I images, F findings.
"""

import hashlib
import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from pretrain.training.batches import IGNORE, Example
from pretrain.training.errors import TrainingError
from pretrain.training.recipe import DataSection
from vlm.messages import Message, attach_images, image_indices
from vlm.sample import EncodedImage, Sample


class Pictures:
    """Encoded images to patches, with an optional memory of those seen.

    ``cached`` keeps float16 patches; bf16 training sees no difference (a grey level is 30 times the rounding). They are
    known by their bytes: keys are unique within a data set only, and a run reads several.
    """

    def __init__(self, image_processor: Any, cached: bool):
        self.image_processor = image_processor
        self._memory: dict[bytes, tuple[torch.Tensor, torch.Tensor]] | None = {} if cached else None

    def patches(self, image: EncodedImage) -> tuple[torch.Tensor, torch.Tensor]:
        """Patches (P, C) and grid (1, 3) of an image."""
        key = b"" if self._memory is None else _digest(image.data, json.dumps(image.meta, sort_keys=True).encode())
        if self._memory is not None and key in self._memory:
            return self._memory[key]
        made = self.image_processor(images=[image.decode().render()], return_tensors="pt")
        result = made["pixel_values"], made["image_grid_thw"]
        if self._memory is not None:
            result = (result[0].half(), result[1])
            self._memory[key] = result
        return result


def _digest(*parts: bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.digest()


class ConversationEncoder:
    """Samples to conversations with a loss on what the assistant says, and nothing else."""

    def __init__(self, processor: Any, section: DataSection, seed: int):
        self.processor, self.section, self.seed = processor, section, seed
        self.tokenizer = processor.tokenizer
        self.pictures = Pictures(processor.image_processor, section.cache)
        self.turn_end = self._single("<|im_end|>")
        self.turn_start = self._single("<|im_start|>")
        self.assistant = self.tokenizer.encode("assistant\n", add_special_tokens=False)

    def __call__(self, sample: Sample, t: int) -> Example:
        random = np.random.default_rng([self.seed, t])
        asked = self._drawn_questions(sample, random)
        if asked is None:
            conversations: list[list[Message]] = [sample.messages]
        elif self.section.conversation == "chat":
            conversations = [question_turns(*asked)]
        else:
            return self.ask(sample, *asked)
        return self._encode(sample, conversations)

    def ask(self, sample: Sample, questions: Sequence[dict], images: Sequence[int]) -> Example:
        """Each question on its own about the same images, in one pass over them."""
        return self._encode(sample, [question_turns([question], images) for question in questions])

    def images_shown(self, sample: Sample, view: int | None) -> list[int]:
        """Images that a question about ``view`` is asked with."""
        return [int(view)] if self.section.views == "asked" and view is not None else list(range(len(sample.images)))

    def _encode(self, sample: Sample, conversations: Sequence[Sequence[Message]]) -> Example:
        shown = image_indices(conversations[0])
        pictures = [self.pictures.patches(sample.images[i]) for i in shown]
        rows = [self.token_ids(messages, [grid for _, grid in pictures]) for messages in conversations]
        ids, branches = share_prefix(rows, self.turn_start) if len(rows) > 1 else (rows[0], None)
        labels = [assistant_labels(row, self.turn_start, self.turn_end, self.assistant) for row in rows]
        if branches is not None:
            shared = int((branches == 0).sum())
            labels = [labels[0][:shared], *(label[shared:] for label in labels)]
        return Example(
            key=sample.key,
            input_ids=ids,
            labels=torch.cat(labels),
            branches=branches,
            pixel_values=torch.cat([p for p, _ in pictures]) if pictures else None,
            image_grid_thw=torch.cat([g for _, g in pictures]) if pictures else None,
        )

    def _drawn_questions(self, sample: Sample, random: np.random.Generator) -> tuple[list[dict], list[int]] | None:
        """Questions for this visit of the sample and the images they are shown with; None: its messages as stored."""
        questions = sample.extra.get("qa")
        if self.section.conversation == "stored" or not questions or random.random() < self.section.stored_share:
            return None
        shown = list(range(len(sample.images)))
        if self.section.views == "asked":
            view = questions[int(random.integers(len(questions)))].get("view")
            shown = shown if view is None else [int(view)]
            questions = [q for q in questions if q.get("view") == view]
        if self.section.open_share < 1:
            kept = [q for q in questions if q.get("kind") != "open" or random.random() < self.section.open_share]
            questions = kept or questions
        order = random.permutation(len(questions))[: self.section.questions]
        return [questions[i] for i in order], shown

    def token_ids(self, messages: Sequence[Message], grids: Sequence[torch.Tensor]) -> torch.Tensor:
        """Token ids (T,) of a conversation, each image's placeholder repeated to its number of tokens."""
        text = self.processor.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=False)
        ids = self.tokenizer.encode(text, add_special_tokens=False)
        image_id = self.processor.image_token_id
        if ids.count(image_id) != len(grids):
            raise TrainingError(
                f"the chat template shows {ids.count(image_id)} image tokens for {len(grids)} images: "
                "a text of the conversation holds the image token, or the template drops images"
            )
        counts = iter([self.processor.tokens_of_grid(*grid[0, 1:].tolist()) for grid in grids])
        return torch.tensor([i for token in ids for i in ([token] * next(counts) if token == image_id else [token])])

    def _single(self, token: str) -> int:
        ids = self.tokenizer.encode(token, add_special_tokens=False)
        if len(ids) != 1:
            raise TrainingError(
                f"the tokenizer splits {token}: training needs a ChatML template with single-token marks"
            )
        return ids[0]


class MaskEncoder:
    """Samples to images with dense truth: the bit mask of each, pooled to the patch grid.

    Args:
        image_processor: of the model.
        findings: names in the order of the mask's bits.
        merge_size: of the connector; grids are multiples of it.
    """

    def __init__(self, image_processor: Any, findings: Sequence[str], cached: bool):
        self.pictures = Pictures(image_processor, cached)
        self.findings = tuple(findings)
        self._truth: dict[tuple[bytes, int, int], torch.Tensor] = {}

    def __call__(self, sample: Sample, t: int) -> Example:
        pixels, grids, targets = [], [], []
        for i, data in sorted(sample.masks.items()):
            patches, grid = self.pictures.patches(sample.images[i])
            pixels.append(patches)
            grids.append(grid)
            targets.append(self._target(data, grid))
        if not pixels:
            raise TrainingError(
                f"sample {sample.key} has no truth mask: vision_warmup needs simulated data (`medvlm data simulate`)"
            )
        return Example(
            key=sample.key,
            pixel_values=torch.cat(pixels),
            image_grid_thw=torch.cat(grids),
            patch_targets=torch.cat(targets),
            image_targets=torch.stack([(target > 0).any(0).float() for target in targets]),
        )

    def _target(self, data: bytes, grid: torch.Tensor) -> torch.Tensor:
        height, width = grid[0, 1:].tolist()
        key = _digest(data), height, width
        if key not in self._truth:
            mask = np.asarray(Image.open(io.BytesIO(data))).astype(np.uint32)
            self._truth[key] = pool_mask(mask, height, width, len(self.findings))
        return self._truth[key]


def pool_mask(mask: np.ndarray, height: int, width: int, findings: int) -> torch.Tensor:
    """Bit mask (H, W) to the share of each patch that each finding covers, (height * width, F) row-major.

    The grid of the mask and of the patches need not divide: the mask is sampled at 4 x 4 points of each patch.
    """
    per = 4
    rows = ((np.arange(height * per) + 0.5) * mask.shape[0] / (height * per)).astype(int)
    columns = ((np.arange(width * per) + 0.5) * mask.shape[1] / (width * per)).astype(int)
    sampled = mask[np.ix_(rows, columns)].reshape(height, per, width, per)
    shares = [((sampled >> bit) & 1).mean(axis=(1, 3)) for bit in range(findings)]
    return torch.from_numpy(np.stack(shares, -1).reshape(height * width, findings)).float()


def question_turns(questions: Sequence[dict], images: Sequence[int]) -> list[Message]:
    """One conversation: the images and the first question, its answer, the next question, ..."""
    turns: list[Message] = []
    for n, question in enumerate(questions):
        parts: list[dict] = [{"type": "image", "image": i} for i in images] if n == 0 else []
        turns.append({"role": "user", "content": [*parts, {"type": "text", "text": question["question"]}]})
        turns.append({"role": "assistant", "content": [{"type": "text", "text": question["answer"]}]})
    return turns


def share_prefix(rows: Sequence[torch.Tensor], turn_start: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Several conversations that begin alike, as one sequence: (T,) ids and (T,) branches (0 = the shared beginning).

    The shared part ends before the last token that all have in common and never holds an answer.
    """
    shortest = min(len(row) for row in rows)
    same = torch.stack([row[:shortest] == rows[0][:shortest] for row in rows]).all(0)
    shared = shortest if bool(same.all()) else int((~same).float().argmax())
    second_turn = (rows[0] == turn_start).nonzero().flatten()[1:2]  # the first answer begins behind it
    shared = min([shared, shortest - 1, *second_turn.tolist()])
    parts = [rows[0][:shared], *(row[shared:] for row in rows)]
    branches = [torch.full((len(part),), i) for i, part in enumerate(parts)]
    return torch.cat(parts), torch.cat(branches)


def assistant_labels(ids: torch.Tensor, turn_start: int, turn_end: int, assistant: Sequence[int]) -> torch.Tensor:
    """Labels (T,): the ids after ``<|im_start|>assistant`` up to and with ``<|im_end|>``, IGNORE elsewhere."""
    labels = torch.full_like(ids, IGNORE)
    tokens, at = ids.tolist(), 0
    head = [turn_start, *assistant]
    while at < len(tokens):
        if tokens[at : at + len(head)] != head:
            at += 1
            continue
        first = at + len(head)
        end = tokens.index(turn_end, first) + 1 if turn_end in tokens[first:] else len(tokens)
        labels[first:end] = ids[first:end]
        at = end
    return labels


def with_images(messages: Sequence[Message], sample: Sample) -> list[Message]:
    """The conversation with pictures in place of indices, as the processor itself takes it."""
    return attach_images(messages, [image.decode().render() for image in sample.images])
