"""Loading again what lies behind: quarantined records after a contract fix, and ranges of the topic.

Both go through the same transaction as a drain. Records keep their positions, so nothing is doubled
and nothing goes back in time.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from psycopg import Connection
from psycopg.rows import TupleRow

from pista.contracts.dataset import Dataset
from pista.ingest.batch import epochs, make_batch, monotonic_ms, order_times
from pista.ingest.bookkeeping import BatchReport
from pista.ingest.decode import Decoder
from pista.ingest.files import FILE_EPOCH, plain
from pista.ingest.history import checkpoint
from pista.ingest.ledger import Entry, Ledger, find_condition, read_ledgers
from pista.ingest.load import commit_batch
from pista.ingest.quarantine import open_records
from pista.kafka.client import client_options
from pista.kafka.reader import make_reader
from pista.kafka.records import Records
from pista.kafka.topics import TopicState, describe_topics
from pista.settings import Settings

RETRY_AT_ONCE = 1_000  # quarantined records in one transaction, which may be large ones


class ReplayError(Exception):
    """A range that cannot be loaded again, as a sentence with what is valid."""


def retry(connection: Connection[TupleRow], dataset: Dataset, settings: Settings, *, run_id: str) -> list[BatchReport]:
    """Try every open quarantined record of a dataset once more; what is still bad stays, with its new reason."""
    reports: list[BatchReport] = []
    decoders = {False: Decoder(dataset, settings), True: Decoder(plain(dataset), settings)}
    after = 0
    while True:
        found = open_records(connection, dataset.name, RETRY_AT_ONCE, after=after)
        if not found:
            return reports
        after = found[-1].id
        for of_file, decoder in decoders.items():
            lines = [line for line in found if (line.epoch == FILE_EPOCH) == of_file]
            if not lines:
                continue
            batch = make_batch(
                decoder,
                Records.of(line.record for line in lines),
                epochs=np.array([line.epoch for line in lines], np.int32),
                order_times=np.array([round(line.order_time.timestamp() * 1000) for line in lines], np.int64),
                planned={},
                positions={},
                read_ms=0.0,
                clock_ms=monotonic_ms(),
            )
            reports.append(commit_batch(connection, batch, run_id=run_id, kind="retry"))


def replay(
    connection: Connection[TupleRow],
    dataset: Dataset,
    settings: Settings,
    ranges: Mapping[int, tuple[int, int]],
    *,
    run_id: str,
) -> Iterator[BatchReport]:
    """Load offsets ``[from, to)`` of each partition once more; only offsets that a drain has passed.

    What is in ``raw`` is not added again, and no row goes back in time.

    Yields:
        A report a committed batch.

    Raises:
        ReplayError: a range is not within what was drained, or not on the topic any more.
        IngestCondition: the topic is no longer what was drained.
    """
    entries, topic = refuse_ranges(connection, dataset, settings, ranges)
    starts, before = {}, {}
    for partition, (first, _) in ranges.items():
        start, before[partition] = checkpoint(connection, dataset.name, entries[partition].epoch, partition, first)
        starts[partition] = max(start, topic.beginning[partition])
    reader, decoder = make_reader(settings, str(dataset.topic)), Decoder(dataset, settings)
    ends = {partition: end for partition, (_, end) in ranges.items()}
    try:
        while any(starts[p] < ends[p] for p in ranges):
            began = monotonic_ms()
            chunk = reader.read(
                starts, ends, max_records=settings.batch_max_records, max_bytes=settings.batch_max_bytes, wait=0.0
            )
            _check_topic(dataset, settings, entries)
            times = order_times(chunk.records, before)
            wanted = np.zeros(len(chunk.records), bool)
            for partition, (first, end) in ranges.items():
                here = chunk.records.partitions == partition
                wanted |= here & (chunk.records.offsets >= first) & (chunk.records.offsets < end)
                before[partition] = max(before[partition], int(times[here].max(initial=0)))
            index = np.flatnonzero(wanted)
            starts = chunk.positions
            if not len(index):
                continue
            batch = make_batch(
                decoder,
                records := chunk.records.take(index),
                epochs=epochs(records, entries),
                order_times=times[index],
                planned={},
                positions={},
                read_ms=monotonic_ms() - began,
                clock_ms=monotonic_ms(),
            )
            yield commit_batch(connection, batch, run_id=run_id, kind="replay")
    finally:
        reader.close()


def refuse_ranges(
    connection: Connection[TupleRow], dataset: Dataset, settings: Settings, ranges: Mapping[int, tuple[int, int]]
) -> tuple[Ledger, TopicState]:
    """Ledger and topic, if both still have all of the ranges.

    Raises:
        ReplayError: a range is not within what was drained, or not on the topic any more.
        IngestCondition: the topic is no longer what was drained.
    """
    entries = read_ledgers(connection, [dataset.name])[dataset.name]
    for partition, (first, end) in ranges.items():
        since = entries[partition].epoch_offset if partition in entries else 0
        drained = entries[partition].reached if partition in entries else 0
        if not since <= first < end <= drained:
            epoch = f", and those before {since} under an earlier epoch" if since else ""
            raise ReplayError(
                f"partition {partition}: cannot replay [{first}, {end}); offsets up to {drained} were drained{epoch}"
            )
    topic = _check_topic(dataset, settings, entries)
    for partition, (first, _) in ranges.items():
        if first < topic.beginning[partition]:
            raise ReplayError(
                f"partition {partition}: offsets before {topic.beginning[partition]} are not on the topic any more"
            )
    return entries, topic


def _check_topic(dataset: Dataset, settings: Settings, entries: Mapping[int, Entry]) -> TopicState:
    """The topic; raises the condition that keeps offsets from meaning the records that they meant."""
    topic = describe_topics(client_options(settings), [str(dataset.topic)])[str(dataset.topic)]
    condition = find_condition(dataset, topic, entries)
    if condition is not None:
        raise condition
    assert topic is not None
    return topic
