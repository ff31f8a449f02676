"""Rate limits: token buckets for requests, tokens and pixels of each key, and caps on what runs at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from serving.gateway.auth import Caller
from serving.gateway.errors import retry_later
from serving.gateway.settings import Limits, Rates


class Bucket:
    """A token bucket: `per_minute` units a minute, at most one minute's worth saved. None = no limit.

    `take` may be followed by `give` (what was reserved and not used) or by `charge` (what was used beyond it), which
    may drive the level below zero: then the next caller waits until the debt is paid.
    """

    def __init__(self, per_minute: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.capacity = per_minute
        self._level = per_minute or 0.0
        self._clock = clock
        self._then = clock()

    def _refill(self) -> None:
        now = self._clock()
        assert self.capacity is not None
        # max(): a monotonic clock never runs back, a test's or a broken one must not empty the bucket
        self._level = min(self.capacity, self._level + max(0.0, now - self._then) * self.capacity / 60)
        self._then = now

    def take(self, amount: float) -> float:
        """Take `amount` (or a full bucket, if it asks for more than that). Returns 0, or the seconds to wait."""
        if self.capacity is None:
            return 0.0
        self._refill()
        amount = min(amount, self.capacity)
        if self._level >= amount:
            self._level -= amount
            return 0.0
        return (amount - self._level) * 60 / self.capacity

    def charge(self, amount: float) -> None:
        """Use `amount` without asking; negative gives back."""
        if self.capacity is not None:
            self._refill()
            self._level = min(self.capacity, self._level - amount)

    @property
    def level(self) -> float | None:
        if self.capacity is None:
            return None
        self._refill()
        return self._level


class _KeyState:
    def __init__(self, rates: Rates, clock: Callable[[], float]) -> None:
        self.requests = Bucket(rates.requests_per_minute, clock)
        self.tokens = Bucket(rates.tokens_per_minute, clock)
        self.pixels = Bucket(rates.pixels_per_minute, clock)
        self.running = 0


class Slot:
    """A request's place, and the bytes of its body held meanwhile. All bodies together are bounded."""

    def __init__(self, limiter: RateLimiter) -> None:
        self._limiter = limiter
        self.held = 0

    def hold(self, size: int) -> None:
        """Raises GatewayError 503 when the bodies of all requests together would take too much memory."""
        if self._limiter.held + size > self._limiter.limits.held_bytes:
            raise retry_later(503, "overloaded", "Too many large requests at once: try again.", 2)
        self._limiter.held += size
        self.held += size


class RateLimiter:
    """Buckets and counts of all keys. Lives in the event loop: no locks."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self._clock = clock
        self._states: dict[str, _KeyState] = {}
        self.running = 0
        self.held = 0

    def state(self, caller: Caller) -> _KeyState:
        state = self._states.get(caller.name)
        if state is None:
            state = self._states[caller.name] = _KeyState(caller.rates, self._clock)
        return state

    @contextmanager
    def slot(self, caller: Caller) -> Iterator[Slot]:
        """One request's place, from before its body is read until its answer is out.

        Raises:
            GatewayError: 429 when this key asks too often or too much at once, 503 when all places are taken.
        """
        state = self.state(caller)
        if self.running >= self.limits.concurrent:
            raise retry_later(503, "overloaded", "The gateway has as many requests as it takes: try again.", 1)
        if state.running >= caller.rates.concurrent:
            raise retry_later(
                429,
                "concurrency_limit",
                f"This key has {caller.rates.concurrent} requests in flight, its limit: wait for one to end.",
                1,
            )
        self._take(state.requests, 1, "requests")
        self.running += 1
        state.running += 1
        slot = Slot(self)
        try:
            yield slot
        finally:
            self.running -= 1
            state.running -= 1
            self.held -= slot.held

    def take_tokens(self, caller: Caller, amount: float) -> float:
        """Reserve `amount` tokens (prompt estimate + longest answer). Returns what to give `settle_tokens`."""
        bucket = self.state(caller).tokens
        self._take(bucket, amount, "tokens")
        return 0.0 if bucket.capacity is None else min(amount, bucket.capacity)

    def settle_tokens(self, caller: Caller, reserved: float, used: float) -> None:
        self.state(caller).tokens.charge(used - reserved)

    def take_pixels(self, caller: Caller, pixels: int) -> None:
        self._take(self.state(caller).pixels, pixels, "pixels")

    def _take(self, bucket: Bucket, amount: float, unit: str) -> None:
        wait = bucket.take(amount)
        if wait > 0:
            raise retry_later(
                429,
                "rate_limit_exceeded",
                f"This key's limit of {bucket.capacity:g} {unit} a minute is used up: try again in {wait:.1f} s.",
                wait,
            )

    def headers(self, caller: Caller) -> list[tuple[bytes, bytes]]:
        """OpenAI's x-ratelimit-* headers, for the limits that this key has."""
        state = self.state(caller)
        out: list[tuple[bytes, bytes]] = []
        for name, bucket in (("requests", state.requests), ("tokens", state.tokens)):
            if bucket.capacity is not None:
                out.append((f"x-ratelimit-limit-{name}".encode(), f"{bucket.capacity:.0f}".encode()))
                out.append(
                    (
                        f"x-ratelimit-remaining-{name}".encode(),
                        f"{max(0.0, bucket.level or 0.0):.0f}".encode(),
                    )
                )
        return out
