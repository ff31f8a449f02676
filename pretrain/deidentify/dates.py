"""Dates in text and in DICOM values: found, moved by whole days, written back in their own form."""

# ruff: noqa: E501  (expressions are not folded)

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from pretrain.deidentify.options import DateOrder

_MONTHS = "january february march april may june july august september october november december".split()
_MONTH = r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
_ORDINAL = r"(?:st|nd|rd|th)?"
_WEEKDAY = r"(?:(?:mon|tues?|wed(?:nes)?|thurs?|fri|satur|sat|sun)(?:day)?\.?,?\s+(?:the\s+)?)?"
_YEAR = r"(?:1[89]|20)\d\d"
_DAY = r"(?:0?[1-9]|[12]\d|3[01])"
_MON = r"(?:0?[1-9]|1[0-2])"
_FOREIGN = (
    r"(?:janvier|f[ée]vrier|mars|avril|mai|juin|juillet|ao[ûu]t|septembre|octobre|novembre|d[ée]cembre|januar|februar|m[äa]rz|juni|juli|oktober"
    r"|dezember|enero|febrero|marzo|abril|mayo|junio|julio|agosto|sep?tiembre|octubre|noviembre|diciembre|gennaio|febbraio|aprile|maggio|giugno"
    r"|luglio|settembre|ottobre|dicembre|januari|februari|maart|mei|augustus|janeiro|fevereiro|março|maio|junho|julho|setembro|outubro"
    r"|novembro|dezembro)"
)
_START, _END = r"(?<![\w./-])", r"(?![\w]|[./-]\d)"
_FROM, _TO = r"(?<![\w./])", r"(?![\w]|[./]\d)"  # beside a slash or dot form a hyphen may lead to another date
# A whole year leaves no doubt, so letters may stand right beside it ("2021-03-05Findings"); beside two digits of a year
# only a word with a capital may ("3/5/21Findings"), since a dose is written like that ("5/10/20mg").
_WHOLE_START, _WHOLE_FROM = r"(?<![\d_./-])", r"(?<![\d_./])"
_WHOLE_END, _WHOLE_TO = r"(?!\d|[./-]\d)", r"(?!\d|[./]\d)"
_WORD = r"(?=(?-i:[A-Z][a-z]{3}))"
# Words after which a day and month without a year, or a year alone, are a date and not a fraction or an amount.
_BEFORE = r"(?:\b(?:on|dated?|since|from|of|until|till|in|exam|study|scan|prior|comparison|compared (?:to|with)|performed|year)\b[:,]?\s+)"


@dataclass(frozen=True)
class FoundDate:
    """A date in a text.

    Attributes:
        start, end: of the date in the text.
        day: what it means; None where the year or the day is missing or the numbers are no date.
        write: the same form with another day; None where there is no day.
    """

    start: int
    end: int
    day: date | None
    write: Callable[[date], str] | None


def find_dates(text: str, order: DateOrder = DateOrder.mdy) -> Iterator[FoundDate]:
    """Every date of the text, in no order; two may overlap, then the one that came first counts.

    Args:
        order: how 3/5/2021 is read; 13/5/2021 and 5.3.2021 are read day first whatever it says.
    """
    for pattern, read in _READERS:
        for match in pattern.finditer(text):
            found = read(match, order)
            if found is not None:
                yield found


def _make(y: int, m: int, d: int) -> date | None:
    try:
        return date(y, m, d)
    except ValueError:
        return None


def _pad(value: int, like: str) -> str:
    return f"{value:0{len(like)}d}" if like.startswith("0") or len(like) > 1 else str(value)


def _year_like(value: int, like: str) -> str:
    """Two digits stay two where they will be read as this year again."""
    return f"{value % 100:02d}" if len(like.strip("'’")) == 2 and 1970 <= value < 2070 else str(value)


def _year(text: str) -> int:
    value = int(text.strip("'’"))
    return value if value > 99 else value + (2000 if value < 70 else 1900)


def _found(match: re.Match[str], day: date | None, write: Callable[[date], str]) -> FoundDate:
    start, end = match.span("date") if "date" in match.re.groupindex else match.span()
    return FoundDate(start, end, day, write if day else None)


def _numeric_ymd(match: re.Match[str], _order: DateOrder) -> FoundDate | None:
    y, m, d, sep = match["y"], match["m"], match["d"], match["sep"]
    day = _make(int(y), int(m), int(d))
    return _found(match, day, lambda t: f"{t.year:04d}{sep}{_pad(t.month, m)}{sep}{_pad(t.day, d)}")


def _compact(match: re.Match[str], _order: DateOrder) -> FoundDate | None:
    day = _make(int(match["y"]), int(match["m"]), int(match["d"]))
    return _found(match, day, lambda t: f"{t.year:04d}{t.month:02d}{t.day:02d}") if day else None


def _numeric_two(match: re.Match[str], order: DateOrder) -> FoundDate | None:
    a, b, y, sep = match["a"], match["b"], match["y"], match["sep"]
    first, second = int(a), int(b)
    day_first = sep.strip() == "." or first > 12 or (order is DateOrder.dmy and second <= 12)
    day = _make(_year(y), *((second, first) if day_first else (first, second)))

    def write(t: date) -> str:
        parts = (t.day, t.month) if day_first else (t.month, t.day)
        return f"{_pad(parts[0], a)}{sep}{_pad(parts[1], b)}{sep}{_year_like(t.year, y)}"

    return _found(match, day, write)


def _month_name(value: int, like: str) -> str:
    full = _MONTHS[value - 1]
    letters = like.rstrip(".")
    name = full if letters.lower() in _MONTHS and len(letters) > 3 else full[:3]
    return (name.upper() if letters.isupper() else name.capitalize() if letters[0].isupper() else name) + like[
        len(letters) :
    ]


def _month_number(name: str) -> int:
    return next(i for i, full in enumerate(_MONTHS, 1) if full.startswith(name.lower().rstrip(".")[:3]))


def _ordinal(value: int, like: str) -> str:
    if not like:
        return ""
    return "th" if 10 <= value % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(value % 10, "th")


def _written(match: re.Match[str], _order: DateOrder) -> FoundDate | None:
    """March 5th, 2021; 5 March 2021; 05-MAR-21; March 2021."""
    groups = match.groupdict()
    month, y, d = groups["month"], groups.get("y"), groups.get("d")
    if y is None:
        return FoundDate(*match.span("date"), None, None)
    # A month without a day moves as its middle does.
    day = _make(_year(y), _month_number(month), int(d) if d else 15)
    start, end = match.span("date")
    text = match.string

    def write(t: date) -> str:
        out, at = [], start
        pieces = [(*match.span("month"), _month_name(t.month, month)), (*match.span("y"), _year_like(t.year, y))]
        if d:
            pieces.append((*match.span("d"), _pad(t.day, d) if d.startswith("0") else str(t.day)))
            if groups.get("nth"):
                pieces.append((*match.span("nth"), _ordinal(t.day, groups["nth"])))
        for a, b, new in sorted(pieces):
            out += [text[at:a], new]
            at = b
        return "".join([*out, text[at:end]])

    return FoundDate(match.start(), end, day, write if day else None)


def _no_year(match: re.Match[str], _order: DateOrder) -> FoundDate | None:
    if match.groupdict().get("month") in ("may", "mar"):  # "may 3 weeks later be repeated"
        return None
    return FoundDate(*match.span("date"), None, None)


def _month_and_year(match: re.Match[str], _order: DateOrder) -> FoundDate | None:
    """03/2021 and 2021-03, which move as the middle of the month does."""
    y, m = match["y"], match["m"]
    day = _make(int(y), int(m), 15)
    y_at, m_at, start = match.start("y"), match.start("m"), match.start()

    def write(t: date) -> str:
        text = match.group()
        for at, old, new in sorted(((y_at, y, str(t.year)), (m_at, m, _pad(t.month, m))), reverse=True):
            text = text[: at - start] + new + text[at - start + len(old) :]
        return text

    return _found(match, day, write)


def _removed(match: re.Match[str], _order: DateOrder) -> FoundDate | None:
    """A date in a calendar or language in which it is not written again here."""
    return FoundDate(*match.span(), None, None)


def _year_alone(match: re.Match[str], _order: DateOrder) -> FoundDate | None:
    return _found(match, _make(int(match["date"]), 7, 1), lambda t: str(t.year))


def _chinese(match: re.Match[str], _order: DateOrder) -> FoundDate | None:
    y, m, d = match["y"], match["m"], match.groupdict().get("d")
    day = _make(_year(y), int(m), int(d) if d else 15)
    tail = match["tail"] if d else ""

    def write(t: date) -> str:
        text = f"{_year_like(t.year, y)}年{_pad(t.month, m)}月"
        return text + (f"{_pad(t.day, d)}{tail}" if d else "")

    return _found(match, day, write)


def _chinese_year(match: re.Match[str], _order: DateOrder) -> FoundDate | None:
    return _found(match, _make(int(match["y"]), 7, 1), lambda t: f"{t.year}年")


def _compile(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_Reader = Callable[[re.Match[str], DateOrder], FoundDate | None]
_READERS: tuple[tuple[re.Pattern[str], _Reader], ...] = (
    (_compile(r"(?:令和|平成|昭和|大正|民國|民国)\s*(?:\d{1,3}|元)\s*年(?:\s*\d{1,2}\s*月(?:\s*\d{1,2}\s*日)?)?|(?<!\w)[RHS]\d{1,2}\.\d{1,2}\.\d{1,2}(?![\w.])"), _removed),
    (_compile(rf"(?<!\d){_YEAR}\s*년(?:\s*{_MON}\s*월(?:\s*{_DAY}\s*일)?)?|(?<!\d){_MON}\s*월\s*{_DAY}\s*일"), _removed),
    (_compile(rf"(?<!\w){_DAY}(?:\.|er|º|°)?\s+(?:de\s+|di\s+)?{_FOREIGN}\b(?:\.?\s+(?:del?\s+)?(?:{_YEAR}|['’]?\d\d)\b)?|\b{_FOREIGN}\s+(?:de\s+)?{_YEAR}\b"), _removed),
    (_compile(rf"(?<![\w/-]){_DAY}\s?[./-]\s?(?:I{{1,3}}|I?V|VI{{1,3}}|I?X|XI{{1,2}})\s?[./-]\s?{_YEAR}\b"), _removed),
    (_compile(rf"(?P<y>{_YEAR}|(?<!\d)\d\d)\s*年\s*(?P<m>{_MON})\s*月\s*(?P<d>{_DAY})\s*(?P<tail>[日号])"), _chinese),
    (_compile(rf"(?P<y>{_YEAR}|(?<!\d)\d\d)\s*年\s*(?P<m>{_MON})\s*月(?!\s*\d+\s*[日号])"), _chinese),
    (_compile(rf"(?<!\d)(?P<date>{_MON}\s*月\s*{_DAY}\s*[日号])"), _no_year),
    (_compile(r"(?P<date>[零〇○一二三四五六七八九]{4}年(?:[一二三四五六七八九十]{1,2}月(?:[一二三四五六七八九十]{1,3}[日号])?)?)"), _no_year),
    (_compile(rf"(?<!\d)(?P<y>{_YEAR})年(?!\s*\d)"), _chinese_year),
    (_compile(rf"{_WHOLE_START}(?P<date>(?P<y>{_YEAR})(?P<sep>-)(?P<m>{_MON})-(?P<d>{_DAY})){_WHOLE_END}"), _numeric_ymd),
    (_compile(rf"{_WHOLE_FROM}(?P<date>(?P<y>{_YEAR})(?P<sep>[/.])(?P<m>{_MON})(?P=sep)(?P<d>{_DAY})){_WHOLE_TO}"), _numeric_ymd),
    (_compile(rf"{_WHOLE_START}(?P<date>(?P<a>\d\d?)(?P<sep>-)(?P<b>\d\d?)-(?P<y>{_YEAR})){_WHOLE_END}"), _numeric_two),
    (_compile(rf"{_WHOLE_FROM}(?P<date>(?P<a>\d\d?)(?P<sep>[/.])(?P<b>\d\d?)(?P=sep)(?P<y>{_YEAR})){_WHOLE_TO}"), _numeric_two),
    (_compile(rf"{_START}(?P<date>(?P<a>\d\d?)(?P<sep>-)(?P<b>\d\d?)-(?P<y>\d\d))(?:{_END}|{_WORD})"), _numeric_two),
    (_compile(rf"{_FROM}(?P<date>(?P<a>\d\d?)(?P<sep>[/.])(?P<b>\d\d?)(?P=sep)(?P<y>\d\d))(?:{_TO}|{_WORD})"), _numeric_two),
    (_compile(rf"(?<![\w./-])(?P<date>(?P<a>\d\d?)(?P<sep> ?[/.-] )(?P<b>\d\d?)(?P=sep)(?P<y>{_YEAR}))(?:(?![\w/-]|\.\d)|{_WORD})"), _numeric_two),
    (_compile(rf"(?<![\w./-])(?P<date>(?P<y>(?:19|20)\d\d)(?P<sep>[ _]| ?[/.-] )(?P<m>0[1-9]|1[0-2])(?P=sep)(?P<d>0[1-9]|[12]\d|3[01]))(?:(?![\w/-]|\.\d)|{_WORD})"), _numeric_ymd),
    (_compile(r"(?<![\w.])(?P<date>(?P<y>(?:19|20)\d\d)(?P<m>0[1-9]|1[0-2])(?P<d>0[1-9]|[12]\d|3[01]))(?=T\d|(?![\w.]*\d))"), _compact),
    (_compile(rf"(?<![\w./-])(?P<m>{_MON})\s?[/-]\s?(?P<y>(?:19|20)\d\d)(?:(?![\w/-]|\.\d)|{_WORD})"), _month_and_year),
    (_compile(rf"(?<![\w./-])(?<!TE )(?<!TE: )(?<!TE=)(?P<y>(?:19|20)\d\d)[/-](?P<m>0[1-9]|1[0-2])(?:(?![\w/-]|\.\d)|{_WORD})"), _month_and_year),
    (_compile(rf"\b{_WEEKDAY}(?P<date>(?P<month>{_MONTH})\b\.?[\s/-]+(?P<d>{_DAY})(?P<nth>{_ORDINAL})(?:,\s*|\s+|[/-])(?P<y>{_YEAR}|['’]\d\d))(?!\d)"), _written),
    (_compile(rf"\b(?P<date>(?P<y>{_YEAR})(?:[\s/-](?P<month>{_MONTH})\b\.?[\s/-](?P<d>{_DAY})))\b"), _written),
    (_compile(rf"(?<![\d_./-])(?P<date>(?P<y>{_YEAR})(?P<month>{_MONTH})(?P<d>{_DAY}))(?!\d)"), _written),
    (_compile(rf"\b{_WEEKDAY}(?P<date>(?P<d>{_DAY})(?P<nth>{_ORDINAL})(?:\s+of\s+|[\s-]*)(?P<month>{_MONTH})\b\.?(?:,\s*|[\s-]*)(?P<y>{_YEAR}|(?<=-)\d\d))(?!\d)"), _written),
    (_compile(rf"\b(?P<date>(?P<d>{_DAY})(?P<month>{_MONTH})(?P<y>{_YEAR}|\d\d))(?!\d)"), _written),
    (_compile(rf"\b(?P<date>(?P<month>{_MONTH})\b\.?(?:,\s*|\s+|\s+of\s+|[/-])(?P<y>{_YEAR}|['’]\d\d))(?!\d)"), _written),
    (_compile(rf"\b{_WEEKDAY}(?P<date>(?P<month>{_MONTH})\b\.?\s+(?P<d>{_DAY}){_ORDINAL})(?![\w/])"), _written),
    (_compile(rf"\b{_WEEKDAY}(?P<date>(?P<d>{_DAY}){_ORDINAL}\s+(?:of\s+)?(?P<month>{_MONTH}))\b"), _written),
    (_compile(rf"{_BEFORE}(?P<date>{_MON}[/-]{_DAY}){_END}(?!\s*(?:mm|cm|m\b|ml|strength|%|of\b|murmur|[x×]|(?:more\s+)?(?:weeks?|wks?|days?|months?|years?|hours?|hrs?|minutes?|min|views?|images?|cases?|cm)\b))"), _no_year),
    (_compile(rf"{_BEFORE}(?P<date>{_YEAR})(?![\w/-]|\.\d|\s*(?:mm|cm|ml|cc|mg|g|hu|ms|images?)\b)"), _year_alone),
)  # fmt: skip


# DICOM values (PS3.5 table 6.2-1)

_DA = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})\Z")
_DT = re.compile(r"(\d{4})(\d{2})?(\d{2})?(\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,6})?)?)?)?([+-]\d{4})?\Z")
_TM = re.compile(r"\d{2}(?::?\d{2}(?::?\d{2}(?:\.\d{1,6})?)?)?\Z")


def read_da(value: str) -> date | None:
    """A DA value (also in the old form 2021.03.05); None where it is none."""
    match = _DA.match(value.strip("\0 "))
    return _make(*(int(g) for g in match.groups())) if match else None


def shift_da(value: str, days: int) -> str | None:
    """A DA value moved; None where it is no date or leaves the years 1 to 9999."""
    day = read_da(value)
    moved = move(day, days) if day else None
    return f"{moved.year:04d}{moved.month:02d}{moved.day:02d}" if moved else None


def shift_dt(value: str, days: int) -> str | None:
    """A DT value moved, its time, precision and time zone left; a missing day moves as the middle of its month."""
    match = _DT.match(value.strip("\0 "))
    if not match:
        return None
    y, m, d, clock, zone = match.groups()
    day = _make(int(y), int(m or 7), int(d or (15 if m else 1)))
    moved = move(day, days) if day else None
    if moved is None:
        return None
    parts = [f"{moved.year:04d}", f"{moved.month:02d}" if m else "", f"{moved.day:02d}" if d else "", clock or ""]
    return "".join(parts) + (zone or "")


def read_dt(value: str) -> date | None:
    """The day of a DT value that has one."""
    match = _DT.match(value.strip("\0 "))
    return _make(*(int(g) for g in match.groups()[:3])) if match and match[3] else None


def is_tm(value: str) -> bool:
    """True for a TM value."""
    return bool(_TM.match(value.strip("\0 ")))


def move(day: date, days: int) -> date | None:
    """The day that many days later, where the calendar has it."""
    try:
        return day + timedelta(days)
    except OverflowError:
        return None
