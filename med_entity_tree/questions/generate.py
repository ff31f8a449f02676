"""From a tree to questions on the disk: chains, distractors, balance, wording, splits, the check by the second
implementation. The same tree and settings give the same bytes."""

import hashlib
import json
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from med_entity_tree.errors import OntologyError
from med_entity_tree.graph import Edge
from med_entity_tree.questions.balance import adversarial, even
from med_entity_tree.questions.biases import Floor, Item, Signals, measure
from med_entity_tree.questions.check import check
from med_entity_tree.questions.distractors import DistractorPicker, Distractors
from med_entity_tree.questions.hops import PARENT, Chain, Facts
from med_entity_tree.questions.paths import MOST_HOPS, Limits, PathSampler, start_weights
from med_entity_tree.questions.pose import LETTERS, conversation, option_name, stem
from med_entity_tree.questions.split import split_names
from med_entity_tree.tree import Tree
from vlm.messages import validate_messages

REPORT = "report.json"
_SURPLUS = (2.4, 4.0, 7.0)  # chains for each question that is asked for; tried one after the other
_OF_AN_ANSWER = 2  # questions of one length
_STOCK, _STOCK_HOPS = 2, 3  # walks for distractors for each chain, and the longest of them


@dataclass(frozen=True, slots=True)
class Settings:
    """What is asked for: ``count`` questions of each number of hops."""

    hops: tuple[int, ...] = (1, 2, 3, 4, 5, 6)
    count: int = 1000
    seed: int = 0
    options: int = 4
    exponent: float = 0.5  # of start weights; counts only where coverage counts are given
    per_start: int = 4  # questions of one length from one start
    split: Mapping[str, float] = field(default_factory=lambda: {"train": 0.8, "val": 0.1, "test": 0.1})
    limits: Limits = field(default_factory=Limits)

    def validate(self) -> None:
        """Raises OntologyError for settings that cannot be met."""
        if not self.hops or not set(self.hops) <= set(range(1, MOST_HOPS + 1)):
            raise OntologyError(f"{self.hops} are no numbers of hops", f"Ask for 1 to {MOST_HOPS}, such as 1-6 or 2,4")
        if not 2 <= self.options <= len(LETTERS):
            raise OntologyError(f"{self.options} options", f"Ask for 2 to {len(LETTERS)}")
        if self.count < 1:
            raise OntologyError(f"{self.count} questions", "Ask for at least one of each number of hops")


@dataclass(slots=True)
class Made:
    """Questions and what is known of them."""

    records: list[dict]
    floors: list[Floor]
    dropped: Counter[str]
    distances: Counter[int]


@dataclass(frozen=True, slots=True)
class _Draft:
    chain: Chain
    wrong: Distractors
    question: str

    def item(self, entities, order: Sequence[int]) -> Item:
        options = [self.chain.answer, *self.wrong.entities]
        names = tuple(option_name(entities[options[n]]) for n in order)
        return Item(
            self.chain.start,
            len(self.chain.hops),
            self.question,
            names,
            tuple(options[n] for n in order),
            list(order).index(0),
        )


Progress = Callable[[str, int, int], None]  # stage, done, of


class _Maker:
    """One run: the graph in memory and what is dropped on the way."""

    def __init__(self, tree: Tree, settings: Settings, counts: Mapping[str, int] | None, progress: Progress | None):
        self.tree, self.settings, self.progress = tree, settings, progress
        self.edges = list(tree.edges())
        self.facts = Facts(tree, self.edges)
        self.sampler = PathSampler(tree.entities, self.facts, settings.limits)
        self.signals = Signals(tree.entities, self.facts)
        self.weights = start_weights(self.sampler.starts(), counts, settings.exponent)
        self.dropped: Counter[str] = Counter()

    def _tell(self, stage: str, done: int, of: int) -> None:
        if self.progress is not None:
            self.progress(stage, done, of)

    def drafts(self) -> list[_Draft]:
        """Kept questions, ``count`` of each number of hops."""
        kept: list[_Draft] = []
        for hops in self.settings.hops:
            for surplus in _SURPLUS:
                dropped: Counter[str] = Counter()
                found = self._kept(hops, round(self.settings.count * surplus), dropped)
                if len(found) == self.settings.count:
                    break
            else:
                raise OntologyError(
                    f"{len(found):,} of {self.settings.count:,} questions of {hops} hop(s) could be balanced; "
                    f"left out: {dict(dropped.most_common(6))}",
                    "Ask for fewer questions, or build a tree with more sources",
                )
            kept += found
            self.dropped.update(dropped)
        return kept

    def _kept(self, hops: int, total: int, dropped: Counter[str]) -> list[_Draft]:
        """Balanced questions of one number of hops, from ``total`` chains."""
        settings, stage = self.settings, f"{hops} hop{'s' * (hops > 1)}"
        self.sampler.spare.clear()
        self.sampler.failed.clear()
        self._tell(f"{stage}: chains", 0, total)
        chains = self.sampler.many(
            total,
            hops,
            settings.seed,
            self.weights,
            settings.per_start,
            lambda n: self._tell(f"{stage}: chains", n, total),
        )
        self.sampler.stock(_STOCK * total, [min(hops, _STOCK_HOPS)], settings.seed, self.weights)
        dropped.update(self.sampler.failed)
        picker = DistractorPicker(self.tree.entities, self.facts, self.sampler.spare, settings.options - 1)
        drafts: list[_Draft] = []
        self._tell(f"{stage}: options", 0, total)
        for chain in chains:
            rng = random.Random(f"question {settings.seed} {chain.nodes}")
            wrong = picker.pick(chain, rng)
            self._tell(f"{stage}: options", 1, total)
            if wrong is not None:
                drafts.append(_Draft(chain, wrong, stem(chain, self.tree.entities, rng)))
        dropped.update(picker.refused)
        drafts = self._of_few_answers(drafts, dropped)
        items = [draft.item(self.tree.entities, range(settings.options)) for draft in drafts]
        # The filter leaves a fifth more than is needed, for the quotas to choose from.
        left = adversarial(items, self.signals, round(1.2 * settings.count), dropped)
        chosen = even([items[n] for n in left], self.signals, settings.count, dropped)
        return [drafts[left[n]] for n in chosen]

    @staticmethod
    def _of_few_answers(drafts: Sequence[_Draft], dropped: Counter[str]) -> list[_Draft]:
        """At most ``_OF_AN_ANSWER`` questions of each answer: what is right often elsewhere would be the best guess.
        One only turned the habit round: what was right elsewhere was then right in 0.10 of four options."""
        taken: Counter[str] = Counter()
        kept = []
        for draft in drafts:
            answer = draft.chain.answer
            if taken[answer] >= _OF_AN_ANSWER:
                dropped["its answer is the answer of enough others"] += 1
            else:
                taken[answer] += 1
                kept.append(draft)
        return kept

    def record(self, draft: _Draft, letter: int, split: str) -> dict:
        """The stored form of a question whose answer is to be option number ``letter``."""
        chain, settings, entities = draft.chain, self.settings, self.tree.entities
        order = list(range(1, settings.options))
        random.Random(f"order {settings.seed} {chain.nodes}").shuffle(order)
        order.insert(letter, 0)
        item = draft.item(entities, order)
        messages = conversation(draft.question, item.names, LETTERS[letter])
        validate_messages(messages, 0)
        digest = hashlib.sha256(json.dumps([messages, chain.nodes], ensure_ascii=False).encode()).hexdigest()
        return {
            "id": f"kgq-{digest[:16]}",
            "messages": messages,
            "question": draft.question,
            "options": [
                {"letter": LETTERS[n], "entity": entity, "name": name}
                for n, (entity, name) in enumerate(zip(item.entities, item.names))
            ],
            "answer": LETTERS[letter],
            "hops": len(chain.hops),
            "type": chain.type,
            "start": chain.start,
            "steps": [asdict(hop) for hop in chain.hops],
            "path": self._path(chain),
            "entities": list(chain.nodes),
            "fitting": list(chain.widths),
            "distractors_from": draft.wrong.distance,
            "split": split,
            "seed": settings.seed,
        }

    def _path(self, chain: Chain) -> list[dict]:
        """The stored edge of each hop, the most frequent one where several sources state it."""
        return [
            asdict(self._edge(here, there, hop.kind) if hop.forward else self._edge(there, here, hop.kind))
            for here, there, hop in zip(chain.nodes, chain.nodes[1:], chain.hops)
        ]

    def _edge(self, head: str, tail: str, kind: str) -> Edge:
        if kind == PARENT:
            return Edge(head, PARENT, tail, "MET", -1.0, self.tree.entities[head].placed_by)
        stated = [e for e in self.tree.graph.out[head] if e.kind == kind and e.tail == tail]
        return max(stated, key=lambda e: (e.frequency, e.source))


def make_questions(
    tree: Tree, settings: Settings, counts: Mapping[str, int] | None = None, progress: Progress | None = None
) -> Made:
    """Questions of a tree, balanced and checked. ``counts``: documents by entity, of `medvlm met count`.

    Raises:
        OntologyError: settings that cannot be met, or a question that the second implementation does not derive.
    """
    settings.validate()
    maker = _Maker(tree, settings, counts, progress)
    kept = maker.drafts()
    names = split_names([draft.chain for draft in kept], settings.split, settings.seed)
    records = []
    turns: dict[tuple[int, str], list[int]] = {}
    rng = random.Random(f"letters {settings.seed}")
    for draft, split in zip(kept, names, strict=True):
        # Letters are dealt in rounds, so each is right equally often for each number of hops in each split.
        deck = turns.setdefault((len(draft.chain.hops), split), [])
        if not deck:
            deck.extend(rng.sample(range(settings.options), settings.options))
        records.append(maker.record(draft, deck.pop(), split))
    maker._tell("check", 0, len(records))
    verify(records, tree.folder, lambda n: maker._tell("check", n, len(records)))
    floors = measure([item_of(record) for record in records], maker.signals)
    distances = Counter(record["distractors_from"] for record in records)
    return Made(records, floors, maker.dropped, distances)


def verify(records: Sequence[dict], folder: Path | str, progress: Callable[[int], None] | None = None) -> None:
    """Every question through the second implementation.

    Raises:
        OntologyError: the first questions that are not sound, with what is wrong.
    """
    unsound = [verdict for verdict in check(records, folder, progress) if not verdict.sound]
    if unsound:
        shown = "; ".join(f"{v.question}: {', '.join(v.problems)}" for v in unsound[:5])
        raise OntologyError(
            f"{len(unsound):,} of {len(records):,} questions do not follow from the stored edges: {shown}",
            "Make them again from this tree; if they were made from it just now, this is a fault of medvlm",
        )


def item_of(record: dict) -> Item:
    """A stored question as the rules of ``biases`` see it."""
    letters = [option["letter"] for option in record["options"]]
    return Item(
        record["start"],
        record["hops"],
        record["question"],
        tuple(option["name"] for option in record["options"]),
        tuple(option["entity"] for option in record["options"]),
        letters.index(record["answer"]),
    )


def write_questions(made: Made, settings: Settings, tree: Tree, out: Path) -> None:
    """One JSON line a question and one file a split, and the report. Files of an earlier run are replaced."""
    out.mkdir(parents=True, exist_ok=True)
    for stale in out.glob("*.jsonl"):
        stale.unlink()
    for split in settings.split:
        lines = [
            json.dumps(record, ensure_ascii=False, sort_keys=True)
            for record in sorted(made.records, key=lambda r: (r["hops"], r["id"]))
            if record["split"] == split
        ]
        (out / f"{split}.jsonl").write_text("".join(line + "\n" for line in lines), "utf-8")
    report = {
        "settings": asdict(settings),
        "tree": tree.manifest.get("sha256", ""),
        "questions": Counter(f"{r['hops']} hops, {r['split']}" for r in made.records),
        "last hops": Counter(f"{r['hops']} hops, {r['type'].split()[-1]}" for r in made.records),
        "path types": len({r["type"] for r in made.records}),
        "distractors from (1: siblings of the answer)": {str(k): n for k, n in sorted(made.distances.items())},
        "dropped": made.dropped,
        "floors": [asdict(floor) for floor in made.floors],
    }
    (out / REPORT).write_text(json.dumps(report, indent=2, sort_keys=True, ensure_ascii=False) + "\n", "utf-8")
