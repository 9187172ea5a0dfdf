"""Nightly upkeep: partitions ahead, retention by load day, and records that found no partition of their day."""

from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest
from psycopg import Connection

from pista.contracts.dataset import Column, Dataset, Kind, LogicalType
from pista.warehouse.maintenance import Upkeep, maintain
from pista.warehouse.migrate import migrate

COLUMNS = (Column("id", "id", LogicalType.STRING, "text", required=True),)
LEGS = Dataset("legs", "1.0.0", Kind.UPSERT, COLUMNS, ("id",), topic="t", contract_hash="1")
ROW = """
    INSERT INTO raw.legs (epoch, partition, "offset", order_time, timestamp, loaded_at)
    VALUES (0, 0, %s, now(), now(), (current_date - %s + time '12:00')::timestamptz)
"""


@pytest.fixture
def days(database: object) -> tuple[Connection, Connection]:  # type: ignore[misc]
    """Connections of the owner and of ingestion; raw holds a record of today, of yesterday and of 10 days ago."""
    migrate(database.admin_dsn, {"legs": LEGS})  # type: ignore[attr-defined]
    with (
        psycopg.connect(database.admin_dsn, autocommit=True) as admin,  # type: ignore[attr-defined]
        psycopg.connect(database.ingest_dsn, autocommit=True) as ingest,  # type: ignore[attr-defined]
    ):
        admin.execute("SET TimeZone = 'UTC'")
        for offset, age in enumerate((0, 1, 10)):
            admin.execute(ROW, (offset, age))
        yield admin, ingest


def partitions(connection: Connection) -> dict[str, int]:
    """Records of each partition, by its age in days."""
    names = connection.execute(
        """
        SELECT relname, CASE WHEN right(relname, 7) = 'default' THEN 'default'
            ELSE (current_date - to_date(right(relname, 8), 'YYYYMMDD'))::text END
        FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE inhparent = 'raw.legs'::regclass
        """
    ).fetchall()
    return {
        age: connection.execute(f"SELECT count(*) FROM raw.{name}".encode()).fetchone()[0]  # type: ignore[index]
        for name, age in names
    }


def test_records_of_the_default_partition_move_to_their_day_and_old_days_are_dropped(
    days: tuple[Connection, Connection],
) -> None:
    admin, ingest = days
    assert maintain(ingest, [LEGS]) == [Upkeep("legs", dropped=0, moved=2)]
    # today's record keeps today in the DEFAULT partition until tomorrow's upkeep
    assert partitions(admin) == {"default": 1, "1": 1, "10": 1, "-1": 0, "-2": 0}

    kept_a_week = replace(LEGS, retention=timedelta(days=7))
    assert maintain(ingest, [kept_a_week]) == [Upkeep("legs", dropped=1, moved=0)]
    assert partitions(admin) == {"default": 1, "1": 1, "-1": 0, "-2": 0}
    # what is gone is written down, so that nothing is ever computed from half a log
    assert admin.execute("SELECT dataset, current_date - day, records FROM ingest.raw_dropped").fetchall() == [
        ("legs", 10, 1)
    ]
    assert admin.execute("SELECT count(*) FROM raw.legs").fetchone() == (2,)


def test_nobody_queues_behind_upkeep_for_longer_than_two_seconds(days: tuple[Connection, Connection]) -> None:
    admin, ingest = days
    maintain(ingest, [LEGS])
    with admin.transaction():
        admin.execute("LOCK TABLE raw.legs IN ACCESS SHARE MODE")
        with pytest.raises(psycopg.errors.LockNotAvailable), ingest.transaction():
            ingest.execute("SELECT ingest.drop_raw_before('legs', current_date)")
    assert maintain(ingest, [replace(LEGS, retention=timedelta(days=7))])[0].dropped == 1
