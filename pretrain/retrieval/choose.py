"""From what a scan found to what each node takes: candidates with their evidence, and why the rest was refused."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pretrain.retrieval.needs import Need
from pretrain.retrieval.scan import Scan
from pretrain.tagging.tags import State

RRF = 60  # constant of reciprocal rank fusion (Cormack, Clarke and Buettcher, SIGIR 2009)


@dataclass(frozen=True)
class Rules:
    """When a document that does not name a node is believed to be about it.

    Attributes:
        similar: cosine from which it is; above 1 no such document is taken, which is the default because on real
            reports it was wrong most of the time (docs/tagging.md).
        kinds: a document about a kind of the node ("calcified granuloma") counts for the node ("granuloma").
    """

    similar: float = 1.01
    kinds: bool = True


@dataclass(frozen=True)
class Candidate:
    """A document for a node, and the evidence: how it names the node (or a kind of it), BM25 and cosine where among
    the best. ``reason`` is "" for what was taken."""

    node: str
    document: int
    named: str
    kind: str
    bm25: float | None
    cosine: float | None
    fused: float
    reason: str = ""


@dataclass(frozen=True)
class NodeResult:
    """What a node had, wanted, was offered and took. ``found`` counts documents by the arm that found them."""

    need: Need
    candidates: list[Candidate]
    found: Counter[str] = field(default_factory=Counter)

    @property
    def taken(self) -> list[Candidate]:
        return [candidate for candidate in self.candidates if not candidate.reason]

    @property
    def refused(self) -> Counter[str]:
        return Counter(candidate.reason for candidate in self.candidates if candidate.reason)


def choose(need: Need, kinds: set[str], scan: Scan, rules: Rules) -> NodeResult:
    """Candidates of one node, best first: those that name it as present, then a kind of it, then those alike."""
    own = scan.named.get(need.entity, {})
    of_kind: dict[int, tuple[State, str]] = {}
    for kind in sorted(kinds) if rules.kinds else ():
        for document, state in scan.named.get(kind, {}).items():
            if document not in of_kind or (state == "present" and of_kind[document][0] != "present"):
                of_kind[document] = state, kind
    bm25, cosine = dict(scan.bm25.get(need.entity, ())), dict(scan.cosine.get(need.entity, ()))
    fused = _fuse([scan.bm25.get(need.entity, ()), scan.cosine.get(need.entity, ())])
    offers = []
    for document in sorted({*own, *of_kind, *bm25, *cosine}):
        state, kind = own.get(document), ""
        if state != "present" and document in of_kind and (state is None or of_kind[document][0] == "present"):
            state, kind = of_kind[document]
        score = fused.get(document, 0.0)
        offers.append(
            Candidate(need.entity, document, state or "", kind, bm25.get(document), cosine.get(document), score)
        )
    offers.sort(key=lambda c: (_tier(c), -c.fused, c.document))
    found = Counter(
        {
            "named": sum(c.named == "present" and not c.kind for c in offers),
            "a kind named": sum(c.named == "present" and bool(c.kind) for c in offers),
            "full text": len(bm25),
            "meaning": len(cosine),
        }
    )
    return NodeResult(need, _judge(offers, need.want, scan, rules), found)


def _fuse(rankings: Sequence[Sequence[tuple[int, float]]]) -> dict[int, float]:
    """Reciprocal rank fusion: the sum over rankings of 1 / (60 + rank)."""
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, (document, _) in enumerate(ranking, 1):
            scores[document] = scores.get(document, 0.0) + 1 / (RRF + rank)
    return scores


def _tier(candidate: Candidate) -> int:
    if candidate.named == "present":
        return 1 if candidate.kind else 0
    return 3 if candidate.named else 2


def _judge(offers: Sequence[Candidate], want: int, scan: Scan, rules: Rules) -> list[Candidate]:
    judged, texts, left = [], set(), want
    for offer in offers:
        original = scan.same_as.get(offer.document, offer.document)
        reason = _refusal(offer, rules)
        if not reason and original in texts:
            reason = "same text as another"
        if not reason and left <= 0:
            reason = "over quota"
        if not reason:
            texts.add(original)
            left -= 1
        judged.append(
            Candidate(
                offer.node,
                offer.document,
                offer.named,
                offer.kind,
                offer.bm25,
                offer.cosine,
                round(offer.fused, 6),
                reason,
            )
        )
    return judged


def _refusal(offer: Candidate, rules: Rules) -> str:
    if offer.named == "present":
        return ""
    if offer.named:
        said = {"negated": "denied", "uncertain": "uncertain", "other": "in the past, or only asked about"}
        return f"named, but {said[offer.named]}"
    if offer.cosine is None or offer.bm25 is None:
        return "not named, and alike by words or by meaning alone"
    return "" if offer.cosine >= rules.similar else "not named, and not alike enough"


def table_row(result: NodeResult, names: Mapping[str, str]) -> dict[str, str | int]:
    """The line of a node in the table of results."""
    reasons = "; ".join(f"{reason}: {n}" for reason, n in sorted(result.refused.items(), key=lambda i: (-i[1], i[0])))
    return {
        "node": result.need.entity,
        "name": names[result.need.entity],
        "had": result.need.have,
        "wanted": result.need.want,
        **{f"found: {arm}": result.found[arm] for arm in ("named", "a kind named", "full text", "meaning")},
        "taken": len(result.taken),
        "missing": result.need.want - len(result.taken),
        "refused": reasons,
    }
