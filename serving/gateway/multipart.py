"""One file out of a multipart/form-data body, kept in memory: Starlette's own parser would spool it to disk."""

from __future__ import annotations

import re

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from serving.gateway.errors import GatewayError, bad_request


class OneFile:
    """Feed it pieces of the body; `take` gives the bytes of the part named `file`.

    Raises (from `feed` and `take`):
        GatewayError: 400 for a broken body, a second file, another field, or no file.
    """

    HEADER_BYTES = 8192

    def __init__(self, content_type: str) -> None:
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if not 0 < len(boundary) <= 70:
            raise bad_request("bad_multipart", "The multipart body has no usable boundary in its Content-Type.")
        self._data: list[bytes] = []
        self._parts = 0
        self._name = b""
        self._value = b""
        self._header_bytes = 0
        self._disposition = b""
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._part_data,
                "on_end": self._end,
            },
        )
        self._ended = False

    def feed(self, piece: bytes) -> None:
        try:
            self._parser.write(piece)
        except MultipartParseError:
            raise bad_request("bad_multipart", "The multipart body is broken: send it again.") from None

    def take(self) -> bytes:
        if not self._ended:
            raise bad_request("bad_multipart", "The multipart body ends in the middle: send it again.")
        return b"".join(self._data)

    def _part_begin(self) -> None:
        self._parts += 1
        self._header_bytes = 0
        if self._parts > 1:
            raise bad_request("bad_multipart", "One file in one request: send the form field `file` and nothing else.")

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]
        self._count(end - start)

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._count(end - start)

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > self.HEADER_BYTES:
            raise GatewayError(400, "bad_multipart", "The headers of the multipart body are too long.")

    def _header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name = self._value = b""

    def _headers_finished(self) -> None:
        # The file's name is not read: it may name a patient, and nothing here needs it.
        if not re.search(rb';\s*name="?file"?\s*(;|$)', self._disposition):
            raise bad_request("bad_multipart", "The form field that holds the image is called `file`.")

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self._data.append(bytes(data[start:end]))

    def _end(self) -> None:
        self._ended = True
