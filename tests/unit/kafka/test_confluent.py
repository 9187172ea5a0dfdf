"""What the consumer makes of the messages of a poll; the broker's side is in the integration tests."""

from collections.abc import Callable

import pytest
from confluent_kafka import KafkaError, Message

from pista.kafka.confluent import ConfluentConsumer
from pista.kafka.errors import AccessError, ClientError, OffsetOutOfRangeError


def record(offset: int) -> Message:
    return Message(topic="t", partition=0, offset=offset, value=b"v", timestamp=(1, 5))


def event(code: int, offset: int = 0) -> Message:
    return Message(topic="t", partition=0, offset=offset, error=KafkaError(code))


@pytest.fixture
def consumer() -> Callable[..., ConfluentConsumer]:
    def make(*polls: list[Message]) -> ConfluentConsumer:
        consumer = ConfluentConsumer({"bootstrap.servers": "127.0.0.1:1"}, "t")
        consumer.assign({0: 0})
        answers = list(polls)

        class Answers:
            def consume(self, most: int, seconds: float) -> list[Message]:
                return answers.pop(0) if answers else []

        consumer._consumer.close()
        consumer._consumer = Answers()  # type: ignore[assignment]
        return consumer

    return make


def test_the_end_of_the_log_lies_behind_markers(consumer: Callable[..., ConfluentConsumer]) -> None:
    end = event(KafkaError._PARTITION_EOF, 12)
    for polls in ([[record(3), record(4), end]], [[record(3), record(4)], [end]]):
        one = consumer(*polls)
        offsets = [offset for _ in polls for offset in one.poll(10, 0).offsets.tolist()]
        assert (offsets, one.positions()) == ([3, 4], {0: 12})


def test_records_after_the_end_of_the_log_are_further(consumer: Callable[..., ConfluentConsumer]) -> None:
    one = consumer([record(3), event(KafkaError._PARTITION_EOF, 12), record(12)])
    assert one.poll(10, 0).offsets.tolist() == [3, 12]
    assert one.positions() == {0: 13}


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (KafkaError._AUTO_OFFSET_RESET, OffsetOutOfRangeError),
        (KafkaError._LOG_TRUNCATION, OffsetOutOfRangeError),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, AccessError),
        (KafkaError._BAD_MSG, ClientError),
    ],
)
def test_nothing_behind_an_error_is_delivered(
    code: int, error: type[Exception], consumer: Callable[..., ConfluentConsumer]
) -> None:
    one = consumer([record(3), event(code), record(9)], [record(10)])
    assert one.poll(10, 0).offsets.tolist() == [3]
    assert one.positions() == {0: 4}
    with pytest.raises(error, match="topic t, partition 0"):
        one.poll(10, 0)


def test_a_group_that_is_not_used_may_be_forbidden(consumer: Callable[..., ConfluentConsumer]) -> None:
    one = consumer([event(KafkaError.GROUP_AUTHORIZATION_FAILED), record(3)])
    assert one.poll(10, 0).offsets.tolist() == [3]
