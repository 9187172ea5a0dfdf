"""Small datasets, a platform whose Kafka is a script while its ledger is real, and an ephemeral Dagster instance."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from dagster_project.resources import Platform
from pista.contracts.dataset import Column, Dataset, Kind, LogicalType, MartInput, QualityRule, Severity
from pista.ingest.share import Share
from pista.settings import Settings

if TYPE_CHECKING:  # importing kafka-python warns, and pytest has not read its filters yet
    from pista.ingest.bookkeeping import BatchReport
    from pista.ingest.conditions import IngestCondition
    from pista.ingest.drain import DrainReport
    from pista.ingest.lag import Lag
    from pista.ingest.pausing import Pause
    from pista.ingest.upkeep import Level


def column(name: str, **more: Any) -> Column:
    return Column(name, name, LogicalType.STRING, "text", **more)


def rule(name: str, severity: Severity = Severity.ERROR) -> QualityRule:
    return QualityRule(name, "", severity, "carrier", "nullValues", None, {}, "mustBe", 0)


FLIGHTS = Dataset(
    name="flights",
    version="1.0.0",
    kind=Kind.UPSERT,
    columns=(
        column("flight_id", required=True),
        column("carrier"),
        column("pilot", served=False, classification="pii"),
    ),
    key=("flight_id",),
    domain="operations",
    tags=("aviation", "new york"),
    owner="data-platform",
    topic="nyc.flights",
    freshness=timedelta(minutes=10),
    quality=(rule("carrier_is_never_null"), rule("carrier_is_known", Severity.WARNING)),
)
WEATHER = Dataset(
    name="weather", version="1.0.0", kind=Kind.APPEND, columns=(column("origin"),), key=(), topic="nyc.weather"
)
AIRLINES = Dataset(
    name="airlines",
    version="1.0.0",
    kind=Kind.UPSERT,
    columns=(column("carrier"),),
    key=("carrier",),
    topic="nyc.airlines",
)
DAILY = Dataset(
    name="punctuality_daily",
    version="1.0.0",
    kind=Kind.MART,
    columns=(column("carrier", required=True),),
    key=("carrier",),
    slice_column="carrier",
    inputs=(MartInput("flights", "carrier"), MartInput("airlines", None)),
    transform="SELECT DISTINCT carrier FROM flights",
    cooldown=timedelta(seconds=15),
    quality=(rule("daily_carrier_is_never_null"),),
)
DATASETS = {dataset.name: dataset for dataset in (FLIGHTS, WEATHER, AIRLINES, DAILY)}


def batch(dataset: str, start: int, end: int, version: int = 1, **more: Any) -> BatchReport:
    """A batch of partition 0 in which every record is a new row."""
    from pista.ingest.bookkeeping import BatchReport

    count = end - start
    fields: dict[str, Any] = {
        "dataset": dataset,
        "version": version,
        "records": count,
        "bytes": 100 * count,
        "loaded": count,
        "quarantined": 0,
        "filtered": 0,
        "inserted": count,
        "updated": 0,
        "deleted": 0,
        "unchanged": 0,
        "ambiguous": 0,
        "unknown_fields": {},
        "lag": 0,
        "read_ms": 1.0,
        "decode_ms": 2.0,
        "write_ms": 3.0,
        "latency_ms": 40.0,
        "offsets": {0: (start, end)},
    }
    return BatchReport(**(fields | more))


@dataclass
class Script:
    """What the stand-in says; tests write it."""

    lags: dict[str, Lag] = field(default_factory=dict)
    lag_error: Exception | None = None
    drains: dict[str, Callable[..., DrainReport]] = field(default_factory=dict)
    rules: dict[str, list[Any]] = field(default_factory=dict)
    mart: Callable[[Dataset, bool], Any] | None = None
    rows: dict[str, int] = field(default_factory=dict)
    pauses: dict[str, Pause] = field(default_factory=dict)
    levels: dict[str, Level] = field(default_factory=dict)
    evaluated: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    shares: list[tuple[str, Share]] = field(default_factory=list)
    turn: threading.Event = field(default_factory=threading.Event)  # set: nobody drains before

    def __post_init__(self) -> None:
        self.turn.set()

    def set_lag(
        self,
        dataset: str,
        next_offset: int,
        end: int,
        condition: IngestCondition | None = None,
        topic_missing: bool = False,
    ) -> None:
        from pista.ingest.lag import Lag

        partitions = {} if topic_missing else {0: (next_offset, end)}
        self.lags[dataset] = Lag(dataset, end - next_offset, partitions, condition, topic_missing)

    def set_partitions(self, dataset: str, partitions: dict[int, tuple[int, int]]) -> None:
        from pista.ingest.lag import Lag

        records = sum(end - start for start, end in partitions.values())
        self.lags[dataset] = Lag(dataset, records, partitions, None, False)


class ScriptedPlatform(Platform):
    """The real ledger, if the settings have one; what concerns Kafka and the warehouse comes from a script."""

    def __init__(self, settings: Settings, script: Script) -> None:
        super().__init__(settings)
        self.script = script

    def measure_lag(self, datasets: Iterable[Dataset]) -> dict[str, Lag]:
        if self.script.lag_error is not None:
            raise self.script.lag_error
        return {dataset.name: self.script.lags[dataset.name] for dataset in datasets}

    def drain(
        self,
        dataset: Dataset,
        share: Share,
        run_id: str,
        should_stop: Callable[[], bool],
        on_begin: Callable[[], None],
        on_batch: Callable[[BatchReport], None],
    ) -> DrainReport:
        self.script.shares.append((dataset.name, share))
        self.script.turn.wait()
        on_begin()
        return self.script.drains[dataset.name](run_id=run_id, should_stop=should_stop, on_batch=on_batch)

    def row_count(self, dataset: str) -> int | None:
        return self.script.rows.get(dataset)

    def find_pause(self, dataset: str) -> Pause | None:
        return self.script.pauses.get(dataset)

    def quarantine_level(self, dataset: Dataset) -> Level:
        from pista.ingest.upkeep import Level

        return self.script.levels.get(dataset.name, Level(0, 0, 0.5))

    def mart_session(self, mart: str) -> AbstractContextManager[Any]:
        return nullcontext() if self.settings.ingest_dsn is None else super().mart_session(mart)

    def build_mart(self, mart: Dataset, session: Any, full_refresh: bool) -> Any:
        assert self.script.mart is not None
        return self.script.mart(mart, full_refresh)

    def evaluate(self, dataset: Dataset) -> list[Any]:
        self.script.evaluated.append((dataset.name, tuple(one.name for one in dataset.quality)))
        names = {one.name for one in dataset.quality}
        return [one for one in self.script.rules[dataset.name] if one.rule.name in names]


def refused(connection: Any, value: str = "SECRET") -> Exception:
    """A real error of a row that does not fit; its DETAIL shows the row."""
    import psycopg

    connection.execute("CREATE TEMPORARY TABLE IF NOT EXISTS strict (pilot text, carrier text NOT NULL)")
    with pytest.raises(psycopg.Error, match=value) as caught:
        connection.execute("INSERT INTO strict VALUES (%s, NULL)", (value,))
    return caught.value


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def offline(script: Script) -> ScriptedPlatform:
    """No database behind it; a run is idle after a moment."""
    return ScriptedPlatform(Settings(drain_idle_seconds=0.3, drain_max_seconds=20), script)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        yield found
