"""Asking a language model for JSON: many requests, strict answers, nothing asked twice.

    asker = JsonAsker("http://127.0.0.1:8000", Verdict, cache=Path("runs/judge/answers"))
    verdicts = asker.ask([[{"role": "user", "content": "Is this sentence about the heart? ..."}], ...])

The model sees the schema at the end of the last user message, and servers that take ``response_format`` are held to it
by it. What comes back is validated by pydantic; what is wrong with it is sent back, and asked again. Every valid answer
lies in a SQLite file before the next is waited for, so a killed run goes on where it stopped.
"""

import asyncio
import hashlib
import json
import logging
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from vlm.chat_client import ChatClient, Patience, Reply
from vlm.errors import EndpointError, MedVLMError
from vlm.messages import Message, MessageError

log = logging.getLogger(__name__)

T = TypeVar("T", bound=BaseModel)

CACHE = "answers.sqlite"
# What servers answer to a response_format that they do not know; sent again without, they take the request.
_REFUSALS = frozenset({400, 404, 415, 422, 501})
_THOUGHT = re.compile(r"^.*</think>", re.S)


class AnswerCacheError(MedVLMError):
    """The file of answers cannot be read or written."""


@dataclass(frozen=True)
class Unanswered:
    """No valid answer came; ``reason`` says why. It is not in the cache: the next run asks again."""

    reason: str


class JsonAsker(Generic[T]):
    """Asks one endpoint for answers of one form, at temperature 0.

    Args:
        url: an OpenAI-compatible server, with or without ``/v1``.
        answer: the pydantic model of an answer.
        model: id of the model; None takes the first that the server has.
        api_key: bearer token; never written.
        cache: folder of the answers, keyed by model, schema and messages. Several askers may share it.
        patience: retries of a request that failed on the way (429, 5xx, no connection).
        concurrency: requests under way at once.
        attempts: rounds for a valid answer, repairs included.
        max_tokens: length of an answer.

    ``counts`` says how many requests were ``asked``, ``reused`` from the cache, ``repaired`` and ``unanswered``.
    """

    def __init__(
        self,
        url: str,
        answer: type[T],
        *,
        model: str | None = None,
        api_key: str | None = None,
        cache: Path,
        patience: Patience = Patience(),  # noqa: B008  frozen
        concurrency: int = 8,
        attempts: int = 3,
        max_tokens: int = 2048,
    ) -> None:
        if min(concurrency, attempts, max_tokens) < 1:
            raise MedVLMError("concurrency, attempts and max_tokens of an asker must be 1 or more")
        self.url, self.answer, self.model, self.api_key, self.patience = url, answer, model, api_key, patience
        self.cache, self.concurrency, self.attempts, self.max_tokens = cache, concurrency, attempts, max_tokens
        self.schema = strict_schema(answer)
        self.counts: Counter[str] = Counter()
        self._format: dict[str, Any] | None = {
            "type": "json_schema",
            "json_schema": {"name": answer.__name__, "schema": self.schema, "strict": True},
        }

    def ask(
        self, requests: Sequence[Sequence[Message]], *, progress: Callable[[int], None] | None = None
    ) -> list[T | Unanswered]:
        """Answers in the order of the requests; equal requests are asked once. Not for use inside an event loop.

        Args:
            requests: conversations; pictures as ``image_url`` parts.
            progress: told how many requests were finished since it was last told.

        Raises:
            EndpointError: the server is not there, refuses the key, has no such model, or goes away for longer than
                ``patience``. Answers that came before are kept.
            MessageError: a request that cannot be sent to any server.
            AnswerCacheError: the cache is damaged, or its disk is full.
        """
        _check(requests)
        return asyncio.run(self._ask(requests, progress or (lambda finished: None)))

    def chosen_model(self) -> str:
        """The id of the model; the server is asked where none was named. Raises EndpointError as ``ask`` does."""
        if self.model is None:

            async def choose() -> str:
                async with ChatClient(self.url, self.api_key, self.patience) as client:
                    return await client.choose_model(None)

            self.model = asyncio.run(choose())
        return self.model

    async def _ask(
        self, requests: Sequence[Sequence[Message]], progress: Callable[[int], None]
    ) -> list[T | Unanswered]:
        async with ChatClient(self.url, self.api_key, self.patience, self.concurrency) as client:
            if self.model is None and requests:
                self.model = await client.choose_model(None)
                checked = True
            else:
                checked = False
            with closing(_Cache(self.cache)) as cache:
                found: dict[str, T | Unanswered] = {}
                waiting: dict[str, Sequence[Message]] = {}
                keys = [self._key(request) for request in requests]
                for key, request in zip(keys, requests):
                    if isinstance(key, str) and key not in found and key not in waiting:
                        known = self._known(cache, key)
                        if known is None:
                            waiting[key] = request
                        else:
                            found[key] = known
                times = Counter(key for key in keys if isinstance(key, str))
                self.counts["reused"] += sum(times[key] for key in found)
                progress(len(keys) - sum(times[key] for key in waiting))
                if waiting and not checked:
                    await client.choose_model(self.model)
                await self._work(client, cache, waiting, found, lambda key: progress(times[key]))
        answers = [found[key] if isinstance(key, str) else key for key in keys]
        self.counts["unanswered"] += sum(isinstance(answer, Unanswered) for answer in answers)
        return answers

    async def _work(
        self,
        client: ChatClient,
        cache: "_Cache",
        waiting: dict[str, Sequence[Message]],
        found: dict[str, T | Unanswered],
        done: Callable[[str], None],
    ) -> None:
        todo: Iterator[tuple[str, Sequence[Message]]] = iter(waiting.items())

        async def worker() -> None:
            for key, request in todo:
                self.counts["asked"] += 1
                answer = await self._answer(client, request)
                if not isinstance(answer, Unanswered):
                    cache.put(key, self.model or "", answer.model_dump_json(by_alias=True))
                found[key] = answer
                done(key)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self.concurrency, len(waiting))):
                    group.create_task(worker())
        except ExceptionGroup as errors:
            if isinstance(errors.exceptions[0], MedVLMError):
                raise errors.exceptions[0] from None
            raise

    async def _answer(self, client: ChatClient, request: Sequence[Message]) -> T | Unanswered:
        messages, problem = with_schema(request, self.schema), ""
        for attempt in range(1, self.attempts + 1):
            reply = await self._send(client, messages)
            if reply.text is None:
                if reply.server_gone:
                    await self._still_there(client, reply)
                return Unanswered(f"the server: {reply.error}")
            try:
                answer = read_answer(reply.text, self.answer)
            except ValueError as error:
                problem = str(error)
                if reply.finish_reason == "length":
                    problem = f"cut off at {self.max_tokens} tokens, so {problem}"
                messages = [
                    *messages,
                    {"role": "assistant", "content": reply.text},
                    {"role": "user", "content": f"That answer is {problem}. Give the whole answer again, as one JSON"
                     " object that follows the schema, and nothing else."},
                ]  # fmt: skip
                continue
            self.counts["repaired"] += attempt > 1
            return answer
        return Unanswered(f"no valid answer in {self.attempts} attempts; the last is {problem}")

    async def _send(self, client: ChatClient, messages: list[Message]) -> Reply:
        body = {"model": self.model, "messages": messages, "temperature": 0, "max_tokens": self.max_tokens}
        used = self._format
        reply = await client.ask(body | {"response_format": used} if used else body)
        if used and reply.status in _REFUSALS:
            plain = await client.ask(body)
            if plain.answered:
                if self._format:
                    log.info("%s does not take response_format: answers are only checked", client.url)
                self._format = None
            return plain
        return reply

    async def _still_there(self, client: ChatClient, reply: Reply) -> None:
        """A server that is up but fails on one request costs that request; one that is gone ends the run."""
        try:
            await client.choose_model(self.model)
        except EndpointError as error:
            raise EndpointError(
                f"the server stopped answering ({reply.error}): {error} Answers so far are kept; run again to go on."
            ) from None

    def _key(self, request: Sequence[Message]) -> str | Unanswered:
        try:
            data = json.dumps(
                [self.model, self.schema, list(request)], sort_keys=True, ensure_ascii=False, allow_nan=False
            ).encode()
        except UnicodeEncodeError:
            return Unanswered("the request holds half a character (a lone surrogate), which no server takes")
        return hashlib.sha256(data).hexdigest()

    def _known(self, cache: "_Cache", key: str) -> T | None:
        text = cache.get(key)
        if text is None:
            return None
        try:
            return self.answer.model_validate_json(text)
        except ValidationError:  # a check of the model that its schema does not show has changed
            return None


def _check(requests: Sequence[Sequence[Message]]) -> None:
    for r, request in enumerate(requests):
        if not any(message.get("role") == "user" for message in request):
            raise MessageError(f"request {r} has no user message")
        try:
            json.dumps(list(request), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise MessageError(f"request {r} is not JSON ({error}): send pictures as data URLs") from None
        for message in request:
            content = message.get("content")
            for part in content if isinstance(content, list) else ():
                if part.get("type") == "image":
                    raise MessageError(f"request {r} has an 'image' part: servers take 'image_url' with a data URL")


def strict_schema(answer: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a model as strict decoding wants it: every property required, no others allowed."""

    def strict(node: Any) -> Any:
        if isinstance(node, list):
            return [strict(item) for item in node]
        if not isinstance(node, dict):
            return node
        made = {k: strict(v) for k, v in node.items()}
        if isinstance(made.get("properties"), dict) and made.get("type") == "object":
            for entry in made["properties"].values():
                entry.pop("default", None)
            made |= {"required": list(made["properties"]), "additionalProperties": False}
        return made

    return strict(answer.model_json_schema())


def with_schema(request: Sequence[Message], schema: dict[str, Any]) -> list[Message]:
    """The request with the schema behind its last user message, where it leaves a shared prefix as it is."""
    text = (
        "\n\nAnswer with one JSON object that follows this JSON schema, and nothing else:\n"
        f"{json.dumps(schema, ensure_ascii=False, separators=(',', ':'))}"
    )
    last = max(i for i, message in enumerate(request) if message["role"] == "user")
    content = request[last].get("content")
    longer = [*content, {"type": "text", "text": text}] if isinstance(content, list) else f"{content}{text}"
    return [*request[:last], {**request[last], "content": longer}, *request[last + 1 :]]


def read_answer(text: str, answer: type[T]) -> T:
    """The one JSON object of a reply, validated; thoughts, a code fence and words around it are let pass.

    Raises:
        ValueError: no object, several, or one that does not fit; the sentence goes on after "the answer is".
    """
    said = _THOUGHT.sub("", text)
    start = said.find("{")
    if start < 0:
        raise ValueError("no JSON object")
    decoder = json.JSONDecoder(parse_constant=_no_constant)
    try:
        value, end = decoder.raw_decode(said, start)
        json.dumps(value, ensure_ascii=False).encode()  # half a character would break whatever stores it
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON ({str(error)[:200]})") from None
    if "{" in said[end:]:
        raise ValueError("more than one JSON object")
    try:
        return answer.model_validate(value)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, e['loc'])) or 'the object'}: {e['msg']}" for e in error.errors()[:5]]
        raise ValueError(f"not of the schema ({'; '.join(faults)})") from None


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


class _Cache:
    """Answers by key in one SQLite file; each is on the disk when ``put`` returns."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / CACHE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, timeout=60, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, model TEXT, answer TEXT)")
        except (OSError, sqlite3.Error) as error:
            raise self._broken(error) from None

    def _broken(self, error: Exception) -> AnswerCacheError:
        return AnswerCacheError(
            f"{self.path} cannot be used as the store of answers ({error}): free the disk, or move the file away and"
            " ask again"
        )

    def get(self, key: str) -> str | None:
        try:
            row = self._db.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
        except sqlite3.Error as error:
            raise self._broken(error) from None
        return row[0] if row else None

    def put(self, key: str, model: str, answer: str) -> None:
        try:
            self._db.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", (key, model, answer))
        except sqlite3.Error as error:
            raise self._broken(error) from None

    def close(self) -> None:
        self._db.close()
