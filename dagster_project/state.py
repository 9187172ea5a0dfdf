"""What the sensor reads before it decides: signs of life and the queue of the marts, and Dagster's unfinished runs."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg

from dagster_project.groups import share_of
from dagster_project.liveness import BEAT_TIMEOUT, UNFINISHED, Drain, Run, Work
from dagster_project.resources import mart_session
from pista.ingest.share import Share

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import TupleRow


@dataclass(frozen=True, slots=True)
class Waiting:
    """A mart with changed slices in its queue."""

    mart: str
    oldest: int  # id of the oldest row: it changes when a build takes it
    newest: int  # id of the newest row: it changes with new data and with a new contract
    age: float  # seconds that the oldest waits
    blocked_by: str | None  # the mart's own rule that its last build broke
    paused: str | None = None  # why an operator paused it


@dataclass(frozen=True, slots=True)
class Observed:
    """The database's part of the picture, at one moment."""

    drains: list[Drain]
    sessions: frozenset[str]  # marts that are being built
    waiting: list[Waiting]
    uptime: float  # seconds since the database server started


def observe(connection: Connection[TupleRow], run_ids: Collection[str], marts: Iterable[str]) -> Observed:
    """Read it all; ages are by the database's clock, which also wrote the beats."""
    drains = connection.execute(
        """
        SELECT run_id, dataset, slot, slots, ended_at IS NOT NULL,
            extract(epoch FROM now() - coalesce(ended_at, beat_at))::float8,
            extract(epoch FROM ends_at - now())::float8
        FROM ingest.drains
        WHERE run_id = ANY(%s) OR ended_at IS NULL AND beat_at > now() - make_interval(secs => %s)
        """,
        (list(run_ids), BEAT_TIMEOUT),
    ).fetchall()
    sessions = connection.execute("SELECT DISTINCT application_name FROM pg_stat_activity").fetchall()
    waiting = connection.execute(
        """
        SELECT q.mart, min(q.id), max(q.id), extract(epoch FROM now() - min(q.changed_at))::float8,
            (SELECT v.blocked_by FROM catalog.versions v WHERE v.dataset = q.mart),
            (SELECT d.paused_reason FROM catalog.datasets d WHERE d.name = q.mart)
        FROM ingest.changed_slices q
        WHERE NOT EXISTS ( -- nothing to build from yet
            SELECT FROM catalog.mart_inputs i JOIN catalog.versions v ON v.dataset = i.input
            WHERE i.mart = q.mart AND i.slice_column IS NOT NULL AND v.version = 0)
        GROUP BY q.mart
        """
    ).fetchall()
    uptime = connection.execute("SELECT extract(epoch FROM now() - pg_postmaster_start_time())::float8").fetchone()
    assert uptime is not None
    names = {name for (name,) in sessions}
    return Observed(
        [Drain(run_id, Work(name, Share(slot, slots)), *rest) for run_id, name, slot, slots, *rest in drains],
        frozenset(mart for mart in marts if mart_session(mart) in names),
        [Waiting(*row) for row in waiting],
        uptime[0],
    )


def close_books(connection: Connection[TupleRow]) -> None:
    """Write down the end of drains that were killed and could not do it themselves."""
    connection.execute(
        """
        UPDATE ingest.drains SET ended_at = now(), outcome = 'dead'
        WHERE ended_at IS NULL AND beat_at < now() - make_interval(secs => %s)
        """,
        (BEAT_TIMEOUT,),
    )


def unfinished_runs(
    instance: dg.DagsterInstance, names: dict[dg.AssetKey, str], jobs: dict[str, frozenset[str]]
) -> list[Run]:
    """Runs that Dagster does not show as finished and that drain or build something of ours.

    Args:
        instance: Dagster's storage.
        names: asset key -> dataset, of sources and marts.
        jobs: job -> datasets of it, for a run of the whole job.
    """
    found = []
    for record in instance.get_run_records(dg.RunsFilter(statuses=list(UNFINISHED))):
        run = record.dagster_run
        datasets = (
            frozenset(names[key] for key in run.asset_selection if key in names)
            if run.asset_selection is not None
            else jobs.get(run.job_name, frozenset())
        )
        if datasets:
            share = share_of(run.tags)
            works = frozenset(Work(dataset, share) for dataset in datasets)
            found.append(Run(run.run_id, run.status, works, record.update_timestamp.timestamp()))
    return found
