"""Bounded reading: from given offsets, by position, with kafka-python.

There is no consumer group: the ledger in the database says where to start. Three habits of the client
shape this module: after any exception a consumer may hang for ever, so it is never used again; its
default offset reset skips records in silence, so it is off; and compaction and transaction markers
leave gaps, so the end is judged by position and never by counting records.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from pista.kafka.records import Record, Records

POLL_RECORDS = 10_000  # the default of 500 costs 17 % of wall time
PARTITION_FETCH_BYTES = 4 << 20
FETCH_BYTES = 32 << 20
NO_PROGRESS_SECONDS = 15.0


LAST_TIMESTAMP = 253_402_300_799_999  # the end of year 9999, milliseconds


class ReaderStalledError(Exception):
    """The broker has records that the client does not deliver."""


@dataclass(slots=True)
class Chunk:
    """What one read delivered."""

    records: Records
    positions: dict[int, int]  # partition -> next offset after this chunk


class Reader:
    """Reads one topic; keeps its connection between reads while nothing goes wrong."""

    def __init__(self, options: Mapping[str, Any], topic: str) -> None:
        self._options = options
        self._topic = topic
        self._consumer: KafkaConsumer | None = None
        self._positions: dict[int, int] = {}

    def read(
        self, starts: Mapping[int, int], ends: Mapping[int, int], *, max_records: int, max_bytes: int, wait: float
    ) -> Chunk:
        """Records from ``starts`` until each partition has reached its end in ``ends`` or a cap is met.

        A chunk may hold up to one poll more than ``max_bytes``, and records past ``ends`` that came along.
        Where nothing is left to read it waits up to ``wait`` seconds for the first new record.

        Raises:
            ReaderStalledError: no partition moved for 15 seconds although the broker has records.
            KafkaError: the broker cannot be reached, or an offset is out of range.
        """
        try:
            return self._read(starts, ends, max_records, max_bytes, wait)
        except BaseException:
            self.close()
            raise

    def _read(
        self, starts: Mapping[int, int], ends: Mapping[int, int], max_records: int, max_bytes: int, wait: float
    ) -> Chunk:
        consumer = self._at(starts)
        found: list[Record] = []
        size = 0  # bytes of keys and values
        reached = dict(starts)
        moved_at = time.monotonic()
        behind = {partition for partition, end in ends.items() if starts[partition] < end}
        patience = NO_PROGRESS_SECONDS if behind else wait
        while len(found) < max_records and size < max_bytes:
            polled = consumer.poll(
                timeout_ms=int(min(patience, 1.0) * 1000),
                max_records=min(POLL_RECORDS, max_records - len(found)),
            )
            for records in polled.values():
                found.extend(
                    Record(r.partition, r.offset, _plausible(r.timestamp), r.key, r.value, tuple(r.headers))
                    for r in records
                )
                size += sum(len(r.value or b"") + len(r.key or b"") for r in records)
            positions = {p: consumer.position(TopicPartition(self._topic, p)) for p in starts}
            if positions != reached:
                moved_at = time.monotonic()
                reached = self._positions = positions
            behind = {partition for partition, end in ends.items() if positions[partition] < end}
            if not behind and (found or time.monotonic() - moved_at >= wait):
                break
            if behind and time.monotonic() - moved_at >= NO_PROGRESS_SECONDS:
                places = ", ".join(f"{p} at {positions[p]} of {ends[p]}" for p in sorted(behind))
                raise ReaderStalledError(
                    f"topic {self._topic}: nothing was delivered for {NO_PROGRESS_SECONDS:.0f} s although the broker "
                    f"has records (partition {places})"
                )
        return Chunk(Records.of(found), reached)

    def _at(self, starts: Mapping[int, int]) -> KafkaConsumer:
        if self._consumer is None:
            self._consumer = KafkaConsumer(
                **self._options,
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="none",
                isolation_level="read_committed",
                allow_auto_create_topics=False,
                max_poll_records=POLL_RECORDS,
                max_partition_fetch_bytes=PARTITION_FETCH_BYTES,
                fetch_max_bytes=FETCH_BYTES,
                check_crcs=True,
                metrics_enabled=False,
            )
            self._positions = {}
        consumer = self._consumer
        if set(self._positions) != set(starts):
            consumer.assign([TopicPartition(self._topic, partition) for partition in sorted(starts)])
            self._positions = {}
        for partition, offset in starts.items():
            if self._positions.get(partition) != offset:
                consumer.seek(TopicPartition(self._topic, partition), offset)
        self._positions = dict(starts)
        return consumer

    def close(self) -> None:
        """Drop the connection; the next read makes another."""
        consumer, self._consumer = self._consumer, None
        self._positions = {}
        if consumer is not None:
            consumer.close(autocommit=False)


def _plausible(timestamp: int) -> int:
    """The timestamp, or -1 for none where no calendar has it: a producer that counts in microseconds."""
    return timestamp if 0 <= timestamp <= LAST_TIMESTAMP else -1
