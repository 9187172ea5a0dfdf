"""The transaction: a batch becomes raw records, rows, quarantine and ledger, or nothing does."""

from psycopg import Connection
from psycopg.rows import TupleRow

from pista.contracts.dataset import Dataset
from pista.ingest import bookkeeping, floods, ledger, rows
from pista.ingest.batch import Batch, monotonic_ms
from pista.ingest.bookkeeping import BatchReport
from pista.ingest.conditions import QuarantineFlood
from pista.ingest.erasures import without_erased
from pista.ingest.pausing import refuse_paused
from pista.ingest.quarantine import store
from pista.warehouse import merging

MOST_REFUSED = 500  # rows of one batch; each costs some ten milliseconds of a transaction that holds locks


class ContractChangedError(Exception):
    """The dataset was migrated to another contract since this process read it."""


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
        staged = rows.try_stage(connection, batch)
        ledger.lock(connection, dataset.name, batch.planned)
        version = _next_version(connection, dataset)
        # a replay or retry is somebody's will, and its records were let into quarantine once
        guarded = kind == "drain"
        if guarded:
            refuse_paused(connection, dataset.name)
            guarded = not floods.settle(connection, dataset, batch.planned)
        counts, refused = rows.write_rows(
            connection, batch, version, staged=staged, most_refused=MOST_REFUSED if guarded else len(batch.records)
        )
        rejections = without_erased(connection, batch, [*batch.decoded.rejections, *refused])
        counts.erased += len(batch.decoded.rejections) + len(refused) - len(rejections)
        if guarded:
            floods.refuse_flood(batch, rejections)
        store(connection, batch, rejections, run_id)
        report = bookkeeping.make_report(batch, version, counts, len(rejections), lag, monotonic_ms() - began)
        _publish(connection, dataset, report)
        bookkeeping.record_batch(connection, batch, report, rejections, run_id, kind)
        ledger.advance(
            connection,
            dataset.name,
            {p: (entry.next_offset, entry.order_time) for p, entry in batch.next_entries().items()},
        )
    return report


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


def _publish(connection: Connection[TupleRow], dataset: Dataset, report: BatchReport) -> None:
    connection.execute(
        "UPDATE catalog.versions SET version = %s, row_count = row_count + %s, published_at = now() WHERE dataset = %s",
        (report.version, report.inserted - report.deleted, dataset.name),
    )
    connection.execute(
        "SELECT pg_notify('pista_versions', json_build_object('dataset', %s::text, 'version', %s::bigint)::text)",
        (dataset.name, report.version),
    )
