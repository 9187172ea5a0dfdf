"""What the broker says of topics: identity, partitions, and the offsets between which records can be read."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import OffsetSpec
from kafka.errors import TopicAlreadyExistsError, for_code
from kafka.protocol.consumer import IsolationLevel
from kafka.protocol.consumer.offsets import OffsetTimestamp

from pista.contracts.dataset import Dataset
from pista.kafka.client import access_errors, servers
from pista.kafka.watchdog import Worker

T = TypeVar("T")

UNKNOWN_TOPIC = 3  # the protocol's UNKNOWN_TOPIC_OR_PARTITION


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic at one moment; offsets are those a read_committed reader can reach."""

    name: str
    topic_id: str  # the broker's UUID: a recreated topic of the same name has another (KIP-516)
    beginning: dict[int, int]  # partition -> first offset still there
    end: dict[int, int]  # partition -> one past the last committed offset
    error: str | None = None  # why it cannot be read; there are no offsets then


class TopicUnreadableError(Exception):
    """The broker knows the topic, and does not let it be read."""


class TopicAdmin:
    """One admin connection, kept as long as it works; every call is bounded by ``timeout`` seconds.

    After any error it is to be closed: a client that raised once may hang for ever.
    """

    def __init__(self, options: Mapping[str, Any], timeout: float = 5.0) -> None:
        """Connect.

        Raises:
            AccessError: the broker does not let us in.
            KafkaError: it does not answer in time.
        """
        self._timeout = timeout
        self._options = options
        # the client's own deadline is a little shorter, for its errors say more
        self._timeout_ms = int(timeout * 900)
        self._worker = Worker(f"Kafka at {','.join(servers(options))}")
        try:
            self._client = self._call("connecting", self._connect)
        except BaseException:
            self._worker.end()
            raise

    def _connect(self) -> KafkaAdminClient:
        return KafkaAdminClient(
            **self._options, request_timeout_ms=self._timeout_ms, bootstrap_timeout_ms=self._timeout_ms
        )

    def _call(self, what: str, function: Callable[[], T]) -> T:
        with access_errors(self._options):
            return self._worker.call(what, self._timeout, function)

    def describe(self, names: Iterable[str]) -> dict[str, TopicState | None]:
        """State of each topic, None for one that does not exist, in one round trip a kind of question.

        Raises:
            AccessError: the broker does not let us in.
            KafkaError: the broker did not answer in time, or refused.
        """
        wanted = sorted(set(names))
        if not wanted:
            return {}
        return self._call(
            f"describing {', '.join(wanted[:3])}{', ...' if wanted[3:] else ''}", lambda: self._describe(wanted)
        )

    def offsets_at(self, topic: str, timestamp_ms: int) -> dict[int, int]:
        """First offset of each partition whose record is of that time or later; its end where none is.

        Args:
            topic: of a topic that exists.
            timestamp_ms: milliseconds since 1970 UTC.

        Raises:
            TopicUnreadableError: the topic does not exist, or cannot be read.
            KafkaError: the broker did not answer in time, or refused.
        """
        return self._call(
            f"looking up offsets of {topic} at {timestamp_ms} ms", lambda: self._offsets_at(topic, timestamp_ms)
        )

    def _offsets_at(self, topic: str, timestamp_ms: int) -> dict[int, int]:
        state = self._describe([topic])[topic]
        if state is None or state.error is not None:
            raise TopicUnreadableError(f"topic {topic} cannot be read: {state.error if state else 'it does not exist'}")
        places = [TopicPartition(topic, partition) for partition in state.end]
        found = self._offsets(places, OffsetTimestamp(timestamp_ms))
        # -1: no record is as late; a later end than that of `state` is not one that was readable by then
        return {
            place.partition: min(offset if offset >= 0 else end, end)
            for place, offset in found.items()
            for end in [state.end[place.partition]]
        }

    def _describe(self, wanted: list[str]) -> dict[str, TopicState | None]:
        found, errors = {}, {}
        for topic in self._client.describe_topics(wanted):
            if topic["error_code"] == UNKNOWN_TOPIC:
                continue
            error = _trouble(topic)
            if error is None:
                found[topic["name"]] = topic
            else:  # one topic's trouble is not another's
                errors[topic["name"]] = TopicState(topic["name"], str(topic["topic_id"]), {}, {}, error)
        places = [
            TopicPartition(name, partition["partition_index"])
            for name, topic in found.items()
            for partition in topic["partitions"]
        ]
        beginning = self._offsets(places, OffsetSpec.EARLIEST)
        end = self._offsets(places, OffsetSpec.LATEST)
        return {
            name: TopicState(
                name,
                str(found[name]["topic_id"]),
                {place.partition: beginning[place] for place in places if place.topic == name},
                {place.partition: end[place] for place in places if place.topic == name},
            )
            if name in found
            else errors.get(name)
            for name in wanted
        }

    def _offsets(self, places: list[TopicPartition], spec: int) -> dict[TopicPartition, int]:
        if not places:
            return {}
        # read_committed: the default would count an open transaction as lag for ever
        answer = self._client.list_partition_offsets(
            dict.fromkeys(places, spec), isolation_level=IsolationLevel.READ_COMMITTED, timeout_ms=self._timeout_ms
        )
        return {place: found.offset for place, found in answer.items()}

    def create(self, dataset: Dataset) -> bool:
        """Create the topic of a managed dataset; False if it was there already.

        Raises:
            AccessError: the broker does not let us in.
            KafkaError: the broker did not answer in time, or refused.
        """
        return self._call(f"creating {dataset.topic}", lambda: self._create(dataset))

    def _create(self, dataset: Dataset) -> bool:
        assert dataset.topic is not None
        topic = {
            "num_partitions": dataset.partitions,
            "configs": {"cleanup.policy": "compact"} if dataset.compacted else {},
        }
        try:
            self._client.create_topics({dataset.topic: topic}, wait_for_metadata=True)
        except TopicAlreadyExistsError:
            return False
        return True

    def close(self) -> None:
        """Close the connection, within seconds whatever the client does."""
        self._worker.end(self._client.close)


def _trouble(topic: Mapping[str, Any]) -> str | None:
    """Why a topic cannot be read, of its description."""
    if topic["error_code"]:
        return str(for_code(topic["error_code"]).__name__)
    for partition in topic["partitions"]:
        if partition["error_code"] or partition["leader_id"] < 0:
            return f"partition {partition['partition_index']} has no leader"
    return None


def describe_topics(
    options: Mapping[str, Any], names: Iterable[str], timeout: float = 5.0
) -> dict[str, TopicState | None]:
    """State of each topic by a connection of its own; None for one that does not exist."""
    admin = TopicAdmin(options, timeout)
    try:
        return admin.describe(names)
    finally:
        admin.close()


def ensure_topics(options: Mapping[str, Any], datasets: Iterable[Dataset]) -> list[str]:
    """Create the topics that contracts say Pista manages; names of those that were made."""
    managed = [dataset for dataset in datasets if dataset.partitions is not None and dataset.topic]
    if not managed:
        return []
    admin = TopicAdmin(options, timeout=30.0)
    try:
        return [str(dataset.topic) for dataset in managed if admin.create(dataset)]
    finally:
        admin.close()
