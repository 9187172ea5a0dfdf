"""Records that could not be loaded: kept whole, listed, and loaded again once the contract is mended."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from psycopg import Connection
from psycopg.rows import TupleRow, class_row

from pista.contracts.dataset import Dataset
from pista.ingest.batch import Batch, headers_from_json, headers_json, moment
from pista.ingest.reasons import Rejection
from pista.kafka.records import Record
from pista.warehouse.names import raw


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A line of the quarantine."""

    id: int
    dataset: str
    topic: str
    epoch: int
    partition: int
    offset: int
    order_time: datetime
    timestamp: datetime
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, str | None]] | None  # values in base64
    reason: str
    detail: str
    column_name: str | None
    run_id: str
    quarantined_at: datetime
    resolved_at: datetime | None
    discarded_at: datetime | None

    @property
    def record(self) -> Record:
        """The record as the broker delivered it."""
        return Record(
            self.partition,
            self.offset,
            round(self.timestamp.timestamp() * 1000),
            self.key,
            self.value,
            headers_from_json(self.headers),
        )


COLUMNS = """
    id, dataset, topic, epoch, partition, "offset", order_time, timestamp, key, value, headers, reason, detail,
    column_name, run_id, quarantined_at, resolved_at, discarded_at
"""


def store(connection: Connection[TupleRow], batch: Batch, rejections: Sequence[Rejection], run_id: str) -> None:
    """Keep the rejected records, and resolve those that this batch loaded or found to be of others.

    Inside the loading transaction.
    """
    loaded = np.setdiff1d(batch.decoded.index, [rejection.index for rejection in rejections])
    if batch.again:  # only then can it load what lay in quarantine
        with connection.cursor() as cursor:
            cursor.executemany(
                """
                UPDATE ingest.quarantine SET resolved_at = now(), discarded_at = CASE WHEN %s THEN now() END
                WHERE resolved_at IS NULL AND dataset = %s AND epoch = %s AND partition = %s AND "offset" = %s
                """,
                [
                    (
                        others,
                        batch.dataset.name,
                        int(batch.epochs[i]),
                        int(batch.records.partitions[i]),
                        int(batch.records.offsets[i]),
                    )
                    for others, places in ((False, loaded), (True, batch.decoded.filtered))
                    for i in places.tolist()
                ],
            )
    with connection.cursor() as cursor:
        cursor.executemany(
            # a record that was loaded once is not made two by a replay under a stricter contract
            f"""
            INSERT INTO ingest.quarantine AS q (dataset, topic, epoch, partition, "offset", order_time, timestamp, key,
                value, headers, reason, detail, column_name, run_id)
            SELECT v.* FROM (VALUES (%s, %s, %s::integer, %s::integer, %s::bigint, %s::timestamptz, %s::timestamptz,
                %s::bytea, %s::bytea, %s::jsonb, %s, %s, %s, %s)) AS v (dataset, topic, epoch, partition, "offset")
            WHERE NOT ({_is_loaded(batch.dataset)})
            ON CONFLICT (dataset, epoch, partition, "offset") DO UPDATE SET reason = excluded.reason,
                detail = excluded.detail, column_name = excluded.column_name, run_id = excluded.run_id
            WHERE q.resolved_at IS NULL
            """.encode(),
            [_row(batch, rejection, run_id) for rejection in rejections],
        )


def _is_loaded(dataset: Dataset) -> str:
    """Whether the record at the place ``v`` was loaded before, as SQL."""
    if dataset.keep_raw:
        return f"""EXISTS (SELECT FROM {raw(dataset.name)} r
            WHERE r.epoch = v.epoch AND r.partition = v.partition AND r."offset" = v."offset")"""
    # without raw: what a batch passed, and did not put here
    return """(v."offset" < (SELECT r.end_offset FROM ingest.ranges r WHERE r.dataset = v.dataset
                AND r.epoch = v.epoch AND r.partition = v.partition AND r.start_offset <= v."offset"
                ORDER BY r.start_offset DESC LIMIT 1)) IS TRUE
            AND NOT EXISTS (SELECT FROM ingest.quarantine q WHERE q.dataset = v.dataset
                AND q.epoch = v.epoch AND q.partition = v.partition AND q."offset" = v."offset")"""


def _row(batch: Batch, rejection: Rejection, run_id: str) -> tuple[object, ...]:
    record = batch.records.one(rejection.index)
    return (
        batch.dataset.name,
        batch.dataset.topic,
        int(batch.epochs[rejection.index]),
        record.partition,
        record.offset,
        moment(int(batch.order_times[rejection.index])),
        moment(max(record.timestamp, 0)),
        record.key,
        record.value,
        headers_json(record.headers),
        rejection.reason.value,
        rejection.detail.replace("\x00", "\\u0000"),
        rejection.column,
        run_id,
    )


def open_records(
    connection: Connection[TupleRow], dataset: str | None, limit: int, *, after: int = 0
) -> list[Quarantined]:
    """Unresolved lines with an id over ``after``, oldest first; of all datasets where none is named."""
    with connection.cursor(row_factory=class_row(Quarantined)) as cursor:
        cursor.execute(
            f"""
            SELECT {COLUMNS} FROM ingest.quarantine
            WHERE resolved_at IS NULL AND id > %(after)s
                AND (%(dataset)s::text IS NULL OR dataset = %(dataset)s)
            ORDER BY id LIMIT %(limit)s
            """.encode(),
            {"dataset": dataset, "limit": limit, "after": after},
        )
        return cursor.fetchall()


def all_records(connection: Connection[TupleRow], dataset: str, limit: int, *, after: int = 0) -> list[Quarantined]:
    """Lines of a dataset with an id over ``after``, resolved or not, oldest first."""
    with connection.cursor(row_factory=class_row(Quarantined)) as cursor:
        cursor.execute(
            f"SELECT {COLUMNS} FROM ingest.quarantine WHERE dataset = %s AND id > %s ORDER BY id LIMIT %s".encode(),
            (dataset, after, limit),
        )
        return cursor.fetchall()


def find(connection: Connection[TupleRow], number: int) -> Quarantined | None:
    """The line of that number."""
    with connection.cursor(row_factory=class_row(Quarantined)) as cursor:
        cursor.execute(f"SELECT {COLUMNS} FROM ingest.quarantine WHERE id = %s".encode(), (number,))
        return cursor.fetchone()
