"""Signs of life of a drain, in the database, where the sensor looks for them.

Dagster's own view of a run survives the death of its process; a row that stops being touched does not.
"""

import logging
import threading
import time
from types import TracebackType

import psycopg

from pista.ingest.share import Share
from pista.warehouse.connection import connect

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 2.0
HANG_SECONDS = 120.0  # between two looks around; each call of a drain ends by a deadline of its own before
ALIVE_SECONDS = 15.0  # a drain whose last beat is older is dead


class Heartbeat:
    """Beats for one run's share of one dataset from a thread of its own, until the block ends."""

    def __init__(self, dsn: str, dataset: str, share: Share, run_id: str) -> None:
        self._dsn = dsn
        self._dataset = dataset
        self._share = share
        self._run_id = run_id
        self._ends: float | None = None  # by the monotonic clock
        self._ended = threading.Event()
        self._outcome = "failed"
        self._progress_at = time.monotonic()
        self._thread = threading.Thread(target=self._beat, name=f"heartbeat-{dataset}", daemon=True)

    def begin(self, seconds: float) -> None:
        """Say with the next beat that the drain is at work, and will end in so many seconds at the latest."""
        self._ends = time.monotonic() + seconds

    def progress(self) -> None:
        """Say that the drain is at work; without it for two minutes there are no more beats."""
        self._progress_at = time.monotonic()

    def finish(self, outcome: str) -> None:
        """Say how the drain ended; without it the outcome is ``failed``."""
        self._outcome = outcome

    def __enter__(self) -> "Heartbeat":
        with connect(self._dsn, f"pista heartbeat {self._dataset}") as connection:
            connection.execute(
                """
                INSERT INTO ingest.drains (run_id, dataset, slot, slots) VALUES (%s, %s, %s, %s)
                ON CONFLICT (run_id, dataset) DO UPDATE SET slot = excluded.slot, slots = excluded.slots,
                    beat_at = now(), ends_at = NULL, ended_at = NULL, outcome = NULL
                """,
                (self._run_id, self._dataset, self._share.slot, self._share.of),
            )
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _beat(self) -> None:
        # until the end is written: a database that is away for a while must not hide a drain that lives
        while not self._beat_with_one_connection():
            self._ended.wait(INTERVAL_SECONDS)

    def _beat_with_one_connection(self) -> bool:
        try:
            with connect(self._dsn, f"pista heartbeat {self._dataset}") as connection:
                # a drain that was taken for dead, while the machine slept, comes back by its next beat
                while not self._ended.wait(INTERVAL_SECONDS):
                    if time.monotonic() - self._progress_at >= HANG_SECONDS:
                        log.error("drain of %s hangs: no progress for %.0f s", self._dataset, HANG_SECONDS)
                        continue
                    connection.execute(
                        """
                        UPDATE ingest.drains SET beat_at = now(), ended_at = NULL, outcome = NULL,
                            ends_at = now() + make_interval(secs => %s)
                        WHERE run_id = %s AND dataset = %s
                        """,
                        (None if self._ends is None else self._ends - time.monotonic(), self._run_id, self._dataset),
                    )
                connection.execute(
                    """
                    UPDATE ingest.drains SET beat_at = now(), ended_at = now(), outcome = %s
                    WHERE run_id = %s AND dataset = %s
                    """,
                    (self._outcome, self._run_id, self._dataset),
                )
        except psycopg.OperationalError as error:
            log.warning("heartbeat of %s: %s", self._dataset, error)
            return self._ended.is_set()
        return True
