"""Bring a database to this version's schema and contracts; safe to repeat and to run twice at once.

Rule of every migration: the schema it leaves serves the code of the release before it.
"""

import hashlib
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources

import psycopg
from psycopg import Connection
from psycopg.rows import TupleRow

from pista.contracts.dataset import Dataset
from pista.warehouse.connection import connect
from pista.warehouse.publishing import publish_contract, refuse_breaking, retire_missing
from pista.warehouse.roles import OWNER, ensure_roles
from pista.warehouse.shadow import clear_leftovers
from pista.warehouse.tables import ensure_slice_index, ensure_tables

log = logging.getLogger(__name__)

LOCK = 0x7069737461  # "pista": one migration of a database at a time
DDL_LOCK_TIMEOUT = "2s"  # a longer wait would queue readers behind an export
DDL_ATTEMPTS = 15


class MigrationChangedError(Exception):
    """A migration that was applied is no longer the file it was."""


@dataclass(frozen=True, slots=True)
class MigrationReport:
    """What a migration did, as sentences; nothing to do leaves it empty."""

    changed: list[str] = field(default_factory=list)


def migrate(
    admin_dsn: str, datasets: Mapping[str, Dataset], passwords: Mapping[str, str] | None = None
) -> MigrationReport:
    """Make roles, apply the missing SQL migrations, and bring tables and catalog to the contracts.

    Args:
        admin_dsn: connection of a role that may create roles and grant on the database.
        datasets: the contracts, by name; a dataset that is served but missing here is retired.
        passwords: role name to password, for roles whose passwords nobody else manages.

    Raises:
        MigrationChangedError: an applied migration file was edited.
        BreakingChangeError: a contract changed in a way that is not safe.
        psycopg.Error: the database refused.
    """
    report = MigrationReport()
    with connect(admin_dsn, "pista migrate") as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        report.changed.extend(ensure_roles(connection, passwords or {}))
        connection.execute(f"SET ROLE {OWNER}".encode())
        connection.execute("SET client_min_messages = warning")
        connection.execute(f"SET lock_timeout = '{DDL_LOCK_TIMEOUT}'".encode())
        report.changed.extend(_apply_migrations(connection))
        report.changed.extend(clear_leftovers(connection))
        for dataset in datasets.values():
            report.changed.extend(_apply_contract(connection, dataset))
        report.changed.extend(retire_missing(connection, datasets))
        connection.execute("SELECT pg_notify('pista_catalog', '')")
    for sentence in report.changed:
        log.info("%s", sentence)
    return report


def _apply_migrations(connection: Connection[TupleRow]) -> list[str]:
    connection.execute("CREATE SCHEMA IF NOT EXISTS catalog")
    connection.execute(
        """
        CREATE TABLE IF NOT EXISTS catalog.migrations (
            name text PRIMARY KEY, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())
        """
    )
    applied: dict[str, str] = dict(connection.execute("SELECT name, checksum FROM catalog.migrations").fetchall())
    done = []
    files = sorted(resources.files("pista.warehouse").joinpath("migrations").iterdir(), key=lambda file: file.name)
    for file in files:
        if not file.name.endswith(".sql"):
            continue
        text = file.read_text(encoding="utf-8")
        checksum = hashlib.sha256(text.encode()).hexdigest()
        if file.name not in applied:
            with connection.transaction():
                connection.execute(text.encode())
                connection.execute(
                    "INSERT INTO catalog.migrations (name, checksum) VALUES (%s, %s)", (file.name, checksum)
                )
            done.append(f"applied migration {file.name}")
        elif applied[file.name] != checksum:
            raise MigrationChangedError(
                f"migration {file.name} was applied with other contents. "
                "Restore the file as it was, and put the change into a new migration."
            )
    return done


def _apply_contract(connection: Connection[TupleRow], dataset: Dataset) -> list[str]:
    for attempt in range(1, DDL_ATTEMPTS + 1):
        try:
            with connection.transaction():
                _lock_versions(connection, dataset)
                refuse_breaking(connection, dataset)
                done = ensure_tables(connection, dataset)
                for source in dataset.inputs:
                    if source.slice_column:
                        ensure_slice_index(connection, source.dataset, source.slice_column)
                publish_contract(connection, dataset)
            return done
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):  # readers, or autovacuum
            if attempt == DDL_ATTEMPTS:
                raise
            log.warning("tables of %s are in use; trying again (%d of %d)", dataset.name, attempt, DDL_ATTEMPTS)
            time.sleep(0.2 * attempt)
    raise AssertionError("unreachable")


def _lock_versions(connection: Connection[TupleRow], dataset: Dataset) -> None:
    """Keep drains from committing rows under the contract of before, or past a mart that is being added."""
    names = [dataset.name, *(source.dataset for source in dataset.inputs)]
    connection.execute("SELECT FROM catalog.versions WHERE dataset = ANY(%s) ORDER BY dataset FOR UPDATE", (names,))
