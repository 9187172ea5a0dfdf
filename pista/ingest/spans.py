"""What to replay, as people say it: offsets of a partition, or all that was produced in a span of time."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import Connection
from psycopg.rows import TupleRow

from pista.contracts.dataset import Dataset
from pista.ingest.again import ReplayError, refuse_ranges, replay
from pista.ingest.audit import record_audit
from pista.ingest.bookkeeping import BatchReport
from pista.ingest.ledger import read_ledgers
from pista.ingest.targets import offsets_at
from pista.kafka.client import client_options
from pista.kafka.topics import describe_topics
from pista.settings import Settings

Ranges = dict[int, tuple[int, int]]  # partition -> [first, end)


@dataclass(frozen=True, slots=True)
class Span:
    """Offsets ``[first, end)`` of one partition, or the records of ``[since, until)``; what is None is open."""

    partition: int | None = None  # None: all, or the only one
    first: int | None = None
    end: int | None = None
    since: datetime | None = None
    until: datetime | None = None


def find_ranges(connection: Connection[TupleRow], dataset: Dataset, settings: Settings, span: Span) -> Ranges:
    """Offsets of a span: those it names, or of a time those that were drained and still are on the topic.

    Raises:
        ReplayError: the span says nothing, or too much, or holds nothing.
        KafkaError: the broker does not answer.
    """
    by_offset = span.first is not None or span.end is not None
    by_time = span.since is not None or span.until is not None
    if by_offset == by_time:
        raise ReplayError("say either from which offset to which, or since when until when")
    ledger = read_ledgers(connection, [dataset.name])[dataset.name]
    chosen = sorted(ledger) if span.partition is None else [span.partition]
    if unknown := [partition for partition in chosen if partition not in ledger]:
        raise ReplayError(f"partition {unknown[0]} of dataset {dataset.name} was never drained")
    if by_offset:
        if len(chosen) != 1:
            raise ReplayError(f"offsets are of one partition; say of which: {', '.join(map(str, chosen)) or 'none'}")
        entry = ledger[chosen[0]]
        first = entry.epoch_offset if span.first is None else span.first
        return {entry.partition: (first, entry.reached if span.end is None else span.end)}
    topic = describe_topics(client_options(settings), [str(dataset.topic)])[str(dataset.topic)]
    if topic is None or topic.error is not None:
        raise ReplayError(f"topic {dataset.topic} {'does not exist' if topic is None else f'has {topic.error}'}")
    firsts = topic.beginning if span.since is None else offsets_at(settings, topic, span.since)
    ends = topic.end if span.until is None else offsets_at(settings, topic, span.until)
    ranges = {
        p: (max(firsts[p], topic.beginning[p], ledger[p].epoch_offset), min(ends[p], ledger[p].reached))
        for p in chosen
        if p in topic.beginning
    }
    ranges = {partition: (first, end) for partition, (first, end) in ranges.items() if first < end}
    if not ranges:
        raise ReplayError(f"nothing of that time was drained of topic {dataset.topic} and still is on it")
    return ranges


def replay_ranges(
    connection: Connection[TupleRow],
    dataset: Dataset,
    settings: Settings,
    ranges: Ranges,
    *,
    run_id: str,
    reason: str | None,
) -> Iterator[BatchReport]:
    """Replay, written down in the audit before the first of its transactions.

    Yields:
        A report a committed batch.

    Raises:
        ReplayError: a range is not within what was drained.
        IngestCondition: the topic is no longer what was drained.
    """
    refuse_ranges(connection, dataset, settings, ranges)
    detail: dict[str, Any] = {"run_id": run_id, "partitions": {str(p): list(range_) for p, range_ in ranges.items()}}
    record_audit(connection, "dataset replay", dataset.name, detail, reason)
    yield from replay(connection, dataset, settings, ranges, run_id=run_id)


def totals(ranges: Ranges) -> int:
    """Offsets of all ranges together."""
    return sum(end - first for first, end in ranges.values())
