"""Framed messages from the broker to the tables: rows by their schema, raw as delivered, personal values hashed."""

import io
import json
from dataclasses import replace
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_writer
from pydantic import SecretStr

from pista.contracts.dataset import Format, Framing, Pii
from pista.ingest.decode import Decoder
from pista.ingest.pii import hashed
from pista.kafka.formats import confluent
from pista.kafka.records import Record, Records

from .conftest import Lab

LEG = {
    "type": "record",
    "name": "Leg",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "pax", "type": ["null", "int"]},
        {"name": "passport", "type": ["null", "string"], "default": None},
    ],
}
KEY = {"type": "record", "name": "Key", "fields": [{"name": "id", "type": "string"}]}


def framed(schema_id: int, schema: Any, value: Any) -> bytes:
    body = io.BytesIO()
    schemaless_writer(body, parse_schema(schema), value)
    return b"\x00" + schema_id.to_bytes(4, "big") + body.getvalue()


@pytest.fixture
def avro_lab(lab: Lab, schema_registry: Any, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setattr(confluent, "FIRST_PAUSE_SECONDS", 0.001)
    lab.settings = lab.settings.model_copy(update={"schema_registry_url": schema_registry.url})
    lab.dataset = replace(
        lab.dataset, name="framed", contract_hash="framed", format=Format.AVRO, framing=Framing.CONFLUENT
    )
    lab.migrate()
    return lab


def test_avro_becomes_rows_and_raw_keeps_the_bytes(avro_lab: Lab, schema_registry: Any) -> None:
    leg, key = schema_registry.register(LEG), schema_registry.register(KEY, subject="key")
    values = [
        framed(leg, LEG, {"id": "a", "pax": 5}),
        framed(leg, LEG, {"id": "b", "pax": None}),
        framed(leg, LEG, {"id": "c", "pax": -1}),
        b"no frame",
        b"\x00\x00\x00\x00\x63?",
        framed(leg, LEG, {"id": "d", "pax": None})[:-2],
        b"",
    ]
    deletion = framed(key, KEY, {"id": "b"})
    avro_lab.produce([*((None, value) for value in values), (deletion, None)], partition=0)
    schema_registry.faults = [503] * 20  # a registry that is away for a while loses nothing
    report = avro_lab.drain()
    assert (report.loaded, report.quarantined) == (3, 5)
    assert schema_registry.faults == []
    assert avro_lab.query("SELECT id, pax FROM curated.framed") == [("a", 5)]
    kept = [value and bytes(value) for (value,) in avro_lab.query('SELECT value FROM raw.framed ORDER BY "offset"')]
    assert kept == [values[0], values[1], None]
    assert avro_lab.query('SELECT reason FROM ingest.quarantine ORDER BY "offset"') == [
        ("out_of_range",), ("unknown_framing",), ("unknown_schema",), ("undecodable",), ("empty_value",),
    ]  # fmt: skip
    assert avro_lab.value("SELECT key FROM raw.framed WHERE value IS NULL") == deletion
    avro_lab.reconcile()


def test_personal_values_of_avro_are_in_raw_as_hashes_in_json(avro_lab: Lab, schema_registry: Any) -> None:
    leg = schema_registry.register(LEG)
    passport = replace(avro_lab.dataset.columns[-1], pii=Pii.HASH)
    avro_lab.dataset = replace(
        avro_lab.dataset, name="hidden", columns=(*avro_lab.dataset.columns[:-1], passport), contract_hash="hidden"
    )
    avro_lab.settings = avro_lab.settings.model_copy(update={"pii_secret": SecretStr("s3cret")})
    avro_lab.migrate()
    good = framed(leg, LEG, {"id": "a", "pax": 5, "passport": "CO\\123"})
    bad = framed(leg, LEG, {"id": "b", "pax": -1, "passport": "CO456"})
    avro_lab.produce([(b"CO\\123", good), (None, bad)], partition=0)
    avro_lab.drain()
    digest = hashed(b"s3cret", "CO\\123")
    assert avro_lab.query("SELECT id, passport FROM curated.hidden") == [("a", digest)]
    key, value = avro_lab.query("SELECT key, value FROM raw.hidden")[0]
    assert bytes(key) == digest.encode()
    assert json.loads(bytes(value)) == {"id": "a", "pax": 5, "passport": digest}
    assert bytes(avro_lab.value("SELECT value FROM ingest.quarantine")) == bad
    again = Decoder(avro_lab.dataset, avro_lab.settings, from_raw=True).decode(
        Records.of([Record(0, 0, 1, bytes(key), bytes(value))])
    )
    assert again.table.column("passport").to_pylist() == [digest]
    avro_lab.reconcile()
