"""A page that shows pairs of pictures side by side, so that people can judge what was merged and what was not."""

import base64
import html
import io
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from pretrain.dedup import align
from pretrain.dedup.store import parts_of

_TITLES = {
    "same exposure": "Merged as the same exposure, least certain first",
    "negative": "Merged as a negative of the same exposure",
    "mirrored": "Mirror images: kept, never parted by a split",
    "other": "Not merged, most alike first",
}
_STYLE = (
    "body{font:15px system-ui,sans-serif;margin:2em;max-width:70em}figure{display:inline-block;margin:0 1.5em 1.5em 0}"
    "img{width:256px;height:256px;margin-right:4px;background:#000}figcaption{font-size:13px;overflow-wrap:anywhere;"
    "max-width:520px}"
)


def write_sheet(pairs: Path, signatures: Path, out: Path, limit: int = 24, name: Callable[[str], str] = str) -> int:
    """Write one HTML file with the pictures inside.

    Args:
        pairs: ``image_pairs.parquet``; signatures: the parts it was made from.
        limit: pairs a section.
        name: what a picture's key is called on the page.

    Returns:
        number of pairs shown.
    """
    rows = pq.read_table(pairs).to_pylist()
    sections = {}
    for relation in _TITLES:
        sign = -1 if relation == "other" else 1
        found = sorted(
            (r for r in rows if r["relation"] == relation), key=lambda r: (sign * r["agreement"], r["a"], r["b"])
        )
        sections[relation] = (len(found), found[:limit])
    wanted = {row[side] for _, found in sections.values() for row in found for side in "ab"}
    pictures = _pictures(signatures, wanted)
    body = []
    for relation, (count, found) in sections.items():
        if found:
            body.append(f"<h2>{_TITLES[relation]}</h2><p>{len(found)} of {count} pairs</p>")
            body += [_figure(row, pictures, name) for row in found]
    text = (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Pairs of images</title>"
        f"<style>{_STYLE}</style><h1>Pairs of images</h1><p>Pictures are shown without their frames, as squares of "
        f"{align.SIDE} pixels, as they were compared. The number is the correlation of fine detail that nine tenths of "
        "the regions reach.</p>" + "\n".join(body or ["<p>No pair was close enough to be compared.</p>"]) + "</html>\n"
    )  # fmt: skip
    part = out.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(out)
    return sum(len(found) for _, found in sections.values())


def _figure(row: Mapping, pictures: Mapping[str, str], name: Callable[[str], str]) -> str:
    images = "".join(f'<img alt="" src="data:image/png;base64,{pictures[row[side]]}">' for side in "ab")
    names = " | ".join(html.escape(name(row[side])) for side in "ab")
    return f"<figure>{images}<figcaption>{row['agreement']:.2f} &nbsp; {names}</figcaption></figure>"


def _pictures(signatures: Path, wanted: set[str]) -> dict[str, str]:
    found = {}
    for part in parts_of(signatures):
        table = pq.read_table(part, columns=["key", "square"])
        for at, key in enumerate(table["key"].to_pylist()):
            if key in wanted:
                pixels = np.frombuffer(table["square"][at].as_py(), np.uint8).reshape(align.SIDE, align.SIDE)
                file = io.BytesIO()
                Image.fromarray(pixels).save(file, "PNG")
                found[key] = base64.b64encode(file.getvalue()).decode()
    return found
