"""Pauses: an operator keeps a dataset from being loaded or built, while what is there goes on being served."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from psycopg import Connection
from psycopg.rows import TupleRow

from pista.ingest.audit import record_audit


@dataclass(frozen=True, slots=True)
class Pause:
    """Since when a dataset is paused, and why."""

    since: datetime
    reason: str

    def __str__(self) -> str:
        return f"paused since {self.since:%Y-%m-%d %H:%M:%S} UTC: {self.reason}"


class PausedError(Exception):
    """The dataset is paused; nothing was written."""

    def __init__(self, dataset: str, pause: Pause) -> None:
        super().__init__(f"dataset {dataset} is {pause}. `pista dataset resume {dataset}` lets it go on.")
        self.pause = pause


def find_pauses(connection: Connection[TupleRow], datasets: Iterable[str]) -> dict[str, Pause]:
    """Pauses of those of the datasets that are paused."""
    rows = connection.execute(
        "SELECT name, paused_at, paused_reason FROM catalog.datasets WHERE paused_at IS NOT NULL AND name = ANY(%s)",
        (list(datasets),),
    )
    return {name: Pause(since, reason) for name, since, reason in rows}


def refuse_paused(connection: Connection[TupleRow], dataset: str) -> None:
    """Raise where a dataset is paused.

    Raises:
        PausedError: with time and reason.
    """
    pause = find_pauses(connection, [dataset]).get(dataset)
    if pause is not None:
        raise PausedError(dataset, pause)


def pause(connection: Connection[TupleRow], dataset: str, reason: str) -> bool:
    """Pause a dataset; once this returns, no drain commits a batch of it. False if it was paused already."""
    with connection.transaction():
        _lock(connection, dataset)
        changed = connection.execute(
            "UPDATE catalog.datasets SET paused_at = now(), paused_reason = %s WHERE name = %s AND paused_at IS NULL",
            (reason, dataset),
        ).rowcount
        if changed:
            record_audit(connection, "dataset pause", dataset, {}, reason)
            connection.execute("SELECT pg_notify('pista_catalog', %s)", (dataset,))
    return bool(changed)


def resume(connection: Connection[TupleRow], dataset: str) -> Pause | None:
    """Let a dataset go on; the pause that ends, None if there was none."""
    with connection.transaction():
        _lock(connection, dataset)
        ended = find_pauses(connection, [dataset]).get(dataset)
        if ended is not None:
            connection.execute(
                "UPDATE catalog.datasets SET paused_at = NULL, paused_reason = NULL WHERE name = %s", (dataset,)
            )
            detail = {"paused_at": ended.since.isoformat(), "paused_reason": ended.reason}
            record_audit(connection, "dataset resume", dataset, detail, None)
            connection.execute("SELECT pg_notify('pista_catalog', %s)", (dataset,))
    return ended


def _lock(connection: Connection[TupleRow], dataset: str) -> None:
    # the lock under which batches are committed
    connection.execute("SELECT FROM catalog.versions WHERE dataset = %s FOR UPDATE", (dataset,))
