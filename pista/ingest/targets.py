"""Places in a topic by name: its beginning, its end, a time, or an offset a partition."""

from collections.abc import Mapping
from datetime import datetime

from pista.contracts.dataset import Dataset
from pista.kafka.client import client_options
from pista.kafka.topics import TopicAdmin, TopicState
from pista.settings import Settings

EARLIEST = "earliest"
LATEST = "latest"
Target = str | datetime | Mapping[int, int]  # earliest, latest, a time, or partition -> offset

TIMEOUT_SECONDS = 10.0


class TargetError(ValueError):
    """The text names no place in a topic."""


def parse_target(text: str) -> Target:
    """``earliest``, ``latest``, a time with its zone (2013-01-31T06:00:00Z), or ``partition:offset,...``.

    Raises:
        TargetError: it is none of these.
    """
    if text in (EARLIEST, LATEST):
        return text
    pairs = [part.split(":") for part in text.split(",")]
    if all(len(pair) == 2 and all(number.strip().isdecimal() for number in pair) for pair in pairs):
        return {int(partition): int(offset) for partition, offset in pairs}
    return parse_time(text)


def parse_time(text: str) -> datetime:
    """A time of ISO 8601 with its zone.

    Raises:
        TargetError: it is none, or has no zone.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise TargetError(
            f"{text!r} is no place in a topic; valid: earliest, latest, a time such as 2013-01-31T06:00:00Z, "
            "or partition:offset, as 0:1200,1:980"
        ) from None
    if moment.tzinfo is None:
        raise TargetError(f"{text!r} has no zone; write it as {text}Z for UTC, or with an offset such as +02:00")
    return moment


def resolve(target: Target, topic: TopicState, settings: Settings) -> dict[int, int]:
    """The offset of each partition at that place; after the last record, its end.

    Raises:
        KafkaError: the broker does not answer.
    """
    if target == EARLIEST:
        return dict(topic.beginning)
    if target == LATEST:
        return dict(topic.end)
    if isinstance(target, datetime):
        return offsets_at(settings, topic, target)
    assert isinstance(target, Mapping)
    return dict(target)


def first_offsets(dataset: Dataset, topic: TopicState, settings: Settings) -> dict[int, int]:
    """Where the first drain of a dataset begins, by the ``start`` of its contract.

    Raises:
        KafkaError: the broker does not answer.
    """
    return resolve(dataset.start, topic, settings)


def offsets_at(settings: Settings, topic: TopicState, moment: datetime) -> dict[int, int]:
    """First offset of each partition whose record is of that time or later; the end where none is.

    Raises:
        KafkaError: the broker does not answer.
        TopicUnreadableError: the topic went away meanwhile.
    """
    admin = TopicAdmin(client_options(settings))
    try:
        return admin.offsets_at(topic.name, round(moment.timestamp() * 1000))
    finally:
        admin.close()
