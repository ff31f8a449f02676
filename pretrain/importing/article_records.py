"""Articles of large XML files one at a time: PubMed sets, PMC articles and article sets, plain or gzipped.

The stream is cut at the start tags of records before any parser sees it. So memory is that of one record, a damaged
record costs itself and not the file, and nothing in front of a record (a document type with entities that grow, or that
name files) is ever parsed: inside a record XML allows no declarations. Named entities of the publishers' document
types ("&alpha;") are those of HTML; any other is an error of its record. Nothing outside the file is opened.
"""

import codecs
import gzip
import html.entities
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError, XMLParser

from pretrain.importing.errors import ImportSourceError

RECORD_TAGS = ("PubmedArticle", "article", "eCitation")
_START = re.compile(rb"<(?:%s)(?=[\s>/])" % "|".join(RECORD_TAGS).encode())
_CHUNK = 1 << 18
MAX_RECORD = 32 << 20  # bytes; the longest articles of PMC, with tables, have a few MB
_LONGEST_TAG = max(map(len, RECORD_TAGS)) + 2
_DECLARED = re.compile(rb"""^\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")
_NAMED = {name.rstrip(";"): text for name, text in html.entities.html5.items() if name.endswith(";")}
# Names a document type that nobody reads: without one, expat knows no entities and asks nobody about them.
_DOCTYPE = b'<!DOCTYPE record SYSTEM "none">'
_ENDS = {tag: f"</{tag}".encode() for tag in RECORD_TAGS}


@dataclass(frozen=True)
class Damaged:
    """A record, or the rest of a file, that cannot be read: why, and at which byte of the unpacked file it begins."""

    offset: int
    reason: str


def article_records(path: Path) -> Iterator[tuple[int, Element] | Damaged]:
    """Records of a file with the byte where each begins; what is damaged is told and skipped.

    Raises:
        ImportSourceError: there is no such file, or it cannot be opened.
    """
    for offset, data in _cut(path):
        if isinstance(data, str):
            yield Damaged(offset, data)
            continue
        parser = XMLParser(encoding="utf-8")
        parser.entity.update(_NAMED)
        try:
            parser.feed(_DOCTYPE)
            parser.feed(data)
            yield offset, parser.close()
        except ParseError as error:
            yield Damaged(offset, _why(error, data))
        except ValueError:  # a NUL or another byte that no XML holds
            yield Damaged(offset, "record is not well-formed XML")


def _why(error: ParseError, data: bytes) -> str:
    if "undefined entity" in str(error):
        return "record uses an entity that is not of HTML"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return "record is not in the encoding of its file"
    return "record is not well-formed XML"


def _cut(path: Path) -> Iterator[tuple[int, bytes | str]]:
    """Byte spans from the start tag of a record to its end tag, or reasons why a span cannot be had.

    A record that ends in a new start tag is damaged; it is given as it is and the parser says so.
    """
    held, base = b"", 0  # base: offset of held[0]
    stream = _utf8_chunks(path)
    ended = False
    while not ended:
        chunk = next(stream, None)
        if isinstance(chunk, str):
            yield base, chunk
        ended = not isinstance(chunk, bytes)
        held += chunk if isinstance(chunk, bytes) else b""
        at = 0
        while (start := _START.search(held, at)) is not None:
            stop = _end_of(held, start, ended)
            if stop is None and len(held) - start.start() <= MAX_RECORD:
                at = start.start()
                break
            if stop is None:
                yield base + start.start(), f"record of more than {MAX_RECORD >> 20} MB"
                at = start.start() + _LONGEST_TAG
                continue
            if stop - start.start() > MAX_RECORD:
                yield base + start.start(), f"record of more than {MAX_RECORD >> 20} MB"
            else:
                yield base + start.start(), held[start.start() : stop]
            at = stop
        else:
            at = max(at, len(held) - _LONGEST_TAG)
        held, base = held[at:], base + at


def _end_of(held: bytes, start: re.Match[bytes], ended: bool) -> int | None:
    """Where the record that begins at ``start`` stops: behind its end tag, or where another record begins."""
    tag = start.group()[1:].decode()
    end = held.find(_ENDS[tag], start.end())
    while end >= 0 and (close := held.find(b">", end)) >= 0 and held[end + len(_ENDS[tag]) : close].strip():
        end = held.find(_ENDS[tag], close)  # </article-title> and the like
    other = _START.search(held, start.end(), end if end >= 0 else len(held))
    if other is not None:
        return other.start()
    if end >= 0 and (close := held.find(b">", end)) >= 0:
        return close + 1
    return len(held) if ended else None


def _utf8_chunks(path: Path) -> Iterator[bytes | str]:
    """Bytes of the file in UTF-8; a last item that is a str says why the rest cannot be read."""
    try:
        raw = path.open("rb")
    except OSError as error:
        raise ImportSourceError(f"{path} cannot be opened: {error.strerror}") from error
    with raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        stream = gzip.GzipFile(fileobj=raw) if packed else raw
        decoder = None
        first = True
        while True:
            try:
                chunk = stream.read(_CHUNK)
                if first:
                    decoder, first = _decoder(chunk), False
                out = chunk if decoder is None else decoder.decode(chunk, final=not chunk).encode()
            except (EOFError, zlib.error, gzip.BadGzipFile):
                yield "the gzip stream is cut or damaged from here on"
                return
            except (UnicodeDecodeError, LookupError):
                yield "the file is not in the encoding that it declares, from here on"
                return
            if not chunk:
                return
            yield out


def _decoder(first: bytes) -> codecs.IncrementalDecoder | None:
    """What turns the file into text; None for UTF-8, which the parser checks record by record."""
    if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return codecs.getincrementaldecoder("utf-16")()
    declared = _DECLARED.match(first.removeprefix(codecs.BOM_UTF8))
    name = codecs.lookup(declared[1].decode()).name if declared else "utf-8"
    return None if name in ("utf-8", "ascii") else codecs.getincrementaldecoder(name)()
