"""Draining a topic: plan, read, decode, commit, and again, until there is nothing more for a while.

While one batch commits, the next is read and decoded. What is read ahead is only kept if the commit
before it succeeded; otherwise the ledger says where to start again.
"""

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace

import psycopg
from kafka.errors import KafkaError
from psycopg import Connection
from psycopg.rows import TupleRow

from pista.contracts.dataset import Dataset
from pista.ingest.batch import Batch, epochs, make_batch, monotonic_ms, order_times
from pista.ingest.bookkeeping import BatchReport
from pista.ingest.conditions import ContractNotApplied
from pista.ingest.configuration import ingest_dsn
from pista.ingest.decode import Decoder
from pista.ingest.handover import Other, Turn, decide, find_others
from pista.ingest.heartbeat import Heartbeat
from pista.ingest.ledger import Ledger, LostRaceError, find_condition, open_partitions, read_ledgers, unopened
from pista.ingest.load import ContractChangedError, applied_hash, commit_batch
from pista.ingest.pausing import PausedError, refuse_paused
from pista.ingest.share import WHOLE, Share
from pista.ingest.targets import first_offsets
from pista.kafka.client import client_options
from pista.kafka.errors import AccessError
from pista.kafka.formats.errors import RegistryUnavailableError
from pista.kafka.reader import make_reader
from pista.kafka.topics import TopicAdmin, TopicState, TopicUnreadableError
from pista.kafka.watchdog import hung
from pista.settings import Settings
from pista.warehouse.connection import connect
from pista.warehouse.maintenance import ensure_raw_partitions

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5  # how long an idle drain waits for a record before it looks around
TURN_SECONDS = 0.1  # how often a successor looks whether the drain before it has ended
COMMIT_BEAT_SECONDS = 5.0  # how often a drain that waits for a commit says that it lives
LOST_RACES = 3  # in a row, that end a drain
PATIENCE_SECONDS = 60.0  # a broker or database that is away for longer ends a drain
RETRY_SECONDS = 1.0
TRANSIENT = (psycopg.OperationalError, KafkaError, TopicUnreadableError, RegistryUnavailableError)


@dataclass(frozen=True, slots=True)
class DrainReport:
    """What a drain did."""

    dataset: str
    batches: int
    records: int
    loaded: int
    quarantined: int
    outcome: str  # idle, time_up, stopped, paused, contract_changed; of a hand-over: superfluous or superseded


def drain(
    dataset: Dataset,
    settings: Settings,
    *,
    run_id: str,
    should_stop: Callable[[], bool],
    on_batch: Callable[[BatchReport], None],
    share: Share = WHOLE,
    hand_over: bool = False,
    on_begin: Callable[[], None] = lambda: None,
) -> DrainReport:
    """Load a source dataset until it is idle, time is up, or the caller wants it to stop.

    Args:
        dataset: of kind upsert or append.
        settings: of the process.
        run_id: of the run that answers for it.
        should_stop: asked between batches.
        on_batch: told of each committed batch, from this thread.
        share: the partitions to load, and those of them that appear meanwhile.
        hand_over: wait for a drain of the same partitions that is about to end, leave if one stays, and leave at
            the first lost race once there is a younger one.
        on_begin: told when it is this drain's turn.

    Raises:
        IngestCondition: the dataset cannot go on by itself.
        LostRaceError: three times in a row another drain was first.
        psycopg.OperationalError: the database stayed away.
        AccessError: the broker does not let us in.
        KafkaError: the broker stayed away, or a call to it hangs in this process.
        RegistryUnavailableError: the schema registry stayed away.
    """
    dsn = ingest_dsn(settings)
    # the heart ends first: a successor need not wait until this drain's connections are closed
    with (
        _Drain(dataset, settings, dsn, run_id, share, on_batch) as work,
        Heartbeat(dsn, dataset.name, share, run_id) as heartbeat,
    ):

        def begin() -> None:
            heartbeat.begin(settings.drain_max_seconds)
            on_begin()

        def stop() -> bool:
            heartbeat.progress()
            # a thread that hangs can only be got rid of by the end of the process
            return should_stop() or bool(hung())

        outcome = work.run(stop, begin, heartbeat.progress, hand_over=hand_over)
        heartbeat.finish(outcome)
        return DrainReport(dataset.name, work.batches, work.records, work.loaded, work.quarantined, outcome)


class _Drain:
    """The loop's state: connections, what is committed, and the batch on its way."""

    def __init__(
        self,
        dataset: Dataset,
        settings: Settings,
        dsn: str,
        run_id: str,
        share: Share,
        on_batch: Callable[[BatchReport], None],
    ) -> None:
        self.batches = self.records = self.loaded = self.quarantined = 0
        self._dataset, self._settings, self._dsn, self._run_id = dataset, settings, dsn, run_id
        self._share = share
        self._on_batch = on_batch
        options = client_options(settings)
        self._admin_options = options
        self._admin: TopicAdmin | None = None
        self._reader = make_reader(settings, str(dataset.topic))
        self._decoder = Decoder(dataset, settings)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix=f"commit-{dataset.name}")
        self._connection: Connection[TupleRow] | None = None
        self._pending: Future[BatchReport] | None = None
        self._progress: Callable[[], None] = lambda: None

    def __enter__(self) -> "_Drain":
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.shutdown(wait=True)
        self._disconnect()
        self._reader.close()
        if self._admin is not None:
            self._admin.close()

    def run(
        self,
        should_stop: Callable[[], bool],
        begin: Callable[[], None],
        progress: Callable[[], None],
        *,
        hand_over: bool,
    ) -> str:
        """Until idle, time is up or told to stop; the outcome in a word."""
        self._progress = progress
        self._check_contract()
        began, succeeded_at = None, time.monotonic()
        lost_races = 0
        while True:
            try:
                if hand_over and (outcome := self._turn(should_stop, begun=began is not None, lost=lost_races > 0)):
                    return outcome
                if began is None:
                    began = succeeded_at = time.monotonic()
                    begin()
                for outcome in self._from_ledger(should_stop, began):
                    succeeded_at, lost_races = time.monotonic(), 0
                    if outcome is not None:
                        return outcome
            except (ContractChangedError, PausedError) as error:
                log.info("%s", error)
                return "paused" if isinstance(error, PausedError) else "contract_changed"
            except LostRaceError as error:
                lost_races += 1
                log.warning("%s (%d of %d)", error, lost_races, LOST_RACES)
                if lost_races >= LOST_RACES:
                    raise
                self._start_over()
            except TRANSIENT as error:
                log.warning("drain of %s: %s: %s", self._dataset.name, type(error).__name__, error)
                lasting = isinstance(error, AccessError) or time.monotonic() - succeeded_at >= PATIENCE_SECONDS
                if lasting or should_stop():
                    raise
                self._start_over()
                time.sleep(RETRY_SECONDS)

    def _turn(self, should_stop: Callable[[], bool], *, begun: bool, lost: bool) -> str | None:
        """An outcome if it is another drain's turn; before it begins, a drain waits for one that is about to end."""
        if begun:
            return "superseded" if lost and any(not other.older for other in self._others()) else None
        ready = False
        while (turn := decide(self._share, self._others())) is Turn.WAIT:
            if should_stop():
                return "stopped"
            if not ready:
                self._warm_up()
                ready = True
            time.sleep(TURN_SECONDS)
        return "superfluous" if turn is Turn.LEAVE else None

    def _others(self) -> list[Other]:
        return find_others(self._connect(), self._dataset.name, self._share, self._run_id)

    def _warm_up(self) -> None:
        """Connect to everything by reading a record that is not kept."""
        ledger, topic = self._ledger(), self._topic()
        condition = find_condition(self._dataset, topic, ledger, self._share)
        if condition is not None:
            raise condition
        own = self._own(ledger)
        if topic is not None and own:
            starts = {partition: entry.next_offset for partition, entry in own.items()}
            self._reader.read(starts, {p: topic.end[p] for p in starts}, max_records=1, max_bytes=1, wait=POLL_SECONDS)

    def _ledger(self) -> Ledger:
        return read_ledgers(self._connect(), [self._dataset.name])[self._dataset.name]

    def _own(self, ledger: Ledger) -> Ledger:
        return {partition: entry for partition, entry in ledger.items() if self._share.owns(partition)}

    def _check_contract(self) -> None:
        if applied_hash(self._connect(), self._dataset.name) != self._dataset.contract_hash:
            raise ContractNotApplied(self._dataset.name, "its contract file is not the one that was applied.")

    def _start_over(self) -> None:
        """Forget what is on its way: the ledger says what was committed of it."""
        pending, self._pending = self._pending, None
        if pending is not None:
            if (error := self._ended(pending).exception()) is None:
                self._count(pending.result())  # what failed came after it
            else:
                log.warning("commit of %s: %s", self._dataset.name, error)
        self._disconnect()

    def _from_ledger(self, should_stop: Callable[[], bool], began: float) -> Iterator[str | None]:
        """Batches from where the ledger stands; yields None after each commit, and the outcome at the end."""
        refuse_paused(self._connect(), self._dataset.name)
        ledger = self._ledger()  # of all shares: what befalls the topic concerns each of them
        idle_since = None  # since when every read has come back empty
        while True:
            now = time.monotonic()
            outcome = None
            if should_stop():
                outcome = "stopped"
            elif now - began >= self._settings.drain_max_seconds:
                outcome = "time_up"
            elif idle_since is not None and now - idle_since >= self._settings.drain_idle_seconds:
                outcome = "idle"
            if outcome is not None:
                self._settle()
                yield outcome
                return
            topic = self._topic()
            condition = find_condition(self._dataset, topic, ledger, self._share)
            if condition is not None:
                self._settle()
                raise condition
            if topic is not None and unopened(topic, ledger, self._share):
                self._settle()
                first = {} if ledger else first_offsets(self._dataset, topic, self._settings)
                ledger = open_partitions(self._connect(), self._dataset, topic, ledger, self._share, first=first)
            own = self._own(ledger)
            if topic is None or not own:
                idle_since = idle_since or now
                time.sleep(POLL_SECONDS)
                continue
            batch = self._read(ledger, topic)
            if batch is None:
                self._settle()
                refuse_paused(self._connect(), self._dataset.name)
                yield None  # nothing to read is a success too
                idle_since = idle_since or time.monotonic()
                continue
            idle_since = None
            ledger |= (own := batch.next_entries())
            if self._settle():
                yield None
            lag = sum(max(topic.end[p] - entry.next_offset, 0) for p, entry in own.items())
            self._pending = self._writer.submit(commit_batch, self._connect(), batch, run_id=self._run_id, lag=lag)

    def _read(self, ledger: Ledger, topic: TopicState) -> Batch | None:
        began, own = monotonic_ms(), self._own(ledger)
        chunk = self._reader.read(
            {partition: entry.next_offset for partition, entry in own.items()},
            {partition: topic.end[partition] for partition in own},
            max_records=self._settings.batch_max_records,
            max_bytes=self._settings.batch_max_bytes,
            wait=POLL_SECONDS,
            max_seconds=self._settings.batch_max_seconds,
        )
        if all(chunk.positions[p] == entry.next_offset for p, entry in own.items()):
            return None
        # offsets mean records of this topic only if it is still the same one
        again = self._topic()
        condition = find_condition(self._dataset, again, ledger, self._share)
        if condition is not None:
            self._settle()
            raise condition
        read_ms = monotonic_ms() - began
        before = {p: round(entry.order_time.timestamp() * 1000) for p, entry in own.items()}
        return make_batch(
            self._decoder,
            chunk.records,
            epochs=epochs(chunk.records, own),
            order_times=order_times(chunk.records, before),
            planned=own,
            positions=chunk.positions,
            read_ms=read_ms,
            clock_ms=monotonic_ms(),
        )

    def _settle(self) -> bool:
        """Wait for the batch that is being committed; whether there was one."""
        pending, self._pending = self._pending, None
        if pending is None:
            return False
        self._count(self._ended(pending).result())
        return True

    def _ended(self, pending: Future[BatchReport]) -> Future[BatchReport]:
        """The commit, once it has ended; a successor could do nothing meanwhile, for it holds the locks."""
        while not wait([pending], COMMIT_BEAT_SECONDS).done:
            self._progress()
        return pending

    def _count(self, report: BatchReport) -> None:
        """Take a committed batch into the sums, and tell of it."""
        report = replace(report, client=self._reader.name)
        self.batches += 1
        self.records += report.records
        self.loaded += report.loaded
        self.quarantined += report.quarantined
        self._on_batch(report)

    def _topic(self) -> TopicState | None:
        if self._admin is None:
            self._admin = TopicAdmin(self._admin_options)
        try:
            state = self._admin.describe([str(self._dataset.topic)])[str(self._dataset.topic)]
        except Exception:
            # a client that raised once may hang for ever
            self._admin.close()
            self._admin = None
            raise
        if state is not None and state.error is not None:
            raise TopicUnreadableError(f"topic {state.name} cannot be read: {state.error}")
        return state

    def _connect(self) -> Connection[TupleRow]:
        if self._connection is None:
            self._connection = connect(self._dsn, f"pista drain {self._dataset.name}")
            ensure_raw_partitions(self._connection, self._dataset.name)
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
