"""What a scan leaves behind: all matches as a table, a summary, and a page that shows what was matched.

Texts and pictures on the page are those of the training side; of the benchmark there are only names and item ids.
"""

import base64
import io
import json
import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from pretrain.decontamination.content import Content, of_sample
from pretrain.decontamination.judge import Match, Verdict
from pretrain.decontamination.match import Matcher, passages
from pretrain.decontamination.scan import Source, source_name
from pretrain.decontamination.text import word_places
from pretrain.shards.index import ShardSet
from pretrain.shards.reader import ShardReader
from pretrain.shards.tar import write_atomically

log = logging.getLogger(__name__)

MATCHES, SUMMARY, PAGE = "matches.parquet", "summary.json", "index.html"
_SHOWN = 8  # samples of each benchmark and kind of evidence
_SIDE = 224
_CONTEXT = 12  # words shown around a shared run


def write_report(out: Path, verdict: Verdict, matcher: Matcher, sources: Sequence[Source]) -> dict[str, Any]:
    """Write ``matches.parquet``, ``summary.json`` and ``index.html``; returns the summary."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    out.mkdir(parents=True, exist_ok=True)
    columns = dict(zip(Match._fields, zip(*verdict.matches))) if verdict.matches else dict.fromkeys(Match._fields, ())
    kinds = {"value": pa.float64(), "contamination": pa.bool_()}
    table = pa.table({name: pa.array(values, kinds.get(name, pa.string())) for name, values in columns.items()})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    write_atomically(out / MATCHES, buffer.getvalue())
    summary = summarise(verdict, matcher, sources)
    write_atomically(out / SUMMARY, (json.dumps(summary, indent=1, ensure_ascii=False) + "\n").encode())
    write_atomically(out / PAGE, _page(verdict, summary, sources).encode())
    return summary


def summarise(verdict: Verdict, matcher: Matcher, sources: Sequence[Source]) -> dict[str, Any]:
    """Counts by benchmark and evidence, what was compared, and how many samples and items are affected."""
    rows = [
        {"benchmark": benchmark, "evidence": evidence, "contamination": counted, "samples": samples, "items": items}
        for (benchmark, evidence, counted), (samples, items) in verdict.summary().items()
    ]
    dirty: dict[str, set[str]] = defaultdict(set)
    for match in verdict.matches:
        if match.contamination:
            dirty[match.benchmark].add(match.item)
    return {
        "rules": matcher.digest,
        "training": [
            {"name": source_name(s), "digest": s.digest if isinstance(s, ShardSet) else None} for s in sources
        ],
        "counts": dict(sorted(verdict.counts.items())),
        "contaminated_samples": {name: len(keys) for name, keys in verdict.contaminated().items()},
        "benchmarks": [
            {
                "name": m.name,
                "digest": m.digest,
                "items": len(m),
                "contaminated_items": len(dirty[m.name]),
                "counts": m.head["counts"],
            }
            for m in matcher.manifests
        ],
        "evidence": rows,
    }


def _page(verdict: Verdict, summary: dict[str, Any], sources: Sequence[Source]) -> str:
    import jinja2

    text = files("pretrain.decontamination").joinpath("report.html.jinja").read_text(encoding="utf-8")
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(text)
    return template.render(summary=summary, cards=_cards(verdict, sources), shown=_SHOWN)


def _cards(verdict: Verdict, sources: Sequence[Source]) -> list[dict[str, Any]]:
    """Examples: the first samples of each benchmark and kind of evidence, contamination before templates."""
    chosen: dict[tuple[str, str], list[Match]] = {}
    taken: dict[tuple[str, str, bool], int] = defaultdict(int)
    for match in sorted(verdict.matches, key=lambda m: not m.contamination):
        sample, kind = (match.source, match.key), (match.benchmark, match.evidence, match.contamination)
        if sample in chosen:
            chosen[sample].append(match)
        elif taken[kind] < _SHOWN:
            taken[kind] += 1
            chosen[sample] = [match]
    cards = []
    for source in sources:
        name = source_name(source)
        wanted = {key for owner, key in chosen if owner == name}
        for content in _contents(source, wanted):
            sample = (name, content.key)
            matches = chosen[sample]
            by_image = any(m.evidence.startswith("image") for m in matches)
            cards.append(
                {
                    "source": name,
                    "key": content.key,
                    "counted": any(m.contamination for m in matches),
                    "matches": matches[:_SHOWN],
                    "more": max(0, len(matches) - _SHOWN),
                    "texts": list(_shared(content, verdict.spans.get(sample, []))),
                    "pictures": [_thumbnail(picture) for picture in content.images] if by_image else [],
                }
            )
    return sorted(cards, key=lambda card: (not card["counted"], card["source"], card["key"]))


def _contents(source: Source, wanted: set[str]) -> Iterator[Content]:
    if not wanted:
        return
    if not isinstance(source, ShardSet):
        yield from (content for content in source if content.key in wanted)
        return
    reader = ShardReader(source)
    for shard, index in enumerate(source.indexes):
        for row, key in enumerate(index.keys()):
            if key in wanted:
                yield of_sample(reader.sample(source.starts[shard] + row))
    reader.close()


def _shared(content: Content, spans: list[tuple[int, int, int]]) -> Iterator[list[tuple[str, bool]]]:
    """Pieces of each text around what is shared: (text, is it shared)."""
    texts = passages(content)
    by_text: dict[int, set[int]] = defaultdict(set)
    for passage, at, words in spans:
        by_text[passage].update(range(at, at + words))
    for passage, marked in sorted(by_text.items()):
        text, places = word_places(texts[passage])
        first, last = max(0, min(marked) - _CONTEXT), min(len(places), max(marked) + 1 + _CONTEXT)
        pieces: list[tuple[str, bool]] = [("... ", False)] if first else []
        for n in range(first, last):
            end = places[n + 1][0] if n + 1 < len(places) else len(text)
            pieces.append((text[places[n][0] : end], n in marked))
        yield [*pieces, (" ...", False)] if last < len(places) else pieces


def _thumbnail(picture: Any) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture.load().render(size=_SIDE)).save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
