"""Topics that nobody here controls, from the broker to the tables: mixed, nested, changing, unknown, not kept."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from pista.contracts.dataset import Coercion, Column, Filter, LogicalType, Origin
from pista.ingest import again
from pista.ingest.conditions import QuarantineFlood
from pista.ingest.reconcile import reconcile
from pista.warehouse.connection import connect

from .conftest import Lab, event

LEG = Filter("type", Origin.VALUE, (), ("leg",))
FOREIGN = (
    Column("id", "flight.id", LogicalType.STRING, "text", required=True, path=("flight", "id")),
    Column("legs", "legs", LogicalType.ARRAY, "jsonb"),
    Column("pax", "pax", LogicalType.INTEGER, "integer", coercion=Coercion.TEXT),
    Column("sent_at", "ms", LogicalType.TIMESTAMP, "timestamptz", coercion=Coercion.EPOCH_MS),
    Column("trace", "header.trace", LogicalType.STRING, "text", origin=Origin.HEADER, path=("trace",)),
    Column("partition", "record.partition", LogicalType.INTEGER, "integer", origin=Origin.RECORD, path=("partition",)),
)


def become(lab: Lab, **changes: Any) -> None:
    """The lab's dataset by another contract, on the same topic and under another name."""
    lab.dataset = replace(lab.dataset, name="foreign", contract_hash="foreign", **changes)
    lab.migrate()


def test_nested_values_of_other_forms_are_served_as_what_they_mean(lab: Lab) -> None:
    become(lab, columns=FOREIGN)
    quoted = 'say "\\\\" \x01\x02\x1f\r\n'
    value = {"flight": {"id": quoted}, "legs": [{"to": 'a"\\b'}], "pax": "12", "ms": 1_700_000_000_123}
    lab.produce([(b"\xff\\k", json.dumps(value, indent=1).encode()), (b"k2", b'{"flight":{"id":""}}')], partition=1)
    lab.drain()
    assert lab.query("SELECT id, legs, pax, sent_at::text, trace, partition FROM curated.foreign ORDER BY id") == [
        ("", None, None, None, None, 1),
        (quoted, [{"to": 'a"\\b'}], 12, "2023-11-14 22:13:20.123+00", None, 1),
    ]
    kept = [
        (bytes(key), bytes(value)) for key, value in lab.query('SELECT key, value FROM raw.foreign ORDER BY "offset"')
    ]
    assert kept == [(b"\xff\\k", json.dumps(value, indent=1).encode()), (b"k2", b'{"flight":{"id":""}}')]
    lab.reconcile()


def test_records_of_others_are_counted_and_stored_nowhere(lab: Lab) -> None:
    become(lab, where=(LEG,))
    lab.produce(
        [event("a", type="leg"), event("b", type="crew"), (b"k", b"{"), event("c", type="leg"), event("d")], partition=0
    )
    lab.drain()
    assert lab.query("SELECT id FROM curated.foreign ORDER BY id") == [("a",), ("c",)]
    assert lab.query("SELECT records, loaded, quarantined, filtered FROM ingest.batches") == [(5, 2, 1, 2)]
    assert lab.query("SELECT delivered, loaded, quarantined, filtered FROM ingest.ranges") == [(5, 2, 1, 2)]
    assert lab.value("SELECT count(*) FROM raw.foreign") == 2
    assert lab.reports[0].filtered == 2
    lab.reconcile()


def test_a_filter_that_comes_later_takes_records_of_others_out_of_quarantine(lab: Lab) -> None:
    lab.produce([event("a", type="leg", state="new"), event("b", type="crew", state="new")], partition=0)
    lab.drain()
    lab.dataset = replace(lab.dataset, where=(LEG,))  # as a rebuild brings it about
    with connect(lab.settings.ingest_dsn.get_secret_value(), "test") as connection:  # type: ignore[union-attr]
        again.retry(connection, lab.dataset, lab.settings, run_id="retry")
        (account,) = reconcile(connection, [lab.dataset], timedelta(days=1))
    assert lab.query('SELECT resolved_at IS NULL, discarded_at IS NULL FROM ingest.quarantine ORDER BY "offset"') == [
        (True, True),
        (False, False),
    ]
    assert account.faults == []


def test_change_events_of_a_database_keep_a_table_like_theirs(lab: Lab) -> None:
    become(lab, debezium=True)

    def change(op: str, key: str, before: Any = None, **after: Any) -> tuple[bytes, bytes]:
        event = {"op": op, "before": before, "after": {"id": key, **after} if op != "d" else None}
        return json.dumps({"id": key}).encode(), json.dumps(event).encode()

    lab.produce(
        [
            change("r", "a", state="on"),
            change("c", "b", pax=5),
            change("u", "b", pax=6),
            change("d", "a", {"id": "a"}),
            (b'{"id": "a"}', None),
            change("t", "x"),
        ],
        partition=0,
    )
    report = lab.drain()
    assert (report.loaded, report.quarantined) == (5, 1)
    assert lab.query("SELECT id, pax FROM curated.foreign") == [("b", 6)]
    assert lab.query("SELECT reason FROM ingest.quarantine") == [("unknown_change",)]
    lab.reconcile()


def test_fields_that_the_contract_does_not_know_are_counted(lab: Lab) -> None:
    lab.produce([event("a", gate="B2"), event("b", gate=None, crew={"n": 2}), event("c")], partition=0)
    lab.drain()
    assert lab.reports[0].unknown_fields == {"gate": 2, "crew": 1}
    assert lab.query("SELECT unknown_fields FROM ingest.batches") == [({"gate": 2, "crew": 1},)]


def test_a_dataset_that_keeps_no_raw_loads_and_adds_up(lab: Lab) -> None:
    become(lab, keep_raw=False)
    lab.produce([event("a"), event("b", state="broken"), event("a", state="off")], partition=0)
    report = lab.drain()
    with connect(lab.settings.ingest_dsn.get_secret_value(), "test") as connection:  # type: ignore[union-attr]
        again_loaded = list(again.replay(connection, lab.dataset, lab.settings, {0: (0, 3)}, run_id="replay"))
        (account,) = reconcile(connection, [lab.dataset], timedelta(days=1))
    assert [(batch.inserted, batch.updated) for batch in again_loaded] == [(0, 0)]
    assert account.faults == []
    assert (report.loaded, report.quarantined) == (2, 1)
    assert lab.query("SELECT id, state FROM curated.foreign") == [("a", "off")]
    assert lab.value("SELECT count(*) FROM raw.foreign") == 0
    assert lab.query("SELECT delivered, loaded, quarantined FROM ingest.ranges") == [(3, 2, 1)]


def test_a_flood_says_what_is_wrong_and_where(lab: Lab) -> None:
    become(lab, where=(LEG,), quarantine_share=0.5)
    others = [event(str(i), type="crew") for i in range(300)]
    lab.produce([*others, *(event(str(i), type="leg", state="new") for i in range(101)), (b"k", b"{")], partition=0)
    with pytest.raises(QuarantineFlood) as raised:
        lab.drain()
    assert "102 of the 102 records of a batch would go to quarantine" in str(raised.value)
    assert "101 of them with the reason not_in_enum in column state, such as offset 300 of partition 0" in str(
        raised.value
    )
    assert lab.value("SELECT count(*) FROM ingest.quarantine") == 0
    assert lab.value("SELECT count(*) FROM ingest.batches") == 0
