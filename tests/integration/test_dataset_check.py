"""`pista dataset new` for every format, and `pista dataset check`, against a real Kafka; no database is there."""

import io
import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fastavro
import pytest
from click.testing import CliRunner, Result
from kafka import KafkaAdminClient, KafkaProducer

from pista.cli import main
from pista.contracts.dataset import Format, Framing, LogicalType
from pista.contracts.loading import load_datasets
from pista.settings import get_settings

CreateTopic = Callable[..., str]
AVRO = {
    "type": "record",
    "name": "Leg",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "crew", "type": {"type": "array", "items": "string"}},
        {"name": "plane", "type": {"type": "record", "name": "Plane", "fields": [{"name": "tail", "type": "string"}]}},
    ],
}
PROTOBUF = 'syntax = "proto3"; message Leg { string id = 1; int32 delay = 2; }'
CONTRACT = """\
apiVersion: v3.2.0
kind: DataContract
id: legs
name: legs
version: 1.0.0
status: active
servers: [{{server: kafka, type: kafka, host: localhost, format: json}}]
customProperties:
  - {{property: where, value: {{type: LEG}}}}
schema:
  - name: legs
    physicalName: {topic}
    properties:
      - {{name: leg, logicalType: string, primaryKey: true, customProperties: [{{property: source, value: leg.id}}]}}
      - {{name: delay, logicalType: integer, customProperties: [{{property: coerce, value: text}}]}}
      - {{name: day, logicalType: date, customProperties: [{{property: format, value: "%d/%m/%Y"}}]}}
"""


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, kafka_server: str, tmp_path: Path) -> Iterator[Path]:
    """The datasets folder of commands that know this test's Kafka, and no database."""
    folder = tmp_path / "datasets"
    folder.mkdir()
    monkeypatch.setenv("PISTA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PISTA_DATASETS_DIR", str(folder))
    monkeypatch.setenv("PISTA_KAFKA_BOOTSTRAP", kafka_server)
    monkeypatch.delenv("PISTA_POSTGRES_DSN", raising=False)
    get_settings.cache_clear()
    yield folder
    get_settings.cache_clear()


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, folder: Path, schema_registry: Any) -> Any:
    monkeypatch.setenv("PISTA_SCHEMA_REGISTRY_URL", schema_registry.url)
    get_settings.cache_clear()
    return schema_registry


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), catch_exceptions=False)


def publish(kafka_server: str, topic: str, *messages: tuple[bytes | None, bytes | None]) -> None:
    producer = KafkaProducer(bootstrap_servers=kafka_server)
    for key, value in messages:
        producer.send(topic, key=key, value=value)
    producer.flush(timeout=30)
    producer.close()


def framed(schema_id: int, payload: bytes) -> bytes:
    return struct.pack(">bI", 0, schema_id) + payload


def avro(schema_id: int, leg: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, AVRO, leg)
    return framed(schema_id, buffer.getvalue())


def test_a_contract_of_avro_is_found_out_and_passes_its_check(
    registry: Any, folder: Path, kafka_server: str, create_topic: CreateTopic
) -> None:
    topic, schema = create_topic(), registry.register(AVRO)
    legs = [{"id": f"AV{n}", "at": 1_700_000_000_000 + n, "crew": ["a"], "plane": {"tail": "HK1"}} for n in range(9)]
    damaged = (b"AV9", framed(schema, b"\xff"))
    publish(kafka_server, topic, *((leg["id"].encode(), avro(schema, leg)) for leg in legs), damaged)
    answer = run("dataset", "new", "legs", "--topic", topic)
    assert answer.exit_code == 0, answer.output
    legs_dataset = load_datasets(folder)["legs"]
    assert (legs_dataset.format, legs_dataset.framing, legs_dataset.key) == (Format.AVRO, Framing.CONFLUENT, ("id",))
    kinds = {column.name: column.logical_type for column in legs_dataset.columns}
    assert kinds == {
        "id": LogicalType.STRING,
        "at": LogicalType.TIMESTAMP,
        "crew": LogicalType.ARRAY,
        "plane_tail": LogicalType.STRING,
    }
    text = (folder / "legs.yaml").read_text(encoding="utf-8")
    assert "# The framing confluent was found in the first bytes of the messages" in text
    assert "# That the values are avro says the schema registry." in text
    assert "# 1 sampled records could not be read; the first: " in text
    answer = run("dataset", "check", "legs")
    assert answer.exit_code == 1, answer.output
    assert "9 would load\n" in answer.output
    assert "  1 undecodable, such as partition 0, offset 9: " in answer.output


def test_protobuf_and_framed_json_are_found_out(
    registry: Any, folder: Path, kafka_server: str, create_topic: CreateTopic
) -> None:
    protobuf, plain = create_topic(), create_topic()
    schema = registry.register(PROTOBUF, "PROTOBUF")
    publish(kafka_server, protobuf, *((None, framed(schema, b"\x00\x0a\x03AV%d\x10%c" % (n, n))) for n in range(1, 4)))
    schema = registry.register({"type": "object"}, "JSON")
    publish(kafka_server, plain, (None, framed(schema, b'{"n": 1}')), (None, framed(schema, b'{"n": 2}')))
    for name, topic in (("proto", protobuf), ("plain", plain)):
        answer = run("dataset", "new", name, "--topic", topic)
        assert answer.exit_code == 0, answer.output
    datasets = load_datasets(folder)
    assert (datasets["proto"].format, datasets["proto"].framing) == (Format.PROTOBUF, Framing.CONFLUENT)
    assert [column.name for column in datasets["proto"].columns] == ["id", "delay"]
    assert (datasets["plain"].format, datasets["plain"].framing) == (Format.JSON, Framing.CONFLUENT)
    for name in ("proto", "plain"):
        answer = run("dataset", "check", name)
        assert answer.exit_code == 0, answer.output


def test_what_cannot_be_found_out_is_said(
    folder: Path, kafka_server: str, create_topic: CreateTopic, monkeypatch: pytest.MonkeyPatch, schema_registry: Any
) -> None:
    topic = create_topic()
    publish(kafka_server, topic, (None, avro(1, {"id": "a", "at": 1, "crew": [], "plane": {"tail": "x"}})))
    answer = run("dataset", "new", "legs", "--topic", topic)
    assert "PISTA_SCHEMA_REGISTRY_URL is not set" in answer.output
    monkeypatch.setenv("PISTA_SCHEMA_REGISTRY_URL", schema_registry.url)
    get_settings.cache_clear()
    answer = run("dataset", "new", "legs", "--topic", topic)
    assert f"none of 1 sampled records of {topic} can be read; the first: " in answer.output
    answer = run("dataset", "new", "legs", "--topic", topic, "--format", "avro", "--framing", "none")
    assert (
        "avro without one says nothing of its schema; with --framing say which of confluent and glue" in answer.output
    )
    answer = run("dataset", "new", "legs", "--topic", topic, "--framing", "none")
    assert f"none of 1 sampled records of {topic} is a JSON object" in answer.output
    assert not list(folder.iterdir())


def test_a_check_says_what_would_become_of_records_and_writes_nothing(
    folder: Path, kafka_server: str, create_topic: CreateTopic
) -> None:
    topic = create_topic()
    path = folder / "legs.yaml"
    path.write_text(CONTRACT.format(topic=topic), encoding="utf-8")
    answer = run("dataset", "check", "legs")
    assert answer.exit_code == 0
    assert f"There is nothing to try: the topic {topic} is empty." in answer.output
    good = [
        {"type": "LEG", "leg": {"id": f"A{n}"}, "delay": str(n), "day": "25/11/2026", "gate": "B"} for n in range(3)
    ]
    others = [{"type": "CREW"}, {"type": "BAG", "leg": 3}]
    bad = [good[0] | {"delay": "late"}, good[1] | {"delay": "later"}, good[2] | {"leg": {}}]
    documents = [json.dumps(document).encode() for document in [*good, *others, *bad]]
    publish(kafka_server, topic, *((None, document) for document in documents), (b"A0", None))

    answer = run("dataset", "check", "legs")
    assert answer.exit_code == 1, answer.output
    assert f"{path}: valid by the standard and by Pista's rules." in answer.output
    assert "`datacontract lint` accepts it." in answer.output
    assert 'CREATE TABLE curated."legs" (' in answer.output
    assert '"leg" text COLLATE "C" NOT NULL,' in answer.output
    assert f"Tried on the newest 9 records of {topic}:" in answer.output
    assert "4 would load, of which 1 delete their row\n" in answer.output
    assert "2 would be filtered" in answer.output
    assert "3 would be quarantined:\n" in answer.output
    assert "2 wrong_type, such as partition 0, offset 5: field 'delay' is \"late\"" in answer.output
    assert "1 missing_field, such as partition 0, offset 7: " in answer.output
    assert "fields that the contract does not know, and how many records have them: gate (" in answer.output

    answer = run("dataset", "check", "legs", "--sample", "2")
    assert "Tried on the newest 2 records" in answer.output
    loose = path.read_text(encoding="utf-8").replace("logicalType: integer", "logicalType: string")
    loose = loose.replace("customProperties: [{property: coerce, value: text}]", "required: false")
    path.write_text(loose.replace("name: leg,", "name: leg, required: true,"), encoding="utf-8")
    answer = run("dataset", "check", "legs", "--sample", "1")
    assert answer.exit_code == 0, answer.output
    assert "0 would be quarantined\n" in answer.output

    admin = KafkaAdminClient(bootstrap_servers=kafka_server)
    try:
        assert not [group for group in admin.list_groups() if "pista" in str(group)]
    finally:
        admin.close()
    assert [file.name for file in folder.iterdir()] == ["legs.yaml"]


def test_what_check_refuses(folder: Path, kafka_server: str, create_topic: CreateTopic) -> None:
    (folder / "legs.yaml").write_text(CONTRACT.format(topic="nowhere"), encoding="utf-8")
    for arguments, message in (
        (("leg",), "leg is no dataset; did you mean legs?"),
        (("legs",), "there is no topic nowhere"),
    ):
        answer = run("dataset", "check", *arguments)
        assert answer.exit_code == 1
        assert message in answer.output
    hashed = CONTRACT.format(topic=create_topic()).replace(
        "{property: source, value: leg.id}", "{property: pii, value: hash}"
    )
    hashed = hashed.replace("primaryKey: true,", "primaryKey: true, classification: internal,")
    (folder / "legs.yaml").write_text(hashed, encoding="utf-8")
    publish(kafka_server, load_datasets(folder)["legs"].topic or "", (None, b'{"type": "LEG", "leg": "Ana"}'))
    answer = run("dataset", "check", "legs")
    assert answer.exit_code == 1
    assert "PISTA_PII_SECRET" in answer.output
    managed = CONTRACT.format(topic="nowhere").replace("where,", "managed, value: true}\n  - {property: where,")
    (folder / "legs.yaml").write_text(managed, encoding="utf-8")
    answer = run("dataset", "check", "legs")
    assert answer.exit_code == 0, answer.output
    assert "There is nothing to try: there is no topic nowhere" in answer.output
    (folder / "legs.yaml").write_text(CONTRACT.format(topic="nowhere").replace("%d/%m/%Y", "dd/MM"), encoding="utf-8")
    answer = run("dataset", "check", "legs")
    assert answer.exit_code == 1
    assert f"{folder}/legs.yaml:16: schema[legs].properties[day].customProperties[format].value" in answer.output


def test_a_mart_is_linted_and_shown(folder: Path) -> None:
    (folder / "legs.yaml").write_text(
        CONTRACT.format(topic="nowhere").replace("name: day,", "name: day, required: true,")
    )
    mart = CONTRACT.format(topic="x").replace("legs", "daily").split("servers:")[0] + (
        "customProperties: [{property: inputs, value: {legs: day}}]\nschema:\n  - name: daily\n    properties:\n"
        "      - {name: day, logicalType: date, primaryKey: true, partitioned: true}\n"
    )
    (folder / "daily.yaml").write_text(mart)
    (folder / "daily.sql").write_text("SELECT day FROM legs GROUP BY day")
    answer = run("dataset", "check", "daily")
    assert answer.exit_code == 0, answer.output
    assert 'CREATE TABLE curated."daily"' in answer.output
    assert "A mart reads no topic: there is nothing to try." in answer.output
