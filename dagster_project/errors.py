"""Errors of the database without the rows that they quote: Dagster's event log is no place for personal data."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psycopg

DATA_EXCEPTION = "22"  # class of SQLSTATE; its messages quote the value: invalid input syntax for type integer: "x"


class DatabaseError(Exception):
    """What the database refused, told without any value of a row."""


@contextmanager
def without_row_values() -> Iterator[None]:
    """Let no error of psycopg through as it is.

    Its DETAIL shows rows ("Failing row contains ..."), and Dagster stores the text of an error with all its causes.

    Raises:
        DatabaseError: instead of a ``psycopg.Error``.
    """
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        raise DatabaseError(sentence(error)) from None


def sentence(error: "psycopg.Error") -> str:
    """Primary message and SQLSTATE, or else the class of the error; a failure to connect keeps its first line."""
    import psycopg

    primary = error.diag.message_primary
    if error.sqlstate is None:
        away = isinstance(error, psycopg.OperationalError)  # it comes from the client's side and has seen no row
        return str(error).splitlines()[0] if away and str(error) else type(error).__name__
    if primary and error.sqlstate.startswith(DATA_EXCEPTION):
        primary = primary.partition('"')[0].rstrip(" :")
    return f"{primary or type(error).__name__} (SQLSTATE {error.sqlstate})"
