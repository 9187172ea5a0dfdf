"""The audit stands or falls with the effect, and nobody can rewrite it."""

import psycopg
import pytest

from pista.ingest.audit import operator, record_audit
from pista.settings import Settings
from pista.warehouse.connection import connect


def test_a_line_says_who_what_and_why_and_goes_with_its_transaction(settings: Settings) -> None:
    dsn = settings.ingest_dsn.get_secret_value()  # type: ignore[union-attr]
    with connect(dsn, "test") as connection:
        with connection.transaction():
            record_audit(connection, "offsets reset", "flights", {"lost": 7}, "topic was emptied")
        with connection.transaction(force_rollback=True):
            record_audit(connection, "offsets reset", "flights", {}, "rolled back")
        rows = connection.execute("SELECT who, command, dataset, detail, reason FROM ingest.audit").fetchall()
        assert rows == [
            (f"{operator()} (pista_ingest)", "offsets reset", "flights", {"lost": 7}, "topic was emptied"),
        ]
        for change in ("UPDATE ingest.audit SET who = 'nobody'", "DELETE FROM ingest.audit"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(change.encode())
