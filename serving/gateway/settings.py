"""Settings of the gateway: where the engine is, who may ask, how much, and for how long.

Everything is one frozen pydantic model; an unknown name is an error. Sizes are bytes, times seconds, rates per minute.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

MIB = 1024 * 1024

Scope = Literal["chat", "images", "metrics"]
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]", "testserver")

# Tokens by which the model's prompt is built. In a user's text they would forge a turn or an image slot.
RESERVED_TOKENS = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Rates(_Strict):
    """Token buckets of one key, per minute; None is no limit. A full bucket holds one minute's worth."""

    requests_per_minute: float | None = Field(default=6_000, gt=0)
    tokens_per_minute: float | None = Field(default=2_000_000, gt=0)
    pixels_per_minute: float | None = Field(default=4e9, gt=0)
    concurrent: int = Field(default=64, ge=1, description="requests of one key in flight at once")


UNLIMITED = Rates(requests_per_minute=None, tokens_per_minute=None, pixels_per_minute=None, concurrent=1024)


class Limits(_Strict):
    """Caps on one request. Beyond them the request is refused with the cap in the sentence, never cut silently."""

    body_bytes: int = Field(default=96 * MIB, gt=0, description="a chat request, images as base64 included")
    upload_bytes: int = Field(default=128 * MIB, gt=0, description="one file sent to /v1/images")
    held_bytes: int = Field(default=1024 * MIB, gt=0, description="bodies of all requests in flight together")
    body_seconds: float = Field(default=120, gt=0, description="whole body")
    body_idle_seconds: float = Field(default=20, gt=0, description="between two pieces of a body")
    header_seconds: float = Field(default=15, gt=0, description="from the connection to the end of its headers")
    messages: int = Field(default=256, ge=1)
    text_chars: int = Field(default=400_000, ge=1, description="all text of all messages")
    images: int = Field(default=8, ge=0, description="must not exceed vLLM's --limit-mm-per-prompt")
    image_side: int = Field(default=4096, ge=16, description="longest side of the picture sent to the engine")
    request_pixels: int = Field(default=64_000_000, gt=0, description="all pictures of one request, as sent")
    n: int = Field(default=8, ge=1)
    max_tokens: int = Field(default=4096, ge=1)
    default_max_tokens: int = Field(default=512, ge=1, description="when none is named and the context is > 4x this")
    tools: int = Field(default=64, ge=0)
    schema_bytes: int = Field(default=32_768, ge=0, description="JSON schema of an answer or of a tool")
    concurrent: int = Field(default=512, ge=1, description="requests in flight, all keys together")


class ApiKey(_Strict):
    """One caller: a name for logs and audit, the SHA-256 of the secret, what it may do and how much."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="hex SHA-256 of the key; the key itself is not stored")
    scopes: tuple[Scope, ...] = ("chat", "images")
    rates: Rates = Rates()


class GatewaySettings(_Strict):
    """All of the gateway's settings.

    Raises:
        pydantic.ValidationError: unknown names, values out of range, nobody allowed in, or an anonymous gateway on an
            address that others can reach.
    """

    engine_url: str = Field(pattern=r"^https?://[^\s]+$")
    engine_key: SecretStr = SecretStr("")
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)

    keys: tuple[ApiKey, ...] = ()
    keys_file: Path | None = None
    anonymous: bool = Field(default=False, description="no key needed; loopback only, no rate limits")
    metrics_public: bool = False
    allowed_hosts: tuple[str, ...] = Field(default=(), description="Host headers answered; empty = any (with keys)")
    cors_origins: tuple[str, ...] = ()
    audit_path: Path | None = None
    salt_secret: SecretStr | None = Field(default=None, description="set alike on gateways that share one engine")

    limits: Limits = Limits()
    anonymous_rates: Rates = UNLIMITED
    reserved_tokens: tuple[str, ...] = RESERVED_TOKENS

    decode_workers: int = Field(default=2, ge=1, le=64)
    decode_queue: int = Field(default=64, ge=1, description="pictures waiting or being drawn; more are refused")
    decode_seconds: float = Field(default=30, gt=0)
    image_cache_bytes: int = Field(default=256 * MIB, ge=0)
    upload_seconds: float = Field(default=3600, gt=0, description="how long an uploaded file is kept")
    upload_key_bytes: int = Field(default=512 * MIB, gt=0)
    upload_total_bytes: int = Field(default=1024 * MIB, gt=0)

    connect_seconds: float = Field(default=3, gt=0)
    first_byte_seconds: float = Field(default=300, gt=0, description="queue and prefill of the engine")
    between_bytes_seconds: float = Field(default=120, gt=0)
    request_seconds: float = Field(default=900, gt=0)
    client_write_seconds: float = Field(default=60, gt=0, description="a reader slower than this loses its slot")
    drain_seconds: float = Field(default=30, ge=0)

    @model_validator(mode="after")
    def _somebody_may_ask(self) -> GatewaySettings:
        if self.anonymous and (self.keys or self.keys_file):
            raise ValueError("anonymous=True and API keys exclude each other: drop one of them.")
        if self.anonymous and not is_loopback(self.host):
            raise ValueError(
                f"An anonymous gateway may listen on loopback only, not on {self.host!r}: add keys, or use 127.0.0.1."
            )
        return self

    def hosts(self) -> tuple[str, ...]:
        """Host header names answered; without keys only loopback names, against DNS rebinding from a browser."""
        return self.allowed_hosts or (LOOPBACK_NAMES if self.anonymous else ())


def is_loopback(host: str) -> bool:
    """True when `host` is reachable from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
