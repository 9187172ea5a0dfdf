"""Servers and databases that tests share: a real PostgreSQL and a real Kafka, started once for all tests.

Fixtures
    postgres_server  embedded PostgreSQL of this test run (``admin_dsn``, ``port``)
    database         a database of the test's own, migrated, with roles: ``admin_dsn``, ``ingest_dsn``, ``api_dsn``
    empty_database   a database of the test's own without anything in it
    kafka_server     embedded Kafka of this test run: its bootstrap address
    create_topic     function that makes a topic with a name of its own and returns the name
    settings         ``Settings`` of a process that uses ``database`` and ``kafka_server``
    eventually       function that asks a predicate until it is true, or fails with the last answer
    require          function that skips loudly, or fails under PISTA_REQUIRE_ALL=1
"""

import contextlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pista.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[1]
PASSWORD = secrets.token_hex(16)  # of every role of the test server
ROLES = ("pista_ingest", "pista_api")
TEMPLATE = "pista_template"


@dataclass(frozen=True)
class Server:
    """A PostgreSQL server."""

    port: int

    def dsn(self, database: str = "postgres", user: str = "postgres") -> str:
        return f"postgresql://{user}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    @property
    def admin_dsn(self) -> str:
        return self.dsn()

    def execute(self, statement: str) -> None:
        import psycopg

        with psycopg.connect(self.admin_dsn, autocommit=True) as connection:
            connection.execute(statement.encode())


@dataclass(frozen=True)
class Database:
    """A database of one test."""

    name: str
    admin_dsn: str
    ingest_dsn: str
    api_dsn: str


def pytest_addoption(parser: pytest.Parser) -> None:
    """How long the tests that can go on for ever go on."""
    parser.addoption("--kills", default=30, type=int, help="Drains to kill in tests/integration/ingest/test_kill.py.")


def pytest_configure(config: pytest.Config) -> None:
    """Warnings are errors, but for this one: kafka-python reads its schemas so when imported."""
    config.addinivalue_line("filterwarnings", "ignore:(read|open)_text is deprecated:DeprecationWarning")


def _require(component: str, available: bool, reason: str = "") -> None:
    if not available:
        text = f"{component} is not available on this machine{': ' if reason else ''}{reason}"
        if os.environ.get("PISTA_REQUIRE_ALL") == "1":
            pytest.fail(text, pytrace=False)
        pytest.skip(text)


@pytest.fixture(scope="session")
def require() -> Callable[..., None]:
    """``require("Chromium", path is not None)``: skip the test, or fail it under PISTA_REQUIRE_ALL=1."""
    return _require


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Name every skipped test, with its reason, whatever the options."""
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        terminalreporter.write_line(f"SKIPPED {report.nodeid}: {reason}", yellow=True)


@pytest.fixture(scope="session")
def eventually() -> Callable[..., Any]:
    """``eventually(predicate, timeout=30.0)``: the first true answer of the predicate within ``timeout`` seconds."""

    def ask(predicate: Callable[[], Any], timeout: float = 30.0) -> Any:
        deadline = time.monotonic() + timeout
        while not (answer := predicate()):
            if time.monotonic() > deadline:
                pytest.fail(f"not true after {timeout:.0f} s; the last answer was {answer!r}")
            time.sleep(0.05)
        return answer

    return ask


@pytest.fixture(scope="session")
def stack_home() -> Iterator[Path]:
    """Home of this test run's servers; what a killed test run left behind is cleared away first."""
    from pista.local import kafka, postgres, processes

    prefix = "pista-tests-"
    for left in Path(tempfile.gettempdir()).resolve().glob(f"{prefix}*"):
        if not processes.is_alive(int(left.name.removeprefix(prefix).partition("-")[0])):
            processes.stop(left, {postgres.POSTGRES, kafka.KAFKA})
            shutil.rmtree(postgres.locate(left).root, ignore_errors=True)
            shutil.rmtree(left, ignore_errors=True)
    # resolved, because macOS keeps temporary files behind a symbolic link
    home = Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-")).resolve()
    yield home
    shutil.rmtree(postgres.locate(home).root, ignore_errors=True)
    shutil.rmtree(home)


@pytest.fixture(scope="session")
def postgres_server(stack_home: Path) -> Iterator[Server]:
    from pista.local import postgres, processes
    from pista.local.state import free_port

    server = Server(free_port())
    cluster = postgres.locate(stack_home)
    postgres.initialise(cluster, PASSWORD, durable=False)
    child = postgres.launch(cluster, server.port, durable=False)
    try:
        postgres.wait_ready(child, server.admin_dsn)
        yield server
    finally:
        processes.stop(stack_home, {postgres.POSTGRES}, [child])


@pytest.fixture(scope="session")
def kafka_server(stack_home: Path) -> Iterator[str]:
    from pista.local import kafka, processes
    from pista.local.state import free_port

    port = free_port()
    child = kafka.launch(stack_home, kafka.configure(stack_home, port, free_port()))
    try:
        kafka.wait_ready(child, port)
        yield f"127.0.0.1:{port}"
    finally:
        processes.stop(stack_home, {kafka.KAFKA}, [child])


@contextlib.contextmanager
def _database(server: Server, template: str) -> Iterator[Database]:
    name = f"test_{secrets.token_hex(6)}"
    server.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield Database(name, server.dsn(name), *(server.dsn(name, role) for role in ROLES))
    finally:
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def empty_database(postgres_server: Server) -> Iterator[Database]:
    with _database(postgres_server, "template1") as database:
        yield database


@pytest.fixture(scope="session")
def template_database(postgres_server: Server) -> str:
    """A database with roles, migrations and the tables of the repository's contracts, to be cloned."""
    from pista.contracts.loading import load_datasets
    from pista.warehouse.migrate import migrate

    postgres_server.execute(f"CREATE DATABASE {TEMPLATE}")
    passwords = dict.fromkeys(ROLES, PASSWORD)
    migrate(postgres_server.dsn(TEMPLATE), load_datasets(REPOSITORY / "datasets"), passwords)
    return TEMPLATE


@pytest.fixture
def database(postgres_server: Server, template_database: str) -> Iterator[Database]:
    from pista.warehouse.connection import connect
    from pista.warehouse.roles import ensure_roles

    with _database(postgres_server, template_database) as database:
        with connect(database.admin_dsn, "pista tests") as connection:
            ensure_roles(connection, {})  # a clone has no grants on the database itself
        yield database


@pytest.fixture
def create_topic(kafka_server: str) -> Iterator[Callable[..., str]]:
    """``create_topic(partitions=1, name=None, **configs)``: the name of a new topic, deleted after the test."""
    from kafka import KafkaAdminClient

    admin = KafkaAdminClient(bootstrap_servers=kafka_server)
    made = []

    def create(partitions: int = 1, name: str | None = None, **configs: str) -> str:
        topic = name or f"test.{secrets.token_hex(6)}"
        dotted = {key.replace("_", "."): value for key, value in configs.items()}
        admin.create_topics({topic: {"num_partitions": partitions, "configs": dotted}}, wait_for_metadata=True)
        made.append(topic)
        return topic

    try:
        yield create
        if made:
            admin.delete_topics(made)
    finally:
        admin.close()


@pytest.fixture
def settings(database: Database, kafka_server: str, tmp_path: Path) -> Settings:
    """Settings of a process that uses the test's database and the test run's Kafka."""
    return Settings(
        home=tmp_path,
        datasets_dir=REPOSITORY / "datasets",
        postgres_dsn=database.admin_dsn,
        ingest_dsn=database.ingest_dsn,
        api_dsn=database.api_dsn,
        kafka_bootstrap=kafka_server,
    )
