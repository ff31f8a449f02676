"""A page with examples, so that people look at what is asked."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from jinja2 import Template

from med_entity_tree.entity import Entity


def evidence_lines(record: dict, entities: Mapping[str, Entity]) -> list[str]:
    """The path of a question, an edge a line: ``asthma --has_finding--> Wheezing (HPOA, 80 %)``."""
    lines = []
    for edge in record["path"]:
        often = f", {edge['frequency']:.0%}" if edge["frequency"] >= 0 else ""
        head, tail = entities[edge["head"]].name, entities[edge["tail"]].name
        lines.append(f"{head} --{edge['kind']}--> {tail} ({edge['source']}{often})")
    return lines


def examples(records: Sequence[dict], each: int) -> dict[int, list[dict]]:
    """The first ``each`` questions of each number of hops by id; ids are hashes, so this is a sample."""
    groups: dict[int, list[dict]] = defaultdict(list)
    for record in sorted(records, key=lambda r: (r["hops"], r["id"])):
        if len(groups[record["hops"]]) < each:
            groups[record["hops"]].append(record)
    return dict(groups)


def write_sheet(records: Sequence[dict], entities: Mapping[str, Entity], out: Path, each: int = 12) -> None:
    groups = [
        (hops, [{**record, "lines": evidence_lines(record, entities)} for record in rows])
        for hops, rows in examples(records, each).items()
    ]
    template = Template((files("med_entity_tree.questions") / "sheet.html.jinja").read_text("utf-8"), autoescape=True)
    shown = sum(len(rows) for _, rows in groups)
    out.write_text(template.render(groups=groups, shown=shown, total=len(records), each=each) + "\n", "utf-8")
