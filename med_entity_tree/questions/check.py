"""The second implementation: which options are right, derived from the stored tables by joins.

It reads ``edges.parquet`` and ``entities.parquet`` and a stored question (start, hops, options), and shares no code
with the sampler, the picker of distractors or the wording. The sampler walks from node to node in memory; this one
moves many questions at once through relational joins: frontier (question, entity) joined with links, made distinct, hop
by hop.

A question is sound when exactly the stored answer is derived, every other option is proven wrong, the stored path
consists of stored edges, and names are those of the entities. The rules are those of ``docs/questions.md``.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from med_entity_tree.errors import OntologyError
from med_entity_tree.names import name_key

pc: Any = pyarrow.compute  # its functions are made at import, so a type checker does not see them
_UP = ("parent", "is_a", "is_a_or_part_of")
_RARE = 0.05
_BATCH = 400  # questions that are joined at once; bounds the memory


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the stored edges say of one question."""

    question: str
    right: frozenset[str]  # letters whose entity the chain reaches
    wrong: frozenset[str]  # letters proven wrong
    problems: tuple[str, ...]

    @property
    def sound(self) -> bool:
        return not self.problems


class Tables:
    """The two tables of a built tree, as relations over row numbers of entities."""

    def __init__(self, folder: Path | str):
        folder = Path(folder)
        for name in ("entities.parquet", "edges.parquet"):
            if not (folder / name).is_file():
                raise OntologyError(f"{folder} has no {name}", "Give the folder of `medvlm met build`")
        entities = pq.read_table(folder / "entities.parquet", columns=["id", "name", "parent", "synonyms"])
        self.ids: list[str] = entities["id"].to_pylist()
        self.number = {identity: n for n, identity in enumerate(self.ids)}
        self._names, self._synonyms = entities["name"], entities["synonyms"]
        edges = pq.read_table(folder / "edges.parquet")
        self.stored = edges
        parents = entities.select(["id", "parent"]).filter(pc.not_equal(entities["parent"], ""))
        head = pa.chunked_array([*edges["head"].chunks, *parents["id"].chunks])
        tail = pa.chunked_array([*edges["tail"].chunks, *parents["parent"].chunks])
        kind = pa.chunked_array([*edges["kind"].chunks, pa.array(["parent"] * len(parents))])
        frequency = pa.chunked_array([*edges["frequency"].chunks, pa.array([-1.0] * len(parents), pa.float32())])
        keys = pa.array(self.ids)
        rows = pa.table(
            {
                "head": pc.index_in(head, keys),
                "tail": pc.index_in(tail, keys),
                "kind": kind,
                "f": frequency,
                "zero": pc.equal(frequency, 0.0),
                "unknown": pc.less(frequency, 0.0),
            }
        )
        self.links = (
            rows.group_by(["kind", "head", "tail"])
            .aggregate([("f", "max"), ("zero", "max"), ("unknown", "max")])
            .rename_columns({"f_max": "best", "zero_max": "zero", "unknown_max": "unknown"})
        )

    def names(self, row: int) -> set[str]:
        return {self._names[row].as_py(), *(s["text"] for s in self._synonyms[row].as_py() or ())}

    @cached_property
    def _directed(self) -> dict[tuple[str, bool], pa.Table]:
        found = {}
        for kind in pc.unique(self.links["kind"]).to_pylist():
            part = self.links.filter(pc.equal(self.links["kind"], kind)).drop_columns(["kind"])
            found[kind, True] = part.rename_columns({"head": "at", "tail": "to"})
            found[kind, False] = part.rename_columns({"tail": "at", "head": "to"})
        return found

    def hop(self, frontier: pa.Table, kind: str, forward: bool, at_least: float, mode: str) -> pa.Table:
        """Frontier (q, at) one hop on. ``mode``: certain, possible, or any (all that is not excluded everywhere)."""
        links = self._directed.get((kind, forward))
        if links is None:
            raise OntologyError(f"the stored edges have no kind {kind!r}")
        best, unknown, zero = links["best"], links["unknown"], links["zero"]
        stated = pc.greater_equal(best, at_least or _RARE)
        certain = pc.and_(pc.invert(zero), stated if at_least else pc.or_(stated, unknown))
        if mode == "certain":
            kept = certain
        elif mode == "possible":
            present = pc.greater_equal(best, at_least) if at_least else pc.greater(best, 0.0)
            kept = pc.or_(pc.or_(certain, unknown), pc.and_(present, pc.greater(best, 0.0)))
        else:
            kept = pc.or_(unknown, pc.greater(best, 0.0))
        joined = frontier.join(links.filter(kept).select(["at", "to"]), "at", join_type="inner")
        return _distinct(joined.select(["q", "to"]).rename_columns(["q", "at"]))

    @cached_property
    def _steps_up(self) -> pa.Table:
        parts = [self._directed[kind, True].select(["at", "to"]) for kind in _UP if (kind, True) in self._directed]
        return pa.concat_tables(parts).group_by(["at", "to"]).aggregate([])

    def closure(self, frontier: pa.Table, up: bool) -> pa.Table:
        """(q, at) of all strict ancestors (or descendants) of the frontier, by joins until nothing is new."""
        steps = self._steps_up if up else self._steps_up.rename_columns(["to", "at"]).select(["at", "to"])
        total, new = _empty(), frontier
        while len(new):
            reached = new.join(steps, "at", join_type="inner").select(["q", "to"]).rename_columns(["q", "at"])
            new = _distinct(reached).join(total, ["q", "at"], join_type="left anti")
            total = pa.concat_tables([total, new]) if len(new) else total
        return total


def _empty() -> pa.Table:
    return pa.table({"q": pa.array([], pa.int32()), "at": pa.array([], pa.int32())})


def _pairs(q: Sequence[int], at: Sequence[int]) -> pa.Table:
    return pa.table({"q": pa.array(q, pa.int32()), "at": pa.array(at, pa.int32())})


def _distinct(table: pa.Table) -> pa.Table:
    return table.group_by(["q", "at"]).aggregate([]) if len(table) else _empty()


def _union(*tables: pa.Table) -> pa.Table:
    return _distinct(pa.concat_tables(tables))


def _within(table: pa.Table, questions: Sequence[int]) -> pa.Table:
    return table.filter(pc.is_in(table["q"], pa.array(questions, pa.int32())))


def check(records: Sequence[dict], folder: Path | str, progress=None) -> list[Verdict]:
    """Derive the right options of every stored question and compare. ``records`` as in the JSON lines.

    Raises:
        OntologyError: the folder holds no tree, or a question names an entity or kind that the tree does not have.
    """
    tables = Tables(folder)
    evidence = _evidence(tables, records)
    verdicts: list[Verdict] = []
    for begin in range(0, len(records), _BATCH):
        batch = records[begin : begin + _BATCH]
        verdicts += _check_batch(tables, batch, evidence)
        if progress is not None:
            progress(len(batch))
    return verdicts


def _check_batch(tables: Tables, records: Sequence[dict], evidence: set[tuple]) -> list[Verdict]:
    starts = [_row(tables, r["start"]) for r in records]
    certain = _pairs(range(len(records)), starts)
    right, loose = _empty(), _empty()
    possible = certain
    for place in range(max(len(r["steps"]) for r in records)):
        ending = [q for q, r in enumerate(records) if len(r["steps"]) == place + 1]
        loose = _union(loose, _loosen(tables, records, _within(possible, ending), place))
        certain, possible = (
            _move(tables, records, table, place, mode) for table, mode in ((certain, "certain"), (possible, "possible"))
        )
        right = _union(right, _within(certain, ending))
    start_rows = _pairs(range(len(records)), starts)
    right = right.join(start_rows, ["q", "at"], join_type="left anti")
    loose = loose.join(start_rows, ["q", "at"], join_type="left anti")
    return _judge(tables, records, right, loose, evidence)


def _row(tables: Tables, identity: str) -> int:
    if identity not in tables.number:
        raise OntologyError(f"a question names {identity}, which the tree does not have")
    return tables.number[identity]


def _groups(records: Sequence[dict], place: int) -> dict[tuple[str, bool, float], list[int]]:
    """Questions that take the same hop at one place."""
    groups: dict[tuple[str, bool, float], list[int]] = {}
    for q, record in enumerate(records):
        if len(record["steps"]) > place:
            step = record["steps"][place]
            groups.setdefault((step["kind"], step["forward"], step["at_least"]), []).append(q)
    return groups


def _move(tables: Tables, records: Sequence[dict], frontier: pa.Table, place: int, mode: str) -> pa.Table:
    moved = [tables.hop(_within(frontier, questions), *hop, mode) for hop, questions in _groups(records, place).items()]
    return _union(_empty(), *moved)


def _loosen(tables: Tables, records: Sequence[dict], possible: pa.Table, place: int) -> pa.Table:
    """What the last hop reaches at most: every ancestor or descendant, or any edge from around the last masked ones."""
    found = [_empty()]
    for (kind, forward, _), questions in _groups(records, place).items():
        frontier = _within(possible, questions)
        if not len(frontier):
            continue
        if kind in _UP:
            found.append(tables.closure(frontier, forward))
        else:
            wide = _union(frontier, tables.closure(frontier, True), tables.closure(frontier, False))
            found.append(tables.hop(wide, kind, forward, 0.0, "any"))
    return _union(*found)


def _judge(
    tables: Tables, records: Sequence[dict], right: pa.Table, loose: pa.Table, evidence: set[tuple]
) -> list[Verdict]:
    letters = [(q, o["letter"], _row(tables, o["entity"])) for q, r in enumerate(records) for o in r["options"]]
    # An option is a "question" of its own here, so that its ancestors and descendants stay apart from the others'.
    options = _pairs(range(len(letters)), [row for _, _, row in letters])
    around = _union(tables.closure(options, True), tables.closure(options, False))
    owner = np.array([q for q, _, _ in letters], dtype=np.int32)
    spot = {(q, at) for q, at in zip(right["q"].to_pylist(), right["at"].to_pylist())}
    spread = {(q, at) for q, at in zip(loose["q"].to_pylist(), loose["at"].to_pylist())}
    touched: set[int] = set()
    numbers, ends = around["q"].to_numpy(), around["at"].to_numpy()
    for option, q, at in zip(numbers.tolist(), owner[numbers].tolist(), ends.tolist()):
        climbs = records[q]["steps"][-1]["kind"] in _UP
        if (q, at) in spot or (not climbs and (q, at) in spread):
            touched.add(option)
    correct: dict[int, set[str]] = {q: set() for q in range(len(records))}
    wrong: dict[int, set[str]] = {q: set() for q in range(len(records))}
    names_of_right: dict[int, set[str]] = {q: set() for q in range(len(records))}
    for q, at in spot:
        names_of_right[q] |= {name_key(name) for name in tables.names(at)} - {""}
    for option, (q, letter, row) in enumerate(letters):
        if (q, row) in spot:
            correct[q].add(letter)
            continue
        clear = (q, row) not in spread and option not in touched and tables.ids[row] != records[q]["start"]
        if clear and not names_of_right[q] & {name_key(name) for name in tables.names(row)}:
            wrong[q].add(letter)
    return [
        Verdict(record["id"], frozenset(correct[q]), frozenset(wrong[q]), problems)
        for q, record in enumerate(records)
        for problems in [_problems(tables, record, correct[q], wrong[q], evidence)]
    ]


def _problems(tables: Tables, record: dict, right: set[str], wrong: set[str], evidence: set[tuple]) -> tuple[str, ...]:
    found = []
    letters = [option["letter"] for option in record["options"]]
    if right != {record["answer"]}:
        found.append(f"the edges give {sorted(right) or 'no option'} as right, stored is {record['answer']}")
    for letter in letters:
        if letter not in wrong and letter not in right:
            found.append(f"option {letter} is not proven wrong")
    if len({option["entity"] for option in record["options"]}) != len(letters):
        found.append("an entity is an option twice")
    found += _path_problems(tables, record, evidence)
    for option in record["options"]:
        known = {name.casefold() for name in tables.names(tables.number[option["entity"]])}
        if option["name"].casefold() not in known:
            found.append(f"option {option['letter']} is not a name of {option['entity']}")
    question = record["question"].casefold()
    for masked in record["entities"][1:-1]:
        if f'"{tables._names[tables.number[masked]].as_py().casefold()}"' in question:
            found.append(f"the question names {masked}, which it should mask")
    text = record["messages"][1]["content"]
    if not text.startswith(record["question"]) or record["messages"][2]["content"] != record["answer"]:
        found.append("the messages do not hold the question or the answer")
    return tuple(found)


def _path_problems(tables: Tables, record: dict, evidence: set[tuple]) -> list[str]:
    """Does the stored path lead from the start to the answer by stored edges of the stored hops?"""
    found, here = [], record["start"]
    answer = next((o["entity"] for o in record["options"] if o["letter"] == record["answer"]), None)
    if len(record["path"]) != len(record["steps"]) or record["hops"] != len(record["steps"]):
        return ["the path has another length than its steps"]
    for n, (edge, step) in enumerate(zip(record["path"], record["steps"]), start=1):
        begin, end = (edge["head"], edge["tail"]) if step["forward"] else (edge["tail"], edge["head"])
        if begin != here or edge["kind"] != step["kind"]:
            found.append(f"step {n} of the path does not follow")
        if _key(edge) not in evidence:
            found.append(f"step {n} of the path is no stored edge")
        here = end
    if here != answer:
        found.append("the path does not end in the answer")
    return found


def _key(edge: dict) -> tuple[str, str, str, str, float]:
    return edge["head"], edge["kind"], edge["tail"], edge["source"], round(edge["frequency"], 4)


def _evidence(tables: Tables, records: Sequence[dict]) -> set[tuple]:
    """The edges of the stored paths that the tables really hold (parents as edges of source MET)."""
    wanted = [edge for record in records for edge in record["path"]]
    heads = pa.array(sorted({edge["head"] for edge in wanted}), pa.string())
    rows = tables.stored.filter(pc.is_in(tables.stored["head"], heads)).to_pylist()
    found = {_key(row) for row in rows}
    parents = tables.links.filter(pc.equal(tables.links["kind"], "parent"))
    for head, tail in zip(parents["head"].to_pylist(), parents["tail"].to_pylist()):
        found.add((tables.ids[head], "parent", tables.ids[tail], "MET", -1.0))
    return found


def read_questions(folder: Path | str) -> list[dict]:
    """All questions of a folder of `medvlm met questions`, split by split.

    Raises:
        OntologyError: there are none, or a line is damaged.
    """
    records = []
    for path in sorted(Path(folder).glob("*.jsonl")):
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise OntologyError(f"no JSON ({error.msg})", "Make the questions again", path, number) from None
    if not records:
        raise OntologyError(f"{folder} holds no questions", "Make them with `medvlm met questions`")
    return records
