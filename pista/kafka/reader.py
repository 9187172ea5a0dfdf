"""Bounded reading: from given offsets, by position, with either client.

There is no consumer group: the ledger in the database says where to start. Three habits of the clients
shape this module: after any exception a consumer may hang for ever or skip records, so it is never used
again; the default offset reset skips records in silence, so it is off; and compaction and transaction
markers leave gaps, so the end is judged by position and never by counting records.
"""

import importlib.util
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from kafka.errors import KafkaError

from pista.kafka.client import KafkaNotConfiguredError, client_options, confluent_options
from pista.kafka.errors import AccessError, OffsetOutOfRangeError, ReaderStalledError
from pista.kafka.records import Records
from pista.kafka.watchdog import Worker
from pista.settings import KafkaClient, Settings

log = logging.getLogger(__name__)

POLL_RECORDS = 10_000  # kafka-python's default of 500 costs 17 % of wall time
FIRST_POLL_RECORDS = 500  # before the size of records is known
POLL_SECONDS = 1.0
STALL_SECONDS = 10.0  # without progress, and another consumer takes over
ATTEMPTS = 3  # consumers without any progress between them, that end a read
RETRY_SECONDS = 0.2
CALL_SECONDS = 30.0  # to the deadline of connecting or of one poll; a poll is asked to take 1 s


class Consumer(Protocol):
    """What the reader needs of a client; after any exception a consumer is closed and not used again."""

    def assign(self, starts: Mapping[int, int]) -> None:
        """Read these partitions from these offsets, and nothing else."""

    def poll(self, most: int, seconds: float) -> Records:
        """Up to so many records; waits up to so many seconds for the first.

        Raises:
            OffsetOutOfRangeError: a partition's log does not hold the offset.
            AccessError: the broker does not let us in.
            KafkaError: anything else.
        """

    def positions(self) -> dict[int, int]:
        """Partition to the next offset: one past the last record, or past what read_committed hides after it."""

    def close(self) -> None:
        """Drop the connections."""


@dataclass(slots=True)
class Chunk:
    """What one read delivered."""

    records: Records
    positions: dict[int, int]  # partition -> next offset after this chunk


class Reader:
    """Reads one topic; keeps its connection between reads while nothing goes wrong."""

    def __init__(self, name: str, connect: Callable[[], Consumer], topic: str) -> None:
        """``name`` of the client with its version; ``connect`` makes a consumer of the topic."""
        self.name = name
        self._connect = connect
        self._topic = topic
        self._session: _Session | None = None

    def read(
        self,
        starts: Mapping[int, int],
        ends: Mapping[int, int],
        *,
        max_records: int,
        max_bytes: int,
        wait: float,
        max_seconds: float = math.inf,
    ) -> Chunk:
        """Records from ``starts`` until each partition has reached its end in ``ends`` or a cap is met.

        A chunk holds at most ``max_records``. Its last poll asks for no more records than fit into what is
        left of ``max_bytes`` at the mean size so far, so it exceeds ``max_bytes`` by those that are larger;
        beside it the client buffers up to 64 MiB. Records past ``ends`` that came along are in it too.
        Where nothing is left to read it waits up to ``wait`` seconds for the first new record. Once something was
        read, it goes on for ``max_seconds`` at most, so that a slow broker does not hold back what is here already.

        Raises:
            OffsetOutOfRangeError: the log does not hold one of ``starts``.
            AccessError: the broker does not let us in.
            ReaderStalledError: three consumers delivered nothing for 10 s each, although the broker has records.
            CallTimeoutError: the client did not return for 30 s.
            KafkaError: three consumers in turn failed.
        """
        session = self._session = self._session or _Session(self._connect, self._topic)
        try:
            return session.worker.call(
                "reading", CALL_SECONDS, lambda: session.read(starts, ends, max_records, max_bytes, wait, max_seconds)
            )
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Drop the connection, within seconds whatever the client does; the next read makes another."""
        session, self._session = self._session, None
        if session is not None:
            session.worker.end(session.close)


class _Session:
    """A consumer and where it stands; used in its worker's thread only."""

    def __init__(self, connect: Callable[[], Consumer], topic: str) -> None:
        self.worker = Worker(f"topic {topic}")
        self._connect = connect
        self._topic = topic
        self._consumer: Consumer | None = None
        self._positions: dict[int, int] = {}
        self._mean = 0.0  # bytes of a record; 0: not known yet

    def read(
        self,
        starts: Mapping[int, int],
        ends: Mapping[int, int],
        max_records: int,
        max_bytes: int,
        wait: float,
        max_seconds: float,
    ) -> Chunk:
        found: list[Records] = []
        until = math.inf
        count = size = failures = 0  # size: bytes of keys and values
        reached = dict(starts)
        moved_at = time.monotonic()
        while count < max_records and size < max_bytes and time.monotonic() < until:
            self.worker.beat()
            left = POLL_SECONDS if _behind(reached, ends) else moved_at + wait - time.monotonic()
            try:
                records = self._poll(
                    reached, self._ask(max_records - count, max_bytes - size), min(max(left, 0.0), POLL_SECONDS)
                )
            except (OffsetOutOfRangeError, AccessError):
                raise
            except KafkaError as error:
                failures += 1
                if failures >= ATTEMPTS:
                    raise
                log.warning("topic %s: %s: %s; going on with a new consumer", self._topic, type(error).__name__, error)
                self.close()
                time.sleep(RETRY_SECONDS)
                continue
            if records:
                until = min(until, time.monotonic() + max_seconds)
                found.append(records)
                count += len(records)
                size += records.size
                self._mean = size / count
            if self._positions != reached:
                reached, moved_at, failures = dict(self._positions), time.monotonic(), 0
            behind, still = _behind(reached, ends), time.monotonic() - moved_at
            if not behind and (count or still >= wait):
                break
            if behind and still >= STALL_SECONDS:
                failures += 1
                places = ", ".join(f"partition {p} at {reached[p]} of {ends[p]}" for p in behind)
                if failures >= ATTEMPTS:
                    raise ReaderStalledError(
                        f"topic {self._topic}: {ATTEMPTS} consumers delivered nothing for {STALL_SECONDS:.0f} s each "
                        f"although the broker has records ({places})"
                    )
                log.warning("topic %s: nothing comes (%s); going on with a new consumer", self._topic, places)
                self.close()
                moved_at = time.monotonic()
        return Chunk(Records.join(found), reached)

    def _ask(self, records: int, size: int) -> int:
        fitting = int(size / self._mean) + 1 if self._mean else FIRST_POLL_RECORDS
        return min(POLL_RECORDS, records, fitting)

    def _poll(self, starts: Mapping[int, int], most: int, seconds: float) -> Records:
        consumer = self._consumer
        if consumer is None:
            consumer = self._consumer = self._connect()
            self._positions = {}
            self.worker.beat()
        if self._positions != starts:
            consumer.assign(starts)
        records = consumer.poll(most, seconds)
        self._positions = consumer.positions()
        return records

    def close(self) -> None:
        consumer, self._consumer = self._consumer, None
        self._positions = {}
        if consumer is not None:
            # a worker of its own: the close of a broken consumer may hang, and the next one must not wait for it
            Worker(f"topic {self._topic}").end(consumer.close)


def _behind(positions: Mapping[int, int], ends: Mapping[int, int]) -> list[int]:
    return sorted(partition for partition, end in ends.items() if positions[partition] < end)


def make_reader(settings: Settings, topic: str) -> Reader:
    """A reader of the topic: by confluent-kafka where it is installed, unless ``PISTA_KAFKA_CLIENT`` names a client.

    Raises:
        KafkaNotConfiguredError: the settings do not say how to connect, or name a client that is not installed.
    """
    installed = importlib.util.find_spec("confluent_kafka") is not None
    if settings.kafka_client is KafkaClient.CONFLUENT and not installed:
        raise KafkaNotConfiguredError(
            "PISTA_KAFKA_CLIENT is confluent-kafka, which is not installed. Install pista[fast], or say auto."
        )
    # clients are imported when they are needed: one of them is enough
    if installed and settings.kafka_client is not KafkaClient.PYTHON:
        from pista.kafka.confluent import confluent_reader

        return confluent_reader(confluent_options(settings), topic)
    from pista.kafka.python import python_reader

    return python_reader(client_options(settings), topic)
