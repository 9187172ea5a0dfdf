"""Both readers on the real broker, and what it takes to fill topics."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import confluent_kafka
import pytest
from kafka import KafkaAdminClient

from pista.kafka.reader import Chunk, Reader, make_reader
from pista.kafka.topics import describe_topics
from pista.settings import KafkaClient, Settings

CLIENTS = [KafkaClient.CONFLUENT, KafkaClient.PYTHON]


@dataclass
class Topic:
    """A topic of the test's own."""

    name: str
    bootstrap: str

    def produce(self, *values: bytes | None, partition: int = 0, **options: Any) -> None:
        producer = confluent_kafka.Producer({"bootstrap.servers": self.bootstrap})
        errors = []
        for value in values:
            producer.produce(
                self.name, value, partition=partition, on_delivery=lambda error, _: errors.append(error), **options
            )
        assert producer.flush(30) == 0
        assert not any(errors), errors

    def transactional(self, identity: str = "test") -> confluent_kafka.Producer:
        producer = confluent_kafka.Producer(
            {"bootstrap.servers": self.bootstrap, "transactional.id": f"{self.name}.{identity}"}
        )
        producer.init_transactions(30)
        return producer

    def transaction(self, *values: bytes, commit: bool = True, partition: int = 0) -> None:
        producer = self.transactional()
        producer.begin_transaction()
        for value in values:
            producer.produce(self.name, value, partition=partition)
        producer.flush(30)
        if commit:
            producer.commit_transaction(30)
        else:
            producer.abort_transaction(30)

    @property
    def options(self) -> dict[str, Any]:
        return {"bootstrap_servers": self.bootstrap}

    @property
    def ends(self) -> dict[int, int]:
        state = describe_topics(self.options, [self.name])[self.name]
        assert state is not None
        return state.end


@pytest.fixture
def make_topic(create_topic: Callable[..., str], kafka_server: str) -> Callable[..., Topic]:
    return lambda *arguments, **configs: Topic(create_topic(*arguments, **configs), kafka_server)


@pytest.fixture
def topic(make_topic: Callable[..., Topic]) -> Topic:
    return make_topic()


@pytest.fixture(params=CLIENTS, ids=str)
def kafka_settings(request: pytest.FixtureRequest, kafka_server: str) -> Settings:
    """Settings under which the one or the other client reads."""
    return Settings(kafka_bootstrap=kafka_server, kafka_client=request.param)


@pytest.fixture
def open_reader(kafka_settings: Settings) -> Iterator[Callable[[str], Reader]]:
    readers = []

    def open_(topic: str) -> Reader:
        readers.append(make_reader(kafka_settings, topic))
        return readers[-1]

    yield open_
    for reader in readers:
        reader.close()


@pytest.fixture
def reader(open_reader: Callable[[str], Reader], topic: Topic) -> Reader:
    return open_reader(topic.name)


@pytest.fixture
def admin(kafka_server: str) -> Iterator[KafkaAdminClient]:
    client = KafkaAdminClient(bootstrap_servers=kafka_server)
    yield client
    client.close()


def read(reader: Reader, starts: dict[int, int], ends: dict[int, int], **caps: Any) -> Chunk:
    return reader.read(starts, ends, **{"max_records": 100_000, "max_bytes": 64 << 20, "wait": 0.0, **caps})


def values(chunk: Chunk) -> list[bytes | None]:
    return list(chunk.records.values)


def read_all(reader: Reader, starts: dict[int, int], ends: dict[int, int], **caps: Any) -> list[Chunk]:
    """Chunk by chunk, until the ends."""
    chunks = []
    while any(starts[p] < end for p, end in ends.items()):
        chunks.append(read(reader, starts, ends, **caps))
        assert chunks[-1].positions != starts
        starts = chunks[-1].positions
    return chunks
