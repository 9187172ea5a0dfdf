"""Readers of Avro's binary encoding: bytes and a place in them to a value for JSON and the place after it.

The encoding: https://avro.apache.org/docs/1.12.0/specification/#binary-encoding
"""

import math
import struct
from base64 import b64encode
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from datetime import date as Date  # noqa: N812 - ``date`` is the reader
from datetime import time as Time  # noqa: N812
from typing import Any
from uuid import UUID

import orjson

from pista.kafka.formats.decimals import json_number

Reader = Callable[[bytes, int], tuple[Any, int]]

LONG_BITS = 64
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - local times count from a local epoch
UTC_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EPOCH_DAY = Date(1970, 1, 1).toordinal()
SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US


class AvroError(Exception):
    """The bytes are not of their schema; knows the field from the inside outwards."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail
        self.path: list[str] = []


WRONG = (AvroError, IndexError, struct.error, ValueError, OverflowError)


def within(error: Exception, place: str) -> AvroError:
    """The error, one level further out."""
    found = error if isinstance(error, AvroError) else AvroError(_sentence(error))
    found.path.append(place)
    return found


def _sentence(error: Exception) -> str:
    match error:
        case IndexError() | struct.error():
            return "the payload is cut off"
        case UnicodeDecodeError():
            return "the text is not UTF-8"
        case OverflowError():
            return "the date is out of the years 1 to 9999"
        case _:
            return str(error)


def null(_data: bytes, at: int) -> tuple[None, int]:
    """Nothing, of no bytes."""
    return None, at


def boolean(data: bytes, at: int) -> tuple[bool, int]:
    """One byte, 0 or 1."""
    byte = data[at]
    if byte > 1:
        raise AvroError(f"0x{byte:02x} is no boolean; valid: 0x00 and 0x01")
    return byte == 1, at + 1


def long(data: bytes, at: int) -> tuple[int, int]:
    """A zigzag integer of 7 bits a byte, the lowest first; Avro's int is the same."""
    byte = data[at]
    at += 1
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), at
    value, shift = byte & 0x7F, 7
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift >= LONG_BITS:
            raise AvroError(f"an integer has more than {LONG_BITS} bits")
    if value >> LONG_BITS:
        raise AvroError(f"an integer has more than {LONG_BITS} bits")
    return (value >> 1) ^ -(value & 1), at


def _floating(form: str) -> Reader:
    packed = struct.Struct(form)
    unpack, width, is_finite = packed.unpack_from, packed.size, math.isfinite

    def read(data: bytes, at: int) -> tuple[float, int]:
        value: float = unpack(data, at)[0]
        if not is_finite(value):
            raise AvroError(f"{value} is no number that JSON has")
        return value, at + width

    return read


float32 = _floating("<f")
float64 = _floating("<d")


def string(data: bytes, at: int) -> tuple[str, int]:
    """A length and that many bytes of UTF-8."""
    count = data[at]
    if count < 0x80 and not count & 1:  # nearly all lengths are of one byte
        at += 1
        count >>= 1
    else:
        count, at = long(data, at)
    end = at + count
    if not at <= end <= len(data):
        raise AvroError("the payload is cut off")
    return data[at:end].decode(), end


def octets(data: bytes, at: int) -> tuple[bytes, int]:
    """A length and that many bytes, as bytes."""
    count, at = long(data, at)
    end = at + count
    if not at <= end <= len(data):
        raise AvroError("the payload is cut off")
    return data[at:end], end


def fixed(count: int) -> Reader:
    """That many bytes, as bytes."""

    def read(data: bytes, at: int) -> tuple[bytes, int]:
        end = at + count
        if end > len(data):
            raise AvroError("the payload is cut off")
        return data[at:end], end

    return read


def base64(reader: Reader) -> Reader:
    """Bytes as the text that JSON has for them."""

    def read(data: bytes, at: int) -> tuple[str, int]:
        value, at = reader(data, at)
        return b64encode(value).decode(), at

    return read


def decimal(reader: Reader, scale: int) -> Reader:
    """Bytes of an unscaled big-endian integer as a JSON number with exactly its digits."""

    def read(data: bytes, at: int) -> tuple[orjson.Fragment, int]:
        value, at = reader(data, at)
        return json_number(value, scale), at

    return read


def uuid(reader: Reader) -> Reader:
    """Sixteen bytes as the text of a UUID."""

    def read(data: bytes, at: int) -> tuple[str, int]:
        value, at = reader(data, at)
        return str(UUID(bytes=value)), at

    return read


def date(data: bytes, at: int) -> tuple[Date, int]:
    """Days since 1970 as a date."""
    days, at = long(data, at)
    try:
        return Date.fromordinal(EPOCH_DAY + days), at
    except ValueError:
        raise OverflowError from None


def time(microseconds: int) -> Reader:
    """A time of day, counted since midnight in units of so many microseconds."""

    def read(data: bytes, at: int) -> tuple[Time, int]:
        count, at = long(data, at)
        if not 0 <= count * microseconds < DAY_US:
            raise AvroError(f"{count} is no time of a day")
        return (EPOCH + timedelta(0, 0, count * microseconds)).time(), at

    return read


def moment(epoch: datetime, per_second: int) -> Reader:
    """A time since that epoch in units of which a second has so many, rounded down to a microsecond."""

    def read(data: bytes, at: int) -> tuple[datetime, int]:
        count, at = long(data, at)
        # a timedelta of microseconds alone takes twice as long
        return epoch + timedelta(0, count // per_second, count % per_second * SECOND_US // per_second), at

    return read


def enum(symbols: Sequence[str]) -> Reader:
    """The symbol of that number."""

    def read(data: bytes, at: int) -> tuple[str, int]:
        index, at = long(data, at)
        if not 0 <= index < len(symbols):
            raise AvroError(f"{index} is no symbol of the enum; valid: 0 to {len(symbols) - 1}")
        return symbols[index], at

    return read


def union(branches: Sequence[Reader]) -> Reader:
    """The number of a branch, and a value of it, which is all that JSON gets."""

    def read(data: bytes, at: int) -> tuple[Any, int]:
        index, at = long(data, at)
        if not 0 <= index < len(branches):
            raise AvroError(f"{index} is no branch of the union; valid: 0 to {len(branches) - 1}")
        return branches[index](data, at)

    return read


def optional(reader: Reader, null_byte: int) -> Reader:
    """A union of null, whose number is that byte, and one other branch: nearly all unions are such."""

    def read(data: bytes, at: int) -> tuple[Any, int]:
        byte = data[at]
        if byte == null_byte:
            return None, at + 1
        if byte > 2 or byte & 1:
            raise AvroError(f"0x{byte:02x} is no branch of the union; valid: 0x00 and 0x02")
        return reader(data, at + 1)

    return read


def record(fields: Sequence[tuple[str, Reader]]) -> Reader:
    """The fields one after the other, as an object."""

    def read(data: bytes, at: int) -> tuple[dict[str, Any], int]:
        row: dict[str, Any] = {}
        name = ""
        try:
            for name, reader in fields:
                row[name], at = reader(data, at)
        except WRONG as error:
            raise within(error, name) from None
        return row, at

    return read


def array(reader: Reader) -> Reader:
    """Blocks of items, each with their number in front, until a block of none. An item has one byte at least."""

    def read(data: bytes, at: int) -> tuple[list[Any], int]:
        items: list[Any] = []
        try:
            while True:
                count, at = _block(data, at)
                if not count:
                    return items, at
                for _ in range(count):
                    item, at = reader(data, at)
                    items.append(item)
        except WRONG as error:
            raise within(error, str(len(items))) from None

    return read


def mapping(reader: Reader) -> Reader:
    """Blocks of texts and values, as an object."""

    def read(data: bytes, at: int) -> tuple[dict[str, Any], int]:
        entries: dict[str, Any] = {}
        key = "(key)"
        try:
            while True:
                count, at = _block(data, at)
                if not count:
                    return entries, at
                for _ in range(count):
                    key, at = string(data, at)
                    entries[key], at = reader(data, at)
        except WRONG as error:
            raise within(error, key) from None

    return read


def _block(data: bytes, at: int) -> tuple[int, int]:
    count, at = long(data, at)
    if count < 0:  # then the block's size in bytes follows, for readers that skip it
        _, at = long(data, at)
    return abs(count), at
