"""Known defects of the clients, each provoked; none of them may hang a reader, or make it skip a record."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import confluent_kafka
import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.errors import KafkaError
from kafka.record import default_records

from pista.kafka.confluent import confluent_reader
from pista.kafka.python import python_reader
from pista.kafka.reader import Reader
from pista.kafka.topics import TopicAdmin, describe_topics
from pista.kafka.watchdog import hung
from pista.settings import KafkaClient
from tests.kafka_mock import FETCH, MockCluster, mock_cluster

from .conftest import CLIENTS, Topic, read, values

NOT_LEADER, STORAGE_ERROR, TIMED_OUT = 6, 56, 7
MOCK_VERSION = (2, 3)  # the mock's answer to newer questions is not one that kafka-python reads


@pytest.fixture
def mock() -> Iterator[MockCluster]:
    with mock_cluster(2) as cluster:
        yield cluster


@pytest.fixture(params=CLIENTS, ids=str)
def mock_reader(request: pytest.FixtureRequest, mock: MockCluster) -> Iterator[Callable[[str], Reader]]:
    readers = []

    def open_(topic: str) -> Reader:
        if request.param is KafkaClient.CONFLUENT:
            readers.append(confluent_reader({"bootstrap.servers": mock.bootstrap}, topic))
        else:
            options = {"bootstrap_servers": mock.bootstrap, "api_version": MOCK_VERSION}
            readers.append(python_reader(options, topic))
        return readers[-1]

    yield open_
    for reader in readers:
        reader.close()
    assert not hung()


def produce(mock: MockCluster, topic: str, partition: int, count: int) -> None:
    producer = confluent_kafka.Producer({"bootstrap.servers": mock.bootstrap})
    for number in range(count):
        producer.produce(topic, b"%d" % number, partition=partition)
    assert producer.flush(30) == 0


def test_a_broker_that_is_away_for_a_while(
    mock: MockCluster, mock_reader: Callable[[str], Reader], monkeypatch: pytest.MonkeyPatch
) -> None:
    """kafka-python raises UnknownBrokerIdError once, and from then on delivers nothing, for ever."""
    monkeypatch.setattr("pista.kafka.reader.STALL_SECONDS", 2.0)
    mock.create_topic("t", 2)
    for partition in (0, 1):
        mock.set_leader("t", partition, partition + 1)
        produce(mock, "t", partition, 2_000)
    reader = mock_reader("t")
    positions, ends = {0: 0, 1: 0}, {0: 2_000, 1: 2_000}
    found: dict[int, list[bytes | None]] = {0: [], 1: []}
    deadline = time.monotonic() + 60
    back = None
    while positions != ends:
        assert time.monotonic() < deadline, positions
        with contextlib.suppress(KafkaError):  # a drain goes on after it, from the ledger
            chunk = read(reader, positions, ends, max_records=300)
            for record in chunk.records:
                found[record.partition].append(record.value)
            positions = chunk.positions
        if back is None:
            mock.stop(2)
            back = threading.Timer(3.0, mock.start, (2,))
            back.start()
    back.join()
    assert found == {partition: [b"%d" % number for number in range(2_000)] for partition in (0, 1)}


def test_errors_of_the_broker_that_pass(mock: MockCluster, mock_reader: Callable[[str], Reader]) -> None:
    mock.create_topic("t", 1)
    produce(mock, "t", 0, 100)
    mock.fail(FETCH, NOT_LEADER, STORAGE_ERROR, TIMED_OUT, NOT_LEADER)
    assert values(read(mock_reader("t"), {0: 0}, {0: 100})) == [b"%d" % number for number in range(100)]


def test_a_batch_whose_sum_is_wrong(
    mock: MockCluster, mock_reader: Callable[[str], Reader], monkeypatch: pytest.MonkeyPatch
) -> None:
    """kafka-python's next poll after it never returns; librdkafka goes on behind the batch."""
    mock.create_topic("t", 1)
    produce(mock, "t", 0, 10)
    with monkeypatch.context() as patch:
        patch.setattr(default_records, "calc_crc32c", lambda _: 42)
        producer = KafkaProducer(bootstrap_servers=mock.bootstrap, api_version=MOCK_VERSION, linger_ms=100)
        for _ in range(10):
            producer.send("t", b"damaged", partition=0)
        producer.flush(timeout=30)
        producer.close()
    produce(mock, "t", 0, 10)
    reader = mock_reader("t")
    assert values(read(reader, {0: 0}, {0: 10}, max_records=10)) == [b"%d" % number for number in range(10)]
    for start in (10, 15, 10):
        with pytest.raises(KafkaError):
            read(reader, {0: start}, {0: 30})
    assert values(read(reader, {0: 20}, {0: 30})) == [b"%d" % number for number in range(10)]


def test_a_codec_that_is_not_installed(topic: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next poll after it never returns."""
    producer = confluent_kafka.Producer({"bootstrap.servers": topic.bootstrap, "compression.type": "zstd"})
    producer.produce(topic.name, b"x" * 1000, partition=0)
    producer.flush(30)
    reader = python_reader(topic.options, topic.name)
    with monkeypatch.context() as patch:
        patch.setattr("kafka.codec.has_zstd", lambda: False)
        for _ in range(2):
            with pytest.raises(KafkaError, match=r"(?i)zstd"):
                read(reader, {0: 0}, {0: 1})
    assert values(read(reader, {0: 0}, {0: 1})) == [b"x" * 1000]
    reader.close()
    assert not hung()


def test_a_topic_that_is_gone_is_none_at_once(topic: Topic, admin: KafkaAdminClient) -> None:
    """kafka-python's end_offsets asks until time is up, and says that nobody answers."""
    topic.produce(b"a")
    admin.delete_topics([topic.name])
    try:
        assert describe_topics(topic.options, [topic.name]) == {topic.name: None}
    finally:
        admin.create_topics({topic.name: {"num_partitions": 1}}, wait_for_metadata=True)


def test_a_broker_that_accepts_and_never_answers_ends_by_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        port = deaf.getsockname()[1]
        began = time.monotonic()
        with pytest.raises(KafkaError):
            TopicAdmin({"bootstrap_servers": f"127.0.0.1:{port}"}, timeout=1.0)
        assert time.monotonic() - began < 30


def test_offsets_at_a_time(topic: Topic) -> None:
    for moment in (1_000, 2_000, 3_000):
        topic.produce(b"x", timestamp=moment)
    admin = TopicAdmin(topic.options)
    found = [admin.offsets_at(topic.name, moment)[0] for moment in (0, 1_000, 1_001, 3_000, 3_001)]
    assert found == [0, 0, 1, 2, 3]
    with pytest.raises(Exception, match="does not exist"):
        admin.offsets_at("nowhere", 0)
    admin.close()
