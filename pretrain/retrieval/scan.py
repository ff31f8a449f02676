"""One pass over a pool: which documents name a node, and how near each is by words and by meaning.

Documents come in blocks; of each only what the queries need is kept: mentions of wanted entities, counts of query words
and the best cosines. Full text is BM25 (Robertson and Zaragoza, Foundations and Trends in IR 2009, eq. 3.15).
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from med_entity_tree.corpus import Document, read_documents
from med_entity_tree.names import words
from med_entity_tree.tagger import Tagger
from pretrain.retrieval.needs import Query
from pretrain.tagging.tags import State, state_of

Encode = Callable[[Sequence[str]], np.ndarray]
BLOCK = 512
_STRENGTH: dict[State, int] = {"other": 0, "uncertain": 1, "negated": 2, "present": 3}


def read_pool(path: Path, text: str = "text", identity: str | None = None) -> Iterator[Document]:
    """``(id, text)`` of a folder of shards (what their conversations say), of .txt files, or of a table."""
    if (path / "dataset.json").is_file():
        from pretrain.shards import ShardReader, ShardSet
        from pretrain.tagging.turns import text_of

        for sample in ShardReader(ShardSet.open(path)):
            yield sample.key, "\n".join(text_of(m) for m in sample.messages if m["role"] != "system")
        return
    yield from read_documents(path, text, identity)


@dataclass
class Scan:
    """What the pass found; documents by their number in the pool.

    Attributes:
        ids: names of the documents.
        same_as: number of an earlier document with the same words.
        named: entity -> document -> strongest state; of the entities asked for and of their kinds.
        cosine: node -> the best (document, cosine), best first.
        bm25: node -> the best (document, score), best first.
    """

    ids: list[str] = field(default_factory=list)
    same_as: dict[int, int] = field(default_factory=dict)
    named: dict[str, dict[int, State]] = field(default_factory=lambda: defaultdict(dict))
    cosine: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    bm25: dict[str, list[tuple[int, float]]] = field(default_factory=dict)


def scan_pool(
    documents: Iterable[Document],
    queries: Mapping[str, Query],
    watched: set[str],
    tagger: Tagger,
    encode: Encode | None,
    reach: int,
    progress: Callable[[int], None] = lambda documents: None,
) -> Scan:
    """
    Args:
        queries: by node.
        watched: entities whose mentions are kept.
        encode: texts to N x D unit vectors; None leaves meaning out.
        reach: documents kept of each node by words, and by meaning.
    """
    scan, seen = Scan(), {}
    nodes = list(queries)
    vocabulary = {word: n for n, word in enumerate(sorted({w for q in queries.values() for w in q.words}))}
    counted = _WordCounts(vocabulary)
    asked = encode([queries[node].text for node in nodes]) if encode and nodes else None
    best = _Best(len(nodes), reach)
    source = iter(documents)
    while block := list(islice(source, BLOCK)):
        first, texts = len(scan.ids), [text for _, text in block]
        scan.ids += [identity for identity, _ in block]
        for at, (mentions, text) in enumerate(zip(tagger.tag_many(texts), texts), first):
            for mention in mentions:
                if mention.entity in watched:
                    _keep(scan.named[mention.entity], at, state_of(mention.assertion))
            tokens = words(text)
            counted.add(tokens)
            key = hashlib.blake2b(" ".join(tokens).encode(), digest_size=16).digest()
            if seen.setdefault(key, at) != at:
                scan.same_as[at] = seen[key]
        if asked is not None and encode is not None:
            best.add(asked @ encode(texts).T, first)
        progress(len(block))
    scan.bm25 = {node: counted.bm25(queries[node].words, reach) for node in nodes}
    scan.cosine = {node: best.rows(n) for n, node in enumerate(nodes)} if asked is not None else {}
    return scan


def _keep(states: dict[int, State], document: int, state: State) -> None:
    if document not in states or _STRENGTH[state] > _STRENGTH[states[document]]:
        states[document] = state


class _WordCounts:
    """Counts of the query words in every document, sparse, and lengths."""

    def __init__(self, vocabulary: Mapping[str, int]):
        self.vocabulary = vocabulary
        self.lengths: list[int] = []
        self.postings: list[list[tuple[int, int]]] = [[] for _ in vocabulary]

    def add(self, tokens: Sequence[str]) -> None:
        counts: dict[int, int] = defaultdict(int)
        for token in tokens:
            if (column := self.vocabulary.get(token)) is not None:
                counts[column] += 1
        for column, count in counts.items():
            self.postings[column].append((len(self.lengths), count))
        self.lengths.append(len(tokens))

    def bm25(self, query: Mapping[str, float], most: int, k1: float = 1.2, b: float = 0.75) -> list[tuple[int, float]]:
        """The ``most`` best documents of a weighted query; documents without any of its own words are left out."""
        lengths = np.array(self.lengths or [1], np.float64)
        average = max(float(lengths.mean()), 1.0)
        scores, own = np.zeros(len(lengths)), np.zeros(len(lengths), bool)
        for word, weight in query.items():
            posting = self.postings[self.vocabulary[word]]
            if not posting:
                continue
            rows, counts = np.array(posting).T
            idf = np.log1p((len(lengths) - len(rows) + 0.5) / (len(rows) + 0.5))
            scores[rows] += weight * idf * counts * (k1 + 1) / (counts + k1 * (1 - b + b * lengths[rows] / average))
            own[rows] |= weight >= 1.0
        order = np.lexsort((np.arange(len(scores)), -scores))
        return [(int(i), float(scores[i])) for i in order[: most + int((~own).sum())] if own[i]][:most]


class _Best:
    """The greatest cosines of each query so far."""

    def __init__(self, queries: int, most: int):
        self.most = most
        self.value = np.empty((queries, 0), np.float32)
        self.document = np.empty((queries, 0), np.int64)

    def add(self, cosines: np.ndarray, first: int) -> None:
        """``cosines`` Q x B of the documents from number ``first`` on."""
        numbers = np.broadcast_to(np.arange(first, first + cosines.shape[1]), cosines.shape)
        value = np.concatenate([self.value, cosines.astype(np.float32)], 1)
        document = np.concatenate([self.document, numbers], 1)
        order = np.argsort(-value, axis=1, kind="stable")[:, : self.most]  # the earlier of equals stays
        self.value = np.take_along_axis(value, order, 1)
        self.document = np.take_along_axis(document, order, 1)

    def rows(self, query: int) -> list[tuple[int, float]]:
        return [(int(d), float(v)) for d, v in zip(self.document[query], self.value[query])]


class StoredEncoder:
    """An encoder that keeps the vectors of a block on the disk, so that a killed run does not encode it again."""

    def __init__(self, encode: Encode, folder: Path):
        self.encode, self.folder = encode, folder
        self.model_name = getattr(encode, "model_name", "unnamed encoder")
        folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        digest = hashlib.sha256(self.model_name.encode())
        for text in texts:
            data = text.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "little") + data)
        path = self.folder / f"{digest.hexdigest()[:32]}.npy"
        if path.is_file():
            return np.load(path, allow_pickle=False)
        vectors = self.encode(texts)
        part = path.with_name(path.name + ".tmp")
        with part.open("wb") as file:
            np.save(file, vectors, allow_pickle=False)
        part.replace(path)
        return vectors
