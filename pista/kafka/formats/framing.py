"""What stands before a payload, to say which schema it is of.

Confluent: 0x00 and a 4-byte big-endian id, or 0x01 and a 16-byte GUID; in front of the payload, or as the header
``__value_schema_id`` or ``__key_schema_id``. For Protobuf a list of message indices follows, wherever the frame is.
AWS Glue: 0x03, a byte of compression (0x00 none, 0x05 zlib) and the 16 bytes of a schema version's UUID.
"""

import zlib
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from pista.contracts.dataset import Framing
from pista.kafka.formats.errors import Code, FormatError
from pista.kafka.records import Headers

VALUE_HEADER = "__value_schema_id"
KEY_HEADER = "__key_schema_id"
ID_BYTES = 5
GUID_BYTES = 17
GLUE_BYTES = 18
GLUE_MAGIC = 3
UNCOMPRESSED, ZLIB = 0, 5
VALID = {
    Framing.CONFLUENT: "0x00 and a 4-byte schema id, or 0x01 and a 16-byte schema GUID",
    Framing.GLUE: "0x03, 0x00 or 0x05, and the 16 bytes of a schema version id",
}


class Frame(NamedTuple):
    """A payload, and the name of its schema as the registry's frame writes it."""

    schema: bytes  # Confluent: magic byte and id; Glue: the UUID
    body: bytes
    start: int  # of the payload in the body; for Protobuf, of the message indices


def unframe(framing: Framing, message: bytes, header: bytes | None, limit: int) -> Frame:
    """The frame of a message, which a header may hold; ``limit`` bytes are the most that it may inflate to.

    Raises:
        FormatError: there is no whole frame, or the payload cannot be inflated.
    """
    if framing is Framing.GLUE:
        return _glue(message, limit)
    if header is None:
        width = _confluent_width(message, "the message")
        return Frame(message[:width], message, width)
    width = _confluent_width(header, "the header with the schema id")
    # what follows the id in a header are Protobuf's message indices, which then do not stand in the payload
    return Frame(header[:width], header[width:] + message, 0)


def is_framed(framing: Framing, message: bytes) -> bool:
    """Whether a message starts as a frame does; a plain text never does."""
    if framing is Framing.GLUE:
        return len(message) >= GLUE_BYTES and message[0] == GLUE_MAGIC and message[1] in (UNCOMPRESSED, ZLIB)
    # registries count from 1: four zero bytes are the start of a small big-endian number
    return (len(message) >= ID_BYTES and message[0] == 0 and any(message[1:ID_BYTES])) or (
        len(message) >= GUID_BYTES and message[0] == 1
    )


def detect_framing(
    values: Sequence[bytes | None], keys: Sequence[bytes | None], headers: Sequence[Headers] | None = None
) -> Framing:
    """The framing of most values of a sample; of its keys, where all values are null."""
    if not any(value is not None for value in values):
        return _most(keys, headers, KEY_HEADER)
    return _most(values, headers, VALUE_HEADER)


def schema_header(headers: Headers, name: str) -> bytes | None:
    """The header that names the schema; of several the last one counts."""
    return next((value for key, value in reversed(headers) if key == name), None)


def _most(messages: Sequence[bytes | None], headers: Sequence[Headers] | None, header: str) -> Framing:
    found = Counter(
        _framing(message, schema_header(headers[index], header) if headers else None)
        for index, message in enumerate(messages)
        if message is not None
    )
    return found.most_common(1)[0][0] if found else Framing.NONE


def _framing(message: bytes, header: bytes | None) -> Framing:
    if header is not None or is_framed(Framing.CONFLUENT, message):
        return Framing.CONFLUENT
    return Framing.GLUE if is_framed(Framing.GLUE, message) else Framing.NONE


def _confluent_width(message: bytes, place: str) -> int:
    width = {b"\x00": ID_BYTES, b"\x01": GUID_BYTES}.get(message[:1])
    if width is None or len(message) < width:
        raise _unknown(Framing.CONFLUENT, message, place)
    return width


def _glue(message: bytes, limit: int) -> Frame:
    if not is_framed(Framing.GLUE, message):
        raise _unknown(Framing.GLUE, message, "the message")
    schema = message[2:GLUE_BYTES]
    if message[1] == UNCOMPRESSED:
        return Frame(schema, message, GLUE_BYTES)
    return Frame(schema, _inflate(message[GLUE_BYTES:], limit), 0)


def _inflate(data: bytes, limit: int) -> bytes:
    inflating = zlib.decompressobj()
    try:
        body = inflating.decompress(data, limit + 1)
    except zlib.error as error:
        raise FormatError(Code.UNDECODABLE, f"the payload is not zlib data: {error}") from None
    if len(body) > limit:
        raise FormatError(Code.UNDECODABLE, f"the payload inflates to more than {limit} bytes, which is the limit")
    if not inflating.eof:
        raise FormatError(Code.UNDECODABLE, "the zlib data of the payload is cut off")
    if inflating.unused_data:
        count = len(inflating.unused_data)
        raise FormatError(Code.UNDECODABLE, f"{count} bytes follow the zlib data of the payload")
    return body


def _unknown(framing: Framing, message: bytes, place: str) -> FormatError:
    start = f"starts with 0x{message[:2].hex()} and has {len(message)} bytes" if message else "has no bytes"
    return FormatError(Code.UNKNOWN_FRAMING, f"{place} {start}; valid: {VALID[framing]}, then the payload")
