"""Pista: the drain library in a process of its own, `python -m benchmarks.ingest.pista_drain TOPIC ROWS`."""

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.ingest.measure import Job
from benchmarks.ingest.servers import REPOSITORY, Database, flights
from benchmarks.ingest.topic import Topic


@dataclass(frozen=True, slots=True)
class Pista:
    """Pista with one of its Kafka clients."""

    kafka_client: str
    relation = "curated.flights"
    kind = "pista"

    @property
    def name(self) -> str:
        """For the table."""
        return f"Pista, {self.kafka_client}"

    @property
    def configuration(self) -> str:
        """For the table."""
        return "defaults: batches of 50,000 records, exactly once, event log kept"

    def prepare(self, home: Path) -> None:
        """Nothing is missing: the repository's environment has it."""

    def job(self, database: Database, topic: Topic) -> Job:
        """A drain of the topic into tables of the contract."""
        database.migrate()
        environment = {
            "PISTA_INGEST_DSN": database.ingest_dsn,
            "PISTA_KAFKA_BOOTSTRAP": database.servers.bootstrap,
            "PISTA_KAFKA_CLIENT": self.kafka_client,
            "PYTHONPATH": str(REPOSITORY),
        }
        return Job([sys.executable, "-m", __name__, topic.name, str(len(topic.messages))], environment)


def main() -> None:
    """Drain until so many records are committed."""
    from pista.ingest.bookkeeping import BatchReport
    from pista.ingest.drain import drain
    from pista.settings import Settings

    topic, rows = sys.argv[1], int(sys.argv[2])
    settings = Settings()
    committed = 0

    def count(report: BatchReport) -> None:
        nonlocal committed
        assert str(report.client).startswith(settings.kafka_client), report.client
        committed += report.records

    drain(
        replace(flights(), topic=topic),
        settings,
        run_id=f"benchmark-{os.getpid()}",
        should_stop=lambda: committed >= rows,
        on_batch=count,
    )


if __name__ == "__main__":
    main()
