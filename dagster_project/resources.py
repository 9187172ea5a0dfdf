"""What orchestration needs of the platform, as one resource: the seam at which tests put something else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import TYPE_CHECKING

from dagster_project.errors import without_row_values
from pista.contracts.dataset import Dataset
from pista.ingest.share import Share
from pista.settings import Settings

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import TupleRow

    from pista.ingest.bookkeeping import BatchReport
    from pista.ingest.drain import DrainReport
    from pista.ingest.lag import Lag
    from pista.ingest.pausing import Pause
    from pista.ingest.reconcile import Account
    from pista.ingest.spans import Span
    from pista.ingest.upkeep import Level, Purged
    from pista.warehouse.maintenance import Upkeep
    from pista.warehouse.marts import MartReport
    from pista.warehouse.quality import RuleResult


class Platform:
    """Kafka, ledger and warehouse of one installation.

    Modules are imported when they are called: loading the code location stays quick, and what the
    sensor does not need (pyarrow, pandas) stays out of the code server.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def connect(self, application_name: str) -> Connection[TupleRow]:
        """A connection as pista_ingest.

        Raises:
            RuntimeError: PISTA_INGEST_DSN is not set.
            psycopg.OperationalError: the server cannot be reached.
        """
        from pista.warehouse.connection import connect

        if self.settings.ingest_dsn is None:
            raise RuntimeError("PISTA_INGEST_DSN is not set: give it the connection of the role pista_ingest")
        return connect(self.settings.ingest_dsn.get_secret_value(), application_name)

    def measure_lag(self, datasets: Iterable[Dataset]) -> dict[str, Lag]:
        """How far each source dataset is behind its topic, in one round trip to the broker."""
        from pista.ingest.lag import measure_lag

        return measure_lag(datasets, self.settings)

    def drain(
        self,
        dataset: Dataset,
        share: Share,
        run_id: str,
        should_stop: Callable[[], bool],
        on_begin: Callable[[], None],
        on_batch: Callable[[BatchReport], None],
    ) -> DrainReport:
        """Load micro-batches until told to stop, from when the drain before has ended; a quiet topic does not end it.

        The run decides for its whole group when to end, so that a dataset which is quiet for a
        moment stays warm as long as another of the group is busy.
        """
        from pista.ingest.drain import drain

        settings = self.settings.model_copy(update={"drain_idle_seconds": self.settings.drain_max_seconds})
        return drain(
            dataset,
            settings,
            run_id=run_id,
            should_stop=should_stop,
            on_batch=on_batch,
            share=share,
            hand_over=True,
            on_begin=on_begin,
        )

    @without_row_values()
    def reconcile(self, datasets: Iterable[Dataset], window: timedelta) -> list[Account]:
        """The account of every partition that got records within the window."""
        from pista.ingest.reconcile import reconcile

        with self.connect("pista reconcile") as connection:
            return reconcile(connection, datasets, window)

    @without_row_values()
    def maintain(self, datasets: Iterable[Dataset]) -> list[Upkeep]:
        """Partitions, retention and statistics of the tables of these datasets.

        Raises:
            DatabaseError: a table stayed in use.
        """
        from pista.warehouse.maintenance import maintain

        with self.connect("pista maintenance") as connection:
            return maintain(connection, datasets)

    @without_row_values()
    def purge_quarantine(self) -> list[Purged]:
        """Delete what is older than ``PISTA_QUARANTINE_RETENTION_DAYS`` from quarantine."""
        from pista.ingest.upkeep import purge_quarantine

        with self.connect("pista maintenance") as connection:
            return purge_quarantine(connection, self.settings.quarantine_retention_days)

    def row_count(self, dataset: str) -> int | None:
        """Rows of the served table as of its last publication; None before the first."""
        with self.connect("pista dagster") as connection:
            row = connection.execute("SELECT row_count FROM catalog.versions WHERE dataset = %s", (dataset,)).fetchone()
        return None if row is None else int(row[0])

    def mart_session(self, mart: str) -> AbstractContextManager[Connection[TupleRow]]:
        """The session whose name says that a run works on this mart: its only sign of life, so open it first."""
        return self.connect(mart_session(mart))

    def find_pause(self, dataset: str) -> Pause | None:
        """Why an operator paused the dataset, if one did."""
        from pista.ingest.pausing import find_pauses

        with self.connect("pista dagster") as connection:
            return find_pauses(connection, [dataset]).get(dataset)

    @without_row_values()
    def quarantine_level(self, dataset: Dataset) -> Level:
        """Open quarantined records of a source dataset against what it loaded lately."""
        from pista.ingest.upkeep import measure_level

        with self.connect("pista dagster") as connection:
            return measure_level(connection, dataset)

    def replay(self, dataset: Dataset, span: Span, run_id: str, reason: str | None) -> Iterator[BatchReport]:
        """Load a span of a topic again.

        Yields:
            A report a committed batch.

        Raises:
            ReplayError: the span is not within what was drained.
            IngestCondition: the topic is no longer what was drained.
            DatabaseError: the database refused.
        """
        from pista.ingest.spans import find_ranges, replay_ranges

        with without_row_values(), self.connect(f"pista replay {dataset.name}") as connection:
            ranges = find_ranges(connection, dataset, self.settings, span)
            yield from replay_ranges(connection, dataset, self.settings, ranges, run_id=run_id, reason=reason)

    @without_row_values()
    def build_mart(self, mart: Dataset, session: Connection[TupleRow], full_refresh: bool) -> MartReport:
        """Recompute what changed.

        Raises:
            DatabaseError: the transform or its result does not fit the contract.
        """
        from pista.warehouse.marts import build_mart

        return build_mart(session, mart, full_refresh=full_refresh)

    @without_row_values()
    def evaluate(self, dataset: Dataset) -> list[RuleResult]:
        """The quality rules of the contract against the served table.

        Raises:
            DatabaseError: a rule cannot be evaluated.
        """
        from pista.warehouse.quality import evaluate

        with self.connect(f"pista checks {dataset.name}") as connection:
            return evaluate(connection, dataset)


def mart_session(mart: str) -> str:
    """The application name of a mart's session, as pg_stat_activity shows it (63 bytes at most)."""
    return f"pista mart {mart}".encode()[:63].decode(errors="ignore")
