"""API keys: where a request may carry one, and whether it is good."""

import hashlib
import time
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from api.database import Database
from api.grammar import parse_parameters, refuse_key
from api.problems import Problem

CACHE_SECONDS = 5.0  # a revoked key works this much longer at most
_CACHE_SIZE = 10_000
_MAX_LENGTH = 256
_CHALLENGE = 'Bearer realm="pista", Basic realm="pista", charset="UTF-8"'


@dataclass(frozen=True, slots=True)
class Key:
    """A key that is known and valid."""

    name: str
    datasets: frozenset[str] | None  # None: all

    def may_read(self, dataset: str) -> bool:
        """Whether it may read that dataset."""
        return self.datasets is None or dataset in self.datasets


class Keys:
    """Checks keys against the database, and remembers good ones by hash for some seconds."""

    def __init__(self, database: Database) -> None:
        """Look keys up in that database."""
        self._database = database
        self._cache: dict[bytes, tuple[Key, float]] = {}

    async def authenticate(self, scope: Any) -> Key:
        """The key that the headers of a request carry.

        Raises:
            Problem: There is none, it is not valid, or it is in the query string.
        """
        secret = _secret(scope["headers"], scope["query_string"])
        digest = hashlib.sha256(secret.encode()).digest()
        found = self._cache.get(digest)
        if found is not None and time.monotonic() < found[1]:
            return found[0]
        row = await self._database.fetch_row("SELECT name, datasets, expires_at FROM access.find_key($1)", [secret])
        if row is None:
            self._cache.pop(digest, None)
            raise _refused("The API key is unknown, expired or revoked.")
        key = Key(row["name"], None if row["datasets"] is None else frozenset(row["datasets"]))
        if len(self._cache) >= _CACHE_SIZE:
            self._cache.clear()
        self._cache[digest] = (key, time.monotonic() + _seconds(row["expires_at"]))
        return key


def _seconds(expires_at: datetime | None) -> float:
    if expires_at is None:
        return CACHE_SECONDS
    return min(CACHE_SECONDS, (expires_at - datetime.now(UTC)).total_seconds())


def _secret(headers: Sequence[tuple[bytes, bytes]], query_string: bytes) -> str:
    candidates = []
    for name, value in headers:
        if name in (b"apikey", b"x-api-key"):
            candidates.append(value.decode("latin-1").strip())
        elif name == b"authorization":
            candidates.append(_from_authorization(value.decode("latin-1")))
    if not candidates:
        for parameter, _ in parse_parameters(query_string):
            refuse_key(parameter)
        raise _refused("The request carries no API key.")
    if len(set(candidates)) > 1:
        raise _refused("The request carries different API keys in different headers.")
    secret: str = candidates[0]
    if not secret or len(secret) > _MAX_LENGTH or not secret.isprintable():
        raise _refused("What the request carries is no API key.")
    return secret


def _from_authorization(value: str) -> str:
    scheme, _, rest = value.strip().partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            return b64decode(rest.strip(), validate=True).decode().partition(":")[0]
        except ValueError:
            raise _refused("The Basic credentials cannot be decoded.") from None
    raise _refused(f"The authorization scheme '{scheme[:20]}' is not understood.")


def _refused(message: str) -> Problem:
    return Problem(
        "unauthenticated",
        message,
        "Send it as 'Authorization: Bearer KEY', 'apikey: KEY', 'X-API-Key: KEY', or as the Basic user name.",
        "Keys are issued by the operator of this service; on a laptop `pista up` and `pista status --json` show one.",
        {"www-authenticate": _CHALLENGE},
    )
