"""Connections to PostgreSQL for everything but the API."""

import psycopg
from psycopg import Connection
from psycopg.rows import TupleRow


def connect(dsn: str, application_name: str) -> Connection[TupleRow]:
    """An autocommit connection whose dead peer is noticed within about 30 seconds.

    Raises:
        psycopg.OperationalError: the server cannot be reached or refuses.
    """
    return psycopg.connect(
        dsn,
        autocommit=True,
        application_name=application_name,
        connect_timeout=10,
        keepalives=1,
        keepalives_idle=10,
        keepalives_interval=5,
        keepalives_count=4,
        tcp_user_timeout=30_000,
    )
