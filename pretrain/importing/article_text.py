"""Text of marked-up articles: paragraphs under their headings, raised and lowered characters kept as such.

A plain ``itertext`` turns 10<sup>9</sup>/L into 109/L. Raised and lowered digits and signs become the characters that
Unicode has for them (10⁹/L, SpO₂), reference marks are left out, and so are formulas, tables and figures.
"""

import re
from collections.abc import Iterator
from xml.etree.ElementTree import Element

RAISED = str.maketrans("0123456789+-−–=()n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁻⁼⁽⁾ⁿ")
LOWERED = str.maketrans("0123456789+-−–=()", "₀₁₂₃₄₅₆₇₈₉₊₋₋₋₌₍₎")
_LEFT_OUT = frozenset(
    "fig fig-group table-wrap table-wrap-group table disp-formula inline-formula tex-math math graphic media "
    "supplementary-material object-id fn table-wrap-foot disp-formula-group inline-graphic alternatives index-term "
    "processing-meta".split()
)
_REFERENCE = frozenset(("bibr", "fn", "table-fn", "aff", "corresp"))
_BLOCKS = frozenset("p list list-item def-list def-item disp-quote boxed-text statement verse-group preformat".split())
_EMPTIED = re.compile(r"\s*(\[[\s,;–-]*\]|\([\s,;–-]*\))")
_BEFORE_MARK = re.compile(r"\s+([,.;:)\]])")
_MAX_DEPTH = 40


def plain(element: Element | None) -> str:
    """Text of an element on one line, without references, formulas, tables and figures; "" for None."""
    if element is None:
        return ""
    text = " ".join("".join(_parts(element, 0)).split())
    return _BEFORE_MARK.sub(r"\1", _EMPTIED.sub("", text))


def _parts(element: Element, depth: int) -> Iterator[str]:
    if element.text:
        yield element.text
    for child in element:
        tag = local(child)
        if depth >= _MAX_DEPTH:
            yield " "
        elif tag in ("sup", "sub"):
            yield shift_digits("".join(_parts(child, depth + 1)).strip(), tag == "sup")
        elif tag == "xref" and child.get("ref-type") in _REFERENCE:
            pass
        elif tag == "break":
            yield " "
        elif tag not in _LEFT_OUT:
            blank = " " if tag in _BLOCKS or tag in ("sec", "title", "label") else ""
            yield blank
            yield from _parts(child, depth + 1)
            yield blank
        if child.tail:
            yield child.tail


def shift_digits(text: str, raised: bool) -> str:
    """Digits and signs as the raised or lowered characters of Unicode; a text with anything else stays as it is.

    >>> shift_digits("-9", raised=True)
    '⁻⁹'
    """
    table = RAISED if raised else LOWERED
    return text.translate(table) if all(ord(c) in table for c in text) else text


def local(element: Element) -> str:
    """Name of an element without its namespace; "" for comments."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def paragraphs(section: Element | None, depth: int = 0) -> Iterator[str]:
    """Paragraphs of a body, abstract or section in reading order; headings stand in front of their first paragraph."""
    heading = ""
    for child in section if section is not None else ():
        tag = local(child)
        if tag == "title":
            heading = plain(child)
            continue
        if tag == "sec" and depth < _MAX_DEPTH:
            found = paragraphs(child, depth + 1)
        elif tag == "list":
            items = [plain(item) for item in child if local(item) == "list-item"]
            found = iter(["\n".join(f"- {item}" for item in items if item)])
        elif tag in _BLOCKS or tag == "sec":
            found = iter([plain(child)])
        else:
            continue
        for text in found:
            if text:
                yield f"{heading}\n{text}" if heading else text
                heading = ""
