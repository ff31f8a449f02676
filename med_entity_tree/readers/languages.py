"""Languages: the codes of the sources as BCP 47 tags, and which of them were asked for."""

import re
from collections.abc import Sequence

# MRDOC's values of LAT (UMLS), which MeSH's LanguageCode shares: ISO 639-2/B and, for Croatian, its older SCR.
_THREE = {
    pair[:3]: pair[4:]
    for pair in """
    ara>ar baq>eu chi>zh cze>cs dan>da dut>nl eng>en est>et fin>fi fre>fr ger>de gre>el heb>he hrv>hr hun>hu ita>it
    jpn>ja kor>ko lav>lv nor>no pol>pl por>pt rus>ru scr>hr spa>es swe>sv tur>tr ukr>uk
    """.split()
}
_TAG = re.compile(r"[a-z]{2}(-[a-z0-9]{2,8})*", re.I)


def language_tag(code: str) -> str | None:
    """The BCP 47 tag of ``ENG``, ``spa``, ``en`` or ``pt-BR``; None where the code is not known."""
    if _TAG.fullmatch(code):
        primary, dash, rest = code.partition("-")
        return primary.lower() + dash + rest
    return _THREE.get(code.lower())


def language_rank(tag: str, languages: Sequence[str] | None) -> int | None:
    """Place of a tag among the languages asked for, the wanted first; None where it is not among them.

    ``en`` asks for ``en-GB`` too. Nothing asked for is everything, English first.
    """
    if languages is None:
        return 0 if tag.split("-")[0] == "en" else 1
    for rank, wanted in enumerate(languages):
        if tag.lower() == wanted.lower() or tag.lower().startswith(wanted.lower() + "-"):
            return rank
    return None
