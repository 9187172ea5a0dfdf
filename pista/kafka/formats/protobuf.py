"""Protobuf payloads to JSON: which message of its schema a payload is, and the bytes of that message."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import orjson
from google.protobuf.descriptor import Descriptor, FileDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from pista.kafka.formats.errors import Code, FormatError
from pista.kafka.formats.protobuf_types import Convert, ProtobufError, Types
from pista.kafka.formats.protoc import MAIN, descriptors
from pista.kafka.formats.schemas import Schema

VARINT_BYTES = 5  # indices are 32-bit integers
Indices = tuple[int, ...]


def compile_protobuf(schema: Schema) -> Callable[[bytes, int], bytes]:
    """A function that takes a body and the place of its message indices, and returns the message as JSON.

    What becomes of each type of field: ``protobuf_types``.

    Raises:
        FormatError: the schema is no Protobuf schema. From the function: the payload is not of the schema.
    """
    pool = DescriptorPool()
    try:
        for file in descriptors(schema):
            pool.AddSerializedFile(file.SerializeToString())
        main = pool.FindFileByName(MAIN)
    except (TypeError, KeyError) as error:
        raise FormatError(Code.UNDECODABLE, f"its schema is no valid Protobuf schema: {error}") from None
    read_indices, find = (_glue_index, _glue_message) if schema.glue else (_confluent_indices, _confluent_message)
    types = Types(pool)
    known: dict[Indices, tuple[Any, Convert]] = {}

    def decode(body: bytes, start: int) -> bytes:
        indices, at = read_indices(body, start)
        if indices not in known:
            message = find(main, indices)
            known[indices] = GetMessageClass(message), types.converter(message)
        message_class, convert = known[indices]
        try:
            return orjson.dumps(convert(message_class.FromString(body[at:])), option=orjson.OPT_UTC_Z)
        except DecodeError:
            name = message_class.DESCRIPTOR.full_name
            raise FormatError(Code.UNDECODABLE, f"the {len(body) - at} bytes of the payload are no {name}") from None
        except ProtobufError as error:
            place = ".".join(reversed(error.path)) or "the value"
            raise FormatError(Code.UNDECODABLE, f"{place}: {error.detail}") from None
        except (RecursionError, orjson.JSONEncodeError):  # an Any in an Any, and so on
            raise FormatError(Code.UNDECODABLE, "the value is nested too deeply") from None

    return decode


def _confluent_indices(body: bytes, at: int) -> tuple[Indices, int]:
    """A zigzag count and as many zigzag indices, from the file inwards; a count of 0 stands for the index 0."""
    if body[at : at + 1] == b"\x00":
        return (0,), at + 1
    count, at = _zigzag(body, at)
    if not 0 <= count <= len(body) - at:
        raise FormatError(Code.UNDECODABLE, f"the payload should start with {count} message indices, and is cut off")
    indices = []
    for _ in range(count):
        index, at = _zigzag(body, at)
        indices.append(index)
    return tuple(indices) or (0,), at


def _confluent_message(file: FileDescriptor, indices: Indices) -> Descriptor:
    level: Iterable[Descriptor] = file.message_types_by_name.values()
    found: Descriptor | None = None
    for index in indices:
        messages = list(level)
        if not 0 <= index < len(messages):
            places = ", ".join(map(str, indices))
            raise FormatError(Code.UNDECODABLE, f"its schema has no message at the indices {places}")
        found = messages[index]
        level = found.nested_types
    assert found is not None  # there is one index at least
    return found


def _glue_index(body: bytes, at: int) -> tuple[Indices, int]:
    """One number: the place of the message among all of the file, in order of their full names."""
    index, at = _varint(body, at)
    return (index,), at


def _glue_message(file: FileDescriptor, indices: Indices) -> Descriptor:
    messages = sorted(_with_nested(file.message_types_by_name.values()), key=lambda message: message.full_name)
    if indices[0] >= len(messages):
        raise FormatError(Code.UNDECODABLE, f"its schema has no message {indices[0]}; valid: 0 to {len(messages) - 1}")
    return messages[indices[0]]


def _with_nested(messages: Iterable[Descriptor]) -> Iterator[Descriptor]:
    for message in messages:
        yield message
        yield from _with_nested(message.nested_types)


def _zigzag(body: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(body, at)
    return (value >> 1) ^ -(value & 1), at


def _varint(body: bytes, at: int) -> tuple[int, int]:
    value = 0
    for count, byte in enumerate(body[at : at + VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value, at + count + 1
    raise FormatError(Code.UNDECODABLE, "the message index before the payload is cut off, or no 32-bit integer")
