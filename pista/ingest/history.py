"""What was loaded of a topic, as the database remembers it."""

from contextlib import closing
from datetime import datetime

from psycopg import Connection
from psycopg.rows import TupleRow

from pista.contracts.dataset import Dataset
from pista.ingest.batch import moment
from pista.ingest.ledger import Entry
from pista.kafka.reader import make_reader
from pista.kafka.topics import TopicState
from pista.settings import Settings
from pista.warehouse.names import raw

WINDOW = 10_000  # offsets that are compared at first, at the end of the log


def checkpoint(
    connection: Connection[TupleRow], dataset: str, epoch: int, partition: int, offset: int
) -> tuple[int, int]:
    """Start of the batch that loaded the offset, and the order time before it in milliseconds since 1970.

    Read from there, order times come out as they did; the offset itself and 0 where no batch is known.
    """
    row = connection.execute(
        """
        SELECT start_offset, start_order_time FROM ingest.ranges
        WHERE dataset = %s AND epoch = %s AND partition = %s AND start_offset <= %s
        ORDER BY start_offset DESC LIMIT 1
        """,
        (dataset, epoch, partition, offset),
    ).fetchone()
    return (offset, 0) if row is None else (row[0], round(row[1].timestamp() * 1000))


def order_time_before(connection: Connection[TupleRow], dataset: str, entry: Entry, offset: int) -> datetime:
    """Greatest record timestamp before an offset that was loaded, as far as raw and quarantine still tell."""
    start, time = checkpoint(connection, dataset, entry.epoch, entry.partition, offset)
    row = connection.execute(
        f"""
        SELECT greatest(
            (SELECT max(order_time) FROM {raw(dataset)}
                WHERE epoch = %(epoch)s AND partition = %(partition)s AND "offset" >= %(start)s AND "offset" < %(end)s),
            (SELECT max(order_time) FROM ingest.quarantine WHERE dataset = %(dataset)s AND epoch = %(epoch)s
                AND partition = %(partition)s AND "offset" >= %(start)s AND "offset" < %(end)s))
        """.encode(),
        {"dataset": dataset, "epoch": entry.epoch, "partition": entry.partition, "start": start, "end": offset},
    ).fetchone()
    assert row is not None
    return max(moment(time), row[0] or moment(0))


def find_divergence(
    connection: Connection[TupleRow], dataset: Dataset, settings: Settings, topic: TopicState, entry: Entry
) -> int | None:
    """First offset of a truncated partition at which the log holds another record than the one that was loaded.

    A log that lost its end may have grown again. Compared are timestamp and key with what raw and quarantine
    keep, from the end of the log backwards until a record is found that is the same.

    Returns:
        The offset; the log's end where all that is left is the same; None where nothing can be compared,
        because raw was not kept.

    Raises:
        KafkaError: the broker does not answer.
    """
    first, end = max(topic.beginning[entry.partition], entry.epoch_offset), topic.end[entry.partition]
    window, found = WINDOW, None
    with closing(make_reader(settings, topic.name)) as reader:
        while True:
            start = max(end - window, first)
            known = _known(connection, dataset, entry, start, end)
            found, same = end, 0
            position = start
            while position < end and found == end:
                chunk = reader.read(
                    {entry.partition: position},
                    {entry.partition: end},
                    max_records=settings.batch_max_records,
                    max_bytes=settings.batch_max_bytes,
                    wait=0.0,
                )
                position = chunk.positions[entry.partition]
                for record in chunk.records:
                    if record.offset >= end or record.offset not in known:
                        continue
                    if known[record.offset] != (max(record.timestamp, 0), _key(dataset, record.key)):
                        found = record.offset
                        break
                    same += 1
            if same or start == first:
                return found if same or found < end else (end if start == end else None)
            window *= 4


def _known(
    connection: Connection[TupleRow], dataset: Dataset, entry: Entry, start: int, end: int
) -> dict[int, tuple[int, bytes | None]]:
    rows = connection.execute(
        f"""
        SELECT "offset", timestamp, key FROM {raw(dataset.name)}
        WHERE epoch = %(epoch)s AND partition = %(partition)s AND "offset" >= %(start)s AND "offset" < %(end)s
        UNION ALL
        SELECT "offset", timestamp, key FROM ingest.quarantine WHERE dataset = %(dataset)s AND resolved_at IS NULL
            AND epoch = %(epoch)s AND partition = %(partition)s AND "offset" >= %(start)s AND "offset" < %(end)s
        """.encode(),
        {"dataset": dataset.name, "epoch": entry.epoch, "partition": entry.partition, "start": start, "end": end},
    )
    return {offset: (round(time.timestamp() * 1000), _key(dataset, key)) for offset, time, key in rows}


def _key(dataset: Dataset, key: bytes | None) -> bytes | None:
    # raw does not keep a personal key as it came
    return None if any(column.pii for column in dataset.columns) else key
