"""Opaque cursors: the place where a page ended, signed, and bound to the query it belongs to."""

import hashlib
import hmac
import logging
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

import orjson

from api.problems import Problem
from pista.settings import Settings

log = logging.getLogger("pista.api")
_MAC_BYTES = 16


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page ended."""

    epoch: str  # of the dataset when the walk began: a rebuild voids its cursors
    rows: int  # rows on the pages so far
    last: list[str | None]  # order columns of the last row, as PostgreSQL writes them


class Cursors:
    """Writes and reads cursors. They grant nothing: a forged one would be another filter, not another's data."""

    def __init__(self, secret: bytes) -> None:
        """Use the secret that all processes of a deployment share."""
        self._secret = secret

    def write(self, position: Position, binding: str) -> str:
        """The cursor after a page of the query that ``binding`` names."""
        payload = orjson.dumps([position.epoch, position.rows, position.last])
        return urlsafe_b64encode(self._mac(payload, binding) + payload).rstrip(b"=").decode()

    def read(self, text: str, binding: str) -> Position:
        """The position that a cursor stands for.

        Raises:
            Problem: It is not ours, or belongs to another dataset or query.
        """
        try:
            raw = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        except ValueError:
            raw = b""
        mac, payload = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not payload or not hmac.compare_digest(mac, self._mac(payload, binding)):
            raise Problem(
                "invalid-cursor",
                "The cursor does not belong to this query.",
                "Valid: a cursor of a Link header, with all other parameters unchanged.",
                "Start again without the cursor.",
            )
        return Position(*orjson.loads(payload))

    def _mac(self, payload: bytes, binding: str) -> bytes:
        return hmac.digest(self._secret, binding.encode() + b"\0" + payload, hashlib.sha256)[:_MAC_BYTES]


def cursor_secret(settings: Settings) -> bytes:
    """The secret of the settings, else one derived from the database password, which all workers share too."""
    if settings.api_cursor_secret:
        return settings.api_cursor_secret.get_secret_value().encode()
    dsn = settings.api_dsn.get_secret_value() if settings.api_dsn else ""
    password = unquote(urlsplit(dsn).password or "")
    if password:
        return hashlib.sha256(b"pista cursor " + password.encode()).digest()
    log.warning("PISTA_API_CURSOR_SECRET is not set and PISTA_API_DSN has no password: cursors end with this process.")
    return secrets.token_bytes(32)
