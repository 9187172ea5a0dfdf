"""Drains of several datasets in one run: a thread each, one dataset's trouble never another's.

The threads only put reports into a queue; everything that touches Dagster happens in the main thread.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dagster_project.coalesce import Coalesced, materialization_metadata
from dagster_project.errors import sentence
from dagster_project.resources import Platform
from pista.contracts.dataset import Dataset
from pista.ingest.share import WHOLE, Share

if TYPE_CHECKING:
    from pista.ingest.bookkeeping import BatchReport
    from pista.ingest.drain import DrainReport

logger = logging.getLogger(__name__)

REPORT_EVERY = 10.0  # seconds between two materializations of one dataset: the event log stays small
POLL = 0.5  # seconds; how late an idle end or a report may be
STOP_TIMEOUT = 30.0  # seconds for the batches under way to commit once the run is told to stop


@dataclass(frozen=True, slots=True)
class _Begun:
    dataset: str


@dataclass(frozen=True, slots=True)
class _Ended:
    dataset: str
    report: DrainReport | None
    error: Exception | None


class DrainTogether:
    """One run's drains. Iterate ``run()``, then read ``failures`` and ``summary()``."""

    def __init__(
        self,
        platform: Platform,
        datasets: Sequence[Dataset],
        run_id: str,
        on_failure: Callable[[str], None],
        share: Share = WHOLE,
    ) -> None:
        self._platform = platform
        self._datasets = datasets
        self._run_id = run_id
        self._share = share
        self._on_failure = on_failure
        self._stop = threading.Event()
        self._inbox: queue.Queue[BatchReport | _Begun | _Ended] = queue.Queue()
        self._records = 0
        self.failures: dict[str, Exception] = {}

    def run(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Drain until all are idle, the longest time is over, or the caller stops iterating.

        Yields a dataset and the metadata of its materialization, for each dataset at most every
        ``REPORT_EVERY`` seconds and once more at its end.
        """
        threads = [
            threading.Thread(target=self._drain, args=(dataset,), name=f"drain {dataset.name}", daemon=True)
            for dataset in self._datasets
        ]
        for thread in threads:
            thread.start()
        try:
            yield from self._collect()
        finally:  # also when the run is terminated: every thread finishes its batch, then leaves
            self._stop.set()
            deadline = time.monotonic() + STOP_TIMEOUT
            for thread in threads:
                thread.join(max(0.0, deadline - time.monotonic()))

    def summary(self) -> str:
        """What the run did, in one sentence."""
        done = len(self._datasets) - len(self.failures)
        return f"{done} of {len(self._datasets)} datasets drained without trouble, {self._records} records read."

    def explain_failures(self) -> str:
        """Which datasets failed and why, each with its code and the way on."""
        lines = [describe(name, error) for name, error in self.failures.items()]
        return "\n".join([f"Stopped {len(lines)} of {len(self._datasets)} datasets:", *lines])

    def _collect(self) -> Iterator[tuple[str, dict[str, Any]]]:
        settings = self._platform.settings
        started = last_batch = time.monotonic()
        running = {dataset.name for dataset in self._datasets}
        waiting = set(running)  # for the end of the drains before them; the clocks start when nobody waits any more
        pending: dict[str, Coalesced] = {}
        reported: dict[str, float] = {}
        while running:
            try:
                item = self._inbox.get(timeout=POLL)
            except queue.Empty:
                item = None
            now = time.monotonic()
            if isinstance(item, _Begun):
                waiting.discard(item.dataset)
                started = last_batch = now
            elif isinstance(item, _Ended):
                running.discard(item.dataset)
                waiting.discard(item.dataset)
                self._note_end(item)
                if item.dataset in pending:
                    yield self._report(pending.pop(item.dataset))
            elif item is not None:
                last_batch = now
                self._records += item.records
                pending.setdefault(item.dataset, Coalesced(item.dataset)).add(item)
            for name in [name for name in pending if now - reported.get(name, -REPORT_EVERY) >= REPORT_EVERY]:
                reported[name] = now
                yield self._report(pending.pop(name))
            idle = now - last_batch >= settings.drain_idle_seconds
            if not waiting and (idle or now - started >= settings.drain_max_seconds):
                self._stop.set()

    def _report(self, coalesced: Coalesced) -> tuple[str, dict[str, Any]]:
        from psycopg import OperationalError

        try:
            rows = self._platform.row_count(coalesced.dataset)
        except OperationalError as error:  # the drains ride out a short absence of the database, so does the report
            logger.warning("row count of %s: %s", coalesced.dataset, sentence(error))
            rows = None
        return coalesced.dataset, materialization_metadata(coalesced, rows)

    def _note_end(self, ended: _Ended) -> None:
        if ended.error is not None:
            self.failures[ended.dataset] = ended.error
            self._on_failure(describe(ended.dataset, ended.error))
        elif ended.report is not None:
            logger.info("drain of %s ended: %s", ended.dataset, ended.report.outcome)

    def _drain(self, dataset: Dataset) -> None:
        try:
            report = self._platform.drain(
                dataset,
                self._share,
                self._run_id,
                should_stop=self._stop.is_set,
                on_begin=lambda: self._inbox.put(_Begun(dataset.name)),
                on_batch=self._inbox.put,
            )
        except Exception as error:  # whatever it is, it is this dataset's alone; the run reports it and fails
            # the places and not the messages, which quote rows: Dagster keeps what a run prints
            places = "".join(traceback.format_tb(error.__traceback__))
            logger.error("drain failed, %s\n%s", describe(dataset.name, error), places)  # noqa: TRY400
            self._inbox.put(_Ended(dataset.name, None, error))
        else:
            self._inbox.put(_Ended(dataset.name, report, None))


def describe(dataset: str, error: Exception) -> str:
    """A failure as one line: dataset, code if it is a known condition, and the words of the error, but no row."""
    from psycopg import Error

    code = getattr(error, "code", None) or type(error).__name__
    text = sentence(error) if isinstance(error, Error) else str(error)
    return f"{dataset}: {text}" if text.startswith(str(code)) else f"{dataset}: {code}: {text}"
