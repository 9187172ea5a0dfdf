"""A mart is rebuilt slice by slice, checked before it is published, and ends as a full rebuild would."""

import random
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from pista.contracts.dataset import Column, Dataset, Kind, LogicalType, MartInput, QualityRule, Severity
from pista.warehouse.completeness import stamp_marts
from pista.warehouse.connection import connect
from pista.warehouse.marts import build_mart
from pista.warehouse.migrate import migrate

TRIPS = Dataset(
    "trips",
    "1",
    Kind.UPSERT,
    (
        Column("id", "id", LogicalType.INTEGER, "integer", required=True),
        Column("day", "day", LogicalType.DATE, "date"),
        Column("pax", "pax", LogicalType.INTEGER, "integer"),
    ),
    ("id",),
    topic="trips",
    contract_hash="1",
)
RULE = QualityRule(
    "pax_is_not_negative", "", Severity.ERROR, None, None, "SELECT count(*) FROM {table} WHERE pax < 0", {}, "mustBe", 0
)
DAILY = Dataset(
    "daily",
    "1",
    Kind.MART,
    (
        Column("day", "day", LogicalType.DATE, "date", required=True),
        Column("trips", "trips", LogicalType.INTEGER, "bigint", required=True),
        Column("pax", "pax", LogicalType.INTEGER, "bigint"),
    ),
    ("day",),
    slice_column="day",
    inputs=(MartInput("trips", "day"),),
    transform="SELECT day, count(*) AS trips, sum(pax) AS pax FROM trips WHERE day IS NOT NULL GROUP BY day",
    quality=(RULE,),
    contract_hash="1",
)


@pytest.fixture
def warehouse(database: object) -> Iterator[psycopg.Connection]:
    migrate(database.admin_dsn, {"trips": TRIPS, "daily": DAILY})  # type: ignore[attr-defined]
    with connect(database.ingest_dsn, "test") as connection:  # type: ignore[attr-defined]
        yield connection


def put(connection: psycopg.Connection, number: int, day: str, pax: int) -> None:
    """As a drain does: the row, and the slices it left and entered."""
    with connection.transaction():
        connection.execute(
            """
            WITH merged AS (
                INSERT INTO curated.trips VALUES (%s, %s, %s, 1, now(), 0, now(), 0, 0)
                ON CONFLICT (id) DO UPDATE SET day = excluded.day, pax = excluded.pax
                RETURNING ARRAY[old.day, new.day] AS days)
            INSERT INTO ingest.changed_slices (mart, slice, input)
            SELECT DISTINCT 'daily', d::text, 'trips' FROM merged, unnest(days) d WHERE d IS NOT NULL
            """,
            (number, day, pax),
        )


def rows(connection: psycopg.Connection) -> list[tuple[str, int, int]]:
    return connection.execute("SELECT day::text, trips, pax FROM curated.daily ORDER BY day").fetchall()  # type: ignore[return-value]


def queue(connection: psycopg.Connection) -> int:
    return connection.execute("SELECT count(*) FROM ingest.changed_slices WHERE mart = 'daily'").fetchone()[0]  # type: ignore[index]


def test_only_changed_slices_are_rebuilt_and_only_changed_rows_get_a_version(warehouse: psycopg.Connection) -> None:
    put(warehouse, 1, "2013-01-01", 10)
    put(warehouse, 2, "2013-01-02", 20)
    first = build_mart(warehouse, DAILY)
    assert (first.version, first.inserted, first.published) == (1, 2, True)
    put(warehouse, 3, "2013-01-02", 5)
    second = build_mart(warehouse, DAILY)
    assert (second.version, second.slices, second.updated, second.unchanged) == (2, 1, 1, 0)
    assert rows(warehouse) == [("2013-01-01", 1, 10), ("2013-01-02", 2, 25)]
    assert warehouse.execute("SELECT _version FROM curated.daily ORDER BY day").fetchall() == [(1,), (2,)]
    assert build_mart(warehouse, DAILY).version is None
    assert queue(warehouse) == 0


def test_a_slice_that_lost_its_rows_disappears_and_followers_learn_of_it(warehouse: psycopg.Connection) -> None:
    put(warehouse, 1, "2013-01-01", 10)
    build_mart(warehouse, DAILY)
    put(warehouse, 1, "2013-01-02", 10)
    report = build_mart(warehouse, DAILY)
    assert (report.inserted, report.deleted) == (1, 1)
    assert rows(warehouse) == [("2013-01-02", 1, 10)]
    assert warehouse.execute("SELECT key, version FROM catalog.deleted").fetchall() == [('["2013-01-01"]', 2)]
    put(warehouse, 2, "2013-01-01", 3)
    build_mart(warehouse, DAILY)
    assert warehouse.execute("SELECT count(*) FROM catalog.deleted").fetchone() == (0,)


def test_a_failed_rule_keeps_the_last_good_version_and_the_queue(warehouse: psycopg.Connection) -> None:
    put(warehouse, 1, "2013-01-01", 10)
    build_mart(warehouse, DAILY)
    put(warehouse, 1, "2013-01-01", -10)
    report = build_mart(warehouse, DAILY)
    assert not report.published
    assert [(r.rule.name, r.value, r.passed) for r in report.rules] == [("pax_is_not_negative", 1.0, False)]
    assert rows(warehouse) == [("2013-01-01", 1, 10)]
    query = "SELECT version, blocked_by FROM catalog.versions WHERE dataset = 'daily'"
    assert warehouse.execute(query).fetchone() == (1, "pax_is_not_negative")
    assert queue(warehouse) == 1
    put(warehouse, 1, "2013-01-01", 11)
    assert build_mart(warehouse, DAILY).published
    assert rows(warehouse) == [("2013-01-01", 1, 11)]
    assert warehouse.execute(query).fetchone() == (2, None)


def test_a_warning_is_reported_and_published(warehouse: psycopg.Connection) -> None:
    mart = replace(DAILY, quality=(replace(RULE, severity=Severity.WARNING),))
    put(warehouse, 1, "2013-01-01", -10)
    report = build_mart(warehouse, mart)
    assert report.published
    assert [result.passed for result in report.rules] == [False]


def test_a_new_definition_rebuilds_everything(warehouse: psycopg.Connection, database: object) -> None:
    put(warehouse, 1, "2013-01-01", 10)
    put(warehouse, 2, "2013-01-02", 20)
    build_mart(warehouse, DAILY)
    doubled = replace(DAILY, transform=str(DAILY.transform).replace("sum(pax)", "2 * sum(pax)"), contract_hash="2")
    migrate(database.admin_dsn, {"trips": TRIPS, "daily": doubled})  # type: ignore[attr-defined]
    report = build_mart(warehouse, doubled)
    assert (report.slices, report.updated) == (2, 2)
    assert rows(warehouse) == [("2013-01-01", 1, 20), ("2013-01-02", 1, 40)]


def test_what_is_committed_during_a_build_is_left_for_the_next(warehouse: psycopg.Connection, database: object) -> None:
    put(warehouse, 1, "2013-01-01", 10)
    with connect(database.ingest_dsn, "test") as other:  # type: ignore[attr-defined]

        class Interleaved(psycopg.Connection):  # the drain commits right after the build took its snapshot
            def execute(self, query, *arguments, **options):  # type: ignore[no-untyped-def]
                result = super().execute(query, *arguments, **options)
                if b"DELETE FROM ingest.changed_slices" in (query if isinstance(query, bytes) else query.encode()):
                    put(other, 2, "2013-01-01", 5)
                return result

        with Interleaved.connect(database.ingest_dsn, autocommit=True) as building:  # type: ignore[attr-defined]
            build_mart(building, DAILY)
        assert rows(warehouse) == [("2013-01-01", 1, 10)]
        assert queue(warehouse) == 1
    build_mart(warehouse, DAILY)
    assert rows(warehouse) == [("2013-01-01", 2, 15)]


def test_a_mart_on_a_mart_follows_rows_that_moved_or_vanished(warehouse: psycopg.Connection, database: object) -> None:
    weekly = replace(
        DAILY,
        name="busy",
        key=("trips",),
        columns=(DAILY.columns[1], Column("days", "days", LogicalType.INTEGER, "bigint", required=True)),
        slice_column="trips",
        inputs=(MartInput("daily", "trips"),),
        transform="SELECT trips, count(*) AS days FROM daily GROUP BY trips",
        quality=(),
    )
    migrate(database.admin_dsn, {"trips": TRIPS, "daily": DAILY, "busy": weekly})  # type: ignore[attr-defined]

    def build() -> list[tuple[int, int]]:
        build_mart(warehouse, DAILY)
        build_mart(warehouse, weekly)
        return warehouse.execute("SELECT trips, days FROM curated.busy ORDER BY trips").fetchall()  # type: ignore[return-value]

    put(warehouse, 1, "2013-01-01", 10)
    put(warehouse, 2, "2013-01-02", 10)
    assert build() == [(1, 2)]
    put(warehouse, 3, "2013-01-02", 10)
    assert build() == [(1, 1), (2, 1)]
    put(warehouse, 1, "2013-01-02", 10)
    assert build() == [(3, 1)]


def test_a_transform_may_hold_a_per_cent_sign_and_end_in_a_comment(warehouse: psycopg.Connection) -> None:
    mart = replace(DAILY, transform=f"{DAILY.transform} HAVING min(day::text) LIKE '20%' -- all of them")
    for pax in (10, 20):
        put(warehouse, 1, "2013-01-01", pax)
        assert build_mart(warehouse, mart).published
        assert rows(warehouse) == [("2013-01-01", 1, pax)]


def test_a_refresh_that_is_stamped_meanwhile_does_not_fail(warehouse: psycopg.Connection, database: object) -> None:
    put(warehouse, 1, "2013-01-01", 10)
    build_mart(warehouse, DAILY)
    with connect(database.ingest_dsn, "test") as other:  # type: ignore[attr-defined]
        other.execute("UPDATE catalog.versions SET as_of = now() WHERE dataset = 'trips'")

        class Interleaved(psycopg.Connection):  # the sensor looks right after the build took its snapshot
            def execute(self, query, *arguments, **options):  # type: ignore[no-untyped-def]
                result = super().execute(query, *arguments, **options)
                if b"DELETE FROM ingest.changed_slices" in (query if isinstance(query, bytes) else query.encode()):
                    stamp_marts(other)
                return result

        with Interleaved.connect(database.ingest_dsn, autocommit=True) as building:  # type: ignore[attr-defined]
            assert build_mart(building, DAILY, full_refresh=True).published
        other.execute("UPDATE catalog.versions SET as_of = now() WHERE dataset = 'trips'")
        with Interleaved.connect(database.ingest_dsn, autocommit=True) as building:  # type: ignore[attr-defined]
            assert build_mart(building, DAILY).slices == 0, "with nothing to build the sensor does stamp it"


def test_random_changes_end_as_a_full_refresh_does(warehouse: psycopg.Connection) -> None:
    rng = random.Random(3)
    for _ in range(60):
        put(warehouse, rng.randrange(12), f"2013-01-0{rng.randrange(1, 6)}", rng.randrange(9))
        if rng.random() < 0.3:
            build_mart(warehouse, DAILY)
    build_mart(warehouse, DAILY)
    incremental = rows(warehouse)
    report = build_mart(warehouse, DAILY, full_refresh=True)
    assert (report.inserted, report.updated, report.deleted) == (0, 0, 0)
    assert rows(warehouse) == incremental
    count = warehouse.execute("SELECT row_count FROM catalog.versions WHERE dataset = 'daily'").fetchone()
    assert count == (len(incremental),)
