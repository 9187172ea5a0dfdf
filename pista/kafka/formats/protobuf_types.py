"""Protobuf messages to objects for JSON: each message type becomes one function.

The runtime's own ``MessageToDict`` writes 64-bit integers as text, and takes several times the CPU.
"""

import math
import threading
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from pista.kafka.formats.decimals import json_number

Convert = Callable[[Any], Any]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NANOS = 1_000_000_000
WRAPPERS = frozenset(
    f"google.protobuf.{kind}Value"
    for kind in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
)
# types that Protobuf's own mapping writes as something else than their fields
MAPPED = frozenset(f"google.protobuf.{kind}" for kind in ("Duration", "FieldMask", "Struct", "Value", "ListValue"))


class ProtobufError(Exception):
    """A message holds what JSON cannot; knows the field from the inside outwards."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail
        self.path: list[str] = []


class Types:
    """Converters of one schema's message types, each made once.

    Fields have the names of the .proto text. Integers of any width are numbers; enums are names, or the number where
    the schema names none; Timestamp is ISO 8601 with Z and microseconds (rounded down); wrappers are what they wrap;
    Confluent's Decimal is a number of exactly its digits; Duration, FieldMask, Struct and Any are as in Protobuf's JSON
    mapping; bytes are base64. A field without presence (proto3 without ``optional``) always appears, with its default
    where the message lacks it; a field with presence appears if it is set.
    """

    def __init__(self, pool: DescriptorPool) -> None:
        self._pool = pool
        self._converters: dict[str, Convert] = {}
        self._lock = threading.RLock()  # types are made when the first message of them comes

    def converter(self, message: Descriptor) -> Convert:
        """What makes a message of that type an object for JSON; raises ProtobufError."""
        name = message.full_name
        with self._lock:
            if name not in self._converters:
                # while it is being made, its fields refer to what it will be

                def later(value: Any) -> Any:
                    return self._converters[name](value)

                self._converters[name] = later
                self._converters[name] = self._make(message)
            return self._converters[name]

    def _make(self, message: Descriptor) -> Convert:
        name = message.full_name
        if name == "google.protobuf.Timestamp":
            return _timestamp
        if name == "google.protobuf.Any":
            return self._any
        if name == "confluent.type.Decimal":
            return _decimal
        if name in MAPPED:
            return _mapped
        if name in WRAPPERS:
            convert = self._single(message.fields_by_name["value"])
            return lambda wrapper: convert(wrapper.value) if convert else wrapper.value
        return _object([(field.name, field.has_presence, self._field(field)) for field in message.fields])

    def _field(self, field: FieldDescriptor) -> Convert | None:
        """What converts a field's value; None if nothing has to."""
        if not field.is_repeated:
            return self._single(field)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            key, value = (field.message_type.fields_by_name[part] for part in ("key", "value"))
            text = (lambda found: "true" if found else "false") if key.type == FieldDescriptor.TYPE_BOOL else str
            return _entries(text, self._single(value))
        return _items(self._single(field))

    def _single(self, field: FieldDescriptor) -> Convert | None:
        match field.type:
            case FieldDescriptor.TYPE_MESSAGE | FieldDescriptor.TYPE_GROUP:
                return self.converter(field.message_type)
            case FieldDescriptor.TYPE_ENUM:
                names = {value.number: value.name for value in reversed(field.enum_type.values)}  # an alias gives way
                return lambda number: names.get(number, number)
            case FieldDescriptor.TYPE_BYTES:
                return lambda value: b64encode(value).decode()
            case FieldDescriptor.TYPE_FLOAT | FieldDescriptor.TYPE_DOUBLE:
                return _finite
            case _:
                return None

    def _any(self, message: Any) -> dict[str, Any]:
        url = message.type_url
        if not url:
            return {}
        try:
            descriptor = self._pool.FindMessageTypeByName(url.rpartition("/")[2])
            inner = GetMessageClass(descriptor).FromString(message.value)
        except KeyError:
            raise ProtobufError(f"it holds a {url}, which its schema does not import") from None
        except DecodeError:
            raise ProtobufError(f"its bytes are no {url}") from None
        value = self.converter(descriptor)(inner)
        plain = isinstance(value, dict) and descriptor.full_name not in MAPPED | {"google.protobuf.Any"}
        return {"@type": url, **value} if plain else {"@type": url, "value": value}


def _object(fields: list[tuple[str, bool, Convert | None]]) -> Convert:
    def convert(message: Any) -> dict[str, Any]:
        row: dict[str, Any] = {}
        name = ""
        try:
            for name, has_presence, convert_field in fields:
                if has_presence and not message.HasField(name):
                    continue
                value = getattr(message, name)
                row[name] = convert_field(value) if convert_field else value
        except ProtobufError as error:
            error.path.append(name)
            raise
        return row

    return convert


def _items(convert: Convert | None) -> Convert:
    return lambda values: [convert(value) for value in values] if convert else list(values)


def _entries(text: Callable[[Any], str], convert: Convert | None) -> Convert:
    return lambda values: {text(key): convert(value) if convert else value for key, value in values.items()}


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ProtobufError(f"{value} is no number that JSON has")
    return value


def _timestamp(message: Any) -> datetime:
    if not 0 <= message.nanos < NANOS:
        raise ProtobufError(f"a timestamp has {message.nanos} nanoseconds; valid: 0 to {NANOS - 1}")
    try:
        return EPOCH + timedelta(seconds=message.seconds, microseconds=message.nanos // 1000)
    except OverflowError:
        raise ProtobufError(f"{message.seconds} seconds since 1970 are out of the years 1 to 9999") from None


def _decimal(message: Any) -> orjson.Fragment:
    try:
        return json_number(message.value, message.scale)
    except ValueError as error:
        raise ProtobufError(str(error)) from None


def _mapped(message: Any) -> Any:
    try:
        return json_format.MessageToDict(message, preserving_proto_field_name=True)
    except (json_format.Error, ValueError) as error:
        raise ProtobufError(str(error)) from None
