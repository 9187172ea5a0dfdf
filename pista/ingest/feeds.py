"""Where a rebuild reads a dataset's records from, oldest first and in bounded batches: its raw log, or its topic."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from psycopg import Connection
from psycopg.rows import TupleRow

from pista.contracts.dataset import Dataset
from pista.ingest.batch import Batch, epochs, headers_from_json, make_batch, monotonic_ms, order_times
from pista.ingest.decode import Decoder
from pista.ingest.files import plain
from pista.ingest.ledger import Ledger, find_condition, read_ledgers
from pista.kafka.client import client_options
from pista.kafka.reader import make_reader
from pista.kafka.records import Record, Records
from pista.kafka.topics import TopicState, describe_topics
from pista.settings import Settings
from pista.warehouse.names import raw


@dataclass(frozen=True, slots=True)
class Bookmark:
    """How far a dataset was loaded at one moment."""

    version: int
    batch: int  # the last one; their numbers rise in the order of commits
    ledger: Ledger

    @property
    def epoch(self) -> int:
        """Of what is loaded now; all that was loaded of partitions without a line in the ledger is of earlier ones."""
        return max((entry.epoch for entry in self.ledger.values()), default=0)


def bookmark(connection: Connection[TupleRow], dataset: str) -> Bookmark:
    """Where the dataset stands, with its version locked until the transaction ends."""
    row = connection.execute(
        "SELECT version FROM catalog.versions WHERE dataset = %s FOR UPDATE", (dataset,)
    ).fetchone()
    assert row is not None
    last = connection.execute(
        "SELECT coalesce(max(id), 0) FROM ingest.batches WHERE dataset = %s", (dataset,)
    ).fetchone()
    assert last is not None
    return Bookmark(int(row[0]), int(last[0]), read_ledgers(connection, [dataset])[dataset])


class Feed(Protocol):
    """A source of all records of a dataset."""

    def losses(self, connection: Connection[TupleRow]) -> list[str]:
        """What of the dataset this source does not hold any more, as sentences."""

    def batches(self, connection: Connection[TupleRow], since: Bookmark | None, until: Bookmark) -> Iterator[Batch]:
        """Records between two bookmarks, from the beginning for None; some of before may come again."""


class RawFeed:
    """The raw log, by position."""

    def __init__(self, dataset: Dataset, target: Dataset, settings: Settings) -> None:
        self._name = dataset.name
        self._settings = settings
        self._decoder = Decoder(target, settings, from_raw=True)
        self._file_decoder = Decoder(plain(target), settings, from_raw=True)

    def losses(self, connection: Connection[TupleRow]) -> list[str]:
        """Days that retention took away, and records that were loaded while raw was not kept."""
        found = []
        days = connection.execute(
            "SELECT min(day), max(day), sum(records)::bigint FROM ingest.raw_dropped WHERE dataset = %s", (self._name,)
        ).fetchone()
        if days is not None and days[2]:
            found.append(f"retention dropped the {days[2]} raw records that were loaded from {days[0]} to {days[1]}")
        row = connection.execute(
            f"""
            SELECT coalesce(sum(greatest(r.loaded - there.count, 0)), 0)::bigint FROM ingest.ranges r
            CROSS JOIN LATERAL (
                SELECT count(*) FROM {raw(self._name)} x WHERE x.epoch = r.epoch AND x.partition = r.partition
                    AND x."offset" >= r.start_offset AND x."offset" < r.end_offset
            ) there WHERE r.dataset = %s
            """.encode(),
            (self._name,),
        ).fetchone()
        assert row is not None
        if row[0]:
            found.append(f"raw lacks {row[0]} of the records that were loaded")
        return found

    def batches(self, connection: Connection[TupleRow], since: Bookmark | None, until: Bookmark) -> Iterator[Batch]:
        """All of raw, or what the batches after ``since`` put there, whatever their positions."""
        loaded_at = None
        if since is not None:
            row = connection.execute(
                "SELECT min(started_at) FROM ingest.batches WHERE dataset = %s AND id > %s AND id <= %s",
                (self._name, since.batch, until.batch),
            ).fetchone()
            if row is None or row[0] is None:
                return
            loaded_at = row[0]
        after = (-(1 << 31), 0, 0)
        while rows := self._rows(connection, after, loaded_at):
            after = rows[-1][:3]
            is_file = np.array([row[0] < 0 for row in rows])
            for mask, decoder in ((is_file, self._file_decoder), (~is_file, self._decoder)):
                if mask.any():
                    yield _raw_batch([row for row, wanted in zip(rows, mask, strict=True) if wanted], decoder)

    def _rows(self, connection: Connection[TupleRow], after: TupleRow, loaded_at: object) -> list[TupleRow]:
        with connection.cursor(binary=True) as cursor:
            return cursor.execute(
                f"""
                SELECT epoch, partition, "offset", order_time, timestamp, key, value, headers FROM (
                    SELECT *, sum(octet_length(value)) OVER (ORDER BY epoch, partition, "offset") AS size,
                        row_number() OVER (ORDER BY epoch, partition, "offset") AS number
                    FROM (
                        SELECT * FROM {raw(self._name)}
                        WHERE (epoch, partition, "offset") > (%s::int, %s::int, %s::bigint)
                            AND (%s::timestamptz IS NULL OR loaded_at >= %s::timestamptz)
                        ORDER BY epoch, partition, "offset" LIMIT %s
                    ) AS nearest
                ) AS sized WHERE number = 1 OR coalesce(size, 0) <= %s ORDER BY number
                """.encode(),
                (*after, loaded_at, loaded_at, self._settings.batch_max_records, self._settings.batch_max_bytes),
            ).fetchall()


def _raw_batch(rows: list[TupleRow], decoder: Decoder) -> Batch:
    began = monotonic_ms()
    records = Records.of(
        # raw has 1970 where a record had no timestamp
        Record(partition, offset, round(time.timestamp() * 1000) or -1, key, value, headers_from_json(headers))
        for _, partition, offset, _, time, key, value, headers in rows
    )
    return make_batch(
        decoder,
        records,
        epochs=np.array([row[0] for row in rows], np.int32),
        order_times=np.array([round(row[3].timestamp() * 1000) for row in rows], np.int64),
        planned={},
        positions={},
        read_ms=0.0,
        clock_ms=began,
    )


class TopicFeed:
    """The topic, from where it begins to where the ledger stands."""

    def __init__(self, dataset: Dataset, target: Dataset, settings: Settings) -> None:
        self._dataset = dataset
        self._settings = settings
        self._decoder = Decoder(target, settings)
        self._order_times: dict[int, int] = {}

    def losses(self, connection: Connection[TupleRow]) -> list[str]:
        """Offsets before the log's beginning, records of earlier topics of that name, and records of files."""
        found = []
        ledger = read_ledgers(connection, [self._dataset.name])[self._dataset.name]
        topic = self._check_topic(ledger)
        for epoch, partition, first, records in connection.execute(
            """
            SELECT epoch, partition, min(start_offset), sum(delivered)::bigint FROM ingest.ranges
            WHERE dataset = %s GROUP BY epoch, partition ORDER BY epoch, partition
            """,
            (self._dataset.name,),
        ).fetchall():
            if epoch < 0:
                found.append(f"the topic lacks the {records} records of load {partition}, which came from a file")
            elif partition not in ledger or epoch != ledger[partition].epoch:
                found.append(f"the topic lacks the {records} records of partition {partition} that had epoch {epoch}")
            elif topic.beginning[partition] > first:
                found.append(
                    f"partition {partition} of topic {topic.name} begins at offset {topic.beginning[partition]}, "
                    f"and the dataset at {first}"
                )
        return found

    def batches(self, connection: Connection[TupleRow], since: Bookmark | None, until: Bookmark) -> Iterator[Batch]:
        """What lies between the ledgers of the two."""
        topic = self._check_topic(until.ledger)
        before = since.ledger if since is not None else {}
        ends = {partition: entry.reached for partition, entry in until.ledger.items()}
        first = self._first_offsets(connection, until.ledger)
        starts = {
            p: before[p].reached if p in before else min(max(topic.beginning[p], first.get(p, ends[p])), ends[p])
            for p in until.ledger
        }
        self._order_times = {p: self._order_times.get(p, 0) for p in ends}
        with closing(make_reader(self._settings, topic.name)) as reader:
            while any(starts[p] < ends[p] for p in ends):
                began = monotonic_ms()
                chunk = reader.read(
                    starts,
                    ends,
                    max_records=self._settings.batch_max_records,
                    max_bytes=self._settings.batch_max_bytes,
                    wait=0.0,
                )
                # offsets mean records of this topic only if it is still the same one
                self._check_topic(until.ledger)
                starts = chunk.positions
                within = chunk.records.offsets < np.array([ends[p] for p in chunk.records.partitions.tolist()])
                records = chunk.records.take(np.flatnonzero(within))
                if not len(records):
                    continue
                times = order_times(records, self._order_times)
                for partition in np.unique(records.partitions).tolist():
                    self._order_times[partition] = int(times[records.partitions == partition].max())
                yield make_batch(
                    self._decoder,
                    records,
                    epochs=epochs(records, until.ledger),
                    order_times=times,
                    planned={},
                    positions={},
                    read_ms=0.0,
                    clock_ms=began,
                )

    def _first_offsets(self, connection: Connection[TupleRow], ledger: Ledger) -> dict[int, int]:
        """Where each partition was first read in its epoch: what lies before is not of the dataset, or of another."""
        rows = connection.execute(
            """
            SELECT epoch, partition, min(start_offset) FROM ingest.ranges
            WHERE dataset = %s GROUP BY epoch, partition
            """,
            (self._dataset.name,),
        ).fetchall()
        return {p: first for epoch, p, first in rows if p in ledger and ledger[p].epoch == epoch}

    def _check_topic(self, ledger: Ledger) -> TopicState:
        """The topic, if its offsets still mean the records that they meant.

        Raises:
            IngestCondition: they do not.
        """
        name = str(self._dataset.topic)
        topic = describe_topics(client_options(self._settings), [name])[name]
        condition = find_condition(self._dataset, topic, ledger)
        if condition is not None:
            raise condition
        assert topic is not None
        return topic
