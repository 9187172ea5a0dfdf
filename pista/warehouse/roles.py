"""Database roles: who may do what, and the limits each connection starts with."""

from collections.abc import Mapping

from psycopg import Connection, sql
from psycopg.rows import TupleRow

OWNER = "pista_owner"
INGEST = "pista_ingest"
API = "pista_api"

# Limits belong to the role, so that no connection can forget them. A lost node frees its locks by the keepalives.
SESSION = {
    INGEST: {
        "TimeZone": "UTC",
        "lock_timeout": "30s",
        "idle_in_transaction_session_timeout": "30s",
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "4",
    },
    API: {
        "TimeZone": "UTC",
        "default_transaction_read_only": "on",
        "idle_in_transaction_session_timeout": "30s",
    },
}


def ensure_roles(connection: Connection[TupleRow], passwords: Mapping[str, str]) -> list[str]:
    """Create the roles that are missing, with their limits; set the passwords that are given.

    Args:
        connection: of a role that may create roles, in the database of Pista.
        passwords: role name to password; a role without one keeps what it has.

    Returns:
        Sentences of what changed.
    """
    done = []
    existing = {name for (name,) in connection.execute("SELECT rolname FROM pg_roles")}
    for role, login in ((OWNER, False), (INGEST, True), (API, True)):
        name = sql.Identifier(role)
        if role not in existing:
            # another database of the same server may be creating it at this moment
            connection.execute(
                sql.SQL(
                    "DO $do$ BEGIN CREATE ROLE {} {}; "
                    "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $do$"
                ).format(name, sql.SQL("LOGIN" if login else "NOLOGIN"))
            )
            for setting, value in SESSION.get(role, {}).items():
                connection.execute(
                    sql.SQL("ALTER ROLE {} SET {} = {}").format(name, sql.Identifier(setting), sql.Literal(value))
                )
            done.append(f"created role {role}")
    for role, password in passwords.items():
        # the verifier is computed here, so that the password reaches neither the server nor its log
        verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
        connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(verifier)))
    (member,) = _one(connection, "SELECT pg_has_role(current_user, %s, 'MEMBER')", OWNER)
    if not member:
        connection.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(OWNER)))
    (database,) = _one(connection, "SELECT current_database()")
    name = sql.Identifier(database)
    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))
    # a batch is staged in a temporary table, by drains and by rebuilds
    connection.execute(
        sql.SQL("GRANT CREATE, CONNECT, TEMPORARY ON DATABASE {} TO {}").format(name, sql.Identifier(OWNER))
    )
    connection.execute(sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {} TO {}").format(name, sql.Identifier(INGEST)))
    connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(name, sql.Identifier(API)))
    return done


def _one(connection: Connection[TupleRow], query: str, *arguments: object) -> TupleRow:
    row = connection.execute(query.encode(), arguments or None).fetchone()
    assert row is not None
    return row
