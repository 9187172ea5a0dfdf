"""Servers of a test's own, to be stopped, killed, cut off and filled; and a drain that meets with it."""

import json
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from kafka import KafkaProducer

from pista.contracts.dataset import Column, Dataset, Kind, LogicalType
from pista.ingest.bookkeeping import BatchReport
from pista.ingest.drain import DrainReport, drain
from pista.local import kafka, postgres, processes
from pista.local.processes import Child
from pista.local.state import free_port
from pista.settings import Settings
from pista.warehouse.migrate import migrate

PASSWORD = secrets.token_hex(16)
COLUMNS = (
    Column("id", "id", LogicalType.STRING, "text", required=True),
    Column("pax", "pax", LogicalType.INTEGER, "integer"),
)
KEYS = 1_000
BATCH = 200


@dataclass
class Broker:
    """A Kafka node of the test's own."""

    home: Path
    port: int
    properties: Path
    child: Child | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        self.child = kafka.launch(self.home, self.properties)
        kafka.wait_ready(self.child, self.port)

    def stop(self) -> None:
        assert self.child is not None
        processes.stop(self.home, {kafka.KAFKA}, [self.child])

    def kill(self) -> None:
        assert self.child is not None
        self.child.process.kill()
        self.child.process.wait()


@dataclass
class Server:
    """A PostgreSQL of the test's own."""

    cluster: postgres.Cluster
    port: int
    child: Child | None = None

    def dsn(self, user: str = "postgres", database: str = "postgres") -> str:
        return postgres.dsn(self.port, PASSWORD, database, user)

    def start(self) -> None:
        self.child = postgres.launch(self.cluster, self.port)
        postgres.wait_ready(self.child, self.dsn())

    def stop(self) -> None:
        assert self.child is not None
        processes.stop(self.cluster.home, {processes.POSTGRES}, [self.child])

    def kill(self) -> None:
        """All of its processes at once, as by the kernel."""
        assert self.child is not None
        for pid, name in processes.marked(self.cluster.home).items():
            if name == processes.POSTGRES:
                processes._signal(pid, 9)
        self.child.process.wait()

    def execute(self, statement: str, database: str = "postgres") -> list[Any]:
        with psycopg.connect(self.dsn(database=database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []


@dataclass
class Drill:
    """A dataset under way: what is produced, and the drain that meets with the fault."""

    server: Server
    dataset: Dataset
    settings: Settings
    bootstrap: str  # for the producer, which goes past any proxy
    produced: int = 0
    reports: list[BatchReport] = field(default_factory=list)
    _ended: DrainReport | BaseException | None = None
    _thread: threading.Thread | None = None
    _stop: threading.Event = field(default_factory=threading.Event)

    def produce(self, count: int) -> None:
        """Publish that many events; keys come again and again with growing numbers."""
        producer = KafkaProducer(bootstrap_servers=self.bootstrap, acks="all", linger_ms=5)
        for number in range(self.produced, self.produced + count):
            key = f"k{number % KEYS}"
            producer.send(self.dataset.topic, key=key.encode(), value=json.dumps({"id": key, "pax": number}).encode())
        producer.flush()
        producer.close()
        self.produced += count

    def start(self) -> None:
        """Begin to drain, in a thread."""
        self._stop.clear()
        self._ended = None
        self._thread = threading.Thread(target=self._drain)
        self._thread.start()

    def wait_for_batches(self, count: int) -> None:
        """Return when ``count`` more batches than now have been committed."""
        wanted = len(self.reports) + count
        self.wait_until(lambda: len(self.reports) >= wanted)

    def wait_until(self, happened: Callable[[], object], timeout: float = 60.0) -> None:
        """Return when it has happened, while the drain goes on."""
        deadline = time.monotonic() + timeout
        while not happened():
            assert self._thread is not None
            assert self._thread.is_alive(), f"the drain ended: {self._ended!r}"
            assert time.monotonic() < deadline, f"not after {timeout:.0f} s; {len(self.reports)} batches"
            time.sleep(0.02)

    def end(self, timeout: float = 120.0) -> DrainReport | BaseException:
        """What became of the drain."""
        assert self._thread is not None
        self._thread.join(timeout)
        assert not self._thread.is_alive(), f"the drain still hangs after {timeout:.0f} s"
        assert self._ended is not None
        return self._ended

    def stop(self) -> None:
        """Have the drain leave after its batch."""
        self._stop.set()
        self.end()

    def finish(self) -> None:
        """Drain what is left, and hold the result to what was produced: nothing lost, nothing twice."""
        if self._thread is None or not self._thread.is_alive():
            self.start()
        ended = self.end()
        assert isinstance(ended, DrainReport), f"the drain ended: {ended!r}"
        self.check()

    def check(self) -> None:
        rows = dict(self.query("SELECT id, pax FROM curated.legs"))
        assert rows == {f"k{number % KEYS}": number for number in range(self.produced)}
        assert self.query('SELECT count(*), count(DISTINCT (epoch, partition, "offset")) FROM raw.legs') == [
            (self.produced, self.produced)
        ]
        assert self.query("SELECT sum(delivered), sum(loaded) FROM ingest.ranges") == [(self.produced, self.produced)]
        assert self.query("SELECT count(*) FROM ingest.quarantine") == [(0,)]

    def query(self, statement: str) -> list[Any]:
        return self.server.execute(statement, "pista")

    def _drain(self) -> None:
        try:
            self._ended = drain(
                self.dataset,
                self.settings,
                run_id=secrets.token_hex(4),
                should_stop=self._stop.is_set,
                on_batch=self.reports.append,
            )
        except BaseException as error:
            self._ended = error


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    home = tmp_path / "broker"
    port = free_port()
    broker = Broker(home, port, kafka.configure(home, port, free_port()))
    broker.start()
    yield broker
    processes.stop(home, {kafka.KAFKA}, [broker.child] if broker.child else [])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    cluster = postgres.locate(tmp_path / "server")
    (tmp_path / "server").mkdir()
    postgres.initialise(cluster, PASSWORD, durable=False)
    server = Server(cluster, free_port())
    server.start()
    server.execute("CREATE DATABASE pista")
    yield server
    processes.stop(cluster.home, {processes.POSTGRES}, [server.child] if server.child else [])
    shutil.rmtree(cluster.root, ignore_errors=True)


@pytest.fixture
def make_drill(server: Server, tmp_path: Path) -> Iterator[Callable[..., Drill]]:
    """``make_drill(bootstrap, direct=None, client="auto", replication=1)``: a dataset on a topic of its own."""
    drills = []

    def make(bootstrap: str, direct: str | None = None, client: str = "auto", replication: int = 1) -> Drill:
        from kafka import KafkaAdminClient

        topic = f"test.{secrets.token_hex(6)}"
        admin = KafkaAdminClient(bootstrap_servers=direct or bootstrap)
        admin.create_topics({topic: {"num_partitions": 2, "replication_factor": replication}}, wait_for_metadata=True)
        admin.close()
        dataset = Dataset("legs", "1.0.0", Kind.UPSERT, COLUMNS, ("id",), topic=topic, contract_hash="one")
        dsn = server.dsn(database="pista")
        migrate(dsn, {"legs": dataset}, dict.fromkeys(("pista_ingest", "pista_api"), PASSWORD))
        settings = Settings(
            home=tmp_path,
            postgres_dsn=dsn,
            ingest_dsn=server.dsn("pista_ingest", "pista"),
            kafka_bootstrap=bootstrap,
            kafka_client=client,
            batch_max_records=BATCH,
            drain_idle_seconds=1.0,
        )
        drills.append(Drill(server, dataset, settings, direct or bootstrap))
        return drills[-1]

    yield make
    for drill in drills:
        if drill._thread is not None:
            drill.stop()
