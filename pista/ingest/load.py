"""The transaction: a batch becomes raw records, rows, quarantine and ledger, or nothing does."""

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import psycopg
from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from pista.contracts.dataset import Dataset, Merge
from pista.ingest import floods, ledger
from pista.ingest.batch import Batch, moment, monotonic_ms
from pista.ingest.conditions import QuarantineFlood
from pista.ingest.erasures import without_erased
from pista.ingest.pausing import refuse_paused
from pista.ingest.quarantine import store
from pista.ingest.reasons import Reason, Rejection
from pista.warehouse import merging, patching

log = logging.getLogger(__name__)

# What a row can make PostgreSQL refuse: data exceptions, constraint violations, limits such as an index entry's size.
CULPRIT_CLASSES = ("22", "23", "54")
MOST_REFUSED = 500  # rows of one batch; each costs some ten milliseconds of a transaction that holds locks


class ContractChangedError(Exception):
    """The dataset was migrated to another contract since this process read it."""


@dataclass(frozen=True, slots=True)
class BatchReport:
    """A committed batch; fields as the columns of ``ingest.batches``."""

    dataset: str
    version: int
    records: int
    bytes: int
    loaded: int
    quarantined: int
    filtered: int
    inserted: int
    updated: int
    deleted: int
    unchanged: int
    ambiguous: int
    unknown_fields: Mapping[str, int]  # fields that the contract does not know: in how many of a sample's records
    lag: int | None
    read_ms: float
    decode_ms: float
    write_ms: float
    latency_ms: float | None
    offsets: Mapping[int, tuple[int, int]]  # partition -> [start, end)
    client: str | None = None  # what read the records


@dataclass(slots=True)
class Counts:
    """What a merge did to rows."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    erased: int = 0  # records of keys that were erased, which are not loaded again


def commit_batch(
    connection: Connection[TupleRow], batch: Batch, *, run_id: str, kind: str = "drain", lag: int | None = None
) -> BatchReport:
    """Write a batch in one transaction.

    Args:
        connection: as pista_ingest, not in a transaction.
        batch: of a drain, whose ledger lines are compared and moved; or of a replay or retry, which
            leaves the ledger alone and adds only what is missing.
        run_id: of the run that answers for it.
        kind: drain, replay or retry.
        lag: records still to be read, for the metrics.

    Raises:
        LostRaceError: another drain was first; nothing was written.
        ContractChangedError: the tables are of another contract; nothing was written.
        PausedError: the dataset is paused, which stops drains only; nothing was written.
        QuarantineFlood: too much of the batch would go to quarantine; nothing but that was written down.
        psycopg.OperationalError: the connection broke. Whether the transaction was committed is known
            to the ledger only.
    """
    try:
        return _commit(connection, batch, run_id, kind, lag)
    except QuarantineFlood as flood:
        floods.remember(connection, batch.dataset, batch.planned, flood)
        raise


def _commit(connection: Connection[TupleRow], batch: Batch, run_id: str, kind: str, lag: int | None) -> BatchReport:
    dataset, began = batch.dataset, monotonic_ms()
    connection.execute(merging.stage_ddl(dataset).encode())
    with connection.transaction():
        staged = _try_stage(connection, batch)
        ledger.lock(connection, dataset.name, batch.planned)
        version = _next_version(connection, dataset)
        # a replay or retry is somebody's will, and its records were let into quarantine once
        guarded = kind == "drain"
        if guarded:
            refuse_paused(connection, dataset.name)
            guarded = not floods.settle(connection, dataset, batch.planned)
        counts, refused = write_rows(
            connection, batch, version, staged=staged, most_refused=MOST_REFUSED if guarded else len(batch.records)
        )
        rejections = without_erased(connection, batch, [*batch.decoded.rejections, *refused])
        counts.erased += len(batch.decoded.rejections) + len(refused) - len(rejections)
        if guarded:
            floods.refuse_flood(batch, rejections)
        store(connection, batch, rejections, run_id)
        report = _report(batch, version, counts, len(rejections), lag, monotonic_ms() - began)
        _publish(connection, dataset, report)
        _record(connection, batch, report, rejections, run_id, kind)
        ledger.advance(
            connection,
            dataset.name,
            {p: (entry.next_offset, entry.order_time) for p, entry in batch.next_entries().items()},
        )
    return report


def _try_stage(connection: Connection[TupleRow], batch: Batch) -> bool:
    """COPY before any lock is taken; False where a value does not fit its column."""
    try:
        with connection.transaction():
            _copy(connection, batch, np.arange(len(batch.decoded.index)))
    except psycopg.Error as error:
        _raise_unless_culprit(error)
        return False
    return True


def _next_version(connection: Connection[TupleRow], dataset: Dataset) -> int:
    # the lock makes merges of one dataset serial, and serial with changes of its contract
    row = connection.execute(
        "SELECT version + 1 FROM catalog.versions WHERE dataset = %s FOR UPDATE", (dataset.name,)
    ).fetchone()
    # a statement of its own: one that waited for the lock would still show the contract of before the wait
    if row is None or applied_hash(connection, dataset.name) != dataset.contract_hash:
        raise ContractChangedError(f"dataset {dataset.name} was migrated to another contract")
    return int(row[0])


def applied_hash(connection: Connection[TupleRow], dataset: str) -> str | None:
    """Hash of the contract that the tables of a dataset are of; None if it was never applied."""
    row = connection.execute("SELECT contract_hash FROM catalog.datasets WHERE name = %s", (dataset,)).fetchone()
    return None if row is None else str(row[0])


def write_rows(
    connection: Connection[TupleRow], batch: Batch, version: int, *, staged: bool, most_refused: int
) -> tuple[Counts, list[Rejection]]:
    """Rows into raw and curated; a batch that PostgreSQL refuses is halved until the culprit is alone.

    Args:
        connection: in a transaction that has locked the dataset's version.
        batch: decoded.
        version: of this publication.
        staged: whether the stage holds the batch already.
        most_refused: rows that may be refused before the batch as a whole is.

    Returns:
        What was done to rows, and the rows that PostgreSQL refused.

    Raises:
        QuarantineFlood: more rows than ``most_refused`` were refused.
    """
    slices = _slices(connection, batch.dataset)
    counts = Counts()
    refused: list[Rejection] = []
    todo = [np.arange(len(batch.decoded.index))]
    while todo:
        rows = todo.pop()
        if not len(rows):
            continue
        try:
            with connection.transaction():
                if not staged:
                    _copy(connection, batch, rows)
                _merge(connection, batch.dataset, slices, version, counts, only_missing=batch.again)
        except psycopg.Error as error:
            _raise_unless_culprit(error)
            staged = False
            if len(rows) == 1:
                if len(refused) >= most_refused:
                    raise QuarantineFlood(
                        batch.dataset.name,
                        f"PostgreSQL refused more than {most_refused} rows of one batch, the last because "
                        f"{_sentence(error)}. Have the contract refuse such values (maxLength, minimum, maximum).",
                    ) from None
                detail = f"PostgreSQL refused the row: {_sentence(error)}"
                refused.append(Rejection(int(batch.decoded.index[rows[0]]), Reason.DATABASE_REFUSED, detail))
            else:
                todo += [rows[len(rows) // 2 :], rows[: len(rows) // 2]]
    return counts, refused


def _copy(connection: Connection[TupleRow], batch: Batch, rows: np.ndarray) -> None:
    connection.execute(f"TRUNCATE {merging.stage_name(batch.dataset)}".encode())
    with connection.cursor() as cursor, cursor.copy(merging.copy_into_stage(batch.dataset).encode()) as copy:
        copy.write(batch.stage(rows))


def _merge(
    connection: Connection[TupleRow],
    dataset: Dataset,
    slices: merging.Slices,
    version: int,
    counts: Counts,
    *,
    only_missing: bool,
) -> None:
    if dataset.key:
        counts.erased += connection.execute(merging.forget_erased(dataset).encode()).rowcount
    if dataset.keep_raw:
        connection.execute(merging.insert_raw(dataset, only_missing=only_missing).encode())
    if dataset.merge is Merge.PATCH:
        connection.execute(patching.keep_events(dataset).encode())
        statement = patching.merge_patches(dataset, slices)
    else:
        statement = merging.merge(dataset, slices, tombstones=_has_tombstones(connection, dataset))
    merged = connection.execute(statement.encode(), {"version": version}).fetchone()
    assert merged is not None
    counts.inserted += merged[0]
    counts.updated += merged[1]
    counts.deleted += merged[2]
    if dataset.merge is Merge.PATCH:
        connection.execute(patching.forget_superseded(dataset).encode())


def _has_tombstones(connection: Connection[TupleRow], dataset: Dataset) -> bool:
    row = connection.execute(
        f"""
        SELECT EXISTS (SELECT FROM {merging.stage_name(dataset)} WHERE _tombstone)
            OR EXISTS (SELECT FROM catalog.deleted WHERE dataset = %s)
        """.encode(),
        (dataset.name,),
    ).fetchone()
    assert row is not None
    return bool(row[0])


def _raise_unless_culprit(error: psycopg.Error) -> None:
    if (error.sqlstate or "")[:2] not in CULPRIT_CLASSES:
        raise error


def _sentence(error: psycopg.Error) -> str:
    primary = error.diag.message_primary or str(error)
    return f"{primary} (SQLSTATE {error.sqlstate})"


def _slices(connection: Connection[TupleRow], dataset: Dataset) -> list[tuple[str, str]]:
    # from the catalog and not from the contracts of this process: a mart may be younger than the run
    return [
        (mart, column)
        for mart, column in connection.execute(
            """
            SELECT mart, slice_column FROM catalog.mart_inputs
            WHERE input = %s AND slice_column IS NOT NULL ORDER BY mart
            """,
            (dataset.name,),
        )
    ]


def _report(
    batch: Batch, version: int, counts: Counts, quarantined: int, lag: int | None, write_ms: float
) -> BatchReport:
    records = len(batch.records)
    filtered = len(batch.decoded.filtered) + counts.erased
    loaded = records - quarantined - filtered
    times = batch.records.timestamps[batch.records.timestamps > 0]
    return BatchReport(
        dataset=batch.dataset.name,
        version=version,
        records=records,
        bytes=batch.records.size,
        loaded=loaded,
        quarantined=quarantined,
        filtered=filtered,
        inserted=counts.inserted,
        updated=counts.updated,
        deleted=counts.deleted,
        unchanged=loaded - counts.inserted - counts.updated - counts.deleted,
        ambiguous=batch.decoded.ambiguous,
        unknown_fields=batch.decoded.unknown_fields,
        lag=lag,
        read_ms=batch.read_ms,
        decode_ms=batch.decode_ms,
        write_ms=write_ms,
        latency_ms=time.time() * 1000 - float(times.min()) if len(times) else None,
        offsets={p: (entry.next_offset, batch.positions[p]) for p, entry in batch.planned.items()},
    )


def _publish(connection: Connection[TupleRow], dataset: Dataset, report: BatchReport) -> None:
    connection.execute(
        "UPDATE catalog.versions SET version = %s, row_count = row_count + %s, published_at = now() WHERE dataset = %s",
        (report.version, report.inserted - report.deleted, dataset.name),
    )
    connection.execute(
        "SELECT pg_notify('pista_versions', json_build_object('dataset', %s::text, 'version', %s::bigint)::text)",
        (dataset.name, report.version),
    )


def _record(
    connection: Connection[TupleRow],
    batch: Batch,
    report: BatchReport,
    rejections: list[Rejection],
    run_id: str,
    kind: str,
) -> None:
    row = connection.execute(
        """
        INSERT INTO ingest.batches (dataset, version, run_id, kind, records, bytes, loaded, quarantined, filtered,
            inserted, updated, deleted, unchanged, ambiguous, unknown_fields, lag, read_ms, decode_ms, write_ms,
            latency_ms)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING id
        """,
        (
            report.dataset,
            report.version,
            run_id,
            kind,
            report.records,
            report.bytes,
            report.loaded,
            report.quarantined,
            report.filtered,
            report.inserted,
            report.updated,
            report.deleted,
            report.unchanged,
            report.ambiguous,
            Jsonb(report.unknown_fields) if report.unknown_fields else None,
            report.lag,
            report.read_ms,
            report.decode_ms,
            report.write_ms,
            report.latency_ms,
        ),
    ).fetchone()
    assert row is not None
    if not batch.planned:
        return
    # a range is counted once, however often it is read
    starts = {partition: entry.reached for partition, entry in batch.planned.items()}
    partitions = batch.records.partitions
    first = np.zeros(max(starts) + 1, np.int64)
    first[list(starts)] = list(starts.values())
    fresh = batch.records.offsets >= first[partitions]
    delivered = Counter(partitions[fresh].tolist())
    bad = _counted(partitions, fresh, [rejection.index for rejection in rejections])
    others = _counted(partitions, fresh, batch.decoded.filtered)
    with connection.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO ingest.ranges (batch_id, dataset, epoch, partition, start_offset, end_offset, start_order_time,
                delivered, loaded, quarantined, filtered)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
            """,
            [
                (
                    row[0],
                    report.dataset,
                    entry.epoch,
                    partition,
                    starts[partition],
                    batch.positions[partition],
                    _order_time_before(batch, partition, starts[partition], entry.order_time),
                    delivered[partition],
                    delivered[partition] - bad[partition] - others[partition],
                    bad[partition],
                    others[partition],
                )
                for partition, entry in batch.planned.items()
                if batch.positions[partition] > starts[partition]
            ],
        )


def _counted(partitions: np.ndarray, fresh: np.ndarray, index: Sequence[int] | np.ndarray) -> Counter[int]:
    """How many of the records at those places are fresh, by partition."""
    chosen = np.zeros(len(partitions), bool)
    chosen[index] = True
    return Counter(partitions[fresh & chosen].tolist())


def _order_time_before(batch: Batch, partition: int, offset: int, planned: datetime) -> datetime:
    earlier = (batch.records.partitions == partition) & (batch.records.offsets < offset)
    return max(planned, moment(int(batch.order_times[earlier].max(initial=0))))
