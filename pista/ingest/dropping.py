"""Dropping a dataset: the only thing that deletes what was loaded."""

import logging
import time
from dataclasses import dataclass

import psycopg
from psycopg import Connection
from psycopg.rows import TupleRow

from pista.ingest.audit import record_audit
from pista.warehouse import shadow
from pista.warehouse.connection import connect
from pista.warehouse.names import curated, patches, raw
from pista.warehouse.roles import OWNER

log = logging.getLogger(__name__)

ATTEMPTS = 15  # at tables in use, each of which waits two seconds at most, so that readers queue no longer


class DropRefusedError(Exception):
    """The dataset cannot go."""


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a database holds of a dataset."""

    kind: str
    topic: str | None
    rows: int
    raw: int
    quarantined: int


def holdings(connection: Connection[TupleRow], dataset: str) -> Holdings:
    """What there is to drop.

    Raises:
        DropRefusedError: there is no such dataset, or a mart reads it.
    """
    row = connection.execute(
        """
        SELECT d.kind, d.topic, v.row_count, (SELECT count(*) FROM ingest.quarantine q WHERE q.dataset = d.name)
        FROM catalog.datasets d JOIN catalog.versions v ON v.dataset = d.name WHERE d.name = %s
        """,
        (dataset,),
    ).fetchone()
    if row is None:
        raise DropRefusedError(f"the database has no dataset {dataset}")
    readers = connection.execute(
        "SELECT mart FROM catalog.mart_inputs WHERE input = %s ORDER BY mart", (dataset,)
    ).fetchall()
    if readers:
        raise DropRefusedError(
            f"dataset {dataset} is read by {', '.join(mart for (mart,) in readers)}; remove that contract first, "
            "and run `pista apply`"
        )
    kind, topic, rows, quarantined = row
    records = 0
    if kind != "mart":
        counted = connection.execute(f"SELECT count(*) FROM {raw(dataset)}".encode()).fetchone()
        assert counted is not None
        records = counted[0]
    return Holdings(kind, topic, rows, records, quarantined)


def drop(admin_dsn: str, dataset: str, *, reason: str) -> Holdings:
    """Remove a dataset: tables, raw log, quarantine, ledger and catalog. Its topic stays.

    Args:
        admin_dsn: of a role that is a member of the owner.
        dataset: its name; its contract is gone from the folder already.
        reason: for the audit.

    Returns:
        What there was.

    Raises:
        DropRefusedError: there is no such dataset, or a mart reads it.
        RebuildRunningError: it is being rebuilt.
        psycopg.errors.LockNotAvailable: its tables stayed in use through all attempts.
    """
    with connect(admin_dsn, f"pista drop {dataset}") as connection:
        connection.execute(f"SET ROLE {OWNER}".encode())
        connection.execute("SET client_min_messages = warning; SET lock_timeout = '2s'")
        with shadow.alone(connection, dataset):
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    return _drop(connection, dataset, reason)
                except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
                    if attempt == ATTEMPTS:
                        raise
                    log.warning("tables of %s are in use; trying again (%d of %d)", dataset, attempt, ATTEMPTS)
                    time.sleep(0.2 * attempt)
    raise AssertionError("unreachable")


def _drop(connection: Connection[TupleRow], dataset: str, reason: str) -> Holdings:
    with connection.transaction():
        connection.execute("SELECT FROM catalog.versions WHERE dataset = %s FOR UPDATE", (dataset,))
        found = holdings(connection, dataset)
        shadow.drop_shadow(connection, shadow.shadow_name(dataset))
        for table in (curated(dataset), raw(dataset), patches(dataset)):
            connection.execute(f"DROP TABLE IF EXISTS {table}".encode())
        # everything else that knows the dataset refers to this line
        connection.execute("DELETE FROM catalog.datasets WHERE name = %s", (dataset,))
        connection.execute("SELECT pg_notify('pista_catalog', %s)", (dataset,))
        detail = {"rows": found.rows, "raw": found.raw, "quarantined": found.quarantined}
        record_audit(connection, "dataset drop", dataset, detail, reason)
    return found
