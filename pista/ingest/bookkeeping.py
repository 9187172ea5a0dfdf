"""What a batch did, in numbers: the report of a drain, and the lines of ``ingest.batches`` and ``ingest.ranges``."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from pista.ingest.batch import Batch, moment
from pista.ingest.reasons import Rejection
from pista.ingest.rows import Counts


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


def make_report(
    batch: Batch, version: int, counts: Counts, quarantined: int, lag: int | None, write_ms: float
) -> BatchReport:
    """The report of a batch whose rows are written; ``write_ms`` is what that took so far."""
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


def record_batch(
    connection: Connection[TupleRow],
    batch: Batch,
    report: BatchReport,
    rejections: list[Rejection],
    run_id: str,
    kind: str,
) -> None:
    """Write the batch down, and the range of each of its partitions, inside the loading transaction."""
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
