"""API keys: read from settings, a file or the environment; compared by hash in constant time.

Only SHA-256 hashes are kept. Keys are 256-bit random (`new_key`), so a slow password hash would add nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from serving.gateway.errors import GatewayError
from serving.gateway.settings import ApiKey, GatewaySettings, Rates, Scope
from vlm.errors import MedVLMError

ENV_KEYS = "MEDVLM_API_KEYS"


class KeyFileError(MedVLMError):
    """A key file or MEDVLM_API_KEYS that cannot be used."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the key's name, what it may do and how much. `anonymous` when the gateway needs no key."""

    name: str
    scopes: frozenset[str]
    rates: Rates


def new_key(name: str, scopes: tuple[Scope, ...] = ("chat", "images")) -> tuple[str, ApiKey]:
    """A fresh secret (show it once) and the record to store."""
    secret = "mv-" + secrets.token_urlsafe(32)
    return secret, ApiKey(name=name, sha256=hash_key(secret), scopes=scopes)


def hash_key(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def read_keys_file(path: Path) -> tuple[ApiKey, ...]:
    """Keys of a JSON file: `[{"name": ..., "sha256": ..., "scopes": [...], "rates": {...}}, ...]`.

    Raises:
        KeyFileError: no such file, no JSON, a record with a wrong or missing field, readable by everybody.
    """
    try:
        if path.stat().st_mode & 0o002:
            raise KeyFileError(f"The key file {path.name} may be written by everybody: chmod 600 it.")
        records = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise KeyFileError(f"The key file {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise KeyFileError(f"The key file {path} is not JSON. It holds a list of {{name, sha256}} records.") from error
    if not isinstance(records, list):
        raise KeyFileError(f"The key file {path} holds a {type(records).__name__}; a list of records is needed.")
    keys = []
    for index, record in enumerate(records):
        try:
            keys.append(ApiKey.model_validate(record))
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "record"
            raise KeyFileError(f"Key {index} of {path}: {where}: {first['msg']}.") from None
    return tuple(keys)


def read_keys_env(environ: Mapping[str, str] = os.environ) -> tuple[ApiKey, ...]:
    """Keys of MEDVLM_API_KEYS: `name:sha256hex` or `name:the-key-itself`, separated by commas.

    Raises:
        KeyFileError: an entry without a colon or with a name that is no name.
    """
    keys = []
    for index, entry in enumerate(filter(None, environ.get(ENV_KEYS, "").split(","))):
        name, colon, value = entry.strip().partition(":")
        is_hash = len(value) == 64 and all(c in "0123456789abcdef" for c in value)
        if not colon or (not is_hash and len(value) < 16):
            raise KeyFileError(
                f"{ENV_KEYS}, entry {index}: write name:key (key of 16 characters or more), or name:sha256."
            )
        try:
            keys.append(ApiKey(name=name, sha256=value if is_hash else hash_key(value)))
        except ValidationError:
            raise KeyFileError(f"{ENV_KEYS}, entry {index}: names have 1-64 letters, digits, dot, dash, _.") from None
    return tuple(keys)


class Keys:
    """The callers of one gateway."""

    def __init__(self, settings: GatewaySettings, environ: Mapping[str, str] = os.environ) -> None:
        records: list[ApiKey] = []
        if not settings.anonymous:
            records += settings.keys
            records += read_keys_file(settings.keys_file) if settings.keys_file else ()
            records += read_keys_env(environ)
            if not records:
                raise KeyFileError(
                    f"Nobody may use this gateway: give keys (settings, a key file or {ENV_KEYS}), "
                    "or anonymous=True for a gateway on loopback."
                )
        _refuse_twins(records)
        self._records = tuple((r.sha256.encode(), Caller(r.name, frozenset(r.scopes), r.rates)) for r in records)
        self._anonymous = Caller("anonymous", frozenset({"chat", "images", "metrics"}), settings.anonymous_rates)
        self.open = settings.anonymous

    def caller(self, authorization: str | None) -> Caller:
        """The caller of an Authorization header, `Bearer KEY`.

        Raises:
            GatewayError: 401 for no key, another scheme, or a key that is not known.
        """
        if self.open:
            return self._anonymous
        scheme, _, secret = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not secret.strip():
            raise _unauthorized("missing_api_key", "No API key: send the header 'Authorization: Bearer YOUR_KEY'.")
        presented = hash_key(secret.strip()).encode()
        found: Caller | None = None
        for stored, caller in self._records:  # no early end: the time says nothing about which key was near
            if hmac.compare_digest(stored, presented):
                found = caller
        if found is None:
            raise _unauthorized("invalid_api_key", "This API key is not known here: check it, or ask for a new one.")
        return found


def require(caller: Caller, scope: Scope) -> None:
    """Raises GatewayError 403 when the key lacks `scope`."""
    if scope not in caller.scopes:
        raise GatewayError(403, "missing_scope", f"This API key may not do this: it lacks the scope '{scope}'.")


def _unauthorized(code: str, message: str) -> GatewayError:
    return GatewayError(401, code, message, headers={"WWW-Authenticate": "Bearer"})


def _refuse_twins(records: Iterable[ApiKey]) -> None:
    names: set[str] = set()
    hashes: set[str] = set()
    for record in records:
        if record.name in names or record.sha256 in hashes or record.name == "anonymous":
            raise KeyFileError(
                f"The API key {record.name!r} is there twice (or uses a kept name): rename or remove one."
            )
        names.add(record.name)
        hashes.add(record.sha256)
