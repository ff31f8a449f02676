"""Words of a report for comparison: what counts as a word, and which words carry a fact that must not be merged away.

"5 mm nodule left" and "6 mm nodule right" are nearly the same string and different patients' facts. Words of four
kinds are therefore watched: numbers, sides and positions, negations, and degrees or changes. English and Chinese.
"""

import hashlib
import re
import unicodedata
from enum import IntEnum


class Kind(IntEnum):
    """What a token is to the guard; stored in the low four bits of its hash."""

    word = 0
    filler = 1
    end = 2
    number = 3
    sign = 4
    side = 5
    negation = 6
    degree = 7


FACTS = ("numbers", "sides", "negations", "degrees", "terms")
"""Names of the facts that are compared; ``terms`` are given by the caller (entity ids)."""

# A dot or comma between digits belongs to the number; a hyphen before a digit may be a minus.
_TOKEN = re.compile(
    r"\d+(?:[.,:/]\d+)*|[\u3400-\u9fff\uf900-\ufaff]|[^\W\d_\u3400-\u9fff\uf900-\ufaff]+(?:['’][^\W\d_]+)?"
    r"|[<>≤≥±=+%°]|[-−–](?=\d)|[.;!?。]"
)
_LISTS = {
    Kind.filler: "a an the of on in at to is are was were be been there this that with and as by for has have it its "
    "seen noted identified present evidence 的 了 在 是 有 见",
    Kind.negation: "no not non none without never nor neither cannot absent absence negative neg deny denies denied "
    "free lack lacks lacking exclude excluded excludes 无 未 没 不 非 否 排",
    Kind.side: "left right l r lt rt bilateral bilaterally both unilateral ipsilateral contralateral upper lower "
    "middle mid apical basal basilar medial lateral anterior posterior superior inferior proximal distal "
    "central peripheral 左 右 双 两 上 下 中 前 后 内 外",
    Kind.degree: "tiny small moderate large massive minimal mild mildly slight slightly moderately marked markedly "
    "severe severely gross trace subtle subtly extensive diffuse focal multifocal multiple single solitary acute "
    "chronic subacute new old stable unchanged increased increasing increase decreased decreasing decrease improved "
    "improving resolved resolving worse worsened worsening progressed persistent recurrent larger smaller "
    "normal abnormal benign malignant possible possibly probable probably likely unlikely suspicious suspected "
    "definite 轻 重 大 小 多 少 新 旧 增 减 急 慢 良 恶 正 异 疑 稳",
    Kind.number: "one two three four five six seven eight nine ten eleven twelve first second third fourth fifth "
    "half twice ii iii iv vi vii viii ix 一 二 三 四 五 六 七 八 九 十 百",
}  # fmt: skip
_KIND = {word: kind for kind, words in _LISTS.items() for word in words.split()}
_SIGNS = frozenset("<>≤≥±=+%°-−–")
_ENDS = frozenset(".;!?。")


def normalise(text: str) -> str:
    """One spelling for what differs in Unicode form, case and white space only; punctuation stays.

    >>> normalise("No  acute\\n DISEASE．")
    'no acute disease.'
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def tokens(normal: str) -> list[str]:
    """Words, numbers, single ideographs, signs and ends of sentences of a normalised text, in their order.

    >>> tokens("a 5.2 mm nodule, l4/5; none.")
    ['a', '5.2', 'mm', 'nodule', 'l', '4/5', ';', 'none', '.']
    """
    return _TOKEN.findall(normal)


def kind_of(token: str) -> Kind:
    if token in _ENDS:
        return Kind.end
    if token in _SIGNS:
        return Kind.sign
    if token[0].isdigit():
        return Kind.number
    if token.endswith(("n't", "n’t")):
        return Kind.negation
    return _KIND.get(token, Kind.word)


class Codes(dict[str, int]):
    """Token -> 64-bit number: 60 bits of a hash and its kind in the low four. Filled as tokens are met."""

    def __missing__(self, token: str) -> int:
        if len(self) > 1_000_000:  # misspellings and numbers never end; the dictionary must
            self.clear()
        digest = hashlib.blake2b(token.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        code = self[token] = (int.from_bytes(digest, "little") & ~15) | kind_of(token)
        return code
