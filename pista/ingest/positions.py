"""Moving the ledger by hand: what becomes of each partition's line, worked out first, then compared and set.

A break in the history of a topic (another topic of the same name, a log that lost its end, a partition
that is gone) ends an epoch: what comes after it is newer than all before, whatever its offsets.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import Connection
from psycopg.rows import TupleRow

from pista.contracts.dataset import Dataset
from pista.ingest.ledger import Entry, LostRaceError, lock
from pista.kafka.topics import TopicState

NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)


class MoveError(Exception):
    """A move that would lose or double something in silence, as a sentence with what is valid."""


@dataclass(frozen=True, slots=True)
class Move:
    """What becomes of one partition's line."""

    partition: int
    before: Entry | None  # None: it has none yet
    after: Entry | None  # None: it is closed
    lost: int = 0  # offsets given up, never read; with transactions or compaction not all of them are records
    again: int = 0  # offsets read once more

    def __str__(self) -> str:
        if self.after is None:
            return f"partition {self.partition}: closed" + (f" at {self.before.next_offset}" if self.before else "")
        start = f"{self.before.next_offset} -> " if self.before else "opened at "
        text = f"partition {self.partition}: {start}{self.after.next_offset}"
        if self.before is None or self.before.epoch != self.after.epoch:
            text += f", epoch {self.after.epoch}"
        text += f", {self.lost} offsets are given up unread" if self.lost else ""
        return text + (f", {self.again} offsets are read again" if self.again else "")

    def detail(self) -> dict[str, Any]:
        """The move as the audit keeps it."""
        return {
            "from": None if self.before is None else [self.before.epoch, self.before.next_offset],
            "to": None if self.after is None else [self.after.epoch, self.after.next_offset],
            "lost": self.lost,
            "again": self.again,
        }


def truncated(topic: TopicState, ledger: Mapping[int, Entry]) -> set[int]:
    """Partitions whose log ends before what was read."""
    return {p for p, entry in ledger.items() if p in topic.end and entry.next_offset > topic.end[p]}


def skip_losses(topic: TopicState, ledger: Mapping[int, Entry], resume: Mapping[int, int]) -> list[Move]:
    """Go on after what the broker lost: expired offsets, ends that were cut off, partitions that are gone.

    Args:
        topic: the same topic that was read.
        ledger: where the dataset stands.
        resume: for each truncated partition the offset from which its log is another than the one that was read.
    """
    cut = truncated(topic, ledger)
    gone = ledger.keys() - topic.beginning.keys()
    epoch = max((entry.epoch for entry in ledger.values()), default=0) + bool(cut or gone)
    moves = []
    for partition in sorted(ledger.keys() | topic.beginning.keys()):
        entry = ledger.get(partition)
        if partition in gone:
            moves.append(Move(partition, entry, None))
        elif entry is None:
            if begin := topic.beginning[partition]:
                moves.append(Move(partition, None, Entry(partition, topic.topic_id, epoch, begin, NO_TIME), lost=begin))
        else:
            target = resume[partition] if partition in cut else max(entry.next_offset, topic.beginning[partition])
            lost = max(target - entry.reached, 0)
            if entry.epoch != epoch:
                # an epoch begins where the one before has been read to: nothing is read under both
                target = target if partition in cut else max(target, entry.reached)
                after = replace(entry, epoch=epoch, next_offset=target, epoch_offset=target, reread_until=None)
            else:
                after = entry.moved(target, entry.order_time)
            if after != entry:
                moves.append(Move(partition, entry, after, lost=lost))
    return moves


def continue_with(topic: TopicState, ledger: Mapping[int, Entry], targets: Mapping[int, int]) -> list[Move]:
    """Take a topic that was made anew for the continuation of the one that was read: an epoch of its own.

    Raises:
        MoveError: a partition has no target, or one that is not there.
    """
    epoch = max(entry.epoch for entry in ledger.values()) + 1
    missing = sorted(topic.beginning.keys() - targets.keys())
    if missing:
        raise MoveError(f"the topic was made anew: say where to begin in each of its partitions, also in {missing}")
    moves = [Move(partition, ledger[partition], None) for partition in sorted(ledger.keys() - topic.beginning.keys())]
    for partition, target in sorted(targets.items()):
        _refuse_beyond(topic, partition, target)
        after = Entry(partition, topic.topic_id, epoch, target, NO_TIME)
        moves.append(Move(partition, ledger.get(partition), after, lost=target - topic.beginning[partition]))
    return moves


def move_to(
    topic: TopicState, ledger: Mapping[int, Entry], targets: Mapping[int, int], order_times: Mapping[int, datetime]
) -> list[Move]:
    """Move lines within the topic that was read: forward gives offsets up, backward reads them again.

    Args:
        topic: the same topic that was read.
        ledger: where the dataset stands; empty before its first drain.
        targets: the next offset to read, for the partitions to be moved.
        order_times: greatest record timestamp before each target that lies behind.

    Raises:
        MoveError: a target is not there, or of an epoch before.
    """
    cut = truncated(topic, ledger)
    epoch = max((entry.epoch for entry in ledger.values()), default=0) + bool(cut)
    moves = []
    for partition in sorted(targets.keys() | (ledger.keys() if cut else ())):
        entry, target = ledger.get(partition), targets.get(partition)
        if target is not None:
            _refuse_beyond(topic, partition, target)
        if entry is None:
            assert target is not None
            after = Entry(partition, topic.topic_id, epoch, target, NO_TIME)
            moves.append(Move(partition, None, after, lost=target - topic.beginning[partition]))
            continue
        if cut:
            if partition not in cut and target is not None:
                raise MoveError(f"partition {partition} is not the one whose log was cut off; move only {sorted(cut)}")
            if partition in cut and target is None:
                raise MoveError(f"the log of partition {partition} was cut off too: say where to go on there")
            goes_on = entry.reached if target is None else target
            after = replace(entry, epoch=epoch, next_offset=goes_on, epoch_offset=goes_on, reread_until=None)
            moves.append(Move(partition, entry, after, again=max(entry.reached - goes_on, 0)))
            continue
        assert target is not None
        if target < entry.epoch_offset:
            raise MoveError(
                f"partition {partition}: offsets before {entry.epoch_offset} were loaded under an earlier epoch; "
                f"read again under epoch {entry.epoch} they would be there twice"
            )
        ahead = entry.reached if target < entry.reached else None
        time = order_times[partition] if target < entry.next_offset else entry.order_time
        after = replace(entry, next_offset=target, order_time=time, reread_until=ahead)
        if after.next_offset != entry.next_offset:
            lost, again = max(target - entry.reached, 0), max(entry.reached - target, 0)
            moves.append(Move(partition, entry, after, lost=lost, again=again))
    return moves


def apply_moves(connection: Connection[TupleRow], dataset: Dataset, moves: Iterable[Move]) -> None:
    """Write the moves inside the caller's transaction, if every line still is as it was.

    Raises:
        LostRaceError: a drain was first; nothing was written.
        MoveError: the dataset has no tables yet.
    """
    chosen = list(moves)
    lock(connection, dataset.name, {move.partition: move.before for move in chosen if move.before is not None})
    for move in chosen:
        if move.after is None:
            connection.execute(
                "DELETE FROM ingest.ledger WHERE dataset = %s AND partition = %s", (dataset.name, move.partition)
            )
        elif move.before is None:
            try:
                connection.execute(
                    """
                    INSERT INTO ingest.ledger (dataset, partition, topic, topic_id, epoch, next_offset, epoch_offset)
                    VALUES (%s, %s, %s, %s, %s, %s, %s)
                    """,
                    (
                        dataset.name,
                        move.partition,
                        dataset.topic,
                        move.after.topic_id,
                        move.after.epoch,
                        move.after.next_offset,
                        move.after.epoch_offset,
                    ),
                )
            except psycopg.errors.UniqueViolation:
                raise LostRaceError(f"dataset {dataset.name}: a drain opened partition {move.partition}") from None
            except psycopg.errors.ForeignKeyViolation:
                raise MoveError(f"dataset {dataset.name} is not applied yet: run `pista apply` first") from None
        else:
            connection.execute(
                """
                UPDATE ingest.ledger SET topic = %s, topic_id = %s, epoch = %s, next_offset = %s, order_time = %s,
                    epoch_offset = %s, reread_until = %s, updated_at = now()
                WHERE dataset = %s AND partition = %s
                """,
                (
                    dataset.topic,
                    move.after.topic_id,
                    move.after.epoch,
                    move.after.next_offset,
                    move.after.order_time,
                    move.after.epoch_offset,
                    move.after.reread_until,
                    dataset.name,
                    move.partition,
                ),
            )


def _refuse_beyond(topic: TopicState, partition: int, target: int) -> None:
    if partition not in topic.beginning:
        raise MoveError(f"topic {topic.name} has no partition {partition}; it has {sorted(topic.beginning)}")
    begin, end = topic.beginning[partition], topic.end[partition]
    if not begin <= target <= end:
        raise MoveError(f"partition {partition} of topic {topic.name} has offsets {begin} to {end}, not {target}")
