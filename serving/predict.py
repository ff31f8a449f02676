"""Batch answers: a table of questions in, JSONL out, resumable after a kill.

One output line a row, written whole: `{"id", "request", "answer", ...}` or `{"id", "request", "error": {...}}`.
`request` is a digest of what was asked; a row is skipped on the next run when its id and digest have an answer there.
"""

from __future__ import annotations

import csv
import fcntl
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serving.client import Client, ClientError
from vlm.errors import MedVLMError

# These say that nothing can be answered at all; the run stops instead of failing every row.
STOPS = ("unreachable", "engine_unavailable", "missing_api_key", "invalid_api_key", "missing_scope", "model_not_found")
COLUMNS = {"id", "question", "prompt", "image", "images", "window", "frame", "messages", "reference"}


class PredictError(MedVLMError):
    """The input or the output file cannot be used, or the server cannot answer."""


@dataclass(frozen=True)
class Row:
    """One question. `messages` hold image parts `{"type": "image", "image": i}` into `images`."""

    id: str
    messages: list[dict[str, Any]]
    images: list[Path | Callable[[], bytes]] = field(default_factory=list)
    image_names: tuple[str, ...] = ()
    window: str | tuple[float, float] | None = None
    frame: int = 0
    reference: str | None = None

    def digest(self, fields: dict[str, Any]) -> str:
        """Of the question, the images' names, and how it is asked."""
        asked = [self.messages, self.image_names, self.window, self.frame, fields]
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


@dataclass
class Totals:
    """What became of the rows."""

    answered: int = 0
    skipped: int = 0
    failed: Counter[str] = field(default_factory=Counter)


# --- input ----------------------------------------------------------------------------------------------------------


def read_rows(source: Path) -> Iterator[Row | tuple[str, ClientError]]:
    """Rows of a JSONL or CSV table, or of a folder of medvlm shards. A row that is none comes as (id, error).

    JSONL: `{"id", "question", "image" or "images", "window", "frame", "reference"}`, or `messages` in place of the
    question; a row with `qa` (the simulator's tables) is one row a question. CSV: the same columns, several images
    separated by ";". Image paths are relative to the table.

    Raises:
        PredictError: no such file, or not one of these.
    """
    if source.is_dir():
        return _shard_rows(source)
    if not source.is_file():
        raise PredictError(f"{source} does not exist: give a .jsonl or .csv table, or a folder of shards.")
    if source.suffix in (".jsonl", ".ndjson"):
        return _jsonl_rows(source)
    if source.suffix == ".csv":
        return _csv_rows(source)
    raise PredictError(f"{source.name} is neither .jsonl nor .csv nor a folder of shards.")


def _jsonl_rows(path: Path) -> Iterator[Row | tuple[str, ClientError]]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
                if not isinstance(record, dict):
                    raise ValueError
            except ValueError:
                yield f"line-{number}", _bad(f"Line {number} of {path.name} is no JSON object.")
                continue
            if isinstance(record.get("qa"), list):
                yield from _simulated_rows(record, path)
            else:
                yield _row(record, str(record.get("id", f"line-{number}")), path)


def _csv_rows(path: Path) -> Iterator[Row | tuple[str, ClientError]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        unknown = set(reader.fieldnames or []) - COLUMNS
        if unknown or not {"question", "prompt"} & set(reader.fieldnames or []):
            raise PredictError(
                f"{path.name}: the columns are id, question, images, window, frame, reference"
                + (f"; not {', '.join(sorted(unknown))}." if unknown else "; `question` is missing.")
            )
        for number, record in enumerate(reader, 2):
            given: dict[str, Any] = {name: value for name, value in record.items() if value}
            images = [part.strip() for part in given.pop("images", given.pop("image", "")).split(";") if part.strip()]
            if given.get("frame", "0").isdecimal():
                given["frame"] = int(given.get("frame", 0))
            yield _row(given | {"images": images}, given.get("id", f"line-{number}"), path)


def _row(record: dict[str, Any], row_id: str, path: Path) -> Row | tuple[str, ClientError]:
    names = record.get("images", record.get("image", []))
    names = [names] if isinstance(names, str) else names
    question = record.get("question", record.get("prompt"))
    messages = record.get("messages")
    window = record.get("window")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return row_id, _bad("`images` is a path or a list of paths.")
    if isinstance(window, list):
        window = (window[0], window[1]) if len(window) == 2 else str(window)
    if messages is None:
        if not isinstance(question, str) or not question.strip():
            return row_id, _bad("The row has neither `question` nor `messages`.")
        shown = [{"type": "image", "image": index} for index in range(len(names))]
        messages = [{"role": "user", "content": [*shown, {"type": "text", "text": question}]}]
    elif question is not None or not isinstance(messages, list):
        return row_id, _bad("Give `question` or a list of `messages`, one of the two.")
    files: list[Path | Callable[[], bytes]] = [path.parent / name for name in names]
    frame = record.get("frame", 0)
    if not isinstance(frame, int):
        return row_id, _bad("`frame` is a whole number.")
    return Row(row_id, messages, files, tuple(names), window, frame, record.get("reference"))


def _simulated_rows(study: dict[str, Any], path: Path) -> Iterator[Row | tuple[str, ClientError]]:
    for number, qa in enumerate(study["qa"]):
        view = qa.get("view")
        images = study.get("images", [])
        record = {
            "question": qa.get("question"),
            "images": images if view is None else images[view : view + 1],
            "reference": qa.get("answer"),
        }
        row_id = str(qa.get("id", f"{study.get('study', path.stem)}-{number}"))
        yield _row(record, row_id, path)


def _shard_rows(folder: Path) -> Iterator[Row | tuple[str, ClientError]]:
    from pretrain.shards import ShardReader, ShardSet

    reader = ShardReader(ShardSet.open(folder))
    for number in range(len(reader)):
        sample = reader.sample(number)
        messages, reference = list(sample.messages), None
        while messages and messages[-1]["role"] == "assistant":
            reference = _text(messages.pop())
        images: list[Path | Callable[[], bytes]] = [_png(image) for image in sample.images]
        names = tuple(sample.provenance.image_sha256)
        yield Row(sample.key, messages, images, names, reference=reference)


def _png(encoded: Any) -> Callable[[], bytes]:
    def picture() -> bytes:
        from serving.pictures import as_png

        return as_png(encoded.decode().render())

    return picture


def _text(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content if part.get("type") == "text")


def _bad(message: str) -> ClientError:
    return ClientError(0, "bad_row", message)


# --- output ---------------------------------------------------------------------------------------------------------


class Answers:
    """The output file: what is answered in it, and appending to it. One process at a time.

    Raises:
        PredictError: the file cannot be opened, another run writes it, or it holds something else.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise PredictError(f"{path} cannot be written: {error.strerror}.") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.done = self._read()
        except OSError:
            os.close(self._fd)
            raise PredictError(f"Another run writes {path}: wait for it, or give another --out.") from None

    def _read(self) -> dict[str, str]:
        """{id: digest} of the answered rows; a line torn by a kill is cut off."""
        done: dict[str, str] = {}
        end = 0
        with self._path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    row = json.loads(line) if line.endswith(b"\n") else None
                    if row is not None and "error" not in row:
                        done[row["id"]] = row["request"]
                except (ValueError, KeyError, TypeError):
                    raise PredictError(
                        f"{self._path}, line {number}: this is no line of `medvlm predict`. Give another --out."
                    ) from None
                if row is not None:
                    end += len(line)
        os.ftruncate(self._fd, end)
        return done

    def append(self, row: dict[str, Any]) -> None:
        """Write one row as one whole line. Raises PredictError when the disk is full."""
        line = json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        size = os.fstat(self._fd).st_size
        try:
            if os.write(self._fd, line) != len(line):
                raise OSError(28, "No space left on device")
        except OSError as error:
            os.ftruncate(self._fd, size)
            raise PredictError(f"{self._path} cannot be written: {error.strerror}. Nothing before is lost.") from error

    def close(self) -> None:
        os.fsync(self._fd)
        os.close(self._fd)


# --- run ------------------------------------------------------------------------------------------------------------


def predict(
    rows: Iterator[Row | tuple[str, ClientError]],
    client: Client,
    answers: Answers,
    *,
    concurrency: int = 8,
    fields: dict[str, Any] | None = None,
    on_row: Callable[[Totals], None] = lambda totals: None,
) -> Totals:
    """Answer the rows that have no answer yet.

    Args:
        rows: from `read_rows`.
        concurrency: requests in flight.
        fields: sampling fields for every request.
        on_row: told after each row.

    Raises:
        PredictError: the server is away or lets nobody in; what is answered stays, and the next run goes on.
    """
    fields = {"model": client.model, **(fields or {})}
    totals = Totals()
    waiting: dict[Future[dict[str, Any]], str] = {}
    with ThreadPoolExecutor(concurrency, thread_name_prefix="predict") as threads:
        try:
            for row in rows:
                _submit(row, client, answers, fields, totals, threads, waiting)
                on_row(totals)
                while len(waiting) >= 2 * concurrency:
                    _collect(waiting, answers, totals)
                    on_row(totals)
            while waiting:
                _collect(waiting, answers, totals)
                on_row(totals)
        except BaseException:
            for future in waiting:
                future.cancel()
            raise
    return totals


def _submit(
    row: Row | tuple[str, ClientError],
    client: Client,
    answers: Answers,
    fields: dict[str, Any],
    totals: Totals,
    threads: ThreadPoolExecutor,
    waiting: dict[Future[dict[str, Any]], str],
) -> None:
    if not isinstance(row, Row):
        row_id, error = row
        answers.append({"id": row_id, "request": "", "error": {"code": error.code, "message": str(error)}})
        totals.failed[error.code] += 1
        return
    digest = row.digest(fields)
    if answers.done.get(row.id) == digest:
        totals.skipped += 1
        return
    answers.done[row.id] = digest  # a second row of the same id and question is asked once
    waiting[threads.submit(_ask, row, digest, client, fields)] = row.id


def _collect(waiting: dict[Future[dict[str, Any]], str], answers: Answers, totals: Totals) -> None:
    done, _ = wait(waiting, return_when=FIRST_COMPLETED)
    for future in done:
        del waiting[future]
        line = future.result()
        error = line.get("error")
        if error and error["code"] in STOPS:
            raise PredictError(f"{error['message']} Run the same command again to go on.")
        answers.append(line)
        if error:
            totals.failed[error["code"]] += 1
        else:
            totals.answered += 1


def _ask(row: Row, digest: str, client: Client, fields: dict[str, Any]) -> dict[str, Any]:
    line: dict[str, Any] = {"id": row.id, "request": digest}
    try:
        shown = [client.image(_source(image), window=row.window, frame=row.frame) for image in row.images]
        answer = client.ask(_with_images(row.messages, shown), **{k: v for k, v in fields.items() if k != "model"})
    except MedVLMError as error:
        code = error.code if isinstance(error, ClientError) else type(error).__name__
        return {**line, "error": {"code": code, "message": str(error)}}
    line |= {"answer": answer.text, "finish_reason": answer.finish_reason, "model": answer.model}
    if row.reference is not None:
        line["reference"] = row.reference
    counts = {"prompt_tokens": answer.prompt_tokens, "completion_tokens": answer.completion_tokens}
    return line | counts | {"seconds": round(answer.seconds, 3)}


def _source(image: Path | Callable[[], bytes]) -> Path | bytes:
    return image if isinstance(image, Path) else image()


def _with_images(messages: list[dict[str, Any]], shown: list[dict[str, Any]]) -> list[dict[str, Any]]:
    from vlm.messages import attach_images

    out = []
    for message in attach_images(messages, shown):
        if isinstance(message.get("content"), list):
            parts = [part["image"] if part.get("type") == "image" else part for part in message["content"]]
            message = {**message, "content": parts}
        out.append(message)
    return out


def default_output(source: Path) -> Path:
    """Where answers go when nobody says: beside the table."""
    return source.with_name(f"{source.name.removesuffix(source.suffix)}.answers.jsonl")
