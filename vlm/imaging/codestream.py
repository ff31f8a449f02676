"""What a JPEG, JPEG-LS or JPEG 2000 codestream says of itself, read before any decoder allocates for it."""

import struct
from dataclasses import dataclass

from vlm.imaging.errors import DamagedError

_SOF = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length


@dataclass(frozen=True)
class Codestream:
    """Size and number format of a codestream.

    Attributes:
        rows, columns, samples: of the coded image.
        precision: bits of a sample.
        signed: JPEG 2000 only.
        process: the SOF marker of a JPEG (0xC0 baseline, 0xC3 lossless, ...), 0 for JPEG 2000.
        component_ids: JPEG only.
        jfif: a JFIF marker is present: colour was transformed to YCbCr.
        adobe_transform: of an Adobe marker, None without one.
        start: offset of the codestream in the bytes (a JP2 box structure may come before it).
    """

    rows: int
    columns: int
    samples: int
    precision: int
    signed: bool = False
    process: int = 0
    component_ids: tuple[int, ...] = ()
    jfif: bool = False
    adobe_transform: int | None = None
    start: int = 0


def read_jpeg(data: bytes) -> Codestream:
    """Header of a JPEG or JPEG-LS codestream.

    Raises:
        DamagedError: there is no frame header.
    """
    if data[:2] != b"\xff\xd8":
        raise DamagedError("codestream", "the compressed frame is not a JPEG codestream")
    at, jfif, adobe = 2, False, None
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            break
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker in _ALONE:
            at += 2
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        body = data[at + 4 : at + 2 + length]
        if marker == 0xE0 and body[:4] == b"JFIF":
            jfif = True
        elif marker == 0xEE and body[:5] == b"Adobe" and len(body) >= 12:
            adobe = body[11]
        elif marker in _SOF and len(body) >= 6:
            precision, rows, columns, samples = struct.unpack_from(">BHHB", body)
            ids = tuple(body[6 + 3 * i] for i in range(samples) if 6 + 3 * i < len(body))
            return Codestream(rows, columns, samples, precision, False, marker, ids, jfif, adobe)
        elif marker in (0xD9, 0xDA):
            break
        at += 2 + max(length, 2)
    raise DamagedError("codestream", "the JPEG codestream has no frame header")


def read_j2k(data: bytes) -> Codestream:
    """Header of a JPEG 2000 or HTJ2K codestream, bare or in JP2 boxes.

    Raises:
        DamagedError: there is no SIZ marker, or components differ in size or format.
    """
    at = 0 if data[:4] == b"\xff\x4f\xff\x51" else data.find(b"\xff\x4f\xff\x51", 0, 1 << 16)
    if at < 0 or len(data) < at + 45:
        raise DamagedError("codestream", "the compressed frame is not a JPEG 2000 codestream")
    x1, y1, x0, y0, tile_x, tile_y, _, _, samples = struct.unpack_from(">8IH", data, at + 8)
    parts = [data[at + 42 + 3 * i : at + 45 + 3 * i] for i in range(min(samples, 4))]
    if not 1 <= samples <= 4 or len(set(parts)) != 1 or len(parts[0]) != 3:
        raise DamagedError("codestream", "the JPEG 2000 components differ in size or precision")
    size, dx, dy = parts[0]
    if dx != 1 or dy != 1 or x1 <= x0 or y1 <= y0 or tile_x == 0 or tile_y == 0:
        raise DamagedError("codestream", "the JPEG 2000 image or tile size is impossible")
    return Codestream(y1 - y0, x1 - x0, samples, (size & 0x7F) + 1, bool(size & 0x80), start=at)
