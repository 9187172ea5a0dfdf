"""Records of every framing become JSON by way of a registry; one that fails for a while costs nothing but time."""

import io
import threading
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_writer
from pydantic import SecretStr

from pista.contracts.dataset import Column, Dataset, Filter, Format, Framing, Kind, LogicalType, Origin, Pii
from pista.kafka.formats import confluent, decoders
from pista.kafka.formats.errors import RegistryNotConfiguredError, RegistryRefusedError, RegistryUnavailableError
from pista.kafka.formats.make import Plain, make_format
from pista.kafka.records import Headers, Record, Records
from pista.settings import Settings

LEG = {"type": "record", "name": "Leg", "fields": [{"name": "id", "type": "string"}, {"name": "pax", "type": "int"}]}
PROTO = 'syntax = "proto3"; message Other {} message Leg { string id = 1; int64 pax = 2; }'
MONEY_DESCRIPTOR = "Cgttb25leS5wcm90bxIFbW9uZXkiIQoFTW9uZXkSDQoFdW5pdHMYASABKAMSCQoBYxgCIAEoCWIGcHJvdG8z"
LEG_DESCRIPTOR = (
    "CglsZWcucHJvdG8SA2FpchofZ29vZ2xlL3Byb3RvYnVmL3RpbWVzdGFtcC5wcm90bxoLbW9uZXkucHJvdG8ibAoFT3V0ZXISCgoC"
    "aWQYASABKAkSJgoCYXQYAiABKAsyGi5nb29nbGUucHJvdG9idWYuVGltZXN0YW1wEhsKBW1vbmV5GAMgASgLMgwubW9uZXkuTW9u"
    "ZXkaEgoFSW5uZXISCQoBbhgBIAEoAyITCgZTZWNvbmQSCQoBehgBIAEoDGIGcHJvdG8z"
)
COLUMN = Column("id", "id", LogicalType.STRING, "text", required=True)


def dataset(framing: Framing = Framing.CONFLUENT, *columns: Column, where: tuple[Filter, ...] = ()) -> Dataset:
    return Dataset(
        "legs",
        "1.0.0",
        Kind.UPSERT,
        (COLUMN, *columns),
        ("id",),
        topic="legs",
        format=Format.AVRO,
        framing=framing,
        where=where,
    )


def avro(schema: Any, value: object) -> bytes:
    buffer = io.BytesIO()
    schemaless_writer(buffer, parse_schema(schema), value)
    return buffer.getvalue()


def frame(schema_id: int) -> bytes:
    return b"\x00" + schema_id.to_bytes(4, "big")


def plain(
    settings: Settings, *messages: tuple[bytes | None, bytes | None, Headers], of: Dataset | None = None
) -> Plain:
    made = make_format(of or dataset(), settings)
    assert made is not None
    return made.plain(
        Records.of([Record(0, i, 1, key, value, headers) for i, (key, value, headers) in enumerate(messages)])
    )


@pytest.fixture
def settings(schema_registry: Any) -> Settings:
    return Settings(schema_registry_url=schema_registry.url, value_max_bytes=1000)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confluent, "FIRST_PAUSE_SECONDS", 0.001)


def test_values_and_keys_of_every_language_become_json(schema_registry: Any, settings: Settings) -> None:
    leg = schema_registry.register(LEG)
    text = schema_registry.register('"string"', subject="legs-key")
    proto = schema_registry.register(PROTO, "PROTOBUF")
    document = schema_registry.register({"type": "object"}, "JSON")
    body = avro(LEG, {"id": "a", "pax": 5})
    guid = b"\x01" + schema_registry.guid(leg)
    proto_guid = b"\x01" + schema_registry.guid(proto)
    found = plain(
        settings,
        (b"plain", frame(leg) + body, ()),
        (frame(text) + avro("string", "ä"), guid + body, ()),
        (None, body, (("__value_schema_id", b"?"), ("__value_schema_id", guid))),
        (avro("string", "b"), b"", (("__value_schema_id", proto_guid + b"\x02\x02"), ("__key_schema_id", frame(text)))),
        (frame(proto) + b"\x02\x02\x10\x05", frame(proto) + b"\x02\x02\x0a\x01a", ()),
        (frame(document) + b'"a b"', frame(document) + b'{"a": 1}', ()),
        (frame(document) + b"5", None, ()),
        (frame(document) + b"null", None, ()),
    )
    assert found.errors == {}
    assert found.values == [
        b'{"id":"a","pax":5}',
        b'{"id":"a","pax":5}',
        b'{"id":"a","pax":5}',
        b'{"id":"","pax":0}',
        b'{"id":"a","pax":0}',
        b'{"a": 1}',
        None,
        None,
    ]
    assert found.keys == [b"plain", "ä".encode(), None, b"b", b'{"id":"","pax":5}', b"a b", b"5", None]
    plain(settings, (None, frame(leg) + body, ()))
    assert len(schema_registry.asked) == 6, "a schema was asked for twice"


def test_what_confluent_kafka_writes_is_read(schema_registry: Any, settings: Settings) -> None:
    # by the serializers of confluent-kafka 2.16.1; its Protobuf serializer registers descriptors, not text
    at = {"type": "long", "logicalType": "timestamp-millis"}
    avro_leg = {"type": "record", "name": "Leg", "fields": [*LEG["fields"], {"name": "at", "type": at}]}
    assert schema_registry.register(avro_leg) == 1
    assert schema_registry.register({"title": "Leg", "type": "object"}, "JSON") == 2
    assert schema_registry.register(MONEY_DESCRIPTOR, "PROTOBUF", subject="money.proto") == 3
    assert schema_registry.register(LEG_DESCRIPTOR, "PROTOBUF", references=(("money.proto", "money.proto", 1),)) == 4
    avro_guid, proto_guid = (b"\x01" + schema_registry.guid(number) for number in (1, 4))
    messages: list[tuple[str, Headers]] = [
        ("000000000104c3a40ac0f0c5c8fe4e", ()),
        ("04c3a40ac0f0c5c8fe4e", (("__value_schema_id", avro_guid),)),
        ("00000000027b226964223a2261227d", ()),
        ("00000000040400000807", ()),
        ("0a0100", (("__value_schema_id", proto_guid + bytes.fromhex("0202")),)),
        ("0000000004000a0161120608d4e18987051a020805", ()),
    ]
    found = plain(settings, *((None, bytes.fromhex(value), headers) for value, headers in messages))
    assert found.errors == {}
    assert found.values == [
        '{"id":"ä","pax":5,"at":"2013-01-01T05:15:00Z"}'.encode(),
        '{"id":"ä","pax":5,"at":"2013-01-01T05:15:00Z"}'.encode(),
        b'{"id":"a"}',
        b'{"n":7}',
        b'{"z":"AA=="}',
        b'{"id":"a","at":"2013-01-01T05:15:00Z","money":{"units":5,"c":""}}',
    ]


def test_plain_json_needs_no_format() -> None:
    assert make_format(dataset(Framing.NONE), Settings()) is None


def test_references_of_references_are_resolved(schema_registry: Any, settings: Settings) -> None:
    schema_registry.register({"type": "enum", "name": "air.State", "symbols": ["ON"]}, subject="air/state")
    schema_registry.register(
        {"type": "record", "name": "air.Gate", "fields": [{"name": "state", "type": "air.State"}]},
        subject="air gate",
        references=(("air.State", "air/state", 1),),
    )
    leg = schema_registry.register(
        {
            "type": "record",
            "name": "Leg",
            "fields": [{"name": "g", "type": "air.Gate"}, {"name": "s", "type": "air.State"}],
        },
        references=(("air.Gate", "air gate", 1), ("air.State", "air/state", 1)),
    )
    schema_registry.register('syntax = "proto3"; package c; message C { int32 c = 1; }', "PROTOBUF", subject="c")
    proto = schema_registry.register(
        'syntax = "proto3"; import "c/c.proto"; message Leg { c.C c = 1; }',
        "PROTOBUF",
        references=(("c/c.proto", "c", 1),),
    )
    found = plain(settings, (None, frame(leg) + b"\x00\x00", ()), (None, frame(proto) + b"\x00\x0a\x00", ()))
    assert found.values == [b'{"g":{"state":"ON"},"s":"ON"}', b'{"c":{"c":0}}']
    assert [path.partition("?")[0] for path in schema_registry.asked].count("/subjects/air%2Fstate/versions/1") == 1


def test_bad_records_have_their_reasons_and_their_neighbours_load(schema_registry: Any, settings: Settings) -> None:
    leg = schema_registry.register(LEG)
    wrong = schema_registry.register({"type": "record", "name": "Leg", "fields": [{"name": "id", "type": "Nothing"}]})
    dangling = schema_registry.register(LEG, references=(("x", "gone", 3),))
    circle = schema_registry.register(LEG, subject="circle", references=(("x", "circle", 1),))
    thrift = schema_registry.register("struct", "THRIFT")
    good = frame(leg) + avro(LEG, {"id": "a", "pax": 5})
    found = plain(
        settings,
        (None, good, ()),
        (None, b'{"id":"a"}', ()),
        (None, frame(99), ()),
        (None, b"\x01" + bytes(16), ()),
        (None, good + b"x", ()),
        (None, frame(wrong), ()),
        (None, frame(dangling), ()),
        (None, frame(circle), ()),
        (None, frame(thrift), ()),
        (None, good, ()),
    )
    assert found.values[0] == found.values[9] == b'{"id":"a","pax":5}'
    no_guid = "00000000-0000-0000-0000-000000000000"
    valid = "0x00 and a 4-byte schema id, or 0x01 and a 16-byte schema GUID, then the payload"
    no_type = "the registry's answer is no schema that can be used: ValueError 'THRIFT' is not a valid SchemaType"
    assert {index: (error.code.value, error.detail) for index, error in found.errors.items()} == {
        1: ("unknown_framing", f"the message starts with 0x7b22 and has 10 bytes; valid: {valid}"),
        2: ("unknown_schema", "schema 99: the registry has no schemas/ids/99"),
        3: ("unknown_schema", f"schema {no_guid}: the registry has no schemas/guids/{no_guid}"),
        4: ("undecodable", "1 bytes follow the value: it is of another schema, or damaged (schema 1)"),
        5: ("undecodable", "schema 2: its schema is no valid Avro schema: UnknownType: Nothing"),
        6: ("unknown_schema", "schema 3: the registry has no subjects/gone/versions/3"),
        7: ("undecodable", "schema 4: its schema refers to itself by way of circle"),
        8: ("undecodable", f"schema 5: {no_type}"),
    }


def test_what_the_decoder_refuses_by_its_size_is_left_to_it(schema_registry: Any, settings: Settings) -> None:
    large = frame(schema_registry.register('"string"')) + avro("string", "x" * 1000)
    assert plain(settings, (None, b"", ()), (None, large, ()), (None, None, ())).values == [b"", large, None]
    assert schema_registry.asked == []


@pytest.mark.parametrize(
    ("value", "of", "refused"),
    [
        (b"", dataset(), False),
        (None, dataset(), True),
        (b"", dataset(Framing.CONFLUENT, Column("k", "key", LogicalType.STRING, "text", origin=Origin.KEY)), True),
        (b"", dataset(Framing.CONFLUENT, Column("p", "p", LogicalType.STRING, "text", pii=Pii.HASH)), True),
        (b"", dataset(where=(Filter("key", Origin.KEY, (), ("a",)),)), True),
    ],
)
def test_a_key_that_cannot_be_read_matters_where_something_reads_it(
    settings: Settings, value: bytes | None, of: Dataset, refused: bool
) -> None:
    found = plain(settings, (frame(99) + b"x", value, ()), of=of)
    assert found.keys == [frame(99) + b"x"]
    assert [error.detail for error in found.errors.values()] == (
        ["the key: schema 99: the registry has no schemas/ids/99"] if refused else []
    )


def test_a_schema_that_is_registered_later_is_found(
    schema_registry: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert plain(settings, (None, frame(1) + b"\x02a", ())).errors[0].code == "unknown_schema"
    assert plain(settings, (None, frame(1) + b"\x02a", ())).errors[0].code == "unknown_schema"
    assert len(schema_registry.asked) == 1
    schema_registry.register('"string"')
    now = decoders.time.monotonic() + decoders.UNKNOWN_SECONDS
    monkeypatch.setattr(decoders.time, "monotonic", lambda: now)
    assert plain(settings, (None, frame(1) + b"\x02a", ())).values == [b'"a"']


def test_a_registry_that_fails_for_a_while_is_asked_again(schema_registry: Any, settings: Settings) -> None:
    text = schema_registry.register('"string"')
    schema_registry.faults += [500, 503, 429]
    assert plain(settings, (None, frame(text) + b"\x02a", ())).values == [b'"a"']
    assert len(schema_registry.asked) == 4


def test_a_registry_that_goes_on_failing_is_no_fault_of_the_records(schema_registry: Any, settings: Settings) -> None:
    text = schema_registry.register('"string"')
    schema_registry.faults += [502] * 4
    with pytest.raises(
        RegistryUnavailableError, match="did not answer schemas/ids/1 in 4 attempts; the last one: HTTP 502"
    ):
        plain(settings, (None, frame(text) + b"\x02a", ()))
    assert plain(settings, (None, frame(text) + b"\x02a", ())).values == [b'"a"']


def test_an_answer_without_end_is_given_up(
    schema_registry: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = schema_registry.register('"string"')
    monkeypatch.setattr(confluent, "TIMEOUT_SECONDS", 0.2)
    schema_registry.stalls = 1
    assert plain(settings, (None, frame(text) + b"\x02a", ())).values == [b'"a"']
    assert len(schema_registry.asked) == 2


def test_nobody_at_the_address_is_a_transient_trouble() -> None:
    with pytest.raises(RegistryUnavailableError, match=r"127\.0\.0\.1:1/? did not answer .* ConnectError"):
        plain(Settings(schema_registry_url="http://127.0.0.1:1"), (None, frame(1), ()))


@pytest.mark.parametrize(
    ("options", "authorization"),
    [
        ({"schema_registry_user": "pista", "schema_registry_password": SecretStr("sesame")}, "Basic cGlzdGE6c2VzYW1l"),
        ({"schema_registry_token": SecretStr("sesame")}, "Bearer sesame"),
    ],
)
def test_credentials_open_the_registry_and_stand_in_no_error(
    schema_registry: Any, options: dict[str, Any], authorization: str
) -> None:
    schema_registry.register('"string"')
    schema_registry.authorization = authorization
    message = (None, frame(1) + b"\x02a", ())
    assert plain(Settings(schema_registry_url=schema_registry.url, **options), message).values == [b'"a"']
    with pytest.raises(RegistryRefusedError, match="HTTP 401; are PISTA_SCHEMA_REGISTRY_USER"):
        plain(Settings(schema_registry_url=schema_registry.url), message)
    schema_registry.faults = [500] * 4
    with pytest.raises(RegistryUnavailableError) as raised:
        plain(Settings(schema_registry_url=schema_registry.url, **options), (None, frame(2), ()))
    assert "sesame" not in str(raised.value) + repr(raised.value.__context__)


@pytest.mark.parametrize(
    ("status", "words"),
    [(403, "may not read schemas"), (404, "is PISTA_SCHEMA_REGISTRY_URL right"), (200, "HTTP 200"), (302, "HTTP 302")],
)
def test_what_is_no_registry_stops_loudly(schema_registry: Any, settings: Settings, status: int, words: str) -> None:
    schema_registry.faults = [status]
    with pytest.raises(RegistryRefusedError, match=words):
        plain(settings, (None, frame(1), ()))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (None, "PISTA_SCHEMA_REGISTRY_URL is not set"),
        ("http://pista:sesame@localhost", "holds credentials"),
        ("registry:8081", "valid: http"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused(url: str | None, words: str) -> None:
    with pytest.raises(RegistryNotConfiguredError, match=words) as raised:
        make_format(dataset(), Settings(schema_registry_url=url))
    assert "sesame" not in str(raised.value)


def test_a_private_authority_is_trusted_if_it_is_named(tls_schema_registry: Any) -> None:
    registry, ca = tls_schema_registry
    registry.register('"string"')
    message = (None, frame(1) + b"\x02a", ())
    assert plain(Settings(schema_registry_url=registry.url, schema_registry_ca=ca), message).values == [b'"a"']
    with pytest.raises(RegistryUnavailableError, match="certificate verify failed"):
        plain(Settings(schema_registry_url=registry.url), message)
    with pytest.raises(RegistryNotConfiguredError, match="PISTA_SCHEMA_REGISTRY_CA"):
        plain(Settings(schema_registry_url=registry.url, schema_registry_ca=ca.with_name("none.pem")), message)


def test_threads_that_miss_the_same_schema_ask_once(schema_registry: Any, settings: Settings) -> None:
    text = schema_registry.register('"string"')
    start = threading.Barrier(8)
    found = []

    def read() -> None:
        start.wait()
        found.extend(plain(settings, (None, frame(text) + b"\x02a", ())).values)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (found, len(schema_registry.asked)) == ([b'"a"'] * 8, 1)
