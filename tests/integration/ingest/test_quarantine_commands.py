"""What an operator does with records in quarantine: look without seeing personal data, mend, export, give up."""

import base64
import json
import stat
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from pista.ingest.inspection import readable
from pista.ingest.upkeep import measure_level, purge_quarantine
from pista.warehouse.connection import connect

from .conftest import Command, Lab, event


@pytest.fixture
def filled(lab: Lab) -> Lab:
    """Two records of a state that the contract does not know, one that is no JSON, one with a bad passport."""
    lab.produce(
        [
            event("a", state="new", passport="P1"),
            event("b", state="new"),
            (b"k", b"{\x1b[2J"),
            event("c", passport=["SECRET"]),
            event("good"),
        ],
        partition=0,
    )
    lab.drain()
    return lab


def without_personal_columns(lab: Lab) -> None:
    lab.dataset = replace(lab.dataset, columns=lab.dataset.columns[:-1])


def mend(lab: Lab) -> None:
    state = replace(lab.dataset.columns[1], enum=("on", "off", "new"))
    columns = (lab.dataset.columns[0], state, *lab.dataset.columns[2:])
    lab.dataset = replace(lab.dataset, columns=columns, contract_hash="two")
    lab.migrate()


def audit(lab: Lab) -> list[tuple[str, str | None]]:
    return lab.query("SELECT command, reason FROM ingest.audit ORDER BY id")


def test_list_filters_and_counts_by_reason(filled: Lab, command: Command) -> None:
    output = command("quarantine", "list", "legs").output
    assert "4 records." in output.replace("4 of 4", "4")
    assert [line.split() for line in output.splitlines()[-3:]] == [
        ["2", "legs", "not_in_enum"], ["1", "legs", "not_json"], ["1", "legs", "wrong_type"],
    ]  # fmt: skip
    assert "field 'state' is \"new\"; valid: on, off" in output
    assert "SECRET" not in output
    only = command("quarantine", "list", "--reason", "not_in_enum", "--limit", "1").output
    assert "1 of 2 records; --limit 2 lists all." in only
    assert "No such record" in command("quarantine", "list", "--since", "2099-01-01T00:00:00Z").output
    assert command("quarantine", "list", "--since", "2013-01-01T00:00:00Z").output == output
    for arguments, sentence in (
        (["leg"], "no dataset is named leg"),
        (["--reason", "bad"], "no reason is named bad"),
        (["--since", "soon"], "'soon' is no"),
    ):
        refused = command("quarantine", "list", *arguments)
        assert refused.exit_code == 1
        assert sentence in refused.output


def test_show_hides_what_may_be_personal_until_it_is_revealed_by_name(filled: Lab, command: Command) -> None:
    (number,) = filled.query("SELECT id FROM ingest.quarantine WHERE reason = 'wrong_type'")[0]
    masked = command("quarantine", "show", str(number)).output
    assert "SECRET" not in masked
    assert "value     (personal; --reveal shows it)" in masked
    assert audit(filled) == []
    revealed = command("quarantine", "show", str(number), "--reveal", "--reason", "the producer asks").output
    assert '"SECRET"' in revealed
    assert audit(filled) == [("quarantine show", "the producer asks")]


def test_show_is_readable_and_harmless_to_a_terminal(filled: Lab, command: Command) -> None:
    without_personal_columns(filled)
    (number,) = filled.query("SELECT id FROM ingest.quarantine WHERE reason = 'not_json'")[0]
    output = command("quarantine", "show", str(number)).output
    assert "value     {\\x1b[2J" in output
    assert "key       k" in output
    assert readable(b'{"a":1}') == '{\n  "a": 1\n}'
    assert readable(b"\xff\x00") == "2 bytes that are not UTF-8, in base64: /wA="
    assert readable(None) == "none"


def test_export_is_ndjson_masked_unless_revealed_and_nobody_elses_to_read(
    filled: Lab, command: Command, tmp_path: Path
) -> None:
    file = tmp_path / "bad.ndjson"
    done = command("quarantine", "export", "legs", "--to", str(file))
    assert done.exit_code == 0, done.output
    assert "4 records, without key and value" in done.output
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert [line["offset"] for line in lines] == [0, 1, 2, 3]
    assert {(line["masked"], line["value"]) for line in lines} == {(True, None)}
    assert "SECRET" not in file.read_text(encoding="utf-8")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "is not there yet" in command("quarantine", "export", "legs", "--to", str(file)).output
    file.unlink()
    command("quarantine", "export", "legs", "--to", str(file), "--reveal")
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert base64.b64decode(lines[2]["value"]) == b"{\x1b[2J"
    assert audit(filled) == [("quarantine export", None)]


def test_retry_after_a_contract_fix_loads_once_and_says_what_remains(filled: Lab, command: Command) -> None:
    mend(filled)
    done = command("quarantine", "retry", "legs")
    assert "4 records tried, 2 loaded, 2 still in quarantine." in done.output
    assert "1  legs  not_json" in done.output
    assert "2 records tried, 0 loaded" in command("quarantine", "retry", "legs").output
    assert filled.value("SELECT count(*) FROM raw.legs") == 3
    filled.reconcile()
    assert audit(filled) == [("quarantine retry", None)] * 2


def test_records_are_given_up_one_by_one_or_all_together(filled: Lab, command: Command) -> None:
    (number,) = filled.query("SELECT id FROM ingest.quarantine WHERE reason = 'not_json'")[0]
    one = command("quarantine", "discard", "legs", "--number", str(number), "--reason", "a test client", "--yes")
    assert "1 records given up." in one.output
    assert command("quarantine", "discard", "legs", "--reason", "x", given="n\n").exit_code == 1
    assert "3 records given up." in command("quarantine", "discard", "legs", "--reason", "old", "--yes").output
    assert command("quarantine", "discard", "legs", "--reason", "x", "--yes").exit_code == 1
    assert "No record is in quarantine." in command("quarantine", "list").output
    assert filled.value("SELECT count(*) FROM ingest.quarantine WHERE discarded_at IS NOT NULL") == 4
    assert audit(filled) == [("quarantine discard", "a test client"), ("quarantine discard", "old")]


def test_retention_takes_resolved_and_then_open_records_and_counts_both(filled: Lab, command: Command) -> None:
    mend(filled)
    command("quarantine", "retry", "legs")
    dsn = filled.settings.ingest_dsn.get_secret_value()  # type: ignore[union-attr]
    with psycopg.connect(filled.admin_dsn) as connection:
        connection.execute(
            "UPDATE ingest.quarantine SET resolved_at = now() - interval '8 days' WHERE resolved_at > '-infinity'"
        )
        connection.execute(
            "UPDATE ingest.quarantine SET quarantined_at = now() - interval '8 days' WHERE reason = 'not_json'"
        )
    with connect(dsn, "test") as connection:
        assert purge_quarantine(connection, 9) == []
        (purged,) = purge_quarantine(connection, 7)
        assert (purged.dataset, purged.resolved, purged.open) == ("legs", 2, 1)
        assert purge_quarantine(connection, 7) == []
    assert filled.query("SELECT reason FROM ingest.quarantine") == [("wrong_type",)]
    assert filled.query("SELECT detail, reason FROM ingest.audit WHERE command = 'quarantine purge'") == [
        ({"resolved": 2, "open": 1, "days": 7}, "retention of 7 days")
    ]


def test_the_level_compares_open_records_with_what_was_loaded(filled: Lab) -> None:
    dsn = filled.settings.ingest_dsn.get_secret_value()  # type: ignore[union-attr]
    with connect(dsn, "test") as connection:
        level = measure_level(connection, filled.dataset)
        assert (level.open, level.loaded, level.share, level.passed) == (4, 1, 0.8, False)
        assert measure_level(connection, replace(filled.dataset, quarantine_share=0.8)).passed
        with psycopg.connect(filled.admin_dsn) as admin:
            admin.execute("UPDATE ingest.batches SET committed_at = now() - interval '25 hours'")
        assert measure_level(connection, filled.dataset).loaded == 0
