"""The pool of read-only connections, and what its failures mean to a client."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import asyncpg

from api.problems import Problem
from pista.settings import Settings

log = logging.getLogger("pista.api")

_CLOSE_SECONDS = 5.0
_UNREACHABLE = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InvalidAuthorizationSpecificationError,
)
# The tables are not as the catalog in memory says: a contract is being applied at this moment.
_CHANGED = (asyncpg.UndefinedColumnError, asyncpg.UndefinedTableError, asyncpg.InsufficientPrivilegeError)


class CatalogOutdated(Exception):
    """A statement made from the catalog in memory does not fit the tables."""


def connection_options(settings: Settings, application_name: str = "pista-api") -> dict[str, Any]:
    """Arguments of every connection: read only and bounded in time, whatever the role allows.

    Raises:
        RuntimeError: No connection is configured.
    """
    if settings.api_dsn is None:
        raise RuntimeError("PISTA_API_DSN is not set: the API needs a connection as pista_api.")
    statement_ms = str(round(settings.api_statement_seconds * 1000))
    return {
        "dsn": settings.api_dsn.get_secret_value(),
        "timeout": 5.0,
        # the server's own limit ends a statement; this one is for a server that no longer answers
        "command_timeout": settings.api_statement_seconds + 2.0,
        "server_settings": {
            "application_name": application_name,
            "default_transaction_read_only": "on",
            "statement_timeout": statement_ms,
            "idle_in_transaction_session_timeout": statement_ms,
            "timezone": "UTC",
            "datestyle": "ISO",
            "jit": "off",
        },
    }


async def _keep_session(_: Any) -> None:
    """Reset nothing when a connection returns: no statement of ours changes the session."""


class Database:
    """Runs one statement at a time on a pooled connection."""

    def __init__(self, settings: Settings) -> None:
        """Remember the settings; ``open`` connects."""
        self._settings = settings
        self._pool: Any = None

    async def open(self) -> None:
        """Make the pool. It connects on first use, so the process starts without a database."""
        self._pool = await asyncpg.create_pool(
            min_size=0,
            max_size=self._settings.api_pool_size,
            reset=_keep_session,
            **connection_options(self._settings),
        )

    async def close(self) -> None:
        """Let statements end, then close; after some seconds cut them off."""
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    async def fetch_row(self, statement: str, values: Sequence[Any]) -> Any:
        """The only row of a statement, or None.

        Raises:
            CatalogOutdated: The statement does not fit the tables.
            Problem: The database is busy, gone, or too slow; any other error passes through.
        """
        connection = await self._acquire()
        try:
            return await connection.fetchrow(statement, *values)
        except _CHANGED as error:
            raise CatalogOutdated(type(error).__name__) from error
        except (asyncpg.QueryCanceledError, TimeoutError):
            raise Problem(
                "query-timeout",
                f"The query took longer than {self._settings.api_statement_seconds:g} seconds.",
                None,
                "Filter on key columns, order by them, or ask for fewer rows.",
            ) from None
        except _UNREACHABLE as error:
            raise _unavailable(error) from error
        finally:
            await self._pool.release(connection)

    async def _acquire(self) -> Any:
        try:
            async with asyncio.timeout(self._settings.api_pool_wait_seconds):
                return await self._pool.acquire()
        except TimeoutError:
            raise Problem(
                "busy",
                f"No connection became free within {self._settings.api_pool_wait_seconds:g} seconds.",
                None,
                "Try again shortly.",
                {"retry-after": "1"},
            ) from None
        except _UNREACHABLE as error:
            raise _unavailable(error) from error


def _unavailable(error: BaseException) -> Problem:
    log.error("database unavailable: %s: %s", type(error).__name__, error)
    return Problem(
        "database-unavailable", "The database does not answer.", None, "Try again shortly.", {"retry-after": "2"}
    )
