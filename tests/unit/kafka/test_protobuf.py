"""Protobuf: .proto text to messages to the JSON that is documented, whatever the bytes are."""

import math
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given, settings
from hypothesis import strategies as st

from pista.kafka.formats.errors import FormatError
from pista.kafka.formats.protobuf import compile_protobuf
from pista.kafka.formats.protoc import MAIN, descriptors
from pista.kafka.formats.schemas import Schema, SchemaType

MONEY = 'syntax = "proto3"; package common; message Money { int64 unitsOf = 1; string currency = 2; }'
TEXT = """
syntax = "proto3";
package air;
import "google/protobuf/any.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
import "common/money.proto";

enum State { ON = 0; OFF = 1; }
message Leg {
  message Crew { uint64 id = 1; message Rank { string name = 1; } Rank rank = 2; }
  string flight_id = 1;
  int64 fuelKg = 2;
  optional int32 pax = 3;
  google.protobuf.Timestamp off_block = 4;
  common.Money price = 5;
  State state = 6;
  repeated State states = 7;
  map<bool, Crew> crew = 8;
  map<int64, double> weights = 9;
  google.protobuf.Any extra = 10;
  google.protobuf.Int64Value seats = 11;
  google.protobuf.Struct remarks = 12;
  google.protobuf.Duration delay = 13;
  bytes tag = 14;
  double load = 15;
  Leg previous = 16;
  oneof gate { string name = 17; sint32 number = 18; }
  repeated bytes tags = 19;
}
message Aircraft { fixed64 serial = 1; }
"""
SCHEMA = Schema(SchemaType.PROTOBUF, TEXT, (("common/money.proto", Schema(SchemaType.PROTOBUF, MONEY)),))


def serialized(imported: str) -> Schema:
    file = FileDescriptorProto(name="a.proto", dependency=[imported])
    return Schema(SchemaType.PROTOBUF, b64encode(file.SerializeToString()).decode())


EMPTY = {
    "flight_id": "",
    "fuelKg": 0,
    "state": "ON",
    "states": [],
    "crew": {},
    "weights": {},
    "tag": "",
    "load": 0.0,
    "tags": [],
}
Make = Callable[..., Any]


@pytest.fixture(scope="module")
def decode() -> Callable[[bytes, int], bytes]:
    return compile_protobuf(SCHEMA)


@pytest.fixture(scope="module")
def make() -> Make:
    """``make("Leg.Crew", id=1)``: a message of the schema."""
    pool = DescriptorPool()
    for file in descriptors(SCHEMA):
        pool.AddSerializedFile(file.SerializeToString())
    assert pool.FindFileByName(MAIN).package == "air"
    return lambda name, **fields: GetMessageClass(pool.FindMessageTypeByName(f"air.{name}"))(**fields)


def test_every_type_has_its_json_and_fields_without_presence_their_default(
    decode: Callable[[bytes, int], bytes], make: Make
) -> None:
    assert orjson.loads(decode(b"\x00", 0)) == EMPTY
    leg = make("Leg", flight_id="UA1545", fuelKg=2**63 - 1, pax=0, state=1, states=[1, 0, 7], tag=b"\x00\xff", load=0.1)
    leg.off_block.FromJsonString("2013-01-01T05:15:00.123456789Z")
    leg.price.unitsOf = -5
    leg.crew[True].id = 2**64 - 1
    leg.crew[False].rank.name = "captain"
    leg.weights[-7] = 1.5
    leg.seats.value = 0
    leg.remarks.update({"a": [1, None, {"b": True}]})
    leg.delay.FromMilliseconds(-1500)
    leg.extra.Pack(make("Aircraft", serial=2**64 - 1), "types/")
    leg.previous.number = -3
    leg.tags.append(b"a")
    assert orjson.loads(decode(b"\x00" + leg.SerializeToString(), 0)) == {
        "flight_id": "UA1545",
        "fuelKg": 2**63 - 1,
        "pax": 0,
        "off_block": "2013-01-01T05:15:00.123456Z",
        "price": {"unitsOf": -5, "currency": ""},
        "state": "OFF",
        "states": ["OFF", "ON", 7],
        "crew": {"true": {"id": 2**64 - 1}, "false": {"id": 0, "rank": {"name": "captain"}}},
        "weights": {"-7": 1.5},
        "extra": {"@type": "types/air.Aircraft", "serial": 2**64 - 1},
        "seats": 0,
        "remarks": {"a": [1.0, None, {"b": True}]},
        "delay": "-1.500s",
        "tag": "AP8=",
        "load": 0.1,
        "previous": {**EMPTY, "number": -3},
        "tags": ["YQ=="],
    }


@pytest.mark.parametrize(
    ("indices", "glue_index", "name"),
    [
        (b"\x00", b"\x01", "Leg"),
        (b"\x02\x00", b"\x01", "Leg"),
        (b"\x02\x02", b"\x00", "Aircraft"),
        (b"\x04\x00\x00", None, "Leg.Crew"),
        (b"\x06\x00\x00\x00", None, "Leg.Crew.Rank"),
    ],
)
def test_the_indices_before_the_payload_say_which_message_it_is(
    decode: Callable[[bytes, int], bytes], make: Make, indices: bytes, glue_index: bytes | None, name: str
) -> None:
    expected = {"Leg": EMPTY, "Aircraft": {"serial": 0}, "Leg.Crew": {"id": 0}, "Leg.Crew.Rank": {"name": ""}}[name]
    assert orjson.loads(decode(b"frame" + indices + make(name).SerializeToString(), 5)) == expected
    if glue_index is not None:
        by_glue = compile_protobuf(Schema(SchemaType.PROTOBUF, TEXT, SCHEMA.references, glue=True))
        assert orjson.loads(by_glue(glue_index, 0)) == expected


def test_what_registries_have_built_in_needs_no_reference() -> None:
    text = """
    syntax = "proto3";
    import "confluent/meta.proto";
    import "confluent/types/decimal.proto";
    import "google/type/date.proto";
    import "google/type/datetime.proto";
    import "google/type/dayofweek.proto";
    import "google/type/decimal.proto";
    import "google/type/interval.proto";
    import "google/type/latlng.proto";
    import "google/type/money.proto";
    import "google/type/month.proto";
    import "google/type/timeofday.proto";
    message Leg {
      option (confluent.message_meta).doc = "A leg";
      google.type.Date day = 1 [(confluent.field_meta) = { doc: "local", tags: ["PII"] }];
      confluent.type.Decimal price = 2;
    }
    """
    schema = Schema(SchemaType.PROTOBUF, text)
    body = b"\x00\x0a\x03\x08\xdd\x0f\x12\x08\x0a\x02\xfd\x12\x10\x04\x18\x02"
    assert compile_protobuf(schema)(body, 0) == b'{"day":{"year":2013,"month":0,"day":0},"price":-7.50}'
    again = Schema(SchemaType.PROTOBUF, b64encode(descriptors(schema)[-1].SerializeToString()).decode())
    assert compile_protobuf(again)(body, 0) == compile_protobuf(schema)(body, 0)
    with pytest.raises(FormatError, match=r"^price: a decimal has the scale -1; valid: 0 to 4300"):
        compile_protobuf(schema)(b"\x00\x12\x0b\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 0)


def test_glue_counts_all_messages_by_their_full_names() -> None:
    text = 'syntax = "proto3"; message B { message C { int32 c = 1; } message A { message D { int32 d = 1; } } }'
    decode = compile_protobuf(Schema(SchemaType.PROTOBUF, text, glue=True))
    # the order in the documentation of AWS's own library: B, B.A, B.A.D, B.C
    assert [decode(bytes([index]), 0) for index in range(4)] == [b"{}", b"{}", b'{"d":0}', b'{"c":0}']
    with pytest.raises(FormatError, match="no message 4; valid: 0 to 3"):
        decode(b"\x04", 0)


def broken(make: Make, **parts: Any) -> bytes:
    leg = make("Leg")
    for name, value in parts.items():
        *path, last = name.split("__")
        target = leg
        for step in path:
            target = getattr(target, step)
        setattr(target, last, value)
    return b"\x00" + bytes(leg.SerializeToString())


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"load": math.nan}, "^load: nan is no number that JSON has$"),
        ({"previous__load": math.inf}, r"^previous\.load: inf is no number"),
        ({"off_block__nanos": -1}, "^off_block: a timestamp has -1 nanoseconds"),
        ({"off_block__seconds": 2**62}, "^off_block: .* out of the years 1 to 9999"),
        ({"delay__seconds": 2**62}, "^delay: "),
        ({"extra__type_url": "x/air.Nothing"}, "^extra: it holds a x/air.Nothing, which its schema does not import"),
    ],
)
def test_what_json_cannot_hold_is_refused_at_the_field(
    decode: Callable[[bytes, int], bytes], make: Make, parts: dict[str, Any], words: str
) -> None:
    with pytest.raises(FormatError, match=words) as raised:
        decode(broken(make, **parts), 0)
    assert raised.value.code == "undecodable"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "message index before the payload is cut off"),
        (b"\x02", "should start with 1 message indices, and is cut off"),
        (b"\x01", "should start with -1 message indices"),
        (b"\xfe\xff\xff\xff\x0f\x00", "should start with 2147483647 message indices"),
        (b"\x02\x04", "no message at the indices 2"),
        (b"\x02\x01", "no message at the indices -1"),
        (b"\x04\x00\x12", "no message at the indices 0, 9"),
        (b"\x80" * 9, "no 32-bit integer"),
        (b"\x00\xff", r"the 1 bytes of the payload are no air\.Leg"),
        (b"\x00\x82\x01", r"the 2 bytes of the payload are no air\.Leg"),
    ],
)
def test_bytes_of_another_schema_are_refused(decode: Callable[[bytes, int], bytes], body: bytes, words: str) -> None:
    with pytest.raises(FormatError, match=words) as raised:
        decode(body, 0)
    assert raised.value.code == "undecodable"


def test_messages_within_messages_without_end_are_refused(decode: Callable[[bytes, int], bytes], make: Make) -> None:
    inner = make("Leg")
    for _ in range(700):
        outer = make("Leg")
        outer.extra.Pack(inner)
        inner = outer
    with pytest.raises(FormatError, match="nested too deeply"):
        decode(b"\x00" + inner.SerializeToString(), 0)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (Schema(SchemaType.PROTOBUF, TEXT), "common/money.proto: File not found"),
        (Schema(SchemaType.PROTOBUF, "{}"), "no valid Protobuf schema: line 1:1: Expected"),
        (Schema(SchemaType.PROTOBUF, MONEY, (("../a.proto", SCHEMA),)), "'../a.proto', which is no relative path"),
        (Schema(SchemaType.PROTOBUF, MONEY, (("/a.proto", SCHEMA),)), "no relative path"),
        (Schema(SchemaType.PROTOBUF, MONEY, (("", SCHEMA),)), "'', which is no relative path"),
        (
            Schema(SchemaType.PROTOBUF, MONEY, (("a", SCHEMA), ("a/b.proto", SCHEMA))),
            "'a/b.proto', which is a folder of",
        ),
        (Schema(SchemaType.PROTOBUF, MONEY, (("a/b.proto", SCHEMA), ("a", SCHEMA))), "'a', which is a folder of"),
        (serialized("common/money.proto"), "imports 'common/money.proto' and has no reference of that name"),
        (serialized("--plugin=x"), "imports '--plugin=x' and has no reference of that name"),
        (serialized("google/none.proto"), "google/none.proto: No such file"),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused(schema: Schema, words: str) -> None:
    with pytest.raises(FormatError, match=words) as raised:
        compile_protobuf(schema)
    assert raised.value.code == "undecodable"


DECODE = compile_protobuf(SCHEMA)


@settings(deadline=None)
@given(st.binary())
def test_any_bytes_are_json_or_refused(body: bytes) -> None:
    try:
        orjson.loads(DECODE(body, 0))
    except FormatError:
        return


@settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "flight_id": st.text(),
            "fuelKg": st.integers(-(2**63), 2**63 - 1),
            "load": st.floats(allow_nan=False, allow_infinity=False),
            "weights": st.dictionaries(
                st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False)
            ),
        }
    )
)
def test_what_the_runtime_wrote_comes_back(make: Make, fields: dict[str, Any]) -> None:
    found = orjson.loads(DECODE(b"\x00" + make("Leg", **fields).SerializeToString(), 0))
    weights = {str(key): value for key, value in fields.pop("weights").items()}
    assert found == {**EMPTY, **fields, "weights": weights}
