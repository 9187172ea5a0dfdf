"""Reconciliation finds nothing in what drains wrote, and everything that was taken from it or put into it."""

from datetime import timedelta

import pytest

from pista.ingest import again
from pista.ingest.reconcile import Account, reconcile
from pista.warehouse.connection import connect

from .conftest import Command, Lab, event

HOUR = timedelta(hours=1)


def accounts(lab: Lab, window: timedelta = HOUR) -> list[Account]:
    with connect(str(lab.settings.ingest_dsn.get_secret_value()), "pista tests") as connection:  # type: ignore[union-attr]
        return reconcile(connection, [lab.dataset], window)


def faults(lab: Lab) -> list[str]:
    return [fault for account in accounts(lab) for fault in account.faults]


@pytest.fixture
def loaded(lab: Lab) -> Lab:
    """Two batches in partition 0, of which three records are in quarantine."""
    lab.produce([event("a"), event("b"), event("c", state="lost"), event("d", state="lost")], partition=0)
    lab.drain()
    lab.produce([event("e"), event("f", state="lost"), event("g")], partition=0)
    lab.drain()
    return lab


def test_what_drains_and_retries_wrote_adds_up(loaded: Lab) -> None:
    (account,) = accounts(loaded)
    assert account.faults == []
    assert (account.start, account.end, account.delivered, account.loaded, account.quarantined) == (0, 7, 7, 4, 3)
    loaded.execute("UPDATE ingest.quarantine SET value = replace(convert_from(value, 'UTF8'), 'lost', 'on')::bytea")
    with connect(str(loaded.settings.ingest_dsn.get_secret_value()), "pista tests") as connection:  # type: ignore[union-attr]
        again.retry(connection, loaded.dataset, loaded.settings, run_id="retry")
    (account,) = accounts(loaded)
    assert account.retried == 3
    assert account.in_raw == 7
    assert account.faults == []


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ('DELETE FROM raw.legs WHERE "offset" = 1', "offsets [0, 7): 4 records were loaded, but raw has 3."),
        ('INSERT INTO raw.legs SELECT * FROM raw.legs WHERE "offset" = 1', "4 records were loaded, but raw has 5."),
        ('DELETE FROM ingest.quarantine WHERE "offset" = 2', "3 records were quarantined, but quarantine has 2."),
        (
            "UPDATE ingest.ranges SET filtered = 1 WHERE start_offset = 0",
            "7 records were delivered, but 4 loaded, 3 quarantined and 1 filtered.",
        ),
        ("UPDATE ingest.ranges SET end_offset = 3 WHERE start_offset = 0", "1 offsets were passed by no batch."),
    ],
)
def test_damage_is_a_sentence(loaded: Lab, damage: str, sentence: str) -> None:
    loaded.execute(damage)
    (fault,) = faults(loaded)
    assert fault.startswith("dataset legs, partition 0, offsets [0, 7): ")
    assert fault.endswith(sentence)


def test_what_an_operator_gave_up_is_not_missing_and_may_come_later(loaded: Lab, command: Command) -> None:
    loaded.produce([event(str(n), state="on" if n % 2 else "lost") for n in range(6)], partition=0)
    done = command("offsets", "reset", "legs", "--to", "0:10", "--reason", "a test of producers", "--yes")
    assert done.exit_code == 0, done.output
    loaded.drain()
    (account,) = accounts(loaded)
    assert (account.start, account.end, account.missing, account.faults) == (0, 13, 0, [])
    command("dataset", "replay", "legs", "--partition", "0", "--from", "8", "--to", "10")
    assert loaded.value("SELECT count(*) FROM raw.legs") == 7
    assert faults(loaded) == []
    command("offsets", "reset", "legs", "--to", "0:2", "--reason", "and all of it after all", "--yes")
    loaded.drain()
    assert loaded.value("SELECT count(*) FROM raw.legs") == 7
    assert loaded.value("SELECT count(*) FROM ingest.quarantine") == 6
    assert faults(loaded) == []


def test_what_is_older_than_the_window_is_not_read(loaded: Lab) -> None:
    loaded.execute("UPDATE ingest.batches SET committed_at = now() - interval '2 hours'")
    loaded.execute("DELETE FROM raw.legs")
    assert accounts(loaded) == []
