"""Upkeep of a source dataset's raw log and tables, for a schedule to call once a night."""

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

import psycopg
from psycopg import Connection
from psycopg.rows import TupleRow

from pista.contracts.dataset import Dataset
from pista.warehouse.names import curated, raw
from pista.warehouse.shadow import RebuildRunningError, alone

log = logging.getLogger(__name__)

RAW_DAYS_AHEAD = 2
ATTEMPTS = 15  # at a lock that a drain holds; each waits two seconds at most, so that nobody queues for longer


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What was done for one dataset."""

    dataset: str
    dropped: int  # days of raw past their retention
    moved: int  # raw records that got the partition of their day


def maintain(connection: Connection[TupleRow], datasets: Iterable[Dataset]) -> list[Upkeep]:
    """Make raw partitions ahead, drop those past ``retention``, settle the DEFAULT partition, and ANALYZE.

    A record counts from the day that it was loaded, in UTC, and goes with the whole of its day. Each step
    is a transaction of its own, and drains go on meanwhile.

    Args:
        connection: as pista_ingest, in autocommit.
        datasets: marts among them are analysed only.

    Returns:
        One report a source dataset.

    Raises:
        psycopg.errors.LockNotAvailable: a table stayed in use through all attempts.
    """
    done = []
    for dataset in datasets:
        if dataset.is_source:
            ensure_raw_partitions(connection, dataset.name)
            moved = _patiently(connection, "SELECT ingest.settle_raw_default(%s)", (dataset.name,))
            dropped = 0
            if dataset.retention is not None:
                dropped = _drop_past(connection, dataset.name, dataset.retention)
            done.append(Upkeep(dataset.name, dropped, moved))
            connection.execute(f"ANALYZE {raw(dataset.name)}".encode())
        connection.execute(f"ANALYZE {curated(dataset.name)}".encode())
    return done


def ensure_raw_partitions(connection: Connection[TupleRow], dataset: str) -> None:
    """Make the raw partitions of today and the coming days, so that midnight finds one."""
    connection.execute(
        """
        SELECT ingest.ensure_raw_partition(%s, (now() AT TIME ZONE 'UTC')::date + day)
        FROM generate_series(0, %s) AS day
        """,
        (dataset, RAW_DAYS_AHEAD),
    )


def _drop_past(connection: Connection[TupleRow], dataset: str, retention: timedelta) -> int:
    """Drop the days of raw past their retention; none where a rebuild may still have to read them."""
    try:
        with alone(connection, dataset):
            return _patiently(
                connection,
                "SELECT ingest.drop_raw_before(%s, ((now() - %s) AT TIME ZONE 'UTC')::date)",
                (dataset, retention),
            )
    except RebuildRunningError:
        log.info("dataset %s is being rebuilt: its raw records of past days stay until the next upkeep", dataset)
        return 0


def _patiently(connection: Connection[TupleRow], statement: str, arguments: tuple[object, ...]) -> int:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            row = connection.execute(statement.encode(), arguments).fetchone()
            assert row is not None
            return int(row[0])
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            if attempt == ATTEMPTS:
                raise
            log.warning("raw.%s is in use; trying again (%d of %d)", arguments[0], attempt, ATTEMPTS)
            time.sleep(0.2 * attempt)
    raise AssertionError("unreachable")
