"""What an operator does about a dataset that stopped: look, plan with exact numbers, carry out as planned."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from psycopg import Connection
from psycopg.rows import TupleRow

from pista.contracts.dataset import Dataset
from pista.ingest import floods
from pista.ingest.audit import record_audit
from pista.ingest.conditions import (
    IngestCondition,
    LogTruncated,
    OffsetsExpired,
    PartitionRemoved,
    QuarantineFlood,
    TopicMissing,
    TopicRecreated,
    TopicUnreadable,
)
from pista.ingest.history import find_divergence, order_time_before
from pista.ingest.ledger import Ledger, LostRaceError, find_condition, read_ledgers
from pista.ingest.pausing import Pause, find_pauses
from pista.ingest.positions import Move, MoveError, apply_moves, continue_with, move_to, skip_losses, truncated
from pista.ingest.targets import Target, resolve
from pista.kafka.client import client_options
from pista.kafka.topics import TopicState, describe_topics
from pista.settings import Settings


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a source dataset stands, in the database and on the broker."""

    dataset: Dataset
    topic: TopicState | None
    ledger: Ledger
    condition: IngestCondition | None
    pause: Pause | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a command will do, for the operator to read before it is done."""

    command: str
    standing: Standing
    moves: list[Move]
    notes: list[str] = field(default_factory=list)
    accepts_flood: bool = False


def look(connection: Connection[TupleRow], datasets: Iterable[Dataset], settings: Settings) -> list[Standing]:
    """Where each source dataset stands.

    Raises:
        KafkaError: the broker does not answer.
    """
    sources = [dataset for dataset in datasets if dataset.is_source]
    names = [dataset.name for dataset in sources]
    ledgers = read_ledgers(connection, names)
    flooded, pauses = floods.find_floods(connection, names), find_pauses(connection, names)
    topics = describe_topics(client_options(settings), [str(dataset.topic) for dataset in sources])
    return [
        Standing(
            dataset,
            topic := topics[str(dataset.topic)],
            ledgers[dataset.name],
            _condition(dataset, topic, ledgers[dataset.name], flooded),
            pauses.get(dataset.name),
        )
        for dataset in sources
    ]


def plan_acceptance(connection: Connection[TupleRow], standing: Standing, settings: Settings) -> Plan:
    """How the dataset goes on without what is lost.

    Raises:
        MoveError: nothing is lost, or accepting it is not the way on.
        KafkaError: the broker does not answer.
    """
    command, condition, topic = "offsets accept-loss", standing.condition, standing.topic
    if isinstance(condition, QuarantineFlood):
        note = f"The next batch may go to quarantine as it is. {condition.sentence}"
        return Plan(command, standing, [], [note], accepts_flood=True)
    if not isinstance(condition, OffsetsExpired | LogTruncated | PartitionRemoved):
        found = f"it stands at {condition}" if condition is not None else "it has lost nothing"
        raise MoveError(f"dataset {standing.dataset.name}: there is no loss to accept; {found}")
    assert topic is not None
    resume, notes = {}, []
    for partition in sorted(truncated(topic, standing.ledger)):
        entry, end = standing.ledger[partition], topic.end[partition]
        found_at = find_divergence(connection, standing.dataset, settings, topic, entry)
        resume[partition] = end if found_at is None else found_at
        if found_at is None:
            notes.append(
                f"Partition {partition}: raw holds nothing to compare the log with. If it grew again after it was cut "
                f"off, the new records before offset {end} are not loaded; to load them, name the offset: "
                f"`pista offsets reset {standing.dataset.name} --to {partition}:OFFSET --reason ...`."
            )
        else:
            notes.append(
                f"Partition {partition}: compared with raw, the log is another from offset {found_at} on; what was "
                f"loaded up to {entry.reached} stays."
            )
    return Plan(command, standing, skip_losses(topic, standing.ledger, resume), notes)


def plan_reset(connection: Connection[TupleRow], standing: Standing, target: Target, settings: Settings) -> Plan:
    """How the dataset goes on from another place of its topic.

    Raises:
        MoveError: there is no such place, or records would be lost or doubled in silence.
        KafkaError: the broker does not answer.
    """
    command, condition, topic, ledger = "offsets reset", standing.condition, standing.topic, standing.ledger
    if topic is None or isinstance(condition, TopicMissing):
        raise MoveError(f"topic {standing.dataset.topic} does not exist; there is no offset to go to")
    if isinstance(condition, TopicUnreadable | PartitionRemoved):
        raise MoveError(str(condition))
    if topic.error is not None:
        raise MoveError(f"topic {topic.name} cannot be read: {topic.error}")
    targets = resolve(target, topic, settings)
    if isinstance(condition, TopicRecreated):
        return Plan(command, standing, continue_with(topic, ledger, targets))
    cut = truncated(topic, ledger)
    if cut and not isinstance(target, Mapping):
        targets = {partition: targets[partition] for partition in cut}
    times: dict[int, datetime] = {
        partition: order_time_before(connection, standing.dataset.name, ledger[partition], offset)
        for partition, offset in targets.items()
        if partition in ledger and offset < ledger[partition].next_offset
    }
    notes = []
    if cut:
        notes.append(
            f"The log of partitions {sorted(cut)} was cut off: what is read there belongs to a new epoch. Records that "
            "were loaded before and are read again are in raw twice, and in an append dataset they are rows twice."
        )
    moves = move_to(topic, ledger, targets, times)
    if not moves:
        raise MoveError(f"dataset {standing.dataset.name} stands there already")
    return Plan(command, standing, moves, notes)


def carry_out(connection: Connection[TupleRow], plan: Plan, reason: str) -> None:
    """Do what was planned, and write it down, in one transaction.

    Raises:
        LostRaceError: something moved since the plan was made; nothing was written.
    """
    name = plan.standing.dataset.name
    with connection.transaction():
        apply_moves(connection, plan.standing.dataset, plan.moves)
        if plan.accepts_flood and not floods.accept(connection, name):
            raise LostRaceError(f"dataset {name}: the flood of quarantine is over already")
        condition = plan.standing.condition
        detail = {
            "condition": condition.code if condition is not None else None,
            "partitions": {str(move.partition): move.detail() for move in plan.moves},
            "lost": sum(move.lost for move in plan.moves),
        }
        record_audit(connection, plan.command, name, detail, reason)


def _condition(
    dataset: Dataset, topic: TopicState | None, ledger: Ledger, flooded: Mapping[str, IngestCondition]
) -> IngestCondition | None:
    if topic is not None and topic.error is not None:
        return TopicUnreadable(dataset.name, f"topic {topic.name} cannot be read: {topic.error}.")
    return find_condition(dataset, topic, ledger) or flooded.get(dataset.name)
