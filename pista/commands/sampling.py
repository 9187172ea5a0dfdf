"""Samples of topics: the newest records, and what their messages say once they are plain."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

import click
from kafka.errors import KafkaError

from pista.contracts.dataset import Dataset, Format, Framing, Kind
from pista.contracts.inference import InferenceError
from pista.ingest.conditions import PiiSecretMissing
from pista.kafka.client import KafkaNotConfiguredError, client_options
from pista.kafka.formats.errors import (
    RegistryNotConfiguredError,
    RegistryRefusedError,
    RegistryUnavailableError,
)
from pista.kafka.formats.framing import detect_framing
from pista.kafka.formats.make import make_format
from pista.kafka.formats.schemas import SchemaType
from pista.kafka.reader import make_reader
from pista.kafka.records import Records
from pista.kafka.topics import describe_topics
from pista.settings import Settings

SAMPLE_MAX_BYTES = 64 << 20
LANGUAGES = {SchemaType.AVRO: Format.AVRO, SchemaType.PROTOBUF: Format.PROTOBUF, SchemaType.JSON: Format.JSON}


class SampleError(Exception):
    """There is nothing to sample, or it cannot be read."""


class TopicMissingError(SampleError):
    """There is no such topic."""


class TopicEmptyError(SampleError):
    """The topic has no records."""


@dataclass(frozen=True, slots=True)
class Plain:
    """Sampled messages made plain, and how they stood in the topic."""

    messages: Sequence[tuple[bytes | None, bytes | None]]  # Kafka key and value
    message_format: Format
    framing: Framing
    notes: tuple[str, ...]  # what was found out, for the head of a contract


def newest_records(settings: Settings, topic: str, count: int) -> Records:
    """The newest records of the topic, an even share of each partition; the reader gives up by itself.

    Raises:
        TopicMissingError: there is no such topic.
        TopicEmptyError: it has no records.
        SampleError: it cannot be read.
    """
    state = describe_topics(client_options(settings), [topic])[topic]
    if state is None:
        raise TopicMissingError(f"there is no topic {topic} at {settings.kafka_bootstrap}")
    if state.error is not None:
        raise SampleError(f"the topic {topic} cannot be read: {state.error}")
    share = -(-count // len(state.end))
    starts = {p: max(state.beginning[p], end - share) for p, end in state.end.items()}
    if starts == state.end:
        raise TopicEmptyError(f"the topic {topic} is empty")
    with closing(make_reader(settings, topic)) as reader:
        chunk = reader.read(starts, state.end, max_records=count, max_bytes=SAMPLE_MAX_BYTES, wait=0)
    if not len(chunk.records):  # compacted away, or transactions that were aborted
        raise TopicEmptyError(f"the topic {topic} has no record among its newest {count} offsets")
    return chunk.records


def make_plain(
    settings: Settings, topic: str, records: Records, message_format: Format | None, framing: Framing | None
) -> Plain:
    """The messages as JSON; what is not said of their format is found out.

    Raises:
        SampleError: format and framing do not go together, or no message can be read.
    """
    notes = []
    if framing is None:
        framing = detect_framing(records.values, records.keys, records.headers)
        if framing is not Framing.NONE:
            notes.append(f"The framing {framing} was found in the first bytes of the messages, or in their headers.")
    if framing is Framing.NONE:
        if message_format not in (None, Format.JSON):
            raise SampleError(
                f"the messages of {topic} have no framing, and {message_format} without one says nothing of its "
                f"schema; with --framing say which of {Framing.CONFLUENT} and {Framing.GLUE} it is"
            )
        return Plain(list(zip(records.keys, records.values, strict=True)), Format.JSON, framing, tuple(notes))
    nothing = Dataset(topic, "1.0.0", Kind.APPEND, (), (), topic=topic, framing=framing)
    reading = make_format(nothing, settings)
    if reading is None:
        raise TypeError(f"no format reads the framing {framing}")
    if message_format is None:
        language = reading.language(records)
        message_format = LANGUAGES[language] if language is not None else Format.JSON
        if language is not None:
            notes.append(f"That the values are {message_format} says the schema registry.")
    plain = reading.plain(records)
    if plain.errors:
        first = plain.errors[min(plain.errors)].detail
        if len(plain.errors) == len(records):
            raise SampleError(f"none of {len(records)} sampled records of {topic} can be read; the first: {first}")
        notes.append(f"{len(plain.errors)} sampled records could not be read; the first: {' '.join(first.split())}")
    pairs = zip(plain.keys, plain.values, strict=True)
    messages = [pair for index, pair in enumerate(pairs) if index not in plain.errors]
    return Plain(messages, message_format, framing, tuple(notes))


@contextmanager
def spoken_errors(settings: Settings) -> Iterator[None]:
    """What can go wrong with topics and registries, as the last sentence of a command."""
    try:
        yield
    except (InferenceError, SampleError, KafkaNotConfiguredError, PiiSecretMissing) as error:
        raise click.ClickException(str(error)) from None
    except (RegistryNotConfiguredError, RegistryUnavailableError, RegistryRefusedError) as error:
        raise click.ClickException(str(error)) from None
    except KafkaError as error:
        raise click.ClickException(f"Kafka at {settings.kafka_bootstrap}: {error}") from None
