"""The bytes of one frame: slices of uncompressed pixel data, fragments of encapsulated (PS3.5 A.4)."""

import struct

from vlm.imaging.dicom_gate import Shape
from vlm.imaging.dicom_read import Parsed
from vlm.imaging.errors import DamagedError

_ITEM = b"\xfe\xff\x00\xe0"
_END = b"\xfe\xff\xdd\xe0"
_CODESTREAM_ENDS = (b"\xff\xd9", b"\xff\xd9\x00")
_FRAGMENTS_CARRY_MARKERS = "1.2.840.10008.1.2.4."


def native_frame(parsed: Parsed, shape: Shape, index: int) -> memoryview:
    """Bytes of an uncompressed frame.

    For one-bit data the view begins at the byte that holds the frame's first bit.

    Raises:
        DamagedError: the element is shorter than the frames it declares.
    """
    if parsed.length is None:
        raise DamagedError("undefined_length", "uncompressed pixel data of undefined length")
    start_bit = shape.frame_bits * index
    start, stop = start_bit // 8, (start_bit + shape.frame_bits + 7) // 8
    have = min(parsed.length, len(parsed.data) - parsed.offset)
    if stop > have:
        raise DamagedError("truncated", "the pixel data are shorter than rows, columns and frames say")
    return memoryview(parsed.data)[parsed.offset + start : parsed.offset + stop]


def encapsulated_frame(parsed: Parsed, shape: Shape, index: int) -> bytes:
    """The compressed bytes of one frame.

    Fragments belong to frames by count, by the extended or basic offset table, or, for JPEG families without one, by
    the end-of-image marker.

    Raises:
        DamagedError: the fragments do not parse or do not add up to the frames.
    """
    if parsed.length is not None:
        raise DamagedError("not_encapsulated", "compressed pixel data without fragments")
    table, fragments = _fragments(parsed.data, parsed.offset)
    if not fragments:
        raise DamagedError("no_fragments", "compressed pixel data without fragments")
    groups = _assign(parsed, shape, table, fragments)
    if index >= len(groups):
        raise DamagedError("missing_frame", "the compressed pixel data hold fewer frames than declared")
    return b"".join(parsed.data[start : start + length] for start, length in groups[index])


Fragment = tuple[int, int]


def _fragments(data: bytes, at: int) -> tuple[list[int], list[Fragment]]:
    items: list[Fragment] = []
    while True:
        tag = data[at : at + 4]
        if tag != _ITEM:
            # A missing delimiter at the very end of the file is common and harmless.
            if tag == _END or (not tag and items):
                break
            raise DamagedError("bad_fragment", "the compressed pixel data break off or hold something else")
        if len(data) < at + 8:
            raise DamagedError("truncated", "the file ends inside a fragment")
        (length,) = struct.unpack_from("<I", data, at + 4)
        if at + 8 + length > len(data):
            raise DamagedError("truncated", "the file ends inside a fragment")
        items.append((at + 8, length))
        at += 8 + length
    if not items:
        return [], []
    start, length = items[0]
    count = length // 4
    return list(struct.unpack_from(f"<{count}I", data, start)), items[1:]


def _assign(parsed: Parsed, shape: Shape, table: list[int], fragments: list[Fragment]) -> list[list[Fragment]]:
    if shape.frames == 1:
        return [fragments]
    if len(fragments) == shape.frames:
        return [[fragment] for fragment in fragments]
    first = fragments[0][0] - 8
    starts = {start - 8 - first: i for i, (start, _) in enumerate(fragments)}
    offsets = _extended_offsets(parsed) or table
    if len(offsets) == shape.frames:
        try:
            begins = [starts[offset] for offset in offsets]
        except KeyError:
            begins = []
        if begins and begins == sorted(begins):
            return [fragments[a:b] for a, b in zip(begins, [*begins[1:], len(fragments)], strict=True)]
    elif parsed.transfer_syntax.startswith(_FRAGMENTS_CARRY_MARKERS):
        groups: list[list[Fragment]] = [[]]
        for start, length in fragments:
            groups[-1].append((start, length))
            if parsed.data[max(start, start + length - 3) : start + length].endswith(_CODESTREAM_ENDS):
                groups.append([])
        groups = [group for group in groups if group]
        if len(groups) == shape.frames:
            return groups
    raise DamagedError("frame_offsets", "the fragments cannot be assigned to the declared frames")


def _extended_offsets(parsed: Parsed) -> list[int]:
    raw = parsed.ds.get("ExtendedOffsetTable")
    if not isinstance(raw, bytes) or len(raw) % 8:
        return []
    return list(struct.unpack(f"<{len(raw) // 8}Q", raw))
