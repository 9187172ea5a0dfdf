"""Computing a dataset anew, while it is served and drained: into a shadow, which then takes its place.

The shadow is filled from raw or from the topic, batch by batch. What is loaded meanwhile is followed in
rounds; the last round and the swap are one transaction that keeps drains from committing. Killed at any
moment before it, a rebuild leaves everything as it was.
"""

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import psycopg
from psycopg import Connection
from psycopg.rows import TupleRow

from pista.contracts.dataset import Dataset
from pista.ingest.audit import record_audit
from pista.ingest.erasures import without_erased
from pista.ingest.feeds import Bookmark, Feed, RawFeed, TopicFeed, bookmark
from pista.ingest.rows import write_rows
from pista.settings import Settings
from pista.warehouse import merging, shadow
from pista.warehouse.connection import connect
from pista.warehouse.evolution import shape
from pista.warehouse.roles import OWNER

log = logging.getLogger(__name__)

MOST_ROUNDS = 10  # a dataset that is loaded faster than it is rebuilt is caught up with under the lock
ATTEMPTS = 30  # at the swap, each of which waits two seconds at most for readers of the table
EXAMPLES = 3


class Source(StrEnum):
    """What a rebuild reads."""

    RAW = "raw"
    TOPIC = "topic"


class RebuildRefusedError(Exception):
    """The dataset cannot be computed anew from that source without losing something."""


@dataclass(slots=True)
class RebuildReport:
    """What a rebuild did."""

    dataset: str
    source: Source
    records: int = 0  # read, those that came twice twice
    rows: int = 0  # of the dataset now
    refused: int = 0  # records that the contract does not accept
    examples: list[str] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)


def rebuild(
    admin_dsn: str,
    dataset: Dataset,
    settings: Settings,
    source: Source,
    *,
    accept_loss: bool = False,
    reason: str | None = None,
    on_batch: Callable[[RebuildReport], None] = lambda report: None,
) -> RebuildReport:
    """Compute every row of a dataset by its contract, and serve the result in place of what is there.

    Args:
        admin_dsn: of a role that is a member of the owner.
        dataset: of kind upsert or append, by the contract that shall hold from now on.
        settings: of the process.
        source: what is read.
        accept_loss: go on although the source lacks records, or the contract refuses some.
        reason: for the audit.
        on_batch: told of the progress after each batch.

    Raises:
        RebuildRefusedError: something would be lost, or the change is none that a rebuild can make.
        RebuildRunningError: another one runs.
        IngestCondition: the topic is no longer what was loaded.
    """
    with ExitStack() as stack:
        connection = stack.enter_context(connect(admin_dsn, f"pista rebuild {dataset.name}"))
        connection.execute(f"SET ROLE {OWNER}".encode())
        connection.execute("SET client_min_messages = warning; SET TimeZone = 'UTC'; SET lock_timeout = '30s'")
        stack.enter_context(shadow.alone(connection, dataset.name))
        replaces_raw = _check(connection, dataset, source)
        target = shadow.shadow_of(dataset, keep_raw=replaces_raw)
        feed: Feed = (RawFeed if source is Source.RAW else TopicFeed)(dataset, target, settings)
        report = RebuildReport(
            dataset.name, source, losses=[*feed.losses(connection), *_filtered(connection, dataset, source)]
        )
        if report.losses and not accept_loss:
            raise RebuildRefusedError(
                f"dataset {dataset.name} cannot be rebuilt from {source}: {'; '.join(report.losses)}. "
                "Rebuild it from where all is, or say --accept-loss to go on without."
            )
        shadow.raise_shadow(connection, target)
        work = _Rebuild(connection, dataset, target, feed, report, on_batch)
        reached = work.follow()
        if report.refused and not accept_loss:
            shadow.drop_shadow(connection, target.name)
            raise RebuildRefusedError(
                f"dataset {dataset.name} was not rebuilt: the contract refuses {report.refused} records that are "
                f"loaded ({'; '.join(report.examples)}). Mend it, or say --accept-loss to go on without them."
            )
        work.finish(reached, reason)
        return report


def _check(connection: Connection[TupleRow], dataset: Dataset, source: Source) -> bool:
    """Whether raw has to be replaced too: it holds in clear what is personal now, or lacks what is no longer filtered.

    Raises:
        RebuildRefusedError: no rebuild can make this change, or not from that source.
    """
    row = connection.execute(
        "SELECT kind <> 'mart', topic, shape FROM catalog.datasets WHERE name = %s", (dataset.name,)
    ).fetchone()
    if row is None:
        raise RebuildRefusedError(f"dataset {dataset.name} was never applied; `pista apply` makes its tables")
    if not row[0] or row[1] != dataset.topic:
        raise RebuildRefusedError(
            f"dataset {dataset.name} was of topic {row[1] or 'none, a mart'} and is now of {dataset.topic}: what was "
            "loaded of the one says nothing of the other. Publish it under a new dataset name beside this one."
        )
    if source is Source.RAW and not dataset.keep_raw:
        raise RebuildRefusedError(f"dataset {dataset.name} keeps no raw records; rebuild it --from topic")
    concealed = _concealed(dataset, row[2])
    if concealed and source is Source.RAW:
        raise RebuildRefusedError(
            f"dataset {dataset.name}: raw holds {', '.join(concealed)} in clear; rebuild it --from topic, "
            "which replaces raw too"
        )
    return dataset.keep_raw and source is Source.TOPIC and (bool(concealed) or _filters_changed(dataset, row[2]))


def _filters_changed(dataset: Dataset, there: Mapping[str, Any] | None) -> bool:
    return there is not None and there["where"] != shape(dataset)["where"]


def _filtered(connection: Connection[TupleRow], dataset: Dataset, source: Source) -> list[str]:
    """What raw lacks because the filters of before, which are not those of now, left it out; a sentence."""
    row = connection.execute("SELECT shape FROM catalog.datasets WHERE name = %s", (dataset.name,)).fetchone()
    if source is Source.TOPIC or row is None or not _filters_changed(dataset, row[0]):
        return []
    count = connection.execute(
        "SELECT coalesce(sum(filtered), 0)::bigint FROM ingest.ranges WHERE dataset = %s", (dataset.name,)
    ).fetchone()
    assert count is not None
    return [f"raw lacks the {count[0]} records that another `where` left out"] if count[0] else []


def _concealed(dataset: Dataset, there: Mapping[str, Any] | None) -> list[str]:
    """Columns that another treatment of personal values is declared for than raw was written by."""
    if there is None:
        return []
    now = {c.name: c.pii.value if c.pii else None for c in (*dataset.columns, *dataset.dropped)}
    before = {name: column["pii"] for name, column in there["columns"].items()}
    return sorted(name for name in before if name in now and before[name] != now[name])


class _Rebuild:
    """The filling of one shadow."""

    def __init__(
        self,
        connection: Connection[TupleRow],
        dataset: Dataset,
        target: Dataset,
        feed: Feed,
        report: RebuildReport,
        on_batch: Callable[[RebuildReport], None],
    ) -> None:
        self._connection, self._dataset, self._target, self._feed = connection, dataset, target, feed
        self._report, self._on_batch = report, on_batch
        connection.execute(merging.stage_ddl(target).encode())

    def follow(self) -> Bookmark:
        """Fill the shadow until it is a batch or less behind; up to where it is filled."""
        reached: Bookmark | None = None
        for _ in range(MOST_ROUNDS):
            with self._connection.transaction():
                until = bookmark(self._connection, self._dataset.name)
            batches = self._fill(reached, until)
            reached = until
            if batches <= 1:
                break
        assert reached is not None
        return reached

    def finish(self, reached: Bookmark, reason: str | None) -> None:
        """Apply what came since, and swap, in one transaction; again if readers hold the table."""
        refused = self._report.refused
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with self._connection.transaction():
                    rows = self._report.rows
                    self._fill(reached, bookmark(self._connection, self._dataset.name))
                    # longer would queue readers behind an export
                    self._connection.execute("SET LOCAL lock_timeout = '2s'")
                    shadow.swap(self._connection, self._dataset, self._target, self._report.rows)
                    detail = {
                        "from": self._report.source.value,
                        "rows": self._report.rows,
                        "refused": self._report.refused,
                        "losses": self._report.losses,
                    }
                    record_audit(self._connection, "dataset rebuild", self._dataset.name, detail, reason)
                return
            except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
                self._report.rows, self._report.refused = rows, refused
                if attempt == ATTEMPTS:
                    shadow.drop_shadow(self._connection, self._target.name)
                    raise
                log.warning("curated.%s is in use; trying again (%d of %d)", self._dataset.name, attempt, ATTEMPTS)
                time.sleep(0.2 * attempt)

    def _fill(self, since: Bookmark | None, until: Bookmark) -> int:
        """Records between two bookmarks into the shadow; in how many batches."""
        number = 0
        for batch in self._feed.batches(self._connection, since, until):
            number += 1
            with self._connection.transaction():
                counts, refused = write_rows(
                    self._connection, batch, until.version, staged=False, most_refused=len(batch.records)
                )
            rejections = without_erased(self._connection, batch, [*batch.decoded.rejections, *refused])
            self._report.records += len(batch.records)
            self._report.rows += counts.inserted - counts.deleted
            for rejection in rejections:
                record = batch.records.one(rejection.index)
                if not self._is_quarantined(int(batch.epochs[rejection.index]), record.partition, record.offset):
                    self._report.refused += 1
                    if len(self._report.examples) < EXAMPLES:
                        self._report.examples.append(
                            f"partition {record.partition} offset {record.offset}: {rejection.detail}"
                        )
            self._on_batch(self._report)
        return number

    def _is_quarantined(self, epoch: int, partition: int, offset: int) -> bool:
        """Whether the record was refused before, or given up: it is no loss then."""
        row = self._connection.execute(
            """
            SELECT EXISTS (SELECT FROM ingest.quarantine WHERE dataset = %s AND epoch = %s AND partition = %s
                AND "offset" = %s AND (resolved_at IS NULL OR discarded_at IS NOT NULL))
            """,
            (self._dataset.name, epoch, partition, offset),
        ).fetchone()
        assert row is not None
        return bool(row[0])
