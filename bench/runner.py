"""Putting questions to an endpoint: many at once, each different one only once, resumable at any point."""

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.arms import ARMS, Arm, shuffled_pictures
from bench.errors import MeasurementStopped
from bench.items import Item, Picture
from bench.journal import Journal
from bench.pictures import PictureStore, SentImage
from vlm.chat_client import ChatClient, Reply

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn. Greedy by default: the same question gives the same answer."""

    max_tokens: int = 64
    temperature: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Ask:
    """One question in one arm, with the images that are shown."""

    item: Item
    arm: Arm
    pictures: tuple[Picture, ...]


@dataclass
class Outcome:
    """What a run did: answers by (item key, arm), and what could not be answered."""

    answers: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    failures: dict[tuple[str, str], str] = field(default_factory=dict)
    asked: int = 0
    reused: int = 0


def plan_asks(items: Sequence[Item], arms: Sequence[Arm], seed: int) -> list[Ask]:
    """Every item in every arm, in the order of asking.

    All questions that show one image stand together, whichever arm shows it, so that a server with a prefix or
    encoder cache reads it once. Arms without a real image come last.
    """
    swap = shuffled_pictures(items, seed) if "shuffled" in arms else {}
    asks: list[Ask] = []
    for item in items:
        for arm in arms:
            shown = tuple(swap[p] for p in item.images) if arm == "shuffled" else item.images
            asks.append(Ask(item, arm, () if arm == "text" else shown))

    def place(numbered: tuple[int, Ask]) -> tuple[Any, ...]:
        number, ask = numbered
        seen = ask.arm in ("real", "shuffled")
        files = tuple(str(p.path) for p in ask.pictures) if seen else ()
        return (not seen, files, ARMS.index(ask.arm) if not seen else 0, number)

    return [ask for _, ask in sorted(enumerate(asks), key=place)]


def messages_of(question: str, images: Sequence[SentImage]) -> list[dict[str, Any]]:
    """The conversation that is sent: images first, then the question (which lets a prefix cache keep the images)."""
    parts: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": image.url}} for image in images]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": question}]}]


def content_key(model: str, question: str, images: Sequence[SentImage], sampling: Sampling) -> str:
    """SHA-256 of all that decides an answer: model, question, the bytes of the images, sampling."""
    decided_by = [model, question, [image.sha256 for image in images], asdict(sampling)]
    return hashlib.sha256(json.dumps(decided_by, sort_keys=True).encode()).hexdigest()


class Runner:
    """Asks a list of questions through one client into one journal.

    Args:
        identity: name of the model and, where known, the hash of its weights: part of every key.
        instruction: added to closed questions after a line break; empty sends the question alone.
        concurrency: requests in flight.
        progress: called with (done, failed) after every question.
    """

    def __init__(
        self,
        client: ChatClient,
        model: str,
        journal: Journal,
        store: PictureStore,
        *,
        identity: str | None = None,
        sampling: Sampling = Sampling(),
        instruction: str = "",
        concurrency: int = 8,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.client, self.model, self.journal, self.store = client, model, journal, store
        self.identity = identity or model
        self.sampling, self.instruction = sampling, instruction
        self.concurrency = max(1, concurrency)
        self.progress = progress
        self.logprobs = True
        self._in_flight: dict[str, asyncio.Future[Reply]] = {}
        self._encoding = asyncio.Lock()
        self._gone_in_a_row = 0

    async def run(self, asks: Sequence[Ask]) -> Outcome:
        """Ask everything that the journal does not hold yet.

        Raises:
            MeasurementStopped: the server gave nothing but connection and server errors for a while.
            DataError: an image cannot be read.
            RunError: the journal cannot be written.
        """
        outcome = Outcome()
        pending = iter(asks)
        workers = [asyncio.create_task(self._work(pending, outcome)) for _ in range(self.concurrency)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        return outcome

    async def _work(self, pending: Iterator[Ask], outcome: Outcome) -> None:
        for ask in pending:
            await self._one(ask, outcome)
            if self.progress:
                self.progress(len(outcome.answers) + len(outcome.failures), len(outcome.failures))

    async def _one(self, ask: Ask, outcome: Outcome) -> None:
        question = ask.item.question
        if self.instruction and ask.item.kind == "closed":
            question = f"{question}\n{self.instruction}"
        async with self._encoding:
            images = [await asyncio.to_thread(self.store.get, p, ask.arm) for p in ask.pictures]
        key, place = content_key(self.identity, question, images, self.sampling), (ask.item.key, ask.arm)
        if key not in self.journal.answers:
            reply = await self._shared(key, question, images, outcome)
            if not reply.answered:
                self._note_failure(place, reply, outcome)
                return
        else:
            outcome.reused += 1
        outcome.answers[place] = {
            **self.journal.answers[key],
            "image_sha256": [image.sha256 for image in images],
        }

    async def _shared(self, key: str, question: str, images: Sequence[SentImage], outcome: Outcome) -> Reply:
        """Ask, or wait for the same request that another worker has in flight."""
        if key in self._in_flight:
            outcome.reused += 1
            return await asyncio.shield(self._in_flight[key])
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._in_flight[key] = future
        try:
            reply = await self._ask(question, images)
            if reply.answered:
                self._gone_in_a_row = 0
                outcome.asked += 1
                self.journal.add(
                    {
                        "key": key,
                        "text": reply.text,
                        "finish_reason": reply.finish_reason,
                        "top_logprobs": dict(reply.top_logprobs) if reply.top_logprobs else None,
                    }
                )
            future.set_result(reply)
            return reply
        finally:
            if not future.done():
                future.cancel()
            del self._in_flight[key]

    async def _ask(self, question: str, images: Sequence[SentImage]) -> Reply:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": messages_of(question, images),
            **asdict(self.sampling),
        }
        with_logprobs = self.logprobs
        extra = {"logprobs": True, "top_logprobs": 20} if with_logprobs else {}
        reply = await self.client.ask({**body, **extra})
        if with_logprobs and reply.error and "logprob" in reply.error.lower():
            log.warning("the endpoint gives no log-probabilities: going on without calibration")
            self.logprobs = False
            reply = await self.client.ask(body)
        return reply

    def _note_failure(self, place: tuple[str, str], reply: Reply, outcome: Outcome) -> None:
        outcome.failures[place] = reply.error or "no answer"
        if not reply.server_gone:
            self._gone_in_a_row = 0
            return
        self._gone_in_a_row += 1
        if self._gone_in_a_row >= max(8, 2 * self.concurrency):
            raise MeasurementStopped(
                f"the server at {self.client.url} stopped answering ({reply.error}). {len(self.journal.answers)}"
                " answers are kept: start it again and give the same command to go on from there."
            )
