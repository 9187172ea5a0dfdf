"""Avro payloads to JSON: each type of a schema becomes one reader.

fastavro parses the schemas. The payloads are read here, because its compiled reader ends the process on deeply
nested data, loops as long as a broken count of nulls says, and rounds decimals to their declared precision, and
its errors name no field.
"""

import json
from collections.abc import Callable
from typing import Any

import orjson
from fastavro.schema import SchemaParseException, UnknownType, parse_schema

from pista.kafka.formats import avro_types as types
from pista.kafka.formats.avro_types import WRONG, Reader, within
from pista.kafka.formats.errors import Code, FormatError
from pista.kafka.formats.schemas import Schema

PRIMITIVES: dict[str, Reader] = {
    "null": types.null,
    "boolean": types.boolean,
    "int": types.long,
    "long": types.long,
    "float": types.float32,
    "double": types.float64,
    "string": types.string,
    "bytes": types.base64(types.octets),
}
LOGICAL: dict[tuple[str, str], Reader] = {
    ("int", "date"): types.date,
    ("int", "time-millis"): types.time(1_000),
    ("long", "time-micros"): types.time(1),
    ("long", "timestamp-millis"): types.moment(types.UTC_EPOCH, 1_000),
    ("long", "timestamp-micros"): types.moment(types.UTC_EPOCH, 1_000_000),
    ("long", "timestamp-nanos"): types.moment(types.UTC_EPOCH, 1_000_000_000),
    ("long", "local-timestamp-millis"): types.moment(types.EPOCH, 1_000),
    ("long", "local-timestamp-micros"): types.moment(types.EPOCH, 1_000_000),
    ("long", "local-timestamp-nanos"): types.moment(types.EPOCH, 1_000_000_000),
}
UUID_BYTES = 16
MISSHAPEN = (ValueError, LookupError, TypeError, AttributeError, RecursionError)  # of JSON that is no schema


def compile_avro(schema: Schema) -> Callable[[bytes, int], bytes]:
    """A function that takes a body and the place where its payload starts, and returns the payload as JSON.

    Timestamps become ISO 8601 with Z, local ones without zone, both with microseconds (nanoseconds round down);
    dates and times ISO 8601; decimals numbers of exactly their digits; bytes and fixed base64; unions the value alone.

    Raises:
        FormatError: the schema is no Avro schema. From the function: the payload is not of the schema.
    """
    named: dict[str, Any] = {}
    try:
        for _, imported in schema.imports():
            parse_schema(_loads(imported.text), named)
        reader = _Types(named).reader(parse_schema(_loads(schema.text), named))
    except (SchemaParseException, UnknownType, *MISSHAPEN) as error:
        raise FormatError(
            Code.UNDECODABLE, f"its schema is no valid Avro schema: {type(error).__name__}: {error}"
        ) from None

    def decode(body: bytes, start: int) -> bytes:
        try:
            value, end = reader(body, start)
            document = orjson.dumps(value, option=orjson.OPT_UTC_Z)
        except WRONG as error:
            found = within(error, "")
            place = ".".join(reversed(found.path[:-1])) or "the value"
            raise FormatError(Code.UNDECODABLE, f"{place}: {found.detail}") from None
        except (RecursionError, orjson.JSONEncodeError):
            raise FormatError(Code.UNDECODABLE, "the value is nested too deeply") from None
        if end != len(body):
            raise FormatError(
                Code.UNDECODABLE, f"{len(body) - end} bytes follow the value: it is of another schema, or damaged"
            )
        return document

    return decode


def _loads(text: str) -> Any:
    # defaults are for readers with a schema of their own, and wrong ones are common
    return json.loads(text, object_hook=lambda found: {key: found[key] for key in found if key != "default"})


class _Types:
    """Readers of one schema's types, each named type made once."""

    def __init__(self, named: dict[str, Any]) -> None:
        self._named = named
        self._readers: dict[str, Reader] = {}

    def reader(self, schema: Any) -> Reader:
        if isinstance(schema, str):
            return PRIMITIVES.get(schema) or self._of_name(schema)
        if isinstance(schema, list):
            return self._union(schema)
        match schema["type"]:
            case "record" | "error" | "enum" | "fixed":
                return self._of_name(schema["name"])
            case "array":
                if self._is_empty(schema["items"]):
                    raise ValueError("an array has items of no bytes, so nothing bounds their number")
                return types.array(self.reader(schema["items"]))
            case "map":
                return types.mapping(self.reader(schema["values"]))
            case "bytes" if schema.get("logicalType") == "decimal":
                return types.decimal(types.octets, schema.get("scale", 0))
            case primitive:
                return LOGICAL.get((primitive, str(schema.get("logicalType")))) or PRIMITIVES[primitive]

    def _of_name(self, name: str) -> Reader:
        if name not in self._readers:
            # while it is being made, its fields refer to what it will be

            def later(data: bytes, at: int) -> tuple[Any, int]:
                return self._readers[name](data, at)

            self._readers[name] = later
            self._readers[name] = self._make(self._named[name])
        return self._readers[name]

    def _make(self, schema: dict[str, Any]) -> Reader:
        match schema["type"], schema.get("logicalType"):
            case "enum", _:
                return types.enum(tuple(schema["symbols"]))
            case "fixed", _ if not isinstance(schema["size"], int) or schema["size"] < 0:
                raise ValueError(f"a fixed has the size {schema['size']!r}")
            case "fixed", "decimal":
                return types.decimal(types.fixed(schema["size"]), schema.get("scale", 0))
            case "fixed", "uuid" if schema["size"] == UUID_BYTES:
                return types.uuid(types.fixed(UUID_BYTES))
            case "fixed", _:
                return types.base64(types.fixed(schema["size"]))
            case _:
                return types.record(tuple((field["name"], self.reader(field["type"])) for field in schema["fields"]))

    def _union(self, branches: list[Any]) -> Reader:
        readers = [self.reader(branch) for branch in branches]
        if len(branches) == 2 and branches.count("null") == 1:
            index = branches.index("null")
            return types.optional(readers[1 - index], index * 2)
        return types.union(readers)

    def _is_empty(self, schema: Any) -> bool:
        """Whether values of a type have no bytes at all."""
        if schema == "null":
            return True
        if isinstance(schema, str):
            return schema not in PRIMITIVES and self._is_empty(self._named[schema])
        if isinstance(schema, list):
            return False
        match schema["type"]:
            case "fixed":
                return bool(schema["size"] == 0)
            case "record" | "error":
                return all(self._is_empty(field["type"]) for field in self._named[schema["name"]]["fields"])
            case primitive:
                return bool(primitive == "null")
