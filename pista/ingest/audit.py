"""The audit: who did what to a dataset, and why, in the transaction of its effect."""

import os
import pwd
import socket
from collections.abc import Mapping
from typing import Any

from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb


def record_audit(
    connection: Connection[TupleRow], command: str, dataset: str | None, detail: Mapping[str, Any], reason: str | None
) -> None:
    """Write a line of the audit inside the caller's transaction, so that it stands or falls with the effect.

    Args:
        connection: in the transaction of the effect.
        command: as it is typed, without its arguments, such as ``offsets reset``.
        dataset: its name; None where a command is of no single one.
        detail: exact numbers of what was done, as JSON holds them; no values of records.
        reason: in the operator's words; None where the command asks for none.
    """
    connection.execute(
        """
        INSERT INTO ingest.audit (who, command, dataset, detail, reason)
        VALUES (%s || ' (' || session_user || ')', %s, %s, %s, %s)
        """,
        (operator(), command, dataset, Jsonb(dict(detail)), reason),
    )


def operator() -> str:
    """User and host of this process, such as ``root@laptop``; a user without a name is its number."""
    number = os.getuid()
    try:
        name = pwd.getpwuid(number).pw_name
    except KeyError:  # a container may run as any number
        name = str(number)
    return f"{name}@{socket.gethostname()}"
