"""Bytes to text without mojibake: the right encoding, a repair that is recorded, or a refusal with a reason.

Tried in order: byte order mark; UTF-8; the encoding that the file declares; GB18030 where the result reads like Chinese
(characters of GB 2312's first level, the 3,755 common ones, and among them those that every text is full of);
Windows-1252 where the result reads like a Western text. Anything else is refused: a guess would put wrong letters into
training data and nobody would see it. UTF-8 that was once read as Windows-1252 ("Ã©" for "é", "â‰¥" for "≥") is turned
back, sequence by sequence.
"""

import codecs
import re
import unicodedata
from dataclasses import dataclass

from pretrain.shards.errors import DataError

REPLACEMENT = "\ufffd"
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_COMMON_HANZI = 0.8  # share of first-level characters; Western text read as GB18030 stays below a third
_LEAST_HANZI = 4
# Korean in EUC-KR is first-level hanzi too; but these, of any text and of reports, make up a third of real Chinese.
_FREQUENT = frozenset(
    "的一是不了在有人这中大为上个国和无未见及右左性肺心部影片侧下可示正常异现结节胸腔液积骨病变双少量炎增密度清晰"
)
_LEAST_FREQUENT = 0.15
_MOST_FOREIGN = 0.3  # share of non-ASCII characters in a Western text
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]")


class TextEncodingError(DataError):
    """No encoding gives a text that can be trusted."""


@dataclass(frozen=True)
class Decoded:
    """A text and how it was won: "utf-8", another encoding's name, or "utf-8, read as cp1252 and turned back"."""

    text: str
    how: str = "utf-8"


def decode_text(data: bytes, declared: str | None = None) -> Decoded:
    """Text of a file.

    Args:
        data: the bytes.
        declared: encoding that the file itself names (``<meta charset>``, ``<?xml encoding?>``).

    Raises:
        TextEncodingError: no encoding fits, or characters were lost before the file was written (U+FFFD).
    """
    found = _decoded(data, declared)
    if REPLACEMENT in found.text:
        raise TextEncodingError("characters were lost (U+FFFD)")
    if found.text.count("\0"):
        raise TextEncodingError("binary data, not text")
    repaired = undo_mojibake(found.text)
    if repaired != found.text:
        return Decoded(repaired, f"{found.how}, read as cp1252 and turned back")
    return found


def _decoded(data: bytes, declared: str | None) -> Decoded:
    for mark, name in _MARKS:
        if data.startswith(mark):
            text = _strict(data, name)
            if text is None:
                raise TextEncodingError(f"damaged {name.removesuffix('-sig')} text")
            return Decoded(text, name.removesuffix("-sig"))
    text = _strict(data, "utf-8")
    if text is not None:
        return Decoded(text)
    if declared and _known(declared) and (text := _strict(data, declared)) is not None and not _CONTROLS.search(text):
        return Decoded(text, codecs.lookup(declared).name)
    if (text := _strict(data, "gb18030")) is not None and _reads_chinese(text):
        return Decoded(text, "gb18030")
    if (text := _strict(data, "cp1252")) is not None and _reads_western(text):
        return Decoded(text, "cp1252")
    raise TextEncodingError("encoding is not known (neither UTF-8 nor what it declares)")


def _strict(data: bytes, name: str) -> str | None:
    try:
        return data.decode(name)
    except (UnicodeDecodeError, LookupError):
        return None


def _known(name: str) -> bool:
    try:
        return codecs.lookup(name)._is_text_encoding
    except (LookupError, ValueError):
        return False


def _reads_chinese(text: str) -> bool:
    hanzi = [c for c in text if "\u4e00" <= c <= "\u9fff"]
    foreign = sum(c > "\x7f" for c in text)
    marks = sum("\u3000" <= c <= "\u303f" or "\uff00" <= c <= "\uffef" or c in "“”‘’—…·×÷±≥≤℃" for c in text)
    if len(hanzi) < _LEAST_HANZI or len(hanzi) + marks < 0.9 * foreign:
        return False
    if sum(c in _FREQUENT for c in hanzi) < _LEAST_FREQUENT * len(hanzi):
        return False
    return sum(map(_first_level, hanzi)) >= _COMMON_HANZI * len(hanzi)


def _first_level(hanzi: str) -> bool:
    try:
        return 0xB0 <= hanzi.encode("gb2312")[0] <= 0xD7
    except UnicodeEncodeError:
        return False


def _reads_western(text: str) -> bool:
    if _CONTROLS.search(text):
        return False
    foreign = [c for c in text if c > "\x7f"]
    if len(foreign) > _MOST_FOREIGN * len(text):
        return False
    # letters inside words and the usual signs; "æøð÷" soup of other encodings holds capitals after small letters
    odd = len(re.findall(r"[a-zà-ÿ][À-Þ](?=[a-zà-ÿ])", text)) + len(re.findall(r"[¤¦¨¬¸¹¼½¾ð÷þ]{2}", text))
    return odd <= 0.05 * len(foreign)


# A character that stands for one byte of UTF-8 when it is read as cp1252 (bytes that cp1252 leaves out as in Latin-1).
_BYTE_OF = {bytes([b]).decode("cp1252", "ignore") or chr(b): b for b in range(0x80, 0x100)}
_FOLLOW = "".join(re.escape(c) for c, b in _BYTE_OF.items() if b < 0xC0)
# Two bytes: Latin, Greek. Three: punctuation, signs, Chinese, full width. Other leads are real letters too often.
_MOJIBAKE = re.compile(f"[ÂÃÎÏ][{_FOLLOW}]|[âãäåæçèéï][{_FOLLOW}]{{2}}|ð[{_FOLLOW}]{{3}}")


def undo_mojibake(text: str) -> str:
    """Turn back what was UTF-8 and was read as Windows-1252; a text without such sequences comes back as it is.

    >>> undo_mojibake("â‰¥ 5 Âµg, RenÃ©")
    '≥ 5 µg, René'
    """
    if text.isascii():
        return text
    return _MOJIBAKE.sub(_turned_back, text)


def _turned_back(match: re.Match[str]) -> str:
    seen = match.group()
    before = match.string[match.start() - 1 : match.start()]
    if len(seen) == 2 and seen[1] in "»”’" and before.isalpha() and before.isupper():
        return seen  # the end of a word in capitals before a closing quote: "SÃ»"
    try:
        made = bytes(_BYTE_OF[c] for c in seen).decode("utf-8")
    except UnicodeDecodeError:
        return seen
    rare = unicodedata.category(made) in ("Cc", "Cn", "Co") or "\u3400" <= made <= "\u4dff"
    return seen if rare else made
