"""Rules that a text must keep, each a pure function with a name that drops are counted by.

    faults("Lorem ipsum dolor sit amet.", "article")    # ['too short', 'placeholder text']

The rules of web text come from Gopher (Rae et al. 2021, arXiv 2112.11446, table A1) and C4 (Raffel et al. 2020, arXiv
1910.10683, section 2.2), with their thresholds for articles; reports, captions, questions and conversations are shorter
and repeat themselves more, and have thresholds of their own. The others are for what medical text is mixed with:
templates that nobody filled in, pointers to figures that are not there, code. Marks of de-identification ("XXXX") are
no fault; :func:`pretrain.cleaning.view.deidentified_marks` counts them.
"""

# ruff: noqa: E501  (word lists and patterns are not folded)

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar, cast

from pretrain.cleaning.languages import language
from pretrain.cleaning.view import View
from vlm.errors import MedVLMError

Kind = Literal["report", "caption", "article", "question", "conversation"]
T = TypeVar("T")


class KindError(MedVLMError):
    """There is no such kind of text."""


@dataclass(frozen=True)
class PerKind(Generic[T]):
    """One threshold for each kind of text."""

    report: T
    caption: T
    article: T
    question: T
    conversation: T


@dataclass(frozen=True)
class Thresholds:
    """Where rules begin. Sizes are words (two Chinese characters for one), shares are 0 to 1.

    Attributes:
        least, most: words of a text; Gopher has 50 and 100,000 for documents.
        symbols: "#" and ellipses for each word (Gopher 0.1).
        without_letter: share of tokens without a letter (Gopher 0.2).
        word_length: mean characters of a word, from and to (Gopher 3 and 10); Latin script only.
        bullets, ellipses: share of lines that begin with a bullet or end in an ellipsis (Gopher 0.9, 0.3).
        repeated_lines: share of characters in lines that came before (Gopher 0.2).
        top_ngrams: share of characters in the most frequent 2-, 3- and 4-gram (Gopher 0.20, 0.18, 0.16).
        repeated_ngrams: share of characters in 5- to 10-grams that occur more than once (Gopher 0.15 down to 0.10).
        judged_from: words from which shares and repetition are judged at all.
        small_words: of "the be to of and that have with" an English text holds as many different ones (Gopher 2).
        markup: tags, entities and lines of code for each 100 words (C4 removes a page for one brace).
        menu: share of lines of up to four words that end no sentence, among at least ``menu_lines`` (after C4).
        pointers: share of sentences that only point to a figure or table.
        languages: that are wanted; others, where they can be told, are a fault.
    """

    least: PerKind[float] = PerKind(4, 3, 20, 2, 2)
    most: PerKind[float] = PerKind(5_000, 1_500, 100_000, 1_500, 20_000)
    symbols: PerKind[float] = PerKind(0.1, 0.1, 0.1, 0.1, 0.1)
    without_letter: PerKind[float] = PerKind(0.6, 0.6, 0.4, 0.6, 0.6)
    word_length: PerKind[tuple[float, float]] = PerKind((2, 12), (2, 13), (3, 10), (2, 12), (2, 12))
    bullets: PerKind[float] = PerKind(1, 0.95, 0.9, 1, 1)
    ellipses: PerKind[float] = PerKind(0.3, 0.3, 0.3, 0.3, 0.3)
    repeated_lines: PerKind[float] = PerKind(0.4, 0.3, 0.2, 0.4, 0.6)
    top_ngrams: PerKind[tuple[float, float, float]] = PerKind(
        (0.30, 0.28, 0.26), (0.30, 0.28, 0.26), (0.20, 0.18, 0.16), (0.30, 0.28, 0.26), (0.40, 0.36, 0.32)
    )
    repeated_ngrams: PerKind[float] = PerKind(0.5, 0.4, 0.15, 0.5, 0.8)
    judged_from: PerKind[float] = PerKind(25, 25, 30, 25, 25)
    small_words: PerKind[int] = PerKind(0, 0, 2, 0, 0)
    markup: PerKind[float] = PerKind(3, 3, 4, 6, 6)
    menu: PerKind[float] = PerKind(1, 0.9, 0.6, 1, 1)
    menu_lines: int = 6
    pointers: PerKind[float] = PerKind(0.75, 0.75, 0.5, 0.9, 0.9)
    languages: tuple[str, ...] = ("en", "zh")


DEFAULT = Thresholds()


@dataclass(frozen=True)
class _Case:
    view: View
    kind: Kind
    limits: Thresholds

    def of(self, threshold: PerKind[T]) -> T:
        return cast(T, getattr(threshold, self.kind))

    @property
    def long_enough(self) -> bool:
        return self.view.size >= self.of(self.limits.judged_from)


def faults(text: str, kind: str = "article", thresholds: Thresholds = DEFAULT) -> list[str]:
    """Names of the rules that a text breaks, in the order of ``RULES``; none for a good text.

    Args:
        text: in normal form.
        kind: report, caption, article, question ("questions" is the same) or conversation.
        thresholds: where rules begin.

    Raises:
        KindError: another kind.
    """
    kind = "question" if kind == "questions" else kind
    if kind not in PerKind.__dataclass_fields__:
        raise KindError(f"there are no rules for {kind!r} texts; kinds are {', '.join(PerKind.__dataclass_fields__)}")
    case = _Case(View(text), cast(Kind, kind), thresholds)
    return [name for name, broken in RULES.items() if broken(case)]


def too_short(case: _Case) -> bool:
    return case.view.size < case.of(case.limits.least)


def too_long(case: _Case) -> bool:
    return case.view.size > case.of(case.limits.most)


_LOST = re.compile(
    "\ufffd|Ã[\x80-\xbf©¨¤¶¼±\xa0]|â€[\x80-\xbf™œ\x9d“”¦]|Â[°±µ·»«§²³]|ï¿½|(?:[\ue000-\uf8ff]\\s*){3}|\\(cid:\\d+\\)"
)


def lost_characters(case: _Case) -> bool:
    """U+FFFD, mojibake, or glyph numbers: what a wrong encoding or a PDF font left."""
    text = case.view.text
    return "(cid:" in text or (not text.isascii() and _LOST.search(text) is not None)


def symbols(case: _Case) -> bool:
    """Gopher: "#" and ellipses against words."""
    text = case.view.text
    return text.count("#") + text.count("...") + text.count("…") > max(2, case.of(case.limits.symbols) * case.view.size)


def few_letters(case: _Case) -> bool:
    """Gopher: tokens without any letter (tables of numbers, rulers, dumps)."""
    tokens = case.view.tokens
    if len(tokens) < 8:
        return False
    bare = sum(not any(map(str.isalpha, token)) for token in tokens)
    return bare > case.of(case.limits.without_letter) * len(tokens)


def word_length(case: _Case) -> bool:
    """Gopher: mean word length; Chinese has no blanks to count by."""
    words = case.view.words
    if case.view.hanzi > 0.1 * max(len(words), 1) or not case.long_enough:
        return False
    low, high = case.of(case.limits.word_length)
    return not low <= sum(map(len, words)) / len(words) <= high


def lists_only(case: _Case) -> bool:
    """Gopher: lines that begin with a bullet, lines that end in an ellipsis."""
    lines = case.view.lines
    if len(lines) < 6:
        return False
    bullets = sum(line[0] in "•‣▪●◦*-–·" for line in lines)
    cut = sum(line.endswith(("...", "…")) for line in lines)
    return bullets > case.of(case.limits.bullets) * len(lines) or cut > case.of(case.limits.ellipses) * len(lines)


def repeated_lines(case: _Case) -> bool:
    """Gopher: characters in lines that are there already."""
    lines = case.view.lines
    if len(lines) < 3 or not case.long_enough:
        return False
    seen: set[str] = set()
    again = 0
    for line in lines:
        again += len(line) if line in seen else 0
        seen.add(line)
    return again > case.of(case.limits.repeated_lines) * sum(map(len, lines))


def repeated_words(case: _Case) -> bool:
    """Gopher: the most frequent 2- to 4-gram, and 5- to 10-grams that repeat (5 and 10 are looked at)."""
    words = case.view.words
    if not case.long_enough:
        return False
    characters = sum(map(len, words))
    for n, most in zip((2, 3, 4), case.of(case.limits.top_ngrams)):
        gram, count = Counter(zip(*(words[i:] for i in range(n)))).most_common(1)[0]
        if count > 2 and count * sum(map(len, gram)) > most * characters:
            return True
    return any(_repeated_share(words, n) > case.of(case.limits.repeated_ngrams) for n in (5, 10))


def _repeated_share(words: list[str], n: int) -> float:
    """Share of characters in n-grams that came before, no character counted twice."""
    if len(words) < 2 * n:
        return 0.0
    seen: set[tuple[str, ...]] = set()
    again = at = 0
    while at <= len(words) - n:
        gram = tuple(words[at : at + n])
        if gram in seen:
            again += sum(map(len, gram))
            at += n
        else:
            seen.add(gram)
            at += 1
    return again / max(sum(map(len, words)), 1)


def wrong_language(case: _Case) -> bool:
    """A language that is not wanted, where script or small words tell it."""
    found = language(case.view.text, case.view.words)
    return bool(found) and found not in case.limits.languages


_SMALL = frozenset("the be to of and that have with".split())


def no_sentences(case: _Case) -> bool:
    """Gopher: an English text of some length holds its smallest words; lists of keys and names do not."""
    least = case.of(case.limits.small_words)
    if not least or case.view.hanzi or not case.long_enough:
        return False
    return len(_SMALL.intersection(case.view.words)) < least


_TAG = re.compile(
    r"</?(?:a|b|i|p|u|br|hr|em|ul|ol|li|td|tr|th|h[1-6]|div|img|span|font|body|head|html|meta|link|table|strong|script|"
    r"style|iframe|button|input|form|figure|section|xref|sup|sub|ref)(?:\s[^<>]{0,300})?/?>|&(?:nbsp|amp|lt|gt|quot|#\d+);",
    re.I,
)
_CODE = re.compile(
    r"^\s*(?:(?:def|class|import|from|return|public|private|static|const|let|var|function|async|elif|#include|package|"
    r"using|namespace|struct|template|fn|pub|impl|use)\b[^.]{0,120}[(){};:=]|@\w+\(|[})\];]+,?\s*$|//|/\*|\$\s\w+|>>>\s|"
    r"[\w.\[\]]+\s*(?:=|\+=|:=)\s*\S.*[;({\[]?$|(?:pip|apt|conda|npm|git|sudo|docker|cmake|make|cd|curl)\s\S+)|"
    r"[{};]\s*$|\)\s*->|=>|\{\{|\}\}|\{%|</\w+>|\\(?:frac|begin|end|usepackage|mathrm|textbf)\b|::\w|`{3}",
    re.M,
)


def markup(case: _Case) -> bool:
    """Tags, entities, TeX and code that an extraction left, or that the text is."""
    text = case.view.text
    if not any(sign in text for sign in "<>{}=;\\`$&/()"):
        return False
    found = len(_TAG.findall(text)) + len(_CODE.findall(text))
    return found >= 2 and found > case.of(case.limits.markup) * max(case.view.size, 1) / 100


_MENU = frozenset(
    "home|login|log in|sign in|sign up|register|contact|contact us|about|about us|next|previous|search|menu|sitemap|faq|"
    "help|subscribe|newsletter|news|blog|careers|privacy|privacy policy|terms|terms of use|cookies|share|facebook|twitter|"
    "linkedin|youtube|instagram|back|download|cart|checkout|my account|language|english|close|skip to content|more|"
    "read more|view all|show more|index|modules|table of contents|quick search|navigation|首页|登录|注册|联系我们|搜索|更多".split(
        "|"
    )
)
_SENTENCE_END = re.compile(r"[.!?。！？:：;；,，]['\"”’)\]]*$")


def navigation(case: _Case) -> bool:
    """After C4: lines of a few words that end no sentence; or three of the words that menus are made of."""
    pieces = [p.strip() for line in case.view.lines for p in re.split(r"\s*[|›»•·>]\s+|\t", line)]
    pieces = [p for p in pieces if p]
    known = sum(p.lower().strip(" :.") in _MENU for p in pieces)
    if known >= 3 and known >= 0.3 * len(pieces):
        return True
    if len(pieces) < case.limits.menu_lines:
        return False
    short = sum(len(p.split()) <= 4 and not _SENTENCE_END.search(p) and len(p) <= 40 for p in pieces)
    return short > case.of(case.limits.menu) * len(pieces)


_PLACEHOLDER = re.compile(
    r"\blorem ipsum\b|\bdolor sit amet\b|\b(?:insert|enter|type|add|put) (?:your )?(?:text|title|caption|description|name) here\b|"
    r"\b(?:this is|just) a (?:test|placeholder|dummy)\b|\bplaceholder\b|\bthe quick brown fox\b|\basdf\w*|\bfoo bar\b|"
    r"\b(?:coming soon|under construction|no description available|caption not available|untitled)\b|此处(?:填写|输入)|待补充",
    re.I,
)
_FILE_NAME = re.compile(r"^\S{1,100}\.(?:png|jpe?g|gif|tiff?|dcm|svg|bmp|webp|pdf|docx?)$", re.I)
_NOT_A_TEXT = re.compile(
    r"^(?:tbd|todo|tba|n/?a|none|null|nan|unknown|test|xxx|-+|\.+|\?+|image|figure|picture|photo)\W*$", re.I
)


def placeholder(case: _Case) -> bool:
    """Filler in place of a text; in a longer text one such phrase is no fault."""
    text = case.view.text.strip()
    if _FILE_NAME.match(text) or _NOT_A_TEXT.match(text):
        return True
    return len(_PLACEHOLDER.findall(text)) * 40 > case.view.size


_POINTER = re.compile(
    r"^(?:please\s+)?(?:\(?(?:see|refer to|cf\.?|as (?:shown|seen|depicted) (?:in|on)|shown in|compare|click (?:on )?(?:here|the)|for (?:details|more)[^.]{0,40} see)"
    r"\b[^.]{0,60}\b(?:fig(?:ure)?s?|tables?|image|images|picture|photo|plate|video|panel|text|above|below|here|link|supplement\w*)\b[^.]{0,40}|"
    r"(?:fig(?:ure)?|table|plate|supplementary (?:figure|table))\s*\.?\s*s?\d+[a-z]?\W*|(?:如|见|参见)?图\s*\d*\s*(?:所示)?)\.?\)?$",
    re.I,
)


def pointer(case: _Case) -> bool:
    """Text that only sends the reader to a figure or table, which is not part of it."""
    if case.view.size > 60 and case.kind != "article":
        return False
    sentences = [
        s
        for s in re.split(r"(?<=[!?。！？])\s*|(?<=[a-z)\]]\.)\s+|(?<=\d\.)\s+(?=[A-Z])|\n", case.view.text)
        if s.strip()
    ]
    return sum(map(_is_pointer, sentences)) > case.of(case.limits.pointers) * len(sentences) if sentences else False


def _is_pointer(sentence: str) -> bool:
    return len(sentence) < 160 and _POINTER.match(sentence.strip()) is not None


_HEADING = re.compile(
    r"\b(?:clinical (?:history|information|indication)|history|indications?|techniques?|procedure|examination|exam|"
    r"comparisons?|findings?|impressions?|conclusions?|report|recommendations?|reason for (?:exam(?:ination)?|study)|"
    r"date|time|name|patient|mrn|dob|age|sex|accession|physician|radiologist|signature|none|n/a|other|comments?)\b\s*[:：]?|"
    r"(?:检查所见|影像所见|影像表现|诊断意见|影像诊断|印象|结论|所见|检查部位|检查方法|临床诊断|姓名|性别|年龄|病史|检查技术|报告医师|审核医师)\s*[:：]?",
    re.I,
)
_SLOT = re.compile(
    r"\[[\s_./xX-]*\]|<[^<>\n]{0,60}>|\{[^{}\n]{0,60}\}|_{2,}|\(\s*\)|\.{4,}|\[(?:insert|select|choose|enter)[^\]\n]{0,60}\]",
    re.I,
)


def template_only(case: _Case) -> bool:
    """Headings and slots that nobody filled in: nothing is said of a patient."""
    if case.kind not in ("report", "conversation") or case.view.size > 120:
        return False
    said, slots = _SLOT.subn(" ", case.view.without_marks)
    rest, headings = _HEADING.subn(" ", said)
    words = View(rest).size
    return bool(slots or headings or case.view.marks) and (words < 1.5 or (slots >= 3 and words < 8))


RULES: dict[str, Callable[[_Case], bool]] = {
    "too short": too_short,
    "too long": too_long,
    "lost characters": lost_characters,
    "symbols": symbols,
    "few letters": few_letters,
    "word length": word_length,
    "lists only": lists_only,
    "repeated lines": repeated_lines,
    "repeated words": repeated_words,
    "wrong language": wrong_language,
    "no sentences": no_sentences,
    "markup or code": markup,
    "navigation": navigation,
    "placeholder text": placeholder,
    "points elsewhere": pointer,
    "template only": template_only,
}
