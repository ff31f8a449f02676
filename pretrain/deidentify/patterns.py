"""What gives away a person or a place in English and Chinese reports: patterns, each with the context it needs.

A group called ``what...`` is the part that identifies; without one the whole match does.
"""

# ruff: noqa: E501  (expressions are not folded)

import re
from collections.abc import Iterator

from pretrain.deidentify.identity import fold
from pretrain.deidentify.vocabulary import plain_words

_ASCII = r"(?<![A-Za-z0-9.])", r"(?![A-Za-z0-9]|\.\d)"

TOKEN = re.compile(r"(?<![A-Za-z0-9.-])[A-Za-z0-9][A-Za-z0-9.-]*[A-Za-z0-9](?![A-Za-z0-9])")  # what may be a number
UID = re.compile(
    r"(?<![\w.])(?:2\.25\.[1-9]\d{7,38}|(?=[\d.]{16,64}(?![\w]|\.\d))[0-2](?:\.(?:0|[1-9]\d*)){4,})(?![\w]|\.\d)"
)
EMAIL = re.compile(
    r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+|[\w.+-]+\s(?:at|\(at\)|\[at\])\s[\w-]+\s?(?:dot|\(dot\)|\[dot\]|\.)\s?(?:com|org|net|edu|gov|de|uk|eu|cn)\b"
)
URL = re.compile(
    r"(?:https?|ftp|file)://[^\s\"'<>]+|\bwww\.[^\s\"'<>]+|(?<![\w\\])(?:[A-Za-z]:\\|\\\\)[^\s\"'<>]+"
    r"|(?<![\w/.])/(?:home|users|mnt|data|media|tmp|var|opt|srv|root|volumes|export)/[^\s\"'<>]+"
    r"|(?<![\d.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\d.])"
)

_STREET = "Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Way|Place|Pl|Terrace|Parkway|Pkwy|Highway|Hwy|Square|Crescent|Close"
_TOWN = r"[A-Z][A-Za-z.'’-]+(?:\s[A-Z][A-Za-z.'’-]+){0,3},?\s+[A-Z]{2}\s+\d{5}(?:-\d{4})?"
ADDRESS = re.compile(
    r"(?i:\b(?:home |mailing |patient )?(?:address|residence)\s*[:=]\s*)(?P<what1>[^\n;.]{4,100})"
    rf"|(?P<what2>\b\d{{1,6}}[A-Z]?\s+(?:[NSEW]\.?\s+)?(?:(?:[A-Z][a-z'’-]+|\d+(?:st|nd|rd|th))\s+){{1,4}}(?:{_STREET})\b\.?"
    rf"(?:,?\s+(?:Apt|Apartment|Suite|Ste|Unit|Floor|#)\.?\s*\w+)?(?:,?\s+{_TOWN})?)"
    r"|(?P<what3>\b\d{1,6}\s+(?:[A-Z][A-Z'’-]+\s+){1,4}(?:STREET|AVENUE|ROAD|BOULEVARD|LANE|DRIVE|TERRACE)\b)"
    rf"|(?P<what4>\b{_TOWN}\b)"
    r"|(?P<what5>\b[Pp]\.?\s?[Oo]\.?\s?[Bb]ox\s+\d+)"
    r"|(?:地址|住址|户籍|籍贯|居住地)\s*[:：]\s*(?P<what6>(?:(?!\s{2})[^\n；;。，,]){2,60})"
    r"|(?P<what7>[\u4e00-\u9fff]{2,6}(?:省|自治区|市)[\u4e00-\u9fff]{1,8}?(?:市|区|县|州)[\u4e00-\u9fff0-9A-Za-z-]{0,24}?(?:号|村|室|栋|单元)(?:[\d-]+(?:号|室|楼|单元|栋))*)"
    r"|(?P<what8>[\u4e00-\u9fff]{2,6}(?:路|街|大道|巷|胡同)\d+(?:号|弄)(?:[\d-]+(?:号|室|楼|单元|栋))*)"
)

_PLACE_END = r"(?:Hospitals?|Medical\s+Cent(?:er|re)|Health\s+(?:System|Center|Centre)|Healthcare|Clinic|Infirmary|Imaging\s+Cent(?:er|re)|Cancer\s+Cent(?:er|re)|Radiology\s+(?:Associates|Group|Partners))"
_PLACE_HAN = "医院|卫生院|卫生服务中心|诊所|医学中心|体检中心"
_PLACES = re.compile(
    rf"(?<!\w)(?P<latin>(?:(?:St|Mt)\.?\s+)?(?:[A-Z][\w'’&-]*\s+(?:(?:of|de|and|the|&)\s+)?){{1,4}}(?i:{_PLACE_END}))\b"
    rf"|(?P<han>[\u4e00-\u9fff]{{2,20}}?(?:{_PLACE_HAN}))"
)
_HAN_BEFORE = re.compile("[于在至到由从经赴往去自向来与、和及]")
_HAN_ANY_PLACE = re.compile(
    f"(?:上级|当地|外地|下级|其他|综合|专科|多家|各|我|本|外|该|贵|住|出|入|转)(?:{_PLACE_HAN})"
)


BIRTH_LABEL = re.compile(
    r"\b(?:dob|yob|d\.o\.b\.?|(?:date|year) of birth|birth\s?(?:date|year)|birthday|born(?:\s+(?:on|in))?|b\.|geb\.?|geboren(?:\s+am)?|née?|nacid[oa]|jahrgang)"
    r"(?!\w)\s*[:=]?\s*|(?<![\w*])\*\s*|(?:出生(?:日期|年月日?)?|生日|生于|生年月日)\s*[:：]?\s*",
    re.IGNORECASE,
)
BIRTH_YEAR = re.compile(r"(?:1[89]|20)\d\d(?![\w/-]|\.\d)")
BIRTH_AFTER = re.compile(r"\s*(?:出生|生人|生まれ|生(?![\u4e00-\u9fff]))")

_LABELS = r"""
mrn|m\.r\.n\.?|medical\ record(?:\ (?:number|no\.?|\#))?|med\ rec|hospital\ (?:number|no\.?|id)|chart\ (?:number|no\.?)
|pat(?:ient|\.)?\ ?(?:id|number|no\.?|identifier)|pid|accession(?:\ (?:number|no\.?|\#))?|acc\ (?:number|no\.?|\#)|account(?:\ (?:number|no\.?))?
|(?:encounter|visit|order|exam|study|case|requisition|claim|specimen)\ (?:number|no\.?|id)|csn
|ssn|social\ security(?:\ (?:number|no\.?))?|nhs(?:\ (?:number|no\.?))?|insurance(?:\ (?:id|number|no\.?))?
|(?:policy|medicare|medicaid|member|group|licen[cs]e|passport|employee|badge|certificate)\ ?(?:id|number|no\.?)
|npi|serial\ (?:number|no\.?)|s/n|device\ id|room|pager|beeper
"""
# Words that are clinical as well (a volar plate, an adrenocortical carcinoma): a colon or number sign must follow.
_LABELS_WITH_SIGN = "acc|encounter|fin|plate|vin|dea|serial|order|case"
_MEASURE = r"(?:mm|cm|ml|cc|mg|hu|fr|french|g|x|×|%|degrees?|°)"
LABELLED_ID = re.compile(
    r"(?<![^\W_])(?i:(?:"
    + re.sub(r"\n", "", _LABELS).replace(r"\ ", r"[\s_]?").replace(r"\#", "#")
    + rf")(?![^\W_])[\s:#=.]*|(?:{_LABELS_WITH_SIGN})\s?[:#=][\s:#=]*)(?i:is\s+|no\.?\s+)?#?\s*"
    + rf"(?i:(?!\d+(?:\.\d+)?\s?{_MEASURE}(?![A-Za-z])))(?P<what1>(?=[A-Za-z0-9./-]*\d)[A-Za-z0-9][A-Za-z0-9./-]+[A-Za-z0-9])"
    r"|(?:身份证号?码?|住院号|门诊号|病历号|病案号|病人号|患者编号|检查号|影像号|放射号|登记号|申请单号|流水号|床号|医保卡?号"
    r"|就诊卡?号|卡号|护照号码?|超声号|CT号|MR号|X线号|病理号|编号|(?<![A-Za-z])ID号?)\s*[:：#]?\s*(?P<what2>[A-Za-z0-9][A-Za-z0-9-]*)"
)
BARE_ID = re.compile(
    rf"{_ASCII[0]}(?:\d{{17}}[\dXx]|\d{{3}}[ -]\d{{2}}[ -]\d{{4}}|\d{{6}}-\d{{4}}|756\.\d{{4}}\.\d{{4}}\.\d{{2}}|\d{{4}}(?:[ -]\d{{4}}){{2,3}}"
    rf"|[A-Z]{{2}}(?: ?\d{{2}}){{3}} ?[A-D]|(?=[A-Z]*\d[A-Z]*\d[A-Z]*\d[A-Z0-9]*\d{{4}}(?!\w))[A-HJ-NPR-Z0-9]{{17}}|\d{{7,}}|[A-Z]{{1,5}}-?\d{{5,}}"
    rf"|[0-9a-fA-F]{{8}}-(?:[0-9a-fA-F]{{4}}-){{3}}[0-9a-fA-F]{{12}}){_ASCII[1]}"
)
PHONE = re.compile(
    r"(?P<what1>(?<![\d.=])(?<!\bb )(?<!values )(?<!values of )(?:\+?1[\s.-]?)?(?:\(\d{3}\)\s?|\d{3}[\s.-])\d{3}[\s.-]\d{4}(?:\s?(?:x|ext\.?)\s?\d+)?(?!\d))"
    r"|(?P<what2>(?<![\w.])\+\d{1,3}[\s.-]?(?:\(?\d{1,4}\)?[\s.-]?){2,5}\d{2,4}(?!\d))"
    r"|(?P<what3>(?<!\d)1[3-9]\d[- ]?\d{4}[- ]?\d{4}(?!\d))|(?P<what4>(?<!\d)0\d{2,3}[- ]\d{7,8}(?!\d))"
    r"|(?i:\b(?:tele?(?:phone)?|phone|fax|pager)\b|电话|手机号?码?|传真|联系方式)"
    r"[.:：#\s]*(?:at\s+)?(?P<what5>[+\d(][\d\s()./-]{2,}\d)"
    # In a sentence these are movements and cells; only what is as long as a number one can dial counts.
    r"|\b(?i:ext|extension|mobile|cell|call(?:ed)?(?:\s+at)?)\b[.:#\s]*(?:at\s+)?(?P<what6>\d{4,5}(?![\d.,]|\s?(?:mm|cm|ml|degrees|°|-))|\d{3}[.-]\d{4}\b)"
)
_OLD = r"(?:9\d|1[0-4]\d)"
_OLD_WORD = r"(?:ninety|(?:one |a )?hundred)(?:[\s-](?:and[\s-])?(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen))?"
_NO_FEVER = "".join(
    f"(?<!(?i:{word} ))" for word in ("fever", "fever of", "temp", "temp of", "temperature", "temperature of", "to")
)
OLD_AGE = re.compile(
    rf"(?P<what1>(?<![\d.,/-])0?{_OLD})(?="
    r"\s*-?\s*(?i:years?|yrs?|y)(?:[\s.,-]*(?i:and\s+)?\d{1,2}[\s-]*(?i:months?|mos?|m))?[\s.-]*(?:(?i:old|of age)|o\b|/\s?o)"
    r"|\s?y\.?\s?/?\s?o\b|\s*(?:-?jährig|ans\b|años|周?岁|歳|才|세|살))"
    rf"|{_NO_FEVER}(?P<what3>(?<![\d.,/-])9\d|10\d)(?=\s?[FM]\b(?!\w)|/[FM]\b)|(?<![^\W_])[FM]/(?P<what4>{_OLD})(?![\d.+])"
    rf"|(?i:\bage[ds]?\s*[:=]?\s*|年龄\s*[:：]?\s*|年齢\s*[:：]?\s*)0?(?P<what2>{_OLD})(?:Y\b)?(?![\d.+])"
    rf"|(?i:(?P<what5>\b{_OLD_WORD})(?=[\s-]*(?:years?|yrs?)[\s-]*(?:old|of age)\b))|(?i:\baged\s+(?P<what6>{_OLD_WORD})\b)"
)

_UP, _LOW = "A-ZÀ-ÖØ-Þ", "a-zß-öø-ÿ"
_TOKEN = (
    rf"(?:[{_UP}][{_LOW}]*['’]?[{_UP}]?[{_LOW}]+(?:[-'’][{_UP}]?[{_LOW}]+)*|[{_UP}]{{2,}}(?:[-'’][{_UP}]+)*|[{_UP}]\.?(?![{_UP}{_LOW}])"
    r"|(?:de|da|di|dos|van|von|der|den|la|le|al|el|bin|ibn|ter)\b)"
)
_NAME = rf"{_TOKEN}(?:(?:,[ \t]|[ \t]|-){_TOKEN}){{0,3}}"
_ANY_NAME = r"[^\W\d_][^\W\d_'’.-]*(?:['’.-][^\W\d_]+)*\.?(?:,?[ \t][^\W\d_][^\W\d_'’.-]*(?:['’.-][^\W\d_]+)*\.?){0,3}"
_TITLE = r"(?:(?i:dr|drs|prof|mr|mrs|ms)\.?|Doctor|DOCTOR|Professor|Miss|Nurse|Sister)(?![^\W_])[ \t]*"
_BY = (
    r"(?:dictated|transcribed|(?:e-?|electronically |digitally )?signed(?: off)?|authenticated|verified|approved|finali[sz]ed"
    r"|interpreted|reported|read|reviewed|performed|ordered|requested|referred|released|attested|prepared|edited|checked"
    r"|examined|scanned|entered|created|supervised|accompanied)(?: and \w+)?\s+by|discussed with|communicated (?:to|with)"
    r"|called to|notified|informed|paged|spoke (?:with|to)|conveyed to|relayed to|telephoned to|(?:was|were) given to"
)
_FIELD = (
    r"(?:patient(?:['’]s)?|pt)(?:[ _]name)?|(?:full |first |last |sur|family |given |maiden )?name|(?:attending|referring|ordering|reading|requesting"
    r"|performing|consulting|primary care|signing)(?: (?:physician|provider|doctor|md|radiologist|clinician))?|radiologist"
    r"|resident|fellow|physician|provider|doctor|technologist|tech|sonographer|operator|surgeon|consultant|dictator"
    r"|transcriptionist|author|reader|spouse|husband|wife|mother|father|son|daughter|next of kin|contact|guardian"
    r"|emergency contact|nurse|rn|witness"
)
_CREDENTIAL = r"(?:M\.?D\.?|D\.?O\.?|FRCR|FACR|FRANZCR|MBBS|MBChB|R\.?N\.?|PA-C|N\.?P\.?|Ph\.?D\.?|RDMS|RVT|R\.?T\.?(?:\(R\))?)(?![^\W_])"
_SURNAMES = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林郑谢罗梁宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范金石廖贾夏"
    "韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤欧阳司马诸葛上官"
)
_NAMES = re.compile(
    rf"\b{_TITLE}(?P<title>{_NAME})"
    rf"|(?<![^\W_])(?i:{_FIELD})[ \t]*[:=][ \t]*(?:{_TITLE})?(?P<field>{_ANY_NAME})"
    rf"|\b(?i:cc)[ \t]*:[ \t]*(?P<copy>{_TOKEN}[ \t,]+{_TOKEN})"  # one word is a chief complaint
    rf"|\b(?i:{_BY})(?![^\W_])[ \t]*:?[ \t]*(?:{_TITLE})?(?P<by>{_NAME})"
    rf"|(?P<credential>{_NAME})(?:,?[ \t]+|,){_CREDENTIAL}"
    r"|(?P<caret>[^\W\d_][^\W\d_'’-]+(?:\^[^\W\d_][^\W\d_'’-]*)+)"
    r"|(?:姓名|报告医[师生]|审核医[师生]|诊断医[师生]|检查医[师生]|申请医[师生]|主治医[师生]|住院医[师生]|主任医[师生]|记录者?|书写者?|签名|签字"
    r"|技师|操作者?|检查者|报告者|审核者|护士|联系人|家属|报告人|审核人)\s*[:：]\s*(?P<han1>[\u4e00-\u9fff·]{2,4})"
    rf"|(?:患者|病人)\s*[:：]?\s*(?P<han2>[{_SURNAMES}][\u4e00-\u9fff]{{1,2}})(?=[，,、。\s]*(?:男|女|性别|年龄|\d{{1,3}}\s*岁))"
    rf"|(?P<han3>[{_SURNAMES}][\u4e00-\u9fff]{{0,2}}?)(?:主任医师|副主任|主任|医生|医师|教授|大夫|护士长)"
)
_PART = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")


def names_in_context(text: str) -> Iterator[tuple[int, int]]:
    """Names that a title, a label, a verb or a credential announces, without the ordinary words that follow them."""
    at = 0
    while match := _NAMES.search(text, at):
        group = match.lastgroup or ""
        start, end = match.span(group)
        at = max(end, match.start() + 1)
        if group.startswith("han"):
            yield start, end
            continue
        words = list(_PART.finditer(text, start, end))
        keep = _as_name(words, group)
        if keep:
            yield keep[0].start(), keep[-1].start() + len(_base(keep[-1]))
        else:
            at = match.start() + max(1, (words[0].end() if words else end) - match.start())


def _base(word: re.Match[str]) -> str:
    """The word folded, without the 's of a possessive."""
    return re.sub(r"['’]s\Z", "", fold(word.group()))


def _as_name(words: list[re.Match[str]], group: str) -> list[re.Match[str]]:
    """The words up to the first that is an ordinary one; none where already the first is.

    After a title or before a credential the first word is a name whatever it means elsewhere (Dr. Long).
    """
    plain = [_base(w) in plain_words() for w in words]
    if group == "credential":  # the name is what stands last before the credential
        begin = max((i + 1 for i, p in enumerate(plain[:-1]) if p), default=0)
        return words[begin:] if not all(plain[begin:]) else []  # "pain RT" is a side
    first = 1 if group == "title" else 0
    for i, is_plain in enumerate(plain):
        if is_plain and i >= first:
            return words[:i]
    return words


def places_in_context(text: str) -> Iterator[tuple[int, int]]:
    """Hospitals and practices by what their names end with; "our hospital" and 上级医院 name none."""
    for match in _PLACES.finditer(text):
        start, end = match.span()
        if match.lastgroup == "han":
            if _HAN_ANY_PLACE.search(text, start, end):
                continue
            before = [m.end() for m in _HAN_BEFORE.finditer(text, start, end - 3)]
            yield (before[-1] if before else start), end
            continue
        words = list(_PART.finditer(text, start, end))
        while len(words) > 2 and fold(words[0].group()) in plain_words():
            words.pop(0)
        yield words[0].start(), end
