"""Bytes that pixels need: lookup tables, which must be as long as they say, and colour profiles without their texts."""

import struct

from pydicom.dataset import Dataset

_TABLES = ("PaletteColorLookupTableData", "LUTData")
_ICC_HEADER, _ICC_ENTRY = 128, 12
# Fields of the header that say who made the profile and when (ICC.1:2022 table 17): date, maker, model, creator, id.
_ICC_MAKER = ((24, 36), (48, 56), (80, 100))
_ICC_TEXTS = frozenset(
    [b"text", b"desc", b"mluc", b"dtim", b"dict", b"meta", b"tagg", b"ui08", b"data", b"utf8", b"zxml"]
)


def kept_bytes(keyword: str, data: bytes, item: Dataset) -> bytes | None:
    """The value of a lookup table or colour profile as it may stay; None where it is not what it should be.

    Args:
        item: the data set that holds the element; its descriptor says how long a table is.
    """
    if keyword == "ICCProfile":
        return without_texts(data)
    if keyword.startswith("Segmented") or not keyword.endswith(_TABLES):
        return data
    descriptor = item.get(keyword.removesuffix("Data") + "Descriptor")
    try:
        entries = int(descriptor[0]) or 1 << 16  # type: ignore[index]
    except (TypeError, ValueError, IndexError):
        return None
    return data if len(data) in (entries, entries + entries % 2, 2 * entries) else None


def without_texts(profile: bytes) -> bytes | None:
    """An ICC profile with zeros for descriptions, copyright, dates and makers; None where it does not parse."""
    if len(profile) < _ICC_HEADER + 4 or profile[36:40] != b"acsp":
        return None
    out = bytearray(profile)
    for start, end in _ICC_MAKER:
        out[start:end] = bytes(end - start)
    (count,) = struct.unpack_from(">I", profile, _ICC_HEADER)
    used = _ICC_HEADER + 4 + count * _ICC_ENTRY
    if used > len(profile):
        return None
    covered = bytearray(len(profile))
    covered[:used] = b"\1" * used
    for i in range(count):
        start, size = struct.unpack_from(">II", profile, _ICC_HEADER + 8 + i * _ICC_ENTRY)
        if start + size > len(profile) or size < 8:
            return None
        covered[start : start + size] = b"\1" * size
        if profile[start : start + 4] in _ICC_TEXTS:
            out[start + 4 : start + size] = bytes(size - 4)
    for at, seen in enumerate(covered):  # what no tag points to
        if not seen:
            out[at] = 0
    return bytes(out)
