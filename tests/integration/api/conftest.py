"""An API process in a thread, over a database of its own with two datasets that hold every awkward value."""

import contextlib
import random
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest
import uvicorn
from psycopg import sql
from psycopg.types.json import Jsonb

from api.app import create_app
from pista.settings import Settings

KEY = "test-key-all"
LIMITED_KEY = "test-key-limited"
EXPIRED_KEY = "test-key-expired"
REVOKED_KEY = "test-key-revoked"

# name, logical type, SQL type, nullable
COLUMNS = [
    ("station", "string", "text", False),
    ("sensor", "integer", "integer", False),
    ("label", "string", "text", True),
    ("level", "integer", "smallint", True),
    ("total", "integer", "bigint", True),
    ("ratio", "number", "double precision", True),
    ("weight", "number", "real", True),
    ("flag", "boolean", "boolean", True),
    ("day", "date", "date", True),
    ("seen_at", "timestamp", "timestamptz", True),
    ("state", "string", "text", False),
]
STATES = ["open", "closed", "unknown"]
LABELS = [
    "", "a", "b", "ab", "a,b", "a b", "a.b", 'say "hi"', "back\\slash", "100%", "under_score", "undXrscore", "(x)",
    "null", "ñandú", "NAÏVE", "日本", "🛫 runway", "O'Hare", "'; DROP TABLE curated.readings; --", "$1", "a+b", "a&b=c",
    "*", "é", "e\u0301", "\t", "line\nbreak",
]  # fmt: skip


def make_readings() -> list[dict[str, Any]]:
    """Rows with nulls, ties, extremes and text of every sort; always the same."""
    dice = random.Random(7)

    def maybe(value: Any) -> Any:
        return None if dice.random() < 0.25 else value

    rows: list[dict[str, Any]] = []
    for station in ("", "A", "B,1", "c/d", "é", "日"):
        for sensor in range(40):
            day = date(2013, 1, 1) + timedelta(days=dice.randrange(5))
            rows.append(
                {
                    "station": station,
                    "sensor": sensor,
                    "label": maybe(dice.choice(LABELS)),
                    "level": maybe(dice.choice([-32768, -1, 0, 1, 2, 32767])),
                    "total": maybe(dice.choice([-(2**63), 0, 2**53 + 1, 2**63 - 1])),
                    "ratio": maybe(dice.choice([-1.5, 0.0, 0.1, 1e300, 5e-324])),
                    "weight": maybe(dice.choice([-0.25, 0.0, 0.5, 1024.0])),
                    "flag": maybe(dice.random() < 0.5),
                    "day": maybe(dice.choice([day, date.max, date.min])),
                    "seen_at": maybe(datetime(2013, 1, 1, dice.randrange(3), 0, 0, dice.choice([0, 1]), tzinfo=UTC)),
                    "state": dice.choice(STATES),
                }
            )
    return rows


@dataclass
class Api:
    """A running API and its database."""

    url: str
    admin_dsn: str
    api_dsn: str
    client: httpx.Client
    app: Any

    def execute(self, *statements: Any) -> None:
        with psycopg.connect(self.admin_dsn, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def publish(self, dataset: str) -> None:
        """What the end of an ingestion transaction does."""
        self.execute(
            sql.SQL(
                "UPDATE catalog.versions SET version = version + 1, published_at = clock_timestamp() WHERE dataset = {}"
            ).format(dataset),
            sql.SQL("NOTIFY pista_versions, {}").format(f'{{"dataset": "{dataset}"}}'),
        )

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.client.get(path, **options)


def declare(connection: Any, name: str, kind: str, key: list[str], columns: list[tuple[str, str, str, bool]]) -> None:
    """Catalog entries, table and column grants of a dataset, as a migration makes them."""
    connection.execute("SET ROLE pista_owner")
    connection.execute(
        "INSERT INTO catalog.datasets (name, kind, contract_version, contract_hash, description, domain, key,"
        " freshness, owner, support) VALUES (%s, %s, '1.0.0', %s, %s, 'tests', %s, '1 hour', 'the team', 'x@y')",
        [name, kind, secrets.token_hex(8), f"All of {name} <b>&amp;</b>", key],
    )
    for position, (column, logical, sql_type, nullable) in enumerate(columns):
        connection.execute(
            "INSERT INTO catalog.columns (dataset, position, name, logical_type, sql_type, nullable, description, unit,"
            " enum, examples) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [name, position, column, logical, sql_type, nullable, f"The {column}", "min" if column == "level" else None,
             Jsonb(STATES) if column == "state" else None, Jsonb(["open"]) if column == "state" else None],
        )  # fmt: skip
    system = [("_version", "bigint"), ("_updated_at", "timestamptz DEFAULT now()")]
    log = [("_epoch", "integer"), ("_partition", "integer"), ("_offset", "bigint")] if kind == "append" else []
    served = [(column, sql_type + ("" if nullable else " NOT NULL")) for column, _, sql_type, nullable in columns]
    definitions = ", ".join(f'"{column}" {text}' for column, text in [*served, ("hidden", "text"), *system, *log])
    names = ", ".join(f'"{column}"' for column, _ in [*served, *system, *log])
    connection.execute(f"CREATE TABLE curated.{name} ({definitions}, PRIMARY KEY ({', '.join(key)}))")
    connection.execute(f"GRANT SELECT ({names}) ON curated.{name} TO pista_api")
    connection.execute(
        "INSERT INTO catalog.versions (dataset, version, published_at, as_of) VALUES (%s, 1, now(), now())", [name]
    )
    connection.execute("RESET ROLE")


def fill(connection: Any, name: str, rows: list[dict[str, Any]]) -> None:
    names = list(rows[0])
    statement = sql.SQL("INSERT INTO curated.{} ({}, _version, hidden) VALUES ({}, 1, 'hidden')").format(
        sql.Identifier(name),
        sql.SQL(", ").join(map(sql.Identifier, names)),
        sql.SQL(", ").join(sql.Placeholder() * len(names)),
    )
    with connection.cursor() as cursor:
        cursor.executemany(statement, [list(row.values()) for row in rows])
    connection.execute("UPDATE catalog.versions SET row_count = %s WHERE dataset = %s", [len(rows), name])


@pytest.fixture(scope="session")
def readings() -> list[dict[str, Any]]:
    return make_readings()


@pytest.fixture(scope="module")
def api_database(postgres_server: Any, template_database: str, readings: list[dict[str, Any]]) -> Iterator[Any]:
    """``(admin_dsn, api_dsn)`` of a database with the datasets ``readings`` and ``events`` and four keys."""
    from pista.warehouse.connection import connect
    from pista.warehouse.roles import ensure_roles

    name = f"test_api_{secrets.token_hex(6)}"
    postgres_server.execute(f"CREATE DATABASE {name} TEMPLATE {template_database}")
    admin_dsn = postgres_server.dsn(name)
    try:
        with connect(admin_dsn, "pista tests") as connection:
            ensure_roles(connection, {})
            declare(connection, "readings", "upsert", ["station", "sensor"], COLUMNS)
            fill(connection, "readings", readings)
            declare(
                connection, "events", "append", ["_epoch", "_partition", "_offset"], [("note", "string", "text", True)]
            )
            fill(
                connection,
                "events",
                [{"note": f"n{i}", "_epoch": 0, "_partition": i % 3, "_offset": i} for i in range(90)],
            )
            connection.execute(
                "INSERT INTO access.keys (name, hash, datasets, expires_at, revoked_at) VALUES"
                " ('all', access.hash_key(%s), NULL, NULL, NULL),"
                " ('limited', access.hash_key(%s), '{events}', NULL, NULL),"
                " ('expired', access.hash_key(%s), NULL, now() - interval '1 s', NULL),"
                " ('revoked', access.hash_key(%s), NULL, NULL, now())",
                [KEY, LIMITED_KEY, EXPIRED_KEY, REVOKED_KEY],
            )
        yield admin_dsn, postgres_server.dsn(name, "pista_api")
    finally:
        postgres_server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextlib.contextmanager
def _serve(admin_dsn: str, api_dsn: str, **options: Any) -> Iterator[Api]:
    app = create_app(Settings(api_dsn=api_dsn, **options))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False, timeout_graceful_shutdown=5))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 15
        while not server.started:
            assert thread.is_alive(), "the API ended at once"
            assert time.monotonic() < deadline, "the API did not start"
            time.sleep(0.01)
        url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        with httpx.Client(base_url=url, headers={"X-API-Key": KEY}, timeout=20) as client:
            yield Api(url, admin_dsn, api_dsn, client, app)
    finally:
        server.should_exit = True
        thread.join(15)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def serve(api_database: tuple[str, str]) -> Callable[..., AbstractContextManager[Api]]:
    """``with serve(api_pool_size=1) as api``: an API of one's own over the module's database."""

    def start(**options: Any) -> AbstractContextManager[Api]:
        return _serve(api_database[0], **({"api_dsn": api_database[1]} | options))

    return start


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A loopback port on which nobody listens while the test runs."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.fixture(scope="module")
def api(serve: Callable[..., AbstractContextManager[Api]]) -> Iterator[Api]:
    """An API with default settings."""
    with serve() as running:
        yield running
