"""Building a mart: recompute the slices that changed, check them, and publish the difference, or nothing.

One transaction on one snapshot does it all. The queue rows that it sees are the slices that it
rebuilds; what drains commit meanwhile stays in the queue for the next build.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
from psycopg import Connection, IsolationLevel
from psycopg.rows import TupleRow

from pista.contracts.dataset import Dataset, Severity
from pista.warehouse.completeness import stamp_marts
from pista.warehouse.merging import Slices, queue_slices, returned_slices
from pista.warehouse.names import curated, quote, quote_all
from pista.warehouse.publishing import ALL_SLICES
from pista.warehouse.quality import RuleResult, evaluate

BUILT = "pg_temp.built"
ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class MartReport:
    """What a build did."""

    mart: str
    version: int | None  # None: nothing changed, or nothing was published
    slices: int  # rebuilt; 0: nothing was in the queue
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    unchanged: int = 0
    seconds: float = 0.0
    rules: list[RuleResult] = field(default_factory=list)
    published: bool = True  # False: a blocking rule failed, and the last good version stays


class _BlockedError(Exception):
    """Rolls the build back."""

    def __init__(self, report: MartReport, rule: str) -> None:
        super().__init__(rule)
        self.report = report
        self.rule = rule


def build_mart(connection: Connection[TupleRow], dataset: Dataset, *, full_refresh: bool = False) -> MartReport:
    """Bring a mart up to the inputs as they are now.

    Args:
        connection: as pista_ingest, in autocommit, not in a transaction.
        dataset: of kind mart.
        full_refresh: rebuild every slice, not only those that changed.

    Returns:
        The report; ``published`` is False where a rule of severity error failed. The queue is kept
        then, and the catalog names the rule.

    Raises:
        psycopg.Error: the transform or the result does not fit the contract.
    """
    with _alone(connection, dataset.name, full_refresh=full_refresh):
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return _build(connection, dataset)
            except psycopg.errors.SerializationFailure:  # the sensor stamped the mart between snapshot and update
                if attempt == ATTEMPTS:
                    raise
    raise AssertionError("unreachable")


def _build(connection: Connection[TupleRow], dataset: Dataset) -> MartReport:
    began = time.monotonic()
    try:
        with _snapshot(connection):
            slices = _take_slices(connection, dataset.name)
            full = ALL_SLICES in slices
            if not slices:
                _stamp(connection, dataset)
                return MartReport(dataset.name, None, 0, seconds=time.monotonic() - began)
            readers = _readers(connection, dataset.name)
            count = _compute(connection, dataset, None if full else sorted(slices))
            deleted = _delete_vanished(connection, dataset, None if full else sorted(slices), readers)
            inserted, updated, rebuilt = _apply(connection, dataset, readers)
            rules = evaluate(connection, dataset)
            version = _publish(connection, dataset, inserted, updated, deleted)
            report = MartReport(
                dataset.name,
                version,
                rebuilt if full else len(slices),
                inserted,
                updated,
                deleted,
                count - inserted - updated,
                time.monotonic() - began,
                rules,
            )
            for result in rules:
                if not result.passed and result.rule.severity is Severity.ERROR:
                    raise _BlockedError(report, result.rule.name)
            _stamp(connection, dataset)
            return report
    except _BlockedError as blocked:
        connection.execute(
            "UPDATE catalog.versions SET blocked_by = %s WHERE dataset = %s", (blocked.rule, dataset.name)
        )
        connection.execute("SELECT pg_notify('pista_catalog', %s)", (dataset.name,))
        unpublished = blocked.report
        return MartReport(
            dataset.name,
            None,
            unpublished.slices,
            seconds=time.monotonic() - began,
            rules=unpublished.rules,
            published=False,
        )


@contextmanager
def _alone(connection: Connection[TupleRow], mart: str, *, full_refresh: bool) -> Iterator[None]:
    """One build of a mart at a time. The lock is taken before the snapshot, which a lock within it would not be."""
    key = f"mart:{mart}"
    connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (key,))
    try:
        if full_refresh:
            # committed at once: a refresh that is killed is taken up again, and nobody stamps the mart meanwhile
            connection.execute(
                "INSERT INTO ingest.changed_slices (mart, slice, input) VALUES (%s, %s, %s)", (mart, ALL_SLICES, mart)
            )
        yield
    finally:
        if not connection.closed:
            connection.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", (key,))


@contextmanager
def _snapshot(connection: Connection[TupleRow]) -> Iterator[None]:
    level = connection.isolation_level
    connection.isolation_level = IsolationLevel.REPEATABLE_READ
    try:
        with connection.transaction():
            # transforms name their inputs without a schema
            connection.execute("SET LOCAL search_path = curated, pg_temp")
            yield
    finally:
        if not connection.closed:
            connection.isolation_level = level


def _take_slices(connection: Connection[TupleRow], mart: str) -> set[str]:
    rows = connection.execute("DELETE FROM ingest.changed_slices WHERE mart = %s RETURNING slice", (mart,))
    return {slice_ for (slice_,) in rows}


def _compute(connection: Connection[TupleRow], dataset: Dataset, slices: list[str] | None) -> int:
    """Rows of the slices (of all for None) into a temporary table; how many."""
    assert dataset.transform is not None
    assert dataset.slice_column is not None
    columns = ", ".join(
        f"{quote(column.name)} {column.sql_type}{' NOT NULL' if column.required else ''}" for column in dataset.columns
    )
    names = quote_all(column.name for column in dataset.columns)
    connection.execute(f"CREATE TEMPORARY TABLE built ({columns}) ON COMMIT DROP".encode())
    restriction = "" if slices is None else f"WHERE {_of_slices(dataset)}"
    # on lines of its own, for it may end in a comment; a per cent sign in it is no parameter
    transform = "(\n" + dataset.transform.replace("%", "%%") + "\n) AS transform"
    cursor = connection.execute(
        f"INSERT INTO {BUILT} ({names}) SELECT {names} FROM {transform} {restriction}".encode(),
        {"slices": slices or []},
    )
    return cursor.rowcount


def _of_slices(dataset: Dataset, relation: str = "") -> str:
    # an array of the column's own type, so that the planner can push it down to an index of the input
    column = dataset.column(str(dataset.slice_column))
    return f"{relation}{quote(column.name)} = ANY(%(slices)s::text[]::{column.sql_type}[])"


def _readers(connection: Connection[TupleRow], mart: str) -> list[tuple[str, str]]:
    """Marts on this mart, and the column of this one that names their slice."""
    return [
        (reader, column)
        for reader, column in connection.execute(
            """
            SELECT mart, slice_column FROM catalog.mart_inputs
            WHERE input = %s AND slice_column IS NOT NULL ORDER BY mart
            """,
            (mart,),
        )
    ]


def _delete_vanished(
    connection: Connection[TupleRow], dataset: Dataset, slices: list[str] | None, readers: Slices
) -> int:
    key = quote_all(dataset.key, "c.")
    restriction = "" if slices is None else f"AND {_of_slices(dataset, 'c.')}"
    row = connection.execute(
        f"""
        WITH removed AS (
            DELETE FROM {curated(dataset.name)} c
            WHERE NOT EXISTS (SELECT FROM {BUILT} b WHERE ({quote_all(dataset.key, "b.")}) = ({key})) {restriction}
            RETURNING jsonb_build_array({key})::text AS key, true AS changed, {returned_slices(readers, new=False)}
        ), remembered AS (
            INSERT INTO catalog.deleted AS d (dataset, key, epoch, order_time, partition, "offset", version)
            SELECT v.dataset, key, 0, now(), 0, 0, v.version + 1
            FROM removed, catalog.versions v WHERE v.dataset = %(mart)s
            ON CONFLICT (dataset, key) DO UPDATE SET version = excluded.version, deleted_at = now()
        ) {queue_slices(dataset, readers, ["removed"])}
        SELECT count(*) FROM removed
        """.encode(),
        {"mart": dataset.name, "slices": slices or []},
    ).fetchone()
    assert row is not None
    return int(row[0])


def _apply(connection: Connection[TupleRow], dataset: Dataset, readers: Slices) -> tuple[int, int, int]:
    """The rows that differ into the mart: inserted, updated, and the number of slices computed."""
    names = [column.name for column in dataset.columns]
    content = [name for name in names if name not in dataset.key]
    assignments = ", ".join(f"{quote(name)} = excluded.{quote(name)}" for name in [*content, "_version", "_updated_at"])
    row = connection.execute(
        f"""
        WITH applied AS (
            INSERT INTO {curated(dataset.name)} AS c ({quote_all(names)}, _version, _updated_at)
            SELECT {quote_all(names, "b.")}, v.version + 1, now()
            FROM {BUILT} b, catalog.versions v WHERE v.dataset = %(mart)s
            ON CONFLICT ({quote_all(dataset.key)}) DO UPDATE SET {assignments}
            WHERE ROW({quote_all(content, "c.")}) IS DISTINCT FROM ROW({quote_all(content, "excluded.")})
            RETURNING old._version IS NULL AS inserted, jsonb_build_array({quote_all(dataset.key, "c.")})::text AS key,
                true AS changed, {returned_slices(readers)}
        ), revived AS (
            DELETE FROM catalog.deleted d USING applied a WHERE d.dataset = %(mart)s AND d.key = a.key AND a.inserted
        ) {queue_slices(dataset, readers, ["applied"])}
        SELECT count(*) FILTER (WHERE inserted), count(*) FILTER (WHERE NOT inserted),
            (SELECT count(DISTINCT {quote(str(dataset.slice_column))}) FROM {BUILT})
        FROM applied
        """.encode(),
        {"mart": dataset.name},
    ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1]), int(row[2])


def _publish(
    connection: Connection[TupleRow], dataset: Dataset, inserted: int, updated: int, deleted: int
) -> int | None:
    """A new version if anything changed."""
    if not inserted + updated + deleted:
        return None
    row = connection.execute(
        """
        UPDATE catalog.versions SET version = version + 1, row_count = row_count + %s, published_at = now()
        WHERE dataset = %s RETURNING version
        """,
        (inserted - deleted, dataset.name),
    ).fetchone()
    assert row is not None
    connection.execute(
        "SELECT pg_notify('pista_versions', json_build_object('dataset', %s::text, 'version', %s::bigint)::text)",
        (dataset.name, row[0]),
    )
    return int(row[0])


def _stamp(connection: Connection[TupleRow], dataset: Dataset) -> None:
    connection.execute("UPDATE catalog.versions SET blocked_by = NULL WHERE dataset = %s", (dataset.name,))
    stamp_marts(connection, dataset.name)
