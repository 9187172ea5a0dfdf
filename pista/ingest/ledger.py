"""The ledger: up to where each partition of a dataset has been loaded.

It is written in the transaction that loads the rows, so the two can never disagree.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from psycopg import Connection
from psycopg.rows import TupleRow

from pista.contracts.dataset import Dataset
from pista.ingest.conditions import (
    IngestCondition,
    LogTruncated,
    OffsetsExpired,
    PartitionRemoved,
    TopicMissing,
    TopicRecreated,
    TopicUnreadable,
)
from pista.ingest.share import WHOLE, Share
from pista.kafka.topics import TopicState

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """A partition's line in the ledger."""

    partition: int
    topic_id: str
    epoch: int
    next_offset: int
    order_time: datetime  # greatest record timestamp before next_offset
    epoch_offset: int = 0  # first offset of this epoch: what lies before was loaded under another
    reread_until: int | None = None  # after a reset backwards: offsets before it were loaded once already

    @property
    def reached(self) -> int:
        """One past the last offset that was ever loaded under this epoch."""
        return max(self.next_offset, self.reread_until or 0)

    def moved(self, next_offset: int, order_time: datetime) -> "Entry":
        """The line once offsets up to that one are loaded."""
        ahead = self.reread_until if self.reached > next_offset else None
        return replace(self, next_offset=next_offset, order_time=order_time, reread_until=ahead)


Ledger = dict[int, Entry]


class LostRaceError(Exception):
    """Another drain moved the ledger between planning and committing; nothing was written."""


def read_ledgers(connection: Connection[TupleRow], datasets: Iterable[str]) -> dict[str, Ledger]:
    """The ledgers of several datasets; an empty one for a dataset that was never loaded."""
    names = list(datasets)
    ledgers: dict[str, Ledger] = {name: {} for name in names}
    for dataset, *line in connection.execute(
        """
        SELECT dataset, partition, topic_id, epoch, next_offset, order_time, epoch_offset, reread_until
        FROM ingest.ledger WHERE dataset = ANY(%s) ORDER BY dataset, partition
        """,
        (names,),
    ):
        entry = Entry(*line)
        ledgers[dataset][entry.partition] = entry
    return ledgers


def unopened(topic: TopicState, ledger: Mapping[int, Entry], share: Share = WHOLE) -> list[int]:
    """Partitions without a line in the ledger that a drain of that share has to open.

    Whoever is first opens the whole topic, lest the other shares take their partitions for later ones.
    """
    return sorted(p for p in set(topic.beginning) - set(ledger) if share.owns(p) or not ledger)


def open_partitions(
    connection: Connection[TupleRow],
    dataset: Dataset,
    topic: TopicState,
    ledger: Mapping[int, Entry],
    share: Share = WHOLE,
    *,
    first: Mapping[int, int],
) -> Ledger:
    """The ledger with a line for each partition of the share.

    A dataset without any line begins at the ``first`` offsets; a partition that came later at its beginning.
    """
    missing = unopened(topic, ledger, share)
    if not missing:
        return dict(ledger)
    if ledger:
        log.warning("PARTITION_ADDED: dataset %s: topic %s grew by partitions %s", dataset.name, topic.name, missing)
    epoch = max((entry.epoch for entry in ledger.values()), default=0)
    starts = topic.beginning if ledger else first
    # at once: another share that saw a part of it would take the rest for new partitions
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO ingest.ledger (dataset, partition, topic, topic_id, epoch, next_offset)
            VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING
            """,
            [(dataset.name, p, topic.name, topic.topic_id, epoch, starts[p]) for p in missing],
        )
    return read_ledgers(connection, [dataset.name])[dataset.name]


def find_condition(
    dataset: Dataset, topic: TopicState | None, ledger: Mapping[int, Entry], share: Share = WHOLE
) -> IngestCondition | None:
    """What keeps the dataset from going on where the ledger stands, if anything.

    Args:
        dataset: of the topic.
        topic: as the broker describes it now.
        ledger: of the whole dataset, for what befell the topic concerns every share.
        share: the partitions whose own trouble counts.
    """
    if not ledger:
        return None
    if topic is None:
        return TopicMissing(
            dataset.name,
            f"topic {dataset.topic} does not exist any more, though it was read.",
        )
    if topic.error is not None:
        return TopicUnreadable(dataset.name, f"topic {topic.name} cannot be read: {topic.error}.")
    known = next(iter(ledger.values())).topic_id
    if known != topic.topic_id:
        return TopicRecreated(
            dataset.name,
            f"topic {topic.name} was deleted and made anew (its id was {known} and is {topic.topic_id}).",
        )
    for partition, entry in ledger.items():
        if not share.owns(partition):
            continue
        if partition not in topic.beginning:
            return PartitionRemoved(dataset.name, f"partition {partition} of topic {topic.name} is gone.")
        begin, end = topic.beginning[partition], topic.end[partition]
        if entry.next_offset < begin:
            return OffsetsExpired(
                dataset.name,
                f"partition {partition} of topic {topic.name} lost the {begin - entry.next_offset} offsets "
                f"{entry.next_offset} to {begin - 1} to retention before they were read.",
            )
        if entry.next_offset > end:
            return LogTruncated(
                dataset.name,
                f"partition {partition} of topic {topic.name} ends at {end}, but was read up to {entry.next_offset}.",
            )
    for partition in unopened(topic, ledger, share):
        if topic.beginning[partition]:
            return OffsetsExpired(
                dataset.name,
                f"partition {partition} of topic {topic.name} is new, and lost the {topic.beginning[partition]} "
                "offsets from 0 on to retention before they were read.",
            )
    return None


def lock(connection: Connection[TupleRow], dataset: str, planned: Mapping[int, Entry]) -> None:
    """Lock the planned lines until the transaction ends.

    Raises:
        LostRaceError: a line is no longer as planned.
    """
    rows = connection.execute(
        """
        SELECT partition, topic_id, epoch, next_offset, reread_until FROM ingest.ledger
        WHERE dataset = %s AND partition = ANY(%s) ORDER BY partition FOR UPDATE
        """,
        (dataset, sorted(planned)),
    ).fetchall()
    found = {partition: tuple(line) for partition, *line in rows}
    for partition, entry in planned.items():
        if found.get(partition) != (entry.topic_id, entry.epoch, entry.next_offset, entry.reread_until):
            raise LostRaceError(f"dataset {dataset}: partition {partition} was moved by somebody else")


def advance(connection: Connection[TupleRow], dataset: str, moves: Mapping[int, tuple[int, datetime]]) -> None:
    """Write the next offset and order time of each partition, inside the loading transaction."""
    with connection.cursor() as cursor:
        cursor.executemany(
            """
            UPDATE ingest.ledger SET next_offset = %s, order_time = %s, updated_at = now(),
                reread_until = CASE WHEN reread_until > %s THEN reread_until END
            WHERE dataset = %s AND partition = %s
            """,
            [(offset, order_time, offset, dataset, partition) for partition, (offset, order_time) in moves.items()],
        )
