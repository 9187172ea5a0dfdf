"""PostgreSQL and Kafka of the comparison's own, on loopback, stopped at its end whatever happens."""

import contextlib
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg

from benchmarks.ingest.topic import COLUMNS, MOMENTS
from pista.contracts.dataset import Dataset
from pista.contracts.loading import load_datasets
from pista.local import kafka, postgres, processes
from pista.local.state import free_port
from pista.warehouse.migrate import migrate
from pista.warehouse.names import quote, quote_all

REPOSITORY = Path(__file__).resolve().parents[2]
TABLE = "public.flights"  # of peers


@dataclass(frozen=True, slots=True)
class Servers:
    """Where everything is."""

    home: Path
    bootstrap: str
    port: int
    postmaster: int  # process id
    password: str

    def dsn(self, database: str, user: str = postgres.SUPERUSER) -> str:
        """Connection URI of a database."""
        return postgres.dsn(self.port, self.password, database, user)

    def execute(self, database: str, *statements: str) -> None:
        """Run statements as the administrator, each committed by itself."""
        with psycopg.connect(self.dsn(database), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())


@dataclass(frozen=True, slots=True)
class Database:
    """An empty database for one run."""

    servers: Servers
    name: str

    @property
    def admin_dsn(self) -> str:
        """Connection as administrator."""
        return self.servers.dsn(self.name)

    @property
    def ingest_dsn(self) -> str:
        """Connection as Pista's role for ingestion."""
        return self.servers.dsn(self.name, "pista_ingest")

    def migrate(self) -> Dataset:
        """Pista's schema with the tables of the flights contract."""
        dataset = flights()
        passwords = dict.fromkeys(("pista_ingest", "pista_api"), self.servers.password)
        migrate(self.admin_dsn, {dataset.name: dataset}, passwords)
        return dataset

    def create_table(self, table: str = TABLE, *, keyed: bool = True, days_as_text: bool = False) -> None:
        """A table with the contract's columns and, if wanted, its key."""
        dataset, lines = flights(), []
        for column in dataset.columns:
            kind = "text" if days_as_text and column.sql_type == "date" else column.sql_type
            lines.append(f"{quote(column.name)} {kind}" + (' COLLATE "C"' if kind == "text" else ""))
        if keyed:
            lines.append(f"PRIMARY KEY ({quote_all(dataset.key)})")
        self.servers.execute(self.name, f"CREATE TABLE {table} ({', '.join(lines)})")

    def rows(self, relation: str) -> list[str]:
        """The rows of a table, or of a query in brackets, by key; lines as of ``topic.line``."""
        columns = ", ".join(
            f"""to_char({name} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')""" if name in MOMENTS else name
            for name in COLUMNS
        )
        statement = f'COPY (SELECT {columns} FROM {relation} r ORDER BY flight_id COLLATE "C") TO STDOUT'
        with psycopg.connect(self.admin_dsn) as connection, connection.cursor().copy(statement.encode()) as copy:
            return b"".join(bytes(part) for part in copy).decode().splitlines()


def flights() -> Dataset:
    """The contract of the repository."""
    return load_datasets(REPOSITORY / "datasets")["flights"]


@contextlib.contextmanager
def servers() -> Iterator[Servers]:
    """Both servers, started; PostgreSQL as `pista up` runs it, with every commit on disk."""
    # resolved, because macOS keeps temporary files behind a symbolic link
    home = Path(tempfile.mkdtemp(prefix="pista-bench-")).resolve()
    password = secrets.token_hex(16)
    port, kafka_port = free_port(), free_port()
    cluster = postgres.locate(home)
    children = []
    try:
        postgres.initialise(cluster, password)
        children.append(postgres.launch(cluster, port))
        children.append(kafka.launch(home, kafka.configure(home, kafka_port, free_port())))
        postgres.wait_ready(children[0], postgres.dsn(port, password))
        kafka.wait_ready(children[1], kafka_port)
        yield Servers(home, f"127.0.0.1:{kafka_port}", port, children[0].process.pid, password)
    finally:
        processes.stop(home, {postgres.POSTGRES, kafka.KAFKA}, children)
        shutil.rmtree(cluster.root, ignore_errors=True)
        shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def database(running: Servers) -> Iterator[Database]:
    """An empty database, dropped at the end."""
    name = f"bench_{secrets.token_hex(4)}"
    # what an earlier run left to be written is not this one's to pay
    running.execute("postgres", f"CREATE DATABASE {name}", "CHECKPOINT")
    try:
        yield Database(running, name)
    finally:
        running.execute("postgres", f"DROP DATABASE {name} WITH (FORCE)")
