"""Whatever the records hold, each becomes plain or has an error, and its neighbours do not notice."""

import json

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from pista.contracts.dataset import Column, Dataset, Framing, Kind, LogicalType, Origin
from pista.kafka.formats.decoders import Decoders
from pista.kafka.formats.errors import Code, FormatError
from pista.kafka.formats.make import Format
from pista.kafka.formats.schemas import Schema, SchemaType
from pista.kafka.records import Record, Records

LIMIT = 4096
NODE = {
    "type": "record",
    "name": "Node",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "share", "type": ["null", "float"]},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "children", "type": {"type": "array", "items": "Node"}},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
    ],
}
PROTO = """
syntax = "proto3";
import "google/protobuf/timestamp.proto";
import "google/protobuf/struct.proto";
message Node {
  string id = 1; float share = 2; google.protobuf.Timestamp at = 3; repeated Node children = 4;
  google.protobuf.Value any = 5; map<string, bytes> tags = 6;
}
"""
SCHEMAS = {
    1: Schema(SchemaType.AVRO, json.dumps(NODE)),
    2: Schema(SchemaType.PROTOBUF, PROTO),
    3: Schema(SchemaType.JSON, "{}"),
    4: Schema(SchemaType.AVRO, "broken"),
}


class Shelf:
    """A registry of the schemas above, by the last byte of their name."""

    def fetch(self, schema: bytes) -> Schema:
        if schema[-1] in SCHEMAS and not any(schema[:-1].lstrip(b"\x01")):
            return SCHEMAS[schema[-1]]
        raise FormatError(Code.UNKNOWN_SCHEMA, "no such schema")

    def describe(self, schema: bytes) -> str:
        return schema.hex()


COLUMNS = (
    Column("id", "id", LogicalType.STRING, "text", required=True),
    Column("k", "key", LogicalType.STRING, "text", origin=Origin.KEY),
)
FORMATS = {
    framing: Format(Dataset("nodes", "1.0.0", Kind.UPSERT, COLUMNS, ("id",), framing=framing), Decoders(Shelf()), LIMIT)
    for framing in (Framing.CONFLUENT, Framing.GLUE)
}
FRAMES = st.sampled_from(
    [bytes([0, 0, 0, 0, n]) for n in range(6)]
    + [bytes([1, *bytes(15), n]) for n in range(6)]
    + [bytes([3, 0, *bytes(15), n]) for n in range(6)]
    + [b"", b"\x00", b"\x03\x05"]
)
PAYLOADS = st.binary(max_size=100) | st.integers(1, 5000).map(lambda count: b"\x02" * count)
MESSAGES = st.none() | st.builds(lambda frame, payload: frame + payload, FRAMES, PAYLOADS)
HEADERS = st.lists(
    st.tuples(st.sampled_from(["__value_schema_id", "__key_schema_id", "trace"]), st.none() | FRAMES), max_size=2
).map(tuple)


@settings(deadline=None)
@given(st.sampled_from(list(FORMATS)), st.lists(st.tuples(MESSAGES, MESSAGES, HEADERS), max_size=5))
def test_any_records_become_plain_or_have_an_error(framing: Framing, messages: list) -> None:
    records = Records.of([Record(0, i, 1, key, value, headers) for i, (key, value, headers) in enumerate(messages)])
    plain = FORMATS[framing].plain(records)
    assert len(plain.values) == len(plain.keys) == len(messages)
    assert set(plain.errors) <= set(range(len(messages)))
    for index, (key, value, _) in enumerate(messages):
        alone = FORMATS[framing].plain(records.part(index, index + 1))
        assert (alone.values[0], alone.keys[0]) == (plain.values[index], plain.keys[index])
        assert (0 in alone.errors) == (index in plain.errors)
        if index in plain.errors:
            assert plain.errors[index].detail
        elif value is not None and not value.endswith(found := plain.values[index] or b""):
            orjson.loads(found)  # JSON behind a frame is what it was, anything else is JSON now
        assert value is not None or plain.values[index] is None
        assert key is not None or plain.keys[index] is None
