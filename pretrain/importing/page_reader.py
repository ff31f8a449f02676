"""Main text of one HTML page, PDF, Markdown or text file; runs inside the child of ``page_child``.

HTML goes through trafilatura, PDF through pypdf. Both are fed with files of strangers, and pypdf may loop on hostile
ones: nothing here is safe to run in the importing process itself.
"""

import html
import io
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pretrain.importing.article_text import shift_digits
from pretrain.importing.text_encoding import TextEncodingError, decode_text

MAX_PDF_PAGES = 3000
_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([A-Za-z0-9._-]{2,30})""", re.I)
_NO_PICTURE = re.compile(r"^(data:|https?:|//)", re.I)
_LEAST_CAPTION = 3  # words; "logo" and "image 3" are no captions
_LEAST_ON_PAGE = 20  # characters a page, in the mean; below it a PDF is a scan
_GLYPHS = re.compile(r"\(cid:\d+\)|/g\d+|[\ue000-\uf8ff]")
_MD_IMAGE = re.compile(r"!\[([^\]\n]{0,2000})\]\(\s*<?([^\s)>]{1,500})>?(?:\s+[\"'][^\"'\n]*[\"'])?\s*\)")
_MD_LINK = re.compile(r"\[([^\]\n]{1,500})\]\((?:[^\s()]|\([^\s()]*\)){0,500}\)")
_MD_FRONT = re.compile(r"\A---\n(?:[^\n]*\n){0,200}?---\n")
_COMMENT = re.compile(r"<!--.*?-->", re.S)


class UnreadableError(Exception):
    """Why a file gives no text, in the words that are counted."""


@dataclass
class Page:
    """What one file holds; JSON only, since it crosses a pipe."""

    paragraphs: list[str]
    title: str = ""
    licence: str = ""
    figures: list[tuple[str, str]] = field(default_factory=list)  # (address as the page writes it, caption)
    notes: dict[str, Any] = field(default_factory=dict)


def read_page(path: Path) -> dict[str, Any]:
    """The page as a dictionary, or ``{"unreadable": reason}``."""
    logging.disable(logging.CRITICAL)  # both libraries log every flaw of every file
    try:
        return asdict(_READERS[path.suffix.lower()](path.read_bytes()))
    except (UnreadableError, TextEncodingError) as error:
        return {"unreadable": str(error)}
    except MemoryError:
        return {"unreadable": "needs too much memory"}
    except RecursionError:
        return {"unreadable": "nested too deeply"}


def read_text(data: bytes) -> Page:
    """Plain text; paragraphs stand apart by empty lines."""
    decoded = decode_text(data)
    return Page(split_paragraphs(decoded.text), notes=_how(decoded.how))


def read_markdown(data: bytes) -> Page:
    """Markdown as it is written, without front matter, comments and link addresses; pictures become figures."""
    decoded = decode_text(data)
    text = _MD_FRONT.sub("", decoded.text.replace("\r\n", "\n"))
    text = _COMMENT.sub("", text)
    figures = [(m[2], m[1].strip()) for m in _MD_IMAGE.finditer(text)]
    text = _MD_LINK.sub(r"\1", _MD_IMAGE.sub("", text))
    return Page(split_paragraphs(text), figures=_told(figures), notes=_how(decoded.how))


def read_html(data: bytes) -> Page:
    """Main text of a page with its pictures and their captions (figcaption before alt)."""
    import lxml.etree as etree
    import trafilatura
    from lxml import html as lxml_html
    from trafilatura.settings import Document

    declared = _CHARSET.search(data[:4096])
    decoded = decode_text(data, declared[1].decode() if declared else None)
    text = re.sub(r"^\s*<\?xml[^>]*\?>", "", decoded.text)  # lxml refuses a str that declares an encoding
    if not text.strip():
        raise UnreadableError("no text")
    try:
        tree = lxml_html.document_fromstring(text, parser=lxml_html.HTMLParser(no_network=True, huge_tree=False))
    except (etree.ParserError, etree.XMLSyntaxError, ValueError) as error:
        raise UnreadableError("HTML is damaged") from error
    figures = list(_html_figures(tree))
    licence = next((str(a) for a in tree.xpath("//*[@rel='license']/@href")), "")
    title = " ".join("".join(tree.xpath("//title[1]//text()")).split())
    _shift_digits(tree)
    main = trafilatura.bare_extraction(tree, include_comments=False, deduplicate=False, with_metadata=False)
    found = list(_html_paragraphs(main.body)) if isinstance(main, Document) else []
    if not found and not figures:
        raise UnreadableError("no main text on the page")
    return Page(found, title, licence, figures, _how(decoded.how))


def _shift_digits(tree: Any) -> None:
    """Raised and lowered digits as characters, before trafilatura makes 109/L of 10<sup>9</sup>/L."""
    for element in tree.xpath("//sup|//sub"):
        shifted = shift_digits(element.text_content().strip(), element.tag == "sup")
        tail = element.tail
        element.clear()
        element.text, element.tail = shifted, tail


def _html_paragraphs(body: Any) -> Iterator[str]:
    """Blocks of trafilatura's body; headings in front of what follows, a line for each item and each row."""
    headings: list[str] = []
    for block in body:
        if block.tag == "head":
            headings.append(_flat(block))
            continue
        if block.tag == "list":
            items = [_flat(item) for item in block.iter("item")]
            text = "\n".join(f"- {item}" for item in items if item)
        elif block.tag == "table":
            rows = [" | ".join(_flat(cell) for cell in row.iter("cell")) for row in block.iter("row")]
            text = "\n".join(row for row in rows if row.strip(" |"))
        elif block.tag == "code":
            text = ""
        else:
            text = _flat(block)
        if text:
            yield "\n".join([*filter(None, headings), text])
            headings = []


def _flat(element: Any) -> str:
    """Text of an element without what its own list items hold, which follow it."""
    own = "".join(element.xpath(".//text()[count(ancestor::item) = $n]", n=_items_around(element)))
    return " ".join(own.split())


def _items_around(element: Any) -> int:
    return int(element.xpath("count(ancestor-or-self::item)"))


def _html_figures(tree: Any) -> Iterator[tuple[str, str]]:
    for image in tree.xpath("//img[@src]"):
        source = (image.get("src") or "").strip()
        boxes = image.xpath("ancestor::figure[1]")
        captions = boxes[0].xpath(".//figcaption") if boxes and len(boxes[0].xpath(".//img")) == 1 else []
        said = " ".join("".join(captions[0].itertext()).split()) if captions else ""
        said = said or " ".join((image.get("alt") or "").split())
        if source:
            yield from _told([(source, html.unescape(said))])


def _told(figures: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Figures that lie beside the page and of which something is said."""
    return [
        (source, caption)
        for source, caption in figures
        if not _NO_PICTURE.match(source) and len(caption.split()) + sum(c > "\u2e7f" for c in caption) >= _LEAST_CAPTION
    ]


def read_pdf(data: bytes) -> Page:
    """Text layer of a PDF, without lines that stand on most pages, in paragraphs again."""
    import pypdf
    from pypdf.errors import DependencyError, PyPdfError

    try:
        reader = pypdf.PdfReader(io.BytesIO(data), strict=False)
        if reader.is_encrypted and not reader.decrypt(""):
            raise UnreadableError("PDF is encrypted")
        count = len(reader.pages)
        if count > MAX_PDF_PAGES:
            raise UnreadableError(f"PDF of more than {MAX_PDF_PAGES} pages")
        pages = [page.extract_text() or "" for page in reader.pages]
        title = str((reader.metadata or {}).get("/Title") or "") if count else ""
    except DependencyError as error:
        raise UnreadableError("PDF is encrypted") from error
    except (PyPdfError, ValueError, KeyError, IndexError, TypeError, AttributeError, OSError, AssertionError) as error:
        raise UnreadableError("PDF is damaged") from error  # pypdf meets broken objects with any of these
    whole = "\n".join(pages)
    if not count:
        raise UnreadableError("PDF is damaged")
    if len("".join(whole.split())) < _LEAST_ON_PAGE * count:
        raise UnreadableError("PDF without a text layer (a scan?)")
    if len(_GLYPHS.findall(whole)) > 0.02 * len(whole):
        raise UnreadableError("PDF whose glyphs have no Unicode")
    surrogates = whole.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    notes = {"pdf_pages": count}
    return Page(pdf_paragraphs(without_running_lines(surrogates.split("\n"), pages)), _own_title(title), notes=notes)


def _own_title(title: str) -> str:
    """A title that a person wrote, not a word processor ("Microsoft Word - final2.doc")."""
    title = " ".join(title.split())
    return "" if re.search(r"\.(docx?|tex|dvi|indd|pdf|qxd)$|^untitled|microsoft word", title, re.I) else title


def without_running_lines(lines: list[str], pages: list[str]) -> list[str]:
    """Lines without heads and feet: what is first or last on half of the pages (four or more), digits aside; and what
    is second or last but one there word for word."""
    if len(pages) < 4:
        return lines
    edges: Counter[str] = Counter()
    for page in pages:
        filled = [line for line in page.split("\n") if line.strip()]
        edges.update(
            {*map(_shape, [*filled[:1], *filled[-1:]]), *(" ".join(f.split()) for f in filled[1:2] + filled[-2:-1])}
        )
    running = {shape for shape, n in edges.items() if n >= max(4, len(pages) / 2)}
    return [line for line in lines if not running & {_shape(line), " ".join(line.split())} or not line.strip()]


def _shape(line: str) -> str:
    return re.sub(r"\d+", "0", " ".join(line.split()))


def pdf_paragraphs(lines: list[str]) -> list[str]:
    """Lines joined to paragraphs: one ends at an empty line, or at a line shorter than most that ends a sentence."""
    full = sorted(len(line) for line in lines if line.strip())
    width = full[len(full) * 3 // 4] if full else 0
    found, held = [], []
    for line in [*lines, ""]:
        line = line.strip()
        if line:
            held.append(line)
        if held and (not line or (len(line) < 0.8 * width and line[-1] in ".!?:。！？：")):
            found.append(_joined(held))
            held = []
    return found


def _joined(lines: list[str]) -> str:
    """Lines with blanks between; a word cut at a line end stays cut, for ``normalise`` to judge."""
    text = lines[0]
    for line in lines[1:]:
        if text.endswith(("-", "\xad")):
            text += "\n" + line
        elif text[-1] > "\u2e7f" and line[0] > "\u2e7f":
            text += line
        else:
            text += " " + line
    return text


def split_paragraphs(text: str) -> list[str]:
    """Parts between empty lines."""
    return [part.strip() for part in re.split(r"\n[ \t]*\n+", text.replace("\r\n", "\n")) if part.strip()]


def _how(how: str) -> dict[str, str]:
    return {} if how in ("utf-8", "ascii") else {"encoding": how}


_READERS: dict[str, Callable[[bytes], Page]] = {
    ".html": read_html,
    ".htm": read_html,
    ".xhtml": read_html,
    ".pdf": read_pdf,
    ".md": read_markdown,
    ".markdown": read_markdown,
    ".txt": read_text,
}
