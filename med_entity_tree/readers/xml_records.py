"""Large XML files, one record at a time, with nothing in them that can hurt.

Python's own expat is used directly, because ``ElementTree`` offers no handler for entities and ``lxml`` is not among
the packages here. Nothing outside the file is ever opened; an entity that is declared is refused (or, for OWL, kept
when it is a plain namespace address), and so are deep nesting, giant records and markup that does not end.
"""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from med_entity_tree.errors import OntologyError
from med_entity_tree.readers.lines import DAMAGED, damaged, open_bytes

_CHUNK = 1 << 16
_MAX_DEPTH = 100
_MAX_RECORD = 64 << 20  # characters of one record, a tag counted as 100
_MAX_PENDING = 4 << 20  # bytes of one tag or comment; expat 2.5 reads such a one again with every chunk
_MAX_ENTITY = 200  # characters of an address that is kept as an entity, and the number of them
_HOSTILE = "A file of the publisher holds nothing of the kind: get it from there"


def xml_records(path: Path, wanted: Collection[str], namespaces: bool = False) -> Iterator[Element]:
    """The root element without its children, then each child of it whose tag is wanted, whole.

    Tags and attributes are in Clark's notation (``{namespace}name``). With ``namespaces``, entities that stand for an
    address (``<!ENTITY owl "http://...">``, as Protégé writes them) are expanded; all others are refused.

    Raises:
        OntologyError: not well formed, cut, or hostile; it names the line.
    """
    reader = _Reader(path, wanted, namespaces)
    with open_bytes(path) as stream:
        try:
            while chunk := stream.read(_CHUNK):
                yield from reader.feed(chunk)
            yield from reader.feed(b"", last=True)
        except DAMAGED as error:
            raise damaged(path, error, reader.line) from error


class _Reader:
    def __init__(self, path: Path, wanted: Collection[str], namespaces: bool):
        self._path, self._wanted, self._namespaces = path, wanted, namespaces
        self._clark: dict[str, str] = {}
        self._ready: list[Element] = []
        self._builder: TreeBuilder | None = None
        self._depth = self._weight = self._fed = self._entities = 0
        parser = expat.ParserCreate(namespace_separator="}")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.EntityDeclHandler = self._entity
        parser.ExternalEntityRefHandler = self._outside
        parser.SkippedEntityHandler = self._undeclared
        self._parser = parser

    @property
    def line(self) -> int:
        return self._parser.CurrentLineNumber

    def feed(self, chunk: bytes, last: bool = False) -> list[Element]:
        """The records that this chunk completes."""
        self._ready = []
        try:
            self._parser.Parse(chunk, last)
        except expat.ExpatError as error:
            what = f"not well-formed XML ({expat.ErrorString(error.code)})"
            raise OntologyError(what, "Get the file again, it may be cut", self._path, error.lineno) from error
        self._fed += len(chunk)
        if self._fed - self._parser.CurrentByteIndex > _MAX_PENDING:
            raise self._refusal(f"a tag or comment of more than {_MAX_PENDING} bytes")
        return self._ready

    def _refusal(self, what: str) -> OntologyError:
        return OntologyError(what, _HOSTILE, self._path, self.line)

    def _name(self, raw: str) -> str:
        if (name := self._clark.get(raw)) is None:
            name = self._clark[raw] = "{" + raw if "}" in raw else raw
        return name

    def _start(self, raw: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._refusal(f"elements nested more than {_MAX_DEPTH} deep")
        name = self._name(raw)
        if self._depth == 1:
            self._ready.append(Element(name, {self._name(key): value for key, value in attributes.items()}))
        elif self._depth == 2 and name in self._wanted:
            self._builder, self._weight = TreeBuilder(), 0
        if self._builder:
            self._weigh(100 + sum(map(len, attributes.values())))
            self._builder.start(name, {self._name(key): value for key, value in attributes.items()})

    def _end(self, raw: str) -> None:
        self._depth -= 1
        if self._builder:
            element = self._builder.end(self._name(raw))
            if self._depth == 1:
                self._ready.append(element)
                self._builder = None

    def _text(self, text: str) -> None:
        if self._builder:
            self._weigh(len(text))
            self._builder.data(text)

    def _weigh(self, size: int) -> None:
        self._weight += size
        if self._weight > _MAX_RECORD:
            raise self._refusal(f"one record of more than {_MAX_RECORD} characters")

    def _entity(self, name: str, is_parameter: bool, value: str | None, *_: Any) -> None:
        self._entities += 1
        plain = value is not None and not is_parameter and not set(value) & set("&%<")
        if not (self._namespaces and plain and len(value or "") <= _MAX_ENTITY and self._entities <= _MAX_ENTITY):
            raise self._refusal(f"the document type declares the entity {name[:50]!r}, which is not safe to expand")

    def _outside(self, *_: Any) -> int:
        raise self._refusal("text that refers to something outside the file")

    def _undeclared(self, name: str, is_parameter: bool) -> None:
        raise self._refusal(f"the entity {name[:50]!r} is used and not declared in the file")
