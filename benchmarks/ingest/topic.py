"""The messages of the comparison, real flight events, and the rows that they must end as."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import orjson
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from pista.local import flights

PARTITIONS = 2
MONTHS = 12
COLUMNS = flights.SNAPSHOT
MOMENTS = ("scheduled_departure", "scheduled_arrival", "departure", "arrival", "event_time")
NULL = "\\N"

Message = tuple[bytes, bytes]  # key, value


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic with messages in it."""

    name: str
    messages: Sequence[Message]


def messages(rows: int) -> list[Message]:
    """The first events of 2013 as messages.

    Raises:
        ValueError: there are not so many.
    """
    found = list(islice(_all_messages(), rows))
    if len(found) < rows:
        raise ValueError(f"ROWS={rows} is more than the {len(found)} events that the year has.")
    return found


def _all_messages() -> Iterator[Message]:
    for month in range(1, MONTHS + 1):
        for chunk in flights.chunks(f"flights/2013-{month:02}"):
            for key, value in chunk.messages:
                assert key is not None
                yield key, value


def publish(bootstrap: str, topic: Topic) -> None:
    """Create the topic with two partitions, and publish its messages with lz4."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    (created,) = admin.create_topics([NewTopic(topic.name, PARTITIONS)]).values()
    created.result()
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "compression.type": "lz4",
            "linger.ms": 50,
            "batch.size": 256 << 10,
            "partitioner": "murmur2_random",  # what Java's producers do
            "queue.buffering.max.messages": 200_000,
        }
    )
    failures: list[str] = []

    def delivered(error: object, _: object) -> None:
        if error is not None:
            failures.append(str(error))

    for key, value in topic.messages:
        while True:
            try:
                producer.produce(topic.name, value, key, on_delivery=delivered)
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush()
    if failures:
        raise RuntimeError(f"{len(failures)} messages were not delivered, the first because of {failures[0]}.")


def line(value: bytes) -> str:
    """A message as a line of PostgreSQL's COPY text format, in the order of ``COLUMNS``."""
    fields = orjson.loads(value)
    return "\t".join(NULL if fields[name] is None else str(fields[name]) for name in COLUMNS)


def expected_rows(of: Sequence[Message]) -> list[str]:
    """The table that the messages end as: of each key the event of the latest time, by key; lines as of ``line``."""
    newest: dict[bytes, tuple[str, bytes]] = {}
    for key, value in of:
        moment = orjson.loads(value)["event_time"]  # all in UTC in one form, so text compares as time does
        if key not in newest or moment >= newest[key][0]:
            newest[key] = (moment, value)
    return [line(newest[key][1]) for key in sorted(newest)]
