"""How far the topics are ahead of the ledger: one round trip to the broker and one query for all datasets."""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from psycopg import Connection
from psycopg.rows import TupleRow

from pista.contracts.dataset import Dataset
from pista.ingest.conditions import IngestCondition, TopicUnreadable
from pista.ingest.configuration import ingest_dsn
from pista.ingest.floods import find_floods
from pista.ingest.ledger import Ledger, find_condition, open_partitions, read_ledgers
from pista.ingest.pausing import Pause, find_pauses
from pista.ingest.share import WHOLE, Share
from pista.ingest.targets import EARLIEST, first_offsets
from pista.kafka.client import client_options
from pista.kafka.topics import TopicAdmin, TopicState
from pista.settings import Settings
from pista.warehouse.completeness import stamp_marts, stamp_sources
from pista.warehouse.connection import connect


@dataclass(frozen=True, slots=True)
class Lag:
    """What a source dataset has yet to load."""

    dataset: str
    records: int  # offsets between the ledger and the topic's end; markers of transactions count too
    partitions: dict[int, tuple[int, int]]  # partition -> (next offset, end)
    condition: IngestCondition | None
    topic_missing: bool
    pause: Pause | None = None
    by_share: Mapping[Share, IngestCondition | None] = field(default_factory=dict)  # what stops a share, of several


def measure_lag(datasets: Iterable[Dataset], settings: Settings, timeout: float = 5.0) -> dict[str, Lag]:
    """Lag of each source dataset; those without any are stamped as complete as of now.

    Raises:
        KafkaError: the broker did not answer within ``timeout`` seconds.
        psycopg.OperationalError: the database did not answer.
    """
    sources = [dataset for dataset in datasets if dataset.is_source]
    with connect(ingest_dsn(settings), "pista lag") as connection:
        # the ledger first: read after the topics, a drain at work could be ahead of their ends
        ledgers = read_ledgers(connection, [dataset.name for dataset in sources])
        topics = _describe(settings, [str(dataset.topic) for dataset in sources], timeout)
        _open_elsewhere(connection, sources, topics, ledgers, settings)
        floods = find_floods(connection, ledgers)
        pauses = find_pauses(connection, ledgers)
        lags = {d.name: _lag(d, topics[str(d.topic)], ledgers[d.name], floods, pauses) for d in sources}
        complete = [
            lag.dataset for lag in lags.values() if not lag.records and not lag.condition and not lag.topic_missing
        ]
        stamp_sources(connection, complete)
        stamp_marts(connection)
    return lags


def _open_elsewhere(
    connection: Connection[TupleRow],
    sources: Iterable[Dataset],
    topics: Mapping[str, TopicState | None],
    ledgers: dict[str, Ledger],
    settings: Settings,
) -> None:
    """Give datasets that do not start at the beginning their place as soon as their topic is seen.

    Left to the first drain, which comes with the first lag, the end of a quiet topic would be past its next record.
    """
    waiting = [d for d in sources if d.start != EARLIEST and not ledgers[d.name] and _readable(topics[str(d.topic)])]
    if not waiting:
        return
    applied = connection.execute(
        "SELECT name FROM catalog.datasets WHERE name = ANY(%s)", ([d.name for d in waiting],)
    ).fetchall()
    for dataset in waiting:
        topic = topics[str(dataset.topic)]
        if (dataset.name,) in applied and topic is not None:
            first = first_offsets(dataset, topic, settings)
            ledgers[dataset.name] = open_partitions(connection, dataset, topic, {}, first=first)


def _readable(topic: TopicState | None) -> bool:
    return topic is not None and topic.error is None


def _lag(
    dataset: Dataset,
    topic: TopicState | None,
    ledger: Ledger,
    floods: Mapping[str, IngestCondition],
    pauses: Mapping[str, Pause],
) -> Lag:
    pause = pauses.get(dataset.name)

    def condition_of(share: Share) -> IngestCondition | None:
        condition = find_condition(dataset, topic, ledger, share) or floods.get(dataset.name)
        if topic is not None and topic.error is not None and condition is None:
            return TopicUnreadable(dataset.name, f"topic {topic.name} cannot be read: {topic.error}.")
        return condition

    condition = condition_of(WHOLE)
    slots = range(dataset.parallelism) if dataset.parallelism > 1 else ()
    by_share = {share: condition_of(share) for share in (Share(slot, dataset.parallelism) for slot in slots)}
    if topic is None:
        return Lag(dataset.name, 0, {}, condition, True, pause, by_share)
    partitions = {
        p: (ledger[p].next_offset if p in ledger else begin, topic.end[p]) for p, begin in topic.beginning.items()
    }
    records = sum(max(end - start, 0) for start, end in partitions.values())
    return Lag(dataset.name, records, partitions, condition, False, pause, by_share)


# One admin connection a process: the sensor asks every few seconds.
_lock = threading.Lock()
_admins: dict[str, TopicAdmin] = {}


def _describe(settings: Settings, topics: list[str], timeout: float) -> dict[str, TopicState | None]:
    address = str(settings.kafka_bootstrap)
    with _lock:
        admin = _admins.pop(address, None) or TopicAdmin(client_options(settings), timeout)
        try:
            states = admin.describe(topics)
        except Exception:
            # a client that raised once may hang for ever
            admin.close()
            raise
        _admins[address] = admin
        return states
