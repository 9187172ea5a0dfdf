"""What the endpoints share: database, feed, keys, cursors."""

import asyncio
import contextlib
from importlib.metadata import version
from typing import Any, cast

from api.catalog import Dataset
from api.cursors import Cursors, cursor_secret
from api.database import Database, connection_options
from api.keys import Key, Keys
from api.problems import Problem, did_you_mean
from api.versions import Feed, Version
from pista.settings import Settings

RELEASE = version("pista")
_START_SECONDS = 5.0


class Service:
    """One API process."""

    def __init__(self, settings: Settings) -> None:
        """Wire the parts; ``start`` connects."""
        self.settings = settings
        self.database = Database(settings)
        self.feed = Feed(connection_options(settings, "pista-api-feed"))
        self.keys = Keys(self.database)
        self.cursors = Cursors(cursor_secret(settings))
        self._following: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open the pool and follow the database; go on without it after a few seconds, not ready."""
        await self.database.open()
        self._following = asyncio.create_task(self.feed.run(), name="version feed")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_START_SECONDS):
                await self.feed.loaded.wait()

    async def stop(self) -> None:
        """End the feed and close the pool."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])
        await self.database.close()

    @property
    def feed_alive(self) -> bool:
        """Whether the task that follows the database still runs."""
        return self._following is not None and not self._following.done()

    def datasets(self, key: Key) -> dict[str, tuple[Dataset, Version]]:
        """What the key may read.

        Raises:
            Problem: Nothing is known of the database yet.
        """
        if not self.feed.loaded.is_set():
            raise Problem("starting", "The catalog has not been read yet.", None, None, {"retry-after": "1"})
        versions = self.feed.versions
        return {
            name: (dataset, versions[name])
            for name, dataset in self.feed.catalog.datasets.items()
            if name in versions and key.may_read(name)
        }

    def dataset(self, key: Key, name: str) -> tuple[Dataset, Version]:
        """One dataset that the key may read.

        Raises:
            Problem: There is none of that name, or the key may not know of it.
        """
        dataset, known = self.feed.catalog.datasets.get(name), self.feed.versions.get(name)
        if dataset is not None and known is not None and key.may_read(name):
            return dataset, known
        names = list(self.datasets(key))
        raise Problem(
            "unknown-dataset",
            f"There is no dataset '{name}' for this key.",
            f"It may read: {', '.join(names)}." if names else "It may read nothing yet.",
            did_you_mean(name, names),
        )


def service_of(scope: Any) -> Service:
    """The service of the application that handles a request."""
    return cast("Service", scope["app"].state.service)
