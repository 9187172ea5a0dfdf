"""The consumer of confluent-kafka: a fifth of the CPU of kafka-python, where it is installed."""

import logging
from collections.abc import Mapping
from operator import itemgetter
from typing import Any, cast

import confluent_kafka
import numpy as np
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from pista.kafka.collector import collector_paused
from pista.kafka.errors import AccessError, ClientError, OffsetOutOfRangeError
from pista.kafka.reader import Reader
from pista.kafka.records import Headers, Records, plausible

log = logging.getLogger(__name__)

OUT_OF_RANGE = {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._LOG_TRUNCATION}
NO_ACCESS = {
    KafkaError._AUTHENTICATION,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
}
BROKEN = {KafkaError._SSL, KafkaError._TRANSPORT}
NO_TOKEN = "Failed to acquire SASL OAUTHBEARER token"  # noqa: S105 - not a refusal: the next try may get one
# the client wants to know a group's coordinator, although no group is used
NO_MATTER = {KafkaError.GROUP_AUTHORIZATION_FAILED}

OPTIONS: dict[str, Any] = {
    "group.id": "pista",  # the client does not do without; nothing is committed to it
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
    "enable.partition.eof": True,  # says how far the log reaches behind the last record
    "check.crcs": True,
    # of compressed batches, which take ten times as much in memory; larger fetches were no faster
    "fetch.message.max.bytes": 1 << 20,
    "fetch.max.bytes": 8 << 20,
    "queued.max.messages.kbytes": 32 << 10,
    "fetch.queue.backoff.ms": 20,  # the default of 1 s would let a small queue run dry
    "fetch.error.backoff.ms": 100,
    "reconnect.backoff.max.ms": 1000,
    "socket.timeout.ms": 10_000,
    "socket.keepalive.enable": True,
    "log_level": 2,  # of what it would log, errors come to error_cb too
}


class ConfluentConsumer:
    """Reads one topic with ``confluent_kafka.Consumer``."""

    def __init__(self, options: Mapping[str, Any], topic: str) -> None:
        self._topic = topic
        self._positions: dict[int, int] = {}
        self._failure: ClientError | None = None
        self._trouble = ""
        if "oauth_cb" in options:
            options["oauth_cb"]("")  # where there is no token, its error says why
        self._consumer = Consumer({**OPTIONS, **options, "error_cb": self._note}, logger=log)

    def assign(self, starts: Mapping[int, int]) -> None:
        """Read these partitions from these offsets; what was fetched of others is dropped."""
        self._consumer.assign([TopicPartition(self._topic, partition, offset) for partition, offset in starts.items()])
        self._positions = dict(starts)

    def poll(self, most: int, seconds: float) -> Records:
        """Up to so many records; see ``Consumer``."""
        if self._failure is not None:  # the consumer goes on behind it
            raise self._failure
        # to ask for many and wait would wait until all of them are there
        with collector_paused():
            messages = self._consumer.consume(most, 0)
            if messages:
                records = self._columns(messages)
                del messages  # before the collector is back, or it would look at each
                return records
        return self._columns(self._consumer.consume(1, seconds))

    def _columns(self, messages: list[Message]) -> Records:
        if any(map(Message.error, messages)):
            messages = self._good(messages)
        if self._failure is not None and not messages:
            raise self._failure
        count = len(messages)
        partitions = np.fromiter(map(Message.partition, messages), np.int32, count)
        offsets = np.fromiter(map(Message.offset, messages), np.int64, count)
        for partition in np.unique(partitions).tolist():
            # the end of the log, which may lie behind markers, may have come along with the last record before it
            end = int(offsets[partitions == partition][-1]) + 1
            self._positions[partition] = max(self._positions[partition], end)
        headers = list(map(Message.headers, messages))
        return Records(
            partitions,
            offsets,
            plausible(np.fromiter(map(itemgetter(1), map(Message.timestamp, messages)), np.int64, count)),
            list(map(Message.key, messages)),
            list(map(Message.value, messages)),
            list(map(_headers, headers)) if any(headers) else None,
        )

    def positions(self) -> dict[int, int]:
        """Partition to the next offset."""
        return dict(self._positions)

    def close(self) -> None:
        """Drop the connections."""
        self._consumer.close()

    def _good(self, messages: list[Message]) -> list[Message]:
        """The records up to the first error, which the next poll raises; what follows it may be after a gap."""
        found = []
        for message in messages:
            error = message.error()
            if error is None:
                found.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                partition, end = cast("int", message.partition()), cast("int", message.offset())
                self._positions[partition] = max(self._positions[partition], end)
            elif error.code() not in NO_MATTER:
                self._failure = self._translated(error, message)
                break
        return found

    def _note(self, error: KafkaError) -> None:
        """Troubles of connections: the client itself tries again for ever, also where it is not let in."""
        failure = self._translated(error)
        if isinstance(failure, AccessError):
            self._failure = failure
            return
        trouble = error.str().partition(" (after ")[0]  # what follows differs each time
        if trouble != self._trouble:  # it tries again many times a second
            self._trouble = trouble
            log.warning("%s", failure)

    def _translated(self, error: KafkaError, message: Message | None = None) -> ClientError:
        place = f"topic {self._topic}"
        if message is not None and message.partition() is not None:
            place += f", partition {message.partition()}"
        text = f"{place}: {error.str()} ({error.name()})"
        if error.code() in OUT_OF_RANGE:
            return OffsetOutOfRangeError(text)
        if error.code() in NO_ACCESS and NO_TOKEN not in text:
            return AccessError(text)
        if error.code() in BROKEN and "certificate" in text:  # one of the two turned the other's down
            return AccessError(text)
        return ClientError(text)


def _headers(headers: Any) -> Headers:
    return tuple(headers or ())


def confluent_reader(options: Mapping[str, Any], topic: str) -> Reader:
    """A reader that uses confluent-kafka; ``options`` are those of ``confluent_options``."""
    name = f"confluent-kafka {confluent_kafka.__version__}"
    return Reader(name, lambda: ConfluentConsumer(options, topic), topic)
