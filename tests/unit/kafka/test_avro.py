"""Avro: every type becomes the JSON that is documented, and whatever the bytes are, the answer is JSON or an error."""

import io
import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
import pytest
from fastavro import parse_schema, schemaless_reader, schemaless_writer
from hypothesis import given, settings
from hypothesis import strategies as st

from pista.kafka.formats.avro import compile_avro
from pista.kafka.formats.errors import FormatError
from pista.kafka.formats.schemas import Schema, SchemaType

MONEY = {"type": "fixed", "name": "Money", "namespace": "air", "size": 6, "logicalType": "decimal", "precision": 12}
LEG = {
    "type": "record",
    "name": "Leg",
    "namespace": "air",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "pax", "type": ["null", "int"], "default": None},
        {"name": "fuel", "type": ["double", "null"]},
        {"name": "state", "type": {"type": "enum", "name": "State", "symbols": ["ON", "OFF"]}},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
        {"name": "gates", "type": {"type": "map", "values": ["null", "long", "boolean", "State"]}},
        {"name": "previous", "type": ["null", "Leg"]},
    ],
}


LOCAL = datetime(2013, 1, 1, 5, 15)  # noqa: DTZ001 - local times have no zone


def avro(schema: object, *references: object) -> Schema:
    return Schema(
        SchemaType.AVRO,
        json.dumps(schema),
        tuple(("", Schema(SchemaType.AVRO, json.dumps(found))) for found in references),
    )


def written(schema: Any, value: object) -> bytes:
    buffer = io.BytesIO()
    schemaless_writer(buffer, parse_schema(schema), value)
    return buffer.getvalue()


def logical(kind: object, name: str, **rest: object) -> dict[str, object]:
    base = kind if isinstance(kind, dict) else {"type": kind}
    return {**base, "logicalType": name, **rest}


@pytest.mark.parametrize(
    ("schema", "value", "text"),
    [
        ("null", None, "null"),
        ("boolean", True, "true"),
        ("int", -(2**31), "-2147483648"),
        ("long", 2**63 - 1, "9223372036854775807"),
        ("long", -(2**63), "-9223372036854775808"),
        ("double", 0.1, "0.1"),
        ("float", 1.5, "1.5"),
        ("string", "Zürich ✈", '"Zürich ✈"'),
        ("bytes", b"\x00\xff", '"AP8="'),
        ({"type": "fixed", "name": "F", "size": 2}, b"\x00\xff", '"AP8="'),
        (logical("bytes", "decimal", precision=30, scale=4), Decimal("-12345678901234567890.1200"), None),
        (logical("bytes", "decimal", precision=4, scale=4), Decimal("0.0012"), "0.0012"),
        (logical("bytes", "decimal", precision=4), Decimal(1234), "1234"),
        (dict(MONEY, scale=2), Decimal("-7.50"), "-7.50"),
        (logical("string", "uuid"), UUID(int=7), '"00000000-0000-0000-0000-000000000007"'),
        (logical("int", "date"), date(1969, 12, 31), '"1969-12-31"'),
        (logical("int", "time-millis"), time(23, 59, 59, 999_000), '"23:59:59.999000"'),
        (logical("long", "time-micros"), time(0, 0, 0, 1), '"00:00:00.000001"'),
        (logical("long", "timestamp-millis"), datetime(2013, 1, 1, 5, 15, tzinfo=UTC), '"2013-01-01T05:15:00Z"'),
        (logical("long", "timestamp-micros"), datetime(1969, 1, 1, 0, 0, 0, 1, UTC), '"1969-01-01T00:00:00.000001Z"'),
        (logical("long", "timestamp-nanos"), -1, '"1969-12-31T23:59:59.999999Z"'),
        (logical("long", "local-timestamp-millis"), LOCAL, '"2013-01-01T05:15:00"'),
        (logical("long", "local-timestamp-micros"), LOCAL, '"2013-01-01T05:15:00"'),
        (logical("long", "local-timestamp-nanos"), 1_001, '"1970-01-01T00:00:00.000001"'),
        (logical("long", "unknown"), 5, "5"),
        (logical("string", "timestamp-millis"), "5", '"5"'),
        ({"type": "map", "values": "int"}, {}, "{}"),
        ({"type": "array", "items": "int"}, [1, 2], "[1,2]"),
        (["string", "null", "int"], 5, "5"),
    ],
)
def test_every_type_has_its_json(schema: object, value: object, text: str | None) -> None:
    assert compile_avro(avro(schema))(b"frame" + written(schema, value), 5).decode() == (text or str(value))


def test_a_fixed_uuid_is_the_text_of_it() -> None:
    schema = {"type": "fixed", "name": "U", "size": 16, "logicalType": "uuid"}
    assert compile_avro(avro(schema))(UUID(int=7).bytes, 0) == b'"00000000-0000-0000-0000-000000000007"'


def test_a_decimal_keeps_digits_beyond_its_declared_precision() -> None:
    schema = logical("bytes", "decimal", precision=4, scale=2)
    unscaled = 123_456_789
    assert compile_avro(avro(schema))(b"\x08" + unscaled.to_bytes(4, "big"), 0) == b"1234567.89"


def test_types_of_references_are_known_even_where_the_schema_is_only_their_union() -> None:
    ticket = {"type": "record", "name": "air.Ticket", "fields": [{"name": "price", "type": "air.Money"}]}
    money = dict(MONEY, scale=2)
    decode = compile_avro(avro(["null", "air.Ticket", "air.Money"], money, ticket, money))
    assert decode(b"\x02" + (750).to_bytes(6, "big"), 0) == b'{"price":7.50}'
    assert decode(b"\x04" + (751).to_bytes(6, "big"), 0) == b"7.51"


def test_an_array_may_come_in_blocks_with_their_sizes() -> None:
    assert (
        compile_avro(avro({"type": "array", "items": "int"}))(b"\x03\x04\x02\x04" + b"\x02\x06" + b"\x00", 0)
        == b"[1,2,3]"
    )


NAN = bytes.fromhex("000000000000f87f")


@pytest.mark.parametrize(
    ("schema", "payload", "words"),
    [
        (LEG, b"", "^id: the payload is cut off$"),
        (LEG, b"\x02a\x02", "^pax: the payload is cut off$"),
        (LEG, b"\x02a\x04", "^pax: 0x04 is no branch of the union; valid: 0x00 and 0x02$|cut off"),
        (LEG, b"\x02\xff", "^id: the text is not UTF-8$"),
        (LEG, b"\x02a\x00\x00" + NAN, "^fuel: nan is no number that JSON has$"),
        (LEG, b"\x02a\x00\x02\x04", "^state: 2 is no symbol of the enum; valid: 0 to 1$"),
        (LEG, b"\x02a\x00\x02\x00\x04\x02x", r"^tags\.1: the payload is cut off$"),
        (LEG, b"\x02a\x00\x02\x00\x00\x02\x02g\x08", r"^gates\.g: 4 is no branch of the union; valid: 0 to 3$"),
        (LEG, b"\x02a\x00\x02\x00\x00\x00\x02\x02b\x06", r"^previous\.pax: 0x06 is no branch"),
        (LEG, b"\x02a\x00\x02\x00\x00\x00\x02" * 100_000, "nested too deeply"),
        (LEG, b"\x02a\x00\x02\x00\x00\x00\x00rest", "4 bytes follow the value"),
        ("int", b"\x80" * 9, "cut off"),
        ("int", b"\x80" * 10, "more than 64 bits"),
        ("long", b"\xff" * 9 + b"\x02", "more than 64 bits"),
        ("string", b"\x01", "cut off"),
        ("string", b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", "cut off"),
        ("bytes", b"\x04a", "cut off"),
        ({"type": "fixed", "name": "F", "size": 3}, b"ab", "cut off"),
        ("boolean", b"\x02", "0x02 is no boolean"),
        ("float", b"\x00\x00\x80\x7f", "inf is no number"),
        (logical("int", "date"), b"\xfe\xff\xff\xff\x0f", "years 1 to 9999"),
        (logical("long", "timestamp-millis"), b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", "years 1 to 9999"),
        (logical("int", "time-millis"), b"\x01", "-1 is no time of a day"),
        (logical("bytes", "decimal", precision=9_000, scale=9_000), b"\x02\x01", "scale 9000; valid: 0 to 4300"),
        (logical("bytes", "decimal", precision=4), b"\xa0\x1f" + b"\x7f" * 2000, "a decimal has 2000 bytes"),
        (
            {"type": "array", "items": "int"},
            b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01\x02",
            r"^1: the payload is cut off$",
        ),
        ({"type": "map", "values": "int"}, b"\x02\x02", r"\(key\): the payload is cut off"),
    ],
)
def test_a_payload_of_another_schema_is_refused_at_the_field(schema: object, payload: bytes, words: str) -> None:
    with pytest.raises(FormatError, match=words) as raised:
        compile_avro(avro(schema))(payload, 0)
    assert raised.value.code == "undecodable"


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ("nothing", "UnknownType: nothing"),
        ({"type": "record", "fields": []}, "no valid Avro schema"),
        ({"type": "enum", "name": "a"}, "no valid Avro schema"),
        ({"type": "record", "name": 5, "fields": []}, "no valid Avro schema"),
        ({"type": "fixed", "name": "F", "size": -1}, "a fixed has the size -1"),
        ([1], "no valid Avro schema"),
        (5, "no valid Avro schema"),
        ({"type": "array", "items": "null"}, "items of no bytes"),
        (
            {"type": "array", "items": {"type": "record", "name": "R", "fields": [{"name": "n", "type": "null"}]}},
            "no bytes",
        ),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused(schema: object, words: str) -> None:
    with pytest.raises(FormatError, match=words) as raised:
        compile_avro(avro(schema))
    assert raised.value.code == "undecodable"


def test_a_text_that_is_no_json_is_no_schema() -> None:
    with pytest.raises(FormatError, match="no valid Avro schema"):
        compile_avro(Schema(SchemaType.AVRO, "message Leg {}"))


LEGS = st.deferred(
    lambda: st.fixed_dictionaries(
        {
            "id": st.text(),
            "pax": st.none() | st.integers(-(2**31), 2**31 - 1),
            "fuel": st.none() | st.floats(allow_nan=False, allow_infinity=False),
            "state": st.sampled_from(["ON", "OFF"]),
            "tags": st.lists(st.text(), max_size=200),
            "gates": st.dictionaries(st.text(), st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1)),
            "previous": st.none() | LEGS,
        }
    )
)
DECODE_LEG = compile_avro(avro(LEG))


@settings(deadline=None)
@given(LEGS)
def test_what_another_implementation_wrote_comes_back(leg: dict[str, Any]) -> None:
    assert orjson.loads(DECODE_LEG(written(LEG, leg), 0)) == leg


@settings(deadline=None)
@given(LEGS, st.data())
def test_damaged_payloads_are_json_or_refused(leg: dict[str, Any], data: st.DataObject) -> None:
    payload = bytearray(written(LEG, leg))
    place = data.draw(st.integers(0, len(payload) - 1))
    payload[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    try:
        found = DECODE_LEG(bytes(payload), 0)
    except FormatError:
        return
    assert orjson.loads(found) == schemaless_reader(io.BytesIO(payload), parse_schema(LEG))


@settings(deadline=None)
@given(
    st.sampled_from([LEG, "long", logical("long", "timestamp-micros"), {"type": "map", "values": "bytes"}]), st.binary()
)
def test_any_bytes_are_json_or_refused(schema: object, payload: bytes) -> None:
    try:
        orjson.loads(compile_avro(avro(schema))(payload, 0))
    except FormatError:
        return
