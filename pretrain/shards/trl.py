"""A plan as a ``datasets.Dataset``, the only map-style kind that TRL's trainers take."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from PIL import Image

from pretrain.shards.plan import Plan
from pretrain.shards.reader import PlanReader
from vlm.imaging import MedicalImage
from vlm.messages import image_indices
from vlm.sample import Sample

if TYPE_CHECKING:
    from datasets import Dataset

Row = dict[str, Any]


def render_grey(image: MedicalImage) -> Image.Image:
    """The picture in the file's first window, as training renders it."""
    return Image.fromarray(image.render())


def plan_as_datasets(
    plan: Plan,
    *,
    start: int = 0,
    length: int | None = None,
    render: Callable[[MedicalImage], Image.Image] = render_grey,
    to_row: Callable[[Sample], Row] | None = None,
) -> "Dataset":
    """Rows in plan order, decoded when they are asked for.

    Set ``train_sampling_strategy="sequential"`` and ``remove_unused_columns=False`` in the trainer's arguments: the
    plan has shuffled already, and a resumed trainer skips by counting batches, which is exact here.

    Args:
        plan: the order.
        start, length: positions; default one epoch from 0.
        render: from MedicalImage to what the processor takes.
        to_row: from Sample to the trainer's row; default ``messages`` and ``images`` as SFTTrainer reads them.
    """
    from datasets import Dataset

    stop = start + (plan.epoch_length() if length is None else length)
    rows = Dataset.from_dict({"t": list(range(start, stop))})
    return rows.with_transform(_Decode(plan, to_row or _ConversationRow(render)))


class _ConversationRow:
    """Messages with bare image parts, and the images in the order in which the conversation shows them."""

    def __init__(self, render: Callable[[MedicalImage], Image.Image]):
        self.render = render

    def __call__(self, sample: Sample) -> Row:
        pictures = [self.render(image.decode()) for image in sample.images]
        messages = [{**m, "content": _bare_parts(m.get("content"))} for m in sample.messages]
        return {"messages": messages, "images": [pictures[i] for i in image_indices(sample.messages)]}


class _Decode:
    """Transform of a batch of positions; a class, since data loader workers have to copy it."""

    def __init__(self, plan: Plan, to_row: Callable[[Sample], Row]):
        self.reader, self.to_row = PlanReader(plan), to_row

    def __call__(self, batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        rows = [self.to_row(self.reader.sample(t)) for t in batch["t"]]
        return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}


def _bare_parts(content: Any) -> Any:
    if not isinstance(content, list):
        return content
    return [{"type": "image"} if part["type"] == "image" else part for part in content]
