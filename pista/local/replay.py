"""Publish real flights so that nothing is ever published twice, whenever it is interrupted.

A chunk and the marker that says that it is published go into one Kafka transaction; the markers live in a compacted
topic. The transactional id is always the same: a new replay ends the open transaction of a killed one, fences a
running one off, and only then reads the markers, so that what it finds missing is missing for good.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from kafka import KafkaAdminClient, KafkaProducer
from kafka.errors import KafkaError, TopicAlreadyExistsError

from pista.contracts.dataset import Dataset
from pista.kafka.python import python_reader
from pista.kafka.topics import describe_topics
from pista.local.processes import StackError

MARKERS = "pista.replay"
TRANSACTIONAL_ID = "pista-replay"
REFERENCE = ("airlines", "airports", "planes")


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What a replay published."""

    events: int
    skipped: int  # parts that were published before
    seconds: float


def parts_of(months: int) -> list[str]:
    """Names of what is published, in order: reference tables, then month by month the weather and the flights."""
    names = [f"2013-{month:02}" for month in range(1, months + 1)]
    return [*REFERENCE, *(f"{dataset}/{name}" for name in names for dataset in ("weather", "flights"))]


def replay(
    options: Mapping[str, Any],
    datasets: Mapping[str, Dataset],
    months: int,
    on_progress: Callable[[int, int], None],
) -> ReplayReport:
    """Publish the parts that are not there yet.

    Args:
        options: connection options of a Kafka client.
        datasets: contracts, which name the topics; what has no contract is left out.
        months: how many months of 2013, from January on.
        on_progress: called after each chunk with the events that are on their topics, and how many there will be.

    Raises:
        StackError: a topic does not exist, another replay took over, or the broker did not take the events.
    """
    began = time.monotonic()
    named = {part: datasets.get(part.partition("/")[0]) for part in parts_of(months)}
    wanted = {part: dataset for part, dataset in named.items() if dataset is not None}
    _ensure_markers(options)
    producer = KafkaProducer(
        **options,
        transactional_id=TRANSACTIONAL_ID,
        compression_type="lz4",
        batch_size=256 << 10,
        linger_ms=50,
    )
    try:
        producer.init_transactions()
        topics = _topics(options, wanted.values())
        done = _published(options)
        missing = [part for part, dataset in wanted.items() if done.get(part) != topics[str(dataset.topic)]]
        events = _publish_parts(producer, {part: wanted[part] for part in missing}, topics, done, on_progress)
    except KafkaError as error:
        # the client reports that it was fenced off by whatever it was about to do at that moment
        raise StackError(
            f"The replay has stopped: another one took over, or Kafka went away ({error}). What was published is kept, "
            "and a new replay goes on from there."
        ) from error
    finally:
        with contextlib.suppress(KafkaError):  # all that counts has been committed
            producer.close(timeout=5)
    return ReplayReport(events, len(wanted) - len(missing), time.monotonic() - began)


def _publish_parts(
    producer: KafkaProducer,
    parts: Mapping[str, Dataset],
    topics: Mapping[str, str],
    done: Mapping[str, str],
    on_progress: Callable[[int, int], None],
) -> int:
    if not parts:
        return 0
    from pista.local import flights  # reads tables with pandas, which takes a second that a later start need not spend

    total = sum(flights.count(part) for part in parts)
    reached = events = 0
    for part, dataset in parts.items():
        topic = str(dataset.topic)
        chunks = flights.chunks(part)
        for chunk in chunks:
            if done.get(chunk.name) != topics[topic]:
                markers = {chunk.name, part} if chunk is chunks[-1] else {chunk.name}
                _publish(producer, topic, chunk.messages, markers, topics[topic])
                events += len(chunk.messages)
            reached += len(chunk.messages)
            on_progress(reached, total)
    return events


def _publish(
    producer: KafkaProducer,
    topic: str,
    messages: list[tuple[bytes | None, bytes]],
    markers: set[str],
    topic_id: str,
) -> None:
    producer.begin_transaction()
    try:
        for key, value in messages:
            producer.send(topic, value, key)
        for marker in markers:
            content = {"topic": topic, "topic_id": topic_id, "records": len(messages)}
            producer.send(MARKERS, orjson.dumps(content), marker.encode())
        producer.commit_transaction()
    except BaseException:
        with contextlib.suppress(KafkaError):  # then the next replay ends it
            producer.abort_transaction()
        raise


def _topics(options: Mapping[str, Any], datasets: Iterable[Dataset]) -> dict[str, str]:
    states = describe_topics(options, {str(dataset.topic) for dataset in datasets}, timeout=30.0)
    missing = [name for name, state in states.items() if state is None]
    if missing:
        raise StackError(f"No topic {', '.join(missing)}: `pista up` creates the topics of managed contracts.")
    return {name: state.topic_id for name, state in states.items() if state is not None}


def _ensure_markers(options: Mapping[str, Any]) -> None:
    admin = KafkaAdminClient(**options)
    try:
        admin.create_topics(
            {MARKERS: {"num_partitions": 1, "configs": {"cleanup.policy": "compact"}}}, wait_for_metadata=True
        )
    except TopicAlreadyExistsError:
        pass
    finally:
        admin.close()


def _published(options: Mapping[str, Any]) -> dict[str, str]:
    """Published chunks and parts, each with the identity of the topic that has it."""
    state = describe_topics(options, [MARKERS], timeout=30.0)[MARKERS]
    assert state is not None
    reader = python_reader(options, MARKERS)
    found: dict[str, str] = {}
    positions = dict(state.beginning)
    try:
        while any(positions[partition] < end for partition, end in state.end.items()):
            read = reader.read(positions, state.end, max_records=10_000, max_bytes=8 << 20, wait=1.0)
            positions = read.positions
            for record in read.records:
                if record.key and record.value:
                    found[record.key.decode()] = orjson.loads(record.value)["topic_id"]
    finally:
        reader.close()
    return found
