"""Keeping quarantine small: how full it is, giving records up, and what is old enough to go."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import Connection
from psycopg.rows import TupleRow

from pista.contracts.dataset import Dataset
from pista.ingest.audit import record_audit

WITHIN_HOURS = 24  # loaded records that open quarantined ones are compared with


@dataclass(frozen=True, slots=True)
class Level:
    """Open quarantined records of a dataset beside the records that it loaded in the last 24 hours."""

    open: int
    loaded: int
    allowed: float  # the contract's share

    @property
    def share(self) -> float:
        """Open records of open and loaded ones together; 0 where there are none."""
        return self.open / (self.open + self.loaded) if self.open else 0.0

    @property
    def passed(self) -> bool:
        """Whether the share is within what the contract allows."""
        return self.share <= self.allowed


def measure_level(connection: Connection[TupleRow], dataset: Dataset) -> Level:
    """How full the quarantine of a source dataset is."""
    row = connection.execute(
        """
        SELECT (SELECT count(*) FROM ingest.quarantine WHERE dataset = %(name)s AND resolved_at IS NULL),
            (SELECT coalesce(sum(loaded), 0)::bigint FROM ingest.batches
                WHERE dataset = %(name)s AND committed_at > now() - make_interval(hours => %(hours)s))
        """,
        {"name": dataset.name, "hours": WITHIN_HOURS},
    ).fetchone()
    assert row is not None
    return Level(row[0], row[1], dataset.quarantine_share)


def discard(connection: Connection[TupleRow], dataset: str, numbers: Sequence[int] | None, reason: str) -> int:
    """Give open records up: they stay until retention takes them, but nobody waits for them any more; how many.

    Args:
        connection: as pista_ingest.
        dataset: of the records.
        numbers: of the records; None for all that are open.
        reason: why, for the audit.
    """
    with connection.transaction():
        given_up = connection.execute(
            """
            UPDATE ingest.quarantine SET resolved_at = now(), discarded_at = now()
            WHERE dataset = %(dataset)s AND resolved_at IS NULL
                AND (%(numbers)s::bigint[] IS NULL OR id = ANY(%(numbers)s))
            """,
            {"dataset": dataset, "numbers": None if numbers is None else list(numbers)},
        ).rowcount
        if given_up:
            detail = {"records": given_up, "numbers": None if numbers is None else list(numbers)}
            record_audit(connection, "quarantine discard", dataset, detail, reason)
    return given_up


@dataclass(frozen=True, slots=True)
class Purged:
    """What the retention of quarantine took from one dataset."""

    dataset: str
    resolved: int  # loaded since, or given up
    open: int  # lost: nobody mended the contract in all that time


def purge_quarantine(connection: Connection[TupleRow], days: int) -> list[Purged]:
    """Delete resolved records that were resolved, and then open ones that were quarantined, so many days ago.

    Each dataset is a transaction of its own, with a line in the audit.
    """
    datasets = connection.execute(
        """
        SELECT DISTINCT dataset FROM ingest.quarantine
        WHERE coalesce(resolved_at, quarantined_at) < now() - make_interval(days => %s) ORDER BY dataset
        """,
        (days,),
    ).fetchall()
    return [_purge(connection, dataset, days) for (dataset,) in datasets]


def _purge(connection: Connection[TupleRow], dataset: str, days: int) -> Purged:
    with connection.transaction():
        resolved, left = (
            connection.execute(
                f"""
                DELETE FROM ingest.quarantine WHERE dataset = %s AND {condition} < now() - make_interval(days => %s)
                """.encode(),
                (dataset, days),
            ).rowcount
            for condition in ("resolved_at", "resolved_at IS NULL AND quarantined_at")
        )
        detail = {"resolved": resolved, "open": left, "days": days}
        record_audit(connection, "quarantine purge", dataset, detail, f"retention of {days} days")
    return Purged(dataset, resolved, left)
