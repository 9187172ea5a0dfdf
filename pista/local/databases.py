"""What the stack needs inside PostgreSQL before its programs start: databases, Dagster's role, the demo key."""

from urllib.parse import quote, urlencode

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from pista.local.processes import StackError
from pista.local.state import Credentials
from pista.warehouse.connection import connect

PISTA = "pista"
DAGSTER = "dagster"
DEMO_KEY = "demo"
MINIMUM_VERSION = 180000


def uri(dsn: str, *, user: str | None = None, password: str | None = None, database: str | None = None) -> str:
    """The connection as a URI, which every driver takes, with other credentials or another database if given."""
    parts = {name: str(value) for name, value in conninfo_to_dict(dsn).items() if value is not None}
    parts |= {"user": user, "password": password} if user and password else {}
    parts |= {"dbname": database} if database else {}
    login = ":".join(quote(parts.pop(name), safe="") for name in ("user", "password") if name in parts)
    host, port = parts.pop("host", "127.0.0.1"), parts.pop("port", "5432")
    path = quote(parts.pop("dbname", "postgres"), safe="")
    options = f"?{urlencode(parts)}" if parts else ""
    return f"postgresql://{login}@{host}:{port}/{path}{options}"


def check_external(dsn: str) -> None:
    """Raise StackError if the server of the user's own cannot be reached or is too old."""
    try:
        with psycopg.connect(dsn, connect_timeout=10) as connection:
            version = connection.info.server_version
    except psycopg.OperationalError as error:
        raise StackError(f"The PostgreSQL of PISTA_POSTGRES_DSN cannot be used: {error}") from error
    if version < MINIMUM_VERSION:
        raise StackError(
            f"The PostgreSQL of PISTA_POSTGRES_DSN has version {version // 10000}; Pista needs 18 or later. "
            "Unset the variable, and `pista up` starts one of its own."
        )


def ensure_database(dsn: str, name: str, owner: str | None = None) -> None:
    """Create the database if it is missing."""
    with connect(dsn, "pista up") as connection:
        if connection.execute("SELECT FROM pg_database WHERE datname = %s", (name,)).fetchone() is None:
            statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
            if owner:
                statement += sql.SQL(" OWNER {}").format(sql.Identifier(owner))
            connection.execute(statement)


def ensure_dagster(dsn: str, password: str) -> None:
    """Dagster's own role and database."""
    with connect(dsn, "pista up") as connection:
        if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (DAGSTER,)).fetchone() is None:
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(DAGSTER)))
        verifier = connection.pgconn.encrypt_password(password.encode(), DAGSTER.encode(), b"scram-sha-256").decode()
        connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(DAGSTER), sql.Literal(verifier)))
        connection.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(DAGSTER)))
    ensure_database(dsn, DAGSTER, owner=DAGSTER)


def ensure_demo_key(dsn: str, credentials: Credentials) -> None:
    """The local demo key, as ``credentials.json`` has it; the schema must be there."""
    with connect(dsn, "pista up") as connection:
        connection.execute(
            """
            INSERT INTO access.keys (name, hash) VALUES (%s, access.hash_key(%s))
            ON CONFLICT (name) DO UPDATE SET hash = excluded.hash WHERE keys.hash <> excluded.hash
            """,
            (DEMO_KEY, credentials.api_key),
        )


def dagster_has_tables(dsn: str) -> bool:
    """Whether Dagster's storage has been laid out: its programs must not do it at the same time."""
    with connect(dsn, "pista up") as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_tables WHERE tablename IN ('runs', 'event_logs', 'job_ticks', 'daemon_heartbeats')"
        ).fetchone()
    return row is not None and row[0] == 4
