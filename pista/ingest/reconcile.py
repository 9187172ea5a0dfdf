"""Reconciliation: what the broker delivered is in raw, in quarantine, or was filtered; counted apart from the loading.

The ledger and the rows are of one transaction, so this never finds anything unless a table was edited, a disk lost
something, or the code is wrong. That is what it is for.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta

from psycopg import Connection, IsolationLevel
from psycopg.rows import TupleRow

from pista.contracts.dataset import Dataset
from pista.ingest.gaps import Gap, find_records, given_up
from pista.warehouse.names import raw


@dataclass(frozen=True, slots=True)
class Account:
    """A partition's records of some batches, as the batches wrote them down and as they are found."""

    dataset: str
    epoch: int
    partition: int
    start: int  # offset
    end: int
    delivered: int
    loaded: int
    quarantined: int
    filtered: int
    missing: int  # offsets between two ranges that belong to neither
    in_raw: int | None  # None: this dataset keeps no raw records
    in_quarantine: int
    retried: int  # quarantined records that were loaded later

    @property
    def faults(self) -> list[str]:
        """What does not add up, a sentence each."""
        place = f"dataset {self.dataset}, partition {self.partition}, offsets [{self.start}, {self.end})"
        found = []
        if self.missing:
            found.append(f"{place}: {self.missing} offsets were passed by no batch.")
        if self.delivered != self.loaded + self.quarantined + self.filtered:
            found.append(
                f"{place}: {self.delivered} records were delivered, but {self.loaded} loaded, {self.quarantined} "
                f"quarantined and {self.filtered} filtered."
            )
        if self.in_raw is not None and self.in_raw != self.loaded + self.retried:
            retried = f" and {self.retried} of quarantine later" if self.retried else ""
            found.append(f"{place}: {self.loaded} records were loaded{retried}, but raw has {self.in_raw}.")
        if self.in_quarantine != self.quarantined:
            found.append(
                f"{place}: {self.quarantined} records were quarantined, but quarantine has {self.in_quarantine}."
            )
        return found


def reconcile(connection: Connection[TupleRow], datasets: Iterable[Dataset], window: timedelta) -> list[Account]:
    """The account of every partition that got records within a window of time.

    Args:
        connection: as pista_ingest, in autocommit.
        datasets: marts among them have nothing to reconcile.
        window: up to now; it bounds what is read.
    """
    accounts: list[Account] = []
    connection.isolation_level = IsolationLevel.REPEATABLE_READ
    try:
        for dataset in datasets:
            if dataset.is_source:
                # one snapshot: a batch that commits meanwhile is in all of the counts, or in none
                with connection.transaction():
                    accounts += _accounts(connection, dataset, window)
    finally:
        connection.isolation_level = None
    return accounts


def _accounts(connection: Connection[TupleRow], dataset: Dataset, window: timedelta) -> list[Account]:
    rows = connection.execute(
        f"""
        WITH ranges AS (
            SELECT r.*, lag(r.end_offset) OVER (PARTITION BY r.epoch, r.partition ORDER BY r.start_offset) AS before
            FROM ingest.ranges r JOIN ingest.batches b ON b.id = r.batch_id
            WHERE r.dataset = %(dataset)s AND b.dataset = %(dataset)s AND b.committed_at > now() - %(window)s
        ), told AS (
            SELECT epoch, partition, min(start_offset) AS first, max(end_offset) AS last,
                sum(delivered)::bigint AS delivered, sum(loaded)::bigint AS loaded,
                sum(quarantined)::bigint AS quarantined, sum(filtered)::bigint AS filtered,
                coalesce(sum(greatest(start_offset - before, 0)), 0)::bigint AS missing
            FROM ranges GROUP BY epoch, partition
        )
        SELECT t.epoch, t.partition, t.first, t.last, t.delivered, t.loaded, t.quarantined, t.filtered, t.missing,
            CASE WHEN %(keeps_raw)s THEN (
                SELECT count(*) FROM {raw(dataset.name)} w
                WHERE w.epoch = t.epoch AND w.partition = t.partition AND w."offset" >= t.first AND w."offset" < t.last
            ) END,
            q.found, q.retried
        FROM told t CROSS JOIN LATERAL (
            SELECT count(*) AS found,
                count(*) FILTER (WHERE q.resolved_at IS NOT NULL AND q.discarded_at IS NULL) AS retried
            FROM ingest.quarantine q
            WHERE q.dataset = %(dataset)s AND q.epoch = t.epoch AND q.partition = t.partition
                AND q."offset" >= t.first AND q."offset" < t.last
        ) q
        ORDER BY t.epoch, t.partition
        """.encode(),
        {"dataset": dataset.name, "window": window, "keeps_raw": dataset.keep_raw},
    ).fetchall()
    gaps = given_up(connection, dataset.name)
    return [_without(connection, Account(dataset.name, *row), gaps) for row in rows]


def _without(connection: Connection[TupleRow], account: Account, gaps: Iterable[Gap]) -> Account:
    """The account without what an operator gave up: it lies between two ranges, or beyond all of them."""
    for gap in gaps:
        place = (account.epoch, account.partition)
        if place == (gap.epoch, gap.partition) and account.start <= gap.first and gap.end <= account.end:
            found = find_records(connection, account.dataset, gap)
            account = replace(
                account,
                missing=account.missing - (gap.end - gap.first),
                in_raw=None if account.in_raw is None else account.in_raw - found.in_raw,
                in_quarantine=account.in_quarantine - found.in_quarantine,
                retried=account.retried - found.retried,
            )
    return account
