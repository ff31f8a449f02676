"""Which language a text is in, as far as a rule needs it: by script, and by the small words of Latin-script languages.

No model: a report of ten words gives a model little to go by, and the small words are few and sure. A text without any
of them (a list of findings, a name) is of no known language and is not judged.
"""

# ruff: noqa: E501  (word lists and patterns are not folded)

import unicodedata
from collections import Counter
from functools import lru_cache

SMALL_WORDS = {
    "en": "the of and is are was with for no there has have been this that from be an by or not which were",
    "de": "der die das und ist nicht mit ein eine von zu im den des dem kein keine bei auf nach wird sind beidseits ohne",
    "fr": "le la les des et est une du dans pas avec sur au aux ce cette sont par pour il sans ou droite gauche",
    "es": "el la los las de y es una del con por para se no que en al sin son como derecho izquierdo",
    "it": "il lo la gli di e è una del della con per non che nel nella sono alla dei senza delle",
    "pt": "o a os as de e é uma do da com por para não que em no na ao sem dos das são",
    "nl": "de het een en van is niet met op te voor geen zijn bij aan dat er naar zonder",
    "pl": "i w z na nie jest się do o że oraz bez są jak po od dla",
    "tr": "ve bir bu ile için olarak yok var de da olan göre ise",
    "sv": "och i är en ett av på som med för det till inte utan",
}
_OF_WORD: dict[str, tuple[str, ...]] = {
    word: tuple(code for code, words in SMALL_WORDS.items() if word in words.split())
    for words in SMALL_WORDS.values()
    for word in words.split()
}
_SCRIPTS = {
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "HANGUL": "ko",
    "CJK": "zh",
    "CYRILLIC": "ru",
    "ARABIC": "ar",
    "HEBREW": "he",
    "THAI": "th",
    "DEVANAGARI": "hi",
    "GREEK": "el",
    "LATIN": "",
}
_LEAST_KINDS = 3
_LEAST_SHARE = 0.08


@lru_cache(maxsize=1 << 14)
def _script(character: str) -> str:
    return _SCRIPTS.get(unicodedata.name(character, "").split(" ")[0].split("-")[0], "")


def language(text: str, words: list[str]) -> str:
    """ISO 639-1 code, or "" where the text does not say.

    Args:
        text: as it is.
        words: of it, in lower case.
    """
    if not text.isascii():
        letters = [c for c in text if c.isalpha()]
        scripts = Counter(_script(c) for c in letters if c > "\u024f")
        foreign = Counter({code: n for code, n in scripts.items() if code})
        if foreign["ja"] >= 0.05 * len(letters) and foreign["ja"]:
            return "ja"
        # a Chinese report holds Latin words ("CT", "T2WI"), an English one Greek letters
        if foreign and foreign.most_common(1)[0][1] >= 0.3 * len(letters):
            return foreign.most_common(1)[0][0]
    hits = Counter(code for word in words for code in _OF_WORD.get(word, ()))
    kinds = Counter(code for word in set(words) for code in _OF_WORD.get(word, ()))
    if not hits:
        return ""
    best, most = max(hits.items(), key=lambda item: (item[1], item[0] == "en", item[0]))
    if hits["en"] and hits["en"] >= most / 2:
        return "en"
    # three different words: "as" and "no" alone are Portuguese, and "Comparison: as before. No effusion" is not
    return best if kinds[best] >= _LEAST_KINDS and most >= _LEAST_SHARE * len(words) else ""
