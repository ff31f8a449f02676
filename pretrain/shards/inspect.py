"""Looking at a data set: what is in it, in figures and in pictures."""

import base64
import html
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from pretrain.shards.errors import DataError
from pretrain.shards.index import ShardSet
from pretrain.shards.ordering import derive, permutation
from pretrain.shards.reader import ShardReader
from vlm.messages import Message

_SIDE = 256


@dataclass(frozen=True)
class Summary:
    """Figures of a data set.

    Attributes:
        token_edges, token_counts: histogram of estimated tokens (powers of two).
        image_sizes: how often each "H x W" comes, most frequent first.
        images_per_sample: how many samples have how many images.
    """

    shards: ShardSet
    token_edges: list[int]
    token_counts: list[int]
    image_sizes: list[tuple[str, int]]
    images_per_sample: dict[int, int]


def summarize(folder: str | Path) -> Summary:
    """Read the indexes of a data set and count."""
    shards = ShardSet.open(folder)
    tokens = shards.column("tokens")
    least, most = (int(tokens.min()), int(tokens.max())) if len(tokens) else (1, 1)
    edges = [2**i for i in range(max(least, 1).bit_length() - 1, max(most, 1).bit_length() + 1)]
    counts, _ = np.histogram(tokens, edges)
    sizes, images = Counter(), Counter()
    for row in shards.rows():
        sizes.update(f"{h} x {w}" for h, w in zip(row.heights, row.widths))
        images[row.images] += 1
    return Summary(shards, edges, counts.tolist(), sizes.most_common(), dict(sorted(images.items())))


def contact_sheet(folder: str | Path, out: str | Path, *, samples: int = 24, seed: int = 0) -> Path:
    """Write a page of samples drawn at random: .html with pictures and conversations, or .png with pictures alone.

    Raises:
        DataError: ``out`` ends otherwise.
    """
    out = Path(out)
    if out.suffix not in (".html", ".png"):
        raise DataError(f"a contact sheet is .html or .png, not {out.name!r}")
    shards = ShardSet.open(folder)
    reader = ShardReader(shards)
    chosen = sorted(permutation(derive(seed, "contact sheet"), len(shards))[:samples].tolist())
    drawn = []
    for n in chosen:
        sample = reader.sample(n)
        drawn.append((sample, [image.decode().render(size=_SIDE) for image in sample.images]))
    reader.close()
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".png":
        _grid([(sample.key, picture) for sample, pictures in drawn for picture in pictures]).save(out)
    else:
        out.write_text(_page(shards, drawn), encoding="utf-8")
    return out


def _grid(pictures: list[tuple[str, np.ndarray]]) -> Image.Image:
    columns = min(6, max(1, len(pictures)))
    rows = max(1, -(-len(pictures) // columns))
    sheet = Image.new("RGB", (columns * (_SIDE + 8), rows * (_SIDE + 24)), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (key, picture) in enumerate(pictures):
        x, y = i % columns * (_SIDE + 8), i // columns * (_SIDE + 24)
        sheet.paste(Image.fromarray(picture), (x + 4, y + 4))
        draw.text((x + 4, y + _SIDE + 7), key[-40:], fill="black")
    return sheet


def _page(shards: ShardSet, drawn: list) -> str:
    info = shards.manifest
    warning = "<p><strong>Simulated images and texts.</strong></p>" if info["simulated"] else ""
    cards = []
    for sample, pictures in drawn:
        images = "".join(f'<img alt="" src="data:image/png;base64,{_png(picture)}">' for picture in pictures)
        turns = "".join(f"<p><b>{html.escape(m['role'])}</b> {html.escape(_text(m))}</p>" for m in sample.messages)
        entities = html.escape(", ".join(sample.entities))
        cards.append(f"<section>{images}<h2>{html.escape(sample.key)}</h2>{turns}<small>{entities}</small></section>")
    style = (
        "body{font:14px system-ui;margin:24px;background:#f4f4f2;color:#222}main{display:grid;gap:16px;"
        "grid-template-columns:repeat(auto-fill,minmax(300px,1fr))}section{background:#fff;padding:12px;border-radius:6px}"
        "img{max-width:100%}h2{font-size:13px;color:#555}small{color:#777}p{white-space:pre-wrap}"
    )
    title = html.escape(info["name"])
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{style}</style><h1>{title}</h1>"
        f"{warning}<p>{len(shards)} samples, licence {html.escape(info['licence'])}; {len(drawn)} drawn at random.</p>"
        f"<main>{''.join(cards)}</main></html>\n"
    )


def _png(picture: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def _text(message: Message) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return " ".join(part["text"] if part["type"] == "text" else f"[image {part['image']}]" for part in content)
