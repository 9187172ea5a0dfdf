"""What a running stack serves, dataset by dataset."""

from collections.abc import Mapping
from dataclasses import dataclass

from pista.contracts.dataset import Dataset
from pista.ingest.lag import measure_lag
from pista.settings import Settings
from pista.warehouse.connection import connect

QUERY = """
SELECT d.name, v.row_count, v.version,
       (SELECT count(*) FROM ingest.quarantine q WHERE q.dataset = d.name AND q.resolved_at IS NULL),
       CASE WHEN d.freshness IS NOT NULL THEN v.as_of IS NULL OR now() - v.as_of > d.freshness END,
       d.paused_reason
FROM catalog.datasets d JOIN catalog.versions v ON v.dataset = d.name
WHERE d.served
ORDER BY d.kind = 'mart', d.name
"""


MARTS_WAITING = """
SELECT count(DISTINCT q.mart) FROM ingest.changed_slices q JOIN catalog.versions v ON v.dataset = q.mart
WHERE v.blocked_by IS NULL AND NOT EXISTS (
    SELECT FROM catalog.mart_inputs i JOIN catalog.versions s ON s.dataset = i.input
    WHERE i.mart = q.mart AND s.version = 0)
"""


@dataclass(frozen=True, slots=True)
class Served:
    """One dataset at one moment."""

    name: str
    rows: int
    version: int
    lag: int | None  # records of its topic that are not loaded yet; None for a mart
    quarantined: int  # records that wait for somebody
    stale: bool | None  # None: no freshness was promised
    paused: str | None = None  # why an operator paused it


def served(datasets: Mapping[str, Dataset], settings: Settings) -> list[Served]:
    """Every served dataset, sources first.

    Raises:
        KafkaError: the broker does not answer.
        psycopg.OperationalError: the database does not answer.
    """
    assert settings.ingest_dsn is not None
    # first the lag, which stamps what is complete
    lags = measure_lag(datasets.values(), settings, timeout=10.0)
    with connect(settings.ingest_dsn.get_secret_value(), "pista status") as connection:
        rows = connection.execute(QUERY).fetchall()
    return [
        Served(name, count, version, lags[name].records if name in lags else None, quarantined, stale, paused)
        for name, count, version, quarantined, stale, paused in rows
    ]


def marts_waiting(settings: Settings) -> int:
    """Marts that have changes to build, inputs to build them from, and no rule that keeps them back."""
    assert settings.ingest_dsn is not None
    with connect(settings.ingest_dsn.get_secret_value(), "pista status") as connection:
        row = connection.execute(MARTS_WAITING).fetchone()
    assert row is not None
    return int(row[0])
