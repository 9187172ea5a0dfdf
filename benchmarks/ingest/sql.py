"""What PostgreSQL itself takes: the same merge fed from files by psql, without Kafka or Python; and a bare COPY."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from psycopg.conninfo import conninfo_to_dict

from benchmarks.ingest.measure import Job
from benchmarks.ingest.servers import Database, flights
from benchmarks.ingest.topic import COLUMNS, PARTITIONS, Topic, line
from pista.ingest.batch import epochs, make_batch, order_times
from pista.ingest.decode import Decoder
from pista.ingest.drain import ensure_raw_partitions
from pista.ingest.ledger import Entry
from pista.kafka.records import Record, Records
from pista.local import postgres
from pista.settings import Settings
from pista.warehouse import merging
from pista.warehouse.connection import connect

LOG_TABLE = "public.flight_events"
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
PRODUCED = 1_357_000_000_000  # timestamp of the first message, milliseconds since 1970


@dataclass(frozen=True, slots=True)
class MergeFloor:
    """Pista's own statements on Pista's own batches: the floor of its wall time."""

    name = "SQL floor"
    kind = "floor"
    configuration = "COPY to the stage, INSERT into the event log, merge: Pista's statements and batches, by psql"
    relation = "curated.flights"

    def prepare(self, home: Path) -> None:
        """Nothing is missing: psql is in the wheel of PostgreSQL."""

    def job(self, database: Database, topic: Topic) -> Job:
        """One transaction a batch."""
        dataset = database.migrate()
        with connect(database.ingest_dsn, "benchmark") as connection:
            ensure_raw_partitions(connection, dataset.name)
        folder = database.servers.home
        script = [f"{merging.stage_ddl(dataset)};"]
        copy = merging.copy_into_stage(dataset).replace("COPY", "\\copy", 1)
        insert_raw = merging.insert_raw(dataset, only_missing=False)
        merge = merging.merge(dataset, [], tombstones=False)
        for number, rows in enumerate(staged_batches(topic), 1):
            file = folder / f"batch-{number}"
            file.write_bytes(rows)
            script += ["BEGIN;", copy.replace("STDIN", f"'{file}'", 1), f"{insert_raw};"]
            script += [f"{merge.replace('%(version)s', str(number))};", "COMMIT;"]
        return _psql(database, database.ingest_dsn, script)


@dataclass(frozen=True, slots=True)
class BareCopy:
    """Every event into a table without a key."""

    name = "COPY"
    kind = "floor"
    configuration = "one COPY of all events into a table without a key: no merge, no event log"
    relation = f"(SELECT DISTINCT ON (flight_id) * FROM {LOG_TABLE} ORDER BY flight_id, event_time DESC, ctid DESC)"

    def prepare(self, home: Path) -> None:
        """Nothing is missing: psql is in the wheel of PostgreSQL."""

    def job(self, database: Database, topic: Topic) -> Job:
        """One statement."""
        database.create_table(LOG_TABLE, keyed=False)
        file = database.servers.home / "events"
        file.write_text("\n".join(line(value) for _, value in topic.messages) + "\n", encoding="utf-8")
        return _psql(database, database.admin_dsn, [f"\\copy {LOG_TABLE} ({', '.join(COLUMNS)}) FROM '{file}'"])


def staged_batches(topic: Topic) -> Iterable[bytes]:
    """The messages as Pista's batches stage them."""
    settings = Settings()
    decoder = Decoder(flights(), settings)
    size = settings.batch_max_records
    for start in range(0, len(topic.messages), size):
        records = Records.of(
            Record(offset % PARTITIONS, offset, PRODUCED + offset, *message)
            for offset, message in enumerate(topic.messages[start : start + size], start)
        )
        entries = {p: Entry(p, "", 1, 0, BEGINNING) for p in range(PARTITIONS)}
        batch = make_batch(
            decoder,
            records,
            epochs=epochs(records, entries),
            order_times=order_times(records, dict.fromkeys(entries, 0)),
            planned=entries,
            positions={},
            read_ms=0.0,
            clock_ms=0.0,
        )
        yield batch.stage(np.arange(len(batch.decoded.index)))


def _psql(database: Database, dsn: str, script: list[str]) -> Job:
    file = database.servers.home / "script.sql"
    file.write_text("\n".join(script), encoding="utf-8")
    parts = conninfo_to_dict(dsn)
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE"}
    options = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--output=/dev/null", f"--file={file}"]
    program = postgres.binaries(None) / "psql"
    return Job([program, *options], {variable: str(parts[name]) for name, variable in names.items()})
