"""Both clients read what the log holds: nothing skipped, nothing twice, and they know where it ends."""

import importlib.metadata
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import confluent_kafka
import pytest
from kafka import KafkaAdminClient, TopicPartition
from kafka.errors import KafkaError

from pista.kafka.errors import OffsetOutOfRangeError
from pista.kafka.reader import Reader, make_reader
from pista.settings import KafkaClient, Settings

from .conftest import Topic, read, read_all, values

MAKE_TOPIC = Callable[..., Topic]


def numbered(count: int, start: int = 0) -> list[bytes]:
    return [b"%d" % number for number in range(start, start + count)]


def test_a_range_of_several_partitions(make_topic: MAKE_TOPIC, open_reader: Callable[[str], Reader]) -> None:
    topic = make_topic(3)
    for partition in range(3):
        topic.produce(*numbered(1000), partition=partition)
    chunk = read(open_reader(topic.name), {0: 0, 1: 500, 2: 999}, topic.ends)
    assert chunk.positions == {0: 1000, 1: 1000, 2: 1000}
    for partition, first in {0: 0, 1: 500, 2: 999}.items():
        mask = chunk.records.partitions == partition
        assert chunk.records.offsets[mask].tolist() == list(range(first, 1000))
        assert [v for v, m in zip(values(chunk), mask, strict=True) if m] == numbered(1000 - first, first)


def test_keys_values_headers_and_times_come_as_they_are(
    make_topic: MAKE_TOPIC, open_reader: Callable[[str], Reader]
) -> None:
    topic = make_topic(1, message_timestamp_after_max_ms=str((1 << 63) - 1))
    topic.produce(b"v", key=b"k", timestamp=1_700_000_000_123)
    topic.produce(None, key=b"deleted", timestamp=1)
    topic.produce(b"", key=b"", timestamp=2)
    topic.produce(b"no key", timestamp=3, headers=[("a", b"1"), ("a", None), ("é", b"\xff")])
    topic.produce(b"microseconds", timestamp=1_700_000_000_123_000)
    records = read(open_reader(topic.name), {0: 0}, {0: 5}).records
    assert records.keys == [b"k", b"deleted", b"", None, None]
    assert records.values == [b"v", None, b"", b"no key", b"microseconds"]
    assert records.timestamps.tolist() == [1_700_000_000_123, 1, 2, 3, -1]
    assert records.headers is not None
    assert list(records.headers) == [(), (), (), (("a", b"1"), ("a", None), ("é", b"\xff")), ()]
    assert records.partitions.dtype == "int32"
    assert records.offsets.dtype == records.timestamps.dtype == "int64"


def test_without_headers_there_is_no_column_of_them(topic: Topic, reader: Reader) -> None:
    topic.produce(b"a", b"b")
    assert read(reader, {0: 0}, {0: 2}).records.headers is None


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_every_codec(codec: str, topic: Topic, reader: Reader) -> None:
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": topic.bootstrap, "compression.type": codec, "linger.ms": 50}
    )
    for value in numbered(300):
        producer.produce(topic.name, value * 20, partition=0)
    producer.flush(30)
    assert values(read(reader, {0: 0}, {0: 300})) == [value * 20 for value in numbered(300)]


def test_a_seek_into_a_batch_delivers_nothing_before_it(topic: Topic, reader: Reader) -> None:
    topic.produce(*numbered(100))
    assert values(read(reader, {0: 42}, {0: 100})) == numbered(58, 42)


def test_markers_of_transactions_are_passed_by_position(topic: Topic, reader: Reader) -> None:
    topic.transaction(*numbered(3))
    topic.transaction(b"aborted", b"too", commit=False)
    topic.transaction(*numbered(2, 3))
    topic.transaction(b"aborted at the end", commit=False)
    assert topic.ends == {0: 12}  # 5 records, 3 aborted ones, 4 markers
    chunk = read(reader, {0: 0}, topic.ends)
    assert values(chunk) == numbered(5)
    assert chunk.positions == {0: 12}
    again = read(reader, chunk.positions, topic.ends)
    assert (len(again.records), again.positions) == (0, {0: 12})


def test_a_range_of_aborted_records_only_is_passed(topic: Topic, reader: Reader) -> None:
    topic.transaction(*numbered(3), commit=False)
    topic.produce(b"after")
    chunk = read(reader, {0: 0}, {0: 4})
    assert chunk.positions[0] in (4, 5)
    assert values(chunk) in ([], [b"after"])
    assert values(read(reader, {0: 4}, {0: 5})) == [b"after"]


def test_an_abort_that_comes_later_moves_the_position(
    topic: Topic, reader: Reader, eventually: Callable[..., Any]
) -> None:
    topic.produce(b"first")
    assert read(reader, {0: 0}, {0: 1}).positions == {0: 1}
    topic.transaction(b"never", commit=False)
    eventually(lambda: topic.ends == {0: 3})
    chunk = read(reader, {0: 1}, {0: 3})
    assert (values(chunk), chunk.positions) == ([], {0: 3})


def test_an_open_transaction_is_neither_lag_nor_delivered(
    topic: Topic, reader: Reader, eventually: Callable[..., Any]
) -> None:
    topic.produce(b"before")
    producer = topic.transactional("open")
    producer.begin_transaction()
    producer.produce(topic.name, b"open", partition=0)
    producer.flush(30)
    topic.produce(b"behind it")
    assert topic.ends == {0: 1}
    chunk = read(reader, {0: 0}, topic.ends)
    assert (values(chunk), chunk.positions) == ([b"before"], {0: 1})
    assert read(reader, {0: 1}, {0: 1}, wait=1.0).positions == {0: 1}
    producer.commit_transaction(30)
    eventually(lambda: topic.ends == {0: 4})
    assert values(read(reader, {0: 1}, {0: 4})) == [b"open", b"behind it"]


def test_gaps_of_compaction_are_passed(
    make_topic: MAKE_TOPIC, open_reader: Callable[[str], Reader], eventually: Callable[..., Any]
) -> None:
    topic = make_topic(
        1,
        cleanup_policy="compact",
        min_cleanable_dirty_ratio="0.0",
        segment_ms="100",
        max_compaction_lag_ms="100",
        min_compaction_lag_ms="0",
    )
    topic.produce(b"first", key=b"another")
    for _ in range(3):
        topic.produce(*numbered(50), key=b"same")
        time.sleep(0.15)  # what is produced next begins a segment of its own
    topic.produce(b"last", key=b"other")
    reader = open_reader(topic.name)
    ends = topic.ends
    chunk = eventually(lambda: (c := read(reader, {0: 0}, ends)) and len(c.records) < 100 and c, timeout=120)
    assert chunk.positions == ends == {0: 152}
    assert values(chunk)[-1] == b"last"
    middle = next(a for a, b in zip(chunk.records.offsets, [*chunk.records.offsets[1:], 152], strict=True) if b - a > 1)
    gap = int(middle) + 1  # an offset that is no longer there
    assert read(reader, {0: gap}, ends).positions == ends


def test_caps_of_records_and_bytes_leave_no_gap(topic: Topic, reader: Reader) -> None:
    topic.produce(*[b"%05d" % n + b"x" * 1000 for n in range(5000)])
    chunks = read_all(reader, {0: 0}, {0: 5000}, max_records=700)
    assert [len(chunk.records) for chunk in chunks] == [700] * 7 + [100]
    assert [v[:5] for chunk in chunks for v in values(chunk)] == [b"%05d" % n for n in range(5000)]
    chunks = read_all(reader, {0: 0}, {0: 5000}, max_bytes=100_000)
    # 500 of the first poll, when the size of a record was not known yet on a new connection
    assert all(len(chunk.records) <= 502 for chunk in chunks)
    assert all(100_000 <= chunk.records.size <= 102_100 for chunk in chunks[1:-1])
    assert sum(len(chunk.records) for chunk in chunks) == 5000


def test_forth_and_back(topic: Topic, reader: Reader) -> None:
    topic.produce(*numbered(1000))
    for start in (0, 900, 10, 10, 999, 500):
        chunk = read(reader, {0: start}, {0: 1000}, max_records=20)
        assert values(chunk) == numbered(min(20, 1000 - start), start)


def test_positions_before_the_end_are_asked_for_again(topic: Topic, reader: Reader) -> None:
    """The ledger may not have moved: a batch was not committed."""
    topic.produce(*numbered(100))
    for _ in range(3):
        assert values(read(reader, {0: 0}, {0: 100})) == numbered(100)


def test_a_partition_may_join(topic: Topic, reader: Reader, admin: KafkaAdminClient) -> None:
    topic.produce(*numbered(10))
    assert read(reader, {0: 0}, {0: 10}).positions == {0: 10}
    admin.create_partitions({topic.name: 2})
    topic.produce(*numbered(5, 100), partition=1)
    topic.produce(*numbered(5, 10))
    chunk = read(reader, {0: 10, 1: 0}, {0: 15, 1: 5})
    assert chunk.positions == {0: 15, 1: 5}
    assert sorted(values(chunk)) == sorted([*numbered(5, 10), *numbered(5, 100)])
    assert read(reader, {1: 3}, {1: 5}).positions == {1: 5}


def test_waiting_ends_with_the_first_record(topic: Topic, reader: Reader) -> None:
    topic.produce(b"first")
    read(reader, {0: 0}, {0: 1})
    waiting = threading.Event()
    with ThreadPoolExecutor(1) as pool:

        def wait() -> tuple[list[bytes | None], float]:
            waiting.set()
            began = time.monotonic()
            return values(read(reader, {0: 1}, {0: 1}, wait=60.0)), time.monotonic() - began

        found = pool.submit(wait)
        waiting.wait()
        topic.produce(b"second")
        delivered, seconds = found.result()
    assert delivered == [b"second"]
    assert seconds < 30


def test_waiting_for_nothing_ends(topic: Topic, reader: Reader) -> None:
    topic.produce(b"first")
    began = time.monotonic()
    chunk = read(reader, {0: 1}, {0: 1}, wait=0.3)
    assert (len(chunk.records), chunk.positions) == (0, {0: 1})
    assert time.monotonic() - began >= 0.3


def test_records_behind_the_end_may_come_along_and_none_is_lost(topic: Topic, reader: Reader) -> None:
    topic.produce(*numbered(1000))
    chunk = read(reader, {0: 0}, {0: 10})
    reached = chunk.positions[0]
    assert 10 <= reached <= 1000
    assert values(chunk) == numbered(reached)
    assert values(read(reader, chunk.positions, {0: 1000})) == numbered(1000 - reached, reached)


@pytest.mark.parametrize("offset", [0, 4, 11, 1 << 40])
def test_an_offset_out_of_range_is_an_error_and_no_skip(
    offset: int, topic: Topic, reader: Reader, admin: KafkaAdminClient
) -> None:
    topic.produce(*numbered(10))
    admin.delete_records({TopicPartition(topic.name, 0): 5})
    with pytest.raises(OffsetOutOfRangeError, match=topic.name):
        read(reader, {0: offset}, {0: offset + 1}, wait=10.0)
    assert values(read(reader, {0: 5}, {0: 10})) == numbered(5, 5)


def test_a_deleted_topic_is_an_error_within_the_deadline(
    topic: Topic, reader: Reader, admin: KafkaAdminClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pista.kafka.reader.STALL_SECONDS", 2.0)
    topic.produce(*numbered(10))
    read(reader, {0: 0}, {0: 10})
    admin.delete_topics([topic.name])
    began = time.monotonic()
    try:
        with pytest.raises(KafkaError, match=topic.name):
            read(reader, {0: 10}, {0: 20})
        assert time.monotonic() - began < 60
    finally:
        admin.create_topics({topic.name: {"num_partitions": 1}}, wait_for_metadata=True)
    topic.produce(*numbered(3))
    assert values(read(reader, {0: 0}, {0: 3})) == numbered(3)


def test_the_reader_says_which_client_it_is(topic: Topic, kafka_settings: Settings) -> None:
    name = make_reader(kafka_settings, topic.name).name
    assert name == f"{kafka_settings.kafka_client} {importlib.metadata.version(kafka_settings.kafka_client)}"


def test_confluent_is_chosen_where_it_is_installed(kafka_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(kafka_bootstrap=kafka_server)
    assert make_reader(settings, "any").name.startswith("confluent-kafka")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert make_reader(settings, "any").name.startswith("kafka-python")
    with pytest.raises(Exception, match=r"confluent-kafka, which is not installed. Install pista\[fast\]"):
        make_reader(Settings(kafka_bootstrap=kafka_server, kafka_client=KafkaClient.CONFLUENT), "any")
