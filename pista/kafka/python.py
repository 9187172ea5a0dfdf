"""The consumer of kafka-python, which is everywhere."""

from collections.abc import Mapping
from operator import attrgetter
from typing import Any

import kafka
import kafka.errors
import numpy as np
from kafka import KafkaConsumer, TopicPartition

from pista.kafka.client import access_errors
from pista.kafka.collector import collector_paused
from pista.kafka.errors import OffsetOutOfRangeError
from pista.kafka.reader import POLL_RECORDS, Reader
from pista.kafka.records import Records, plausible

PARTITION_FETCH_BYTES = 4 << 20
FETCH_BYTES = 32 << 20
BOOTSTRAP_MS = 5_000


class PythonConsumer:
    """Reads one topic with ``kafka.KafkaConsumer``."""

    def __init__(self, options: Mapping[str, Any], topic: str) -> None:
        self._options = options
        self._topic = topic
        self._partitions: dict[int, TopicPartition] = {}
        self._positions: dict[int, int] = {}
        self._consumer = self._connect()

    def _connect(self) -> KafkaConsumer:
        with access_errors(self._options):
            return KafkaConsumer(
                **self._options,
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="none",
                isolation_level="read_committed",
                allow_auto_create_topics=False,
                bootstrap_timeout_ms=BOOTSTRAP_MS,
                max_poll_records=POLL_RECORDS,
                max_partition_fetch_bytes=PARTITION_FETCH_BYTES,
                fetch_max_bytes=FETCH_BYTES,
                check_crcs=True,
                metrics_enabled=False,
            )

    def assign(self, starts: Mapping[int, int]) -> None:
        """Read these partitions from these offsets."""
        if set(self._partitions) != set(starts):
            self._partitions = {p: TopicPartition(self._topic, p) for p in starts}
            self._consumer.assign(list(self._partitions.values()))
            self._positions = {}
        for partition, offset in starts.items():
            if self._positions.get(partition) != offset:
                self._consumer.seek(self._partitions[partition], offset)
        self._positions = dict(starts)

    def poll(self, most: int, seconds: float) -> Records:
        """Up to so many records; see ``Consumer``."""
        try:
            with collector_paused(), access_errors(self._options):
                polled = self._consumer.poll(timeout_ms=int(seconds * 1000), max_records=most)
        except (
            kafka.errors.OffsetOutOfRangeError,
            kafka.errors.NoOffsetForPartitionError,
            kafka.errors.LogTruncationError,
        ) as error:
            raise OffsetOutOfRangeError(f"topic {self._topic}: the log does not hold the offset: {error}") from error
        self._positions = {partition: self._consumer.position(place) for partition, place in self._partitions.items()}
        return Records.join([_columns(place.partition, records) for place, records in polled.items()])

    def positions(self) -> dict[int, int]:
        """Partition to the next offset."""
        return self._positions

    def close(self) -> None:
        """Drop the connections."""
        self._consumer.close(autocommit=False)


def _columns(partition: int, records: list[Any]) -> Records:
    count = len(records)
    headers = list(map(attrgetter("headers"), records))
    return Records(
        np.full(count, partition, np.int32),
        np.fromiter(map(attrgetter("offset"), records), np.int64, count),
        plausible(np.fromiter(map(attrgetter("timestamp"), records), np.int64, count)),
        list(map(attrgetter("key"), records)),
        list(map(attrgetter("value"), records)),
        list(map(tuple, headers)) if any(headers) else None,
    )


def python_reader(options: Mapping[str, Any], topic: str) -> Reader:
    """A reader that uses kafka-python; ``options`` are those of ``client_options``."""
    return Reader(f"kafka-python {kafka.__version__}", lambda: PythonConsumer(options, topic), topic)
