"""A record: a study on its way through the engine, as one row of a Parquet part.

Pixels stay in their files until the shards are written. ``payload`` holds the whole study; the other columns are what
stages look at without opening it.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa

from pretrain.cleaning.rules import Kind
from pretrain.importing.study import Question, Report, Study, safe_key
from vlm.messages import Message

KINDS = get_args(Kind)
RECORD = pa.schema(
    [
        ("key", pa.string()),
        ("source", pa.string()),
        ("split", pa.string()),
        ("kind", pa.string()),
        ("patient", pa.string()),
        ("study", pa.string()),
        ("where", pa.string()),
        ("text", pa.large_string()),
        ("images", pa.list_(pa.string())),
        ("entities", pa.list_(pa.string())),
        ("payload", pa.large_string()),
    ]
)


def record_key(source: str, study: Study) -> str:
    """A key that is unique over all sources and that a tar can carry."""
    return safe_key(f"{source}-{study.key}")


def kind_of(study: Study) -> str:
    """What the text of a study is; decides which rules it is held to (``pretrain.cleaning.rules.Kind``)."""
    if study.extra.get("kind") in KINDS:
        return study.extra["kind"]
    if study.messages:
        return "conversation"
    return "report" if study.report is not None and study.report.text() else "question"


def text_of(study: Study) -> str:
    """What a study says, a paragraph each: what is judged, searched for benchmark items and compared.

    Of conversations only what the assistant says: the requests for a report or a caption are ours, in wordings drawn by
    chance, and would make equal texts unequal.
    """
    found = [study.report.findings, study.report.impression] if study.report else []
    for question in study.questions:
        found += [question.question, question.answer]
    for message in study.messages:
        if message.get("role") == "assistant":
            found += _message_texts(message)
    return "\n\n".join(text.strip() for text in found if text.strip())


def turns_of(study: Study) -> list[Message]:
    """What a study says as turns, for tagging: its report, every question with its answer, its conversation."""
    report = study.report.text() if study.report else ""
    turns: list[Message] = [{"role": "assistant", "content": report}] if report else []
    for question in study.questions:
        turns += [{"role": "user", "content": question.question}, {"role": "assistant", "content": question.answer}]
    return [*turns, *study.messages]


def _message_texts(message: Message) -> list[str]:
    content = message.get("content")
    if isinstance(content, str):
        return [content]
    return [part["text"] for part in content or () if isinstance(part, dict) and part.get("type") == "text"]


def with_texts(study: Study, change: Callable[[str], str]) -> Study:
    """The study with every text changed."""
    report = study.report and Report(change(study.report.findings), change(study.report.impression))
    questions = tuple(replace(q, question=change(q.question), answer=change(q.answer)) for q in study.questions)
    messages = tuple(_changed(message, change) for message in study.messages)
    return replace(study, report=report, questions=questions, messages=messages)


def _changed(message: Message, change: Callable[[str], str]) -> Message:
    content = message.get("content")
    if isinstance(content, str):
        return {**message, "content": change(content)}
    if not isinstance(content, list):
        return message
    parts = [{**p, "text": change(p["text"])} if p.get("type") == "text" else p for p in content]
    return {**message, "content": parts}


def to_row(source: str, split: str, kind: str, study: Study, blobs: Path) -> dict[str, Any]:
    """One row; images that came as bytes are put into ``blobs`` under their hash."""
    images = [_stored(image, blobs) for image in study.images]
    return {
        "key": record_key(source, study),
        "source": source,
        "split": split,
        "kind": kind,
        "patient": study.patient,
        "study": study.study,
        "where": study.where,
        "text": text_of(study),
        "images": images,
        "entities": list(study.entities),
        "payload": _payload(study),
    }


def updated(row: Mapping[str, Any], study: Study) -> dict[str, Any]:
    """The row of a study that a stage has changed; its images are files by now."""
    images = [str(image) for image in study.images]
    return {
        **row,
        "text": text_of(study),
        "images": images,
        "entities": list(study.entities),
        "payload": _payload(study),
    }


def to_study(row: Mapping[str, Any]) -> Study:
    """The study of a row; its key is that of the row."""
    data = json.loads(row["payload"])
    report = data.pop("report")
    return Study(
        key=row["key"],
        where=row["where"],
        images=tuple(Path(image) for image in row["images"]),
        report=None if report is None else Report(**report),
        questions=tuple(Question(**q) for q in data.pop("questions")),
        messages=tuple(data.pop("messages")),
        masks={int(i): Path(path) for i, path in data.pop("masks").items()},
        entities=tuple(row["entities"]),
        patient=row["patient"],
        study=row["study"],
        **data,
    )


# Fields of a study that are JSON as they are and have no column of their own.
_OTHERS = {"key", "where", "images", "entities", "patient", "study", "report", "questions", "masks"}
_PLAIN = tuple(field.name for field in fields(Study) if field.name not in _OTHERS)


def _payload(study: Study) -> str:
    data: dict[str, Any] = {name: getattr(study, name) for name in _PLAIN}
    data["report"] = None if study.report is None else vars(study.report)
    data["questions"] = [vars(question) for question in study.questions]
    data["masks"] = {str(i): str(path) for i, path in sorted(study.masks.items())}
    return json.dumps(data, ensure_ascii=False, sort_keys=True)


def _stored(image: Path | bytes, blobs: Path) -> str:
    if not isinstance(image, bytes):
        return str(image)
    path = blobs / hashlib.sha256(image).hexdigest()
    if not path.is_file():
        part = path.with_suffix(".part")
        part.write_bytes(image)
        part.replace(path)
    return str(path)


def table_of(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows as a table; a row lacks no column."""
    columns: dict[str, list] = {name: [] for name in schema.names}
    for row in rows:
        for name in schema.names:
            columns[name].append(row[name])
    return pa.table(columns, schema=schema)
