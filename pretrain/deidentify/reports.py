"""Report texts: whose they are, and what leaves of them."""

import contextlib
import re
from pathlib import PurePosixPath

from pretrain.deidentify.errors import RefusedError, UnreadableError
from pretrain.deidentify.evidence import Identifier, of_path, of_patient, of_text, without_moved_dates
from pretrain.deidentify.identity import plain_text
from pretrain.deidentify.known import Known, Patient
from pretrain.deidentify.patterns import TOKEN
from pretrain.deidentify.proof import Proof
from pretrain.deidentify.text import Cleaned, TextCleaner
from pretrain.deidentify.vocabulary import CHINESE

MAX_TEXT_BYTES = 4 << 20
# Of the 3,500 common characters those that names of organs, findings and forms are made of.
_FREQUENT = frozenset(
    CHINESE + "的了在是不有和见未无为及与或等可性示像影所查诊断结论意患者男女岁年月日时间号名姓报告检医师院住门"
    "病变灶密度低高信增大小异常明显正形态清晰边缘区域征质少量多发结节肿块积液炎症出血梗死骨折转移癌瘤囊钙化支气管纹理"
    "淋巴膜壁组织软约较前次相似改进一二三四五六七八九十两对于由但请合临床随访建议考虑提"
)
_NOT_WESTERN = re.compile(
    "[^\\x00-\\x7f]{4}|[\x80-\x9fþÞðÐýÝ]|[£¿¹³¶¼¾¥¢]\\w|[^\\W\\dm][¹³²¶¼¾]"
    "|[^\\x00-\\x7fÀ-ÿŠšŽžŒœŸ‘’“”–—•…°±²³µ·½¼¾«»§©®™€£ºª¡¿¹\xa0×÷†‰]"
)


class Places:
    """Which patients a source's folders and file names belong to.

    A report is the patient's whose image has its name, or whose images alone lie in the folder of its name, or in its
    own folder; else the one whose number it quotes.
    """

    def __init__(self):
        self._folders: dict[str, str | None] = {}
        self._stems: dict[str, str | None] = {}

    def add(self, relative: str, key: str) -> None:
        """An image file of a patient."""
        path = PurePosixPath(relative)
        _unique(self._stems, stem_of(relative), key)
        for folder in path.parents:
            _unique(self._folders, str(folder), key)

    def owner(self, relative: str) -> str | None:
        """Key of the patient whose place this is."""
        stem = stem_of(relative)
        for found in (
            self._stems.get(stem),
            self._folders.get(stem),
            self._folders.get(str(PurePosixPath(relative).parent)),
        ):
            if found:
                return found
        return None


def _unique(table: dict[str, str | None], place: str, key: str) -> None:
    table[place] = key if table.get(place, key) == key else None


def stem_of(relative: str) -> str:
    """The path without an extension that says the kind of file; the last number of a UID is none."""
    return re.sub(r"\.(?:dcm|dicom|ima|img|txt|md|csv|tsv|jsonl)\Z", "", relative, flags=re.IGNORECASE)


def decode_text(data: bytes) -> str:
    """UTF-8, UTF-16 with its mark, else GB 18030 where it reads as Chinese, else Windows-1252 where that reads well.

    A wrong guess would hide every name with a letter outside ASCII from the rules, and anybody could turn it back:
    Müller in Latin-1 is also M黮ler in GB 18030. So a text that reads as neither is refused.

    Raises:
        UnreadableError: too large, binary, or in another encoding.
    """
    if len(data) > MAX_TEXT_BYTES:
        raise UnreadableError("text_too_large", f"the text is larger than {MAX_TEXT_BYTES >> 20} MiB")
    marked = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    if b"\0" in data and not marked:
        raise UnreadableError("not_text", "the file holds zero bytes: it is no text in UTF-8, GB 18030 or Windows-1252")
    for encoding, reads in (
        ("utf-16" if marked else "utf-8-sig", lambda text: "\0" not in text),
        ("gb18030", _reads_as_chinese),
        ("cp1252", _reads_as_western),
    ):
        with contextlib.suppress(UnicodeDecodeError):
            text = data.decode(encoding)
            if reads(text):
                return text
    raise UnreadableError("text_encoding", "neither UTF-8, nor surely GB 18030 or Windows-1252: convert it to UTF-8")


def _reads_as_chinese(text: str) -> bool:
    """A third of the characters are those of every report; of another encoding read wrongly it is one in twenty."""
    han = re.findall("[\u3400-\u9fff]", text)
    return bool(han) and sum(c in _FREQUENT for c in han) >= len(han) / 3


def _reads_as_western(text: str) -> bool:
    """Few letters outside ASCII, none that Polish, Turkish or Cyrillic would be here, and never many in a row."""
    return not _NOT_WESTERN.search(text)


def owner_of(text: str, relative: str, places: Places, known: Known) -> Patient | None:
    """The patient of a report.

    Raises:
        RefusedError: the numbers in it are those of another patient, or of several.
    """
    by_place = places.owner(relative)
    quoted: dict[str, Patient] = {}
    for token in set(TOKEN.findall(text)):
        if sum(c.isdigit() for c in token) >= 4:
            patient = known.owner(token)
            if patient is not None:
                quoted[patient.key] = patient
    if len(quoted) > 1 or (quoted and by_place and by_place not in quoted):
        raise RefusedError("several_patients", "the report quotes numbers of more than one patient")
    if by_place is not None:
        return known.patients.get(by_place)
    return next(iter(quoted.values()), None)


def clean_report(
    text: str, patient: Patient | None, cleaner: TextCleaner, finder: TextCleaner, relative: str = ""
) -> Cleaned:
    """Clean one text and prove it.

    Args:
        cleaner: of the run. finder: with all kinds on; what it finds in the input is the evidence.
        relative: path of the file, whose words are evidence too.

    Raises:
        LeakError: an identifier survived.
    """
    text = plain_text(text)
    cleaned = cleaner.clean(text, patient)
    prove_text(text, cleaned.text, patient, finder, set(of_path(relative)) if relative else set())
    return cleaned


def prove_text(
    text: str, cleaned: str, patient: Patient | None, finder: TextCleaner, more: set[Identifier], place: str = "text"
) -> None:
    """Raises LeakError where the cleaned text holds what the rules find, or what is known of the patient."""
    evidence = of_text(text, patient, finder) | (of_patient(patient) if patient is not None else set())
    proof = Proof(without_moved_dates({i for i in evidence | more if not i.weak}, patient, finder.keys))
    proof.text(cleaned, place)
    if any(span.kind == "age" for span in finder.find(cleaned, patient)):
        proof.found["age", place] += 1
    proof.conclude()
