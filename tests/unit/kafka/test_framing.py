"""Frames: what names a schema, where the payload starts, and what is said of bytes that are no frame."""

import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pista.contracts.dataset import Framing
from pista.kafka.formats.errors import FormatError
from pista.kafka.formats.framing import detect_framing, is_framed, unframe

GUID = bytes(range(16))
LIMIT = 1000
# what confluent-kafka 2.16.1 writes of SchemaId("AVRO", 7), of the GUID, and of SchemaId("PROTOBUF", 7, None, [1, 0])
ID_7 = bytes.fromhex("0000000007")
GUID_FRAME = bytes.fromhex("01000102030405060708090a0b0c0d0e0f")
INDICES_1_0 = bytes.fromhex("040200")


@pytest.mark.parametrize(
    ("message", "header", "schema", "rest"),
    [
        (ID_7 + b"payload", None, ID_7, b"payload"),
        (GUID_FRAME + b"payload", None, GUID_FRAME, b"payload"),
        (b"payload", GUID_FRAME, GUID_FRAME, b"payload"),
        (b"payload", ID_7, ID_7, b"payload"),
        (b"payload", GUID_FRAME + INDICES_1_0, GUID_FRAME, INDICES_1_0 + b"payload"),
        (ID_7 + INDICES_1_0 + b"payload", None, ID_7, INDICES_1_0 + b"payload"),
        (b"", GUID_FRAME, GUID_FRAME, b""),
    ],
)
def test_a_confluent_frame_stands_before_the_payload_or_in_a_header(
    message: bytes, header: bytes | None, schema: bytes, rest: bytes
) -> None:
    frame = unframe(Framing.CONFLUENT, message, header, LIMIT)
    assert (frame.schema, frame.body[frame.start :]) == (schema, rest)


@pytest.mark.parametrize("payload", [b"", b"payload", b"x" * LIMIT])
def test_a_glue_frame_holds_a_version_and_a_payload_that_may_be_compressed(payload: bytes) -> None:
    for body in (b"\x03\x00" + GUID + payload, b"\x03\x05" + GUID + zlib.compress(payload)):
        frame = unframe(Framing.GLUE, body, None, LIMIT)
        assert (frame.schema, frame.body[frame.start :]) == (GUID, payload)


@pytest.mark.parametrize(
    ("framing", "message", "header", "code", "words"),
    [
        (Framing.CONFLUENT, b'{"a":1}', None, "unknown_framing", "the message starts with 0x7b22 and has 7 bytes"),
        (Framing.CONFLUENT, b"\x00\x00\x00\x00", None, "unknown_framing", "has 4 bytes; valid: 0x00 and a 4-byte"),
        (Framing.CONFLUENT, b"\x01" + GUID[:15], None, "unknown_framing", "has 16 bytes"),
        (Framing.CONFLUENT, b"\x03\x00" + GUID, None, "unknown_framing", "starts with 0x0300"),
        (Framing.CONFLUENT, ID_7, b"7", "unknown_framing", "the header with the schema id starts with 0x37"),
        (Framing.CONFLUENT, ID_7, b"", "unknown_framing", "the header with the schema id has no bytes"),
        (Framing.GLUE, ID_7 + b"x" * 20, None, "unknown_framing", "valid: 0x03, 0x00 or 0x05"),
        (Framing.GLUE, b"\x03\x01" + GUID, None, "unknown_framing", "starts with 0x0301"),
        (Framing.GLUE, b"\x03\x00" + GUID[:15], None, "unknown_framing", "has 17 bytes"),
        (Framing.GLUE, b"\x03\x05" + GUID + b"no zlib", None, "undecodable", "not zlib data"),
        (Framing.GLUE, b"\x03\x05" + GUID + zlib.compress(b"abc" * 9)[:-3], None, "undecodable", "cut off"),
        (Framing.GLUE, b"\x03\x05" + GUID + zlib.compress(b"a") + b"bc", None, "undecodable", "2 bytes follow"),
        (Framing.GLUE, b"\x03\x05" + GUID + zlib.compress(bytes(1 << 24)), None, "undecodable", "more than 1000 bytes"),
    ],
)
def test_bytes_that_are_no_frame_are_refused_with_what_would_be_one(
    framing: Framing, message: bytes, header: bytes | None, code: str, words: str
) -> None:
    with pytest.raises(FormatError, match=words) as raised:
        unframe(framing, message, header, LIMIT)
    assert raised.value.code == code


def test_a_bomb_takes_no_more_memory_than_the_limit() -> None:
    bomb = b"\x03\x05" + GUID + zlib.compress(bytes(1 << 24))
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="more than 1000 bytes"):
            unframe(Framing.GLUE, bomb, None, LIMIT)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@settings(deadline=None)
@given(st.sampled_from([Framing.CONFLUENT, Framing.GLUE]), st.binary(), st.none() | st.binary())
def test_any_bytes_are_a_frame_or_refused(framing: Framing, message: bytes, header: bytes | None) -> None:
    try:
        frame = unframe(framing, message, header, LIMIT)
    except FormatError:
        return
    assert len(frame.body) - frame.start <= len(message) + len(header or b"") + LIMIT


@pytest.mark.parametrize("key", [b"", b"UA-1545", b"1545", b"\x00\x00\x06\x09", (1545).to_bytes(8, "big")])
def test_texts_and_small_binary_numbers_are_not_taken_for_frames(key: bytes) -> None:
    assert not is_framed(Framing.CONFLUENT, key)
    assert not is_framed(Framing.GLUE, key)


@pytest.mark.parametrize(
    ("values", "keys", "headers", "framing"),
    [
        ([b'{"a":1}', b'{"a":2}'], [b"1", None], None, Framing.NONE),
        ([ID_7 + b"x", None, GUID_FRAME + b"x"], [b"1", b"2", b"3"], None, Framing.CONFLUENT),
        ([ID_7 + b"x", b"broken", ID_7 + b"y"], [None] * 3, None, Framing.CONFLUENT),
        ([b"\x03\x05" + GUID + b"x"], [None], None, Framing.GLUE),
        ([b"anything"], [None], [(("__value_schema_id", GUID_FRAME),)], Framing.CONFLUENT),
        ([b"anything"], [None], [(("__key_schema_id", GUID_FRAME),)], Framing.NONE),
        ([None], [ID_7 + b"k"], None, Framing.CONFLUENT),
        ([None], [b"k"], [(("__key_schema_id", GUID_FRAME),)], Framing.CONFLUENT),
        ([], [], None, Framing.NONE),
    ],
)
def test_the_framing_of_a_sample_is_that_of_most_of_it(
    values: list[bytes | None],
    keys: list[bytes | None],
    headers: list[tuple[tuple[str, bytes]]] | None,
    framing: Framing,
) -> None:
    assert detect_framing(values, keys, headers) is framing
