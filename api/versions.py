"""The feed: keeps catalog and versions in memory, at most a moment behind the database."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from api.catalog import Catalog, load_catalog

log = logging.getLogger("pista.api")

CHANNELS = ("pista_versions", "pista_catalog")
POLL_SECONDS = 1.0
FRESH_SECONDS = 2.0  # older knowledge answers no conditional request
_BURST_SECONDS = 0.05  # notifications closer than this are one poll
_RETRY_SECONDS = 0.5
_POLL = """
SELECT d.name, d.contract_hash, v.version, v.epoch::text AS epoch, v.row_count, v.published_at, v.as_of, v.blocked_by,
       pg_is_in_recovery() AS standby
FROM catalog.datasets d JOIN catalog.versions v ON v.dataset = d.name
WHERE d.served
"""


@dataclass(frozen=True, slots=True)
class Version:
    """What was last published of a dataset."""

    version: int
    epoch: str
    row_count: int
    published_at: datetime | None
    as_of: datetime | None
    blocked_by: str | None

    def stale(self, freshness: timedelta | None) -> bool | None:
        """Whether it is older than promised; None if nothing is promised."""
        if freshness is None:
            return None
        return self.as_of is None or datetime.now(UTC) - self.as_of > freshness


class Feed:
    """Follows the database on a connection of its own: LISTEN for speed, polling for certainty."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        """Remember how to connect; ``run`` follows."""
        self.catalog = Catalog()
        self.versions: Mapping[str, Version] = {}
        self.loaded = asyncio.Event()  # the first time
        self.trouble: str | None = "not connected yet"
        self._options = options
        self._known_at = float("-inf")  # monotonic time at which everything here was true
        self._wake = asyncio.Event()
        self._catalog_changed = True
        self._hashes: Mapping[str, str] = {}  # contract hash by dataset, as of the loaded catalog

    @property
    def fresh(self) -> bool:
        """Whether versions are known well enough to say that nothing changed."""
        return time.monotonic() - self._known_at < FRESH_SECONDS

    def reload(self) -> None:
        """Read catalog and versions now: something does not fit."""
        self._catalog_changed = True
        self._wake.set()

    async def run(self) -> None:
        """Follow until cancelled; reconnect whenever the connection is lost."""
        while True:
            connection = None
            try:
                connection = await asyncpg.connect(**self._options)
                await self._follow(connection)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                self._lost(error)
                log.warning("version feed lost: %s: %s", type(error).__name__, error)
            except Exception as error:  # a defect must show, and must not stop the feed for good
                self._lost(error)
                log.exception("version feed failed")
            finally:
                if connection is not None:
                    connection.terminate()
            await asyncio.sleep(_RETRY_SECONDS)

    def _lost(self, error: Exception) -> None:
        self.trouble = f"{type(error).__name__} at {datetime.now(UTC):%H:%M:%S}Z"

    async def _follow(self, connection: Any) -> None:
        for channel in CHANNELS:
            await connection.add_listener(channel, self._notified)
        self._catalog_changed = True
        while True:
            self._wake.clear()
            await self._poll(connection)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._wake.wait()
                    await asyncio.sleep(_BURST_SECONDS)

    def _notified(self, _connection: Any, _pid: int, channel: str, _payload: str) -> None:
        if channel == "pista_catalog":
            self._catalog_changed = True
        self._wake.set()

    async def _poll(self, connection: Any) -> None:
        asked_at = time.monotonic()
        rows = await connection.fetch(_POLL, timeout=FRESH_SECONDS)
        hashes = {row["name"]: row["contract_hash"] for row in rows}
        if self._catalog_changed or hashes != self._hashes:
            self._catalog_changed = False
            try:
                catalog = await load_catalog(connection)
            except BaseException:
                self._catalog_changed = True
                raise
            for defect in catalog.defects:
                log.error("%s", defect)
            log.info("catalog loaded: %s", ", ".join(catalog.datasets) or "no dataset")
            self.catalog, self._hashes = catalog, hashes
        fields = ("version", "epoch", "row_count", "published_at", "as_of", "blocked_by")
        self.versions = {row["name"]: Version(*(row[field] for field in fields)) for row in rows}
        self.trouble = None
        # a standby may lag behind by any amount without knowing it
        self._known_at = float("-inf") if any(row["standby"] for row in rows) else asked_at
        self.loaded.set()
