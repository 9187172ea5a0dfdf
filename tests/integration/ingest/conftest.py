"""A dataset of the test's own on the real broker and the real database, and what a drain needs to know of it."""

import json
import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result
from kafka import KafkaProducer

from pista.cli import main
from pista.contracts.dataset import Column, Dataset, Kind, LogicalType
from pista.ingest.bookkeeping import BatchReport
from pista.ingest.drain import DrainReport, drain
from pista.ingest.share import WHOLE, Share
from pista.settings import Settings, get_settings
from pista.warehouse.migrate import migrate

COLUMNS = (
    Column("id", "id", LogicalType.STRING, "text", required=True),
    Column("state", "state", LogicalType.STRING, "text", enum=("on", "off")),
    Column("pax", "pax", LogicalType.INTEGER, "integer", minimum=0),
    Column("day", "day", LogicalType.DATE, "date"),
    Column("seen_at", "seen_at", LogicalType.TIMESTAMP, "timestamptz"),
    Column("passport", "passport", LogicalType.STRING, "text", classification="pii", served=False),
)


@dataclass
class Lab:
    """A dataset, and everything around it."""

    dataset: Dataset
    settings: Settings
    admin_dsn: str

    def query(self, statement: str, *arguments: object) -> list[Any]:
        with psycopg.connect(self.admin_dsn, autocommit=True) as connection:
            return connection.execute(statement.encode(), arguments or None).fetchall()

    def value(self, statement: str, *arguments: object) -> Any:
        return self.query(statement, *arguments)[0][0]

    def execute(self, statement: str, *arguments: object) -> None:
        with psycopg.connect(self.admin_dsn, autocommit=True) as connection:
            connection.execute(statement.encode(), arguments or None)

    def migrate(self, *others: Dataset) -> list[str]:
        return migrate(self.admin_dsn, {d.name: d for d in (self.dataset, *others)}).changed

    def produce(self, events: Iterable[tuple[bytes | None, bytes | None]], partition: int | None = None) -> None:
        producer = KafkaProducer(
            bootstrap_servers=self.settings.kafka_bootstrap, max_request_size=8 << 20, linger_ms=5, acks="all"
        )
        futures = [
            producer.send(self.dataset.topic, key=key, value=value, partition=partition) for key, value in events
        ]
        producer.flush()
        for future in futures:
            future.get(timeout=10)
        producer.close()

    def drain(self, share: Share = WHOLE, **overrides: Any) -> DrainReport:
        settings = self.settings.model_copy(update={"drain_idle_seconds": 0.1, **overrides})
        self.reports: list[BatchReport] = []
        return drain(
            self.dataset,
            settings,
            run_id=secrets.token_hex(4),
            should_stop=lambda: False,
            on_batch=self.reports.append,
            share=share,
        )

    def reconcile(self) -> None:
        """Every record delivered is in raw, in quarantine, or another's, partition by partition."""
        for epoch, partition, begin, end, delivered, filtered in self.query(
            """
            SELECT epoch, partition, min(start_offset), max(end_offset), sum(delivered)::bigint, sum(filtered)::bigint
            FROM ingest.ranges
            WHERE dataset = %s GROUP BY epoch, partition
            """,
            self.dataset.name,
        ):
            raw = self.value(
                f'SELECT count(DISTINCT "offset") FROM raw.{self.dataset.name} WHERE epoch = %s AND partition = %s',
                epoch,
                partition,
            )
            bad = self.value(
                """
                SELECT count(*) FROM ingest.quarantine
                WHERE dataset = %s AND epoch = %s AND partition = %s AND resolved_at IS NULL
                """,
                self.dataset.name,
                epoch,
                partition,
            )
            assert raw + bad + filtered == delivered, f"partition {partition} [{begin}, {end})"


def event(key: str, **fields: object) -> tuple[bytes, bytes]:
    return key.encode(), json.dumps({"id": key, "state": "on", "day": "2013-01-01", **fields}).encode()


@pytest.fixture
def lab(settings: Settings, create_topic: Callable[..., str]) -> Iterator[Lab]:
    dataset = Dataset(
        "legs",
        "1.0.0",
        Kind.UPSERT,
        COLUMNS,
        ("id",),
        topic=create_topic(2, max_message_bytes=str(8 << 20)),
        contract_hash="one",
    )
    lab = Lab(dataset, settings, str(settings.postgres_dsn.get_secret_value()))  # type: ignore[union-attr]
    lab.migrate()
    return lab


Command = Callable[..., Result]


@pytest.fixture
def command(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """``command("offsets", "show")``: `pista` with the lab's dataset for its only contract."""
    for name in ("ingest_dsn", "kafka_bootstrap", "home"):
        value = getattr(lab.settings, name)
        monkeypatch.setenv(f"PISTA_{name.upper()}", getattr(value, "get_secret_value", lambda v=value: str(v))())
    monkeypatch.setattr("pista.commands.access.load_datasets", lambda _folder: {lab.dataset.name: lab.dataset})
    get_settings.cache_clear()
    yield lambda *arguments, given=None: CliRunner().invoke(main, arguments, input=given, catch_exceptions=False)
    get_settings.cache_clear()


@pytest.fixture
def append_lab(lab: Lab) -> Lab:
    lab.dataset = replace(lab.dataset, name="facts", kind=Kind.APPEND, key=(), contract_hash="facts")
    lab.migrate()
    return lab
